"""Who gave an answer is told, and as what; who answered is not told as missing. Real answers accuse nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from identity.names import ServerId
from node import fan_out, federate, lookup
from simulations.check_answered import WhoAnswered, wrong_with
from simulations.checkers import every_checker
from simulations.promises import PromiseBroken
from simulations.scenario import parse, run_scenario

ASKED = """
servers 3
class Note text:string
1.1 commits 3 Note
1.2 mirrors 1.1
expect 1.2 has all of 1.1 within 30s
{asks}
run 1s
"""
ALONE = "isolate 1.1\nrun 20s\n"
EVERY_WAY = """\
1.1 gets 2 Note of 1.1
1.2 gets 2 Note of 1.1
1.2 gets 2 Note of 1.1 as held here
1.2 gets 2 Note of 1.1 by their owner
1.2 gets 2 Note of 1.1 after the last change
1 gets 2 Note of 1.1
1 asks Note
1 asks Note of their owners
1.2 asks Note as held here
1.2 asks Note from 1 of their owners"""


def run(asks: str, *, seed: int = 1) -> PromiseBroken | None:
    return run_scenario(parse(ASKED.format(asks=asks)), seed=seed, checkers=(WhoAnswered(),)).broken


@pytest.mark.parametrize(
    ("kind", "by", "asker", "consistency", "wrong"),
    [
        ("owned", "", "1.1", "nearest", ""),
        ("owned", "", "1.3", "nearest", "1.1 owns it"),
        ("owned", "1.4", "1.1", "nearest", "1.4 answered"),
        ("owner", "", "1.3", "owner", ""),
        ("owner", "", "1.1", "owner", "1.1 owns it"),
        ("owner", "1.4", "1.3", "nearest", "1.4 answered"),
        ("owner", "", "1.3", "local", "only 1.3 itself"),
        ("mirrored", "1.4", "1.3", "nearest", ""),
        ("mirrored", "", "1.3", "nearest", "nobody is told"),
        ("mirrored", "1.1", "1.3", "nearest", "nobody is told"),
        ("mirrored", "1.3", "1.3", "local", ""),
        ("mirrored", "1.4", "1.3", "local", "only 1.3 itself"),
        ("mirrored", "1.4", "1.3", "owner", "only 1.1, who owns it"),
        ("cached", "1.4", "1.3", "nearest", ""),
        ("cached", "", "1.3", "nearest", "nobody is told"),
        ("cached", "1.3", "1.3", "owner", "only 1.1, who owns it"),
    ],
)
def test_what_is_wrong_with_who_is_told(kind: str, by: str, asker: str, consistency: str, wrong: str) -> None:
    said = wrong_with(kind, "1.1", by, asker=asker, consistency=consistency)
    assert wrong in said
    assert bool(said) == bool(wrong)


@pytest.mark.parametrize("before", ["", ALONE])
def test_right_answers_accuse_nobody(before: str) -> None:
    assert run(before + EVERY_WAY) is None


Lie = Callable[[Any], Any]


def told_objects(lie: Lie) -> Any:
    """What is told of one object, altered."""
    real = lookup._Question._told
    return mock.patch.object(lookup._Question, "_told", lambda self, found: lie(real(self, found)))


def told_rows(lie: Lie) -> Any:
    """The same of every row."""
    real = fan_out.ask

    async def ask(*said: Any, **more: Any) -> Any:
        answer = await real(*said, **more)
        return answer._replace(rows=[lie(row) for row in answer.rows])

    return mock.patch.object(fan_out, "ask", ask)


def told_parts(lie: Callable[[federate.Owner], None]) -> Any:
    """The report's line of each owner."""
    real = federate.completeness

    def completeness(owners: Any, directory: Any) -> Any:
        every = list(owners)
        for each in every:
            lie(each)
        return real(every, directory)

    return mock.patch.object(fan_out, "completeness", completeness)


def as_owner(told: Any) -> Any:
    return told._replace(kind="owner", by=None) if told.kind in ("mirrored", "cached") else told


def as_mirrored(told: Any) -> Any:
    return told._replace(kind="mirrored", by=told.path[-1]) if told.kind == "owner" else told


def part(how: str, become: str, *, teller: str = "", who: str = "1.1") -> Callable[[federate.Owner], None]:
    def lie(each: federate.Owner) -> None:
        if (each.how, str(each.server)) == (how, who):
            each.how, each.by = become, next((s for s in each.path if str(s) == teller), None)

    return lie


def by(server: str) -> Lie:
    """As what that server mirrors."""
    return lambda told: told._replace(kind="mirrored", by=ServerId.parse(server))


WRONG: dict[str, tuple[Callable[[], Any], str, str]] = {
    "a mirror's as the owner's": (
        lambda: told_objects(as_owner), "1.2 gets 1 Note of 1.1", "1.1 told 1.2 nothing of it",
    ),
    "the same, of a mirror that was asked": (
        lambda: told_objects(as_owner), ALONE + "1 gets 1 Note of 1.1", "1.1 told 1 nothing of it",
    ),
    "the same of rows": (lambda: told_rows(as_owner), "1.2 asks Note", "1.1 told 1.2 nothing of it"),
    "somebody else's": (lambda: told_objects(by("1.2")), "1 gets 1 Note of 1.1", "1.2 told 1 nothing of it"),
    "a copy with a position": (
        lambda: told_objects(lambda told: told._replace(kind="cached")), "1.2 gets 1 Note of 1.1", "has no position",
    ),
    "the owner's as a mirror's": (lambda: told_objects(as_mirrored), "1 gets 1 Note of 1.1 by their owner", "only 1.1"),
    "a mirror for the owner": (
        lambda: mock.patch.object(lookup, "first_source", return_value="here"),
        "1.2 gets 1 Note of 1.1 by their owner", "only 1.1, who owns it",
    ),
    "another for the asker": (
        lambda: told_objects(by("1")), "1.2 gets 1 Note of 1.1 as held here", "only 1.2 itself",
    ),
    "a part by its owner, who was not asked": (
        lambda: told_parts(part("mirrored", "owner")), "1.2 asks Note", "1.1 told 1.2 nothing of it",
    ),
    "a part of its owner by a mirror": (
        lambda: told_parts(part("owner", "mirrored", teller="1")), "1 asks Note of their owners", "only 1.1",
    ),
    "an empty part that is missing": (
        lambda: told_parts(part("owner", "unreachable", who="1")), "1.2 asks Note", "it answered to the end",
    ),
    "a part with rows that is missing": (
        lambda: told_parts(part("owner", "cached", teller="1")), "1 asks Note", "it answered to the end",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("plant", "asks", "says"), WRONG.values(), ids=WRONG)
def test_who_is_told_wrongly_is_noticed(plant: Callable[[], Any], asks: str, says: str) -> None:
    with plant():
        broken = run(asks)
    assert broken is not None
    assert (broken.checker, broken.promise) == ("who answered", "P5")
    assert says in broken.said


@pytest.mark.parametrize(
    ("before", "asks"),
    [
        (ALONE, "1 asks Note"),  # it is missing
        ("", "at 40s 1 asks Note\nat 40s 1 asks Note\nrun 40s"),  # nobody knows which of them it answered
        ("1 turns hostile: withholds\n", "1 asks Note"),  # it says what it likes
    ],
)
def test_who_may_be_missing_is_not_accused(before: str, asks: str) -> None:
    with told_parts(part("owner", "unreachable")):
        assert run(before + asks) is None


def test_what_was_asked_before_it_began_accuses_nobody() -> None:
    text = ASKED.format(asks="1 gets 2 Note of 1.1\n1 asks Note\nexpect who answered\n1.2 gets 1 Note of 1.1")
    assert run_scenario(parse(text), seed=1).broken is None
    with told_objects(as_owner), pytest.raises(PromiseBroken, match=r"1\.1 told 1\.2 nothing of it"):
        run_scenario(parse(f"{text}expect who answered\n"), seed=1)


def test_who_answered_is_one_of_the_promises() -> None:
    assert WhoAnswered in map(type, every_checker())
