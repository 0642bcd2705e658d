"""How a connection does, for people and for routing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from transport.ports import Address

if TYPE_CHECKING:
    from transport.congestion import Congestion
    from transport.directness import Directness
    from transport.flights import Flights
    from transport.fragments import Outgoing
    from transport.receipts import Receipts


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """How a connection does; times in seconds, `..._at` on the monotonic clock."""

    address: Address
    peer_key: bytes
    established: bool
    since: float
    srtt_s: float
    variance_s: float
    minimum_rtt_s: float
    sent_bytes: int
    received_bytes: int
    sent_packets: int
    received_packets: int
    lost_packets: int
    spurious_packets: int  # counted as lost and acknowledged after all
    resent_bytes: int
    queued_bytes: int
    in_flight_bytes: int
    window_bytes: int
    delivery_rate: float  # bytes/s
    heard_at: float | None  # when the newest packet came, whichever way
    heard_directly_at: float | None  # when the newest packet came directly
    routed: bool  # whether packets to the peer go by gateways
    heard_us_at: float | None  # when, by its own word, the peer heard us directly (DESIGN G1)


def figures_of(
    flights: Flights, congestion: Congestion, outgoing: Outgoing, receipts: Receipts, directness: Directness
) -> dict[str, object]:
    """What the parts of one connection know of how it does: fields of `Statistics`."""
    trip = flights.round_trip
    return {
        "srtt_s": trip.smoothed,
        "variance_s": trip.variance,
        "minimum_rtt_s": trip.minimum,
        "lost_packets": flights.packets_lost,
        "spurious_packets": flights.packets_spurious,
        "resent_bytes": outgoing.repeated_bytes,
        "queued_bytes": outgoing.queued_bytes,
        "in_flight_bytes": flights.in_flight,
        "window_bytes": congestion.window,
        "delivery_rate": congestion.rate,
        "heard_directly_at": receipts.direct_at,
        "routed": directness.routed,
        "heard_us_at": directness.heard_us_at,
    }
