"""The judge of answers: rows that do not belong, miss, come in another order, or are cut at the wrong place.

Answers are altered on their way to who asked. Those that some moment between question and answer explains stand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import trio

from node import fan_out
from node.standpoint import Standpoint
from simulations.checkers import every_checker
from simulations.promises import PromiseBroken
from simulations.scenario import parse, run_scenario
from store import selecting

ROWS = """
servers 3
class Note text:string
1.1 commits 6 Note
1.2 commits 2 Note
run 2s
1.2 changes 2 Note of 1.1
run 2s
{asks}
expect every promise within 60s
"""
BUSY = """
servers 3
class Note text:string
1.1 commits 6 Note
1.2 commits 2 Note
run 2s
at 5s 1 asks {question}
at 5s 1.2 asks {question} of their owners
at 6s 1.1 changes 4 Note
at 6s 1.2 changes 4 Note of 1.1
at 6.5s 1.1 deletes 2 Note
at 7s 1.1 commits 3 Note together
run 12s
expect every promise within 60s
"""
Alter = Callable[[list[Any]], list[Any]]


def answers(alter: Alter) -> Any:
    """Whoever asks is given these rows instead."""
    real = fan_out.ask

    async def ask(*said: Any, **more: Any) -> Any:
        answer = await real(*said, **more)
        return answer._replace(rows=alter(answer.rows))

    return mock.patch.object(fan_out, "ask", ask)


def delayed(before_s: float, after_s: float) -> Any:
    """Questions take their time: before the rows are looked at, and after it."""
    real = fan_out.ask

    async def ask(*said: Any, **more: Any) -> Any:
        await trio.sleep(before_s)
        answer = await real(*said, **{**more, "deadline": more["deadline"] + 60})
        await trio.sleep(after_s)
        return answer

    return mock.patch.object(fan_out, "ask", ask)


def run(text: str, *, seed: int = 1) -> PromiseBroken | None:
    return run_scenario(parse(text), seed=seed, checkers=every_checker()).broken


WRONG: dict[str, tuple[str, Alter, str]] = {
    "one is missing": ("Note", lambda rows: rows[1:], "is missing"),
    "one is missing that fits": ('Note where text ^= "1.2 "', lambda rows: rows[1:], "is missing"),
    "one is there twice": ("Note", lambda rows: [rows[0], *rows], "before 1.1/"),
    "turned round": ("Note order by text", lambda rows: rows[::-1], "before 1."),
    "turned round, and not shown by what": ("Note order by text show text", lambda rows: rows[::-1], "before 1."),
    "one too many": ("Note limit 3", lambda rows: [*rows, rows[0]], "was told 4 rows"),
    "one too few": ("Note limit 3", lambda rows: rows[:2], "is missing"),
    "cut before the first": ("Note order by -text limit 9", lambda rows: rows[1:], "is missing"),
}


@pytest.mark.parametrize(("question", "alter", "says"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("how", ["", " of their owners"])
def test_wrong_rows_are_noticed(question: str, alter: Alter, says: str, how: str) -> None:
    with answers(alter):
        broken = run(ROWS.format(asks=f"1 asks {question}{how}"))
    assert broken is not None
    assert (broken.checker, broken.promise) == ("true answers", "P5")
    assert says in broken.said


def test_rows_after_the_first_ones_are_noticed() -> None:
    """As many as were asked for, in order; but the first ones were others."""
    real = fan_out.ask

    async def ask(asking: Any, question: str, **more: Any) -> Any:
        answer = await real(asking, question.removesuffix("limit 3"), **more)
        return answer._replace(rows=answer.rows[-3:])

    with mock.patch.object(fan_out, "ask", ask):
        broken = run(ROWS.format(asks="1.1 asks Note from 1.1 order by text limit 3"))
    assert broken is not None
    assert "is missing" in broken.said


def test_a_condition_that_nobody_looks_at_is_noticed() -> None:
    with mock.patch.object(selecting, "compile_filter", return_value=lambda fields: True):
        broken = run(ROWS.format(asks='1 asks Note where text ^= "1.2 "'))
    assert broken is not None
    assert "does not meet the condition" in broken.said


def test_servers_that_were_not_asked_are_noticed() -> None:
    rows: list[Any] = []

    def keep(found: list[Any]) -> list[Any]:
        rows.extend(found)
        return list(rows)

    with answers(keep):
        broken = run(ROWS.format(asks="1 asks Note from 1.1\n1 asks Note from 1.2"))
    assert broken is not None
    assert "none of the servers asked for" in broken.said


@pytest.mark.parametrize(
    "question",
    ["Note", 'Note where text ^= "1.2 "', "Note order by -text limit 3", "Note order by text limit 7", "Note limit 0"],
)
@pytest.mark.parametrize(("before_s", "after_s"), [(0.0, 3.0), (3.0, 0.0), (1.01, 1.5), (1.5, 1.0)])
def test_what_changes_meanwhile_accuses_nobody(question: str, before_s: float, after_s: float) -> None:
    with delayed(before_s, after_s):
        assert run(BUSY.format(question=question)) is None


def test_rows_newer_than_the_position_that_is_told_accuse_nobody() -> None:
    """A position says what an answer has at least: what was deleted after it may be left out."""
    real = Standpoint.holding

    def holding(self: Standpoint, server: Any) -> Any:
        held = real(self, server)
        if held.position is None:
            return held
        return held._replace(position=held.position._replace(number=max(held.position.number - 3, 0)))

    asks = "1.1 deletes 2 Note\n1.1 asks Note\n1.1 asks Note order by text limit 5\n1 asks Note"
    with mock.patch.object(Standpoint, "holding", holding):
        assert run(ROWS.format(asks=asks)) is None


RESTARTED = """
servers 3
class Note text:string
1.1 commits 1 Note
1.2 mirrors 1.1
run 3s
crash 1.1
restart 1.1
1.1 changes 1 Note
run 3s
1.2 gets 1 Note of 1.1 as held here
1 gets 1 Note of 1.1
expect every promise within 60s
"""
BACKUP = """
servers 3
class Note text:string
1 commits 2 Note
{kept}
run 5s
isolate 1
run 5s
{asks}
heal
expect every promise within 60s
"""


def test_a_position_of_an_epoch_that_is_over_is_noticed() -> None:
    with mock.patch.object(Standpoint, "handle_applied"):  # it tells the epoch with which it began
        broken = run(RESTARTED)
    assert broken is not None
    assert (broken.checker, broken.promise) == ("true answers", "P5")
    assert "as of update 2 in epoch" in broken.said
    assert run(RESTARTED) is None


@pytest.mark.parametrize("asks", ["1.1 gets 1 Note of 1 as held here", "1.2 gets 1 Note of 1", "1.1 asks Note"])
def test_a_backup_that_is_shown_is_noticed(asks: str) -> None:
    text = BACKUP.format(kept="1.1 mirrors 1 as backup", asks=asks)
    with mock.patch.object(Standpoint, "shows", return_value=True):
        broken = run(text)
    assert broken is not None
    assert (broken.checker, broken.promise) == ("true answers", "P5")
    assert "1.1 has it as a backup only" in broken.said
    assert run(text) is None


def test_copies_from_before_and_backups_that_became_mirrors_may_be_shown() -> None:
    asks = "1.1 gets 2 Note of 1 as held here\n1.2 gets 2 Note of 1\n1.1 asks Note"
    for kept in (
        "1.1 gets 2 Note of 1\n1.1 mirrors 1 as backup",
        "1.1 mirrors 1 as backup\nrun 2s\n1.1 mirrors 1",
        "1.1 mirrors 1\nrun 2s\n1.1 mirrors 1 as backup\n1.1 gets 2 Note of 1",
    ):
        assert run(BACKUP.format(kept=kept, asks=asks)) is None
