"""Tables on a bad disk: a fold is there wholly or not at all, and what fails says so."""

from __future__ import annotations

import random

import pytest
import trio

from identity.errors import Damaged, Exhausted, LocalMistake
from simulations.faulty_disk import FaultyDisk, PowerCut
from simulations.faulty_tables import FaultyTables


class Machine:
    """A disk, tables on it, and folds that wait to be let go on."""

    def __init__(self, seed: int = 1) -> None:
        self.trace: list[str] = []
        self.disk = FaultyDisk(random.Random(seed), trace=self.trace.append)
        self.begun, self.go_on = trio.Event(), trio.Event()
        self.waits = False
        self.tables = FaultyTables(self.disk, random.Random(seed), pause=self.pause)

    async def pause(self) -> None:
        if self.waits:
            self.begun.set()
            await self.go_on.wait()

    def content(self) -> tuple[list[tuple[bytes, bytes]], bytes]:
        snapshot = self.tables.begin_read()
        return list(snapshot.scan("t")), snapshot.meta


async def test_what_was_folded_survives_everything_as_what_was_synced_does() -> None:
    machine = Machine()
    await machine.tables.fold({"t": {b"a": b"1"}}, b"mark 1")
    machine.disk.crash()
    machine.tables.crash()
    assert machine.content() == ([(b"a", b"1")], b"mark 1")
    assert machine.disk.syncs == 1
    assert any(line.startswith("write tables") for line in machine.trace)


async def test_a_crash_in_a_fold_leaves_all_of_it_or_nothing_with_its_meta() -> None:
    seen = set()
    for seed in range(30):
        machine = Machine(seed)
        await machine.tables.fold({"t": {b"a": b"1", b"b": b"2"}}, b"mark 1")
        machine.waits = True
        raised: list[BaseException] = []

        async def fold(machine: Machine = machine, raised: list[BaseException] = raised) -> None:
            try:
                await machine.tables.fold({"t": {b"a": b"9", b"b": None}}, b"mark 2")
            except PowerCut as error:
                raised.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fold)
            await machine.begun.wait()
            assert machine.content()[1] == b"mark 1"
            machine.disk.crash()
            machine.tables.crash()
            content = machine.content()
            machine.go_on.set()
        assert raised
        assert machine.content() == content, "what was decided stays"
        seen.add((tuple(content[0]), content[1]))
    assert seen == {(((b"a", b"1"), (b"b", b"2")), b"mark 1"), (((b"a", b"9"),), b"mark 2")}


@pytest.mark.parametrize("which", ["write", "sync"])
async def test_the_power_is_cut_in_a_step_of_a_fold(which: str) -> None:
    seen = set()
    for seed in range(30):
        machine = Machine(seed)
        machine.disk.crash_at(**{which: 2})
        await machine.tables.fold({"t": {b"a": b"1"}}, b"1")
        with pytest.raises(PowerCut, match=f"in {which} 2"):
            await machine.tables.fold({"t": {b"a": b"2"}}, b"2")
        with pytest.raises(PowerCut, match="the power is cut"):
            await machine.tables.fold({"t": {b"a": b"3"}}, b"3")
        machine.disk.crash()
        machine.tables.crash()
        seen.add(machine.content()[1])
    assert seen == {b"1", b"2"}


async def test_without_room_nothing_changes_and_it_may_be_tried_again() -> None:
    machine = Machine()
    machine.disk.room = 10
    with pytest.raises(Exhausted, match="no room for tables"):
        await machine.tables.fold({"t": {b"key": b"12345678"}}, b"1")
    assert machine.content() == ([], b"")
    machine.disk.room = 11
    await machine.tables.fold({"t": {b"key": b"12345678"}}, b"1")
    assert machine.content() == ([(b"key", b"12345678")], b"1")


async def test_tables_fail_with_their_disk() -> None:
    machine = Machine()
    machine.disk.fail_at(sync=1)
    with pytest.raises(Damaged, match="cannot sync tables"):
        await machine.tables.fold({"t": {b"a": b"1"}}, b"1")
    assert machine.content() == ([], b"")
    with pytest.raises(Damaged, match="cannot sync tables"):
        machine.disk.list()


async def test_two_folds_at_once_are_a_mistake() -> None:
    machine = Machine()
    machine.waits = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(machine.tables.fold, {}, b"1")
        await machine.begun.wait()
        with pytest.raises(LocalMistake, match="two folds at once"):
            await machine.tables.fold({}, b"2")
        machine.go_on.set()
    assert machine.content()[1] == b"1"


async def test_rot_flips_one_bit_of_a_value_and_can_be_taken_back() -> None:
    machine = Machine()
    await machine.tables.fold({"objects": {bytes([n]): b"value" for n in range(50)}, "u": {b"x": b"other"}}, b"1")
    before = machine.tables.begin_read()
    rotten = machine.tables.rot(7, table="objects")
    after = machine.tables.begin_read()
    changed = [key for key, value in after.scan("objects") if value != b"value"]
    assert changed == sorted(place.key for place in rotten)
    assert len(changed) == 7
    assert after.get("u", b"x") == b"other"
    assert all(value == b"value" for _, value in before.scan("objects")), "a snapshot does not change"
    for place in rotten:
        machine.tables.flip(place)
    assert all(value == b"value" for _, value in machine.tables.begin_read().scan("objects"))
    assert len(machine.tables.rot(500)) == 51


async def test_what_rotted_in_any_other_table_is_named() -> None:
    machine = Machine()
    await machine.tables.fold({"index": {bytes([n]): b"value" for n in range(9)}}, b"1")
    (place,) = machine.tables.rot(1)
    with pytest.raises(Damaged, match=f"the entry {place.key.hex()} of table index differs"):
        list(machine.tables.begin_read().scan("index"))
    with pytest.raises(Damaged, match=f"the entry {place.key.hex()} of table index differs"):
        machine.tables.begin_read().get("index", place.key)


async def test_a_copy_stays_as_it_was_and_can_be_put_back() -> None:
    machine = Machine()
    await machine.tables.fold({"t": {b"a": b"1"}}, b"1")
    copy = machine.tables.copy()
    await machine.tables.fold({"t": {b"a": b"2"}}, b"2")
    machine.tables.load(copy)
    assert machine.content() == ([(b"a", b"1")], b"1")
    await machine.tables.fold({"t": {b"a": b"3"}}, b"3")
    machine.tables.load(copy)
    assert machine.content() == ([(b"a", b"1")], b"1")
