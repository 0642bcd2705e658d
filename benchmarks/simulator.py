"""The simulator's own figures: how large, how fast, and whether one seed is one run (PEERS "Simulator").

    real_nodes          real `Node`s in one process, a small world of degree 4, started together: all sessions stand,
                        every server knows every other one, and an object that one wrote is read by one far away
    router_cores        routers alone, without trio, on such a graph: all have met, 40 links are cut both ways, and a
                        question over each is answered by way of gateways, wherever a way of at most eight is left
    seeds_per_minute    schedules as `bangpath simulate` draws them: 5 servers, 60 virtual seconds, every kind of fault,
                        the checkers of all promises; on all cores of this machine
    virtual_over_real   virtual seconds by real ones in those runs, on one core
    equal_traces        of them, those whose trace is the same again: in the same process, and in a fresh one under
                        another PYTHONHASHSEED
    fault_kinds         how many kinds of faults are drawn

    python -m benchmarks.simulator --nodes 1000      one size alone, with its figures; --cores 10000 likewise

`by_cpu` is what the processor time that was used would have made of it on a machine with nothing else to do.

Nobody else's figures stand beside them: no other simulator runs these nodes. `failed` counts schedules in which a
promise was broken; it should be 0, and each is replayed by its seed.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from random import Random
from typing import Any

import networkx

from simulations import faults, guard
from simulations.cases import run_case
from simulations.cores import Cores
from simulations.sweep import cores as processors
from simulations.sweep import drawn_cases, sweep
from simulations.world import World, simulate
from store.definitions import definition_from_toml

NOTE = definition_from_toml('name = "Note"\n[fields]\ntext = { type = "string", required = true }\n')
DEGREE, REWIRED = 4, 0.2  # of a small world
REAL_NODES = 200
ROUTER_CORES = (2_000, 10_000)
SEEDS = 20  # of each round
TWICE = 5
CUT = 40  # links
MOST_LINKS = 9  # of a way: eight gateways
WITHIN_S = 60.0  # virtual, for everybody to know everybody


def measure(*, rounds: int = 3) -> dict[str, dict[str, Any]]:
    """The rows of this area. `rounds`: twenties of schedules."""
    rows: dict[str, dict[str, Any]] = {}
    figures = real_nodes(REAL_NODES)
    rows["real_nodes"] = row(figures["nodes"], "nodes", **figures)
    _progress(f"{figures}")
    sizes = []
    for size in ROUTER_CORES:
        sizes.append(router_cores(size))
        _progress(f"{sizes[-1]}")
    whole = [each["cores"] for each in sizes if each["answered"] == each["asked"]]
    rows["router_cores"] = row(max(whole, default=0), "routers", sizes=sizes)
    rows["seeds_per_minute"] = seeds_per_minute(rounds)
    _progress(f"{rows['seeds_per_minute']}")
    rows["virtual_over_real"] = virtual_over_real(rounds)
    rows["equal_traces"] = equal_traces(rounds)
    _progress(f"{rows['equal_traces']}")
    rows["fault_kinds"] = row(len(faults.kinds()), "kinds", kinds=[each.name for each in faults.kinds()])
    return rows


def row(value: float, unit: str, *, rounds: int = 1, **more: Any) -> dict[str, Any]:
    return {"value": value, "unit": unit, "ours": value, "theirs": None, "rounds": rounds, **more}


def real_nodes(size: int, *, seed: int = 1) -> dict[str, Any]:
    """A mesh of real nodes that start together. Raises AssertionError where it does not come to know itself."""
    begun = _Cost()
    graph = networkx.connected_watts_strogatz_graph(size, DEGREE, REWIRED, seed=seed)
    told: dict[str, Any] = {}

    async def story(world: World) -> None:
        told["started"] = begun.so_far()
        await world.eventually(lambda: _knows_itself(world), within=WITHIN_S, every=1.0)
        told.update(known=begun.so_far(), known_virtual_s=round(world.now, 1))
        first, last = world.servers[0], world.servers[-1]
        await first.define(NOTE)
        note = await first.create("Note", {"text": "hello"})
        await world.sleep(10)
        found = await last.get(note)
        assert found.fields["text"] == "hello"
        told["delivered"] = world.network.delivered

    simulate(story, servers=graph, seed=seed, keep=100)
    return {"nodes": size, **told, "all": begun.so_far(), "rss_mb": _rss_mb()}


def _knows_itself(world: World) -> bool:
    size = len(world.servers)
    return all(
        len(server.up.servers()) == size
        and sum(each["state"] == "direct" for each in server.up.peers()) >= world.graph.degree(server.name)
        for server in world.servers
    )


def router_cores(size: int, *, seed: int = 1) -> dict[str, Any]:
    """A mesh of router cores: met, cut, and asked across each cut."""
    begun = _Cost()
    mesh = Cores(seed)
    graph = networkx.connected_watts_strogatz_graph(size, DEGREE, REWIRED, seed=seed)
    servers = mesh.build(graph)
    mesh.run(2)
    met = sum(len(each.current) for each in mesh.servers.values())
    assert met == 2 * graph.number_of_edges(), f"{met} ends of sessions among {size} routers"
    told = {"cores": size, "met": begun.so_far()}
    places = dict(zip(graph.nodes, servers, strict=True))
    cut = Random(seed).sample(sorted(graph.edges), CUT)
    graph.remove_edges_from(cut)
    for one, other in cut:
        mesh.cut(places[one], places[other])
    near = [pair for pair in cut if _way_is_left(graph, *pair)]
    asked = [(places[one], mesh.ping(places[one], places[other])) for one, other in near]
    mesh.run(20)
    answered = sum(mesh.answered(one, number) is not None for one, number in asked)
    return {**told, "asked": len(asked), "answered": answered, "packets": mesh.trace.count, "all": begun.so_far(),
            "rss_mb": _rss_mb()}  # fmt: skip


def _way_is_left(graph: networkx.Graph, one: int, other: int) -> bool:
    return other in networkx.single_source_shortest_path_length(graph, one, cutoff=MOST_LINKS)


def seeds_per_minute(rounds: int) -> dict[str, Any]:
    count = SEEDS * rounds
    begun = time.perf_counter()
    verdicts = sweep(drawn_cases(range(1, count + 1)))
    minutes = (time.perf_counter() - begun) / 60
    cpu = statistics.mean(each.cpu_s for each in verdicts)
    failed = [each.seed for each in verdicts if each.promise]
    return row(round(count / minutes, 1), "seeds/min", rounds=rounds, processes=processors(), failed=failed,
               cpu_s_each=round(cpu, 3), by_cpu=round(60 * processors() / cpu, 1))  # fmt: skip


def virtual_over_real(rounds: int) -> dict[str, Any]:
    """One after another in this process, so that a run has a core for itself, if the machine is idle."""
    virtual = real = cpu = 0.0
    for case in drawn_cases(range(1, SEEDS * rounds // 2 + 1)):
        begun = time.perf_counter()
        verdict = run_case(case)
        real += time.perf_counter() - begun
        cpu += verdict.cpu_s
        virtual += verdict.seconds
    value = round(virtual / real, 1)
    return row(
        value, "x", rounds=rounds, virtual_s=round(virtual, 1), cpu_s=round(cpu, 2), by_cpu=round(virtual / cpu, 1)
    )


def equal_traces(rounds: int) -> dict[str, Any]:
    """In per cent. Each seed runs in a process that ran others before, in a fresh one, and twice in this one."""
    count = TWICE * rounds
    cases = list(drawn_cases(range(1, count + 1)))
    verdicts = sweep(cases, twice=True)
    here = [[run_case(case).trace for _ in range(2)] for case in cases[:TWICE]]
    equal = sum(not each.differs for each in verdicts)
    same = sum(one == two == verdict.trace for (one, two), verdict in zip(here, verdicts, strict=False))
    return row(100.0 * (equal + same) / (count + len(here)), "%", rounds=rounds, other_processes=equal, same=same)


class _Cost:
    """Seconds since it was made, by the wall and of this process."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def so_far(self) -> dict[str, float]:
        with guard.outside():
            return {
                "real_s": round(time.perf_counter() - self._wall, 1),
                "cpu_s": round(time.process_time() - self._cpu, 1),
            }


def _rss_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulator", description="One size alone.")
    parser.add_argument("--nodes", type=int, help="real nodes")
    parser.add_argument("--cores", type=int, help="router cores")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    if chosen.nodes:
        print(json.dumps(real_nodes(chosen.nodes, seed=chosen.seed)))
    if chosen.cores:
        print(json.dumps(router_cores(chosen.cores, seed=chosen.seed)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
