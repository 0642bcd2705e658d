"""Strangers who have called and not yet proven themselves: few, briefly, and under load without a key agreement.

    first --> too short, mac1 wrong ............... silence
          --> seen already ........................ the same second packet again, to the same address only
          --> under load, mac2 wrong .............. a cookie; nothing is remembered
          --> too many from this host, no cookie .. a cookie: whoever writes that host's address is not that host
          --> too many from this host, a cookie ... the oldest of that host goes
          --> half open: `Responder`, second ------> third within the handshake's time: a session

Bounds: `max_half_open` in all, `max_half_open_per_host`, HALF_OPEN_S each; the oldest goes when there is no room. The
second packet of one call is sent at most MAX_SECONDS times, and is shorter than the first that asks for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from identity.errors import PeerMisbehaved
from transport.handshake import FIRST_BYTES, ZERO_ID, ZERO_PSK, Gate, Responder, ephemeral_of
from transport.ports import Address
from transport.settings import Settings

if TYPE_CHECKING:
    import random

MAX_SECONDS = 64  # more than an initiator's tries


class HalfOpen(msgspec.Struct):
    """A call that we answered."""

    index: int  # ours
    responder: Responder
    address: Address
    since: float
    seconds: int  # second packets sent


class Admission:
    """The half-open handshakes of one endpoint."""

    def __init__(
        self, *, exchange_key: bytes, network: bytes, find_psk: Callable[[bytes], bytes | None],
        random: random.Random, settings: Settings, parameters: bytes,
    ) -> None:  # fmt: skip
        self._exchange_key = exchange_key
        self._network = network
        self._find_psk = find_psk
        self._random = random
        self._settings = settings
        self._parameters = parameters
        self._gate = Gate(exchange_key=exchange_key, network=network, psk=find_psk(ZERO_ID) or ZERO_PSK, random=random)
        self._by_index: dict[int, HalfOpen] = {}  # oldest first
        self._by_ephemeral: dict[bytes, HalfOpen] = {}
        self._per_host: dict[str, int] = {}
        self._recent: deque[float] = deque()  # when first packets made us compute, in the last second

    def __len__(self) -> int:
        return len(self._by_index)

    def __contains__(self, index: int) -> bool:
        return index in self._by_index

    def handle_first(
        self, packet: bytes, address: Address, now: float, *, full: bool, new_index: Callable[[], int]
    ) -> bytes | None:
        """The answer to a first packet, or None: silence. `full`: there is no room for another session."""
        if len(packet) < FIRST_BYTES or not self._gate.mac1_is_right(packet):
            return None
        known = self._by_ephemeral.get(ephemeral_of(packet))
        if known is not None:
            if known.address != address or known.seconds >= MAX_SECONDS:
                return None
            known.seconds += 1
            return known.responder.second
        self._expire(now)
        crowded = self._per_host.get(address[0], 0) >= self._settings.max_half_open_per_host
        if (crowded or self._is_loaded(now)) and not self._gate.mac2_is_right(packet, address, now):
            return self._gate.cookie_reply(packet, address, now)
        if full:
            return None
        self._recent.append(now)
        index = new_index()
        try:
            responder = Responder.admit_untrusted(
                packet, exchange_key=self._exchange_key, network=self._network, find_psk=self._find_psk, index=index,
                random=self._random, parameters=self._parameters,
            )  # fmt: skip
        except PeerMisbehaved:
            return None
        if crowded:
            self._forget(next(each for each in self._by_index.values() if each.address[0] == address[0]))
        while len(self._by_index) >= self._settings.max_half_open:
            self._forget(next(iter(self._by_index.values())))
        half_open = HalfOpen(index, responder, address, now, 1)
        self._by_index[index] = half_open
        self._by_ephemeral[responder.ephemeral] = half_open
        self._per_host[address[0]] = self._per_host.get(address[0], 0) + 1
        return responder.second

    def find(self, index: int) -> HalfOpen | None:
        return self._by_index.get(index)

    def finish(self, half_open: HalfOpen) -> None:
        """It has become a session."""
        self._forget(half_open)

    def _is_loaded(self, now: float) -> bool:
        while self._recent and self._recent[0] < now - 1.0:
            self._recent.popleft()
        return len(self._recent) >= self._settings.loaded_per_s or len(self) >= self._settings.loaded_half_open

    def _expire(self, now: float) -> None:
        while self._by_index:
            oldest = next(iter(self._by_index.values()))
            if now - oldest.since < self._settings.handshake_timeout_s:
                break
            self._forget(oldest)

    def _forget(self, half_open: HalfOpen) -> None:
        del self._by_index[half_open.index]
        del self._by_ephemeral[half_open.responder.ephemeral]
        host = half_open.address[0]
        self._per_host[host] -= 1
        if not self._per_host[host]:
            del self._per_host[host]
