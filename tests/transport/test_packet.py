"""Packets: what is written reads the same, frozen bytes stay as they are, and strangers can only be misbehaved."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from identity.errors import LocalMistake, PeerMisbehaved
from transport import packet
from transport.packet import (
    ELICITING,
    MAX_FRAMES,
    MAX_RANGES,
    Ack,
    Close,
    Frame,
    Hint,
    Nak,
    PathChallenge,
    PathResponse,
    Piece,
    Ping,
    Window,
    read_frames_untrusted,
    read_head_untrusted,
)
from transport.ranges import Ranges
from transport.wire import MAX_MESSAGE_BYTES

FROZEN = json.loads((Path(__file__).parents[1] / "vectors" / "packets.json").read_text())

WRITERS: dict[type, Callable[..., int]] = {
    Piece: packet.write_piece, Ack: packet.write_ack, Nak: packet.write_nak, Window: packet.write_window,
    Ping: packet.write_ping, PathChallenge: packet.write_path_challenge, PathResponse: packet.write_path_response,
    Close: packet.write_close, Hint: packet.write_hint,
}  # fmt: skip


def fields(frame: Frame) -> dict[str, Any]:
    """The arguments of the frame's writer."""
    named = {name: getattr(frame, name) for name in frame.__struct_fields__}
    if type(frame) is Ack:
        del named["highest"]
    return named


def write(*frames: Frame) -> bytes:
    out = memoryview(bytearray(sum(2000 + len(getattr(frame, "data", b"")) for frame in frames)))
    at = 0
    for frame in frames:
        at = WRITERS[type(frame)](out, at, **fields(frame))
    return bytes(out[:at])


def test_a_packet_carries_frames() -> None:
    received = Ranges([(3, 4), (7, 9)])
    out = memoryview(bytearray(1400))
    at = packet.write_ack(out, 0, ranges=received.newest(8), delay_us=250, direct_age_us=40, direct_number=9)
    assert at == packet.ack_bytes(2)
    at = packet.write_nak(out, at, ranges=received.missing(3, 9))
    assert at == packet.ack_bytes(2) + packet.nak_bytes(1)
    at = packet.write_piece(out, at, priority=1, message=5, offset=0, total=8, data=b"question")
    at = packet.write_padding(out, at, 1400)
    assert at == 1400
    assert read_frames_untrusted(bytes(out)) == [
        Ack(9, [(7, 9), (3, 4)], 250, 40, 9),
        Nak([(5, 6)]),
        Piece(1, 5, 0, 8, b"question"),
    ]


PAIRS = st.tuples(st.integers(0, 2**31), st.integers(0, 2**20)).map(lambda pair: (pair[0], pair[0] + pair[1]))
RANGES = st.lists(PAIRS, min_size=1, max_size=20).map(Ranges)
U32, U64 = st.integers(0, 2**32 - 2), st.integers(0, 2**64 - 1)


@st.composite
def pieces(draw: st.DrawFn) -> Piece:
    data = draw(st.binary(min_size=1, max_size=300))
    offset = draw(st.integers(0, MAX_MESSAGE_BYTES - len(data)))
    total = draw(st.integers(offset + len(data), MAX_MESSAGE_BYTES))
    return Piece(draw(st.integers(0, 3)), draw(U64), offset, total, data)


@st.composite
def acks(draw: st.DrawFn) -> Ack:
    newest = draw(RANGES).newest(MAX_RANGES)
    return Ack(newest[0][1], newest, draw(U32), draw(st.none() | U32), draw(U64))


FRAMES = st.one_of(
    pieces(),
    acks(),
    RANGES.map(lambda ranges: Nak(ranges.as_list())),
    st.builds(Window, U64, U64),
    st.just(Ping()),
    st.builds(PathChallenge, st.binary(min_size=8, max_size=8)),
    st.builds(PathResponse, st.binary(min_size=8, max_size=8)),
    st.builds(Close, st.integers(0, 2**16 - 1), st.text("abcä", max_size=100)),
    st.builds(Hint, st.none() | U32, U64),
)


@given(st.lists(FRAMES, min_size=1, max_size=8), st.integers(0, 40))
def test_what_is_written_reads_the_same(frames: list[Frame], padding: int) -> None:
    assert read_frames_untrusted(write(*frames) + bytes(padding)) == frames


@given(st.binary(max_size=200), st.lists(FRAMES, max_size=3), st.integers(0, 2**16), st.integers(0, 255))
@example(b"\x02" + bytes(26), [], 0, 0)
def test_strangers_can_only_be_misbehaved(noise: bytes, frames: list[Frame], at: int, value: int) -> None:
    """Random bytes, and valid packets with one byte altered and with their end cut off."""
    valid = bytearray(write(*frames) + noise)
    if valid:
        valid[at % len(valid)] = value
    for data in (bytes(valid), bytes(valid[: at % (len(valid) + 1)])):
        try:
            for frame in read_frames_untrusted(data):
                if type(frame) is Piece:
                    assert len(frame.data) <= frame.total - frame.offset
                    assert frame.data or frame.total == 0
                    assert frame.total <= MAX_MESSAGE_BYTES
                if isinstance(frame, (Ack, Nak)):
                    assert 0 < len(frame.ranges) <= MAX_RANGES
                    ascending = frame.ranges[::-1] if type(frame) is Ack else frame.ranges
                    Ranges.from_list_untrusted(ascending, max_ranges=MAX_RANGES)
        except PeerMisbehaved:
            pass


PIECE_HEAD = bytes.fromhex("01 00 0000000000000000 00000000 00000002 0002")


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "without frames"),
        (bytes(30), "without frames"),
        (b"\x0b", "unknown type 11"),
        (b"\x0a" + bytes(50), "unknown type 10"),
        (PIECE_HEAD, "cut off"),
        (PIECE_HEAD + b"x", "cut off"),
        (PIECE_HEAD[:10], "cut off after byte 0"),
        (b"\x05" + PIECE_HEAD[:10], "cut off after byte 1"),
        (PIECE_HEAD[:-1] + b"\0", "0 bytes"),
        (PIECE_HEAD[:-1] + b"\3xyz", "out of bounds"),
        (PIECE_HEAD[:13] + b"\1" + bytes(6), "0 bytes at 1 of 0"),
        (PIECE_HEAD[:1] + b"\4" + PIECE_HEAD[2:] + b"xy", "priority 4"),
        (PIECE_HEAD[:14] + b"\x01\x01\x00\x01" + b"\0\1x", "a message of"),
        (bytes.fromhex("03 0000000000000000 00"), "0 ranges"),
        (bytes.fromhex("03 0000000000000000 41") + bytes(8 * 65), "65 ranges"),
        (bytes.fromhex("03 0000000000000000 01 00000000 00000000"), "empty range"),
        (bytes.fromhex("03 0000000000000000 01 00000001 00000001"), "empty range, or two"),
        (bytes.fromhex("03 0000000000000000 02 00000000 00000001 00000000 00000001"), "two that touch"),
        (bytes.fromhex("03 ffffffffffffffff 01 00000000 00000002"), "beyond all"),
        (bytes.fromhex("03 fffffffffffffffe 02 00000000 00000001 00000009 00000001"), "beyond all"),
        (bytes.fromhex("02 0000000000000003 00000000 00000000 0000000000000000 01 00000000 00000005"), "beyond all"),
        (bytes.fromhex("08 0000 05") + b"four", "cut off"),
        (bytes.fromhex("08 0000 c9") + b"r" * 201, "too long"),
        (b"\x05" * (MAX_FRAMES + 1), "more than 1024 frames"),
    ],
)
def test_refused(data: bytes, cause: str) -> None:
    with pytest.raises(PeerMisbehaved, match=cause):
        read_frames_untrusted(data)


def test_just_allowed() -> None:
    assert read_frames_untrusted(write(Piece(1, 2, 0, 0, b""))) == [Piece(1, 2, 0, 0, b"")]
    assert read_frames_untrusted(b"\x05" * MAX_FRAMES) == [Ping()] * MAX_FRAMES
    assert read_frames_untrusted(bytes.fromhex("03 ffffffffffffffff 01 00000000 00000001")) == [
        Nak([(2**64 - 1, 2**64 - 1)])
    ]
    most = [(number, number) for number in range(0, 2 * MAX_RANGES, 2)]
    assert read_frames_untrusted(write(Nak(most))) == [Nak(most)]
    assert read_frames_untrusted(b"\x08\0\1\2\xff\xfe") == [Close(1, "\ufffd\ufffd")]


def test_heads() -> None:
    assert read_head_untrusted(b"\x10\0\0\0\7rest") == (packet.SEALED, 7)
    for datagram in (b"", b"\x10\0\0\0", b"\x11\0\0\0\7", b"\0\0\0\0\0"):
        with pytest.raises(PeerMisbehaved):
            read_head_untrusted(datagram)


def test_times_too_long_and_reasons_too_long() -> None:
    told = write(Ack(5, [(5, 5)], 2**40, 2**40, 0), Close(2, "x" * 300), Hint(2**50, 1))
    assert read_frames_untrusted(told) == [
        Ack(5, [(5, 5)], 2**32 - 1, None, 0),
        Close(2, "x" * packet.MAX_REASON_BYTES),
        Hint(None, 1),
    ]


def test_of_ranges_too_long_what_fits_is_told() -> None:
    """A session of more than 2^32 packets acknowledges on."""
    top = 2**40
    told = write(Ack(top, [(5, top), (0, 2)], 0, None, 0), Nak([(1, 1), (3, 2**33)]), Nak([(1, 1), (2**33, 2**33)]))
    assert read_frames_untrusted(told) == [
        Ack(top, [(top - 2**32 + 2, top)], 0, None, 0),
        Nak([(1, 1), (3, 2**32 + 1)]),
        Nak([(1, 1)]),
    ]


def test_sizes_told_beforehand() -> None:
    assert len(write(Ack(5, [(5, 5)], 0, None, 0))) == packet.ack_bytes(1)
    assert len(write(Nak([(5, 5), (7, 9)]))) == packet.nak_bytes(2)
    assert len(write(Window(1, 2))) == packet.WINDOW_BYTES
    assert len(write(Ping())) == packet.PING_BYTES
    assert len(write(PathChallenge(bytes(8)))) == packet.PATH_BYTES
    assert len(write(Hint(1, 2))) == packet.HINT_BYTES
    assert len(write(Piece(0, 0, 0, 1, b"x"))) == packet.PIECE_HEAD_BYTES + 1


def test_which_want_an_ack() -> None:
    assert {Ack, Nak, Close}.isdisjoint(ELICITING)
    assert {Ack, Nak, Close} | ELICITING == set(WRITERS)


def test_our_own_mistakes_are_named() -> None:
    small = memoryview(bytearray(10))
    for call in (
        lambda: packet.write_piece(small, 0, priority=0, message=0, offset=0, total=1, data=b"x"),
        lambda: packet.write_piece(
            memoryview(bytearray(25)), 0, priority=0, message=0, offset=0, total=9, data=b"nine bytes"
        ),
        lambda: packet.write_window(small, 0, max_bytes=0, max_messages=0),
        lambda: packet.write_ping(small, 10),
        lambda: packet.write_nak(memoryview(bytearray(100)), 0, ranges=[]),
        lambda: packet.write_nak(memoryview(bytearray(100)), 0, ranges=[(5, 5), (1, 2)]),
        lambda: packet.write_ack(memoryview(bytearray(1000)), 0, ranges=[], delay_us=0, direct_age_us=0,
                                 direct_number=0),
        lambda: packet.write_ack(memoryview(bytearray(9000)), 0, ranges=[(n, n) for n in range(600, 0, -2)],
                                 delay_us=0, direct_age_us=0, direct_number=0),
    ):  # fmt: skip
        with pytest.raises(LocalMistake):
            call()


FROZEN_FRAMES: dict[str, Frame] = {
    "piece": Piece(2, 3, 4, 600, b"update"),
    "ack": Ack(9, [(7, 9), (3, 4)], 250, 40, 8),
    "ack never heard directly": Ack(0, [(0, 0)], 0, None, 0),
    "nak": Nak([(5, 6), (9, 9)]),
    "window": Window(1 << 20, 64),
    "ping": Ping(),
    "path challenge": PathChallenge(b"01234567"),
    "path response": PathResponse(b"01234567"),
    "close": Close(packet.CLOSE_DONE, "good night"),
    "hint": Hint(1_000_000, 77),
}


@pytest.mark.parametrize("name", FROZEN_FRAMES)
def test_frozen_bytes(name: str) -> None:
    frozen = bytes.fromhex(FROZEN["frames"][name])
    assert write(FROZEN_FRAMES[name]) == frozen
    assert read_frames_untrusted(frozen) == [FROZEN_FRAMES[name]]


def test_every_frozen_frame_is_tested() -> None:
    assert set(FROZEN["frames"]) == set(FROZEN_FRAMES)
