"""What nothing points to goes, whatever else happens meanwhile; what could be reached since the marking began stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from identity.errors import Conflict, Refused
from identity.names import Reference
from simulations.faulty_disk import PowerCut
from store import collecting
from store.collector import collect
from store.copies import Copy
from store.definitions import definition_from_toml
from store.query import Question
from store.records import DATA, REGISTRY
from store.tables import MemoryTables

NODE = definition_from_toml(
    'name = "Node"\ncollectable = true\n[fields]\nnext = "reference(Node)"\nany = "reference"\n'
    'many = "list(reference)"\ndeep = "list(list(reference(Node)))"\ntext = { type = "string", index = true }\n'
)
SHELF = definition_from_toml('name = "Shelf"\n[fields]\nnode = "reference"\nnodes = "list(reference(Node))"\n')
LINK = definition_from_toml(
    'name = "Link"\ncollectable = true\n[fields]\nstop = { type = "reference(Link)", on_delete = "restrict" }\n'
    'end = { type = "reference(Link)", on_delete = "cascade" }\nloose = { type = "reference", on_delete = "clear" }\n'
)


def there(database: Any, name: str = "Node") -> set[int]:
    with database.view() as view:
        return {each.reference.object for each in view.select(Question(name)) if each.kind == "owned"}


def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOKED_AT", "TRACED_AT_ONCE", "DELETED_AT_ONCE"):
        monkeypatch.setattr(collecting, name, 2)


async def define(database: Any) -> None:
    for each in (NODE, SHELF, LINK):
        await database.define(each)


async def test_a_circle_that_nothing_points_to_goes_and_a_chain_from_a_shelf_stays(server: Any) -> None:
    async with server.open() as database:
        await define(database)

        def body(t: Any) -> tuple[list[Reference], list[Reference]]:
            circle = [t.create("Node", {}) for _ in range(3)]
            for one, other in zip(circle, [*circle[1:], circle[0]], strict=True):
                t.update(one, {"next": other})
            last = t.create("Node", {})
            fourth = t.create("Node", {"deep": [[], [last]]})
            third = t.create("Node", {"many": [fourth]})
            second = t.create("Node", {"any": third})
            first = t.create("Node", {"next": second})
            t.create("Shelf", {"node": first})
            return circle, [first, second, third, fourth, last]

        circle, chain = await database.transact(body)
        told: list[Any] = []
        tried = await collect(database.inside, dry_run=True, progress=told.append)
        assert (tried.dry_run, tried.looked_at, tried.objects, tried.count) == (True, 8, {"Node": 3}, 3)
        assert list(tried.examples) == [f"1.2/{each.object}" for each in circle]
        assert told[-1] == ("ended", 3, 3)
        assert there(database) == {each.object for each in circle + chain}
        done = await collect(database.inside)
        assert (done.dry_run, done.looked_at, done.objects) == (False, 8, {"Node": 3})
        assert there(database) == {each.object for each in chain}
        assert (await collect(database.inside)).count == 0
    server.tables = MemoryTables()  # the log says it too
    async with server.open() as database:
        assert there(database) == {each.object for each in chain}


async def test_roots_are_the_root_pins_temporary_objects_and_what_others_hold(make_server: Callable[..., Any]) -> None:
    server, other = make_server("1.2"), make_server("1.3")
    async with server.open() as database:
        await define(database)
        root, pinned, handled, mirrored, copied, gone = await database.transact(
            lambda t: [t.create("Node", {"text": str(n)}) for n in range(6)]
        )
        async with other.open() as theirs:
            await define(theirs)
            await theirs.transact(lambda t: t.create("Shelf", {"node": mirrored}))
            copy = await theirs.transact(lambda t: t.create("Shelf", {}))
            updates = other.updates(theirs, REGISTRY) + other.updates(theirs, DATA)
            await database.apply(updates)
            body = SHELF.to_body({"node": copied, "nodes": None})
        await database.cache([Copy(copy._replace(object=copy.object + 1), SHELF.fingerprint, 9, body)])
        await database.transact(lambda t: (t.set_root(root), t.pin(pinned)))
        with database.session() as session:
            handle = session.create("Node", {"next": handled})
            assert (await collect(database.inside)).examples == (f"1.2/{gone.object}",)
            kept = {each.object for each in (root, pinned, mirrored, copied)}
            assert there(database) == kept | {handled.object}
            session.delete(handle)
            await collect(database.inside)
            assert there(database) == kept
        await database.transact(lambda t: (t.set_root(None), t.pin(pinned, stays=False)))
        await collect(database.inside)
        assert there(database) == {mirrored.object, copied.object}


async def test_others_see_what_went_as_any_deletion(make_server: Callable[..., Any]) -> None:
    server, mirror = make_server("1.2"), make_server("1.3")
    async with server.open() as database, mirror.open() as other:
        await define(database)
        await database.transact(lambda t: [t.create("Node", {"text": "a"}) for _ in range(5)])
        await collect(database.inside)
        await other.apply(server.updates(database, REGISTRY) + server.updates(database, DATA))
        with other.view() as view:
            assert list(view.select(Question("Node"))) == []
            assert not view.registry.entry("Node").definition.collectable  # that is for each owner to say


@pytest.mark.parametrize("reverse", [False, True])
async def test_what_points_with_on_delete_goes_with_its_target(
    server: Any, reverse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_steps(monkeypatch)
    async with server.open() as database:
        await define(database)

        def body(t: Any) -> Reference:
            chain = [t.create("Link", {}) for _ in range(9)]
            if reverse:
                chain.reverse()
            for at in range(8):
                t.update(chain[at], {"stop": chain[at + 1]})
            t.update(chain[8], {"end": chain[4], "loose": chain[2]})  # circles of five and of seven
            t.create("Link", {"stop": chain[8], "loose": chain[0]})
            kept = t.create("Link", {})
            t.create("Shelf", {"node": kept})
            t.update(kept, {"stop": t.create("Link", {})})
            return kept

        kept = await database.transact(body)
        seen: list[int] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: collect(database.inside))
            while len(there(database, "Link")) > 2:
                with database.view() as view:
                    for each in view.select(Question("Link")):
                        for target in (each.fields["stop"], each.fields["end"], each.fields["loose"]):
                            assert target is None or view.get(target) is not None
                seen.append(len(there(database, "Link")))
                await trio.lowlevel.checkpoint()
        assert there(database, "Link") == {kept.object, kept.object + 2}
        assert set(seen) >= {12}


async def test_nothing_is_written_that_points_to_what_goes(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    small_steps(monkeypatch)
    async with server.open() as database:
        await define(database)
        nodes = await database.transact(lambda t: [t.create("Node", {}) for _ in range(12)])
        shelf = await database.transact(lambda t: t.create("Shelf", {}))
        refused = []

        async def point(_: Any = None) -> None:
            for change in (
                lambda t: t.update(shelf, {"nodes": [nodes[-1]]}),
                lambda t: t.pin(nodes[-1]),
                lambda t: t.set_root(nodes[-1]),
            ):
                with pytest.raises(Refused, match=f"/{nodes[-1].object} is being collected") as caught:
                    await database.transact(change)
                refused.append(caught.value)
            await database.transact(lambda t: t.update(nodes[-1], {"text": "goes all the same"}))

        collection = collecting.Collection(database.inside.applier, (), dry_run=False)
        database.inside.applier.collection = collection

        async def point_until(phase: str) -> None:
            async with database.transaction() as t:
                t.update(shelf, {"node": nodes[-1]})
                while collection.phase != phase:
                    await database.inside.do(collecting_step(collection))

        with pytest.raises(Refused, match="is being collected"):
            await point_until(collecting.SWEEPING)
        await point()
        with pytest.raises(Refused, match="a collection is under way"):
            await collect(database.inside)
        with pytest.raises(Conflict):
            await point_until(collecting.ENDED)
        database.inside.applier.collection = None
        assert there(database) == set()
        assert len(refused) == 3
        assert refused[0].details["field"] == "nodes"
        assert "one transaction" in refused[0].next_step


def collecting_step(collection: collecting.Collection) -> Any:
    from store.work import CollectStep

    return CollectStep(collection)


async def test_a_class_that_is_defined_anew_ends_it(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    small_steps(monkeypatch)
    async with server.open() as database:
        await define(database)
        await database.transact(lambda t: [t.create("Node", {}) for _ in range(9)])
        text = 'name = "Node"\n[fields]\nnext = "reference(Node)"\nany = "reference"\nmany = "list(reference)"\n'
        text += 'deep = "list(list(reference(Node)))"\ntext = { type = "string", index = true }\n'
        collection = collecting.Collection(database.inside.applier, (), dry_run=False)
        await database.inside.do(collecting_step(collection))
        await database.define(definition_from_toml(text))
        with pytest.raises(Conflict, match="class Node was defined anew"):
            await database.inside.do(collecting_step(collection))
        assert len(there(database)) == 9
        assert (await collect(database.inside)).looked_at == 0  # nothing is collectable any more


async def test_the_power_goes_in_every_sync_of_a_collection(
    make_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "DELETED_AT_ONCE", 3)
    for number in range(1, 30):
        server = make_server(seed=number)
        async with server.open() as database:
            await define(database)

            def body(t: Any) -> Reference:
                for _ in range(10):
                    t.create("Node", {})
                kept: Reference = t.create("Node", {})
                t.create("Shelf", {"node": kept})
                return kept

            kept = await database.transact(body)
        cut = False
        try:
            async with server.open() as database:
                server.disk.crash_at(sync=number)
                await collect(database.inside)
        except* (PowerCut, Exception):
            cut = True
        server.crash()
        async with server.open() as database:
            assert kept.object in there(database)
            await collect(database.inside)
            assert there(database) == {kept.object}
        if not cut:
            assert number > 4
            return
    raise AssertionError("to collect ten objects takes more than thirty syncs")


OBJECTS = 8
ACTS = st.lists(
    st.tuples(
        st.sampled_from(["step", "link", "unlink", "put", "take", "create", "undo", "delete", "rename"]),
        st.integers(0, 50),
        st.integers(0, 50),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(
    links=st.lists(st.tuples(st.integers(0, OBJECTS - 1), st.integers(0, OBJECTS - 1)), max_size=12),
    steps=st.integers(0, 30),
    acts=ACTS,
)
@example(links=[], steps=19, acts=[("step", 0, 0), ("step", 0, 0), ("link", 0, 5)])
@example(links=[(1, 2)], steps=9, acts=[("unlink", 1, 0)])
@example(links=[], steps=1, acts=[("create", 2, 0)])
@example(links=[(1, 2)], steps=1, acts=[("rename", 1, 0)])
def test_what_could_be_reached_since_the_marking_began_stays(
    links: list[tuple[int, int]], steps: int, acts: list[Any]
) -> None:
    trio.run(_random_writers, links, [("step", 0, 0)] * steps + acts)


async def _random_writers(links: list[tuple[int, int]], acts: list[Any]) -> None:
    from tests.store.conftest import Server

    async with Server().open() as database:
        await define(database)

        def begin(t: Any) -> tuple[list[Reference], Reference]:
            nodes = [t.create("Node", {"text": "m"}) for _ in range(OBJECTS)]
            for one, other in links:
                t.update(nodes[one], {"many": [*(t.get(nodes[one]).fields["many"] or []), nodes[other]]})
            return nodes, t.create("Shelf", {"nodes": nodes[:2]})

        nodes, shelf = await database.transact(begin)
        collection = database.inside.applier.collection = collecting.Collection(
            database.inside.applier, (), dry_run=False
        )
        with pytest.MonkeyPatch.context() as patch:
            for name in ("LOOKED_AT", "TRACED_AT_ONCE", "DELETED_AT_ONCE"):
                patch.setattr(collecting, name, 1)
            reached: set[int] = set()
            deleted: set[int] = set()
            for act, one, other in [*acts, *[("step", 0, 0)] * 200]:
                if act == "step":
                    if collection.phase == collecting.ENDED:
                        break
                    await database.inside.do(collecting_step(collection))
                else:
                    try:
                        await database.transact(
                            lambda t, a=act, b=one, c=other: _act(t, a, b, c, nodes, shelf, deleted)
                        )
                    except Refused:
                        assert collection.phase == collecting.SWEEPING or deleted  # what points to those is refused
                if collection.phase != collecting.LISTING:
                    reached |= _reachable(database, shelf)
                    assert reached - deleted <= there(database)
            assert collection.phase == collecting.ENDED
            if all(act == "step" for act, _, _ in acts):
                assert there(database) == reached


def _act(t: Any, act: str, one: int, other: int, nodes: list[Any], shelf: Any, deleted: set[int]) -> None:
    a, b = (nodes[each % len(nodes)] for each in (one, other))
    if t.get(a) is None or t.get(b) is None:
        return
    if act == "link":
        t.update(a, {"many": [*(each for each in t.get(a).fields["many"] or [] if t.get(each)), b]})
    elif act == "unlink":
        t.update(a, {"many": None})
    elif act == "put":
        t.update(shelf, {"node": a})
    elif act == "take":
        t.update(shelf, {"nodes": None})
    elif act == "create":
        nodes.append(t.create("Node", {"next": a}))
        t.update(b, {"next": nodes[-1]})
    elif act == "rename":  # and be at another place in the index along which they are listed
        t.update(a, {"text": "a"})
    elif act == "undo":
        with t.savepoint() as point:
            t.update(a, {"next": b})
            point.roll_back()
    elif act == "delete":
        t.delete(a)
        deleted.add(a.object)


def _reachable(database: Any, shelf: Reference) -> set[int]:
    with database.view() as view:
        found: set[int] = set()
        fields = view.get(shelf).fields
        left = [fields["node"], *(fields["nodes"] or [])]
        while left:
            each = left.pop()
            stored = None if each is None or each.object in found else view.get(each)
            if stored is not None:
                found.add(each.object)
                left += [stored.fields["next"], *(stored.fields["many"] or [])]
        return found
