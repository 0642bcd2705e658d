"""Which way the packets of one connection go, how large they are there, and what the router is told of it.

    direct    the peer's address                          router: route(connection) ..> routed
    routed    a routed address, and a copy now and then   router: unroute(connection) ..> direct
              to the direct one (`transport.directness`)

    tells     Doubted, Trusted, CameAside, DirectAgain    what to do about them is for `routing.router` to say

When the way changes, what is under way is sent once more, the round trip is what the router measured, and packets get
the size of that way. A session that was begun by gateways has no direct address until the router names one that may
be tried, or the peer's packets come directly from one that proves itself (`transport.paths`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from transport.congestion import Congestion
from transport.directness import Directness
from transport.events import Address, CameAside, DirectAgain, Doubted, Event, Trusted, is_routed
from transport.filling import Filler
from transport.flights import Flights
from transport.loss import MAX_ACK_DELAY_S
from transport.mtu import BASE_PACKET_BYTES, DETOUR_BYTES, PacketSize, packet_bytes
from transport.settings import Settings

if TYPE_CHECKING:
    from transport.paths import Paths
    from transport.receipts import Receipts
    from transport.sealing import Opener, Sealer


LEAST_LOOK_S = 0.1
OWN_LAG_S = 0.02  # a deadline judged that late shows that we were slow: what the peer said may still wait to be read


def first_size(address: Address, settings: Settings) -> int:
    """How long packets to this address may be, before anything is known of the path."""
    if is_routed(address):
        return BASE_PACKET_BYTES
    return packet_bytes(address[0], anywhere=settings.packet_bytes, loopback=settings.loopback_packet_bytes)


class Ways:
    """The direction from us to the peer of one connection."""

    def __init__(
        self, *, number: int, address: Address, settings: Settings, tell: Callable[[Event], None], sealer: Sealer,
        opener: Opener, flights: Flights, receipts: Receipts, congestion: Congestion, filler: Filler, now: float,
    ) -> None:  # fmt: skip
        routed = is_routed(address)
        self.detour: Address | None = address if routed else None  # where packets go while `routed`
        self.direct: Address | None = None if routed else address  # where the peer may be heard directly
        self._trying = routed  # that it is heard there is not known yet, so another one may be tried
        self.directness = Directness(direct=not routed, ack_delay_s=MAX_ACK_DELAY_S, now=now)
        self._number = number
        self._settings = settings
        self._tell = tell
        self._sealer = sealer
        self._opener = opener
        self._flights = flights
        self._receipts = receipts
        self._congestion = congestion
        self._filler = filler
        self._size = PacketSize(first_size(address, settings))

    @property
    def routed(self) -> bool:
        """Whether packets go by gateways."""
        return self.directness.routed

    # -- what the router wants

    def take_route(self, detour: Address, round_trip_s: float, now: float) -> None:
        """Everything goes by gateways to this routed address from now on, what is under way once more."""
        self.detour = detour
        self.directness.take_route(self._sealer.next_number, now)
        self._resize_for_way()
        self._flights.round_trip.restart(round_trip_s)
        self._flights.start_over()
        self._filler.ping_due = True

    def take_direct(self, paths: Paths, now: float) -> bool:
        """Everything goes directly from now on. Says whether anything changed."""
        if self.direct is None or not self.routed:
            return False
        if is_routed(paths.address):  # begun by gateways; the peer hears us there, though we do not hear it from there
            paths.address = self.direct
        self._trying = False
        self.directness.take_direct(now)
        self._resize_for_way()
        self._filler.ping_due = True
        return True

    def try_directly(self, address: Address) -> None:
        """Copies may go to this address, until one is known at which the peer is heard."""
        if self._trying:
            self.direct = address

    def handle_moved(self, address: Address) -> None:
        """The peer has proven that it is at this address."""
        self.direct = address
        self._trying = False
        self._resize_for_way()

    def copies(self, now: float) -> tuple[bool, bool]:
        """Of a batch that goes by gateways: (all go directly too, the last one does)."""
        return self.directness.copies(self._flights.round_trip.smoothed, now)

    # -- what happens

    def handle_came(self, address: Address, highest: int, now: float) -> bool:
        """Packets up to `highest` came from this address. Whether that was directly."""
        if not is_routed(address):
            self._receipts.note_direct(highest, now)
            return True
        if self.directness.answers_aside(self._flights.round_trip.smoothed, now):
            self._tell(CameAside(self._number))
        return False

    def hear_twin_untrusted(self, packet: memoryview, address: Address, now: float) -> None:
        """A packet that brings nothing: its copy came before it, the other way. That this way works is news."""
        if not is_routed(address) and not self.directness.expects_twins(now):
            return
        number = self._opener.check_untrusted(packet)
        if number is not None:
            self.handle_came(address, number, now)

    def handle_told(self, age_us: int | None, number: int, now: float) -> None:
        """The peer's word on how long ago it heard us directly, and which packet that was."""
        age_s = None if age_us is None else age_us / 1e6
        ask, works = self.directness.handle_told(age_s, number, self._sealer.next_number, now)
        if ask:
            self._filler.ping_due = True
        if works:
            self._tell(DirectAgain(self._number))

    def handle_news(self, highest: int, now: float) -> None:
        """Something of ours was acknowledged, up to the packet of this number."""
        self.directness.handle_acknowledged(highest)
        if self.directness.handle_news(now):
            self._tell(Trusted(self._number))

    # -- time

    def keep_alive_s(self, now: float) -> float:
        """How long without a word before we ask: while packets go by gateways, an eighth of the time they do, so that a
        link that heals is noticed soon by those who have nothing to say, and later without much ado."""
        usual = self._settings.keep_alive_s
        if not self.routed:
            return usual
        return min(usual, max(LEAST_LOOK_S, self.directness.routed_for(now) / 8))

    def doubt_at(self) -> float:
        """When silence becomes a doubt."""
        trip = self._flights.round_trip
        return self.directness.doubt_at(self._flights.oldest_sent_at(), trip.smoothed, trip.variance)

    def judge(self, lag_s: float, now: float) -> None:
        """A deadline came, so much later than it should: whether silence has become a doubt (DESIGN X7)."""
        self.directness.note_lag(lag_s)
        if lag_s > OWN_LAG_S:
            self.directness.forgive(now)
        if self.doubt_at() > now:
            return
        self.directness.doubt(now)
        heard_at = -math.inf if self._receipts.came_at is None else self._receipts.came_at
        self._tell(Doubted(self._number, self._flights.oldest_sent_at(), self.directness.doubts, heard_at))

    # -- sizes

    def handle_arrived(self, size: int, now: float) -> None:
        """A packet of this size was acknowledged."""
        if self._size.handle_arrived(size, now) or self._size.handle_vanished(self._flights.wide_lost, now):
            self._resize()

    def handle_silence(self, tries: int, now: float) -> None:
        """So many probes in a row were not answered."""
        if self._size.handle_silence(tries, now):
            self._resize()

    def _resize_for_way(self) -> None:
        if self.direct is None:
            wide = BASE_PACKET_BYTES
        else:
            wide = first_size(self.direct, self._settings) - (DETOUR_BYTES if self.routed else 0)
        self._size.resize(wide)
        self._resize()

    def _resize(self) -> None:
        self._flights.wide_lost = 0
        self._filler.resize(self._size.now_bytes)
        self._congestion.handle_packet_bytes(self._size.now_bytes)
