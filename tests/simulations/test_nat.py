"""Walls in front of hosts: who gets in, what is forgotten, and how it looks to nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from identity.errors import Refused
from identity.names import Reference
from simulations import nat
from simulations.check_reached import joined
from simulations.checkers import every_checker
from simulations.nat import TCP, UDP, Wall
from simulations.network import Link
from simulations.plugin import simulate
from simulations.scenario import parse, run_scenario
from simulations.server import SimulatedServer
from simulations.world import World
from store.definitions import definition_from_toml
from transport import paths
from transport.ports import Address

NOTE = definition_from_toml('name = "Note"\n[fields]\ntext = { type = "string" }\n')
A: Address = ("1.1", 7000)
B: Address = ("1.2", 7000)
HOME: Address = ("1.3", 7000)


def test_who_was_called_may_answer_and_nobody_else_gets_in() -> None:
    wall = Wall(["1.3"])
    public = wall.outward(HOME, A, 0.0)
    assert public != HOME
    assert public[0] == "1.3"  # the public side goes by the host's name, with ports of its own
    assert wall.inward(A, public, 1.0) == HOME
    assert wall.inward(B, public, 1.0) is None
    assert wall.inward(A, HOME, 1.0) is None  # its inner address means nothing outside
    assert wall.outward(HOME, B, 2.0) == public  # one mapping, whoever is called
    assert wall.inward(B, public, 2.0) == HOME


def test_through_a_full_cone_anybody_gets_in_who_knows_the_address() -> None:
    wall = Wall(["1.3"], anybody=True)
    public = wall.outward(HOME, A, 0.0)
    assert wall.inward(B, public, 1.0) == HOME
    assert wall.inward(B, public, 61.0) is None  # it is forgotten
    again = wall.outward(HOME, A, 62.0)
    assert wall.inward(B, again, 63.0) == HOME
    assert wall.inward(B, public, 63.0) is None


def test_a_symmetric_nat_shows_everybody_another_address() -> None:
    wall = Wall(["1.3"], mapping="symmetric")
    to_a, to_b = wall.outward(HOME, A, 0.0), wall.outward(HOME, B, 0.0)
    assert to_a != to_b
    assert wall.inward(A, to_a, 1.0) == HOME
    assert wall.inward(A, to_b, 1.0) is None


def test_a_mapping_lives_as_long_as_packets_leave_by_it() -> None:
    wall = Wall(["1.3"], forgets_s=30)
    public = wall.outward(HOME, A, 0.0)
    assert wall.outward(HOME, A, 25.0) == public
    assert wall.inward(A, public, 54.0) == HOME
    assert wall.inward(A, public, 56.0) is None  # what comes in keeps nothing alive
    again = wall.outward(HOME, A, 57.0)
    assert again != public
    assert wall.inward(A, public, 58.0) is None
    assert wall.inward(A, again, 58.0) == HOME


def test_who_was_not_called_for_long_is_a_stranger_though_the_mapping_stands() -> None:
    wall = Wall(["1.3"], forgets_s=30)
    public = wall.outward(HOME, A, 0.0)
    wall.outward(HOME, B, 29.0)
    assert wall.inward(B, public, 31.0) == HOME
    assert wall.inward(A, public, 31.0) is None


def test_rebinding_forgets_all_and_comes_again_when_that_was_said() -> None:
    wall = Wall(["1.3"], rebinds_s=10)
    public = wall.outward(HOME, A, 0.0)
    assert wall.outward(HOME, A, 9.0) == public
    moved = wall.outward(HOME, A, 11.0)
    assert moved != public
    assert wall.inward(A, public, 11.0) is None
    assert wall.outward(HOME, A, 20.0) == moved
    wall.rebind()
    assert wall.outward(HOME, A, 20.5) not in (public, moved)


def test_a_firewall_keeps_addresses_and_lets_in_the_answers_only() -> None:
    wall = Wall(["1.3"], mapping="none")
    assert wall.inward(A, HOME, 0.0) is None
    assert wall.outward(HOME, A, 1.0) == HOME
    assert wall.inward(A, HOME, 2.0) == HOME
    assert wall.inward(B, HOME, 2.0) is None
    assert wall.inward(A, HOME, 62.0) is None
    with pytest.raises(Refused, match="no addresses to bind anew"):
        wall.rebind()


def test_a_firewall_for_a_protocol_alone_lets_anybody_in() -> None:
    wall = Wall(["1.3"], mapping="none", anybody=True, passes=(UDP,))
    assert wall.inward(A, HOME, 0.0) == HOME
    assert wall.is_open
    assert not Wall(["1.3"], mapping="none", anybody=True, passes=(TCP,)).is_open
    assert not Wall(["1.3"], anybody=True).is_open  # its public address is known to nobody yet


def test_impossible_walls_are_refused() -> None:
    with pytest.raises(Refused, match="in front of nobody"):
        Wall([])
    with pytest.raises(Refused, match="lets nothing in"):
        Wall(["1.3"], forgets_s=0)
    with pytest.raises(Refused, match="no addresses to bind anew"):
        Wall(["1.3"], mapping="none", rebinds_s=5)


def test_tcp_only_is_refused_until_the_transport_has_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    nat.check_passes((UDP,))
    with pytest.raises(Refused, match="speaks over UDP alone"):
        nat.check_passes((TCP,))
    monkeypatch.setattr(nat.Network, "open_stream_port", None, raising=False)
    nat.check_passes((TCP,))  # it is switched on with its feature


@simulate(nodes=3, seeds=3, link=Link(delay=0.02, loss=0.02))
async def test_a_session_follows_a_peer_whose_nat_binds_anew(mesh: World) -> None:
    hub, *homes = mesh.nodes
    for home in homes:
        mesh.network.build(Wall([home.name]))
    note = await _note(mesh)
    before = _sessions(hub, homes)
    assert None not in before
    for turn in range(3):
        for home in homes:
            mesh.network.rebind(home.name)
        await homes[0].update(note, text=f"turn {turn}")
        await mesh.eventually(lambda text=f"turn {turn}": homes[1].read(note).text == text, within=30)
    assert _sessions(hub, homes) == before  # the same sessions, moved


@simulate(nodes=3, seeds=3)
async def test_without_roaming_the_same_story_loses_its_sessions(mesh: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths.Paths, "handle_other_address", lambda self, *arguments: None)
    hub, *homes = mesh.nodes
    for home in homes:
        mesh.network.build(Wall([home.name]))
    await _note(mesh)
    before = _sessions(hub, homes)
    for home in homes:
        mesh.network.rebind(home.name)
    await mesh.eventually(lambda: _sessions(hub, homes) != before, within=60)


@simulate(nodes=4, seeds=2, link=Link(delay=0.02, loss=0.01))
async def test_two_behind_symmetric_nats_that_forget_find_each_other_by_others(mesh: World) -> None:
    _, one, other, _ = mesh.nodes
    mesh.network.build(Wall([one.name], mapping="symmetric", forgets_s=3, rebinds_s=7))
    mesh.network.build(Wall([other.name], mapping="symmetric", forgets_s=3))
    note = await _note(mesh)
    await mesh.sleep(30)
    await one.update(note, text="and again")
    await mesh.eventually(lambda: other.read(note).text == "and again", within=30)


@simulate(nodes=4)
async def test_who_stands_behind_a_nat_is_expected_to_be_reached_by_way_of_whom_it_calls(mesh: World) -> None:
    for name in ("1.1", "1.2", "1.3"):
        mesh.network.build(Wall([name]))
    names = [server.name for server in mesh.nodes]
    assert joined(mesh) == [(one, other) for one in names for other in names if one != other]
    mesh.network.build(Wall(["1"]))
    assert joined(mesh) == []  # nobody can call anybody


@simulate(nodes=3)
async def test_a_wall_stands_and_goes_in_front_of_whom_it_was_put(mesh: World) -> None:
    network = mesh.network
    wall = Wall(["1.1", "1.2"])
    network.build(wall, text="a NAT")
    with pytest.raises(Refused, match=r"1\.2 stands behind a wall already"):
        network.build(Wall(["1.2"]))
    assert network.leave(A, B, UDP) == A  # behind one wall they see each other as they are
    assert network.enter(A, B, UDP) == B
    assert network.leave(A, ("1", 7000), UDP) != A
    with pytest.raises(Refused, match=r"1 stands behind no NAT; put it there first: 1 stands behind a NAT"):
        network.rebind("1")
    assert network.can_call("1.1", "1.2")
    assert network.can_call("1.1", "1")
    assert not network.can_call("1", "1.1")
    network.build(Wall(["1"], mapping="none", anybody=True, passes=(UDP,)))
    assert network.can_call("1.1", "1")
    network.tear_down(network.wall("1"))
    network.tear_down(wall)
    assert network.leave(A, ("1", 7000), UDP) == A
    assert [(mark.kind, mark.servers, mark.text) for mark in mesh.marks if mark.kind in ("nat", "mend")] == [
        ("nat", ("1.1", "1.2"), "a NAT"),
        ("nat", ("1",), ""),
        ("mend", ("1",), "the wall is gone"),
        ("mend", ("1.1", "1.2"), "the wall is gone"),
    ]


async def _note(mesh: World) -> Reference:
    """An object of the second server that the third one mirrors, through whatever stands between them."""
    one, other = mesh.nodes[1:3]
    for server in mesh.nodes:
        await server.define(NOTE)
    note = await one.create("Note", text="hi")
    await other.mirror(one)
    await mesh.eventually(lambda: other.read(note) is not None, within=60)
    return note


def _sessions(hub: SimulatedServer, homes: list[SimulatedServer]) -> list[int | None]:
    return [hub.up.parts.sessions.connection(home.server) for home in homes]


def test_a_mesh_behind_walls_keeps_every_promise() -> None:
    text = (Path(__file__).parents[1] / "scenarios" / "behind-walls.txt").read_text(encoding="utf-8")
    outcome = run_scenario(parse(text), seed=2, checkers=every_checker())
    assert outcome.broken is None
