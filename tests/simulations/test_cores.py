"""Routers alone, many of them: neighbours meet, a way is found round what is cut, and one seed gives one trace."""

from __future__ import annotations

import os
import subprocess
import sys

import networkx

from identity.names import ServerId
from simulations.cores import Cores


def mesh(servers: int = 30, seed: int = 1) -> tuple[Cores, list[ServerId], networkx.Graph]:
    cores = Cores(seed)
    graph = networkx.random_regular_graph(4, servers, seed=seed)
    return cores, cores.build(graph), graph


def pairs(cores: Cores) -> list[tuple[ServerId, ServerId]]:
    return [(a, b) for a, b in sorted(cores.links) if a < b]


def test_neighbours_meet_and_a_cut_is_gone_round_by_a_gateway() -> None:
    cores, servers, _ = mesh()
    cores.run(5)
    for server in servers:
        assert len(cores.servers[server].current) == 4
    a, b = pairs(cores)[0]
    assert cores.way(a, b) == f"{a}!{b}"
    cores.cut(a, b, both=False)
    number = cores.ping(a, b)
    cores.run(5)
    answered = cores.answered(a, number)
    assert answered is not None
    assert answered < 7
    assert cores.uses_gateway(a, b)
    assert cores.forwards > 0
    assert not cores.wrongs


def test_servers_that_start_together_do_not_search_each_other() -> None:
    """Who was called a moment ago is not missed yet, though another one came first: a mesh that starts is no storm."""
    cores, servers, graph = mesh(servers=60)
    cores.run(3)
    assert all(len(cores.servers[server].current) == 4 for server in servers)
    assert cores.trace.count <= 8 * graph.number_of_edges()  # three of the handshake, two greetings, their ACKs


def test_a_neighbour_that_was_called_in_vain_is_searched_when_another_one_comes() -> None:
    cores, _, _ = mesh(servers=60)
    a, b = pairs(cores)[0]
    cores.cut(a, b)
    cores.run(5)
    assert cores.uses_gateway(a, b)


def test_who_is_dead_answers_nobody() -> None:
    cores, _, _ = mesh()
    cores.run(5)
    a, b = pairs(cores)[0]
    cores.kill(b)
    number = cores.ping(a, b)
    cores.run(30)
    assert cores.answered(a, number) is None
    assert any(each.server == b for _, each in cores.servers[a].unreachable)


def test_a_liar_is_found_out_by_whom_it_lies_to() -> None:
    cores, servers, graph = mesh()
    liar = servers[0]
    cores.liars[liar] = lambda peer, kind, what: [(peer, kind, what)] if kind != "answer" else []
    cores.run(5)
    a, b = next((a, b) for a, b in pairs(cores) if liar not in (a, b))
    cores.cut(a, b)
    number = cores.ping(a, b)
    cores.run(30)
    assert cores.answered(a, number) is not None  # a server that answers no probe stops nobody
    assert graph.number_of_edges() == 60


def test_time_passes_in_steps_as_well_as_at_once() -> None:
    one, _, _ = mesh()
    one.run(10)
    two, _, _ = mesh()
    for _ in range(10):
        two.run(1)
    assert one.now == two.now == 10
    assert one.trace.hash == two.trace.hash
    assert one.trace.count > 400
    assert one.trace.hash != trace_of(2)


def trace_of(seed: int) -> str:
    cores, _, _ = mesh(seed=seed)
    cores.run(5)
    a, b = pairs(cores)[0]
    cores.cut(a, b)
    cores.ping(a, b)
    cores.run(5)
    return cores.trace.hash


def test_one_seed_gives_one_trace_in_every_process() -> None:
    command = [sys.executable, "-c", "from tests.simulations.test_cores import trace_of; print(trace_of(3))"]
    environment = {**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": os.getcwd()}
    other = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    assert other == trace_of(3)
