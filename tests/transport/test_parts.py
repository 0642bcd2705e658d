"""The small parts of a connection: sizes, parameters, paths, turns, farewells, settings."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.errors import LocalMistake, PeerMisbehaved
from transport.farewells import LINGER_S, MAX_FAREWELLS, MAX_LINGERING, Farewells
from transport.mtu import (
    BASE_PACKET_BYTES,
    MAX_PACKET_BYTES,
    NARROW_AFTER,
    RETRY_MOST_S,
    VANISHED,
    PacketSize,
    is_loopback,
    packet_bytes,
)
from transport.packet import PathChallenge, PathResponse
from transport.parameters import Parameters
from transport.paths import MAX_RESPONSES, RETRY_S, Paths
from transport.settings import LEAST_WINDOW_BYTES, Settings
from transport.turns import Turns

HERE, THERE, THIEF = ("10.0.0.1", 1), ("10.0.0.2", 2), ("10.6.6.6", 6)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False), ("127.evil.example", False), ("1.127.0.0", False), ("fe80::1", False), ("1.2", False),
    ],
)  # fmt: skip
def test_what_is_this_machine(host: str, expected: bool) -> None:
    assert is_loopback(host) == expected


def test_packets_are_as_long_as_the_address_allows() -> None:
    assert packet_bytes("10.0.0.1", anywhere=1400, loopback=16384) == 1400
    assert packet_bytes("127.0.0.1", anywhere=1400, loopback=16384) == 16384
    assert packet_bytes("10.0.0.1", anywhere=100, loopback=16384) == BASE_PACKET_BYTES
    assert packet_bytes("127.0.0.1", anywhere=1400, loopback=10**6) == MAX_PACKET_BYTES


def test_silence_makes_packets_small_and_arrival_large_again() -> None:
    size = PacketSize(16_384)
    assert not size.handle_silence(NARROW_AFTER - 1, 10.0)
    assert size.handle_silence(NARROW_AFTER, 10.0)
    assert size.now_bytes == BASE_PACKET_BYTES
    assert not size.handle_silence(NARROW_AFTER + 1, 11.0)
    assert not size.handle_arrived(BASE_PACKET_BYTES, 11.0)  # the small ones get through: it was the size
    assert size.handle_arrived(16_384, 12.0)  # a large one did, late: it was the peer that slept
    assert size.now_bytes == 16_384
    assert not size.handle_arrived(16_384, 12.0)


def test_large_packets_that_vanish_among_small_ones_make_packets_small() -> None:
    size = PacketSize(1400)
    assert not size.handle_vanished(VANISHED - 1, 10.0)
    assert size.handle_vanished(VANISHED, 10.0)
    assert size.now_bytes == BASE_PACKET_BYTES
    assert not size.handle_vanished(VANISHED, 11.0)
    assert not size.handle_arrived(100, 69.0)
    assert size.handle_arrived(100, 70.0)  # a minute later it is tried again


def test_a_path_that_swallows_large_packets_is_tried_more_and_more_seldom() -> None:
    size = PacketSize(1400)
    now, waits = 0.0, []
    for _ in range(9):
        assert size.handle_silence(NARROW_AFTER, now)
        began = now
        while not size.handle_arrived(100, now):
            now += 1.0
        waits.append(now - began)
    assert waits == [60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, RETRY_MOST_S, RETRY_MOST_S, RETRY_MOST_S]


@given(st.integers(LEAST_WINDOW_BYTES, 2**63), st.integers(512, 2**63), st.binary(max_size=20))
def test_parameters_are_read_as_written_and_later_ones_ignored(size: int, messages: int, more: bytes) -> None:
    parameters = Parameters(size, messages)
    assert Parameters.from_bytes_untrusted(parameters.to_bytes() + more) == parameters


@pytest.mark.parametrize(
    "data",
    [b"", bytes(15), bytes(16), Parameters(LEAST_WINDOW_BYTES - 1, 9999).to_bytes(), Parameters(2**40, 1).to_bytes()],
)
def test_parameters_that_would_stop_us_are_refused(data: bytes) -> None:
    with pytest.raises(PeerMisbehaved):
        Parameters.from_bytes_untrusted(data)


@pytest.mark.parametrize(
    "values",
    [{"window_bytes": 1 << 20}, {"window_messages": 10}, {"packet_bytes": 100}, {"loopback_packet_bytes": 70_000}],
)
def test_settings_that_cannot_work_are_our_mistake(values: dict[str, int]) -> None:
    with pytest.raises(LocalMistake):
        Settings(**values)


def test_an_address_is_believed_when_it_has_proven_itself() -> None:
    paths = Paths(HERE, random.Random(1))
    paths.newest = 5
    paths.handle_other_address(THERE, 6, 1.0)
    due = paths.due()
    assert due is not None
    frame, address = due
    assert isinstance(frame, PathChallenge)
    assert (address, paths.address) == (THERE, HERE)
    assert not paths.handle_response(frame.data, THIEF)
    assert not paths.handle_response(b"8 bytes!", THERE)
    assert paths.handle_response(frame.data, THERE)
    assert paths.address == THERE
    assert not paths.handle_response(frame.data, THERE)
    assert paths.due() is None


def test_what_was_overtaken_on_the_way_proves_nothing_and_nobody_is_asked_all_the_time() -> None:
    paths = Paths(HERE, random.Random(1))
    paths.newest = 5
    paths.handle_other_address(THERE, 5, 1.0)
    assert paths.due() is None
    for number in range(6, 50):
        paths.handle_other_address(THIEF, number, 1.0 + number / 1000)
    assert paths.due() is not None
    assert paths.due() is None
    paths.handle_other_address(THERE, 99, 1.1 + RETRY_S)
    assert paths.due() is not None


def test_challenges_are_answered_the_way_they_came_and_a_flood_is_not() -> None:
    paths = Paths(HERE, random.Random(1))
    for _ in range(100):
        paths.handle_challenge(b"12345678", THERE)
    answers = []
    while (due := paths.due()) is not None:
        answers.append(due)
    assert answers == [(PathResponse(b"12345678"), THERE)] * MAX_RESPONSES


def test_turns_come_when_they_are_due_and_once() -> None:
    turns = Turns()
    assert turns.earliest() == math.inf
    turns.arm(1, 5.0)
    turns.arm(2, 4.0)
    turns.arm(1, 9.0)
    turns.arm(1, 4.5)
    turns.arm(3, 4.1)
    turns.disarm(3)
    assert turns.earliest() == 4.0
    assert turns.take_due(3.9) == []
    assert turns.take_due(4.6) == [2, 1]
    assert turns.take_due(100.0) == []
    assert turns.earliest() == math.inf


def test_who_wants_to_be_looked_at_later_is_not_woken_for_nothing() -> None:
    turns = Turns()
    turns.arm(1, 5.0)
    turns.arm(1, 9.0)
    assert turns.earliest() == 9.0
    assert turns.take_due(5.0) == []
    turns.arm(1, 8.0)  # earlier than the later one: two entries now
    assert turns.take_due(8.0) == [1]
    assert turns.earliest() == math.inf
    turns.arm(1, 5.0)
    turns.arm(1, math.inf)
    assert turns.earliest() == math.inf
    turns.arm(1, 7.0)
    assert turns.take_due(7.0) == [1]


@given(st.lists(st.tuples(st.integers(1, 5), st.floats(0, 100) | st.just(math.inf), st.booleans()), max_size=60))
def test_everybody_is_looked_at_when_he_asked_for_it_last(asked: list[tuple[int, float, bool]]) -> None:
    turns = Turns()
    wanted: dict[int, float] = {}
    for number, due, look in asked:
        turns.arm(number, due)
        wanted[number] = due
        if look:
            assert turns.earliest() == min(wanted.values())
    for now in range(0, 101, 10):
        due = [number for number, at in wanted.items() if at <= now]
        times = [wanted.pop(number) for number in turns.take_due(float(now))]
        assert times == sorted(times)
        assert len(times) == len(due)
        assert turns.earliest() == min(wanted.values(), default=math.inf)


def test_farewells_are_said_a_few_times_to_whom_they_are_for_and_not_for_ever() -> None:
    farewells = Farewells()
    farewells.remember(7, b"bye", HERE, 1.0)
    assert farewells.answer(7, THIEF, 1.0) is None
    assert farewells.answer(8, HERE, 1.0) is None
    assert [farewells.answer(7, HERE, 1.0) for _ in range(MAX_FAREWELLS + 2)] == [b"bye"] * MAX_FAREWELLS + [None] * 2
    farewells.remember(7, b"bye", HERE, 1.0)
    assert farewells.answer(7, HERE, 1.0 + LINGER_S) is None
    farewells.remember(9, b"bye", HERE, 1.0)
    farewells.forget(9)
    assert farewells.answer(9, HERE, 1.0) is None
    for index in range(100, 100 + 2 * MAX_LINGERING):
        farewells.remember(index, b"bye", HERE, 1.0)
    assert farewells.answer(100, HERE, 1.0) is None
    assert len(farewells._by_index) == MAX_LINGERING
