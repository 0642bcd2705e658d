"""The line at the foot of a terminal, and Ctrl-C: seen and heard, and no part of the run."""

from __future__ import annotations

import io
import os
import signal
import threading
from typing import Any

import pytest

from simulations import progress
from simulations.cases import Case, run_and_keep
from simulations.progress import BAR, Foot, Stop, Stopped, Watcher, bar, pace
from simulations.scenario import known_of

TEXT = """servers 3
class Note text:string
1.2 mirrors 1.1
at 1s part 1 1.1 | 1.2 for 4s
at 2s crash 1.1 for 2s
run 10s
heal
1.1 commits 2 Note
"""


class Seen(Foot):
    """Keeps what it would show; always due."""

    def __init__(self) -> None:
        super().__init__(io.StringIO(), live=True)
        self.lines: list[str] = []

    def due(self) -> bool:
        return True

    def show(self, text: str) -> None:
        self.lines.append(text)


def watched(foot: Foot, stop: Stop | None = None) -> tuple[Any, Any]:
    return run_and_keep(Case(seed=3, text=TEXT), watching=(Watcher(foot, stop or Stop(), planned_s=10.0),))


def test_it_shows_how_far_the_run_is_and_what_is_broken() -> None:
    foot = Seen()
    verdict, _ = watched(foot)
    assert verdict.passed
    assert foot.lines[0].startswith("0.0 of 10 virtual s  [-")
    at = {line.split()[0]: line for line in foot.lines}
    assert any("under way: part 1 1.1 | 1.2; down: 1.1" in line for line in at.values())
    assert "under way" not in foot.lines[-1]
    assert " events" in foot.lines[-1]


def test_a_run_takes_the_same_steps_with_a_watcher_and_without() -> None:
    alone = run_and_keep(Case(seed=3, text=TEXT))[0]
    assert watched(Seen())[0].trace == alone.trace == watched(Foot(io.StringIO(), live=False))[0].trace
    stream = io.StringIO()
    assert watched(Foot(stream, live=True))[0].trace == alone.trace  # which looks at the real clock, from outside
    assert "of 10 virtual s" in stream.getvalue()


def test_of_real_processes_it_shows_real_seconds() -> None:
    foot = Seen()
    run_and_keep(Case(seed=3, text=TEXT), watching=(Watcher(foot, Stop(), planned_s=10.0, real=True),))
    assert foot.lines[0] == f"0.0 of 10 real s  {bar(0.0)}"


def test_without_a_terminal_nothing_is_drawn() -> None:
    stream = io.StringIO()
    foot = Foot(stream)
    foot.show("a line")
    foot.clear()
    assert not foot.live
    assert stream.getvalue() == ""
    foot.say("said")
    assert stream.getvalue() == "said\n"


def test_a_line_replaces_the_one_before_and_leaves_nothing() -> None:
    stream = io.StringIO()
    foot = Foot(stream, live=True)
    foot.show("first " + "x" * 500)
    foot.show("second")
    foot.clear()
    drawn = stream.getvalue()
    assert "\n" not in drawn
    assert drawn.endswith("\rsecond\x1b[K\r\x1b[K")
    assert max(map(len, drawn.split("\r"))) < 300


def test_a_line_that_nothing_replaces_says_for_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "TICK_S", 0.01)
    drawn = threading.Event()

    class Heard(io.StringIO):
        def write(self, text: str) -> int:
            if "real s so far" in text:
                drawn.set()
            return super().write(text)

    stream = Heard()
    foot = Foot(stream, live=True)
    with foot.ticking():
        foot.show("1 000 servers begin")
        assert drawn.wait(60)
    assert "\r1 000 servers begin  (0 real s so far)\x1b[K" in stream.getvalue()
    assert threading.active_count() == 1 or not any(each.name.endswith("(_tick)") for each in threading.enumerate())


def test_ctrl_c_ends_the_run_at_the_next_look_with_what_is_known() -> None:
    stop = Stop()

    class Hasty(Seen):
        def show(self, text: str) -> None:
            super().show(text)
            if text.startswith("3."):
                os.kill(os.getpid(), signal.SIGINT)

    foot = Hasty()
    before = signal.getsignal(signal.SIGINT)
    with stop.heard(foot), pytest.raises(Stopped) as raised:
        watched(foot, stop)
    assert signal.getsignal(signal.SIGINT) is before
    known = known_of(raised.value)
    assert known is not None
    assert 3.0 <= known.seconds <= 3.5
    assert any("part 1 1.1 | 1.2 for 4s" in line for line in known.transcript)
    assert len(known.trace) == 64


def test_a_second_ctrl_c_ends_at_once() -> None:
    stop = Stop()

    def pressed_twice() -> None:
        with stop.heard(Foot(io.StringIO(), live=False)):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as raised:
        pressed_twice()
    assert not isinstance(raised.value, Stopped)
    assert stop.wanted


def test_bars_and_paces() -> None:
    assert bar(0.0) == f"[{'-' * BAR}]"
    assert bar(1.0) == f"[{'#' * BAR}]"
    assert pace(30, 100, 2, 10.0) == f"30 of 100 seeds  {bar(0.3)}  2 failed  3.0 a second  23 s left"
    assert pace(1, 3, 0, 10.0).endswith("6 a minute  20 s left")
    assert pace(0, 3, 0, 0.0) == f"0 of 3 seeds  {bar(0.0)}  0 failed"
