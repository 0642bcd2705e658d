"""What is on the way is settled once: by ACK, by NAK, by overtaking; against a plain model."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from identity.errors import PeerMisbehaved
from transport.congestion import Congestion
from transport.flights import MAX_REMEMBERED, Flight, Flights
from transport.fragments import Outgoing, Sending
from transport.ranges import Ranges

STRIDE = 100


class Sender:
    """Sends one long message in flights of a few packets, and knows for each packet which bytes it carried."""

    def __init__(self, total: int = 1_000_000) -> None:
        self.outgoing = Outgoing(queue_bytes=1 << 30)
        self.outgoing.widen(max_bytes=1 << 30, max_messages=1000)
        self.flights = Flights(self.outgoing, Congestion(1400, 0.0), 0.0)
        self.outgoing.push(bytes(total), 3)
        following = self.outgoing.peek()
        assert following is not None
        self.message: Sending = following[0]
        self.carried: dict[int, tuple[int, int]] = {}

    def send(self, count: int, now: float) -> None:
        offset = self.message.next
        end = min(offset + count * STRIDE, self.message.total)
        first = self.flights.next_number
        self.outgoing.take(self.message, end, again=False)
        self.flights.depart(Flight(first, count, 1400, now, 0, 0.0, 0.0, False, self.message, offset, STRIDE, end))
        for each in range(count):
            self.carried[first + each] = (offset + each * STRIDE, min(offset + (each + 1) * STRIDE, end))

    def send_mixed(self, now: float) -> None:
        offset = self.message.next
        number = self.flights.next_number
        self.outgoing.take(self.message, offset + 7, again=False)
        part = (self.message, offset, offset + 7)
        self.flights.depart(Flight(number, 1, 60, now, 0, 0.0, 0.0, False, parts=(part,), window=True))
        self.carried[number] = (offset, offset + 7)

    def repeats(self) -> list[tuple[int, int]]:
        return [(offset, end) for queue in self.outgoing._repeats for _, offset, end in queue]


def test_a_flight_arrives() -> None:
    sender = Sender()
    sender.send(46, 1.0)
    assert sender.flights.in_flight == 46 * 1400
    assert sender.flights.handle_ack_untrusted([(0, 45)], 0.0, 1.1)
    assert sender.flights.idle
    assert sender.flights.in_flight == 0
    assert sender.flights.delivered == 46 * 1400
    assert sender.flights.round_trip.smoothed == pytest.approx(0.1)
    assert not sender.flights.handle_ack_untrusted([(0, 45)], 0.0, 1.2)  # no news


def test_what_is_told_missing_is_repeated_and_nothing_else() -> None:
    sender = Sender()
    sender.send(46, 1.0)
    sender.send_mixed(1.0)
    sender.send(46, 1.0)
    sender.flights.handle_nak_untrusted([(3, 4), (45, 46)], 1.1)
    assert sender.repeats() == [(300, 500), (4500, 4600), (4600, 4607)]
    assert sender.flights.window_lost
    assert sender.flights.packets_lost == 4
    sender.flights.handle_nak_untrusted([(3, 4), (45, 46)], 1.1)  # said three times, heard once
    assert sender.flights.packets_lost == 4


def test_overtaken_by_three_is_lost_and_by_two_for_too_long() -> None:
    sender = Sender()
    sender.send(10, 1.0)
    sender.flights.handle_ack_untrusted([(6, 6)], 0.0, 1.1)
    assert sender.repeats() == [(0, 400)]  # 0 to 3; 4 and 5 may only be late
    assert sender.flights.loss_at == pytest.approx(1.0 + 0.1 * 9 / 8)
    sender.flights.detect(1.11)
    assert len(sender.repeats()) == 1
    sender.flights.detect(1.2)
    assert sender.repeats()[1:] == [(400, 600)]
    assert sender.flights.loss_at == math.inf
    assert sender.flights.packets_lost == 6


def test_what_came_late_is_not_repeated_and_the_path_is_learned() -> None:
    sender = Sender()
    sender.send(30, 1.0)
    sender.flights.handle_ack_untrusted([(20, 29)], 0.0, 1.1)
    assert sender.flights.packets_lost == 20
    sender.flights.handle_ack_untrusted([(0, 29)], 0.0, 1.11)
    assert sender.flights.packets_spurious == 20
    assert sender.outgoing.peek() == (sender.message, 3000, 1_000_000, False)  # nothing to repeat
    assert sender.flights.overtaking.packets == 30


@pytest.mark.parametrize("ranges", [[(0, 46)], [(46, 46)], [(10**9, 10**12), (0, 3)]])
def test_an_ack_of_what_was_never_sent_is_a_lie(ranges: list[tuple[int, int]]) -> None:
    sender = Sender()
    sender.send(46, 1.0)
    with pytest.raises(PeerMisbehaved):
        sender.flights.handle_ack_untrusted(ranges, 0.0, 1.1)
    with pytest.raises(PeerMisbehaved):
        sender.flights.handle_nak_untrusted([(0, 0), (46, 46)], 1.1)


def test_a_number_left_out_is_never_acknowledged_by_the_honest() -> None:
    sender = Sender()
    sender.send(5, 1.0)
    sender.flights.pass_over(5, skipped=True)
    sender.send(5, 1.0)
    sender.flights.handle_nak_untrusted([(5, 5)], 1.05)
    sender.flights.handle_ack_untrusted([(6, 10), (0, 4)], 0.0, 1.1)
    assert sender.flights.idle
    with pytest.raises(PeerMisbehaved):
        sender.flights.handle_ack_untrusted([(0, 10)], 0.0, 1.2)


def test_asking_for_everything_again_ends_it() -> None:
    sender = Sender(total=16_000_000)

    def ask_for_all() -> None:
        for _ in range(2000):
            first = sender.flights.next_number
            sender.send(46, 1.0)
            sender.flights.handle_nak_untrusted([(first, first + 45)], 1.1)

    with pytest.raises(PeerMisbehaved, match="storm"):
        ask_for_all()
    assert len(sender.flights._given_up) <= MAX_REMEMBERED


def test_probes_repeat_the_oldest() -> None:
    sender = Sender()
    sender.send(10, 1.0)
    sender.send_mixed(1.0)
    sender.flights.handle_ack_untrusted([(0, 2)], 0.0, 1.1)
    assert [each[1:] for each in sender.flights.oldest(2)] == [(300, 400), (400, 500)]
    assert len(sender.flights.oldest(100)) == 8


@settings(deadline=None, max_examples=150)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 80))
def test_against_a_plain_model(seed: int, steps: int) -> None:
    """Random flights, losses, late and forgotten ACKs: bytes count as arrived exactly when a packet with them did."""
    chance = random.Random(seed)
    sender = Sender(total=10_000_000)
    flights = sender.flights
    received = Ranges()
    settled: set[int] = set()
    arrived = Ranges()
    now = 1.0
    for _ in range(steps):
        now += chance.random() * 0.05
        action = chance.randrange(5)
        if action <= 1:
            for _ in range(chance.randrange(1, 3)):
                if chance.random() < 0.3:
                    sender.send_mixed(now)
                elif chance.random() < 0.2:
                    flights.pass_over(flights.next_number)
                else:
                    sender.send(chance.randrange(1, 8), now)
            for number in range(flights.next_number):
                if number not in received and chance.random() < 0.4:
                    received.add(number)
        elif action <= 3 and received:
            newest = received.newest(chance.randrange(1, 9))
            flights.handle_ack_untrusted(newest, 0.0, now)
            for first, last in newest:
                for number in range(first, last + 1):
                    if number in sender.carried:
                        settled.add(number)
        elif received and received.highest is not None:
            missing = received.missing_below(received.highest)[:5]
            if missing:
                flights.handle_nak_untrusted(missing, now)
        in_flight = [number for number in sender.carried if number not in flights.settled]
        assert flights.in_flight == sum(
            60 if end - offset == 7 else 1400 for offset, end in map(sender.carried.get, in_flight)
        )  # type: ignore[misc]
        assert flights.idle == (not in_flight)
        assert flights.floor == flights.settled.next_missing(0)
    for number in settled:
        offset, end = sender.carried[number]
        if number not in flights._given_up:
            arrived.add(offset, end - 1)
    told = sender.message._arrived or Ranges()
    for offset, last in arrived.difference(told):
        raise AssertionError(f"{offset}-{last} arrived and is not known")
    possible = Ranges((offset, end - 1) for offset, end in map(sender.carried.__getitem__, settled))
    assert not told.difference(possible).as_list()
