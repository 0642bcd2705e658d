"""Answers while owners are away, on real nodes by seed: whose word, how old, by which path; and never half a group."""

from __future__ import annotations

from typing import Any

import msgspec
import networkx
import pytest
import trio

from identity.errors import BangpathError, NotFound, Stale, Unreachable
from identity.names import ObjectId, Reference, ServerId
from node.asking import Operation
from node.outcomes import Queued
from simulations.network import Link
from simulations.plugin import simulate
from simulations.server import SimulatedServer
from simulations.world import World
from store.registry import definition_from_toml

NOTE = definition_from_toml('name = "Note"\n[fields]\ntext = { type = "string" }\nn = { type = "int" }\n')
SOON_S = 2.5  # an owner that nobody knows to be silent, a dead mirror, and the one that answers


def holding(server: SimulatedServer, owner: SimulatedServer) -> Any:
    return server.up.parts.standpoint.holding(owner.server)


def mirrors_of(server: SimulatedServer, owner: SimulatedServer) -> list[ServerId]:
    found: list[ServerId] = server.up.parts.directory.mirrors_of(owner.server)
    return found


def without(mesh: World, *abilities: str, servers: tuple[SimulatedServer, ...]) -> None:
    """These servers lack these abilities, from their next start on."""
    made = mesh.new_node

    def new_node(server: SimulatedServer) -> Any:
        node = made(server)
        if server in servers:
            node.config = msgspec.structs.replace(node.config, without=frozenset(abilities))
        return node

    mesh.new_node = new_node  # type: ignore[method-assign]


async def mirrored(mesh: World, owner: SimulatedServer, *mirrors: SimulatedServer) -> Reference:
    """One note of the owner, held by its mirrors; every other server knows who they are."""
    await owner.define(NOTE)
    note = await owner.create("Note", text="hi", n=1)
    for mirror in mirrors:
        await mirror.mirror(owner)
    names = {mirror.server for mirror in mirrors}

    def known() -> bool:
        return all(holding(each, owner).whole for each in mirrors) and all(
            set(mirrors_of(each, owner)) == names - {each.server} and each.up.parts.standpoint.owners("Note", None)
            for each in mesh.servers
        )

    await mesh.eventually(known, within=60)
    return note


async def changed_at(server: SimulatedServer, note: Reference, n: int) -> str:
    """Change it, here or through the outbox; the position that tells of it, as text."""
    changed = await server.update(note, n=n)
    if isinstance(changed, Queued):
        return str((await server.up.outbox_settled(changed.request, deadline=60))["outcome"]["position"])
    return str(changed.position)


@simulate(nodes=networkx.path_graph(4), seeds=3)
async def test_a_mirror_that_is_no_neighbour_answers_for_an_owner_that_died(mesh: World) -> None:
    """asker - other - owner - mirror: whom to ask stands in the mirror's own registry feed."""
    asker, _, owner, mirror = mesh.servers
    note = await mirrored(mesh, owner, mirror)
    await mesh.sleep(5)
    await owner.crash()
    begun = mesh.now
    found = await asker.get(note)  # nobody has noticed yet
    assert mesh.now - begun < SOON_S
    assert (found.kind, found.by, found.fields["text"]) == ("mirrored", mirror.server, "hi")
    assert found.path == (owner.server, mirror.server, asker.server)
    assert str(found.position).startswith(f"{owner.name}@")
    assert 0 <= found.age < 15
    assert 0 < found.owner_unreachable_since <= mesh.now - begun + 10
    await mesh.sleep(30)
    begun = mesh.now
    found = await asker.get(note)
    assert found.by == mirror.server
    assert mesh.now - begun < SOON_S
    assert found.owner_unreachable_since >= 0
    with pytest.raises(Unreachable):
        await asker.get((owner.server, ObjectId(999)), deadline=5)
    await owner.restart()
    await mesh.sleep(40)
    found = await asker.get(note)
    assert (found.kind, found.by, found.owner_unreachable_since) == ("owner", None, None)


@simulate(nodes=4, seeds=3)
async def test_the_path_of_an_answer_names_the_gateways_too(mesh: World) -> None:
    asker, owner, mirror, gateway = mesh.servers
    note = await mirrored(mesh, owner, mirror)
    mesh.cut(asker >> mirror)
    mesh.cut(mirror >> asker)
    await mesh.sleep(10)
    await owner.crash()
    begun = mesh.now
    found = await asker.get(note)
    assert (found.kind, found.by) == ("mirrored", mirror.server)
    assert found.path == (owner.server, mirror.server, gateway.server, asker.server)
    assert mesh.now - begun < SOON_S
    answer = await asker.query("Note")
    assert answer.completeness["owners"][0]["path"] == list(map(str, found.path))
    mesh.heal()
    await mesh.sleep(60)
    assert (await asker.get(note)).path == (owner.server, mirror.server, asker.server)


@simulate(nodes=3, seeds=2)
async def test_who_mirrors_no_longer_is_no_longer_announced(mesh: World) -> None:
    asker, owner, mirror = mesh.servers
    await mirrored(mesh, owner, mirror)
    await mirror.up.unmirror(owner.name)
    await mesh.eventually(lambda: not mirrors_of(asker, owner), within=30)
    await mirror.up.mirror("1.*,-1.7")
    await mesh.eventually(lambda: mirrors_of(asker, owner) == [mirror.server], within=30)
    await mirror.crash()
    await mirror.restart()
    await asker.crash()
    await asker.restart()
    assert mirrors_of(asker, owner) == [mirror.server]  # out of its own store


@simulate(nodes=3, seeds=2)
async def test_a_neighbour_that_kept_a_copy_by_chance_gives_it(mesh: World) -> None:
    asker, owner, other = mesh.servers
    await owner.define(NOTE)
    note = await owner.create("Note", text="hi", n=1)
    await mesh.sleep(2)
    assert (await other.get(note)).kind == "owner"
    await mesh.eventually(lambda: other.read(note) is not None, within=5)
    await owner.crash()
    await mesh.sleep(20)
    found = await asker.get(note)
    assert (found.kind, found.by, found.position) == ("cached", other.server, None)
    assert 20 <= found.age < 40
    assert found.owner_unreachable_since is not None
    assert asker.read(note) is None  # a copy of a copy would look younger than it is
    assert (await other.get(note)).by == other.server
    with pytest.raises(Stale, match="old, and at most 5 s was asked for"):
        await asker.get(note, max_age=5, deadline=10)
    with pytest.raises(BangpathError) as missing:
        await asker.get((owner.server, ObjectId(999)), deadline=10)
    assert isinstance(missing.value, Unreachable)
    assert not isinstance(missing.value, NotFound)


@simulate(nodes=4, seeds=3)
async def test_a_question_says_who_was_not_reached_and_how_many_rows_a_mirror_told(mesh: World) -> None:
    asker, owner, mirror, alone = mesh.servers
    note = await mirrored(mesh, owner, mirror)
    for n in range(2, 8):
        await owner.create("Note", text="more", n=n)
    await alone.define(NOTE)
    await alone.create("Note", text="nobody mirrors this", n=100)
    await mesh.eventually(lambda: holding(mirror, owner).position.number >= 7, within=30)
    await mesh.eventually(lambda: len(asker.up.parts.standpoint.owners("Note", None)) == 2, within=30)
    whole = await asker.query("Note order by n")
    assert whole.completeness["whole"] is True
    with mesh.partition({asker, mirror}, {owner, alone}):
        await mesh.sleep(30)
        begun = mesh.now
        answer = await asker.query("Note order by n")
        assert mesh.now - begun < SOON_S
        by_mirror, missing = answer.completeness["owners"]
        assert (by_mirror["server"], by_mirror["how"], by_mirror["rows"]) == (owner.name, "mirrored", 7)
        assert by_mirror["path"] == [owner.name, mirror.name, asker.name]
        assert (by_mirror["by"], by_mirror["position"]) == (mirror.name, str(holding(mirror, owner).position))
        assert 20 < by_mirror["since"] < 50
        assert 20 < by_mirror["age"] < 50
        assert (missing["server"], missing["how"], missing["rows"]) == (alone.name, "unreachable", 0)
        assert 20 < missing["since"] < 50
        assert answer.completeness["whole"] is False
        assert answer.completeness["summary"]["missing"] == [alone.name]
        assert answer.completeness["summary"]["not_reached"] == [owner.name, alone.name]
        assert {row.reference.server for row in answer.rows} == {owner.server}
        strict = await asker.query("Note order by n", max_age=5, deadline=10)
        assert strict.rows == []
        assert [each["how"] for each in strict.completeness["owners"]] == ["stale", "unreachable"]
        local = await mirror.query("Note")
        assert local.completeness["owners"][0]["by"] == mirror.name
        assert 20 < local.completeness["owners"][0]["since"] < 50
    await mesh.sleep(60)
    assert (await asker.query("Note order by n")).completeness["whole"] is True
    assert (await asker.get(note)).kind == "owner"


@simulate(nodes=3, seeds=3, link=Link(delay=0.15, jitter=0.1))
async def test_one_reads_what_one_wrote_wherever_one_asks(mesh: World) -> None:
    asker, owner, mirror = mesh.servers
    note = await mirrored(mesh, owner, mirror, asker)
    behind = 0
    for n in range(2, 30):
        position = await changed_at(asker, note, n)
        behind += (await asker.get(note, consistency="local")).fields["n"] != n
        for reader in (asker, mirror, owner):
            found = await reader.get(note, after=position)
            assert found.fields["n"] == n
            (row,) = (await reader.query("Note", after=[position])).rows
            assert row.fields["n"] == n
    assert behind > 5  # else this would not show anything
    await owner.crash()
    end = holding(mirror, owner).position
    ahead = f"{owner.name}@{end.epoch}:{end.number + 1000}"
    begun = mesh.now
    with pytest.raises(Stale) as stale:
        await asker.get(note, after=ahead, deadline=8)
    assert 7 < mesh.now - begun < 9
    assert {each["server"] for each in stale.value.details["copies"]} == {asker.name, mirror.name}
    (told,) = (await asker.query("Note", after=ahead, deadline=2)).completeness["owners"]
    assert (told["how"], told["rows"]) == ("stale", 0)


@simulate(nodes=networkx.path_graph(4), seeds=2, link=Link(delay=0.01, jitter=0.02, loss=0.02))
async def test_who_reads_at_a_mirror_sees_no_half_group(mesh: World) -> None:
    """The owner always changes two notes together; readers at two mirrors and by way of them compare (DESIGN F5)."""
    owner, near, far, asker = mesh.servers
    first = await mirrored(mesh, owner, near, far)
    second = await owner.create("Note", text="twin", n=1)
    await mesh.eventually(lambda: near.read(second) and far.read(second), within=30)
    seen: dict[str, set[int]] = {}

    async def write() -> None:
        for n in range(2, 10_000):
            both = [Operation(op="update", object=each.object, fields={"n": n}) for each in (first, second)]
            await owner.up.transact(both)
            await trio.sleep(0.02 * mesh.random.random())

    async def read(reader: SimulatedServer) -> None:
        while True:
            rows = (await reader.query("Note", consistency=ask_how[reader])).rows
            numbers = [row.fields["n"] for row in rows]
            assert len(set(numbers)) == 1, f"{reader.name} saw {numbers}"
            seen.setdefault(reader.name, set()).update(numbers)
            # One after the other: the later one is never behind, or a group was taken by halves.
            one = await reader.get(first, consistency=ask_how[reader])
            other = await reader.get(second, consistency=ask_how[reader], after=str(one.position))
            assert other.fields["n"] >= one.fields["n"], f"{reader.name} saw {one}, then {other}"
            if reader in (near, far):
                with reader.up.view() as view:
                    halves = [view.get(each) for each in (first, second)]
                assert len({each.fields["n"] for each in halves if each is not None}) == 1
            await trio.sleep(0.02)

    ask_how = {near: "local", far: "local", asker: "nearest"}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        for reader in ask_how:
            nursery.start_soon(read, reader)
        await mesh.sleep(2)
        await far.crash()
        nursery.cancel_scope.cancel()
    await far.restart()
    await mesh.eventually(lambda: holding(far, owner).age is not None, within=60)
    del seen[far.name]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        nursery.start_soon(read, near)
        nursery.start_soon(read, far)
        await mesh.sleep(1)
        with mesh.partition({owner}, {near, far, asker}):
            await mesh.sleep(15)
            nursery.start_soon(read, asker)  # of mirrors now
            await mesh.sleep(5)
        nursery.cancel_scope.cancel()
    assert all(len(numbers) > 10 for numbers in seen.values()), seen


@simulate(nodes=3, seeds=2)
async def test_a_mirror_of_an_owner_without_objects_makes_answers_whole(mesh: World) -> None:
    asker, owner, mirror = mesh.servers
    await owner.define(NOTE)
    await mirror.mirror(owner)
    await mesh.eventually(lambda: holding(mirror, owner).whole, within=30)
    await mesh.eventually(lambda: mirrors_of(asker, owner) == [mirror.server], within=30)
    await owner.crash()
    await mesh.sleep(20)
    for each in (mirror, asker):
        report = (await each.query("Note")).completeness
        (told,) = report["owners"]
        assert (told["how"], told["rows"], told["position"]) == ("mirrored", 0, None)
        assert told["age"] >= 15
        assert report["whole"] is True


@simulate(nodes=3, seeds=2)
async def test_without_mirrors_no_answer_comes_from_one(mesh: World) -> None:
    """The test-only switch: the ability is gone, at the asker, at the mirror, and in what it announces."""
    asker, owner, mirror = mesh.servers
    note = await mirrored(mesh, owner, mirror, asker)
    without(mesh, "mirrors", servers=(asker, mirror))
    for each in (asker, mirror):
        await each.crash()
        await each.restart()
    await mesh.eventually(lambda: not mirrors_of(owner, owner), within=30)
    assert (await asker.get(note)).kind == "owner"
    await owner.crash()
    await mesh.sleep(20)
    for each in (asker, mirror):
        kinds = []
        for consistency in ("local", "nearest"):
            try:
                kinds.append((await each.get(note, consistency=consistency, deadline=10)).kind)
            except Unreachable:
                continue
        assert set(kinds) <= {"cached"}  # what its owner answered once may be kept
        (told,) = (await each.query("Note", deadline=10)).completeness["owners"]
        assert told["how"] in ("unreachable", "cached")
