"""A call of ours that nobody has answered yet: the first packet, again and again, until an answer or the time is up.

try   1      2       3       4       5      ...
      XK     XK      XK      XX      XK     ...        XX: the peer may have another key by now (DESIGN X1)
after   0.25   0.38    0.56    0.84    1.0  ... s      until `handshake_timeout_s`

A peer whose key is not known here at all (an address that somebody configured) is called by XX from the first try;
whose key it then proves is the certificate's to say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from identity.errors import PeerMisbehaved
from transport.fragments import Outgoing
from transport.handshake import XK, XX, ZERO_ID, Initiator
from transport.ports import Address
from transport.sealing import SessionKeys
from transport.settings import Settings

if TYPE_CHECKING:
    import random

SILENT_TRIES = 3  # with the key we know, before we ask for another
GROWTH = 1.5
AT_ONCE_S = 1.0  # two calls that cross are heard of by both ends within this on any path worth keeping


class Call:
    """One `connect` that has not succeeded yet. Messages sent meanwhile wait in `outgoing`."""

    def __init__(
        self, *, number: int, address: Address, peer_key: bytes, psk_id: bytes, psk: bytes, exchange_key: bytes,
        network: bytes, parameters: bytes, random: random.Random, settings: Settings,
        new_index: Callable[[], int], now: float,
    ) -> None:  # fmt: skip
        """`peer_key` empty: not known. Raises `PeerMisbehaved` for one of low order."""
        self.number = number
        self.address = address
        self.peer_key = peer_key
        self.psk_id = psk_id
        self.outgoing = Outgoing(queue_bytes=settings.queue_bytes)
        self.ends_at = now + settings.handshake_timeout_s
        self.next_at = now
        self._settings = settings
        self._wait = settings.handshake_first_s
        self._tries = 0
        self._sent_at: dict[int, float | None] = {}  # by index; None once sent twice: no round trip can be told then
        self._initiators: dict[int, Initiator] = {}
        self._new_index = new_index

        def make(pattern: str) -> Initiator:
            index = new_index()
            made = self._initiators[index] = Initiator(
                exchange_key=exchange_key, network=network, peer_key=peer_key, psk_id=psk_id, psk=psk, index=index,
                random=random, parameters=parameters, pattern=pattern,
            )  # fmt: skip
            return made

        self._make = make
        self._make(XK if peer_key else XX)

    @property
    def indexes(self) -> list[int]:
        """The indexes under which answers may come."""
        return list(self._initiators)

    def next_first(self, now: float) -> bytes:
        """The packet to send now; sets `next_at`."""
        which = 0
        if (
            self.peer_key
            and self.psk_id == ZERO_ID
            and self._tries >= SILENT_TRIES
            and (self._tries - SILENT_TRIES) % 2 == 0
        ):
            if len(self._initiators) == 1:
                self._make(XX)
            which = 1
        index = list(self._initiators)[which]
        self._sent_at[index] = None if index in self._sent_at else now
        self._tries += 1
        self.next_at = min(now + self._wait, self.ends_at)
        self._wait = min(self._wait * GROWTH, self._settings.handshake_most_s)
        return self._initiators[index].first()

    def handle_cookie(self, index: int, packet: bytes, now: float) -> bytes | None:
        """The peer is under load: the first packet again, now with its cookie. None: that was no cookie."""
        try:
            self._initiators[index].handle_cookie_untrusted(packet)
        except PeerMisbehaved:
            return None
        self._sent_at[index] = None
        self.next_at = min(now + self._wait, self.ends_at)
        return self._initiators[index].first()

    def handle_second(self, index: int, packet: bytes, now: float) -> tuple[SessionKeys, bytes, float | None] | None:
        """(keys, third packet, round trip) of the session that this makes; None: that was no second packet of ours."""
        initiator = self._initiators[index]
        try:
            keys = initiator.handle_second_untrusted(packet)
        except PeerMisbehaved:
            return None
        sent_at = self._sent_at.get(index)
        return keys, initiator.third, None if sent_at is None else now - sent_at

    @property
    def tries(self) -> int:
        return self._tries


def ours_stays(
    our_key: bytes, peer_key: bytes, *, since: float, heard_at: float | None, called_at: float, now: float
) -> bool:
    """Whether the session that we began stays, though the peer has begun another (the rule: `transport.endpoint`).

    Ours stands `since`, and the peer was first heard on it at `heard_at`; its own call came at `called_at`. The two
    crossed when it called before we heard it. A session on which the peer says nothing for AT_ONCE_S does not stay: it
    has forgotten it, as who restarted has.
    """
    crossed = now - since < AT_ONCE_S if heard_at is None else called_at < heard_at
    return crossed and our_key < peer_key


class Calls:
    """The calls of one endpoint, by number and by the indexes under which answers may come."""

    def __init__(self) -> None:
        self._by_number: dict[int, Call] = {}
        self._by_index: dict[int, Call] = {}

    def __len__(self) -> int:
        return len(self._by_number)

    def __contains__(self, index: int) -> bool:
        return index in self._by_index

    def add(self, call: Call) -> None:
        """Also again, when it has another index."""
        self._by_number[call.number] = call
        for index in call.indexes:
            self._by_index[index] = call

    def get(self, number: int) -> Call | None:
        return self._by_number.get(number)

    def of_index(self, index: int) -> Call | None:
        return self._by_index.get(index)

    def of_peer(self, peer_key: bytes, psk_id: bytes) -> Call | None:
        for call in self._by_number.values():
            if call.peer_key == peer_key and call.psk_id == psk_id:
                return call
        return None

    def forget_peer(self, peer_key: bytes, psk_id: bytes) -> None:
        """It has answered at one address, and is called at no other."""
        for call in [each for each in self._by_number.values() if (each.peer_key, each.psk_id) == (peer_key, psk_id)]:
            self.forget(call)

    def forget(self, call: Call) -> None:
        self._by_number.pop(call.number, None)
        for index in call.indexes:
            self._by_index.pop(index, None)
