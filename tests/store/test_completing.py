"""The values that begin so: what a walk over all objects finds, from any kind of index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from identity.errors import Refused
from identity.names import Pattern
from store.definitions import definition_from_toml
from store.records import DATA, REGISTRY

CITY = definition_from_toml(
    'name = "City"\n[fields]\nname = { type = "string", index = true }\ncode = { type = "string", unique = true }\n'
    'land = "string"\nsize = { type = "int", index = true }\ndata = { type = "bytes", index = true }\n'
    'tags = { type = "list(string)", index = true }\nkind = { type = "enum(small,large)", index = true }\n'
    'note = "string"\n[[indexes]]\nfields = ["land", "size"]\n'
)


async def test_values_come_once_and_in_order(server: Any) -> None:
    async with server.open() as database:
        await database.define(CITY)
        names = ["Bern", "Berlin", "Bonn", None, "Berlin", "Ülm"]
        await database.transact(
            lambda t: [
                t.create(
                    "City", {"name": name, "code": str(n), "land": "DE" if n else "CH", "size": n % 2, "data": b"\1"}
                )
                for n, name in enumerate(names)
            ]
        )
        with database.view() as view:
            assert view.complete("City", "name", "Ber") == ["Berlin", "Bern"]
            assert view.complete("City", "name") == ["Berlin", "Bern", "Bonn", "Ülm"]
            assert view.complete("City", "name", limit=1) == ["Berlin"]
            assert view.complete("City", "name", "X") == []
            assert view.complete("City", "code", limit=1000) == [str(n) for n in range(6)]
            assert view.complete("City", "land", "D") == ["DE"]  # the first field of an index of several
            assert view.complete("City", "size") == [0, 1]
            assert view.complete("City", "data", b"\1") == [b"\1"]
            assert view.complete("City", "name", servers=Pattern("1.9")) == []
            assert view.complete("City", "name", shows=lambda each: each.fields["code"] != "0") == [
                "Berlin", "Bonn", "Ülm",
            ]  # fmt: skip


texts = st.sampled_from(["", "a", "ab", "a\0", "b", "x" * 390, "x" * 500, "x" * 500 + "a", "x" * 499 + "b", "é"])
crowds = st.just([str(each) for each in range(1025)] + ["ab", "x" * 500 + "b"])
objects = st.fixed_dictionaries(
    {"name": st.none() | texts, "land": st.none() | texts, "tags": st.none() | st.lists(texts, max_size=3) | crowds}
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(objects, max_size=8), st.lists(texts | texts.map(lambda text: text[:395]), max_size=4), st.integers(1, 9)
)
def test_it_is_what_a_walk_over_all_objects_finds(
    make_server: Callable[..., Any], written: list[dict[str, Any]], prefixes: list[str], limit: int
) -> None:
    async def story() -> None:
        owner, server = make_server("1.10"), make_server("1.9")
        async with owner.open() as database:
            await database.define(CITY)
            for each in written[::2]:
                await database.transact(lambda t, f=each: t.create("City", f))
            updates = owner.updates(database, REGISTRY) + owner.updates(database, DATA)
        async with server.open() as database:
            await database.define(CITY)
            await database.apply(updates)
            for each in written[1::2]:
                await database.transact(lambda t, f=each: t.create("City", f))
            with database.view() as view:
                for prefix in ("", *prefixes):
                    for asked, shown in ((None, written), ("1.10", written[::2])):
                        pattern = None if asked is None else Pattern(asked)
                        for field in ("name", "land"):
                            every = {each[field] for each in shown if each[field] is not None}
                            found = view.complete("City", field, prefix, limit=limit, servers=pattern)
                            assert found == sorted(each for each in every if each.startswith(prefix))[:limit]
                        every = {tag for each in shown for tag in each["tags"] or ()}
                        found = view.complete("City", "tags", prefix, limit=limit, servers=pattern)
                        assert found == sorted(each for each in every if each.startswith(prefix))[:limit]

    trio.run(story)


async def test_a_value_costs_one_object_however_many_have_it(server: Any) -> None:
    async with server.open() as database:
        await database.define(CITY)
        await database.transact(lambda t: [t.create("City", {"land": f"L{n % 3}"}) for n in range(900)])
        with database.view() as view:
            read = 0
            source = view.source

            class Counting:
                def get(self, table: str, key: bytes) -> bytes | None:
                    nonlocal read
                    read += 1
                    return source.get(table, key)

                def scan(self, *which: Any) -> Any:
                    return source.scan(*which)

            view.source = Counting()
            assert view.complete("City", "land") == ["L0", "L1", "L2"]
            assert read == 3


@pytest.mark.parametrize(
    ("field", "prefix", "limit", "said"),
    [
        ("note", "", 5, "note of City has no index"),
        ("nobody", "", 5, "no field 'nobody'"),
        ("size", "1", 5, "size is a int.*no beginning"),
        ("name", b"x", 5, "name is a string"),
        ("name", 5, 5, "name is a string"),
        ("name", "", 0, "limit"),
        ("name", "", 1001, "limit"),
        ("name", "", True, "limit"),
    ],
)
async def test_what_cannot_be_completed_is_refused(server: Any, field: str, prefix: Any, limit: Any, said: str) -> None:
    async with server.open() as database:
        await database.define(CITY)
        with database.view() as view, pytest.raises(Refused, match=said):
            view.complete("City", field, prefix, limit=limit)
        with database.view() as view, pytest.raises(Refused, match="own affair"):
            view.complete("Setting", "key", "")
