"""Updates in a picture: how they spread, who is behind, and that who stopped mirroring is not."""

from __future__ import annotations

from typing import Any

from simulations.marks import Mark
from simulations.scenario import parse, run_scenario
from simulations.timeline_layout import spans
from simulations.timeline_updates import lags, spreads


def mark(at: float, kind: str, *servers: str, text: str = "", **details: Any) -> Mark:
    return Mark(at, kind, servers, text, details)


def test_a_mirror_is_behind_by_what_its_owner_made_and_it_has_not() -> None:
    marks = [
        mark(1, "commit", "1.1", number=1), mark(2, "applied", "1.2", "1.1", number=1),
        mark(3, "commit", "1.1", number=2), mark(4, "commit", "1.1", number=3),
        mark(4, "commit", "1.3", number=1),  # which 1.2 does not mirror
        mark(8, "applied", "1.2", "1.1", number=2), mark(9, "applied", "1.2", "1.1", number=3),
    ]  # fmt: skip
    assert lags(marks) == {"1.2": [(2, 0), (3, 1), (4, 2), (8, 1), (9, 0)]}


def test_who_stopped_mirroring_is_not_behind_until_it_mirrors_again() -> None:
    marks = [
        mark(0, "mirrors", "1.2", text="1.1"), mark(0, "mirrors", "1.2", text="1.3"),
        mark(1, "commit", "1.1", number=1), mark(2, "applied", "1.2", "1.1", number=1),
        mark(2, "commit", "1.3", number=1), mark(2, "applied", "1.2", "1.3", number=1),
        mark(3, "commit", "1.1", number=2), mark(3, "commit", "1.3", number=2),
        mark(4, "stops mirroring", "1.2", text="1.1"),
        mark(5, "commit", "1.1", number=3), mark(6, "applied", "1.2", "1.3", number=2),
        mark(7, "mirrors", "1.2", text="1.1"), mark(8, "applied", "1.2", "1.1", number=3),
    ]  # fmt: skip
    assert lags(marks) == {"1.2": [(0, 0), (1, 1), (2, 0), (3, 2), (4, 1), (6, 0), (7, 2), (8, 0)]}
    assert spans(marks, 9.0) == []


def test_a_mirror_that_never_received_anything_is_behind_in_everything() -> None:
    marks = [
        mark(1, "commit", "1.1", number=1), mark(2, "commit", "1.1", number=2), mark(3, "mirrors", "1.2", text="1.*"),
        mark(4, "commit", "1.3", number=1), mark(5, "commit", "1.2", number=1), mark(6, "commit", "1", number=1),
        mark(7, "mirrors", "1.4", text="1.7"),
    ]  # fmt: skip
    assert lags(marks) == {"1.2": [(3, 2), (4, 3)]}


def test_what_is_mirrored_by_another_pattern_too_is_behind_all_the_same() -> None:
    marks = [
        mark(0, "mirrors", "1.2", text="1.1"), mark(0, "mirrors", "1.2", text="1.*"),
        mark(1, "commit", "1.1", number=1), mark(2, "applied", "1.2", "1.1", number=1),
        mark(3, "stops mirroring", "1.2", text="1.1"), mark(4, "commit", "1.1", number=2),
    ]  # fmt: skip
    assert lags(marks) == {"1.2": [(0, 0), (1, 1), (2, 0), (4, 1)]}


def test_a_backup_brings_back_what_was_mirrored_then() -> None:
    marks = [
        mark(0, "mirrors", "1.2", text="1.1"), mark(1, "commit", "1.1", number=1),
        mark(2, "applied", "1.2", "1.1", number=1), mark(3, "backup", "1.2"),
        mark(4, "stops mirroring", "1.2", text="1.1"), mark(4, "mirrors", "1.2", text="1.3"),
        mark(4, "commit", "1.3", number=1), mark(4, "applied", "1.2", "1.3", number=1),
        mark(5, "commit", "1.1", number=2), mark(6, "commit", "1.3", number=2), mark(7, "commit", "1.3", number=3),
        mark(8, "restore", "1.2"),
    ]  # fmt: skip
    assert lags(marks) == {"1.2": [(0, 0), (1, 1), (2, 0), (4, 0), (6, 1), (7, 2), (8, 1)]}


def test_an_update_spreads_from_where_it_was_made_to_where_it_arrived() -> None:
    marks = [
        mark(1, "commit", "1.1", number=1), mark(1.001, "commit", "1.1", number=2),
        mark(3, "applied", "1.2", "1.1", number=1), mark(3.001, "applied", "1.2", "1.1", number=2),
        mark(5, "applied", "1.3", "1.1", number=1), mark(6, "applied", "1.3", "1.1", number=77),  # made by nobody
    ]  # fmt: skip
    assert spreads(marks, bin_s=0.5) == [("1.1", 1, "1.2", 3, 2), ("1.1", 1, "1.3", 5, 1)]


def test_a_run_in_which_a_mirror_ends_shows_nobody_behind_from_then_on() -> None:
    lines = ["servers 2", "class Note text:string", "1.1 commits 2 Note", "1 mirrors 1.1", "run 2s"]
    outcome = run_scenario(parse("\n".join([*lines, "crash 1", "1.1 commits 3 Note", "restart 1", "run 3s"])), seed=1)
    assert max(behind for _, behind in lags(outcome.marks)["1"]) == 3
    ended = run_scenario(parse("\n".join([*lines, "1 stops mirroring 1.1", "1.1 commits 3 Note", "run 3s"])), seed=1)
    assert max(behind for _, behind in lags(ended.marks)["1"]) == 2  # when it began to mirror
    (stopped,) = (mark.at for mark in ended.marks if mark.kind == "stops mirroring")
    assert all(at < stopped for at, _ in lags(ended.marks)["1"])
    assert lags(ended.marks)["1"][-1][1] == 0
