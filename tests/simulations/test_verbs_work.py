"""What people ask of a mesh, as lines of a scenario."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from identity.errors import Conflict, Refused
from simulations.promises import PromiseBroken
from simulations.scenario import parse, run_scenario
from simulations.server import SimulatedServer

HEAD = "servers 3\nclass Note text:string\n1.2 mirrors 1.1\n1.1 commits 4 Note\n"


def said(lines: str, *, seed: int = 1) -> list[str]:
    """What each line after the head said, in the order in which they ended."""
    transcript = run_scenario(parse(HEAD + lines), seed=seed).transcript
    return [each.partition("  -> ")[2] for each in transcript if not each[11:].startswith(tuple(HEAD.splitlines()))]


def test_changes_of_all_kinds_reach_their_owner_from_anywhere() -> None:
    lines = """
        1.1 commits 3 Note together
        run 2s
        1.2 commits 2 Note at 1.1
        1 changes 2 Note of 1.1
        1.2 changes 2 Note together of 1.1
        1.1 deletes 1 Note
        1.2 deletes 1 Note of 1.1
        expect 1.2 has all of 1.1 within 10s
        1 asks Note from 1.1
        1.2 asks Note as held here
    """
    told = said(lines)
    assert told[0] == "7 objects of 1.1"
    assert told[2] == "9 objects of 1.1"
    assert told[-2:] == ["7 rows, whole", "7 rows, not whole without 1"]


def test_a_change_waits_while_its_owner_is_away() -> None:
    told = said("run 2s\ncrash 1.1\nrun 30s\n1.2 changes 3 Note of 1.1\n1.2 commits 1 Note at 1.1")
    assert told[-2:] == ["3 wait for 1.1", "1 wait for 1.1"]


def test_questions_tell_how_they_were_answered_and_never_fail() -> None:
    lines = """
        run 2s
        1.2 gets 2 Note of 1.1 as held here
        1 gets 2 Note of 1.1 by their owner
        crash 1.1
        1 gets 2 Note of 1.1
        1 gets 1 Note of 1.1 by their owner
        1 asks Note from 1.1 of their owners
    """
    told = said(lines)
    assert told[1:3] == ["2 mirrored", "2 owner"]
    assert told[4:] == ["2 mirrored", "1 unreachable", "0 rows, not whole without 1.1"]


def test_a_mirror_that_was_ended_gets_nothing_more() -> None:
    told = said("run 2s\n1.2 stops mirroring 1.1\n1.1 changes 4 Note\nrun 5s\nexpect 1.2 lacks some of 1.1")
    assert told[-1].endswith("missing or old")


def test_a_change_of_what_was_last_seen_is_a_conflict_when_it_is_not() -> None:
    lines = """
        run 2s
        1.2 changes 2 Note of 1.1 as last seen
        1.1 changes 4 Note as last seen
    """
    assert said(lines) == ["", "", ""]
    with pytest.raises(Conflict):
        said(
            "run 2s\ncrash 1.1\nrun 20s\n1.2 changes 9 Note of 1.1\nrestart 1.1\nrun 20s\n"
            "1.1 changes 9 Note as last seen"
        )


def test_who_asks_for_what_was_written_gets_it() -> None:
    lines = "run 2s\n1.1 changes 4 Note\n1.2 gets 4 Note of 1.1 after the last change"
    assert said(lines)[-1] in (
        "4 mirrored",
        "4 owner",
        "1 mirrored, 3 owner",
        "1 owner, 3 mirrored",
        "3 mirrored, 1 owner",
    )


def test_an_older_answer_than_was_asked_for_breaks_a_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    get = SimulatedServer.get

    async def forgetful(self: SimulatedServer, reference: Any, *, after: Any = None, **options: Any) -> Any:
        return await get(self, reference, **options)

    monkeypatch.setattr(SimulatedServer, "get", forgetful)
    lines = "run 2s\npart 1.1 | 1 1.2\n1.1 changes 9 Note\n1.2 gets 4 Note of 1.1 after the last change"
    with pytest.raises(PromiseBroken, match="read what was written") as broken:
        said(lines)
    page = (Path(__file__).parents[2] / "docs" / "simulator-promises.md").read_text(encoding="utf-8")
    assert f"`{broken.value.promise} broken ({broken.value.checker})`" in page


def test_large_objects_travel_in_pieces() -> None:
    told = said("1.1 commits 2 Note of 60kB\nexpect 1.2 has all of 1.1 within 20s")
    assert told[0] == "6 objects of 1.1"


def test_a_backup_is_kept_and_not_shown() -> None:
    told = said("1 mirrors 1.1 as backup\nrun 5s\n1 asks Note from 1.1 as held here")
    assert told[-1] == "0 rows, not whole without 1.1"


def test_deleting_what_is_not_there_is_refused() -> None:
    with pytest.raises(Refused, match=r"1\.2 has no Note yet"):
        said("1.2 commits 1 Note\n1.2 deletes 1 Note\n1.2 deletes 1 Note")


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("1.1 moves 1 Note to 1.2", "Bangpath has no moves yet"),
        ("1.1 mirrors 1.1", "needs no mirror of itself"),
        ("1.1 commits 2 Note at 1.7", "no server '1.7'"),
        ("1.1 commits many Note", "is nothing a scenario can do"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_runs(line: str, wrong: str) -> None:
    with pytest.raises(Refused, match=wrong):
        parse(HEAD + line)
