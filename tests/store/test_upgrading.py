"""Objects become those of the next major while everything goes on; whatever happens, none is lost or of both."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from identity.encoding import encode_integer
from identity.errors import BangpathError, Conflict, Refused
from node.embedded import open_store
from simulations.faulty_disk import PowerCut
from store import upgrading
from store.definitions import ClassDefinition, definition_from_toml
from store.indexes import entries
from store.keys import after_prefix
from store.query import Compare, Question
from store.records import DATA, REGISTRY, Stored
from store.registry import BUILT_IN, CLASS
from store.tables import MemoryTables
from store.upkeep import check_directory
from tests.store.conftest import Server
from tests.store.test_foreign import Feed, class_body, kinds


def port(version: str, fields: str) -> ClassDefinition:
    return definition_from_toml(f'name = "Port"\nversion = "{version}"\n[fields]\n{fields}')


NAME = 'name = { type = "string", required = true, unique = true }\n'
FEET = port("1.0", NAME + 'feet = { type = "int", index = true }\nnear = { type = "reference", on_delete = "clear" }\n')
METRES = port(
    "2.0", NAME + 'metres = { type = "float", index = true, max = 9000.0 }\nopen = { type = "bool", default = true }\n'
)
KILOMETRES = port("3.0", NAME + 'kilometres = "float"\n')


def to_metres(old: dict[str, Any]) -> dict[str, Any]:
    return {"name": old["name"], "metres": None if old["feet"] is None else old["feet"] * 0.25}


def to_kilometres(old: dict[str, Any]) -> dict[str, Any]:
    return {"name": old["name"], "kilometres": old["metres"] / 1000}


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrading, "UPGRADED_AT_ONCE", 4)
    monkeypatch.setattr(upgrading, "LOOKED_AT", 7)


async def fill(database: Any, count: int) -> list[Any]:
    await database.define(FEET)
    made: list[Any] = await database.transact(
        lambda t: [t.create("Port", {"name": f"p{n:04}", "feet": n}) for n in range(count)]
    )
    return made


def ports(database: Any, question: Question | None = None) -> list[Stored]:
    with database.view() as view:
        return list(view.select(question or Question("Port")))


def check(database: Any) -> None:
    """Each object stands once, in the indexes of its own major, and nothing else stands in them."""
    with database.view() as view:
        expected: dict[bytes, bytes] = {}
        numbers = set()
        for entry in view.registry.named("Port"):
            numbers.add(entry.number)
            for stored in view.all_of(entry):
                assert stored.fingerprint == entry.definition.fingerprint
                key = view.object_key(stored.reference)
                values = [stored.fields[name] for name in entry.codec.names]
                assert not expected.keys() & set(entries(entry.indexes, values, key))
                expected.update(dict.fromkeys(entries(entry.indexes, values, key), key))
        found: dict[bytes, bytes] = {}
        for number in numbers:
            start = encode_integer(number)
            found.update(view.source.scan("index", start, after_prefix(start)))
        assert found == expected


async def test_objects_become_those_of_the_next_major_and_keep_their_names(server: Any) -> None:
    async with server.open() as database:
        made = await fill(database, 3)
        await database.define(METRES, {1: to_metres})
        rows = ports(database, Question("Port", Compare("metres", ">", 0.3)))
        assert [(each.reference, each.major, each.fields) for each in rows] == [
            (made[2], 2, {"name": "p0002", "metres": 0.5, "open": True})
        ]
        await database.transact(lambda t: t.update(made[0], {"open": False}))
        await database.transact(lambda t: t.create("Port", {"name": "new", "metres": 1.0}))
        with pytest.raises(Refused, match=r"no field 'feet'"):
            await database.transact(lambda t: t.create("Port", {"name": "old", "feet": 1}))
        check(database)
    server.crash()
    async with server.open() as database:
        assert len(ports(database)) == 4
        assert {each.major for each in ports(database)} == {2}
        await database.define(METRES)  # nothing is left, so nobody asks for a function
        check(database)
        with database.view() as view:
            assert not [each for each in view.registry if each.upgrading]
        with pytest.raises(Refused, match=r"2\.0 here, and 1\.0 is of another major"):
            await database.define(FEET)


async def test_without_a_function_nothing_is_changed(server: Any) -> None:
    async with server.open() as database:
        made = await fill(database, 1)
        for upgrades in (None, {}, {7: to_metres}):
            with pytest.raises(Refused, match=rf"own objects of major 1, {made[0].server}/") as refused:
                await database.define(METRES, upgrades)
            assert "upgrade(1)" in refused.value.next_step
        for wrong in ([to_metres], {1: "to_metres"}, {"1": to_metres}):
            with pytest.raises(Refused, match="upgrade function"):
                await database.define(METRES, wrong)
        assert database.registry.definition("Port").major == 1
        assert database.last_position(REGISTRY).number == 1
        await database.transact(lambda t: t.update(made[0], {"feet": 9}))
        await database.transact(lambda t: t.delete(made[0]))
        await database.define(METRES)
        await database.transact(lambda t: t.create("Port", {"name": "new", "metres": 1.0}))
        check(database)


async def test_both_majors_answer_while_others_commit(server: Any, small_steps: None) -> None:
    async with server.open() as database:
        made = await fill(database, 40)
        seen: dict[tuple[int, int], None] = {}

        async def others() -> None:
            number = 0
            while not seen or database.registry.own("Port").definition.major == 1 or 1 in last():
                rows = ports(database, Question("Port", order=(("name", False),)))
                assert [each.reference for each in rows if each.reference in made] == made
                majors = [each.major for each in rows]
                seen[majors.count(1), majors.count(2)] = None
                number += 1
                await database.transact(functools.partial(create, {"name": f"q{number}", "metres": 1.0}))
                target = made[-1 - number % 20]
                await database.transact(functools.partial(update, target, {"metres": 7.0}))
                assert database.view().get(target).major == 2
                check(database)

        def last() -> set[int]:
            return {each.major for each in ports(database)}

        def create(fields: Any, t: Any) -> None:
            t.create("Port", fields)

        def update(target: Any, fields: Any, t: Any) -> None:
            t.update(target, fields)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(functools.partial(database.define, METRES, {1: to_metres}))
            while database.registry.definition("Port").major == 1:
                await trio.lowlevel.checkpoint()
            nursery.start_soon(others)
        assert len(seen) > 2
        check(database)
        progress = database.registry.progress(FEET.fingerprint)
        assert progress is None


async def test_an_object_that_cannot_be_upgraded_is_named_and_the_others_go_on(server: Any, small_steps: None) -> None:
    def careful(old: dict[str, Any]) -> Any:
        if old["feet"] == 3:
            raise KeyError("feet")
        wrong = {5: None, 7: {"name": old["name"], "metres": 10_000}, 9: {"nome": 1}, 11: {"name": "x" * (17 << 20)}}
        return wrong.get(old["feet"], to_metres(old)) if old["feet"] in (5, 7, 9, 11) else to_metres(old)

    async with server.open() as database:
        made = await fill(database, 20)
        with pytest.raises(Refused, match=r"^5 objects stay at major 1 of class Port: .* 1\.2/69 of ") as refused:
            await database.define(METRES, {1: careful})
        assert "KeyError" in refused.value.cause
        bad = [made[at] for at in (3, 5, 7, 9, 11)]
        assert refused.value.details["objects"] == [f"{each.server}/{each.object}" for each in bad]
        assert [each.reference for each in ports(database) if each.major == 1] == bad
        progress = database.registry.progress(FEET.fingerprint)
        assert (progress["state"], progress["done"], progress["version"]) == ("upgrading", 15, "2.0")
        assert "KeyError" in progress["reason"]
        with pytest.raises(Refused, match="KeyError"):
            await database.transact(lambda t: t.update(bad[0], {"open": False}))
        with database.view() as view:
            assert view.get(bad[0]).fields["feet"] == 3
        await database.transact(lambda t: t.delete(bad[0]))
        check(database)
    server.crash()
    async with server.open() as database:
        with pytest.raises(Refused, match="define the class with its upgrade") as refused:
            await database.transact(lambda t: t.update(bad[1], {"open": False}))
        with pytest.raises(Refused, match="own objects of major 1"):
            await database.define(METRES)
        await database.define(METRES, {1: to_metres})
        assert {each.major for each in ports(database)} == {2}
        assert len(ports(database)) == 19
        check(database)


async def test_what_is_unique_is_so_in_both_majors_together(server: Any, small_steps: None) -> None:
    def stuck(old: dict[str, Any]) -> dict[str, Any]:
        if old["feet"] < 2:
            raise ValueError("not yet")
        return to_metres(old)

    async with server.open() as database:
        made = await fill(database, 4)
        with pytest.raises(Refused, match="2 objects stay"):
            await database.define(METRES, {1: stuck})
        for name, holder in (("p0001", made[1]), ("p0002", made[2])):
            with pytest.raises(Refused, match="taken by") as refused:
                await database.transact(functools.partial(lambda name, t: t.create("Port", {"name": name}), name))
            assert refused.value.details["taken_by"] == str(holder)
            found = await database.transact(functools.partial(lambda name, t: t.find("Port", "name", name), name))
            assert found.reference == holder
        assert await database.transact(lambda t: t.find("Port", "name", "none")) is None
        with pytest.raises(Refused, match="taken by"):
            await database.transact(lambda t: t.update(made[3], {"name": "p0000"}))
        await database.define(METRES, {1: lambda old: {"name": {0: "p0001", 1: "p0000"}[old["feet"]]}})
        assert sorted(each.fields["name"] for each in ports(database)) == ["p0000", "p0001", "p0002", "p0003"]
        check(database)


async def test_two_upgraded_to_one_unique_value_one_stays(server: Any) -> None:
    async with server.open() as database:
        made = await fill(database, 2)
        with pytest.raises(Refused, match=r"1 object stays at major 1 .* is taken by"):
            await database.define(METRES, {1: lambda old: {"name": "same"}})
        assert [each.major for each in ports(database)] == [2, 1]
        await database.transact(lambda t: t.delete(made[0]))
        await database.define(METRES)  # the function is still there
        assert [each.fields["name"] for each in ports(database)] == ["same"]
        check(database)


async def test_pointers_stand_and_are_released_in_either_form(server: Any) -> None:
    def stuck(old: dict[str, Any]) -> dict[str, Any]:
        raise ValueError("never")

    async with server.open() as database:
        one, two, three = await fill(database, 3)
        await database.transact(
            lambda t: [t.update(two, {"near": one}), t.update(three, {"near": two}), t.set_root(one)]
        )
        with pytest.raises(Refused, match="3 objects stay"):
            await database.define(METRES, {1: stuck})
        await database.transact(lambda t: t.delete(two))
        with database.view() as view:
            assert view.get(three).fields["near"] is None
        check(database)
        await database.define(METRES, {1: to_metres})
        with database.view() as view:
            assert view.root.reference == one
            assert view.root.major == 2
        check(database)


async def test_an_object_that_moves_while_it_is_passed_is_not_forgotten(server: Any, small_steps: None) -> None:
    """A pointer that is cleared puts its object to another place of the index that the upgrade goes along."""
    walked = port("1.0", 'near = { type = "reference(Dock)", on_delete = "clear" }\n')
    after = port("2.0", 'label = "string"\n')
    async with server.open() as database:
        await database.define(definition_from_toml('name = "Dock"\n[fields]\nname = "string"\n'))
        dock = await database.transact(lambda t: t.create("Dock", {"name": "d"}))
        await database.define(walked)
        await database.transact(lambda t: t.create("Port", {"near": dock}))
        await database.transact(lambda t: [t.create("Port", {}) for _ in range(20)])

        async def release() -> None:
            while not [each for each in ports(database) if each.major == 2]:
                await trio.lowlevel.checkpoint()
            await database.transact(lambda t: t.delete(dock))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(release)
            await database.define(after, {1: lambda old: {"label": "x"}})
        assert {each.major for each in ports(database)} == {2}
        assert len(ports(database)) == 21
        check(database)


async def test_a_transaction_of_before_conflicts_and_savepoints_take_an_upgrade_back(server: Any) -> None:
    def stuck(old: dict[str, Any]) -> dict[str, Any]:
        if old["feet"] and stubborn:
            raise ValueError("not yet")
        return to_metres(old)

    stubborn = True
    async with server.open() as database:
        made = await fill(database, 3)
        with pytest.raises(Conflict):  # noqa: PT012
            async with database.transaction() as t:
                t.update(made[0], {"feet": 5})
                with pytest.raises(Refused, match="2 objects stay"):
                    await database.define(METRES, {1: stuck})
        stubborn = False

        def body(t: Any) -> None:
            with t.savepoint() as point:
                t.update(made[1], {"metres": 3.0})
                assert t.get(made[1]).major == 2
                point.roll_back()
            assert t.get(made[1]).fields["feet"] == 1
            t.update(made[2], {"open": False})
            t.update(made[2], {"metres": 4.0})

        await database.transact(body)
        assert [(each.major, each.fields.get("metres")) for each in ports(database)] == [(2, 0.0), (1, None), (2, 4.0)]
        check(database)

        async def change(t: Any) -> None:
            t.update(made[1], {"metres": t.get(made[1]).fields["feet"] + 1.0})

        await database.retry(change)
        await database.define(METRES)
        assert [each.fields["metres"] for each in ports(database)] == [0.0, 2.0, 4.0]
        check(database)


async def test_two_majors_behind(server: Any, small_steps: None) -> None:
    async with server.open() as database:
        made = await fill(database, 9)
        with pytest.raises(Refused, match="5 objects stay"):
            await database.define(METRES, {1: lambda old: to_metres(old) if old["feet"] % 2 else None})
        with pytest.raises(Refused, match="own objects of major"):
            await database.define(KILOMETRES, {2: to_kilometres})
        await database.define(KILOMETRES, {1: lambda old: to_kilometres(to_metres(old)), 2: to_kilometres})
        assert [each.fields["kilometres"] for each in ports(database)] == [n * 0.25 / 1000 for n in range(9)]
        assert [each.reference for each in ports(database)] == made
        check(database)


async def test_a_class_is_dropped_with_its_older_majors(server: Any, small_steps: None) -> None:
    async with server.open() as database:
        await fill(database, 9)
        with pytest.raises(Refused, match="stay at major 1"):
            await database.define(METRES, {1: lambda old: to_metres(old) if old["feet"] % 2 else None})
        with pytest.raises(Refused, match="has own objects"):
            await database.drop("Port")
        await database.drop("Port", objects=True)
        assert ports(database) == []
        assert not database.registry.adopted("Port")
        await database.define(METRES)
        await database.transact(lambda t: t.create("Port", {"name": "p0000"}))
        check(database)


async def test_others_objects_are_not_touched_and_mirrors_follow(server: Any, small_steps: None) -> None:
    registry, data = Feed("1.9", REGISTRY), Feed("1.9", DATA)
    theirs = [(100 + n, FEET, FEET.codec.encode([f"p{n:04}", n, None])) for n in range(30)]
    mirror = Server("1.5")
    async with server.open() as database, mirror.open() as holding:
        assert kinds(await database.apply([registry.update((70, BUILT_IN[CLASS], class_body(FEET)))])) == ["Applied"]
        assert kinds(await database.apply([data.update(*theirs)])) == ["Applied"]
        made = await fill(database, 10)
        await database.define(METRES, {1: to_metres})
        rows = ports(database)
        assert {each.major for each in rows if each.kind == "owned"} == {2}
        assert {each.major for each in rows if each.kind == "mirrored"} == {1}
        assert [each.fields["name"] for each in ports(database, Question("Port", Compare("feet", "=", 7)))] == ["p0007"]
        feeds = [(kind, update) for kind in (REGISTRY, DATA) for update in server.updates(database, kind)]
        assert kinds(await holding.apply([update for _, update in feeds])) == ["Applied"] * len(feeds)
        with holding.view() as view:
            copied = list(view.select(Question("Port", order=(("metres", False),))))
            assert [(each.reference, each.fields) for each in copied] == [
                (each.reference, each.fields) for each in rows if each.reference in made
            ]
        check(holding)
        check(database)


@pytest.mark.parametrize("torn", [False, True])
async def test_the_power_goes_in_every_sync_of_an_upgrade(torn: bool, small_steps: None) -> None:
    at = 0
    while True:
        at += 1
        server = Server(seed=at)
        async with server.open() as database:
            made = await fill(database, 10)
        defined = False
        try:
            async with server.open() as database:
                server.disk.crash_at(sync=at)
                await database.define(METRES, {1: to_metres})
                defined = True
        except* (PowerCut, Exception):
            pass
        if defined and server.disk.will_crash:
            break
        server.disk.crash(torn_write=torn)
        async with server.open() as database:
            rows = ports(database)
            assert [each.reference for each in rows] == made
            assert all(each.fields.get("feet", n) == n for n, each in enumerate(rows))
            assert not defined or {each.major for each in rows} == {2}
            check(database)
            await database.define(METRES, {1: to_metres})
            assert [each.fields["metres"] for each in ports(database)] == [n * 0.25 for n in range(10)]
            check(database)
    assert at > 4


async def test_a_store_in_the_middle_is_whole_and_backs_up_whole(tmp_path: Path) -> None:
    def half(old: dict[str, Any]) -> dict[str, Any]:
        if old["feet"] % 2:
            raise ValueError("odd")
        return to_metres(old)

    async with open_store(tmp_path / "ports") as store:
        await fill(store.database, 300)
        with pytest.raises(Refused, match="150 objects stay"):
            await store.define(METRES, upgrades={1: half})
    report = await trio.to_thread.run_sync(check_directory, tmp_path / "ports")
    assert report.findings == []
    async with open_store(tmp_path / "ports") as store:
        check(store.database)
        assert len([each for each in ports(store.database) if each.major == 1]) == 150
        await store.define(METRES, upgrades={1: to_metres})
        check(store.database)
    report = await trio.to_thread.run_sync(check_directory, tmp_path / "ports")
    assert report.findings == []


# Whatever is done meanwhile, and however often it dies: each object has the value that it was given last.

VERSIONS = {1: FEET, 2: METRES, 3: KILOMETRES}
UNITS = {1: ("feet", 1), 2: ("metres", 0.25), 3: ("kilometres", 0.25 / 1000)}
STORY = st.lists(
    st.tuples(st.just("define"), st.sampled_from([1, 2, 3]), st.frozensets(st.integers(0, 9), max_size=2))
    | st.tuples(st.just("create"), st.integers(0, 30), st.integers(0, 9))
    | st.tuples(st.just("update"), st.integers(0, 60), st.integers(0, 9))
    | st.tuples(st.just("rename"), st.integers(0, 60), st.integers(0, 30))
    | st.tuples(st.just("delete"), st.integers(0, 60))
    | st.tuples(st.just("wait"), st.integers(1, 4))
    | st.tuples(st.sampled_from(["crash", "close"])),
    min_size=4,
    max_size=16,
)


class Dead(Exception):
    """The process ends here."""


class Told:
    """What was answered, and so must be there."""

    def __init__(self) -> None:
        self.values: dict[Any, tuple[str, int]] = {}

    def check(self, database: Any) -> None:
        check(database)
        found = {}
        for each in ports(database):
            field, unit = UNITS[each.major]
            found[each.reference] = (each.fields["name"], round(each.fields[field] / unit))
        assert found == self.values
        assert len({name for name, _ in found.values()}) == len(found)

    async def act(self, database: Any, step: str, one: int, other: int) -> None:
        target = list(self.values)[one % len(self.values)] if self.values else None
        taken = {name: reference for reference, (name, _) in self.values.items()}
        body: Any
        if step == "create":
            name = f"p{one:04}"
            body = functools.partial(self._create, name, other)
        elif target is None:
            return
        elif step == "delete":
            body, name = functools.partial(self._delete, target), ""
        else:
            name = f"p{other:04}" if step == "rename" else ""
            body = functools.partial(self._update, target, name, other)
        free = taken.get(name) in (None, None if step == "create" else target)
        made, said = None, ""
        try:
            made = await database.transact(body)
        except Refused as refused:
            said = refused.cause + refused.next_step
        if said:
            assert "upgrade function" in said or not free, said
            return
        assert free
        if step == "create":
            self.values[made] = (name, other)
        elif step == "delete":
            del self.values[target]
        else:
            before = self.values[target]
            self.values[target] = (name or before[0], before[1] if name else other)

    @staticmethod
    def _create(name: str, value: int, t: Any) -> Any:
        return t.create("Port", {"name": name, **as_said(t, value)})

    @staticmethod
    def _update(target: Any, name: str, value: int, t: Any) -> None:
        t.update(target, {"name": name} if name else as_said(t, value))

    @staticmethod
    def _delete(target: Any, t: Any) -> None:
        t.delete(target)


def as_said(t: Any, value: int) -> dict[str, Any]:
    """In the field that the newest major has."""
    field, unit = UNITS[t.registry.definition("Port").major]
    return {field: value * unit}


def functions(to: int, bad: frozenset[int]) -> dict[int, Any]:
    def convert(major: int, old: dict[str, Any]) -> dict[str, Any]:
        field, unit = UNITS[major]
        value = round(old[field] / unit)
        if value in bad:
            raise ValueError("bad")
        name, into = UNITS[to]
        return {"name": old["name"], name: value * into}

    return {major: functools.partial(convert, major) for major in range(1, to)}


async def define(database: Any, version: int, bad: frozenset[int]) -> None:
    said = "closed"
    try:
        await database.define(VERSIONS[version], functions(version, bad))
    except BangpathError as error:
        said = error.cause
    assert any(each in said for each in ("bad", "another major", "closed")), said


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STORY, st.integers(5, 25))
def test_each_object_has_its_last_value_whatever_happens(
    small_steps: None, steps: list[tuple[Any, ...]], count: int
) -> None:
    async def story() -> None:
        server, told, left = Server(), Told(), list(steps)
        async with server.open() as database:
            for n, each in enumerate(await fill(database, count)):
                told.values[each] = (f"p{n:04}", n)
        ended = "close"
        while ended:
            try:
                async with server.open() as database, trio.open_nursery() as nursery:
                    ended = await play(database, nursery, told, left)
                    if ended == "crash":
                        raise Dead
                    nursery.cancel_scope.cancel()
                if ended == "close":
                    server.tables = MemoryTables()  # the log alone must tell all of it
            except* Dead:
                server.crash()
        async with server.open() as database:
            told.check(database)
            await database.define(KILOMETRES, functions(3, frozenset()))
            told.check(database)
            assert {each.major for each in ports(database)} <= {3}

    async def play(database: Any, nursery: trio.Nursery, told: Told, left: list[tuple[Any, ...]]) -> str:
        told.check(database)
        while left:
            step, *said = left.pop(0)
            if step in ("crash", "close"):
                return str(step)
            if step == "wait":
                for _ in range(said[0]):
                    await database.transact(lambda t: t.put_setting("x", 1))
            elif step == "define":
                nursery.start_soon(define, database, *said)
                await trio.lowlevel.checkpoint()
            else:
                await told.act(database, step, said[0], said[-1])
            told.check(database)
        return ""

    trio.run(story)
