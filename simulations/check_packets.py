"""P2: what was sealed once is opened once: nobody acts a second time on a packet that came again (DESIGN X2).

    1.2 opened of 1.1's connection     packets 0 1 2 4     4 in all        good
                                       packets 0 1 2 4     5 in all        accused: one of them was opened twice

Each connection counts the packets that it opened, and knows the numbers of those that came. As long as it has let no
number go, the one is not more than the other. Links say datagrams twice, and hostile servers say again what they
overheard; to whoever opens such a packet again it would be as if its peer had said it now.

Not accused: who is hostile; connections so long, and with so many gaps, that they let numbers go (`transport.sealing`).
What a connection opened in its last second nobody may see.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulations.check_memory import parts_of
from simulations.promises import Watching

if TYPE_CHECKING:
    from simulations.server import SimulatedServer
    from simulations.world import World

LOOK_EVERY_S = 1.0  # virtual seconds


class PacketsOnce(Watching):
    """Nobody opens a packet twice."""

    name = "packets opened once"
    promise = "P2"

    def __init__(self) -> None:
        self._at = -LOOK_EVERY_S

    def look(self, world: World) -> None:
        if world.now - self._at < LOOK_EVERY_S:
            return
        self._at = world.now
        for server in world.servers:
            parts = parts_of(server)
            if parts is None or world.ledger.is_hostile(server.name):
                continue
            for connection in parts.endpoint._connections.values():
                opener, opened = connection._opener, connection.received_packets
                if not opener.floor and opened > (came := opener.received.count()):
                    self._tell(world, server, connection.keys.peer_key, opened, came)

    def finish(self, world: World) -> str:
        self._at = -LOOK_EVERY_S
        self.look(world)
        return ""

    def _tell(self, world: World, server: SimulatedServer, key: bytes, opened: int, came: int) -> None:
        peers = (each for each in world.servers if each.keys.exchange_public == key)
        peer = next((each.name for each in peers), "somebody")
        self.accuse(
            world, f"{server.name} opened {opened} packets of a connection with {peer}, of {came} different numbers"
        )
