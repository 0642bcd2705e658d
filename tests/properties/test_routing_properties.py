"""Whole meshes of router machines, without trio: any graph, any one-way cuts, and servers that lie.

What is expected of a graph is reckoned with networkx: a direction works for certain where each step of it can be
acknowledged, over a link that works both ways or, one-way, over steps that work for certain.
"""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import networkx
import pytest

from identity.names import ServerId
from routing.probes import Confirm, Forward, Lost, Probe
from routing.ways import AnswerProbe
from tests.routing.lab import Lab

WITHIN_S = 5.0  # of the cut, until a question is answered for which there is a way
TOLD_S = 4.0  # until a neighbour that nobody reaches is said to be unreachable


def mesh(seed: int, graph: networkx.Graph, **more: Any) -> tuple[Lab, list[ServerId]]:
    lab = Lab(seed, **more)
    servers = [lab.server("1" if not number else f"1.{number}") for number in range(graph.number_of_nodes())]
    for one, other in graph.edges:
        lab.link(servers[one], servers[other])
    lab.all_know()
    for one, other in graph.edges:
        lab.connect(servers[one], servers[other])
    lab.run(2)
    return lab, servers


def connected(chance: random.Random, nodes: int, density: float) -> networkx.Graph:
    while True:
        graph = networkx.gnp_random_graph(nodes, density, seed=chance.randrange(10**6))
        if networkx.is_connected(graph):
            return graph


def certain(works: networkx.DiGraph) -> networkx.DiGraph:
    proven = networkx.DiGraph()
    proven.add_nodes_from(works)
    proven.add_edges_from((one, other) for one, other in works.edges if works.has_edge(other, one))
    while more := [
        (one, other)
        for one, other in works.edges
        if not proven.has_edge(one, other) and networkx.has_path(proven, other, one)
    ]:
        proven.add_edges_from(more)
    return proven


def both_ways(graph: networkx.DiGraph, one: int, other: int) -> bool:
    return networkx.has_path(graph, one, other) and networkx.has_path(graph, other, one)


@pytest.mark.parametrize("seed", range(14))
def test_every_pair_with_a_way_is_connected_and_every_other_is_told(seed: int) -> None:
    chance = random.Random(f"cuts {seed}")
    nodes = 5 + seed % 4
    graph = connected(chance, nodes, 0.5)
    lab, servers = mesh(seed, graph, loss=0.02 if seed % 3 == 0 else 0.0)
    works = networkx.DiGraph()
    works.add_nodes_from(range(nodes))
    for one, other in graph.edges:
        for source, target in ((one, other), (other, one)):
            if chance.random() < 0.25:
                lab.cut(servers[source], servers[target], both=False)
            else:
                works.add_edge(source, target)
    proven = certain(works)
    begun = lab.now
    pings = {
        (one, other): lab.ping(servers[one], servers[other])
        for one in range(nodes)
        for other in range(nodes)
        if one != other
    }
    lab.run(30)
    for (one, other), ping in pings.items():
        answered = lab.answered(servers[one], ping)
        told = [at for at, each in lab.servers[servers[one]].unreachable if each.server == servers[other]]
        where = f"{servers[one]} to {servers[other]}, seed {seed}"
        if both_ways(proven, one, other):
            assert answered is not None, where
            slow = 25.0 if not graph.has_edge(one, other) else WITHIN_S  # who has no session is called again and again
            assert answered - begun < slow, where
        elif not both_ways(works, one, other):
            assert answered is None, where
            assert told, where
            if graph.has_edge(one, other):
                assert told[0] - begun < TOLD_S, where
    assert lab.wrongs == []  # nobody lied


@pytest.mark.parametrize("seed", range(6))
def test_ways_that_are_used_pass_over_links_that_work_and_all_is_direct_after_healing(seed: int) -> None:
    chance = random.Random(f"ways {seed}")
    graph = connected(chance, 6, 0.6)
    lab, servers = mesh(seed, graph)
    broken = [edge for edge in graph.edges if chance.random() < 0.3]
    for one, other in broken:
        lab.cut(servers[one], servers[other])
    whole = networkx.Graph(graph)
    whole.remove_edges_from(broken)
    for _ in range(40):
        for one, other in graph.edges:
            lab.ping(servers[one], servers[other])
        lab.run(0.1)
    for one, other in broken:
        if not networkx.has_path(whole, one, other):
            continue
        for source, target in ((servers[one], servers[other]), (servers[other], servers[one])):
            path = lab.servers[source].router.path_to(target, lab.now)
            assert len(path) > 2
            assert all(step in lab.links for step in pairwise(path)), path
    for one, other in broken:
        lab.link(servers[one], servers[other])
    for _ in range(250):
        for one, other in graph.edges:
            lab.ping(servers[one], servers[other])
            lab.ping(servers[other], servers[one])
        lab.run(0.1)
    for one, other in graph.edges:
        assert lab.way(servers[one], servers[other]) == f"{servers[one]}!{servers[other]}"
        assert lab.way(servers[other], servers[one]) == f"{servers[other]}!{servers[one]}"
    before = lab.forwards
    for one, other in graph.edges:
        lab.ping(servers[one], servers[other])
    lab.run(2)
    assert lab.forwards == before  # nothing goes by gateways any more


@pytest.mark.parametrize("seed", range(6))
def test_two_ends_that_chose_different_gateways_do_not_follow_each_other_for_ever(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where links keep their order, what each learns of the other comes at the same moments again and again."""
    last: dict[tuple[ServerId, ServerId], float] = {}

    def in_order(lab: Lab, source: ServerId, target: ServerId, packet: Any) -> None:
        if (source, target) in lab.links and lab.random.random() >= lab.loss:
            delay = lab._delays.setdefault((source, target), 0.001 + 0.004 * lab.random.random())
            last[source, target] = max(lab.now + delay, last.get((source, target), 0.0) + 1e-6)
            lab.at(last[source, target], lambda: lab._arrive(target, packet, aside=None))

    monkeypatch.setattr(Lab, "_wire", in_order)
    chance = random.Random(f"ways {seed}")
    graph = connected(chance, 6, 0.6)
    lab, servers = mesh(seed, graph)
    for one, other in [edge for edge in graph.edges if chance.random() < 0.3]:
        lab.cut(servers[one], servers[other])
    pings = 0
    for _ in range(10):
        for one, other in graph.edges:
            lab.ping(servers[one], servers[other])
            pings += 1
        lab.run(0.1)
        assert lab.forwards < 20 * pings


@pytest.mark.parametrize("servers_in_line", [3, 6, 10])
def test_a_line_is_crossed_from_end_to_end_up_to_eight_gateways(servers_in_line: int) -> None:
    lab, servers = mesh(1, networkx.path_graph(servers_in_line))
    ping = lab.ping(servers[0], servers[-1])
    lab.run(4)
    assert lab.answered(servers[0], ping) is not None
    assert lab.way(servers[0], servers[-1]) == "!".join(map(str, servers))
    assert lab.wrongs == []  # at the limit of hops, too, every honest word is taken for honest


def test_beyond_eight_gateways_nobody_is_reached_and_that_is_told() -> None:
    lab, servers = mesh(1, networkx.path_graph(11))
    ping = lab.ping(servers[0], servers[-1])
    lab.run(20)
    assert lab.answered(servers[0], ping) is None
    assert any(each.server == servers[-1] for _, each in lab.servers[servers[0]].unreachable)
    assert lab.wrongs == []


# -- servers that lie


def confirm_everything(lab: Lab, liar: ServerId) -> None:
    """It says yes to every probe at once, and drops what it is given to hand on."""
    router = lab.servers[liar].router

    def lie(peer: ServerId, token: int, probe: Probe, now: float, until: float) -> None:
        router._outputs.append(AnswerProbe(token, peer, Confirm((liar, probe.target), 1)))

    router.handle_probe_untrusted = lie  # type: ignore[assignment,method-assign]
    lab.liars[liar] = lambda peer, kind, what: [] if kind == "forward" else [(peer, kind, what)]


def confirm_and_say_lost(lab: Lab, liar: ServerId) -> None:
    """It says yes to every probe, and LOST of every packet, and of paths of others that it is not on."""
    confirm_everything(lab, liar)
    names = list(lab.servers)

    def say(peer: ServerId, kind: str, what: Any) -> list[tuple[ServerId, str, Any]]:
        if kind != "forward" or not isinstance(what, Forward):
            return [(peer, kind, what)]
        path = what.path
        lies = [(path[0], "forward", Lost(path, 1, 0, "a lie"))] if path[0] != liar and path[1] == liar else []
        lies += [
            (each, "forward", Lost((each, liar, other), 1, 0, "another lie"))
            for each in names
            for other in names
            if len({each, liar, other}) == 3
        ]
        return lies

    lab.liars[liar] = say


def claim_the_direct_way(lab: Lab, liar: ServerId) -> None:
    """A peer that says of every packet that it came directly: it harms its own sessions only."""
    for server in lab.servers.values():
        for end in server.ends.values():
            if end.peer == liar and server.name != liar:
                told = end.directness.handle_told
                end.directness.handle_told = lambda age, heard, following, now, told=told: told(  # type: ignore[assignment,method-assign]
                    0.0, following - 1, following, now
                )


@pytest.mark.parametrize("lies", [confirm_everything, confirm_and_say_lost])
@pytest.mark.parametrize("seed", range(3))
def test_a_gateway_that_lies_delays_and_stops_nothing(seed: int, lies: Any) -> None:
    lab, servers = mesh(seed, networkx.complete_graph(5))
    asker, other, liar = servers[1], servers[2], servers[3]
    lies(lab, liar)
    lab.cut(asker, other)
    asked = []
    for _ in range(100):
        asked.append((lab.now, lab.ping(asker, other)))
        lab.run(0.1)
    lab.run(2)
    delays = sorted((lab.answered(asker, ping) or 1e9) - begun for begun, ping in asked)
    assert delays[-1] < 2.0
    assert delays[-10] < 0.2
    assert lab.servers[asker].unreachable == []


@pytest.mark.parametrize("seed", range(2))
def test_a_server_without_a_session_is_reached_in_spite_of_liars(seed: int) -> None:
    graph = networkx.complete_graph(6)
    graph.remove_edge(1, 2)
    lab, servers = mesh(seed, graph)
    for liar in servers[4:]:
        confirm_everything(lab, liar)
    begun, ping = lab.now, lab.ping(servers[1], servers[2])
    lab.run(10)
    answered = lab.answered(servers[1], ping)
    assert answered is not None
    assert answered - begun < 6.0


@pytest.mark.parametrize("session", [True, False])
def test_where_everybody_lies_it_is_told_that_nobody_reaches_it(session: bool) -> None:
    graph = networkx.complete_graph(5)
    if not session:
        graph.remove_edge(1, 2)
    lab, servers = mesh(1, graph)
    for liar in (servers[0], *servers[3:]):
        confirm_everything(lab, liar)
    if session:
        lab.cut(servers[1], servers[2])
    begun, before = lab.now, lab.forwards
    lab.ping(servers[1], servers[2])
    lab.run(15)
    told = [at for at, each in lab.servers[servers[1]].unreachable if each.server == servers[2]]
    assert told
    assert told[0] - begun < (4.0 if session else 11.0)
    assert lab.forwards - before < 20_000  # and it is not said by a flood


def test_who_claims_that_the_direct_way_works_is_left_again() -> None:
    """The target itself lies, and its packets go astray now and then: nobody else's do."""
    lab, servers = mesh(1, networkx.complete_graph(5))
    liar = servers[2]
    claim_the_direct_way(lab, liar)
    lab.cut(servers[1], liar)
    fine = []
    for _ in range(50):
        lab.ping(servers[1], liar)
        fine.append((lab.now, lab.ping(servers[1], servers[3])))
        lab.run(0.1)
    lab.run(1)
    assert all((lab.answered(servers[1], ping) or 1e9) - begun < 0.2 for begun, ping in fine)


def test_forged_words_of_any_kind_break_nobody() -> None:
    """Each message about ways, with fields drawn at random from what is known: named as wrong, or without harm."""
    chance = random.Random(7)
    lab, servers = mesh(3, networkx.complete_graph(5))
    liar = servers[4]
    strangers = [*servers, ServerId.parse("9.9"), ServerId.parse("1.1.1")]

    def path(least: int = 1) -> tuple[ServerId, ...]:
        found = [chance.choice(strangers) for _ in range(chance.randrange(least, 7))]
        if chance.random() < 0.7:
            found = list(dict.fromkeys(found))
        return tuple(found)

    lab.cut(servers[1], servers[2])
    asked = []
    for turn in range(600):
        victim = chance.choice(servers[:4])
        router, now = lab.servers[victim].router, lab.now
        way = path(1)
        place = chance.randrange(10)
        kind = turn % 4
        if kind == 0:
            router.handle_forward_untrusted(liar, Forward(way, place, b"nonsense"), now)
        elif kind == 1:
            router.handle_forward_untrusted(liar, Lost(way, place, chance.randrange(10), "no"), now)
        elif kind == 2:
            way = (*way, liar) if chance.random() < 0.8 else way
            token = next(lab._numbers)
            lab.servers[victim].asked[token] = (liar, 0)
            router.handle_probe_untrusted(
                liar, token, Probe(chance.choice(strangers), turn, way, chance.randrange(1, 9)), now
            )
        else:
            for ask in [number for number, each in lab.servers[victim].asks.items() if each.server == liar]:
                del lab.servers[victim].asks[ask]
                router.handle_answer_untrusted(ask, Confirm(way, 0), now)
        lab._settle(victim)
        if turn % 10 == 0:
            asked.append((lab.now, lab.ping(servers[1], servers[2])))
        lab.run(0.02)
    lab.run(5)
    delays = sorted((lab.answered(servers[1], ping) or 1e9) - begun for begun, ping in asked)
    assert delays[-1] < 3.0


def test_a_flood_of_probes_makes_no_more_questions_than_its_bounds() -> None:
    lab, servers = mesh(1, networkx.complete_graph(6))
    flooder, victim, target = servers[5], servers[1], servers[2]
    lab.cut(victim, target)
    lab.ping(victim, target)
    lab.run(1)
    router = lab.servers[victim].router
    asks = 0
    for number in range(3000):
        token = next(lab._numbers)
        lab.servers[victim].asked[token] = (flooder, 0)
        router.handle_probe_untrusted(flooder, token, Probe(target, number, (flooder,), 8), lab.now)
        outputs = router.take_outputs()
        asks += sum(type(each).__name__ in ("Ask", "Verify") for each in outputs)
    assert asks <= 3 * 64
    begun, ping = lab.now, lab.ping(victim, servers[3])
    lab.run(1)
    assert (lab.answered(victim, ping) or 1e9) - begun < 0.2


def test_the_same_seed_takes_the_same_steps() -> None:
    def run() -> list[tuple[Any, ...]]:
        lab, servers = mesh(9, networkx.complete_graph(5))
        lab.cut(servers[1], servers[2])
        lab.ping(servers[1], servers[2])
        lab.run(5)
        return [(str(each.name), at, noted.event) for each in lab.servers.values() for at, noted in each.noted]

    first = run()
    assert first
    assert first == run()
