"""Outboxes by hand-made histories: what is told of a change's end is held to what its owner made, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from identity.names import ObjectId, Reference, ServerId
from node.asking import Changed, Operation
from node.outcomes import Queued
from replication.entries import Entry, State
from simulations.check_outbox import NoForgottenChanges, OutboxesInOrder, Waiting
from simulations.history import Word
from simulations.ledger import Version
from simulations.promises import PromiseBroken
from simulations.world import World, simulate
from store.records import PUT, Leaf

OWNER = ServerId.parse("1.1")
OPERATION = Operation(op="update", object=9, fields={"text": "b"})


def in_a_world(story: Callable[[World], None]) -> None:
    async def told(world: World) -> None:
        world.ledger.refresh()
        story(world)

    simulate(told, servers=3, seed=1)


def asked(world: World, begin: int, end: int, *, done: int = 0, **options: Any) -> Word:
    """1.2 asked 1.1 to write "b" into object 9; `done`: under this sequence; else it was told that it waits."""
    with world.history.word("1.2", "1.1", "change", operations=[OPERATION], options=options) as word:
        reference = Reference(OWNER, 1, ObjectId(9))  # type: ignore[arg-type]  # a plain number does
        word.result = Changed(reference, done, None, "updated") if done else Queued(7, OWNER, "waiting", 0)
    word.begin, word.end = begin, end
    return word


def made(world: World, sequence: int, request: bytes, *, text: str = "b") -> None:
    """1.1 made this version of object 9 by that request."""
    leaf = Leaf(9, sequence, b"Note", PUT, request, b"", text.encode())
    world.ledger.read[leaf.fingerprint, leaf.body] = {"text": text}
    world.ledger._versions.setdefault("1.1", {}).setdefault(9, []).append(Version(sequence, leaf))
    world.ledger._requests.setdefault("1.1", {}).setdefault(request, sequence)


def ended(state: State, *results: tuple[int, str]) -> Entry:
    """Request 7 with its outcome: of each operation the sequence, and what was done."""
    entry = Entry(7, OWNER, 1, "update 1.1/9 (text)", 1, 0, state=state)
    if state is State.COMMITTED:
        entry.outcome = {"results": [{"reference": "1.1/9", "sequence": each, "done": done} for each, done in results]}
    return entry


def judged(world: World, entry: Entry) -> None:
    checker = NoForgottenChanges()
    checker.settled(world, Waiting(asked(world, 1, 2), Queued(7, OWNER, "waiting", 0), {b"7": None}), entry)
    checker._words = len(world.history.ended)
    checker.look(world)


UPDATED, AGAIN = (5, "updated"), (6, "updated")


@pytest.mark.parametrize(
    ("versions", "entry", "says"),
    [
        ([(5, b"7", "b")], ended(State.COMMITTED, UPDATED), None),
        ([], ended(State.COMMITTED, (4, "unchanged")), None),
        ([], ended(State.COMMITTED), "an outcome for 0 of 1 operations"),
        ([(5, b"7", "b")], ended(State.COMMITTED, UPDATED, AGAIN), "an outcome for 2 of 1 operations"),
        ([], ended(State.COMMITTED, UPDATED), "which 1.1 never made"),
        ([(5, b"7", "b")], ended(State.COMMITTED, AGAIN), "which 1.1 never made"),
        ([(5, b"8", "b")], ended(State.COMMITTED, UPDATED), "by another request"),
        ([(5, b"7", "c")], ended(State.COMMITTED, UPDATED), "did something else"),
        ([(5, b"7", "b")], ended(State.UNKNOWN), None),
        ([(5, b"8", "b")], ended(State.CONFLICT), None),
        *[
            ([(5, b"7", "b")], ended(state), f"is {state.value}, which 1.1 carried out as sequence 5")
            for state in (State.CONFLICT, State.REFUSED, State.EXPIRED, State.CANCELLED)
        ],
    ],
)
def test_an_outcome_is_held_to_what_the_owner_made(
    versions: list[tuple[int, bytes, str]], entry: Entry, says: str | None
) -> None:
    def story(world: World) -> None:
        for sequence, request, text in versions:
            made(world, sequence, request, text=text)
        if says is None:
            judged(world, entry)
        else:
            with pytest.raises(PromiseBroken, match=says):
                judged(world, entry)

    in_a_world(story)


def test_what_is_carried_out_after_it_was_told_to_be_refused_is_accused_too() -> None:
    def story(world: World) -> None:
        checker = NoForgottenChanges()
        checker.settled(world, Waiting(asked(world, 1, 2), Queued(7, OWNER, "", 0), {b"7": None}), ended(State.REFUSED))
        checker._words = len(world.history.ended)
        checker.look(world)
        made(world, 5, b"7")
        with pytest.raises(PromiseBroken, match="request 7 is refused"):
            checker.look(world)

    in_a_world(story)


def test_of_an_owner_that_is_excused_nothing_is_said() -> None:
    def story(world: World) -> None:
        checker = NoForgottenChanges()
        checker.settled(world, Waiting(asked(world, 1, 2), Queued(7, OWNER, "", 0), {b"7": None}), ended(State.REFUSED))
        checker._words = len(world.history.ended)
        made(world, 5, b"7")
        world.ledger.excuse("1.1", "it is hostile")
        checker.look(world)

    in_a_world(story)


@pytest.mark.parametrize(
    ("first", "then", "good"),
    [
        ((1, 2, 5), (3, 4, 6), True),
        ((1, 2, 6), (3, 4, 5), False),
        ((1, 4, 6), (3, 5, 5), True),  # both were under way at once
        ((1, 2, 0), (3, 4, 5), True),  # it changed nothing
    ],
)
@pytest.mark.parametrize("told_last", ["first", "then"])
def test_what_waits_is_made_in_the_order_in_which_it_was_asked(
    first: tuple[int, int, int], then: tuple[int, int, int], good: bool, told_last: str
) -> None:
    def story(world: World) -> None:
        checker = OutboxesInOrder()
        both = [(asked(world, begin, end), sequence) for begin, end, sequence in (first, then)]
        checker.look(world)
        told = []
        for word, sequence in both if told_last == "then" else both[::-1]:
            results = [(sequence, "updated") if sequence else (4, "unchanged")]
            told.append((Waiting(word, Queued(7, OWNER, "waiting", 0)), ended(State.COMMITTED, *results)))
        checker.settled(world, *told[0])
        if good:
            checker.settled(world, *told[1])
        else:
            with pytest.raises(PromiseBroken, match=r"did not do in turn what 1\.2 asked"):
                checker.settled(world, *told[1])

    in_a_world(story)


@pytest.mark.parametrize(("options", "good"), [({}, False), ({"queue": False}, True)])
def test_what_is_asked_at_once_stands_behind_what_waits_unless_it_is_not_to_wait(
    options: dict[str, Any], good: bool
) -> None:
    def story(world: World) -> None:
        checker = OutboxesInOrder()
        waits = asked(world, 1, 2)
        asked(world, 3, 4, done=5, **options)
        checker.look(world)
        told = Waiting(waits, Queued(7, OWNER, "waiting", 0)), ended(State.COMMITTED, (6, "updated"))
        if good:
            checker.settled(world, *told)
        else:
            with pytest.raises(PromiseBroken, match="became sequence 6, and what was asked then 5"):
                checker.settled(world, *told)

    in_a_world(story)
