"""Round-trip time and the arithmetic of loss, as tables."""

from __future__ import annotations

import pytest

from transport.loss import (
    INITIAL_S,
    MAX_ACK_DELAY_S,
    MAX_PACKET_THRESHOLD,
    MAX_PROBE_S,
    Overtaking,
    RoundTrip,
    ack_delay,
    loss_delay,
    probe_timeout,
    reordering_delay,
    smooth,
    without_delay,
)


def test_the_first_sample_is_believed_and_the_next_are_weighed() -> None:
    trip = RoundTrip()
    assert trip.smoothed == INITIAL_S
    trip.update(0.1)
    assert (trip.smoothed, trip.variance, trip.minimum) == (0.1, 0.05, 0.1)
    trip.update(0.2)
    assert trip.smoothed == pytest.approx(0.1125)  # 7/8 of 0.1 and 1/8 of 0.2
    assert trip.variance == pytest.approx(0.0625)  # 3/4 of 0.05 and 1/4 of 0.1
    assert trip.minimum == 0.1
    assert trip.latest == 0.2


@pytest.mark.parametrize(
    ("smoothed", "variance", "sample", "expected"),
    [
        (0.1, 0.0, 0.1, (0.1, 0.0)),
        (0.1, 0.02, 0.1, (0.1, 0.015)),
        (0.1, 0.02, 0.18, (0.11, 0.035)),
        (0.1, 0.02, 0.02, (0.09, 0.035)),
    ],
)
def test_smoothing(smoothed: float, variance: float, sample: float, expected: tuple[float, float]) -> None:
    assert smooth(smoothed, variance, sample) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("sample", "minimum", "delay", "expected"),
    [
        (0.110, 0.100, 0.010, 0.100),
        (0.105, 0.100, 0.010, 0.100),  # less than the shortest that is possible: the peer's word is believed so far
        (0.016, 0.006, 0.010, 0.006),  # loopback: the handshake was slow, the ACK waited for company
        (0.090, 0.100, 0.010, 0.090),  # itself the shortest
        (0.200, 0.100, 0.090, 0.200 - MAX_ACK_DELAY_S),  # it promised never to wait longer
        (0.100, 0.100, 0.000, 0.100),
    ],
)
def test_the_peers_delay_is_taken_off(sample: float, minimum: float, delay: float, expected: float) -> None:
    assert without_delay(sample, minimum, delay) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("smoothed", "variance", "tries", "expected"),
    [
        (0.100, 0.010, 0, 0.150),
        (0.100, 0.010, 1, 0.300),
        (0.100, 0.010, 3, 1.200),
        (0.100, 0.010, 9, MAX_PROBE_S),
        (0.0001, 0.0, 0, 0.0111),
        (3.0, 0.5, 0, 5.010),
        (3.0, 0.5, 5, 5.010),  # never earlier than an answer can come
    ],
)
def test_probe_timeout(smoothed: float, variance: float, tries: int, expected: float) -> None:
    assert probe_timeout(smoothed, variance, tries) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("smoothed", "latest", "threshold", "expected"),
    [(0.08, 0.08, 9 / 8, 0.09), (0.08, 0.16, 9 / 8, 0.18), (0.0001, 0.0001, 9 / 8, 0.001)],
)
def test_overtaken_for_too_long(smoothed: float, latest: float, threshold: float, expected: float) -> None:
    assert loss_delay(smoothed, latest, threshold) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("lateness", "smoothed", "expected"),
    [(0.0, 0.1, 0.001), (0.02, 0.1, 0.025), (9.0, 0.1, 0.1), (9.0, 0.001, MAX_ACK_DELAY_S)],
)
def test_a_gap_waits_as_long_as_packets_were_late(lateness: float, smoothed: float, expected: float) -> None:
    assert reordering_delay(lateness, smoothed) == pytest.approx(expected)


@pytest.mark.parametrize(("smoothed", "expected"), [(0.0001, 0.001), (0.08, 0.01), (5.0, MAX_ACK_DELAY_S)])
def test_eight_acks_in_a_round_trip(smoothed: float, expected: float) -> None:
    assert ack_delay(smoothed) == pytest.approx(expected)


def test_a_path_that_reorders_is_learned_within_bounds() -> None:
    overtaking = Overtaking()
    overtaking.widen(2)
    assert overtaking.packets == 3
    overtaking.widen(7)
    assert overtaking.packets == 8
    for _ in range(100):
        overtaking.widen(10**6)
    assert overtaking.packets == MAX_PACKET_THRESHOLD
    assert overtaking.threshold == 2.0
