"""P2: an owner that tells two stories is found out: its mirrors hold one history, or they hold the proof (DESIGN I7).

    1.2 holds  1  2  3  4 of 1.3                     in the end: both know two heads that 1.3 signed with one number
    1.4 holds  1  2  3' 4' 5'                        in one run, and their feeds stand still

Of who was hostile nothing is asked but this, and it is asked of the others: each honest server that holds a feed of
its, and is up, has the proof, wherever two of them hold different updates of one number and one run. Who holds a
prefix of what another one holds needs none. Updates of two runs (a store that came back in time, or who pretends it)
prove nothing, and accuse nobody; nor is anything asked of servers that are hostile themselves, or whose disk rotted.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from identity.errors import Damaged
from replication.chain import are_conflicting
from replication.messages import FeedId
from simulations.check_mirrors import is_beyond
from simulations.promises import Watching
from store.records import FEED_NAMES, Head, Update

if TYPE_CHECKING:
    from simulations.server import SimulatedServer
    from simulations.world import World

Feed = tuple[str, int]  # owner, kind


class ForksAreProven(Watching):
    """Who was told another story than others knows it in the end, and so do they."""

    name = "forks are proven"
    promise = "P2"

    def __init__(self) -> None:
        self._taken = 0
        # Numbers of which more than one update was ever taken, by feed; the first that was, of all of them.
        self._first: dict[Feed, dict[int, bytes]] = {}
        self._forked: dict[Feed, dict[int, None]] = {}

    def finish(self, world: World) -> str:
        """What is missing in the end."""
        self._hear(world)
        missing = []
        for (owner, kind), numbers in self._forked.items():
            if world.ledger.is_hostile(owner) and (said := self._missing(world, owner, kind, sorted(numbers))):
                missing.append(said)
        return "; ".join(missing)

    def _hear(self, world: World) -> None:
        world.ledger.refresh()
        taken = world.ledger.taken
        for each in taken[self._taken :]:
            first = self._first.setdefault((each.owner, each.kind), {}).setdefault(each.number, each.digest)
            if each.digest != first:
                self._forked.setdefault((each.owner, each.kind), {})[each.number] = None
        self._taken = len(taken)

    def _missing(self, world: World, owner: str, kind: int, numbers: list[int]) -> str:
        """Who of this feed's holders has no proof, although two of them could make one; "" where that is nobody."""
        holders = [
            each
            for each in world.servers
            if each.node is not None and each.name != owner and not is_beyond(world, each.name)
            if world.ledger.held.get((each.name, owner, kind), 0)
        ]
        liar = world.server(owner)
        for number in numbers:
            heads = [(each, head) for each in holders for head in [_head(each, liar, kind, number)] if head]
            for (one, left), (other, right) in combinations(heads, 2):
                if not are_conflicting(left, right):
                    continue
                feed = FeedId(left.server, left.incarnation, left.kind)
                unaware = [each.name for each in holders if feed not in each.node.parts.flood.proofs()]
                if unaware:
                    said = f"{one.name} and {other.name} hold different updates {number} of {owner}'s "
                    said += f"{FEED_NAMES[kind]} feed, both signed in epoch {left.epoch}"
                    return f"{said}; without a proof of that: {', '.join(unaware)}"
        return ""


def _head(holder: SimulatedServer, owner: SimulatedServer, kind: int, number: int) -> Head | None:
    """Of what the holder's log has under that number, of the owner's only incarnation."""
    database = holder.node.parts.database
    incarnation = holder.node.parts.standpoint.incarnation_of(owner.server)
    try:
        data = database.read_update(owner.server, incarnation, kind, number)
    except Damaged:
        return None  # another checker's affair
    return None if data is None else Update.from_bytes_untrusted(data).head
