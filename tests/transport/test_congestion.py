"""The window follows the rate that arrives; loss alone does not lower it."""

from __future__ import annotations

import math
import random

import pytest

from transport.congestion import CYCLE, DRAIN, MINIMUM_PACKETS, STARTUP, STEADY, Congestion

PACKET = 1400


class Path:
    """A bottleneck that a `Congestion` sends into: so many bytes/s, so long, so much queue, so much loss."""

    def __init__(self, *, rate: float, round_trip: float, queue: float = math.inf, loss: float = 0.0) -> None:
        self.rate, self.round_trip, self.queue, self.loss = rate, round_trip, queue, loss
        self.now = 0.0
        self.congestion = Congestion(PACKET, 0.0)
        self.congestion.handle_round_trip(round_trip, 0.0)
        self.in_flight = self.delivered = self.sent = self.arrived = self.lost = 0
        self.delivered_at = self.first_sent_at = 0.0
        self.random = random.Random(5)
        self.on_way: list[tuple[float, bool, float, int, float, float]] = []
        self.free_at = 0.0
        self.largest_queue = 0.0

    def run(self, seconds: float) -> float:
        """Let it send for so long; bytes/s that arrived."""
        end, before = self.now + seconds, self.delivered
        while self.now < end:
            while self.congestion.room(self.in_flight, self.now) > 0:
                self._send()
            due = [self.on_way[0][0]] if self.on_way else []
            if self.in_flight < self.congestion.window:
                due.append(self.congestion.next_at(self.now))
            self.now = max(min(due), self.now + 1e-5)
            while self.on_way and self.on_way[0][0] <= self.now:
                self._settle(*self.on_way.pop(0)[1:])
        return (self.delivered - before) / seconds

    def _send(self) -> None:
        if not self.in_flight:
            self.delivered_at = self.first_sent_at = self.now
        self.sent += 1
        self.in_flight += PACKET
        waiting = max(self.free_at - self.now, 0.0) * self.rate
        lost = waiting > self.queue or self.random.random() < self.loss
        if waiting <= self.queue:
            self.free_at = max(self.free_at, self.now) + PACKET / self.rate
            self.largest_queue = max(self.largest_queue, waiting)
        self.on_way.append(
            (self.free_at + self.round_trip, lost, self.now, self.delivered, self.delivered_at, self.first_sent_at)
        )
        self.congestion.handle_sent(PACKET, self.now)

    def _settle(self, lost: bool, sent_at: float, delivered: int, delivered_at: float, first_sent_at: float) -> None:
        self.in_flight -= PACKET
        if lost:
            self.congestion.handle_lost(1)
            self.lost += 1
            return
        self.delivered += PACKET
        self.arrived += 1
        self.delivered_at, self.first_sent_at = self.now, sent_at
        interval = max(sent_at - first_sent_at, self.now - delivered_at)
        self.congestion.handle_round_trip(self.now - sent_at, self.now)
        self.congestion.handle_acked(
            packets=1, sample=(self.delivered - delivered) / interval, limited=False, delivered=self.delivered,
            sent_at_delivered=delivered, in_flight=self.in_flight, now=self.now,
        )  # fmt: skip


def test_it_finds_the_rate_and_leaves_little_queue() -> None:
    path = Path(rate=2e6, round_trip=0.04, queue=500e3)
    assert path.congestion.state is STARTUP
    path.run(2.0)
    assert path.congestion.state is STEADY
    path.largest_queue = 0.0
    assert path.run(5.0) > 0.93 * 2e6
    assert path.largest_queue < 150e3  # a round trip and a half at most; 80 kB are on the way
    assert path.congestion.rate == pytest.approx(2e6, rel=0.1)


@pytest.mark.parametrize(("loss", "share"), [(0.01, 0.93), (0.05, 0.88), (0.10, 0.83), (0.30, 0.45)])
def test_random_loss_costs_what_is_lost_and_little_more(loss: float, share: float) -> None:
    path = Path(rate=2e6, round_trip=0.04, queue=500e3, loss=loss)
    path.run(3.0)
    assert path.run(6.0) > share * 2e6


def test_heavy_loss_without_a_queue_lowers_no_ceiling() -> None:
    path = Path(rate=1e7, round_trip=0.04, queue=5e6, loss=0.3)
    path.run(4.0)
    assert path.run(4.0) > 0.4 * 1e7


def test_a_short_queue_that_overflows_is_not_filled_for_ever() -> None:
    path = Path(rate=2e6, round_trip=0.04, queue=20e3)
    path.run(3.0)
    path.sent = path.lost = 0
    assert path.run(6.0) > 0.85 * 2e6
    assert path.lost < 0.08 * path.sent


def test_a_path_that_narrows_is_followed() -> None:
    path = Path(rate=4e6, round_trip=0.02, queue=300e3)
    path.run(2.0)
    path.rate = 1e6
    path.run(4.0)
    assert path.congestion.rate < 1.5e6
    assert path.run(2.0) > 0.9e6


def test_a_path_that_widens_is_followed() -> None:
    path = Path(rate=1e6, round_trip=0.02, queue=300e3)
    path.run(2.0)
    path.rate = 4e6
    path.run(3.0)
    assert path.run(2.0) > 3.6e6


def test_silence_leaves_the_least_window_and_an_ack_restores_it() -> None:
    path = Path(rate=2e6, round_trip=0.04)
    path.run(1.0)
    before = path.congestion.window
    path.congestion.handle_silence()
    assert path.congestion.window == MINIMUM_PACKETS * PACKET
    path.congestion.handle_acked(
        packets=1, sample=None, limited=True, delivered=path.delivered, sent_at_delivered=0, in_flight=0, now=path.now
    )
    assert path.congestion.window == pytest.approx(before, rel=0.7)


def test_what_we_had_not_to_send_says_nothing_of_the_path() -> None:
    congestion = Congestion(PACKET, 0.0)
    congestion.handle_round_trip(0.04, 0.0)
    congestion.handle_acked(
        packets=30, sample=1e6, limited=False, delivered=42_000, sent_at_delivered=0, in_flight=0, now=0.04
    )
    for turn in range(1, 40):
        congestion.handle_acked(
            packets=1, sample=1e3, limited=True, delivered=42_000 + turn, sent_at_delivered=42_000 + turn - 1,
            in_flight=0, now=0.04 * turn,
        )  # fmt: skip
    assert congestion.rate == 1e6
    assert congestion.state is STARTUP


def test_the_pace_spreads_a_window_over_its_round_trip() -> None:
    congestion = Congestion(PACKET, 0.0)
    congestion.handle_round_trip(0.1, 0.0)
    room = congestion.room(0, 0.0)
    congestion.handle_sent(room, 0.0)
    assert congestion.room(room, 0.0) <= 0
    due = congestion.next_at(0.0)
    assert 0.0 < due < 0.02
    assert congestion.room(room, due + 1e-9) <= 0 or congestion.window > room


def test_the_cycle_makes_up_for_what_it_probes() -> None:
    assert sum(CYCLE) == len(CYCLE)
    assert STARTUP != DRAIN
