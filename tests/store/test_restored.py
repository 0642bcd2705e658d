"""A store that came back in time gives no number twice, and takes its own updates from others before it makes any."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from identity.errors import Exhausted, Refused
from identity.names import ObjectId, ServerId
from replication.leaves import FeedSealer, update_hash
from simulations.faulty_disk import FaultyDisk
from store.database import Applied, Database, Rejected, open_database
from store.query import Question
from store.records import DATA, REGISTRY, Update
from store.recovery import RESTORED_EPOCHS, RESTORED_STEP
from store.registry import definition_from_toml
from store.tables import MemoryTables

SERVER, INCARNATION = ServerId.parse("1.7"), 1000
SHOE = definition_from_toml('name = "Shoe"\n[fields]\nsize = { type = "int", index = true }\n')


class Place:
    """A directory, and how a store is opened on it."""

    def __init__(self) -> None:
        self.random = random.Random(1)
        self.disk = FaultyDisk(self.random)
        self.tables = MemoryTables()

    def open(self, *, restored: bool = False) -> Any:
        sealer = FeedSealer(SERVER, INCARNATION, lambda data: bytes(64), self.random)
        return open_database(
            self.disk, self.tables, server=SERVER, incarnation=INCARNATION, sealer=sealer, random=self.random,
            wall_ms=lambda: 1, restored=restored,
        )  # fmt: skip

    def copy(self) -> Place:
        other = Place()
        other.disk.load(self.disk.copy(random.Random(1)))
        other.tables._tables, other.tables._meta = self.tables._tables, self.tables._meta
        return other


def updates(database: Database, kind: int, first: int) -> list[Update]:
    """All own updates from a number on, as a mirror would send them."""
    found = []
    while (data := database.read_update(SERVER, INCARNATION, kind, first)) is not None:
        found.append(Update.from_bytes_untrusted(data))
        first += 1
    return found


def sizes(database: Database) -> dict[int, int]:
    with database.view() as view:
        return {
            number: found.fields["size"]
            for number in range(64, 100)
            if (found := view.get((None, ObjectId(number)))) is not None and "size" in found.fields
        }


async def test_what_was_signed_after_the_backup_comes_back() -> None:
    place = Place()
    async with place.open() as database:
        await database.define(SHOE)
        first = await database.transact(lambda t: t.create("Shoe", {"size": 40}))
        second = await database.transact(lambda t: t.create("Shoe", {"size": 41}))
        backup = place.copy()
        await database.transact(lambda t: t.update(first.object, {"size": 43}))
        await database.transact(lambda t: t.delete(second.object))
        third = await database.transact(lambda t: t.create("Shoe", {"size": 44}))
        tail, epoch, whole = updates(database, DATA, 3), database.epoch, sizes(database)
    async with backup.open(restored=True) as database:
        assert database.adopting
        assert sizes(database) == {first.object: 40, second.object: 41}
        with pytest.raises(Exhausted, match="came back from a backup"):
            await database.transact(lambda t: t.create("Shoe", {"size": 1}))
        await database.transact(lambda t: t.put_setting("mine", 1))  # what stays here may change
        assert [type(each) for each in await database.apply(tail)] == [Applied] * 3
        assert sizes(database) == whole
        assert updates(database, DATA, 3) == tail
    async with backup.open() as database:
        assert database.adopting, "over restarts too"
        assert sizes(database) == whole
        await database.end_adoption()
        fourth = await database.transact(lambda t: t.create("Shoe", {"size": 45}))
        assert fourth.object > third.object + RESTORED_STEP - 1000
        assert database.epoch >= epoch + RESTORED_EPOCHS
    async with backup.open() as database:
        assert not database.adopting
        assert updates(database, DATA, 1)[2:5] == tail
        found = updates(database, DATA, 1)
        assert [each.head.number for each in found] == [1, 2, 3, 4, 5, 6]
        for before, after in itertools.pairwise(found):
            assert after.head.previous == update_hash(before)
            assert after.head.epoch >= before.head.epoch
        with database.view() as view:
            assert view.get(fourth) is not None


async def test_classes_that_were_adopted_after_the_backup_come_back_first() -> None:
    place = Place()
    async with place.open():
        backup = place.copy()
    async with place.open() as database:
        await database.define(SHOE)
        shoe = await database.transact(lambda t: t.create("Shoe", {"size": 40}))
        registry, data = updates(database, REGISTRY, 1), updates(database, DATA, 1)
    async with backup.open(restored=True) as database:
        assert [type(each) for each in await database.apply(registry + data)] == [Applied, Applied]
        await database.end_adoption()
        assert database.registry.adopted("Shoe")
        with database.view() as view:
            assert view.get(shoe) is not None
        other = await database.transact(lambda t: t.create("Shoe", {"size": 41}))
        assert other.object > shoe.object


async def test_an_upgrade_that_was_forgotten_comes_back_as_far_as_it_was_and_goes_on() -> None:
    large = definition_from_toml('name = "Shoe"\nversion = "2.0"\n[fields]\nlength = "float"\n')

    def half(old: dict[str, Any]) -> dict[str, Any]:
        if old["size"] > 41:
            raise ValueError("too large")
        return {"length": old["size"] / 1.5}

    def longer(old: dict[str, Any]) -> dict[str, Any]:
        return {"length": old["size"] / 1.5}

    place = Place()
    async with place.open() as database:
        await database.define(SHOE)
        made = [await database.transact(lambda t, size=size: t.create("Shoe", {"size": size})) for size in (40, 41, 42)]
        backup, begun = place.copy(), [database.last_position(kind).number + 1 for kind in (REGISTRY, DATA)]
        with pytest.raises(Refused, match="1 object stays"):
            await database.define(large, {1: half})
        tail = [*updates(database, REGISTRY, begun[0]), *updates(database, DATA, begun[1])]
    async with backup.open(restored=True) as database:
        with pytest.raises(Exhausted):
            await database.define(large, {1: longer})
        assert [type(each) for each in await database.apply(tail)] == [Applied] * len(tail)
        await database.end_adoption()
        with database.view() as view:
            assert [each.major for each in view.select(Question("Shoe"))] == [2, 2, 1]
        await database.define(large, {1: longer})
        with database.view() as view:
            assert [(each.reference, each.major) for each in view.select(Question("Shoe"))] == [(at, 2) for at in made]
            assert not [
                each
                for each in view.registry.named("Shoe")
                if each.upgrading or (each.definition == SHOE and each.adopted)
            ]


async def test_who_was_not_restored_takes_nothing_of_its_own() -> None:
    place = Place()
    async with place.open() as database:
        await database.define(SHOE)
        backup = place.copy()
        await database.transact(lambda t: t.create("Shoe", {"size": 40}))
        tail = updates(database, DATA, 1)
    async with backup.open() as database:
        assert not database.adopting
        (outcome,) = await database.apply(tail)
        assert isinstance(outcome, Rejected)


async def test_a_store_restored_twice_is_twice_as_far() -> None:
    place = Place()
    async with place.open() as database:
        await database.define(SHOE)
    numbers = []
    for _ in range(2):
        async with place.open(restored=True) as database:
            await database.end_adoption()
            numbers.append((await database.transact(lambda t: t.create("Shoe", {"size": 40}))).object)
            await database.transact(lambda t: t.put_setting("again", 1))
        async with place.open() as database:  # and after a start that knows nothing of it
            numbers.append((await database.transact(lambda t: t.create("Shoe", {"size": 40}))).object)
    first, second, third, fourth = map(int, numbers)
    assert RESTORED_STEP < first < second < first + 1000
    assert second + RESTORED_STEP <= third < fourth < third + 1000


async def test_two_restores_of_one_backup_give_different_numbers() -> None:
    """Neither knows of the other, and both have talked to others meanwhile."""
    place = Place()
    async with place.open() as database:
        await database.define(SHOE)
    backup = place.copy()
    told = []
    for seed in (1, 2):
        place = backup.copy()
        place.random = random.Random(seed)
        async with place.open(restored=True) as database:
            await database.end_adoption()
            shoe = await database.transact(lambda t: t.create("Shoe", {"size": 40}))
            told.append((database.epoch, shoe.object))
    (epoch, shoe), (other_epoch, other_shoe) = told
    assert abs(epoch - other_epoch) > 10
    assert abs(shoe - other_shoe) > 1000
