"""What leaves one port, batch by batch: replies first, then everybody who has something, in turn, by the way they go.

    replies    [second, cookie, CLOSE, ...]      handshake packets of strangers, farewells
    ready      [c7, c2, c9]                      who was touched; each in turn fills the one buffer, until it is done

    filled --> routed? --no--> Batch to the peer's address
                  |--yes--> a Detour for each packet, and Batch to the direct address with those that go both ways

A connection that is over after its turn has sent its CLOSE, which is kept for whoever did not hear it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from identity.machine import Batch
from transport.events import Address, Detour, Event, is_routed
from transport.mtu import MAX_PACKET_BYTES
from transport.states import State

if TYPE_CHECKING:
    from transport.connection import Connection
    from transport.farewells import Farewells
    from transport.turns import Turns

MAX_REPLIES = 4096  # handshake packets waiting to leave; what is more is lost like any other


class Departures:
    """The sending half of an endpoint. `drop(connection)` forgets one that is over, `tell` takes events."""

    def __init__(
        self,
        *,
        turns: Turns,
        farewells: Farewells,
        drop: Callable[[Connection], None],
        tell: Callable[[Event], None],
        copies: bool = True,
    ) -> None:
        """`copies` False: nothing routed goes directly too, which only tests want."""
        self._turns = turns
        self._farewells = farewells
        self._drop = drop
        self._tell = tell
        self._copies = copies
        self._ready: deque[Connection] = deque()
        self._replies: deque[tuple[bytes, Address]] = deque()
        self._out = memoryview(bytearray(MAX_PACKET_BYTES))

    def reply(self, packet: bytes, address: Address) -> None:
        """One packet of no connection."""
        if is_routed(address):
            self._tell(Detour(address, packet))
        elif len(self._replies) < MAX_REPLIES:
            self._replies.append((packet, address))

    def touch(self, connection: Connection) -> None:
        """It may have something to send."""
        if not connection.ready:
            connection.ready = True
            self._ready.append(connection)

    def transmit(self, now: float) -> Batch | None:
        """The next batch; None when nobody has anything to send now."""
        if self._replies:
            packet, address = self._replies.popleft()
            return Batch(memoryview(packet), len(packet), address)
        ready = self._ready
        while ready:
            connection = ready[0]
            if connection.third_due:
                connection.third_due = False
                third = memoryview(connection.third)
                batch = self._by_its_way(connection, third, len(third), connection.address, now)
                if batch is not None:
                    return batch
                continue
            filled = connection.fill(self._out, now)
            if filled is None or connection.exhausted:
                ready.popleft()
                connection.ready = False
                if connection.state is State.OVER:
                    self._drop(connection)
                else:
                    self._turns.arm(connection.number, connection.deadline())
            if filled is None:
                continue
            length, size, to = filled
            if connection.state is State.OVER:
                self._farewells.remember(connection.keys.receive_index, bytes(self._out[:length]), to, now)
            elif len(ready) > 1 and connection.ready:
                ready.rotate(-1)
            batch = self._by_its_way(connection, self._out[:length], size, to, now)
            if batch is not None:
                return batch
        return None

    def _by_its_way(
        self, connection: Connection, packets: memoryview, size: int, to: Address, now: float
    ) -> Batch | None:
        """The batch that goes to a port, if any; what goes by gateways is told."""
        ways = connection.ways
        routed = to == connection.address and ways.routed and ways.detour is not None
        detour = ways.detour if routed else to
        if detour is None or not is_routed(detour):
            return Batch(packets, size, to)
        length = len(packets)
        for at in range(0, length, size):
            self._tell(Detour(detour, bytes(packets[at : at + size])))
        if not routed or ways.direct is None or not self._copies:
            return None
        everything, last = ways.copies(now)
        if everything:
            return Batch(packets, size, ways.direct)
        if last:
            at = (length - 1) // size * size
            return Batch(packets[at:], length - at, ways.direct)
        return None
