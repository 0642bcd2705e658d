"""Mirrors and backups of real nodes, simulated: what is kept for its owner alone, and what a restart remembers."""

from __future__ import annotations

from typing import Any

import networkx
import pytest

from identity.errors import Exhausted, Refused, Unreachable
from node import reporting
from simulations.plugin import simulate
from simulations.server import SimulatedServer
from simulations.world import World
from store.registry import definition_from_toml

NOTE = definition_from_toml('name = "Note"\n[fields]\ntext = { type = "string" }\n')


def kept(server: SimulatedServer) -> list[tuple[str, str]]:
    return [(each["pattern"], each["kind"]) for each in server.up.mirrors()]


def feed(server: SimulatedServer, owner: SimulatedServer, mesh: World) -> dict[str, Any]:
    feeds = reporting.feeds(server.up.parts, mesh.now)
    return next((each for each in feeds if (each["server"], each["kind"]) == (owner.name, "data")), {})


@simulate(nodes=3, seeds=2)
async def test_a_backup_is_kept_and_not_shown(mesh: World) -> None:
    asker, owner, keeper = mesh.nodes
    for server in mesh.nodes:
        await server.define(NOTE)
    note = await owner.create("Note", {"text": "mine"})
    await keeper.mirror(owner, "backup")
    assert kept(keeper) == [(owner.name, "backup")]
    await mesh.eventually(lambda: feed(keeper, owner, mesh).get("last") == 1, within=30)
    assert (feed(keeper, owner, mesh)["kept"], feed(keeper, owner, mesh)["lag"]) == ("backup", 0)
    assert feed(keeper, owner, mesh)["age"] < 10
    await keeper.crash()
    await keeper.restart()
    assert kept(keeper) == [(owner.name, "backup")]
    await owner.crash()
    await mesh.sleep(5)
    for server in (keeper, asker):
        answer = await server.query("Note", consistency="local")
        assert answer.rows == []
        answer = await server.query("Note")
        assert answer.rows == []
        told = {each["server"]: each["how"] for each in answer.completeness["owners"]}
        assert told[owner.name] == "unreachable"
        with pytest.raises(Unreachable) as silence:
            await server.get(note, deadline=10)
        assert ("a backup up to" in str(silence.value.next_step)) == (server is keeper)
    # It turns into a mirror without anything being fetched: its owner is away.
    await keeper.mirror(owner)
    assert kept(keeper) == [(owner.name, "mirrored")]
    assert (await keeper.get(note)).fields["text"] == "mine"
    await keeper.mirror(owner, "backup")
    with pytest.raises(Unreachable):
        await keeper.get(note, deadline=10)
    with pytest.raises(Refused, match="no way to keep"):
        await keeper.mirror(owner, "forever")


@simulate(nodes=4, seeds=2)
async def test_a_backup_is_carried_to_who_misses_it(mesh: World) -> None:
    """The owner is gone; its backup gives the whole feed to a new mirror, verbatim."""
    _, owner, keeper, mirror = mesh.nodes
    await owner.define(NOTE)
    notes = [await owner.create("Note", {"text": str(number)}) for number in range(5)]
    await keeper.mirror(owner, "backup")
    await mesh.eventually(lambda: feed(keeper, owner, mesh).get("last") == 5, within=30)
    await owner.crash()
    await mirror.mirror(owner)
    await mesh.eventually(lambda: all(mirror.read(each) is not None for each in notes), within=60)


@simulate(nodes=2, seeds=1)
async def test_who_matches_both_is_mirrored(mesh: World) -> None:
    owner, keeper = mesh.nodes
    await owner.define(NOTE)
    note = await owner.create("Note", {"text": "x"})
    await keeper.mirror("*", "backup")
    await keeper.mirror(owner)
    await mesh.eventually(lambda: keeper.read(note) is not None, within=30)
    assert feed(keeper, owner, mesh)["kept"] == "mirrored"
    assert (await keeper.get(note, consistency="local")).kind == "mirrored"
    await keeper.up.unmirror(owner.name)
    assert feed(keeper, owner, mesh)["kept"] == "backup"
    with pytest.raises(Unreachable):
        await keeper.get(note, consistency="local")
    await keeper.up.unmirror("*")
    assert kept(keeper) == []


@simulate(nodes=2, seeds=1)
async def test_that_an_owner_lied_is_remembered(mesh: World) -> None:
    from replication.messages import Fork
    from store.records import DATA, Update

    liar, keeper = mesh.nodes
    await liar.define(NOTE)
    await keeper.mirror(liar)
    await liar.create("Note", {"text": "one story"})
    await mesh.eventually(lambda: feed(keeper, liar, mesh).get("last") == 1, within=30)
    parts = keeper.up.parts
    held = Update.from_bytes_untrusted(liar.up.parts.database.read_update(liar.server, liar.up.incarnation, DATA, 1))
    import msgspec

    from replication.leaves import UPDATE_DOMAIN

    other = msgspec.structs.replace(held.head, root=bytes(32)).to_bytes()
    signature = liar.keys.sign(UPDATE_DOMAIN + other)[:64]
    proof = Fork(held.head.to_bytes(), held.signature, other, signature)
    parts.flood.handle_message(liar.server, proof, mesh.now)
    parts.touch()
    await mesh.sleep(1)
    assert feed(keeper, liar, mesh)["state"] == "quarantined"
    with mesh.partition({liar}, {keeper}):
        await keeper.crash()
        await keeper.restart()
        assert feed(keeper, liar, mesh)["state"] == "quarantined"


def test_a_feed_that_no_neighbour_carries_is_fetched_from_its_owner(simulation: Any) -> None:
    """A line of three, whose middle mirrors nothing; the ends know of each other by the registry alone."""

    async def story(mesh: World) -> None:
        first, middle, last = mesh.nodes
        await first.define(NOTE)
        note = await first.create("Note", {"text": "far"})
        await last.mirror(first)
        await mesh.eventually(lambda: last.read(note) is not None, within=60)
        assert first.server in last.up.parts.farther.machine.kept()
        assert middle.read(note) is None  # only carriers pass on
        await first.update(note, {"text": "still far"})
        await mesh.eventually(lambda: last.read(note) == {"text": "still far"}, within=5)
        # A neighbour carries it: the farther one is no longer kept.
        await middle.mirror(first)
        await mesh.eventually(lambda: not last.up.parts.farther.machine.kept(), within=60)
        await first.update(note, {"text": "near"})
        await mesh.eventually(lambda: last.read(note) == {"text": "near"}, within=5)

    simulation(story, servers=networkx.path_graph(3), seed=5)


@pytest.mark.parametrize("seed", [1, 2])
def test_such_a_feed_comes_over_gateways_where_there_is_no_direct_way(simulation: Any, seed: int) -> None:
    async def story(mesh: World) -> None:
        first, _, last = mesh.nodes
        mesh.cut(first >> last)
        mesh.cut(last >> first)
        await first.define(NOTE)
        note = await first.create("Note", {"text": "far"})
        await last.mirror(first)
        await mesh.eventually(lambda: last.read(note) is not None, within=120)
        await first.update(note, {"text": "still far"})
        await mesh.eventually(lambda: last.read(note) == {"text": "still far"}, within=10)

    simulation(story, servers=networkx.path_graph(3), seed=seed)


@simulate(nodes=1)
async def test_a_mirror_for_which_no_feed_has_room_is_refused_and_not_remembered(mesh: World) -> None:
    (server,) = mesh.nodes
    wide = ",".join(f"1.{each}" for each in range(10_000, 10_250))
    for number in range(31):
        await server.mirror(f"{wide},1.{number + 1}")
    before = kept(server)
    with pytest.raises(Exhausted, match="bytes in all"):
        await server.mirror(f"{wide},1.99")
    assert kept(server) == before
    await server.crash()
    await server.restart()
    assert kept(server) == before
