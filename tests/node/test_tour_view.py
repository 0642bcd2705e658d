"""What the tour shows: the middle of long outputs left out, pauses only for a person, JSON and nothing else."""

import json
from pathlib import Path

import pytest
import trio
import trio.testing

from node.tour_view import HEAD, READ_S, TAIL, WHOLE, TourScreen, shortened

HELD = {"step": 3, "title": "A neighbour", "held": True, "seconds": 1.25, "told": "by its mirror"}
FAILED = {"step": 7, "title": "Cut", "held": False, "seconds": 9.0, "expected": "a gateway", "got": "none"}
FAILED["try"] = ["a", "b"]


def test_the_middle_of_a_long_output_is_left_out() -> None:
    lines = [str(number) for number in range(1000)]
    short = shortened(lines)
    assert (short[:HEAD], short[-TAIL:]) == (lines[:HEAD], lines[-TAIL:])
    assert short[HEAD] == f"... {1000 - HEAD - TAIL} more lines ..."
    few = lines[:WHOLE]
    assert shortened(few) == few


async def _play(screen: TourScreen) -> float:
    begun = trio.current_time()
    await screen.begin(3, "A neighbour", "speaks for Europe " * 20)
    screen.types("bangpath @1.4 get 1.2/7")
    screen.output(["x" * 1000], cut=True)
    screen.output(["  1.2  by its mirror" + ", and so on" * 20])
    screen.told(HELD)
    screen.told(FAILED)
    return trio.current_time() - begun


def test_plain_lines_have_no_pause_and_no_control_character(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trio.run(_play, TourScreen(tmp_path), clock=trio.testing.MockClock(autojump_threshold=0)) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 110
    assert "    $ bangpath @1.4 get 1.2/7\n" in out
    assert "    held after 1.2 s: by its mirror\n" in out
    assert out.count("xxx…") == 1
    assert " ".join(out.split()).count("and so on") == 20
    assert "    FAILED after 9.0 s: expected a gateway,\n      got none,\n      try: a\n           b\n" in out


@pytest.mark.parametrize(("fast", "as_json", "seconds"), [(False, False, READ_S), (True, False, 0), (False, True, 0)])
def test_a_person_gets_time_to_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fast: bool, as_json: bool, seconds: float
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    screen = TourScreen(tmp_path, fast=fast, as_json=as_json)
    assert trio.run(_play, screen, clock=trio.testing.MockClock(autojump_threshold=0)) == seconds


def test_json_is_one_line_a_step_and_the_rest_goes_to_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = TourScreen(tmp_path, as_json=True)
    screen.say("founding the mesh")
    with screen.progress(10, 0) as advance:
        advance(10)
    trio.run(_play, screen, clock=trio.testing.MockClock(autojump_threshold=0))
    screen.sum_up("all held")
    said = capsys.readouterr()
    assert [json.loads(line) for line in said.out.splitlines()] == [HELD, FAILED]
    assert said.err.startswith("founding the mesh\n")
