"""Which packets came: the next ACK, and for what did not come the next NAK (DESIGN X2, X4).

    received    0-40 . . 43-90          (the opener's set: read here, never written)
    gap         41-42, noticed at t     told from t + reordering delay on, in three ACKs, then left to the sender

    ACK         at once after ACK_PACKETS packets; an eighth of a round trip after two; 10 ms after one;
                with whatever leaves before

A gap that closes by itself shows how late packets are on this path, and the next gaps wait that long. Two numbers are
told with each ACK: how long it waited (for the round trip), and how long ago the newest packet came directly from the
peer, so that the peer knows that its direction works (DESIGN G1).
"""

from __future__ import annotations

import math

import msgspec

from transport.loss import MAX_ACK_DELAY_S, RoundTrip, ack_delay, reordering_delay
from transport.packet import MAX_RANGES, ack_bytes, nak_bytes, write_ack, write_nak
from transport.ranges import Ranges

ACK_PACKETS = 64  # a GRO buffer and a half of 1400-byte packets
TELLINGS = 3  # of a gap: an ACK may be lost, three in a row seldom are
MAX_GAPS = 256  # that are watched; the sender finds the others by overtaking
LATENESS_DECAY = 15 / 16


class _Gap(msgspec.Struct, gc=False):
    first: int
    last: int
    noticed_at: float
    told: int = 0


class Receipts:
    """What one connection has to acknowledge."""

    def __init__(self, received: Ranges, round_trip: RoundTrip) -> None:
        self.waiting = 0  # packets that ask for an ACK and have had none
        self.ack_at = math.inf  # when they must have it
        self.nak_at = math.inf  # when a gap becomes old enough to be told
        self.came_at: float | None = None  # when the newest packet came, whichever way
        self.direct_at: float | None = None  # when the newest of those came that came directly
        self.direct_number = 0  # and the highest number among these
        self._received = received
        self._round_trip = round_trip
        self._top = -1  # the highest number looked at
        self._gaps: list[_Gap] = []
        self._lateness_s = 0.0

    def note(self, asking: int, now: float) -> None:
        """Packets came, `asking` of them for an ACK; their numbers are in the set already."""
        self.came_at = now
        if asking:
            self.waiting += asking
            if self.waiting >= ACK_PACKETS:
                self.ack_at = now
            elif self.waiting > 1:
                self.ack_at = min(self.ack_at, now + ack_delay(self._round_trip.smoothed))
            else:
                self.ack_at = min(self.ack_at, now + MAX_ACK_DELAY_S)
        received = self._received
        if self._gaps:
            self._watch(now)
        top = received.highest
        if top is not None and top > self._top:
            if not received.covers(self._top + 1, top):
                self._notice(self._top + 1, top, now)
            self._top = top

    def note_direct(self, number: int, now: float) -> None:
        """Packets up to `number` came, and came directly: the ACKs tell how long ago (DESIGN G1)."""
        self.direct_at = now
        if number > self.direct_number:
            self.direct_number = number

    def due(self, now: float) -> bool:
        """Whether an ACK must leave now."""
        return self.ack_at <= now or self.nak_at <= now

    def write(self, out: memoryview, at: int, now: float) -> int:
        """Write ACK and NAK at `at`, as much as there is room for; the offset after them."""
        room = len(out) - at
        count = min(MAX_RANGES, (room - ack_bytes(0)) // 8)
        ranges = self._received.newest(count)
        if not ranges:
            return at
        came_at, direct_at = self.came_at, self.direct_at
        at = write_ack(
            out,
            at,
            ranges=ranges,
            delay_us=0 if came_at is None else int((now - came_at) * 1e6),
            direct_age_us=None if direct_at is None else int((now - direct_at) * 1e6),
            direct_number=self.direct_number,
        )
        self.waiting = 0
        self.ack_at = math.inf
        if self._gaps:
            at = self._write_nak(out, at, now)
        return at

    def _write_nak(self, out: memoryview, at: int, now: float) -> int:
        delay = reordering_delay(self._lateness_s, self._round_trip.smoothed)
        count = min(MAX_RANGES, (len(out) - at - nak_bytes(0)) // 8)
        missing: list[tuple[int, int]] = []
        self.nak_at = math.inf
        for gap in self._gaps:
            if gap.noticed_at + delay > now:
                if not gap.told:
                    self.nak_at = min(self.nak_at, gap.noticed_at + delay)
                continue
            still = self._received.missing(gap.first, gap.last)
            if len(missing) + len(still) > count:
                self.nak_at = now  # the rest in the next packet
                break
            missing += still
            gap.told += 1
        self._gaps = [gap for gap in self._gaps if gap.told < TELLINGS]
        return write_nak(out, at, ranges=missing) if missing else at

    def _notice(self, first: int, last: int, now: float) -> None:
        for low, high in self._received.missing(first, last):
            self._gaps.append(_Gap(low, high, now))
        del self._gaps[:-MAX_GAPS]
        self.nak_at = min(self.nak_at, now + reordering_delay(self._lateness_s, self._round_trip.smoothed))

    def _watch(self, now: float) -> None:
        """See which gaps have closed meanwhile, and how late those packets were."""
        open_gaps = []
        for gap in self._gaps:
            still = self._received.missing(gap.first, gap.last)
            if still == [(gap.first, gap.last)]:
                open_gaps.append(gap)
                continue
            self._lateness_s = max(self._lateness_s * LATENESS_DECAY, now - gap.noticed_at)
            open_gaps += [_Gap(low, high, gap.noticed_at, gap.told) for low, high in still]
        if len(open_gaps) != len(self._gaps) and not open_gaps:
            self.nak_at = math.inf
        self._gaps = open_gaps
