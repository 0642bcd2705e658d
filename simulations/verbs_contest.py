"""Verbs of contests: two servers ask at the same moment for what only one of them can have.

    1.2 and 1.3 change 2 Note of 1.1 as last seen        both see the same versions, and each writes a text of its own
        1.2 --- 1.1/7 as of 4: "1.2 says 9" ---> 1.1     sequence 5
        1.3 --- 1.1/7 as of 4: "1.3 says 10" --> 1.1     a conflict: 4 does not stand any more

    1.2 and 1.3 commit 2 Item at 1.1 with the same values    two of each, and their unique fields are alike
        1.2 --- a new Item, serial 7 --> 1.1     1.1/12
        1.3 --- a new Item, serial 7 --> 1.1     refused: 7 is taken by 1.1/12
    1.1 commits 2 Item together with the same values         in one transaction, which contradicts itself
    1.2 commits 2 Item at 1.1 with taken values              those of objects that there are
    1.2 changes 2 Item of 1.1 to taken values
    1.1 passes values of 3 Item round                        in one transaction: each gets those of the one before it

Who loses is told, and the line is none that fails: `3 done, 1 conflict`. That nobody wins who should have lost, and
nobody loses without a cause, is said by the checkers (`check_linearizable.py`, `check_unique.py`). One of the two may
be the owner itself, and both may be the same server.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio

from identity.errors import BangpathError
from identity.names import Reference
from node.asking import Operation
from simulations.class_lines import Values
from simulations.steps import ID, NUMBER, Act, Run, Verb, amount
from simulations.verbs_work import Desk, carry_out, text_of


class _Contest:
    """Requests for one owner that may be refused, and how they ended."""

    def __init__(self, run: Run, owner: str) -> None:
        self._run = run
        self.owner = owner
        self._ended: Counter[str] = Counter()

    async def ask(self, asker: str, operations: list[Operation], references: tuple[Reference, ...] = ()) -> None:
        try:
            waits = await carry_out(self._run, asker, self.owner, operations, len(operations) > 1, references)
        except BangpathError as error:
            self._ended[type(error).__name__.lower()] += 1
            return
        self._ended["waiting" if waits else "done"] += 1

    def __str__(self) -> str:
        return ", ".join(f"{number} {what}" for what, number in sorted(self._ended.items()))


def _changes_seen(name: str, other: str, number: str, class_name: str, owner: str) -> Act:
    wished = amount(number)

    async def act(run: Run) -> str:
        desk, contest, values = Desk.of(run), _Contest(run, owner), Values.of(run)
        chosen = list(dict.fromkeys(desk.some(run, owner, wished, class_name)))
        seen = {each: desk.sequences.get(each) or None for each in chosen}
        async with trio.open_nursery() as nursery:
            for each in chosen:
                for asker in (name, other):
                    fields = values.fill(run, owner, class_name, text_of(run, asker), whole=False)
                    change = Operation(op="update", object=each.object, fields=fields, expect=seen[each])
                    nursery.start_soon(contest.ask, asker, [change], (each,))
        return str(contest)

    return act


def _creates_alike(name: str, other: str, number: str, class_name: str, owner: str) -> Act:
    wished = amount(number)

    async def act(run: Run) -> str:
        contest, values = _Contest(run, owner), Values.of(run)
        async with trio.open_nursery() as nursery:
            for _ in range(wished):
                alike: Mapping[str, Any] = {}
                for asker in (name, other):
                    alike = values.fill(run, owner, class_name, text_of(run, asker), unique=alike)
                    nursery.start_soon(contest.ask, asker, [_creation(class_name, alike)])
        return str(contest)

    return act


def _of_one(
    way: Callable[[Run, _Contest, str, int, str], Awaitable[None]],
) -> Callable[[str, str, str, str | None], Act]:
    """The verb of one server that asks an owner, or itself, in this `way`: as often, for objects of this class."""

    def verb(name: str, number: str, class_name: str, owner: str | None) -> Act:
        wished = amount(number)

        async def act(run: Run) -> str:
            contest = _Contest(run, owner or name)
            await way(run, contest, name, wished, class_name)
            return str(contest)

        return act

    return verb


async def _create_together(run: Run, contest: _Contest, name: str, number: int, class_name: str) -> None:
    values = Values.of(run)
    first = values.fill(run, contest.owner, class_name, text_of(run, name), unique={})
    rest = [values.fill(run, contest.owner, class_name, text_of(run, name), unique=first) for _ in range(number - 1)]
    await contest.ask(name, [_creation(class_name, each) for each in (first, *rest)])


async def _create_taken(run: Run, contest: _Contest, name: str, number: int, class_name: str) -> None:
    for stand in _had(run, contest.owner, number, class_name):
        fields = Values.of(run).fill(run, contest.owner, class_name, text_of(run, name), unique=stand)
        await contest.ask(name, [_creation(class_name, fields)])


async def _change_to_taken(run: Run, contest: _Contest, name: str, number: int, class_name: str) -> None:
    chosen = Desk.of(run).some(run, contest.owner, number, class_name)
    for changed, stand in zip(chosen, _had(run, contest.owner, number, class_name), strict=True):
        change = _rewriting(run, contest, name, class_name, changed, stand)
        await contest.ask(name, [change], (changed,))


async def _pass_round(run: Run, contest: _Contest, name: str, number: int, class_name: str) -> None:
    holders = _holders(run, contest.owner, class_name)
    chosen = run.world.random.sample(holders, min(number, len(holders)))
    names = Values.of(run).unique_names(class_name)
    stand = [{each: run.texts.get(holder, {}).get(each) for each in names} for holder in chosen]
    passed = [dict.fromkeys(names), *stand]  # the first must let go of its own before the second can have them
    changed = (*chosen, chosen[0])
    changes = [
        _rewriting(run, contest, name, class_name, each, theirs) for each, theirs in zip(changed, passed, strict=True)
    ]
    await contest.ask(name, changes, changed)


def _rewriting(
    run: Run, contest: _Contest, name: str, class_name: str, changed: Reference, unique: Mapping[str, Any]
) -> Operation:
    """A change of the text and of these unique values, which are taken at once."""
    fields = {"text": text_of(run, name), **unique}
    Values.of(run).take(contest.owner, class_name, fields)
    return Operation(op="update", object=changed.object, fields=fields)


def _had(run: Run, owner: str, number: int, class_name: str) -> list[dict[str, Any]]:
    """The unique values of that many of an owner's objects, by chance; of such that have any, when there are any."""
    names = Values.of(run).unique_names(class_name)
    holders = _holders(run, owner, class_name)
    chosen = [run.world.random.choice(holders) for _ in range(number)]
    return [{each: run.texts.get(holder, {}).get(each) for each in names} for holder in chosen]


def _holders(run: Run, owner: str, class_name: str) -> list[Reference]:
    """An owner's objects with a unique value, else all. Raises `Refused` when it has none."""
    desk, names = Desk.of(run), Values.of(run).unique_names(class_name)
    desk.some(run, owner, 0, class_name)  # which says that there are none
    own = [each for each in run.objects[owner] if desk.classes.get(each) == class_name]
    return [each for each in own if any(run.texts.get(each, {}).get(name) is not None for name in names)] or own


def _creation(class_name: str, fields: Mapping[str, Any]) -> Operation:
    return Operation(op="create", class_name=class_name, fields=dict(fields))


_AT, _OF = rf"(?: at {ID})?", rf"(?: of {ID})?"

VERBS: tuple[Verb, ...] = (
    Verb(
        rf"{ID} and {ID} change {NUMBER} (\w+) of {ID} as last seen",
        (1, 2, 5),
        _changes_seen,
        "1.2 and 1.3 change 2 Note of 1.1 as last seen",
    ),
    Verb(
        rf"{ID} and {ID} commit {NUMBER} (\w+) at {ID} with the same values",
        (1, 2, 5),
        _creates_alike,
        "1.2 and 1.3 commit 2 Item at 1.1 with the same values",
    ),
    Verb(
        rf"{ID} commits {NUMBER} (\w+) together{_AT} with the same values",
        (1, 4),
        _of_one(_create_together),
        "1.1 commits 2 Item together with the same values",
    ),
    Verb(
        rf"{ID} commits {NUMBER} (\w+){_AT} with taken values",
        (1, 4),
        _of_one(_create_taken),
        "1.2 commits 2 Item at 1.1 with taken values",
    ),
    Verb(
        rf"{ID} changes {NUMBER} (\w+){_OF} to taken values",
        (1, 4),
        _of_one(_change_to_taken),
        "1.2 changes 2 Item of 1.1 to taken values",
    ),
    Verb(
        rf"{ID} passes values of {NUMBER} (\w+){_OF} round",
        (1, 4),
        _of_one(_pass_round),
        "1.1 passes values of 3 Item round",
    ),
)
