"""Picture and codec of a datagram (DESIGN X2, version 1).

    first byte   1 first XK   2 first XX   3 second   4 third   5 cookie       `transport.handshake` pictures these
                 6 word                                                        `transport.words` pictures this
                 16 sealed

    sealed       | 16 u8 | receiver index u32 | packet number u64 | ciphertext ... tag 16 |
                 `---- all of it authenticated: the AEAD's data ----'

    plaintext    frames, one after another:

    PADDING   00        the rest of the packet means nothing
    PIECE     01 | priority u8 | message u64 | offset u32 | total u32 | length u16 | data
    ACK       02 | highest u64 | delay us u32 | direct age us u32 | direct number u64 | count u8 | ranges downwards
    NAK       03 | lowest u64 | count u8 | ranges upwards
    WINDOW    04 | max bytes u64 | max messages u64
    PING      05
    CHALLENGE 06 | data 8         RESPONSE 07 | data 8       "PATH" of DESIGN X2: is this address really yours?
    CLOSE     08 | code u16 | length u8 | reason in UTF-8
    HINT      09 | direct age us u32 | direct number u64
    FORWARD   0A | hops left u8 | path count u8 | source | destination | path ... | length u16 | sealed packet
                 ServerIds, each ended. Number and layout are reserved; no server reads or writes it yet.

    ranges    count times  | skipped u32 | length u32 |    first: skipped 0; then at least 1, always length at least 1

              received  3 4 . . 7 8 9      ACK  highest 9: (0, 3) (2, 2)      NAK  lowest 5: (0, 2)

*Direct age* is how long ago the newest packet came straight from the peer's address and not by a gateway (DESIGN G1);
2^32-1: never, or longer ago than that can say. Times are microseconds. *Message* numbers a connection's messages from
0; *total* is the length of the whole message. *Max bytes* and *max messages* are cumulative: so many bytes of pieces,
counted once each, and the messages numbered below it, may be sent.

Rules: what strangers sent comes in through `..._untrusted`, which raise `PeerMisbehaved` and nothing else, in time
linear in what was sent. One loop reads a whole packet, with no call for a PIECE (FACTS: 1.4 us a packet). There is no
header protection (DESIGN section 11). Which packet numbers and bytes make sense is for `transport.connection` to say.
Frozen bytes of every frame: tests/vectors/packets.json; why it is so: docs/decisions/0020.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from struct import Struct

import msgspec

from identity.errors import LocalMistake, PeerMisbehaved
from transport.wire import MAX_MESSAGE_BYTES, Priority

VERSION = 1

FIRST_XK, FIRST_XX, SECOND, THIRD, COOKIE, WORD, SEALED = 1, 2, 3, 4, 5, 6, 16
_TYPES = frozenset((FIRST_XK, FIRST_XX, SECOND, THIRD, COOKIE, SEALED))

HEADER = Struct(">BIQ")
HEADER_BYTES = HEADER.size
TAG_BYTES = 16
OVERHEAD_BYTES = HEADER_BYTES + TAG_BYTES
MAX_DATAGRAM_BYTES = 65_507  # the largest payload of UDP over IPv4

PADDING, PIECE, ACK, NAK, WINDOW, PING, CHALLENGE, RESPONSE, CLOSE, HINT, FORWARD = range(11)

MAX_RANGES = 64  # in one frame: 512 bytes, so that an ACK leaves room beside it in the smallest packet
MAX_FRAMES = 1024  # in one packet: requests of 64 bytes in the largest datagram; more is a flood of pings
MAX_REASON_BYTES = 200
MAX_LENGTH = 2**32 - 1
NEVER = 2**32 - 1  # a direct age: never, or longer ago than 71 minutes

# What CLOSE says; `reason` says it to people.
CLOSE_DONE, CLOSE_RENEW, CLOSE_MISBEHAVED, CLOSE_REFUSED, CLOSE_EXHAUSTED = range(5)

_INDEX = Struct(">BI")
PIECE_HEAD = _PIECE = Struct(">BBQIIH")  # public, so that bulk is written and read in one loop elsewhere
_ACK = Struct(">BQIIQB")
_NAK = Struct(">BQB")
_RANGE = Struct(">II")
_WINDOW = Struct(">BQQ")
_PATH = Struct(">B8s")
_CLOSE = Struct(">BHB")
_HINT = Struct(">BIQ")

PIECE_HEAD_BYTES = _PIECE.size
MAX_PIECE_BYTES = 2**16 - 1
WINDOW_BYTES = _WINDOW.size
PING_BYTES = 1
PATH_BYTES = _PATH.size
HINT_BYTES = _HINT.size
_LOWEST_PRIORITY = int(max(Priority))


class Piece(msgspec.Struct, frozen=True, gc=False):
    """Bytes offset..offset + len(data) of message number `message`, which has `total` bytes."""

    priority: int
    message: int
    offset: int
    total: int
    data: bytes  # empty in the one piece of an empty message only


class Ack(msgspec.Struct, frozen=True, gc=False):
    """Which packets came, the highest range first; and how long ago the newest came directly (None: never)."""

    highest: int
    ranges: list[tuple[int, int]]
    delay_us: int
    direct_age_us: int | None
    direct_number: int


class Nak(msgspec.Struct, frozen=True, gc=False):
    """Which packets did not come, ascending."""

    ranges: list[tuple[int, int]]


class Window(msgspec.Struct, frozen=True, gc=False):
    """What the peer may send: bytes of pieces in all, and messages with numbers below `max_messages`."""

    max_bytes: int
    max_messages: int


class Ping(msgspec.Struct, frozen=True, gc=False):
    """Asks for an ACK and for nothing else."""


class PathChallenge(msgspec.Struct, frozen=True, gc=False):
    """Asks whoever is at the address this was sent to, to send the 8 bytes back."""

    data: bytes


class PathResponse(msgspec.Struct, frozen=True, gc=False):
    data: bytes


class Close(msgspec.Struct, frozen=True, gc=False):
    """The connection is over."""

    code: int
    reason: str


class Hint(msgspec.Struct, frozen=True, gc=False):
    """What an ACK says of the direct way, while there is nothing to acknowledge (DESIGN G1)."""

    direct_age_us: int | None
    direct_number: int


Frame = Piece | Ack | Nak | Window | Ping | PathChallenge | PathResponse | Close | Hint

# Frames that ask for an ACK; the others speak about acknowledgement or end everything.
ELICITING: frozenset[type] = frozenset((Piece, Window, Ping, PathChallenge, PathResponse, Hint))


# -- reading


def read_head_untrusted(packet: bytes | bytearray | memoryview) -> tuple[int, int]:
    """A datagram's type and the index in it: the receiver's, but in a first packet the sender's.

    Raises `PeerMisbehaved` for a datagram too short or of unknown type.
    """
    if len(packet) < _INDEX.size:
        raise PeerMisbehaved(f"a datagram of {len(packet)} bytes")
    kind, index = _INDEX.unpack_from(packet)
    if kind not in _TYPES:
        raise PeerMisbehaved(f"a datagram of unknown type {kind}")
    return kind, index


def read_frames_untrusted(plaintext: bytes) -> list[Frame]:
    """The frames of an opened packet, in order, at least one. Raises `PeerMisbehaved`."""
    frames: list[Frame] = []
    at, end = 0, len(plaintext)
    try:
        while at < end:
            kind = plaintext[at]
            if kind == PIECE:
                _, priority, message, offset, total, length = _PIECE.unpack_from(plaintext, at)
                at += PIECE_HEAD_BYTES
                data = plaintext[at : at + length]
                at += length
                if (not length and total) or at > end or offset + length > total:
                    raise PeerMisbehaved(f"a piece of {length} bytes at {offset} of {total}, cut off or out of bounds")
                if total > MAX_MESSAGE_BYTES or priority > _LOWEST_PRIORITY:
                    raise PeerMisbehaved(f"a piece of a message of {total} bytes and priority {priority}")
                frames.append(Piece(priority, message, offset, total, data))
            elif kind == PADDING:
                break
            else:
                frame, at = _read_frame_untrusted(kind, plaintext, at)
                frames.append(frame)
            if len(frames) > MAX_FRAMES:
                raise PeerMisbehaved(f"more than {MAX_FRAMES} frames in one packet")
    except struct.error as error:
        raise PeerMisbehaved(f"a frame is cut off after byte {at}") from error
    if not frames:
        raise PeerMisbehaved("a packet without frames")
    return frames


def _read_frame_untrusted(kind: int, plaintext: bytes, at: int) -> tuple[Frame, int]:
    """A frame that is no PIECE and the offset after it. Raises `PeerMisbehaved`, or `struct.error` when cut off."""
    if kind == ACK:
        _, highest, delay_us, age_us, direct, count = _ACK.unpack_from(plaintext, at)
        ranges, at = _read_ranges_untrusted(plaintext, at + _ACK.size, count, start=highest, step=-1)
        return Ack(highest, ranges, delay_us, None if age_us == NEVER else age_us, direct), at
    if kind == NAK:
        _, lowest, count = _NAK.unpack_from(plaintext, at)
        ranges, at = _read_ranges_untrusted(plaintext, at + _NAK.size, count, start=lowest, step=1)
        return Nak(ranges), at
    if kind == WINDOW:
        _, max_bytes, max_messages = _WINDOW.unpack_from(plaintext, at)
        return Window(max_bytes, max_messages), at + WINDOW_BYTES
    if kind == PING:
        return _THE_PING, at + PING_BYTES
    if kind == CHALLENGE:
        return PathChallenge(_PATH.unpack_from(plaintext, at)[1]), at + PATH_BYTES
    if kind == RESPONSE:
        return PathResponse(_PATH.unpack_from(plaintext, at)[1]), at + PATH_BYTES
    if kind == CLOSE:
        _, code, length = _CLOSE.unpack_from(plaintext, at)
        at += _CLOSE.size
        if at + length > len(plaintext) or length > MAX_REASON_BYTES:
            raise PeerMisbehaved("a reason to close that is cut off or too long")
        # Whatever it holds, it ends the connection: letters that are none are shown as such.
        return Close(code, plaintext[at : at + length].decode("utf-8", "replace")), at + length
    if kind == HINT:
        _, age_us, direct = _HINT.unpack_from(plaintext, at)
        return Hint(None if age_us == NEVER else age_us, direct), at + HINT_BYTES
    raise PeerMisbehaved(f"a frame of unknown type {kind}")


_THE_PING = Ping()


def _read_ranges_untrusted(
    plaintext: bytes, at: int, count: int, *, start: int, step: int
) -> tuple[list[tuple[int, int]], int]:
    """`count` ranges from `start` on, upwards (step 1) or downwards (step -1), and the offset after them."""
    if not 1 <= count <= MAX_RANGES:
        raise PeerMisbehaved(f"{count} ranges in a frame, which has 1 to {MAX_RANGES}")
    ranges = []
    for each in range(count):
        skipped, length = _RANGE.unpack_from(plaintext, at)
        at += _RANGE.size
        if not length or (skipped == 0) != (each == 0):
            raise PeerMisbehaved("an empty range, or two that touch")
        near = start + step * skipped
        far = near + step * (length - 1)
        if not (0 <= far < 2**64 and 0 <= near < 2**64):
            raise PeerMisbehaved("a range beyond all packet numbers")
        ranges.append((near, far) if step > 0 else (far, near))
        start = far + step
    return ranges, at


# -- writing: each appends to `out` at `at`, says where the next frame begins, and raises `LocalMistake` without room


def write_piece(
    out: memoryview, at: int, *, priority: int, message: int, offset: int, total: int, data: bytes | memoryview
) -> int:
    """PIECE_HEAD_BYTES and the data, 1 to MAX_PIECE_BYTES of it; none only of an empty message."""
    body = at + PIECE_HEAD_BYTES
    end = body + len(data)
    try:
        _PIECE.pack_into(out, at, PIECE, priority, message, offset, total, len(data))
        out[body:end] = data
    except (struct.error, ValueError) as error:
        raise LocalMistake(f"a piece of {len(data)} bytes does not fit at {at} of {len(out)}: {error}") from error
    return end


def ack_bytes(ranges: int) -> int:
    """How long an ACK with so many ranges is."""
    return _ACK.size + _RANGE.size * ranges


def nak_bytes(ranges: int) -> int:
    """How long a NAK with so many ranges is."""
    return _NAK.size + _RANGE.size * ranges


def write_ack(
    out: memoryview,
    at: int,
    *,
    ranges: Sequence[tuple[int, int]],
    delay_us: int,
    direct_age_us: int | None,
    direct_number: int,
) -> int:
    """`ranges` highest first, 1 to MAX_RANGES, as `Ranges.newest` gives them.

    Times too long are told as the longest. Of ranges that are too long or too far down, what fits is told.
    """
    highest = ranges[0][1] if ranges else 0
    age_us = NEVER if direct_age_us is None else min(direct_age_us, NEVER)
    if len(ranges) == 1 and 0 <= highest - ranges[0][0] < MAX_LENGTH:  # nearly always: nothing was lost
        head = _ACK.pack(ACK, highest, min(delay_us, MAX_LENGTH), age_us, direct_number, 1)
        return _append(out, at, head + _RANGE.pack(0, highest - ranges[0][0] + 1))
    lengths = []
    expected = highest
    for first, last in ranges:
        lengths.append((expected - last, last - first + 1))
        expected = first - 1
    count, told = _pack_ranges(lengths)
    head = _ACK.pack(ACK, highest, min(delay_us, MAX_LENGTH), age_us, direct_number, count)
    return _append(out, at, head + told)


def write_nak(out: memoryview, at: int, *, ranges: Sequence[tuple[int, int]]) -> int:
    """`ranges` ascending, 1 to MAX_RANGES, as `Ranges.missing` gives them; of those too long, what fits is told."""
    lowest = ranges[0][0] if ranges else 0
    lengths = []
    expected = lowest
    for first, last in ranges:
        lengths.append((first - expected, last - first + 1))
        expected = last + 1
    count, told = _pack_ranges(lengths)
    return _append(out, at, _NAK.pack(NAK, lowest, count) + told)


def _pack_ranges(lengths: list[tuple[int, int]]) -> tuple[int, bytes]:
    """How many are told, and their bytes. Raises `LocalMistake` for none, too many, or an order that is none."""
    if not 1 <= len(lengths) <= MAX_RANGES or min(map(min, lengths)) < 0:
        raise LocalMistake(
            f"{len(lengths)} ranges for a frame, which has 1 to {MAX_RANGES}, each beyond the one before"
        )
    told = []
    for skipped, length in lengths:
        if skipped > MAX_LENGTH:
            break
        told.append(_RANGE.pack(skipped, min(length, MAX_LENGTH)))
        if length > MAX_LENGTH:
            break
    return len(told), b"".join(told)


def write_window(out: memoryview, at: int, *, max_bytes: int, max_messages: int) -> int:
    return _append(out, at, _WINDOW.pack(WINDOW, max_bytes, max_messages))


def write_ping(out: memoryview, at: int) -> int:
    return _append(out, at, b"\x05")


def write_path_challenge(out: memoryview, at: int, data: bytes) -> int:
    return _append(out, at, _PATH.pack(CHALLENGE, data))


def write_path_response(out: memoryview, at: int, data: bytes) -> int:
    return _append(out, at, _PATH.pack(RESPONSE, data))


def write_close(out: memoryview, at: int, *, code: int, reason: str) -> int:
    """What of `reason` goes beyond MAX_REASON_BYTES in UTF-8 is cut off."""
    text = reason.encode("utf-8", "replace")[:MAX_REASON_BYTES]
    return _append(out, at, _CLOSE.pack(CLOSE, code, len(text)) + text)


def write_hint(out: memoryview, at: int, *, direct_age_us: int | None, direct_number: int) -> int:
    age_us = NEVER if direct_age_us is None else min(direct_age_us, NEVER)
    return _append(out, at, _HINT.pack(HINT, age_us, direct_number))


def write_padding(out: memoryview, at: int, end: int) -> int:
    """Zeros up to `end`; the last frame of a packet."""
    return _append(out, at, bytes(end - at))


def _append(out: memoryview, at: int, data: bytes) -> int:
    end = at + len(data)
    if end > len(out):
        raise LocalMistake(f"a frame of {len(data)} bytes does not fit at {at} of {len(out)}")
    out[at:end] = data
    return end
