"""What a person sees while it runs: one line at the foot of the terminal; and Ctrl-C, which ends a run in order.

    12.4 of 60 virtual s  [########------------]  18 203 events  under way: part 1 1.1 | 1.2 1.3; down: 1.4

A line that nothing new replaces says for how long it has stood there: a thousand servers take their time.

The line goes to standard error, so that standard output can be kept; where that is no terminal nothing is written but
whole lines that somebody wanted said. The first Ctrl-C is heard at the next look of the checkers, a quarter of a
virtual second later: the run ends there, and what is known so far is told. A second one ends the process at once.

A watcher looks on as checkers do and decides nothing: a run takes the same steps with it and without it.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import IO, TYPE_CHECKING, Any

from simulations.guard import outside
from simulations.promises import Watching
from simulations.report import counted, part_of, under_way

if TYPE_CHECKING:
    from simulations.world import World

REDRAW_S = 0.1
TICK_S = 1.0  # what stands there for longer says for how long, so that a slow run is seen to be alive
BAR = 20


class Stopped(KeyboardInterrupt):
    """A person ended the run."""


class Late(Stopped):
    """It took longer than a person gave it."""


class Foot:
    """The line at the foot of a terminal; nothing where there is none."""

    def __init__(self, stream: IO[str] | None = None, *, live: bool | None = None) -> None:
        self._stream = stream or sys.stderr  # None where standard error is closed
        self.live = _is_terminal(self._stream) if live is None else live
        self._drawn = ""
        self._next = 0.0
        self._since = 0.0  # real second at which what stands there was shown
        self._lock = threading.Lock()

    def due(self) -> bool:
        """Whether it is time to draw again: a person reads ten a second at most."""
        return self.live and time.monotonic() >= self._next

    def show(self, text: str) -> None:
        """Put this in the place of what stands there."""
        if not self.live:
            return
        with self._lock:
            self._since = time.monotonic()
            self._next = self._since + REDRAW_S
            self._drawn = text
            self._draw(text)

    def clear(self) -> None:
        """Leave an empty line."""
        with self._lock:
            if self._drawn:
                self._drawn = ""
                self._write("\r\x1b[K")

    def say(self, text: str) -> None:
        """A whole line, on standard error."""
        self.clear()
        self._write(f"{text}\n")

    @contextmanager
    def ticking(self) -> Iterator[None]:
        """While it lasts, what stands there unchanged says each second for how long; from a thread of its own."""
        over = threading.Event()
        thread = threading.Thread(target=self._tick, args=(over,), daemon=True)
        if self.live:
            thread.start()
        try:
            yield
        finally:
            over.set()
            if thread.is_alive():
                thread.join()

    def _tick(self, over: threading.Event) -> None:
        while not over.wait(TICK_S):
            with self._lock:
                quiet_s = time.monotonic() - self._since
                if self._drawn and quiet_s >= TICK_S:
                    self._draw(f"{self._drawn}  ({quiet_s:.0f} real s so far)")

    def _draw(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        self._write(f"\r{text[:width]}\x1b[K")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (AttributeError, OSError, ValueError):  # nobody is there, or it takes no more
            self.live = False


class Watcher(Watching):
    """Looks on at a run, shows how far it is, and hears Ctrl-C."""

    name = "the display"
    promise = ""

    def __init__(
        self, foot: Foot, stop: Stop, *, planned_s: float = 0.0, real: bool = False, limit_s: float = math.inf
    ) -> None:
        self._foot = foot
        self._stop = stop
        self._planned_s = planned_s
        self._until = time.monotonic() + limit_s  # real seconds
        self._real = real
        self._seen = 0
        self._faults: list[Any] = []
        self.world: World | None = None

    def begin(self, world: World) -> None:
        """Not among the checkers of the world: there is nothing to ask."""
        self.world = world

    def look(self, world: World) -> None:
        with outside():
            if self._stop.wanted:
                raise Stopped("ended at the next look")
            if time.monotonic() > self._until:
                raise Late("more real time than it was given")
            if self._foot.due():
                self._foot.show(self.line(world))

    def line(self, world: World) -> str:
        """Where the run is."""
        fresh = world.marks[self._seen :]
        self._seen += len(fresh)
        self._faults += [mark for mark in fresh if mark.kind == "fault"]
        down = [server.name for server in world.servers if not server.running]
        lasting = "; ".join(under_way(self._faults, down))
        clock = "real" if self._real else "virtual"
        if self._planned_s > world.now:
            share = part_of(world.now, self._planned_s)
            done = f"{world.now:.1f} of {self._planned_s:g} {clock} s  {bar(share)}"
        else:
            done = f"{world.now:.1f} {clock} s"
        if not self._real:
            done += f"  {counted(world.trace.count, 'event')}"
        return f"{done}  under way: {lasting}" if lasting else done


class Stop:
    """Whether a person pressed Ctrl-C."""

    def __init__(self) -> None:
        self.wanted = False

    @contextmanager
    def heard(self, foot: Foot) -> Iterator[Stop]:
        """While it lasts the first Ctrl-C is only noted. Only the main thread hears signals."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return

        def note(number: int, frame: FrameType | None) -> None:
            if self.wanted:
                raise KeyboardInterrupt
            self.wanted = True
            with outside():
                foot.say("ending within a quarter of a simulated second; Ctrl-C again ends at once")

        before = signal.signal(signal.SIGINT, note)
        try:
            yield self
        finally:
            signal.signal(signal.SIGINT, before)


def bar(share: float) -> str:
    """`[#####---------------]`"""
    full = round(share * BAR)
    return f"[{'#' * full}{'-' * (BAR - full)}]"


def pace(done: int, total: int, failed: int, elapsed_s: float) -> str:
    """How far a sweep is: `37 of 100 seeds  [#######-------------]  1 failed  3.2 a second  20 s left`."""
    told = [f"{done} of {counted(total, 'seed')}", bar(part_of(done, total)), f"{failed} failed"]
    if done and elapsed_s > 0:
        a_second = done / elapsed_s
        rate = f"{a_second:.1f} a second" if a_second >= 1 else f"{a_second * 60:.0f} a minute"
        told += [rate, f"{(total - done) / a_second:.0f} s left"]
    return "  ".join(told)


def _is_terminal(stream: IO[str]) -> bool:
    try:
        return stream.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown")
    except (AttributeError, ValueError):  # closed
        return False
