"""How a connection does, for people and for routing."""

from __future__ import annotations

import msgspec

from transport.ports import Address


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
    heard_at: float | None  # when the newest packet came directly
    heard_us_at: float | None  # when, by its own word, the peer heard us directly (DESIGN G1)
