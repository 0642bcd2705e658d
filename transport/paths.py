"""A peer's address is where it has proven to be; a new one is asked for a proof before anything else goes there.

    packet from elsewhere, newest so far --> CHALLENGE (8 random bytes) to there --> RESPONSE from there --> moved

A NAT forgets, a ship changes its provider: the session goes on (DESIGN: endpoint follows roaming). Whoever copies a
peer's packets and sends them from his own address gets a challenge of few bytes, cannot answer it, and changes
nothing. One other address is tried at a time, at most once in RETRY_S.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from transport.packet import PathChallenge, PathResponse
from transport.ports import Address

if TYPE_CHECKING:
    import random

RETRY_S = 1.0
MAX_RESPONSES = 4  # waiting to leave; more challenges than that in one turn are a flood


class Paths:
    """Where one peer is, and where it may be."""

    def __init__(self, address: Address, random: random.Random) -> None:
        self.address = address
        self.newest = -1  # the highest packet number that came from `address`
        self._random = random
        self._other: Address | None = None
        self._challenge = b""
        self._asked_at = float("-inf")
        self._due: list[tuple[PathChallenge | PathResponse, Address]] = []

    def handle_other_address(self, address: Address, number: int, now: float) -> None:
        """An authentic packet came from elsewhere. One that was merely overtaken on the way proves nothing new."""
        if number <= self.newest or now - self._asked_at < RETRY_S:
            return
        self._other = address
        self._challenge = self._random.randbytes(8)
        self._asked_at = now
        self._due.append((PathChallenge(self._challenge), address))

    def handle_challenge(self, data: bytes, address: Address) -> None:
        """The peer asks whether we are where our packets come from: the answer goes back the way it came."""
        if len(self._due) < MAX_RESPONSES:
            self._due.append((PathResponse(data), address))

    def handle_response(self, data: bytes, address: Address) -> bool:
        """Whether this proves that the peer has moved; then `address` is the new one."""
        if self._other is None or address != self._other or data != self._challenge:
            return False
        self.address, self._other = self._other, None
        self._challenge = b""
        return True

    def due(self) -> tuple[PathChallenge | PathResponse, Address] | None:
        """The next frame to send, and where to; it is forgotten."""
        return self._due.pop(0) if self._due else None
