"""From disk to a store that may answer: the log alone is enough, damage is named, and nothing is invented."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from identity.errors import Damaged, Refused
from store.database import Settings
from store.definitions import ClassDefinition
from store.generations import SnapshotExpired
from store.query import Question
from store.records import DATA, REGISTRY
from store.tables import MemoryTables


async def fill(database: Any, shoe: ClassDefinition, count: int = 20) -> None:
    await database.define(shoe)
    for number in range(count):
        await database.transact(lambda t, n=number: t.create("Shoe", {"name": f"n{n}", "size": n}))
    await database.transact(lambda t: t.put_setting("x", 5))


async def test_the_log_alone_rebuilds_everything(make_server: Callable[..., Any], shoe: ClassDefinition) -> None:
    server, other = make_server(), make_server("1.3")
    async with server.open() as database:
        await fill(database, shoe)
        updates = server.updates(database, REGISTRY) + server.updates(database, DATA)
        with database.view() as view:
            rows = list(view.select(Question("Shoe")))
    server.tables = MemoryTables()
    async with server.open() as database:
        with database.view() as view:
            assert list(view.select(Question("Shoe"))) == rows
            assert view.settings() == {"x": 5}
        assert server.updates(database, REGISTRY) + server.updates(database, DATA) == updates
    async with other.open() as database:
        await database.apply(updates)
    other.tables = MemoryTables()
    async with other.open() as database:
        with database.view() as view:
            assert [each.fields for each in view.select(Question("Shoe"))] == [each.fields for each in rows]
            assert {each.position_number for each in view.select(Question("Shoe"))} == {
                each.position_number for each in rows
            }


async def test_numbers_go_on_when_nothing_is_left_to_replay(server: Any, shoe: ClassDefinition) -> None:
    async with server.open() as database:
        await fill(database, shoe, 3)
        last = await database.transact(lambda t: t.create("Shoe", {"name": "last"}))
        await database.transact(lambda t: t.delete(last))
        sequence = await database.transact(lambda t: t.sequence)
    async with server.open() as database:  # folded at the end: the log holds nothing after the mark
        after = await database.transact(lambda t: t.create("Shoe", {"name": "after"}))
        assert after.object > last.object
        with database.view() as view:
            assert view.get(after).sequence >= sequence


async def test_a_second_process_is_told_who_holds_the_store(
    make_server: Callable[..., Any], tmp_path: Path, shoe: ClassDefinition
) -> None:
    server, again = make_server(path=tmp_path), make_server(path=tmp_path)
    async with server.open() as database:
        await database.define(shoe)
        with pytest.raises(Refused, match="process"):
            async with again.open():
                pass
        await database.transact(lambda t: t.create("Shoe", {"name": "still"}))
    async with again.open() as database:
        assert database.counts()["owned"] == 1


async def test_damage_in_the_middle_of_the_log_is_named(make_server: Callable[..., Any], shoe: ClassDefinition) -> None:
    server = make_server(settings=Settings(segment_bytes=1 << 16, step_bytes=1 << 14))
    async with server.open() as database:
        await fill(database, shoe)
    server.tables = MemoryTables()
    name = next(each for each in server.disk.list() if each.startswith("log-"))
    server.disk.flip(name, 4096 + 900)
    with pytest.raises(Damaged, match=name):
        async with server.open():
            pass


async def test_a_damaged_record_is_never_absence(make_server: Callable[..., Any], shoe: ClassDefinition) -> None:
    server = make_server()
    async with server.open() as database:
        await fill(database, shoe, 3)
        with database.view() as view:
            one = next(view.select(Question("Shoe"))).reference
    objects = server.tables._tables["objects"]
    key = next(key for key in objects if key.endswith(one.object.to_bytes(4, "big")))
    whole = objects[key]
    objects[key] = whole[:-1] + bytes([whole[-1] ^ 1])
    async with server.open() as database:
        with database.view() as view:
            with pytest.raises(Damaged):
                view.get(one)
            with pytest.raises(Damaged):
                list(view.select(Question("Shoe")))
    del objects[key]
    async with server.open() as database:
        with database.view() as view, pytest.raises(Damaged, match="index"):
            list(view.select(Question("Shoe")))


async def test_a_view_expires(server: Any, shoe: ClassDefinition, autojump_clock: trio.testing.MockClock) -> None:
    async with server.open() as database:
        await fill(database, shoe, 2)
        view = database.view()
        assert len(list(view.select(Question("Shoe")))) == 2
        await trio.sleep(31)
        await database.transact(lambda t: t.put_setting("x", 6))
        with pytest.raises(SnapshotExpired):
            list(view.select(Question("Shoe")))


async def test_a_failed_opening_lets_go_of_the_directory(make_server: Callable[..., Any], tmp_path: Path) -> None:
    server = make_server(path=tmp_path)
    async with server.open():
        pass
    wrong = make_server("1.9", path=tmp_path)
    for _ in range(2):
        with pytest.raises(Refused):
            async with wrong.open():
                pass
    async with server.open():
        pass
