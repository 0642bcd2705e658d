"""When an ACK leaves, and what is told as missing, how often."""

from __future__ import annotations

import math

import pytest

from transport.loss import MAX_ACK_DELAY_S, RoundTrip
from transport.packet import Ack, Nak, read_frames_untrusted
from transport.ranges import Ranges
from transport.receipts import ACK_PACKETS, MAX_GAPS, TELLINGS, Receipts


def made(*numbers: tuple[int, int], round_trip_s: float = 0.08) -> tuple[Receipts, Ranges]:
    trip = RoundTrip()
    trip.update(round_trip_s)
    received = Ranges(numbers)
    return Receipts(received, trip), received


def told(receipts: Receipts, now: float, room: int = 1300) -> tuple[Ack, list[tuple[int, int]]]:
    out = bytearray(room)
    end = receipts.write(memoryview(out), 0, now)
    ack, *rest = read_frames_untrusted(bytes(out[:end]))
    assert isinstance(ack, Ack)
    return ack, [each for nak in rest if isinstance(nak, Nak) for each in nak.ranges]


def test_one_packet_waits_for_company_several_wait_less_many_do_not_wait() -> None:
    receipts, received = made((0, 0), round_trip_s=0.04)
    receipts.note(1, 1.0)
    assert receipts.ack_at == pytest.approx(1.0 + MAX_ACK_DELAY_S)
    received.add(1)
    receipts.note(1, 1.001)
    assert receipts.ack_at == pytest.approx(1.001 + 0.005)  # an eighth of 40 ms
    assert not receipts.due(1.002)
    received.add(2, 80)
    receipts.note(ACK_PACKETS, 1.002)
    assert receipts.due(1.002)
    ack, missing = told(receipts, 1.0025)
    assert (ack.highest, ack.ranges, missing) == (80, [(0, 80)], [])
    assert ack.delay_us == pytest.approx(500, abs=1)
    assert receipts.ack_at == math.inf
    assert receipts.waiting == 0


def test_what_does_not_ask_gets_none() -> None:
    receipts, _ = made((0, 3))
    receipts.note(0, 1.0)
    assert receipts.ack_at == receipts.nak_at == math.inf


def test_a_gap_is_told_when_it_is_old_enough_and_three_times() -> None:
    receipts, received = made((0, 4), (7, 9), (11, 11))
    receipts.note(8, 1.0)
    assert told(receipts, 1.0)[1] == []  # they may only be late
    assert receipts.nak_at == pytest.approx(1.001)
    assert receipts.due(1.0011)
    for _ in range(TELLINGS):
        assert told(receipts, 1.002)[1] == [(5, 6), (10, 10)]
    assert told(receipts, 1.002)[1] == []
    assert receipts.nak_at == math.inf
    received.add(13)
    receipts.note(1, 1.1)
    assert told(receipts, 1.2)[1] == [(12, 12)]


def test_what_was_late_makes_the_next_gap_wait_longer() -> None:
    receipts, received = made((0, 4), (6, 6))
    receipts.note(6, 1.0)
    received.add(5)
    receipts.note(1, 1.02)
    assert receipts.nak_at == math.inf  # closed by itself
    received.add(8)
    receipts.note(1, 1.03)
    assert receipts.nak_at == pytest.approx(1.03 + 1.25 * 0.02)
    assert told(receipts, 1.04)[1] == []
    assert told(receipts, 1.06)[1] == [(7, 7)]


def test_a_gap_that_closes_in_part_is_told_in_part() -> None:
    receipts, received = made((0, 4), (9, 9))
    receipts.note(6, 1.0)
    received.add(6)
    receipts.note(1, 1.0005)
    assert told(receipts, 1.1)[1] == [(5, 5), (7, 8)]


def test_many_gaps_are_told_in_turns_and_never_more_than_are_watched() -> None:
    receipts, received = made(*((each, each) for each in range(0, 4000, 2)))
    receipts.note(2000, 1.0)
    assert len(receipts._gaps) == MAX_GAPS
    seen: set[tuple[int, int]] = set()
    for _ in range(3 * TELLINGS * MAX_GAPS):
        if not receipts.due(2.0) and not receipts._gaps:
            break
        ack, missing = told(receipts, 2.0)
        assert len(missing) <= 64
        assert len(ack.ranges) <= 64
        seen.update(missing)
    assert len(seen) == MAX_GAPS
    assert received.highest == 3998


def test_a_small_packet_has_room_for_some_of_it() -> None:
    receipts, _ = made(*((each, each) for each in range(0, 400, 2)))
    receipts.note(200, 1.0)
    ack, missing = told(receipts, 2.0, room=200)
    assert ack.highest == 398
    assert 1 <= len(ack.ranges) < 64
    assert len(missing) < 64


def test_how_long_ago_the_peer_was_heard_is_told() -> None:
    receipts, _ = made((0, 2))
    receipts.note(3, 4.0)
    ack, _ = told(receipts, 4.5)
    assert (ack.direct_age_us, ack.direct_number) == (None, 0)  # whatever came, came by gateways
    receipts.note_direct(2, 5.0)
    receipts.note(3, 5.125)
    ack, _ = told(receipts, 5.25)
    assert ack.delay_us == 125_000
    assert (ack.direct_age_us, ack.direct_number) == (250_000, 2)
