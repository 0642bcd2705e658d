"""What is pointed to: chains, circles and oneself, when a target is deleted. The plain cases: test_database."""

from __future__ import annotations

from typing import Any

import pytest

from identity.errors import Conflict, Refused
from identity.names import Incarnation, ObjectId, Reference, ServerId
from store.definitions import definition_from_toml

NODE = definition_from_toml(
    'name = "Knot"\n[fields]\nname = "string"\nnext = { type = "reference(Knot)", on_delete = "cascade" }\n'
    'others = "list(reference)"\n'
)


async def test_a_circle_goes_at_once(server: Any) -> None:
    async with server.open() as database:
        await database.define(NODE)

        def circle(t: Any) -> list[Reference]:
            knots = [t.create("Knot", {"name": str(n)}) for n in range(5)]
            for one, following in zip(knots, [*knots[1:], knots[0]], strict=True):
                t.update(one, {"next": following})
            return knots

        knots = await database.transact(circle)
        alone = await database.transact(lambda t: t.create("Knot", {}))
        await database.transact(lambda t: t.update(alone, {"next": alone}))
        await database.transact(lambda t: t.delete(knots[2]))
        with database.view() as view:
            assert [view.get(each) for each in knots] == [None] * 5
            assert view.get(alone) is not None
        await database.transact(lambda t: t.delete(alone))
        assert database.counts()["owned"] == 0


async def test_others_objects_are_not_looked_at(server: Any) -> None:
    async with server.open() as database:
        await database.define(NODE)
        far = Reference(ServerId.parse("9.9"), Incarnation(1), ObjectId(3))
        one = await database.transact(lambda t: t.create("Knot", {"next": far, "others": [far, far]}))
        with database.view() as view:
            assert view.get(one).fields["others"] == [far, far]
        with pytest.raises(Refused, match="others"):
            await database.transact(
                lambda t: t.create("Knot", {"others": [far, Reference(server.server, Incarnation(5), ObjectId(9999))]})
            )


async def test_pointing_at_what_another_deletes_conflicts(server: Any) -> None:
    async with server.open() as database:
        await database.define(NODE)
        one = await database.transact(lambda t: t.create("Knot", {}))
        with pytest.raises(Conflict):  # noqa: PT012 - at the end of the block
            async with database.transaction() as t:
                t.delete(one)
                await database.transact(lambda u: u.create("Knot", {"next": one}))
        with database.view() as view:
            assert view.get(one) is not None
