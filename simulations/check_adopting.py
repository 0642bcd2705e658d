"""P1: a server that was restored from a backup learns what its neighbours hold of it, before it signs anything new.

    1.2 holds  1 2 3 4 5 of 1.1          1.1 is restored, and has 1 2 3
    its adoption ends                    1 2 3 4 5         good
                                         1 2 3             accused: it will sign another 4, and the two never meet again

Every server that it wants as a neighbour is to be reached before (docs/decisions/0078), and whoever held an update of
its when it came back, and holds it still, has shown it by then. What others hold, nobody promises: updates that none of
its neighbours had are gone, and so are those of one that stayed away for `PATIENCE_S`; two branches that have both
grown are not joined, and each mirror stays with what it has.

Not accused: who was set back behind its back, is or was hostile, or whose disk rotted; and whoever may not have been
heard, in a run where servers or links were slowed down. A neighbour that was restored itself, or is hostile, or whose
disk rotted, is not asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from node.adopting import PATIENCE_S
from replication.messages import FeedId
from simulations.promises import Watching
from store.records import DATA, FEED_NAMES

if TYPE_CHECKING:
    from simulations.server import SimulatedServer
    from simulations.world import World

SLOWED = ("pause", "disk", "clock", "link")  # marks of faults by which a word may take any time


@dataclass(frozen=True)
class Restored:
    """A server that came back, when, and what others held of it then: by holder and kind, the last number."""

    at: float
    held: dict[tuple[str, int], int]


class RestoredLearn(Watching):
    """Who comes back in time goes on from what its neighbours have of it."""

    name = "restored servers learn"
    promise = "P1"

    def __init__(self) -> None:
        self._marks = 0
        self._restored: dict[str, Restored] = {}

    def look(self, world: World) -> None:
        marks = world.marks
        for mark in marks[self._marks :]:
            if mark.kind == "restore" and mark.details["told"]:
                (name,) = mark.servers
                held = {
                    (holder, kind): number for (holder, owner, kind), number in world.ledger.held.items()
                    if owner == name != holder
                }  # fmt: skip
                self._restored[name] = Restored(mark.at, held)
        self._marks = len(marks)
        for name, restored in list(self._restored.items()):
            server = world.server(name)
            if not world.ledger.remembers_requests(name):
                del self._restored[name]
            elif server.node is not None and not server.node.parts.database.adopting:
                del self._restored[name]
                self._judge(world, server, restored)

    def finish(self, world: World) -> str:
        self.look(world)
        return ""

    def _judge(self, world: World, server: SimulatedServer, restored: Restored) -> None:
        """Its adoption has just ended."""
        ledger, parts = world.ledger, server.node.parts
        if world.now - restored.at >= PATIENCE_S or any(each.kind in SLOWED for each in world.marks):
            return
        neighbours = [str(each) for each in parts.kept]
        for (holder, kind), number in restored.held.items():
            other = world.server(holder)
            if holder not in neighbours or holder in ledger.excused or other.node is None:
                continue
            if kind == DATA and not other.node.parts.mirroring.keeps(server.server):
                continue
            has = parts.flood.position(FeedId(server.server, parts.database.incarnation, kind))
            if has < number <= ledger.held.get((holder, server.name, kind), 0):
                self.accuse(
                    world,
                    f"{server.name}, restored from a backup at {restored.at:.3f} s, signs again after update {has} of "
                    f"its {FEED_NAMES[kind]} feed; its neighbour {holder} has held update {number} all the time",
                )
