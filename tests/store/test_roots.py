"""One object from which all others are found: kept, exchanged, and never deleted from under whoever begins there."""

from __future__ import annotations

from typing import Any

import pytest

from identity.errors import NotFound, Refused
from identity.names import Incarnation, ObjectId, Reference, ServerId
from store.definitions import ClassDefinition


async def test_it_is_there_after_a_crash_and_may_be_exchanged(server: Any, shoe: ClassDefinition) -> None:
    async with server.open() as database:
        await database.define(shoe)
        with database.view() as view:
            assert view.root is None
        first = await database.transact(lambda t: t.create("Shoe", {"name": "first"}))
        second = await database.transact(lambda t: t.create("Shoe", {"name": "second"}))
        await database.transact(lambda t: t.set_root(first))
    server.crash()
    async with server.open() as database:
        with database.view() as view:
            assert view.root.reference == first
        await database.transact(lambda t: t.set_root(second.object))
        with database.view() as view:
            assert view.root.fields["name"] == "second"


async def test_it_cannot_be_deleted_while_it_is_the_root(server: Any, shoe: ClassDefinition) -> None:
    async with server.open() as database:
        await database.define(shoe)
        root = await database.transact(lambda t: t.create("Shoe", {"name": "root"}))
        await database.transact(lambda t: t.set_root(root))
        with pytest.raises(Refused, match="is the root of this store"):
            await database.transact(lambda t: t.delete(root))

        def end(t: Any) -> None:
            t.set_root(None)
            t.delete(root)

        await database.transact(end)
        with database.view() as view:
            assert (view.root, view.get(root)) == (None, None)


async def test_only_an_own_object_that_is_there(server: Any, shoe: ClassDefinition) -> None:
    async with server.open() as database:
        await database.define(shoe)
        with pytest.raises(NotFound):
            await database.transact(lambda t: t.set_root(77))
        with pytest.raises(Refused, match="is not an object of"):
            await database.transact(lambda t: t.set_root(Reference(ServerId.of(9), Incarnation(1), ObjectId(3))))
        with database.view() as view:
            assert view.root is None
