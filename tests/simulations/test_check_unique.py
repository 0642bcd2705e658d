"""No unique value is had twice, nor denied without a cause: what is accused, and what is not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from identity.errors import Refused
from identity.names import Incarnation, ObjectId, Reference
from node.asking import Found, Operation
from simulations.check_unique import SYNC_S, UniqueValues
from simulations.history import Word
from simulations.ledger import Made
from simulations.promises import PromiseBroken
from simulations.world import World, simulate
from store import applying
from store.definitions import ClassDefinition, Field
from store.records import DATA
from store.transaction import Transaction

ITEM = ClassDefinition(name="Item", fields=(Field(name="serial", type="int", unique=True), Field(name="text")))


def judged(tell: Callable[[World, UniqueValues], Any], *, waits_s: float = 0.0) -> str:
    """What is said after `tell`, which finds 1.1 with an Item of serial 3, object `first(world)`."""
    said: list[str] = []

    async def story(world: World) -> None:
        owner = world.servers[1]
        await owner.define(ITEM)
        await owner.create("Item", {"serial": 3})
        checker = UniqueValues()
        checker.begin(world)
        assert checker.finish(world) == ""
        await tell(world, checker)
        await world.sleep(waits_s)
        try:
            checker.finish(world)
        except PromiseBroken as broken:
            said.append(broken.said)

    simulate(story, servers=3, seed=1)
    return said[0] if said else ""


def first(world: World) -> int:
    return next(iter(world.ledger.objects("1.1")))


def sign(world: World, object: int, *, sequence: int) -> None:
    """As if 1.1 had signed the first Item's fields for another object too."""
    made = world.ledger.made["1.1", DATA]
    leaf = msgspec.structs.replace(made[1].leaves[0], object=object, sequence=sequence)
    made[2] = Made(2, b"", world.history.tick(), world.now, (leaf,), 0)


def refused(world: World, server: str, serial: int, holder: int, *others: Operation) -> Word:
    creation = Operation(op="create", class_name="Item", fields={"serial": serial})
    with suppress(Refused), world.history.word(server, "1.1", "change", operations=[creation, *others]) as word:
        raise Refused(f"field serial: {serial} is taken", field="serial", taken_by=f"1.1/{holder}")
    return word


def test_two_living_objects_of_one_value_are_accused() -> None:
    async def tell(world: World, checker: UniqueValues) -> None:
        sign(world, first(world) + 1, sequence=9)

    async def tell_itself(world: World, checker: UniqueValues) -> None:
        sign(world, first(world), sequence=9)

    assert "update 2 of 1.1 has serial 3 of Item for 1.1/" in judged(tell)
    assert judged(tell_itself) == ""


def test_what_was_deleted_has_nothing() -> None:
    async def tell(world: World, checker: UniqueValues) -> None:
        owner = world.servers[1]
        reference = await owner.create("Item", {"serial": 4})
        await owner.delete(reference)
        await owner.create("Item", {"serial": 4})
        await owner.create("Item", {"serial": None})
        await owner.create("Item", {"serial": None})

    assert judged(tell) == ""


def test_a_store_that_has_a_value_twice_is_accused_after_its_start_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async def tell(world: World, checker: UniqueValues) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Transaction, "_refuse_taken", lambda *given: None)
            await world.servers[1].create("Item", {"serial": 3})
        world.ledger.excuse("1.1", "it was restored from a backup")  # so what it signed is not looked at
        await world.servers[1].stop()
        await world.servers[1].restart()

    assert "1.1 has serial 3 of Item in 1.1/" in judged(tell)


def test_an_owner_that_does_not_find_what_it_has_is_accused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def tell(world: World, checker: UniqueValues) -> None:
        owner = world.servers[1]
        second = await owner.create("Item", {"serial": 4})
        one, other = first(world), second.object
        changes = [(one, None), (other, 3), (one, 4)]
        with monkeypatch.context() as patch:
            patch.setattr(applying, "let_go", lambda index, keys, object_key: index.update(dict.fromkeys(keys)))
            await owner.transact(
                [Operation(op="update", object=object, fields={"serial": serial}) for object, serial in changes]
            )

    assert "has serial 4 of Item, and 1.1 finds nothing by that" in judged(tell)


@pytest.mark.parametrize("server", ["1.1", "1.2"])
def test_a_refusal_needs_a_cause(server: str) -> None:
    async def tell(world: World, checker: UniqueValues) -> None:
        refused(world, server, 3, first(world))

    async def tell_otherwise(world: World, checker: UniqueValues) -> None:
        refused(world, server, 4, first(world))

    async def tell_of_nobody(world: World, checker: UniqueValues) -> None:
        refused(world, server, 3, first(world) + 50)

    assert judged(tell, waits_s=SYNC_S + 1) == ""
    assert "had no such serial then, but [3]" in judged(tell_otherwise, waits_s=SYNC_S + 1)
    assert judged(tell_otherwise, waits_s=SYNC_S / 2) == ""  # what it saw may not be durable yet
    assert "had no such serial then" in judged(tell_of_nobody, waits_s=SYNC_S + 1)


def test_who_had_it_a_while_ago_is_no_cause_and_who_lets_go_meanwhile_is() -> None:
    async def tell(world: World, checker: UniqueValues) -> None:
        await world.servers[1].update((None, first(world)), {"serial": 7})
        refused(world, "1.1", 3, first(world))

    async def tell_meanwhile(world: World, checker: UniqueValues) -> None:
        creation = Operation(op="create", class_name="Item", fields={"serial": 3})
        with suppress(Refused), world.history.word("1.2", "1.1", "change", operations=[creation]):
            await world.servers[1].update((None, first(world)), {"serial": 7})
            raise Refused("taken", field="serial", taken_by=f"1.1/{first(world)}")

    assert "had no such serial then, but [3, 7]" in judged(tell, waits_s=SYNC_S + 1)
    assert judged(tell_meanwhile, waits_s=SYNC_S + 1) == ""


def test_a_transaction_that_contradicts_itself_and_an_owner_that_went_down_accuse_nobody() -> None:
    async def tell(world: World, checker: UniqueValues) -> None:
        refused(world, "1.1", 4, 99, Operation(op="create", class_name="Item", fields={"serial": 4}))

    async def tell_of_a_crash(world: World, checker: UniqueValues) -> None:
        refused(world, "1.2", 4, 99)
        await world.servers[1].crash()
        await world.servers[1].restart()

    async def tell_of_a_liar(world: World, checker: UniqueValues) -> None:
        refused(world, "1.2", 4, 99)
        world.mark("hostile", "1.2")

    for each in (tell, tell_of_a_crash, tell_of_a_liar):
        assert judged(each, waits_s=SYNC_S + 1) == ""


def test_two_rows_of_one_position_do_not_have_one_value() -> None:
    def found(world: World, object: int, position: Any) -> Found:
        reference = Reference(world.servers[1].server, Incarnation(1), ObjectId(object))
        return Found(reference, "Item", 9, {"serial": 3}, "owner", position, 0.0, ())

    async def tell(world: World, checker: UniqueValues) -> None:
        with world.history.word("1.2", "", "query", target="Item") as word:
            word.result = _Answer([found(world, 70, "1.1:5"), found(world, 71, "1.1:5")])

    async def tell_otherwise(world: World, checker: UniqueValues) -> None:
        with world.history.word("1.2", "", "query", target="Item") as word:
            word.result = _Answer([found(world, 70, "1.1:5"), found(world, 71, "1.1:6")])

    assert "was told serial 3 of Item of 1.1/70 and of 1.1/71" in judged(tell)
    assert judged(tell_otherwise) == ""


class _Answer:
    def __init__(self, rows: list[Found]) -> None:
        self.rows = rows
