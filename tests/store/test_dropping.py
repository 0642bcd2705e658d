"""A class goes when no own object of it is left; what others own, and what is known of it, stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio

from identity.errors import Refused
from simulations.faulty_disk import PowerCut
from store import dropping
from store.definitions import definition_from_toml
from store.query import Question
from store.records import DATA, REGISTRY
from store.tables import MemoryTables

NOTE = definition_from_toml('name = "Note"\n[fields]\ntext = { type = "string", index = true }\n')
SECRET = definition_from_toml('name = "Secret"\nprivacy = "private"\n[fields]\ntext = "string"\n')
LONGER = definition_from_toml('name = "Note"\n[fields]\ntext = { type = "string", index = true }\nstars = "int"\n')
KEEPER = definition_from_toml(
    'name = "Keeper"\n[fields]\nnote = { type = "reference(Note)", on_delete = "restrict" }\n'
)


@pytest.mark.parametrize("definition", [NOTE, SECRET], ids=lambda each: each.name)
async def test_a_class_goes_with_its_objects_and_comes_back(server: Any, definition: Any) -> None:
    name = definition.name
    async with server.open() as database:
        await database.define(definition)
        made = await database.transact(lambda t: t.create(name, {"text": "a"}))
        with pytest.raises(Refused, match=f"has own objects, {made} for one") as caught:
            await database.drop(name)
        assert "--objects" in caught.value.next_step
        assert database.registry.adopted(name)
        await database.drop(name, objects=True)
        assert not database.registry.adopted(name)
        with pytest.raises(Refused, match="not adopted"):
            await database.transact(lambda t: t.create(name, {"text": "b"}))
        with pytest.raises(Refused, match="nothing to drop"):
            await database.drop(name)
    for _ in range(2):
        async with server.open() as database:
            assert not database.registry.adopted(name)
            with database.view() as view:
                assert list(view.select(Question(name))) == []
        server.tables = MemoryTables()  # the log alone tells it too
    async with server.open() as database:
        before = database.last_position(REGISTRY)
        await database.define(definition)
        await database.transact(lambda t: t.create(name, {"text": "c"}))
        assert database.last_position(REGISTRY).number <= before.number + 1
    server.tables = MemoryTables()
    async with server.open() as database:
        assert database.registry.adopted(name)
        await database.drop(name, objects=True)


async def test_what_others_own_stays_and_is_read(make_server: Callable[..., Any]) -> None:
    owner, mirror, late = (make_server(name) for name in ("1.2", "1.3", "1.4"))
    async with owner.open() as database:
        await database.define(NOTE)
        await database.define(LONGER)
        await database.transact(lambda t: [t.create("Note", {"text": "a", "stars": n}) for n in range(5)])
        updates = owner.updates(database, REGISTRY) + owner.updates(database, DATA)
    async with mirror.open() as database:
        await database.apply(updates)
        await database.define(LONGER)
        await database.transact(lambda t: t.create("Note", {"text": "own"}))
        await database.drop("Note", objects=True)
        with database.view() as view:
            assert [str(each.reference.server) for each in view.select(Question("Note"))] == ["1.2"] * 5
    async with owner.open() as database:
        await database.drop("Note", objects=True)
        updates = owner.updates(database, REGISTRY) + owner.updates(database, DATA)
    async with late.open() as database:  # hears of it when it is over: the history is understood all the same
        outcomes = await database.apply(updates)
        assert {type(each).__name__ for each in outcomes} == {"Applied"}
        with database.view() as view:
            assert list(view.select(Question("Note"))) == []


async def test_many_objects_go_in_steps_while_others_commit(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dropping, "DELETED_AT_ONCE", 5)
    monkeypatch.setattr(dropping, "LOOKED_AT", 7)
    async with server.open() as database:
        await database.define(NOTE)
        await database.define(SECRET)
        await database.transact(
            lambda t: [t.create("Note" if n % 2 else "Secret", {"text": str(n)}) for n in range(60)]
        )
        refused = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: database.drop("Note", objects=True))
            while not refused:
                try:
                    await database.transact(lambda t: t.create("Note", {"text": "new"}))
                except Refused:
                    refused += 1
        with database.view() as view:
            assert list(view.select(Question("Note"))) == []
            assert len(list(view.select(Question("Secret")))) == 30


async def test_an_object_that_is_kept_keeps_its_class(server: Any) -> None:
    async with server.open() as database:
        await database.define(NOTE)
        await database.define(KEEPER)
        note = await database.transact(lambda t: t.create("Note", {"text": "a"}))
        await database.transact(lambda t: t.create("Keeper", {"note": note}))
        with pytest.raises(Refused, match="is kept by field note"):
            await database.drop("Note", objects=True)
        await database.drop("Keeper", objects=True)
        await database.drop("Note", objects=True)
        for name, said in (("Class", "built in"), ("Setting", "own affair"), ("Nobody", "no class")):
            with pytest.raises(Refused, match=said):
                await database.drop(name)


async def test_the_power_goes_in_every_step_of_a_drop(
    make_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dropping, "DELETED_AT_ONCE", 3)
    for number in range(1, 30):
        server = make_server(seed=number)
        async with server.open() as database:
            await database.define(NOTE)
            await database.transact(lambda t: [t.create("Note", {"text": str(n)}) for n in range(10)])
        cut = False
        try:
            async with server.open() as database:
                server.disk.crash_at(sync=number)
                await database.drop("Note", objects=True)
        except* (PowerCut, Exception):
            cut = True
        server.crash()
        async with server.open() as database:
            with database.view() as view:
                left = len(list(view.select(Question("Note"))))
            assert left == 0 or database.registry.adopted("Note")
            if database.registry.adopted("Note"):
                await database.drop("Note", objects=True)
        if not cut:
            assert number > 4
            return
    raise AssertionError("dropping ten objects takes more than thirty syncs")
