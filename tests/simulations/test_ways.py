"""Links that die while requests run, on real nodes by seed: nothing is lost, each direction goes its way, and back."""

from __future__ import annotations

from typing import Any

import networkx
import pytest
import trio

from identity.errors import BangpathError, Unreachable
from simulations.network import Link
from simulations.plugin import simulate
from simulations.server import SimulatedServer
from simulations.world import World

NEAR = Link(delay=0.002, jitter=0.0005)
DIAMOND = networkx.complete_graph(4)  # asker, other, and two that may be gateways
SLOWEST_S = 0.5  # of a request during whose life the link is cut: a doubt, a search, one way and perhaps another


class Load:
    """Requests from one server to another, so many a second, each with what came of it."""

    def __init__(self, asker: SimulatedServer, other: SimulatedServer, *, deadline: float = 20.0) -> None:
        self.asker, self.other, self.deadline = asker, other, deadline
        self.asked = 0
        self.delays: list[tuple[float, float]] = []  # (when it was asked, how long it took)
        self.errors: list[tuple[float, BangpathError]] = []

    async def run(self, seconds: float, each_s: float = 0.005) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(int(seconds / each_s)):
                nursery.start_soon(self.ask)
                await trio.sleep(each_s)

    async def ask(self) -> None:
        self.asked += 1
        begun = trio.current_time()
        try:
            await self.asker.up.ping(self.other.name, deadline=self.deadline)
        except BangpathError as error:
            self.errors.append((begun, error))
        else:
            self.delays.append((begun, trio.current_time() - begun))

    def slowest(self) -> float:
        return max(delay for _, delay in self.delays)


def status(server: SimulatedServer, of: SimulatedServer, now: float) -> Any:
    """How `server` says that it and another reach each other."""
    detours = server.up.parts.detours
    (found,) = [
        each
        for each in server.up.parts.router.routes(now, heard_directly_at=detours.heard_directly_at)
        if each.server == of.server
    ]
    return found


def session(server: SimulatedServer, other: SimulatedServer) -> bool:
    return server.node is not None and server.node.parts.sessions.connection(other.server) is not None


def way(server: SimulatedServer, other: SimulatedServer) -> str:
    path = server.up.parts.router.path_to(other.server, trio.current_time())
    return "!".join(map(str, path))


async def joined(mesh: World) -> None:
    """Every two neighbours have a session."""

    def all_there() -> bool:
        return all(
            session(a, b) and session(b, a)
            for a in mesh.servers
            for b in mesh.servers
            if a is not b and mesh.graph.has_edge(a.name, b.name)
        )

    await mesh.eventually(all_there, within=20)
    await mesh.sleep(1)


def cut(mesh: World, a: SimulatedServer, b: SimulatedServer) -> None:
    mesh.cut(a >> b)
    mesh.cut(b >> a)


@pytest.mark.parametrize("mode", ["both", "forward", "backward"])
@simulate(nodes=DIAMOND, link=NEAR)
async def test_a_silent_cut_loses_no_request_and_each_direction_goes_its_own_way(mesh: World, mode: str) -> None:
    asker, other, *_ = mesh.servers
    await joined(mesh)
    load = Load(asker, other)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.run, 4.0)
        await mesh.sleep(1)
        if mode != "backward":
            mesh.cut(asker >> other)
        if mode != "forward":
            mesh.cut(other >> asker)
        await mesh.sleep(1.5)
        there, back = status(asker, other, trio.current_time()), status(other, asker, trio.current_time())
        assert there.way == ("direct" if mode == "backward" else "gateway")
        assert back.way == ("direct" if mode == "forward" else "gateway")
        assert there.way_back == back.way  # each knows the other's direction too
        assert back.way_back == there.way
        assert len(there.path) == (2 if mode == "backward" else 3)
        assert there.path_back == back.path
        mesh.heal()
        await mesh.sleep(1)
        for server, peer in ((asker, other), (other, asker)):
            now = status(server, peer, trio.current_time())
            assert (now.way, now.way_back) == ("direct", "direct")
    assert load.errors == []
    assert len(load.delays) == load.asked == 800
    assert load.slowest() < SLOWEST_S


@simulate(nodes=networkx.path_graph(4), link=NEAR, seeds=2)
async def test_ends_that_never_met_reach_each_other_over_two_gateways_and_directly_when_they_can(mesh: World) -> None:
    one, two, three, four = mesh.servers
    for a, b in ((one, three), (one, four), (two, four)):
        cut(mesh, a, b)
    await joined(mesh)
    await one.up.ping(four.name, deadline=15)
    assert way(one, four) == f"{one.name}!{two.name}!{three.name}!{four.name}"
    assert way(four, one) == f"{four.name}!{three.name}!{two.name}!{one.name}"
    mesh.mend(one >> four)
    mesh.mend(four >> one)

    async def ask() -> None:
        while True:
            await one.up.ping(four.name, deadline=10)
            await trio.sleep(0.05)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await mesh.eventually(lambda: len(way(one, four).split("!")) == len(way(four, one).split("!")) == 2, within=30)
        await mesh.sleep(5)
        assert way(one, four) == f"{one.name}!{four.name}"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("forward", [True, False])
@simulate(nodes=DIAMOND, link=NEAR)
async def test_a_link_that_never_worked_but_one_way_is_used_one_way(mesh: World, forward: bool) -> None:
    """No handshake can be made over it: the session begins by gateways, and its direct half is found."""
    asker, other, *_ = mesh.servers
    for server in mesh.servers:
        if server.node is not None:
            await server.stop()
    mesh.cut(asker >> other if not forward else other >> asker)
    for server in mesh.servers:
        await server.start()
    await mesh.eventually(lambda: session(asker, other) and session(other, asker), within=20)
    load = Load(asker, other)
    await load.run(12.0, each_s=0.05)
    assert load.errors == []
    there, back = status(asker, other, trio.current_time()), status(other, asker, trio.current_time())
    assert (there.way, back.way) == (("direct", "gateway") if forward else ("gateway", "direct"))
    mesh.heal()
    load = Load(asker, other)
    await load.run(10.0, each_s=0.05)
    assert load.errors == []
    there, back = status(asker, other, trio.current_time()), status(other, asker, trio.current_time())
    assert (there.way, back.way) == ("direct", "direct")


@simulate(nodes=DIAMOND, link=NEAR, seeds=2)
async def test_a_gateway_that_dies_while_it_is_used_is_replaced(mesh: World) -> None:
    asker, other, *gateways = mesh.servers
    await joined(mesh)
    cut(mesh, asker, other)
    load = Load(asker, other)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.run, 4.0)
        await mesh.sleep(1.5)
        used = status(asker, other, trio.current_time()).path[1]
        (gateway,) = [each for each in gateways if each.server == used]
        await gateway.crash()
        await mesh.sleep(1.5)
        assert status(asker, other, trio.current_time()).path[1] not in (used, other.server)
    assert load.errors == []
    assert len(load.delays) == 800
    assert load.slowest() < 1.0


@simulate(nodes=DIAMOND, link=NEAR, seeds=2)
async def test_when_the_last_gateway_dies_that_is_said_soon_and_ends_when_one_is_back(mesh: World) -> None:
    asker, other, *gateways = mesh.servers
    await joined(mesh)
    cut(mesh, asker, other)
    load = Load(asker, other)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.run, 2.0)
        await mesh.sleep(1)
        for gateway in gateways:
            await gateway.crash()
        begun = trio.current_time()
        late = Load(asker, other)
        nursery.start_soon(late.run, 1.0, 0.1)
    assert late.errors
    assert all(isinstance(error, Unreachable) for _, error in (*load.errors, *late.errors))
    assert trio.current_time() - begun < 4.0  # every one of them has been answered
    for gateway in gateways:
        await gateway.restart()
    await mesh.eventually(lambda: session(asker, other) and session(other, asker), within=30)
    await asker.up.ping(other.name, deadline=5)


@simulate(nodes=DIAMOND, link=NEAR)
async def test_a_link_cut_while_hands_are_shaken(mesh: World) -> None:
    """The called side has a session that the caller never hears of, and the other way round."""
    asker, other, *_ = mesh.servers
    await joined(mesh)
    for delay in (0.0, 0.001, 0.003, 0.005, 0.007):
        await other.crash()
        await mesh.sleep(0.5)
        await other.start()
        await mesh.sleep(delay)
        cut(mesh, asker, other)
        await mesh.eventually(lambda: session(asker, other) and session(other, asker), within=25)
        await asker.up.ping(other.name, deadline=10)
        mesh.heal()
        await asker.up.ping(other.name, deadline=10)


@simulate(nodes=DIAMOND, link=NEAR)
async def test_a_link_that_flaps_loses_nothing_and_leaves_nothing_behind(mesh: World) -> None:
    asker, other, *_ = mesh.servers
    await joined(mesh)
    load = Load(asker, other)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.run, 6.0, 0.01)
        for number in range(24):
            if number % 3 != 1:
                mesh.cut(asker >> other)
            if number % 3 != 2:
                mesh.cut(other >> asker)
            await mesh.sleep(0.02 + mesh.random.random() * 0.2)
            mesh.heal()
            await mesh.sleep(0.02 + mesh.random.random() * 0.1)
    assert load.errors == []
    assert len(load.delays) == load.asked
    await mesh.sleep(6)
    for server, peer in ((asker, other), (other, asker)):
        found = status(server, peer, trio.current_time())
        assert (found.way, found.standby) == ("direct", ())
        assert len(server.up.parts.router._timers) <= len(mesh.servers)
        assert server.up.parts.sessions.misdeeds == {}


@simulate(nodes=6, link=NEAR)
async def test_a_partition_is_told_within_seconds_and_heals_by_itself(mesh: World) -> None:
    left, right = mesh.servers[:3], mesh.servers[3:]
    await joined(mesh)
    with mesh.partition(left, right):
        begun = trio.current_time()
        with pytest.raises(Unreachable):
            await left[1].up.ping(right[1].name, deadline=20)
        assert trio.current_time() - begun < 4.0
        for side in (left, right):
            await side[0].up.ping(side[2].name, deadline=1)
        await mesh.sleep(20)
    await mesh.eventually(lambda: all(session(a, b) and session(b, a) for a in left for b in right), within=30)
    await left[1].up.ping(right[1].name, deadline=2)
    direct = f"{left[1].name}!{right[1].name}"
    await mesh.eventually(lambda: way(left[1], right[1]) == direct, within=30)  # it was found over the first that met


@simulate(nodes=networkx.path_graph(4), link=NEAR)
async def test_nobody_misbehaves_among_honest_servers_and_one_seed_gives_one_trace(mesh: World) -> None:
    await joined(mesh)
    one, two, three, four = mesh.servers
    cut(mesh, two, three)
    for a, b in ((one, four), (three, one), (two, four)):
        with trio.move_on_after(10):
            await Load(a, b, deadline=5).ask()
    for server in mesh.servers:
        assert server.up.parts.sessions.misdeeds == {}
