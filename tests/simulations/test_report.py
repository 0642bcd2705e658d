"""What a run and a sweep are told as: no promise is said to hold further than somebody looked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from identity.errors import Refused
from simulations.cases import Case, Verdict, every_checker
from simulations.history import History
from simulations.marks import Mark
from simulations.promises import Watching
from simulations.report import (
    HEAD_LINES,
    PROMISES,
    TAIL_LINES,
    Told,
    as_json,
    asked_of,
    columns,
    heading_of,
    kinds_of,
    line_of,
    planned_s,
    promises,
    summary_of,
    sweep_as_json,
    title,
    trace_of,
    transcript,
    under_way,
)
from simulations.scenario import Outcome, parse
from simulations.timeline import halves

TEXT = "servers 2\nclass Note text:string\n1.1 commits 2 Note\nrun 60s\nheal\nexpect every promise within 30s\n"
LINES = (
    "    0.100  class Note text:string", "    0.200  1.1 commits 2 Note  -> 2 objects of 1.1", "   60.200  run 60s",
    "   60.200  heal", "   60.700  expect every promise within 30s  -> after 0.50 s",
)  # fmt: skip
MARKS = (
    Mark(0.0, "start", ("1",)), Mark(0.0, "start", ("1.1",)), Mark(0.2, "commit", ("1.1",), "", {"number": 1}),
    Mark(5.0, "crash", ("1.1",)), Mark(7.0, "start", ("1.1",)),
)  # fmt: skip


class Looks(Watching):
    name, promise = "looks", "P2"

    def look(self, world: Any) -> None: ...


class Ends(Watching):
    name, promise = "ends", "P3"

    def finish(self, world: Any) -> str:
        return ""


class Both(Looks, Ends):
    name, promise = "both", "P1"


def told(
    *, text: str = TEXT, lines: tuple[str, ...] = LINES, stopped: bool = False, drawn: bool = False, **verdict: Any
) -> Told:
    case = Case(seed=7, text=text, name="rain.txt", drawn=("--nodes", "5") if drawn else ())
    outcome = Outcome(lines, "ab" * 32, 321, 60.7, MARKS)
    judged = Verdict(seed=7, name="rain.txt", trace="ab" * 32, events=321, seconds=60.7, **verdict)
    return Told(case, judged, outcome, parse(text, name="rain.txt"), (Looks(), Ends(), Both()), stopped)


def found(run: Told) -> dict[str, str]:
    return {row["checker"]: row["verdict"] for row in promises(run)}


def test_a_run_to_its_end_held_what_was_looked_at_and_came_right() -> None:
    assert found(told()) == {
        "looks": "held", "ends": "came right", "both": "held, and came right",
        "the scenario's expectations": "1 of 1 met",
    }  # fmt: skip
    assert [row["promise"] for row in promises(told())] == ["P1", "P2", "P3", ""]


def test_what_a_checker_could_not_judge_is_said_beside_what_held() -> None:
    run = told()
    assert run.outcome is not None
    row = found(replace(run, outcome=replace(run.outcome, unjudged=(("both", "not judged: 1 object"),))))
    assert row["both"] == "held, and came right (not judged: 1 object)"
    assert row["looks"] == "held"
    assert "both: not judged: 1 object" in line_of(Verdict(seed=3, unjudged=("both: not judged: 1 object",)))
    assert sweep_as_json([Verdict(seed=3, unjudged=("both: so",))], {})["runs"][0]["unjudged"] == ["both: so"]


def test_how_much_was_judged_stands_beside_what_came_right_and_nothing_judged_is_no_success() -> None:
    run = told()
    assert run.outcome is not None
    some = replace(run.outcome, judged=(("both", "2 of 6 pairs"), ("ends", "no pair could be asked")))
    row = found(replace(run, outcome=some))
    assert row["both"] == "held, and came right (2 of 6 pairs)"
    assert row["ends"] == "no pair could be asked"


def test_what_nobody_expected_was_not_looked_at() -> None:
    text = TEXT.replace("expect every promise within 30s\n", "")
    assert found(told(text=text, lines=LINES[:-1])) == {
        "looks": "held", "ends": "not looked at: expect ends within 60s", "both": "held",
    }  # fmt: skip


def test_one_promise_can_be_expected_by_its_name_and_at_a_time() -> None:
    lines = (*LINES[:-1], "   60.700  at 61s expect both within 30s  -> after 0.50 s")
    rows = found(told(lines=lines))
    assert rows["both"] == "held, and came right"
    assert rows["ends"].startswith("not looked at")


def test_a_broken_promise_is_told_where_and_the_others_only_until_then() -> None:
    run = told(lines=LINES[:3], promise="P1", checker="both", at=12.25, said="P1 broken (both) at 12.250 s: gone")
    assert found(run) == {
        "both": "BROKEN at 12.250 s", "looks": "held until 60.700 s", "ends": "not looked at",
        "the scenario's expectations": "0 of 1 met",
    }  # fmt: skip
    assert run.picture().broken == "P1 broken (both) at 12.250 s: gone"
    assert run.picture().broken_at == 12.25


def test_an_expectation_that_failed_and_code_that_broke_are_rows_too() -> None:
    said = "rain.txt:6: expect every promise within 30s: not yet (seed 7)"
    assert (
        found(told(lines=LINES[:4], promise="expectation", checker="expect", said=said))["the scenario's expectations"]
        == "0 of 1 met, then one FAILED"
    )
    assert found(told(promise="code", checker="KeyError in pump.run"))["the code"] == "BROKE: KeyError in pump.run"


def test_a_run_that_a_person_ended_claims_nothing_of_the_rest() -> None:
    run = told(lines=LINES[:3], stopped=True)
    assert found(run)["looks"] == "held until 60.700 s"
    assert title(run).endswith("ended by you")
    assert as_json(run)["passed"] is False


def test_the_title_counts() -> None:
    assert title(told()) == "rain.txt, seed 7: 2 servers, 60.7 virtual s, 321 events, 1 fault, 1 update"


def test_a_long_transcript_is_told_by_its_ends() -> None:
    lines = tuple(f"{number:9.3f}  run 1s" for number in range(200))
    shown = transcript(told(lines=lines))
    assert len(shown) == HEAD_LINES + TAIL_LINES + 1
    assert (shown[0], shown[-1]) == (lines[0], lines[-1])
    assert f"{200 - HEAD_LINES - TAIL_LINES} lines more" in shown[HEAD_LINES]
    assert transcript(told()) == list(LINES)


def test_json_has_everything_that_was_seen() -> None:
    report = as_json(told(drawn=True))
    assert (report["trace"], report["seed"], report["events"], report["passed"]) == ("ab" * 32, 7, 321, True)
    assert report["replay"] == "bangpath simulate --nodes 5 --seed 7"
    assert report["transcript"] == list(LINES)
    assert report["faults"] == [
        {"kind": "crash", "servers": ["1.1"], "text": "1.1 crashed", "begin": 5.0, "end": 7.0},
    ]
    assert report["servers"] == ["1", "1.1"]
    assert report["text"] == TEXT
    assert report["broken"] is None


SWEPT = [
    Verdict(seed=1, trace="aa" * 32, events=10, seconds=5.0),
    Verdict(seed=2, trace="bb" * 32, promise="P1", checker="x", said="P1 broken (x): gone"),
    Verdict(
        seed=3,
        trace="cc" * 32,
        promise="P3",
        checker="y",
        said="P3 broken (y) at 2.000 s: 1.2 lacks 1.1/7 of its owner",
    ),
    Verdict(
        seed=4, trace="dd" * 32, promise="P3", checker="y", said="P3 broken (y) at 31.004 s: 1.3 lacks 1/12 of its own"
    ),
    Verdict(seed=5, trace="ee" * 32, differs="event 7: a against b"),
    Verdict(seed=6, trace="ff" * 32, promise="P3", checker="y", said="P3 broken (y) at 2.000 s: 1.2 has 1.1/7 twice"),
    Verdict(seed=7, given_up_s=600.0),
]


def test_a_sweep_tells_its_kinds_of_failures_the_most_frequent_first() -> None:
    assert [(kind.promise, kind.checker, kind.seeds, kind.said) for kind in kinds_of(SWEPT)] == [
        ("P3", "y", (3, 4), SWEPT[2].said),
        ("P1", "x", (2,), "P1 broken (x): gone"),
        ("P6", "not the same twice", (5,), "not the same twice: event 7: a against b"),
        ("P3", "y", (6,), SWEPT[5].said),
    ]
    assert [kind.alone for kind in kinds_of(SWEPT)] == [False, True, True, False]
    assert heading_of(kinds_of(SWEPT)) == "4 kinds of failures in 5 seeds"
    assert heading_of(kinds_of(SWEPT[1:2])) == "1 kind of failures in 1 seed"
    assert summary_of(SWEPT) == "1 passed, 5 failed, 1 without a verdict"
    report = sweep_as_json(SWEPT, {3: {"lines": 2}}, stopped=False)
    assert (report["seeds"], report["passed"], report["failed"], report["without_verdict"]) == (7, 1, 5, 1)
    assert [kind["small"] for kind in report["kinds"]] == [{"lines": 2}, None, None, None]
    assert [run["seed"] for run in report["runs"]] == [1, 2, 3, 4, 5, 6, 7]
    assert report["runs"][1]["broken"]["checker"] == "x"
    assert report["runs"][4]["differs"] == "event 7: a against b"


def test_each_seed_is_a_line() -> None:
    assert line_of(SWEPT[0]) == f"seed 1: 10 events in 5.0 virtual s, trace {'aa' * 8}"
    assert "FAILED: P1 (x): P1 broken (x): gone" in line_of(SWEPT[1])
    assert "NOT THE SAME TWICE: event 7" in line_of(SWEPT[4])


def test_the_trace_of_a_sweep_is_that_of_all_its_runs() -> None:
    other = [*SWEPT[:-1], Verdict(seed=5, trace="ff" * 32)]
    assert trace_of(SWEPT) == trace_of(list(SWEPT))
    assert trace_of(SWEPT) != trace_of(other)


def test_what_lasts_is_under_way_until_it_ends() -> None:
    begun = Mark(1.0, "fault", ("1", "1.1"), "part 1 | 1.1", {"fault": "partition", "lasting": True})
    crash = Mark(2.0, "fault", ("1.1",), "crash 1.1", {"fault": "crash", "lasting": True})
    once = Mark(2.0, "fault", ("1.1",), "clock of 1.1 jumps", {"fault": "clock jump", "lasting": False})
    ended = Mark(3.0, "fault", ("1", "1.1"), "part 1 | 1.1", {"fault": "partition", "ended": True})
    assert under_way([begun, crash, once], ["1.1"]) == ["part 1 | 1.1", "down: 1.1"]
    assert under_way([begun, crash, once, ended], []) == []


def test_what_people_asked_is_marked_with_its_outcome() -> None:
    history = History(clock=lambda: 3.5)
    with history.word("1.2", "1.1", "get", target="1.1/4") as word:
        word.result = {}
    with pytest.raises(Refused), history.word("1.2", "1.1", "get", target="1.1/5"):
        raise Refused("not yours")
    marks = asked_of(history.words)
    assert [(mark.servers, mark.details["outcome"]) for mark in marks] == [(("1.2",), "done"), (("1.2",), "refused")]
    assert marks[0].details["what"] == "get 1.1/4 (done)"
    assert marks[1].details["what"].startswith("get 1.1/5 (refused: not yours")
    run = Told(told().case, told().verdict, told().outcome, told().scenario, asked=marks)
    assert as_json(run)["asked"] == {"done": 1, "refused": 1}
    assert "2 times asked" in title(run)
    assert "operation refused" in halves(run.picture(), plot_px=900.0).kinds


def test_how_long_a_scenario_takes_by_its_own_words() -> None:
    assert planned_s(parse(TEXT)) == 60.0
    assert planned_s(parse("servers 2\nat 3s crash 1.1 for 9s\nrun 5s\n")) == 12.0
    assert planned_s(parse("servers 2\nclass Note text:string\n")) == 0.0


def test_columns_are_as_wide_as_their_widest() -> None:
    rows = [{"a": "x", "b": "1"}, {"a": "longer", "b": ""}]
    assert columns(rows, ("a", "b")) == ["a       b", "x       1", "longer"]


def test_every_promise_that_a_checker_looks_at_has_words() -> None:
    assert {checker.promise for checker in every_checker()} <= set(PROMISES)
