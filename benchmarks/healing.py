"""Simulated: links are cut so that ways by others are left; how many pairs are connected again, and how soon.

    python -m benchmarks.healing [random|ring|bridge] [--seeds 3]

    random    16 servers, each the neighbour of each; every direction of every link is cut with chance 0.5
    ring      12 servers in a circle: every link is cut but those to the two beside
    bridge    100 servers with 8 neighbours, two halves; every link between the halves is cut but those of one server

Real nodes on virtual time. In the moment of the cut, a request is said for many pairs at once whose direct link is
cut, so that searches disturb each other as they would. A pair counts when directed ways of at most 8 hops are left
there and back. It is healed when its request was answered within ten round trips of the shortest way that is left
(`soon`, the bar of PEERS.md), and `at last` when it was answered at all within 20 s. A hop takes 20 ms.

Circling is counted at every server: a forwarded packet that arrives where it had been before.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import networkx
import trio

from identity.errors import BangpathError
from identity.names import ServerId
from routing.probes import Forward
from simulations.network import Link
from simulations.world import SimulatedServer, World, simulate

HOP_S = 0.02
LINK = Link(delay=HOP_S, jitter=0.001)
MAX_HOPS = 8
ROUND_TRIPS = 10
PATIENCE_S = 20.0
MAX_SEEN = 100_000  # packets remembered by each server
PAIRS = 120  # asked at once, at most
SETTLE_S = 6.0  # after the mesh stands: first vectors are told, round trips are known

Direction = tuple[str, str]


class Outcome:
    """What became of the pairs of one kind of cut."""

    def __init__(self) -> None:
        self.pairs = self.soon = self.at_last = 0
        self.round_trips: list[float] = []
        self.never: list[str] = []
        self.circling = self.forwarded = 0

    def as_json(self) -> dict[str, Any]:
        ranked = sorted(self.round_trips) or [0.0]
        return {
            "pairs": self.pairs,
            "soon": self.soon,
            "at_last": self.at_last,
            "healed_percent": round(100 * self.soon / max(1, self.pairs), 2),
            "round_trips": {
                f"p{part}": round(ranked[min(len(ranked) - 1, len(ranked) * part // 100)], 2) for part in (50, 90, 99)
            },
            "never": self.never[:5],
            "forwarded": self.forwarded,
            "circling": self.circling,
        }


class Watch:
    """Every packet that a server hands on for others, and whether it had been there before."""

    def __init__(self, world: World, outcome: Outcome) -> None:
        self._outcome = outcome
        for server in world.servers:
            self._watch(server.up.parts.router)

    def _watch(self, router: Any) -> None:
        handle = router.handle_forward_untrusted
        seen: dict[int, None] = {}

        def watching(peer: ServerId, message: Any, now: float) -> str | None:
            if isinstance(message, Forward) and message.at < len(message.path) - 1:
                packet = hash((message.path[0], message.packet))
                self._outcome.forwarded += 1
                self._outcome.circling += packet in seen or len(set(message.path)) != len(message.path)
                if len(seen) > MAX_SEEN:
                    del seen[next(iter(seen))]
                seen[packet] = None
            wrong: str | None = handle(peer, message, now)
            return wrong

        router.handle_forward_untrusted = watching  # the laboratory's ear


def random_cuts(world: World, generator: random.Random) -> Iterator[Direction]:
    for direction in _directions(world):
        if generator.random() < 0.5:
            yield direction


def ring(world: World, generator: random.Random) -> Iterator[Direction]:
    places = {server.name: place for place, server in enumerate(world.servers)}
    for a, b in _directions(world):
        if (places[a] - places[b]) % len(places) not in (1, len(places) - 1):
            yield a, b


def bridge(world: World, generator: random.Random) -> Iterator[Direction]:
    """The server in the middle of the list is the bridge: it reaches everybody."""
    places = {server.name: place for place, server in enumerate(world.servers)}
    middle = len(places) // 2
    for a, b in _directions(world):
        if middle not in (places[a], places[b]) and (places[a] < middle) != (places[b] < middle):
            yield a, b


def _halves(seed: int) -> networkx.Graph:
    """100 places of about 8 neighbours, anywhere."""
    return networkx.random_regular_graph(8, 100, seed=seed)


KINDS: dict[str, tuple[Callable[[int], Any], Callable[[World, random.Random], Iterator[Direction]]]] = {
    "random": (lambda _: 16, random_cuts),
    "ring": (lambda _: 12, ring),
    "bridge": (_halves, bridge),
}


QUICK = ("random", "ring")  # half a minute each; the bridge took more than ten when it was measured last


def run(kind: str, seed: int, outcome: Outcome) -> None:
    """One world, cut once."""
    topology, cuts = KINDS[kind]

    async def story(world: World) -> None:
        await world.eventually(lambda: all(map(_stands, world.servers)), within=60, every=0.2)
        await world.sleep(SETTLE_S)
        Watch(world, outcome)
        cut = set(cuts(world, random.Random(f"{kind}/{seed}")))
        for direction in sorted(cut):
            world.network.cut(*direction)
        await _ask_pairs(world, kind, seed, cut, outcome)

    simulate(story, servers=topology(seed), seed=seed, link=LINK, keep=0)


def _stands(server: SimulatedServer) -> bool:
    return len(server.up.parts.sessions.peers()) >= server.world.graph.degree(server.name)


def _directions(world: World) -> Iterator[Direction]:
    for a in world.servers:
        for b in world.servers:
            if a is not b:
                yield a.name, b.name


async def _ask_pairs(world: World, kind: str, seed: int, cut: set[Direction], outcome: Outcome) -> None:
    left = networkx.DiGraph(direction for direction in _directions(world) if direction not in cut)
    hops = dict(networkx.all_pairs_shortest_path_length(left, cutoff=MAX_HOPS))
    pairs = [
        (a, b) for a, b in _directions(world)
        if ((a, b) in cut or (b, a) in cut) and b in hops.get(a, {}) and a in hops.get(b, {})
        and _are_neighbours_or_all(world, a, b)
    ]  # fmt: skip
    chosen = random.Random(f"pairs/{seed}").sample(pairs, min(PAIRS, len(pairs)))
    servers = {server.name: server for server in world.servers}
    async with trio.open_nursery() as nursery:
        for a, b in chosen:
            nursery.start_soon(_ask, world, servers[a], b, HOP_S * (hops[a][b] + hops[b][a]), outcome, f"{kind}/{seed}")


def _are_neighbours_or_all(world: World, a: str, b: str) -> bool:
    """Pairs that had a session before: others have to be found first, cut or not."""
    return bool(world.graph.has_edge(a, b))


async def _ask(world: World, a: SimulatedServer, b: str, round_trip_s: float, outcome: Outcome, where: str) -> None:
    begun = world.now
    outcome.pairs += 1
    while world.now - begun < PATIENCE_S:
        try:
            await a.up.ping(b, deadline=PATIENCE_S - (world.now - begun))
        except BangpathError:  # told that there is no way, which may change: a program would ask again
            await world.sleep(round_trip_s)
            continue
        took = (world.now - begun) / round_trip_s
        outcome.at_last += 1
        outcome.soon += took <= ROUND_TRIPS
        outcome.round_trips.append(took)
        return
    outcome.never.append(f"{where}: {a.name} -> {b}")


def measure(*, seeds: int = 3, kinds: tuple[str, ...] = QUICK) -> dict[str, Any]:
    """The rows `pairs_healed` and `circling_packets`. The bridge is not among the quick ones: say it by name."""
    outcomes = {}
    for kind in kinds:
        outcome = outcomes[kind] = Outcome()
        for seed in range(1, 2 if kind == "bridge" else seeds + 1):
            run(kind, seed, outcome)
    pairs = sum(each.pairs for each in outcomes.values())
    soon = sum(each.soon for each in outcomes.values())
    return {
        "pairs_healed": {
            "value": round(100 * soon / max(1, pairs), 2), "unit": "% of pairs within 10 round trips", "ours": soon,
            "theirs": None, "rounds": seeds, "pairs": pairs,
            "kinds": {kind: outcome.as_json() for kind, outcome in outcomes.items()},
        },
        "circling_packets": {
            "value": sum(each.circling for each in outcomes.values()), "unit": "packets (ours: handed on in all)",
            "ours": sum(each.forwarded for each in outcomes.values()), "theirs": None, "rounds": seeds,
        },
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.healing")
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], help="the quick ones when none is named")
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    rows = measure(seeds=chosen.seeds, kinds=tuple(chosen.kinds) or QUICK)
    for kind, figures in rows["pairs_healed"]["kinds"].items():
        print(f"{kind:8} {json.dumps(figures)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
