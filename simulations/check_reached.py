"""P4: a server that any chain of willing servers can reach is reached, once the faults have ended.

What is promised as yet is less, and no more is asked for: each link of the chain must carry both ways. A ring of links
that carry one way only leaves nobody reached (docs/decisions/0050), and the verdict says how many pairs were asked.

    finish   every pair that a chain of links joins in both directions      1.1 pings 1.4, again until it answers
             missing: those that never did

Who is down, paused or hostile is not asked, and no chain leads over it. Nor is asked who came back from a backup and
refuses all questions until its neighbours have told it what it had signed since, which takes as long as one of them is
away. A link that is cut, or loses everything, is no link, nor is one between two walls through which neither can call;
one that is bad is one. No chain is longer than a path may be: MAX_HOPS servers between its ends (DESIGN G3). Where
there are many pairs, `MOST` of them are drawn. The pings are packets like any others: a run that is finished by them
replays.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import networkx
import trio

from identity.errors import BangpathError
from routing.probes import MAX_HOPS
from simulations.promises import Watching

if TYPE_CHECKING:
    from simulations.server import SimulatedServer
    from simulations.world import World

MOST = 60  # pairs: all of eight servers, about
DEADLINE_S = 20.0  # of one ping: a search for a way takes some seconds
AGAIN_S = 1.0

Pair = tuple[str, str]


class EverybodyReached(Watching):
    """Every pair gets through."""

    name = "everybody reached"
    promise = "P4"
    takes_time = True

    def __init__(self) -> None:
        self._left: dict[Pair, str] | None = None  # why not yet
        self._asked = ""

    @property
    def judged(self) -> str:
        """How many pairs it asked, of all there are, when it was had last."""
        return self._asked

    def finish(self, world: World) -> str:
        if self._left is None:
            pairs = joined(world)
            if len(pairs) > MOST:
                pairs = sorted(world.generator("checkers/reached").sample(pairs, MOST))
            every = len(world.servers) * (len(world.servers) - 1)
            self._asked = f"{len(pairs)} of {every} pairs" if pairs else "no pair could be asked"
            self._left = dict.fromkeys(pairs, "no answer yet")
            for source, target in pairs:
                world.nursery.start_soon(self._ask, world, world.server(source), target, self._left)
        if not self._left:
            self._left = None  # asked again, it looks again
            return ""
        return "; ".join(f"{source} does not reach {target}: {why}" for (source, target), why in self._left.items())

    async def _ask(self, world: World, source: SimulatedServer, target: str, left: dict[Pair, str]) -> None:
        """Until there is an answer, or this world ends."""
        pair = (source.name, target)
        while pair in left:
            node = source.node
            if node is None:
                left[pair] = f"{source.name} is down"
            else:
                try:
                    await node.ping(target, deadline=DEADLINE_S)
                except BangpathError as error:
                    left[pair] = error.cause
                else:
                    del left[pair]
            await trio.sleep(AGAIN_S)


def joined(world: World) -> list[Pair]:
    """The pairs, in their order, that a chain of links in both directions joins over willing servers."""
    names = [each.name for each in world.servers if each.node is not None and not is_unwilling(world, each)]
    links: networkx.Graph = networkx.Graph()
    links.add_nodes_from(names)
    network = world.network
    for source, target in combinations(names, 2):
        called = network.can_call(source, target) or network.can_call(target, source)
        if called and _carries(world, source, target) and _carries(world, target, source):
            links.add_edge(source, target)
    near = dict(networkx.all_pairs_shortest_path_length(links, cutoff=MAX_HOPS + 1))
    ends = [name for name in names if not world.server(name).up.parts.database.adopting]
    return [(a, b) for a in ends for b in ends if a != b and b in near[a]]


def is_unwilling(world: World, server: SimulatedServer) -> bool:
    """Whether nobody can expect it to answer or to hand on."""
    return server.paused or world.ledger.is_hostile(server.name)


def _carries(world: World, source: str, target: str) -> bool:
    """Whether packets pass this way, and the two know where to find one another from the start."""
    link = world.network.link(source, target)
    known = world.graph.has_edge(source, target)
    return known and not link.cut and link.loss < 1
