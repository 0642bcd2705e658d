"""50 real nodes on a networkx small world, eight origins that everybody mirrors, a third crashing and coming back.

    python -m benchmarks.small_world [--servers 50] [--seed 1] [--updates 40] [--json] [--twice]

Real `node.node.Node`s in the simulator: transport, handshakes, store and log included; links of 5-50 ms that lose 1 %
of their packets. Each node keeps sessions with its neighbours in the graph. While the origins write, 30 % of the other
servers lose power at a random moment and come back 1-2 s later, with what they had synced. In the end everybody must
hold every object and nothing else; no update may have been applied twice. Copies are UPDATE messages of data feeds that
arrived, per server and update. `--twice`: the same again in a process of its own with another PYTHONHASHSEED; the
traces must be equal. tests/simulations/test_small_world.py runs a smaller one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from typing import Any

import networkx

from replication.messages import FeedId, UpdateMessage
from simulations.network import Link
from simulations.world import SimulatedServer, World, simulate
from store.definitions import definition_from_toml
from store.records import DATA, Update

READING = definition_from_toml('name = "Reading"\n[fields]\nnumber = { type = "int", required = true }\n')
DEGREE, REWIRED, ORIGINS = 6, 0.3, 8
LOSS = 0.01
CALM_S = 12.0  # until everybody has met, knows all others, and the trees are found
EVERY_S = 0.1
QUIET_S = 120.0  # within which everything must have come


def run(*, servers: int = 50, seed: int = 1, updates: int = 40, churn: float = 0.3) -> dict[str, Any]:
    """One world; its figures, the trace's hash among them."""
    graph = networkx.connected_watts_strogatz_graph(servers, min(DEGREE, servers - 1), REWIRED, seed=seed)
    told: dict[str, Any] = {}

    async def story(world: World) -> None:
        told.update(await Story(world, updates=updates, churn=churn).tell())

    _, world = simulate(story, servers=graph, seed=seed, link=Link(loss=LOSS), keep=1000)
    return {"servers": servers, "seed": seed, **told, "events": world.trace.count, "trace": world.trace.hash}


class Story:
    """What happens in the world, and what is counted."""

    def __init__(self, world: World, *, updates: int, churn: float) -> None:
        self.world = world
        self.updates = updates
        self.churn = churn
        self.random = world.generator("small world")
        self.origins = self.random.sample(world.servers, min(ORIGINS, len(world.servers)))
        self.counting = False
        self.copies: Counter[tuple[str, FeedId, int]] = Counter()
        self.applied: Counter[tuple[str, FeedId, int]] = Counter()
        self.crashes = 0

    async def tell(self) -> dict[str, Any]:
        world = self.world
        for one, other in sorted(world.graph.edges):
            delay = self.random.uniform(0.005, 0.05)
            for source, target in ((one, other), (other, one)):
                world.network.set_link(source, target, Link(delay=delay, jitter=0.002, loss=LOSS))
        for server in self.origins:
            await server.define(READING)
        for server in world.servers:
            self._listen(server)
            await server.mirror(",".join(each.name for each in self.origins))
        for calm in range(2):  # the trees are found
            for server in self.origins:
                await server.create("Reading", {"number": -1 - calm})
            await world.sleep(CALM_S / 2)
        self.counting = True
        others = [each for each in world.servers if each not in self.origins]
        victims = self.random.sample(others, min(len(others), int(self.churn * len(world.servers))))
        for victim in victims:
            world.nursery.start_soon(self._crash, victim, self.random.random() * self.updates * EVERY_S)
        made = []
        for number in range(self.updates):
            origin = self.origins[number % len(self.origins)]
            made.append(await origin.create("Reading", {"number": number}))
            await world.sleep(EVERY_S)
        written_at = world.now
        await world.eventually(
            lambda: (
                self.crashes == len(victims)
                and all(server.read(each) is not None for server in world.servers for each in made)
            ),
            within=QUIET_S,
        )
        came_s = world.now - written_at
        await world.sleep(5)
        self._check(made)
        deliveries = (len(world.servers) - 1) * self.updates
        return {
            "updates": self.updates,
            "crashes": self.crashes,
            "missing": 0,
            "applied_twice": 0,
            "copies": round(sum(self.copies.values()) / deliveries, 3),
            "useless": round(sum(self.copies.values()) / deliveries - 1, 3),
            "came_s": round(came_s, 2),  # after the last update was written
        }

    async def _crash(self, victim: SimulatedServer, after: float) -> None:
        await self.world.sleep(after)
        await victim.crash()
        await self.world.sleep(1 + self.random.random())
        await victim.restart()
        self._listen(victim)
        self.crashes += 1

    def _check(self, made: list[Any]) -> None:
        """Everybody holds the same, each update was applied once, each object stands as it was made."""
        world = self.world
        for server in world.servers:
            for number, reference in enumerate(made):
                found = server.read(reference)
                if found != {"number": number}:
                    raise AssertionError(f"{server.name} holds {found} as {reference}, not {number}")
            for origin in self.origins:
                feed = FeedId(origin.server, origin.up.incarnation, DATA)
                held, whole = (each.up.parts.flood.position(feed) for each in (server, origin))
                if held != whole:
                    raise AssertionError(f"{server.name} holds {feed} up to {held}, its owner {whole}")
        twice = [key for key, times in self.applied.items() if times > 1]
        if twice:
            raise AssertionError(f"applied twice: {twice[:3]}")

    def _listen(self, server: SimulatedServer) -> None:
        """Count every update that arrives, and every one that becomes durable, in this life of the server."""
        flood = server.up.parts.flood
        handle, applied = flood.handle_message, flood.handle_applied

        def receiving(peer: Any, message: Any, now: float) -> None:
            if self.counting and isinstance(message, UpdateMessage):
                head = Update.from_bytes_untrusted(message.update).head
                if head.kind == DATA and head.server != server.server:
                    self.copies[server.name, FeedId(head.server, head.incarnation, head.kind), head.number] += 1
            handle(peer, message, now)

        def becoming(updates: Any, now: float) -> None:
            for update in updates:
                head = update.head
                self.applied[server.name, FeedId(head.server, head.incarnation, head.kind), head.number] += 1
            applied(updates, now)

        flood.handle_message, flood.handle_applied = receiving, becoming


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.small_world")
    parser.add_argument("--servers", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--updates", type=int, default=40)
    parser.add_argument("--twice", action="store_true", help="again in a fresh process, under another PYTHONHASHSEED")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    figures = run(servers=chosen.servers, seed=chosen.seed, updates=chosen.updates)
    if chosen.twice:
        figures["again"] = again(servers=chosen.servers, seed=chosen.seed, updates=chosen.updates)["trace"]
    if chosen.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:14} {value}")
    return 0 if figures.get("again", figures["trace"]) == figures["trace"] else 1


def again(*, servers: int, seed: int, updates: int, hash_seed: str = "4711") -> dict[str, Any]:
    """The same world in a process of its own; its figures."""
    command = [sys.executable, "-m", "benchmarks.small_world", "--json", "--servers", str(servers)]
    command += ["--seed", str(seed), "--updates", str(updates)]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


if __name__ == "__main__":
    sys.exit(main())
