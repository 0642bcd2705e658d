"""P2: nothing is believed that its owner did not sign, whoever delivered it.

    1.2 applied update 7 of 1.1   -- the very bytes that 1.1 made?   yes: good
                                  -- no, and 1.1 is honest           accused, when 1.1 has been asked what it made
                                  -- no, and 1.1 is excused          its signature must be 1.1's all the same

    1.2 takes who greets it for 1.1 -- by the key that 1.1 has?      no: accused

An honest owner's updates are compared with what it really made, byte by byte: that is more than any signature says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from identity.errors import PeerMisbehaved
from identity.trust import Certificate
from node.greeting import Greeted
from replication.leaves import verify_update_untrusted
from simulations.promises import Overhearing
from store.records import FEED_NAMES

if TYPE_CHECKING:
    from simulations.ledger import Taken
    from simulations.world import World


class OnlyTheSigned(Overhearing):
    """Whatever became durable anywhere, its owner made; and nobody is taken for another."""

    name = "only the signed"
    promise = "P2"

    def __init__(self) -> None:
        super().__init__()
        self._taken = 0
        self._strange: list[Taken] = []  # not made by its owner, as far as is known

    def begin(self, world: World) -> None:
        super().begin(world)
        proven = {str(each.server): each.keys.exchange_public for each in world.servers}

        def greeted(server: str, output: Greeted, now: float) -> None:
            name, shown = str(output.server), Certificate.from_bytes_untrusted(output.hello.chain[-1])
            if proven.get(name) != shown.exchange_key:
                said = f"{server} took who greeted it from {output.address[0]} for {name}, whose key it has not"
                self.note(world, said)

        world.ledger.listen(Greeted, greeted)

    def look(self, world: World) -> None:
        super().look(world)
        taken = world.ledger.taken
        fresh = [each for each in taken[self._taken :] if each.update is not None]
        self._taken = len(taken)
        if fresh or self._strange:
            world.ledger.refresh()
            self._strange = [each for each in (*self._strange, *fresh) if self._is_strange(world, each)]

    def _is_strange(self, world: World, taken: Taken) -> bool:
        """Whether its owner has yet to be asked; accuses where there is nothing to ask any more."""
        owner = world.server(taken.owner)
        feed = (taken.owner, taken.kind)
        if taken.digest in world.ledger.branches.get(feed, ()):
            return False
        update = taken.update
        assert update is not None
        what = f"{taken.holder} took update {taken.number} of {taken.owner}'s {FEED_NAMES[taken.kind]} feed at "
        what += f"{taken.at:.3f} s"
        try:
            verify_update_untrusted(update, owner.keys.signing_public)
        except PeerMisbehaved as error:
            self.accuse(world, f"{what}, which {taken.owner} never signed: {error.cause}")
        if taken.owner in world.ledger.excused:
            return False
        made = world.ledger.made.get(feed, {}).get(taken.number)
        if made is not None:
            self.accuse(world, f"{what}, which is not what {taken.owner} made under that number at {made.at:.3f} s")
        if owner.node is not None:
            self.accuse(world, f"{what}; {taken.owner} made {world.ledger.last(*feed)} updates so far")
        return True
