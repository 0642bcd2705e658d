"""Indexes of many objects come and go while everything goes on; whatever happens, entries are those of the objects."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from identity.encoding import encode_integer
from identity.errors import BangpathError, Refused
from identity.names import END
from simulations.faulty_disk import PowerCut
from store import building_steps
from store.building import BUILT_AT_ONCE
from store.definitions import ClassDefinition, definition_from_toml
from store.indexes import entries
from store.keys import after_prefix
from store.query import Compare, Question
from store.records import DATA, REGISTRY
from store.selecting import choose_path
from store.tables import MemoryTables

PLAIN = 'name = "Flat"\n[fields]\nstreet = "string"\nhouse = "int"\n'


def flat(*, street: str = "", house: str = "", more: str = "", several: str = "") -> ClassDefinition:
    text = f'name = "Flat"\n[fields]\nstreet = {{ type = "string"{street} }}\nhouse = {{ type = "int"{house} }}\n'
    return definition_from_toml(f"{text}{more}{several}")


NONE = flat()
STREETS = flat(street=", index = true")
HOUSES = flat(house=", unique = true")
BOTH = flat(several='[[indexes]]\nfields = ["street", "house"]\nunique = true\n')
LONGER = flat(street=", index = true", more='doors = { type = "list(int)", index = true, default = [1] }\n')


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building_steps, "BUILT_AT_ONCE", 4)
    monkeypatch.setattr(building_steps, "DROPPED_AT_ONCE", 3)


def create(fields: dict[str, Any], transaction: Any) -> Any:
    return transaction.create("Flat", fields)


def update(target: Any, fields: dict[str, Any], transaction: Any) -> None:
    transaction.update(target, fields)


def delete(target: Any, transaction: Any) -> None:
    transaction.delete(target)


async def fill(database: Any, count: int) -> None:
    await database.define(NONE)
    await database.transact(lambda t: [t.create("Flat", {"street": f"s{n % 7}", "house": n}) for n in range(count)])


def check(database: Any) -> list[dict[str, Any]]:
    """The table has the entries of the objects, and nothing else but those that are coming or going."""
    with database.view() as view:
        entry = view.registry.entry("Flat")
        building = view.registry.building(entry.number)
        rows = list(view.select(Question("Flat")))
        usable: dict[bytes, bytes] = {}
        allowed: set[tuple[bytes, bytes]] = set()  # of two that cannot both stand, one may until that is found
        for each in rows:
            key = END + encode_integer(each.reference.object)
            values = [each.fields[name] for name in entry.codec.names]
            usable.update(dict.fromkeys(entries(entry.usable, values, key), key))
            allowed.update((each, key) for each in entries(entry.indexes, values, key))
        start = encode_integer(entry.number)
        found = dict(view.source.scan("index", start, after_prefix(start)))
        found = {key: value for key, value in found.items() if not view.registry.is_leaving(entry.number, key)}
        assert usable.items() <= found.items()
        assert found.items() <= allowed
        if building is None or not building.unfinished:
            assert found == usable
        return [each.fields for each in rows]


async def test_an_index_of_many_objects_is_built_while_others_commit(server: Any) -> None:
    async with server.open() as database:
        await fill(database, 6 * BUILT_AT_ONCE)
        syncs = database.syncs
        seen = []

        async def write() -> None:
            while database.registry.entry("Flat").usable[0].name != "street, house":
                number = len(seen)
                new = {"street": "new", "house": 10_000 + number}
                made = await database.transact(functools.partial(create, new))
                await database.transact(functools.partial(update, made, {"street": f"new{number}"}))
                building = database.registry.building(database.registry.entry("Flat").number)
                seen.append((building.state, building.done) if building is not None else None)
                rows = check(database)
                assert len(rows) == 6 * BUILT_AT_ONCE + len(seen)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await database.define(BOTH)
        assert database.syncs > syncs + 4
        assert any(each is not None and each[0] == "building" and each[1] for each in seen)
        check(database)
        with database.view() as view:
            entry = view.registry.entry("Flat")
            path = choose_path(entry, Question("Flat", Compare("street", "=", "s3")))
            assert path.over.name == "street, house"
        with pytest.raises(Refused, match="street, house"):
            await database.transact(lambda t: t.create("Flat", {"street": "s3", "house": 3}))


async def test_two_objects_that_cannot_both_stand_are_named_and_nothing_is_left(server: Any) -> None:
    async with server.open() as database:
        await fill(database, 2 * BUILT_AT_ONCE)
        twins = await database.transact(lambda t: [t.create("Flat", {"house": -1}) for _ in range(2)])
        with pytest.raises(Refused, match="house of Flat cannot be unique: -1") as caught:
            await database.define(HOUSES)
        assert all(str(each) in caught.value.cause for each in twins)
        check(database)
        entry = database.registry.entry("Flat")
        assert database.registry.building(entry.number).as_json(entry.definition, entry.number) == {
            "state": "refused", "indexes": ["house"], "done": 2 * BUILT_AT_ONCE, "reason": caught.value.cause,
        }  # fmt: skip
        await database.transact(lambda t: t.create("Flat", {"house": -1}))
        await database.transact(lambda t: [t.delete(each) for each in twins])
        await database.define(HOUSES)
        check(database)
        assert database.registry.entry("Flat").definition == HOUSES


async def test_who_writes_what_an_object_further_on_has_is_found_when_that_is_reached(
    server: Any, small_steps: None
) -> None:
    async with server.open() as database:
        await fill(database, 40)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_refusal, database, HOUSES, "house of Flat cannot be unique: 39")
            while database.registry.building(database.registry.entry("Flat").number) is None:
                await trio.lowlevel.checkpoint()
            await database.transact(lambda t: t.create("Flat", {"house": 39}))  # the other has no entry yet
        check(database)


async def expect_refusal(database: Any, definition: ClassDefinition, said: str) -> None:
    with pytest.raises(Refused, match=said):
        await database.define(definition)


async def test_other_definitions_wait_and_who_stops_waiting_stops_nothing(server: Any, small_steps: None) -> None:
    async with server.open() as database:
        await fill(database, 30)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(database.define, BOTH)
            while not database.registry.builds():
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert database.registry.builds()
        await database.define(LONGER)  # waits for it
        assert [each.name for each in database.registry.entry("Flat").usable] == ["street", "doors"]
        check(database)
        with database.view() as view:
            assert len(list(view.select(Question("Flat", Compare("doors", "contains", 1))))) == 30


async def test_an_index_does_not_become_unique_in_its_place(server: Any, small_steps: None) -> None:
    async with server.open() as database:
        await fill(database, 30)
        await database.define(flat(house=", index = true"))
        with pytest.raises(Refused, match="cannot become unique in its place") as caught:
            await database.define(HOUSES)
        assert caught.value.details["field"] == "house"
        await database.define(NONE)
        await database.define(HOUSES)
        with pytest.raises(Refused, match="cannot become one that is not unique"):
            await database.define(flat(house=", index = true"))
        check(database)


async def test_optimistic_transactions_do_not_conflict_with_each_step(server: Any, small_steps: None) -> None:
    async with server.open() as database:
        await fill(database, 200)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(database.define, STREETS)
            while (building := database.registry.building(database.registry.entry("Flat").number)) is None:
                await trio.lowlevel.checkpoint()
            async with database.transaction() as transaction:
                transaction.create("Flat", {"street": "slow"})
                while database.registry.building(database.registry.entry("Flat").number).done <= building.done + 8:
                    await trio.lowlevel.checkpoint()
            assert database.registry.builds()
        check(database)


async def test_a_field_for_blobs_needs_no_building(server: Any, small_steps: None) -> None:
    async with server.open() as database:
        await fill(database, 30)
        await database.define(flat(more='photo = "blob"\n'))
        assert database.registry.building(database.registry.entry("Flat").number) is None
        await database.define(flat(more='photo = "blob"\n', house=", unique = true"))
        assert [each.name for each in database.registry.entry("Flat").usable if each.parts] == ["house"]
        check(database)


STEPS = st.lists(
    st.tuples(st.just("define"), st.sampled_from([NONE, STREETS, HOUSES, BOTH, LONGER]))
    | st.tuples(st.just("create"), st.integers(0, 60))
    | st.tuples(st.just("update"), st.integers(0, 60), st.integers(0, 60))
    | st.tuples(st.just("delete"), st.integers(0, 60))
    | st.tuples(st.just("wait"), st.integers(1, 5))
    | st.tuples(st.sampled_from(["crash", "close"])),
    min_size=4,
    max_size=16,
)


@contextlib.contextmanager
def only_refused(*said: str) -> Iterator[None]:
    """No error, or one that says one of these."""
    cause = said[0]
    try:
        yield
    except BangpathError as error:
        cause = error.cause
    assert any(each in cause for each in said), cause


class Dead(Exception):
    """The process ends here."""


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS, st.integers(5, 25))
def test_it_goes_on_after_crashes_and_amid_changes(
    make_server: Callable[..., Any], small_steps: None, steps: list[tuple[Any, ...]], count: int
) -> None:
    async def story() -> None:
        server = make_server()
        left = list(steps)
        made: list[Any] = []
        async with server.open() as database:
            await fill(database, count)
        ended = "close"
        while ended:
            try:
                async with server.open() as database, trio.open_nursery() as nursery:
                    ended = await play(database, nursery, left, made)
                    while ended == "" and database.registry.builds():
                        await trio.lowlevel.checkpoint()
                    check(database)
                    if ended == "crash":
                        raise Dead
                    nursery.cancel_scope.cancel()
                if ended == "close":
                    server.tables = MemoryTables()  # the log alone must tell all of it
            except* Dead:
                server.crash()
        async with server.open() as database:
            while database.registry.builds():
                await trio.lowlevel.checkpoint()
            check(database)

    async def play(database: Any, nursery: trio.Nursery, left: list[tuple[Any, ...]], made: list[Any]) -> str:
        check(database)
        while left:
            step, *said = left.pop(0)
            if step in ("crash", "close"):
                return str(step)
            if step == "wait":
                for _ in range(said[0]):
                    await database.transact(lambda t: t.put_setting("x", 1))
                    check(database)
                continue
            if step == "define":
                nursery.start_soon(define, database, said[0])
                await trio.lowlevel.checkpoint()
                continue
            act: Any
            if step == "create":
                act = functools.partial(create, {"street": f"s{said[0] % 5}", "house": said[0]})
            elif not made:
                continue
            elif step == "update":
                fields = {"street": f"t{said[1] % 3}", "house": said[1]}
                act = functools.partial(update, made[said[0] % len(made)], fields)
            else:
                act = functools.partial(delete, made.pop(said[0] % len(made)))
            with only_refused("is unique"):
                reference = await database.transact(act)
                if step == "create":
                    made.append(reference)
            check(database)
        return ""

    async def define(database: Any, definition: ClassDefinition) -> None:
        with only_refused("unique", "removed", "the store was closed", "the store is closed"):
            await database.define(definition)

    trio.run(story)


@pytest.mark.parametrize("kind", ["write", "sync"])
async def test_the_power_goes_in_every_step_of_a_build_and_of_a_drop(
    make_server: Callable[..., Any], small_steps: None, kind: str
) -> None:
    """Each write and each sync in turn is the last; then it is opened again, and goes on by itself."""
    for number in range(1, 60):
        server = make_server(seed=number)
        async with server.open() as database:
            await fill(database, 21)
            await database.define(STREETS)
        cut = False
        try:
            async with server.open() as database:
                server.disk.crash_at(**{kind: number})
                await database.define(BOTH)
        except* (PowerCut, Exception):
            cut = True
        server.crash()
        async with server.open() as database:
            check(database)
            while database.registry.builds():
                await trio.lowlevel.checkpoint()
            assert len(check(database)) == 21
            assert database.registry.entry("Flat").definition in (STREETS, BOTH)
            await database.define(BOTH)
            check(database)
        if not cut:
            assert number > 8
            return
    raise AssertionError("a build of 21 objects takes more than 60 steps")


async def test_mirrors_hear_of_it_once_and_index_what_they_hold(
    make_server: Callable[..., Any], small_steps: None
) -> None:
    owner, mirror = make_server("1.2"), make_server("1.3")
    async with owner.open() as database:
        await fill(database, 30)
        before = database.last_position(REGISTRY).number
        await database.define(STREETS)
        assert database.last_position(REGISTRY).number <= before + 2  # where it begins, and where it ends
        updates = owner.updates(database, REGISTRY) + owner.updates(database, DATA)
    async with mirror.open() as database:
        await database.apply(updates)
        await database.define(BOTH)
        await database.define(STREETS)
        with database.view() as view:
            entry = view.registry.entry("Flat")
            path = choose_path(entry, Question("Flat", Compare("street", "=", "s3")))
            assert path.over.name == "street"
            assert len(list(view.select(Question("Flat", Compare("street", "=", "s3"))))) == 4
