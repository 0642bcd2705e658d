"""P4: a server that any chain of willing servers can reach is reached, once the faults have ended.

    finish   every pair that chains of links join, one each way         1.1 pings 1.4, again until it answers
             missing: those that never did

        1.1 ---> 1.2          three links that carry one way only join all three: 1.2 is reached over one of them, and
          ^       |           its answers come over the two others (docs/decisions/0051)
          '- 1 <--'

Who is down, paused or hostile is not asked, and no chain leads over it. Nor is asked who came back from a backup and
refuses all questions until its neighbours have told it what it had signed since, which takes as long as one of them is
away. A link that is cut, or loses everything, is no link, nor is one between two walls through which neither can call;
one that is bad is one. A link that carries one way only is one for a pair that its ends know the keys of: a word needs
those. And no wall may stand before who is to hear it unasked. No chain is longer than a path may be: MAX_HOPS servers
between its ends (DESIGN G3). Where there are many pairs, `MOST` of them are drawn, and the verdict says how many were
asked. The pings are packets like any others: a run that is finished by them replays.
"""

from __future__ import annotations

from itertools import combinations, permutations
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
    """The pairs, in their order, that chains of links join over willing servers, one each way."""
    names = [each.name for each in world.servers if each.node is not None and not is_unwilling(world, each)]
    both: networkx.Graph = networkx.Graph()
    both.add_nodes_from(names)
    arrows: set[Pair] = set()  # of links that carry one way only
    network = world.network
    for source, target in combinations(names, 2):
        there, back = _carries(world, source, target), _carries(world, target, source)
        if there and back and (network.can_call(source, target) or network.can_call(target, source)):
            both.add_edge(source, target)
        elif there and network.can_call(source, target):
            arrows.add((source, target))
        elif back and network.can_call(target, source):
            arrows.add((target, source))
    near = dict(networkx.all_pairs_shortest_path_length(both, cutoff=MAX_HOPS + 1))
    ends = [name for name in names if not world.server(name).up.parts.database.adopting]
    found = {(a, b) for a, b in permutations(ends, 2) if b in near[a]}
    if arrows:
        every = both.to_directed()
        every.add_edges_from(arrows)
        missing = [pair for pair in combinations(ends, 2) if pair not in found]
        found |= {order for a, b in missing if _joined_by_words(world, every, a, b) for order in ((a, b), (b, a))}
    return [(a, b) for a, b in permutations(ends, 2) if (a, b) in found]


def _joined_by_words(world: World, links: networkx.DiGraph, one: str, other: str) -> bool:
    """Whether chains lead from each to the other, over servers that know both and those next to them."""
    known = {name: {str(each.server) for each in world.server(name).up.parts.directory.entries()} for name in links}
    willing = [name for name in links if {one, other} <= known[name]]
    chains: networkx.DiGraph = networkx.DiGraph()
    chains.add_nodes_from(willing)
    chains.add_edges_from((a, b) for a, b in links.subgraph(willing).edges if b in known[a] and a in known[b])
    if one not in chains or other not in chains:
        return False
    return all(
        b in networkx.single_source_shortest_path_length(chains, a, cutoff=MAX_HOPS + 1)
        for a, b in ((one, other), (other, one))
    )


def is_unwilling(world: World, server: SimulatedServer) -> bool:
    """Whether nobody can expect it to answer or to hand on."""
    return server.paused or world.ledger.is_hostile(server.name)


def _carries(world: World, source: str, target: str) -> bool:
    """Whether packets pass this way, and the two know where to find one another from the start."""
    link = world.network.link(source, target)
    known = world.graph.has_edge(source, target)
    return known and not link.cut and link.loss < 1
