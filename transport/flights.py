"""What is on the way: one record for a run of packets, settled when they arrived or were given up.

    numbers   0 ........ 45 | 46 | 47 ......... 92 |  93
    flight    bulk, 46 long | mixed | bulk, 46 long  | (an ACK: not in flight, settled at once)
              offset 0, stride 1351       offset 62 146

    settled   0-30 32-47 60-92          an ACK of 28-59 settles what `settled.missing(28, 59)` names: 31 and 48-59

A bulk flight's packets carry one message's bytes without a gap, so packet number and offset give each other and no
packet needs an object of its own (DESIGN X5). A mixed flight is one packet and lists the parts of messages in it.

Rules:

- Every number below `next_number` is settled or belongs to a flight. Numbers go out in ascending order.
- A number is settled once. What an ACK tells late, of a packet given up, stops its repetition if that has not left yet,
  and teaches how much this path reorders.
- An ACK or NAK of a number never sent is a lie and ends the connection (`PeerMisbehaved`); so does a NAK storm: what
  is acknowledged pays for what may be asked for again (ATTACKS 11).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

import msgspec

from identity.errors import PeerMisbehaved
from transport.congestion import Congestion
from transport.fragments import Outgoing, Sending
from transport.loss import Overtaking, RoundTrip, loss_delay
from transport.mtu import BASE_PACKET_BYTES
from transport.ranges import Ranges

MAX_REMEMBERED = 1024  # packets given up whose late ACK we would still understand
NAK_BUDGET = 65_536  # packets a peer may ask for at first; four more for each that it acknowledged
NAK_PER_ACKED = 4
MAX_SKIPPED = 4

Part = tuple[Sending, int, int]  # a message, and the bytes offset..end of it


class Flight(msgspec.Struct, gc=False):
    """Packets first..first + count - 1, sent by one call."""

    first: int
    count: int
    size: int  # bytes of each, as far as in_flight is concerned
    sent_at: float
    delivered: int  # bytes acknowledged in all, when it left
    delivered_at: float
    first_sent_at: float
    limited: bool  # we had no more to send
    message: Sending | None = None  # bulk: bytes offset + i * stride of it in packet first + i
    offset: int = 0
    stride: int = 0
    end: int = 0
    parts: Sequence[Part] = ()  # mixed
    window: bool = False  # mixed: a WINDOW frame was in it


class Flights:
    """The packets of one connection that are not settled."""

    def __init__(self, outgoing: Outgoing, congestion: Congestion, now: float) -> None:
        self.round_trip = RoundTrip()
        self.overtaking = Overtaking()
        self.settled = Ranges()
        self.floor = 0  # the lowest number not settled
        self.next_number = 0
        self.in_flight = 0  # bytes
        self.largest_acked = -1
        self.loss_at = math.inf  # when an overtaken packet counts as lost by time
        self.last_sent_at = now  # of anything that asks for an ACK
        self.window_lost = False  # a WINDOW frame went with a packet given up
        self.packets_lost = 0
        self.packets_spurious = 0  # given up, and acknowledged after all
        self.delivered = 0
        self.largest_arrived = 0  # bytes of a packet, of those that the newest ACK made known
        self.wide_lost = 0  # packets longer than every path carries, given up since a later one like them arrived
        self._wide_arrived = -1
        self._outgoing = outgoing
        self._congestion = congestion
        self._flights: list[Flight] = []
        self._firsts: list[int] = []  # Invariant: _firsts[i] == _flights[i].first, ascending.
        self._delivered_at = now
        self._first_sent_at = now
        self._limited_until = -1  # in bytes delivered: up to there we had not more to send
        self._given_up: dict[int, Flight] = {}
        self._lost = Ranges()  # the numbers in _given_up
        self._skipped: list[int] = []
        self._nak_budget = NAK_BUDGET

    # -- sending

    def depart(self, flight: Flight) -> None:
        """A flight has left; its `first` is `next_number`. Fills in what the rate will be reckoned from."""
        if not self.in_flight:  # idle until now: the rate is not to be reckoned over the pause
            self._delivered_at = self._first_sent_at = flight.sent_at
        flight.delivered = self.delivered
        flight.delivered_at = self._delivered_at
        flight.first_sent_at = self._first_sent_at
        flight.limited = self.delivered <= self._limited_until
        self._flights.append(flight)
        self._firsts.append(flight.first)
        self.next_number = flight.first + flight.count
        self.in_flight += flight.count * flight.size
        self.last_sent_at = flight.sent_at

    def pass_over(self, number: int, *, skipped: bool = False) -> None:
        """`number` asks for no ACK, or was never sent on purpose; who acknowledges that one is lying."""
        self.settled.add(number)
        self.next_number = number + 1
        if self.floor == number:
            self.floor = number + 1
        if skipped:
            self._skipped.append(number)
            del self._skipped[:-MAX_SKIPPED]

    def note_limited(self) -> None:
        """Everything we had has been sent: rates of what is on the way now say nothing about the path."""
        self._limited_until = self.delivered + self.in_flight

    def oldest_sent_at(self) -> float:
        """When the oldest left that is not settled; infinity when nothing is on the way."""
        return math.inf if self.idle else self._flights[0].sent_at

    def start_over(self) -> None:
        """What is on the way may never arrive: all of it is to be sent again, by another way; nothing is blamed."""
        if self.idle:
            return
        for low, high in self.settled.missing(self.floor, self.next_number - 1):
            self._give_up(low, high, blame=False)
        self.loss_at = math.inf
        self._prune()

    @property
    def idle(self) -> bool:
        return self.floor == self.next_number

    # -- what the peer tells

    def handle_ack_untrusted(self, ranges: Sequence[tuple[int, int]], ack_delay_s: float, now: float) -> bool:
        """These numbers arrived (highest range first). Says whether that was news. Raises `PeerMisbehaved`."""
        highest = ranges[0][1]
        if highest >= self.next_number:
            raise PeerMisbehaved(f"an ACK of packet {highest}, of {self.next_number} sent")
        for number in self._skipped:
            for first, last in ranges:
                if first <= number:
                    if number <= last:
                        raise PeerMisbehaved(f"an ACK of packet {number}, which was never sent")
                    break
        newest: Flight | None = None
        packets = self.largest_arrived = 0
        floor = self.floor
        for first, last in ranges:
            if last < floor:
                break
            for low, high in self.settled.missing(first if first > floor else floor, last):
                flight = self._settle_arrived(low, high)
                packets += high - low + 1
                if newest is None or flight.first > newest.first:
                    newest = flight
                if flight.size > self.largest_arrived:
                    self.largest_arrived = flight.size
        if self._given_up:
            self._hear_late(ranges)
        if newest is None:
            return False
        self._nak_budget = min(self._nak_budget + NAK_PER_ACKED * packets, NAK_BUDGET)
        if highest > self.largest_acked:
            self.largest_acked = highest
            if newest.first <= highest < newest.first + newest.count:
                self._measure(now - newest.sent_at, ack_delay_s, now)
        self._delivered_at = now
        self._first_sent_at = newest.sent_at
        if self.floor > highest:
            self.loss_at = math.inf
        else:
            self.detect(now)
        self._congestion.handle_acked(
            packets=packets,
            sample=self._rate_of(newest, now),
            limited=newest.limited,
            delivered=self.delivered,
            sent_at_delivered=newest.delivered,
            in_flight=self.in_flight,
            now=now,
        )
        return True

    def handle_nak_untrusted(self, ranges: Sequence[tuple[int, int]], now: float) -> None:
        """These numbers did not arrive (ascending). Raises `PeerMisbehaved`."""
        if ranges[-1][1] >= self.next_number:
            raise PeerMisbehaved(f"a NAK of packet {ranges[-1][1]}, of {self.next_number} sent")
        for first, last in ranges:
            if last < self.floor:
                continue
            for low, high in self.settled.missing(max(first, self.floor), last):
                self._nak_budget -= high - low + 1
                self._give_up(low, high)
        if self._nak_budget < 0:
            raise PeerMisbehaved("a storm of NAKs: more packets asked for again than acknowledged")
        self._prune()

    def detect(self, now: float) -> None:
        """Give up what was overtaken; note when the next will have been for too long."""
        self.loss_at = math.inf
        if self.floor > self.largest_acked:
            return
        delay = loss_delay(self.round_trip.smoothed, self.round_trip.latest, self.overtaking.threshold)
        overtaken = self.largest_acked - self.overtaking.packets
        for low, high in self.settled.missing(self.floor, self.largest_acked):
            if low <= overtaken:
                self._give_up(low, min(high, overtaken))
                low = overtaken + 1
            while low <= high:
                flight = self._flight_of(low)
                upto = min(high, flight.first + flight.count - 1)
                if flight.sent_at + delay > now:
                    self.loss_at = min(self.loss_at, flight.sent_at + delay)
                else:
                    self._give_up(low, upto)
                low = upto + 1
        self._prune()

    def oldest(self, most: int) -> list[Part]:
        """Up to `most` parts of messages that have been on the way longest: what a probe sends again."""
        parts: list[Part] = []
        for low, high in self.settled.missing(self.floor, self.next_number - 1):
            for number in range(low, min(high, low + most) + 1):
                parts += _parts_of(self._flight_of(number), number, number)
                if len(parts) >= most:
                    return parts[:most]
        return parts

    # -- settling

    def _settle_arrived(self, low: int, high: int) -> Flight:
        """low..high, none of them settled, arrived. The newest flight among them."""
        self.settled.add(low, high)
        if len(self._flights) == 1 and self._flights[0].count == 1:  # a request, its answer, a request ...
            return self._settle_only(self._flights[0])
        at = bisect_right(self._firsts, low) - 1
        outgoing = self._outgoing
        while True:
            flight = self._flights[at]
            first = max(low, flight.first)
            last = min(high, flight.first + flight.count - 1)
            size = (last - first + 1) * flight.size
            self.in_flight -= size
            self.delivered += size
            if flight.size > BASE_PACKET_BYTES and last > self._wide_arrived:
                self._wide_arrived = last
                self.wide_lost = 0
            message = flight.message
            if message is not None:
                offset = flight.offset + (first - flight.first) * flight.stride
                outgoing.arrived(
                    message, offset, min(flight.offset + (last + 1 - flight.first) * flight.stride, flight.end)
                )
            else:
                for part in flight.parts:
                    outgoing.arrived(*part)
            if last == high:
                break
            at += 1
        if low == self.floor:
            self.floor = self.settled.next_missing(low)
            if self.floor > flight.first + flight.count - 1:
                self._prune()
        return flight

    def _settle_only(self, flight: Flight) -> Flight:
        """The one packet that was on the way arrived."""
        self.in_flight -= flight.size
        self.delivered += flight.size
        if flight.size > BASE_PACKET_BYTES:
            self._wide_arrived = flight.first
            self.wide_lost = 0
        for part in _parts_of(flight, flight.first, flight.first):
            self._outgoing.arrived(*part)
        self.floor = self.next_number
        self._flights.clear()
        self._firsts.clear()
        return flight

    def _give_up(self, low: int, high: int, *, blame: bool = True) -> None:
        """low..high, none of them settled, are lost: their bytes wait to be sent again. `blame`: the path lost them."""
        self.settled.add(low, high)
        if blame:
            self.packets_lost += high - low + 1
            self._congestion.handle_lost(high - low + 1)
        while low <= high:
            flight = self._flight_of(low)
            last = min(high, flight.first + flight.count - 1)
            self.in_flight -= (last - low + 1) * flight.size
            if blame and flight.size > BASE_PACKET_BYTES and low > self._wide_arrived:
                self.wide_lost += last - low + 1
            self.window_lost |= flight.window
            for message, offset, end in _parts_of(flight, low, last):
                self._outgoing.repeat(message, offset, end)
            for number in range(low, last + 1):
                self._given_up[number] = flight
            self._lost.add(low, last)
            low = last + 1
        while len(self._given_up) > MAX_REMEMBERED:
            oldest = next(iter(self._given_up))
            del self._given_up[oldest]
            self._lost.subtract(oldest)

    def _hear_late(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Packets given up that arrived after all."""
        late = [each for first, last in ranges for each in self._lost.present(first, last)]
        for low, high in late:
            for number in range(low, high + 1):
                flight = self._given_up.pop(number)
                self.largest_arrived = max(self.largest_arrived, flight.size)
                for part in _parts_of(flight, number, number):
                    self._outgoing.arrived(*part)
                self.packets_spurious += 1
                self.overtaking.widen(max(self.largest_acked, ranges[0][1]) - number)
            self._lost.subtract(low, high)

    def _prune(self) -> None:
        """Forget the flights that are settled wholly, from the oldest on."""
        floor = self.floor = self.settled.next_missing(self.floor)
        done = 0
        for flight in self._flights:
            if flight.first + flight.count > floor:
                break
            done += 1
        if done:
            del self._flights[:done]
            del self._firsts[:done]

    def _flight_of(self, number: int) -> Flight:
        return self._flights[bisect_right(self._firsts, number) - 1]

    def _measure(self, sample_s: float, ack_delay_s: float, now: float) -> None:
        self.round_trip.update(sample_s, ack_delay_s=ack_delay_s)
        self._congestion.handle_round_trip(max(sample_s - ack_delay_s, self.round_trip.minimum), now)

    def _rate_of(self, flight: Flight, now: float) -> float | None:
        """The rate at which things arrived since what was the newest arrival when `flight` left."""
        interval = max(flight.sent_at - flight.first_sent_at, now - flight.delivered_at)
        if interval <= 0 or interval < self.round_trip.minimum:
            return None
        return (self.delivered - flight.delivered) / interval


def _parts_of(flight: Flight, first: int, last: int) -> list[Part]:
    """What the packets first..last of a flight carry."""
    if flight.message is None:
        return list(flight.parts)
    offset = flight.offset + (first - flight.first) * flight.stride
    return [(flight.message, offset, min(flight.offset + (last + 1 - flight.first) * flight.stride, flight.end))]
