"""What one operation does to an object, and whether an owner's answers have an order, as tables."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import Any

import pytest
import trio

from identity.errors import Conflict
from identity.names import Incarnation, ObjectId, Reference, ServerId
from node.asking import Changed, Found, Operation
from simulations.check_linearizable import IMPOSSIBLE, UNBORN, Act, LinearizableOwners, Value, frozen, step
from simulations.history import Word
from simulations.linearize import linearize
from simulations.promises import PromiseBroken
from simulations.world import World, simulate

A, B = frozen({"text": "a"}), frozen({"text": "b"})
OWNER = ServerId.parse("1.1")


@pytest.mark.parametrize(
    ("before", "act", "after"),
    [
        (UNBORN, Act(0, "create", 3, A), Value(3, A)),
        (Value(3, A), Act(0, "create", 4, A), None),  # it is there already
        (Value(3, A), Act(0, "update", 4, B), Value(4, B)),
        (Value(4, B), Act(0, "update", 3, A), None),  # an older sequence after a newer one
        (Value(3, A), Act(0, "update", 0, B), Value(0, B, 3)),  # of unknown outcome, so of some later sequence
        (Value(0, A, 3), Act(0, "update", 0, B), Value(0, B, 4)),
        (Value(0, B, 3), Act(0, "read", 4, B), Value(4, B)),  # and now it is known
        (Value(0, B, 3), Act(0, "read", 3, B), None),
        (Value(4, B), Act(0, "read", 5, B), None),
        (Value(3, A), Act(0, "read", 3, B), None),
        (Value(3, A), Act(0, "read", 3, frozen({"text": "a", "stars": None})), Value(3, (("stars", None), *A))),
        (Value(3, A), Act(0, "read", 0, None), None),  # denied, and there
        (Value(3, A), Act(0, "delete", 4, ()), Value(4, None)),
        (Value(4, None), Act(0, "read", 0, None), Value(4, None)),
        (Value(4, None), Act(0, "read", 3, A), None),  # there, and deleted
        (Value(4, None), Act(0, "update", 5, A), None),
        (None, Act(0, "read", 7, A), Value(7, A)),  # nobody knows it: it is as it is read first
        (None, Act(0, "update", 7, A), Value(7, A)),
        (Value(3, A), Act(0, "same", 3, A), Value(3, A)),
        (Value(3, A), Act(0, "update", 4, B, expect=3), Value(4, B)),
        (Value(3, A), Act(0, "update", 4, B, expect=2), None),  # based on what does not stand any more
        (Value(3, A), Act(0, "delete", 4, (), expect=2), None),
        (Value(3, A), Act(0, "same", 3, A, expect=2), None),
        (Value(0, A, 3), Act(0, "update", 0, B, expect=3), None),  # another change made a later one of it
        (Value(0, A, 3), Act(0, "update", 0, B, expect=7), Value(0, B, 7)),
        (None, Act(0, "update", 0, B, expect=7), Value(0, B, 7)),
        (UNBORN, Act(0, "update", 4, B, expect=3), None),
        (Value(4, A), Act(0, "conflict", 4, None, expect=3), Value(4, A)),
        (Value(3, A), Act(0, "conflict", 3, None, expect=3), None),  # no conflict at all
        (Value(5, A), Act(0, "conflict", 4, None, expect=3), None),  # with what does not stand
        (Value(0, A, 3), Act(0, "conflict", 5, None, expect=3), Value(5, A)),
        (Value(0, A, 5), Act(0, "conflict", 5, None, expect=3), None),
        (Value(4, None), Act(0, "conflict", 4, None, expect=3), None),  # it was deleted
        (None, Act(0, "conflict", 4, None, expect=3), None),
    ],
)
def test_what_one_operation_does(before: Value | None, act: Act, after: Value | None) -> None:
    known = after is not None or (before is None and act.verb == "conflict")  # nobody knows it: it may be
    assert step((before,), (act,)) == ((after,) if known else None)


def test_of_several_operations_all_are_possible_or_none() -> None:
    state = (Value(3, A), Value(3, A))

    assert step(state, (Act(0, "update", 4, B), Act(1, "delete", 4, ()))) == (Value(4, B), Value(4, None))
    assert step(state, (Act(0, "update", 4, B), Act(1, "read", 2, A))) is None
    assert IMPOSSIBLE not in state


def reference(number: int) -> Reference:
    return Reference(OWNER, Incarnation(1), ObjectId(number))


def change_as_seen(world: World, server: str, text: str, seen: int, sequence: int) -> Word:
    operations = [Operation(op="update", object=9, fields={"text": text}, expect=seen)]
    with world.history.word(server, "1.1", "change", operations=operations) as word:
        word.result = Changed(reference(9), sequence, None, "updated")
    return word


def create(world: World, text: str, number: int, sequence: int) -> None:
    operations = [Operation(op="create", class_name="Note", fields={"text": text})]
    with world.history.word("1.1", "1.1", "change", operations=operations) as word:
        word.result = Changed(reference(number), sequence, None, "created")


def update(world: World, text: str, number: int, sequence: int) -> None:
    operations = [Operation(op="update", object=number, fields={"text": text})]
    with world.history.word("1.1", "1.1", "change", operations=operations) as word:
        word.result = Changed(reference(number), sequence, None, "updated")


def get(world: World, text: str, number: int, sequence: int, kind: str = "owned") -> Word:
    with world.history.word("1.2", "1.1", "get", target=f"1.1/{number}") as word:
        word.result = Found(reference(number), "Note", sequence, {"text": text}, kind, None, 0.0, (OWNER,))
    return word


def judged(tell: Any) -> str:
    """What is said of the history that `tell(world)` writes."""
    said: list[str] = []

    async def story(world: World) -> None:
        tell(world)
        world.ledger.refresh()
        checker = LinearizableOwners()
        try:
            checker.look(world)
        except PromiseBroken as broken:
            said.append(broken.said)

    simulate(story, servers=3, seed=1)
    return said[0] if said else ""


def test_a_search_that_was_too_long_is_told_until_a_later_one_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    async def story(world: World) -> None:
        checker = LinearizableOwners()
        create(world, "a", 9, sequence=3)
        create(world, "a", 10, sequence=4)
        checker.look(world)
        told.append(checker.unjudged)
        with monkeypatch.context() as patch:
            patch.setattr(
                "simulations.check_linearizable.linearize", lambda *given, **more: linearize(*given, **more, budget=0)
            )
            get(world, "a", 9, sequence=3)
            get(world, "a", 10, sequence=4)
            checker.look(world)
            told.append(checker.unjudged)
        get(world, "a", 9, sequence=3)
        checker.look(world)
        told.append(checker.unjudged)

    simulate(story, servers=2, seed=1)
    assert told == ["", "not judged: 2 objects, too many orders", "not judged: 1 object, too many orders"]


def test_the_old_version_after_the_new_one_is_accused_with_both() -> None:
    def tell(world: World) -> None:
        create(world, "a", 9, sequence=3)
        update(world, "b", 9, sequence=4)
        get(world, "b", 9, sequence=4)
        get(world, "a", 9, sequence=3)

    said = judged(tell)

    assert "1.1/9 is {'text': 'b'}, sequence 4" in said
    assert "then cannot come: 1.2 asked of 1.1" in said
    assert "{'text': 'a'}, sequence 3" in said


def test_a_change_that_is_under_way_may_have_happened() -> None:
    def tell(world: World) -> None:
        create(world, "a", 9, sequence=3)
        change = [Operation(op="update", object=number, fields={"text": "b"}) for number in (9, 10)]
        under_way = world.history.word("1.3", "1.1", "change", operations=change)
        under_way.__enter__()
        get(world, "a", 9, sequence=3)
        get(world, "b", 9, sequence=4)

    def tell_otherwise(world: World) -> None:
        tell(world)
        get(world, "a", 9, sequence=3)

    assert judged(tell) == ""
    assert "then cannot come" in judged(tell_otherwise)


@pytest.mark.parametrize("other", ["1.1", "1.2"])
def test_of_two_who_changed_what_both_had_seen_one_was_to_be_refused(other: str) -> None:
    def tell(world: World) -> None:
        create(world, "a", 9, sequence=3)
        change_as_seen(world, "1.2", "b", seen=3, sequence=4)
        change_as_seen(world, other, "c", seen=3, sequence=5)

    def tell_otherwise(world: World) -> None:
        create(world, "a", 9, sequence=3)
        change_as_seen(world, "1.2", "b", seen=3, sequence=4)
        change_as_seen(world, other, "c", seen=4, sequence=5)

    said = judged(tell)
    assert "then cannot come" in said
    assert "update 1.1/9{'text': 'c'} as of sequence 3 (done)" in said
    assert judged(tell_otherwise) == ""


def conflict(world: World, server: str, seen: int, told: int) -> None:
    operations = [Operation(op="update", object=9, fields={"text": "c"}, expect=seen)]
    with suppress(Conflict), world.history.word(server, "1.1", "change", operations=operations):
        raise Conflict(f"1.1/9 has sequence {told}, not {seen}", sequence=told)


@pytest.mark.parametrize("server", ["1.1", "1.2"])
def test_a_conflict_that_had_no_cause_is_accused(server: str) -> None:
    def tell(world: World) -> None:
        create(world, "a", 9, sequence=3)
        change_as_seen(world, "1.2", "b", seen=3, sequence=4)
        conflict(world, server, seen=3, told=4)

    def tell_otherwise(world: World) -> None:
        create(world, "a", 9, sequence=3)
        conflict(world, server, seen=3, told=3)

    def tell_more(world: World) -> None:
        create(world, "a", 9, sequence=3)
        change_as_seen(world, "1.1", "b", seen=3, sequence=4)
        change_as_seen(world, "1.1", "c", seen=4, sequence=5)
        conflict(world, server, seen=3, told=4)

    assert judged(tell) == ""
    assert "then cannot come" in judged(tell_otherwise)
    assert "then cannot come" in judged(tell_more)


def test_a_conflict_with_what_an_owner_lost_in_a_crash_or_a_hostile_one_was_told_accuses_nobody() -> None:
    def tell(world: World) -> None:
        create(world, "a", 9, sequence=3)
        conflict(world, "1.2", seen=3, told=4)
        world.mark("start", "1.1")

    def tell_otherwise(world: World) -> None:
        create(world, "a", 9, sequence=3)
        conflict(world, "1.2", seen=3, told=3)
        world.mark("hostile", "1.2")

    assert judged(tell) == judged(tell_otherwise) == ""


@pytest.mark.parametrize("under_way", [True, False])
def test_what_was_under_way_when_its_owner_turned_hostile_may_have_happened_before(under_way: bool) -> None:
    """Its answer comes too late to be believed; but somebody saw before that it was carried out."""
    said: list[str] = []

    async def story(world: World) -> None:
        create(world, "a", 9, sequence=3)
        await trio.sleep(1)
        operations = [Operation(op="update", object=9, fields={"text": "b"}, expect=3)]
        with world.history.word("1.2", "1.1", "change", operations=operations) if under_way else nullcontext() as word:
            await trio.sleep(1)
            conflict(world, "1.2", seen=3, told=4)
            await trio.sleep(1)
            world.mark("hostile", "1.1")
            await trio.sleep(1)
            if word is not None:
                word.result = Changed(reference(9), 4, None, "updated")
        world.ledger.refresh()
        try:
            LinearizableOwners().look(world)
        except PromiseBroken as broken:
            said.append(broken.said)

    simulate(story, servers=3, seed=1)
    assert bool(said) is not under_way


def test_what_a_hostile_server_asked_may_have_been_based_on_anything() -> None:
    def tell(world: World) -> None:
        create(world, "a", 9, sequence=3)
        change_as_seen(world, "1.2", "b", seen=2, sequence=4)
        get(world, "b", 9, sequence=4)
        world.mark("hostile", "1.2")

    def tell_more(world: World) -> None:
        tell(world)
        with world.history.word("1", "1.1", "get", target="1.1/9") as word:
            word.result = Found(reference(9), "Note", 4, {"text": "b"}, "owner", None, 0.0, (OWNER,))

    assert judged(tell) == judged(tell_more) == ""


def test_a_mirror_may_be_behind() -> None:
    def tell(world: World) -> None:
        create(world, "a", 9, sequence=3)
        update(world, "b", 9, sequence=4)
        get(world, "a", 9, sequence=3, kind="mirrored")

    assert judged(tell) == ""


def test_what_a_hostile_server_was_told_is_nobodys_promise() -> None:
    def tell(world: World) -> None:
        create(world, "a", 9, sequence=3)
        update(world, "b", 9, sequence=4)
        get(world, "a", 9, sequence=3)
        world.mark("hostile", "1.2")

    assert judged(tell) == ""


def test_objects_that_nothing_joins_are_judged_each_by_itself() -> None:
    """Each alone has an order; a search over both at once would have to find it among many more."""

    def tell(world: World) -> None:
        for number in range(1, 60):
            create(world, f"{number}", number, sequence=number)
            get(world, f"{number}", number, sequence=number)

    assert judged(tell) == ""
