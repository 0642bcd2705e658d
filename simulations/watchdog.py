"""A simulated program that never gives the word back is told where it stands, not left to hang.

    while not ready: await trio.sleep(0)         steps, and time stands still   after SPINS steps, on any machine
    threading.Event().wait(), while True: pass   no step is taken at all        after STUCK_S real seconds, by a signal

The second cannot be told from a program that merely takes long but by a real clock, so it is the one place where a run
looks at one; what it then raises ends the run, and no run that ends well depends on it. It needs SIGALRM and the main
thread: elsewhere, beside another user of that signal, and under a debugger there is only the first.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from types import FrameType

import trio

from identity.errors import LocalMistake

SPINS = 1_000_000  # steps of one instant; the busiest drawn scenarios take some hundreds
STUCK_S = 60.0  # real seconds without a step
_TICKS = 12  # looks in that time: a process that was stopped meanwhile gets one look for all it missed
_LIBRARY = sys.stdlib_module_names | {"trio", "outcome"}


class Watchdog:
    """Counts the steps of one run."""

    def __init__(self) -> None:
        self.steps = 0
        self._instant = 0  # the step at which time moved last

    def moved(self) -> None:
        """Time moved, or something happened that was due."""
        self.steps += 1
        self._instant = self.steps

    def spun(self, tasks: Iterable[trio.lowlevel.Task], now: float) -> str:
        """A step was taken and time stood still; "" or, once every SPINS steps, who does not let it go on."""
        self.steps += 1
        if self.steps - self._instant < SPINS:
            return ""
        self._instant = self.steps
        places = sorted({place for task in tasks if (place := _place(frame for frame, _ in task.iter_await_frames()))})
        who = f": {', '.join(places[:3])}" if places else ""
        return f"at virtual second {now:.3f} {SPINS} steps were taken and time stands still{who}"

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """While the block runs, a real clock looks whether steps are taken."""
        if not _may_use_signals():
            yield
            return
        seen = (self.steps, 0)

        def look(number: int, frame: FrameType | None) -> None:
            nonlocal seen
            steps, looks = seen
            seen = (self.steps, 0 if self.steps != steps or sys.gettrace() is not None else looks + 1)
            if seen[1] > _TICKS:
                seen = (self.steps, 0)
                place = _place(_callers(frame))
                raise LocalMistake(
                    f"the simulation stands still: no step for {STUCK_S:g} real seconds"
                    + (f", at {place}" if place else ""),
                    next_step="let every loop await something that takes virtual time, such as trio.sleep; wait for "
                    "trio's own events and channels, not for locks and queues of threads",
                )

        before = signal.signal(signal.SIGALRM, look)
        signal.setitimer(signal.ITIMER_REAL, STUCK_S / _TICKS, STUCK_S / _TICKS)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def _may_use_signals() -> bool:
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        return False
    return signal.getsignal(signal.SIGALRM) is signal.SIG_DFL and signal.getitimer(signal.ITIMER_REAL)[0] == 0


def _callers(frame: FrameType | None) -> Iterator[FrameType]:
    """The frame and those that called it, the outermost first, as a task's are."""
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return reversed(frames)


def _place(frames: Iterable[FrameType]) -> str:
    """File and line of the innermost frame that is neither Python's nor trio's; of the simulator only if none else."""
    ours = theirs = ""
    for frame in frames:
        module = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        place = f"{os.path.relpath(frame.f_code.co_filename)}:{frame.f_lineno}"
        if module == "simulations":
            ours = place
        elif module not in _LIBRARY:
            theirs = place
    return theirs or ours
