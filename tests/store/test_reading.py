"""A view's own way of reading one object gives what the general one gives."""

from __future__ import annotations

from typing import Any

import pytest

from identity.errors import Refused
from identity.names import Incarnation, ObjectId, Reference, ServerId
from store.definitions import ClassDefinition
from store.reading import SHORT, Reader


async def test_a_view_reads_as_every_reader_does(server: Any, shoe: ClassDefinition) -> None:
    async with server.open() as database:
        await database.define(shoe)
        stays = await database.transact(lambda t: t.create("Shoe", {"name": "left", "size": 43}))
        gone = await database.transact(lambda t: t.create("Shoe", {"name": "right"}))
        await database.transact(lambda t: t.delete(gone))
        await database.transact(lambda t: t.put_setting("hidden", 1))
        last = int(gone.object) + 10
        stranger = ServerId.parse("9.9")
        with database.view() as view:
            found = view.get(stays)
            assert found is not None
            assert (found.reference, found.fields["name"], found.kind) == (stays, "left", "owned")
            assert type(found.reference) is Reference
            targets: list[Any] = [(None, ObjectId(number)) for number in (*range(1, last), SHORT - 1, SHORT, SHORT + 1)]
            targets += [Reference(stays.server, stays.incarnation, ObjectId(number)) for number in range(1, last)]
            targets += [(stays.server, stays.object), (stranger, stays.object)]
            targets += [
                Reference(stays.server, Incarnation(4), stays.object),
                Reference(stranger, Incarnation(1), stays.object),
            ]
            told = [view.get(each) for each in targets]
            assert told == [Reader.get(view, each) for each in targets]
            assert sum(each is not None and each.class_name == "Shoe" for each in told) == 3
            for none in ((None, ObjectId(0)), Reference(stays.server, stays.incarnation, ObjectId(-1))):
                with pytest.raises(Refused, match="is no object"):
                    view.get(none)
