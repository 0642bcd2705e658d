"""What is said of a connection that is over, or is not wanted: its CLOSE, to whoever has not heard it.

The packet is kept as it was sealed; sent again it is the same packet, which its receiver takes once. Each is kept for
LINGER_S and said at most MAX_FAREWELLS times, to the address it was for; the oldest goes when there are MAX_LINGERING.
"""

from __future__ import annotations

import msgspec

from transport.packet import CLOSE_DONE, MAX_REASON_BYTES, OVERHEAD_BYTES, write_close
from transport.ports import Address
from transport.sealing import SessionKeys

LINGER_S = 10.0  # as long as a peer goes on without an answer
MAX_FAREWELLS = 4
MAX_LINGERING = 1024


def refusal(keys: SessionKeys, reason: str) -> bytes:
    """The one packet of a session that was made and is not wanted."""
    plaintext = memoryview(bytearray(MAX_REASON_BYTES + 16))
    end = write_close(plaintext, 0, code=CLOSE_DONE, reason=reason)
    packet = bytearray(end + OVERHEAD_BYTES)
    keys.sealer().seal_into(memoryview(packet), 0, plaintext[:end])
    return bytes(packet)


class _Farewell(msgspec.Struct):
    packet: bytes
    address: Address
    until: float
    left: int = MAX_FAREWELLS


class Farewells:
    """The last packets of connections that are over, by our index."""

    def __init__(self) -> None:
        self._by_index: dict[int, _Farewell] = {}  # oldest first

    def remember(self, index: int, packet: bytes, address: Address, now: float) -> None:
        if len(self._by_index) >= MAX_LINGERING:
            del self._by_index[next(iter(self._by_index))]
        self._by_index[index] = _Farewell(packet, address, now + LINGER_S)

    def forget(self, index: int) -> None:
        """The index is used anew."""
        self._by_index.pop(index, None)

    def answer(self, index: int, address: Address, now: float) -> bytes | None:
        """What to say to a packet for this index, if anything."""
        farewell = self._by_index.get(index)
        if farewell is None or now >= farewell.until or not farewell.left or address != farewell.address:
            return None
        farewell.left -= 1
        return farewell.packet
