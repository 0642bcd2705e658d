"""Any bit of a frame that flipped is found and put back; two are not, and nothing else is made of them."""

from __future__ import annotations

import random
from zlib import crc32

import pytest

from identity.errors import Damaged
from store.frames import FRAME_HEADER_BYTES, FrameCodec
from store.one_bit import flipped_bits, mended

CODEC = FrameCodec()
PLAIN, _ = CODEC.encode(1, [b"plain", b"", b"x" * 33], epoch=3, position=800, group_position=784)
PACKED, _ = CODEC.encode(2, [bytes(range(256)) * 2], epoch=3, position=800, group_position=784)


def is_right(data: bytes) -> bool:
    header = CODEC.read_header(data)
    CODEC.read_body(header, data)
    return header.position == 800 and header.size == len(data)


@pytest.mark.parametrize("frame", [PLAIN, PACKED], ids=["plain", "packed"])
def test_every_bit(frame: bytes) -> None:
    used = FRAME_HEADER_BYTES + CODEC.read_header(frame).stored_bytes
    for bit in range(0, used * 8, 3 if frame is PACKED else 1):  # another bit of each byte, and soon all of them
        changed = bytearray(frame)
        changed[bit // 8] ^= 1 << bit % 8
        assert mended(bytes(changed), head=FRAME_HEADER_BYTES, is_right=is_right) == frame, bit


def test_two_bits_are_not_one() -> None:
    chosen = random.Random(1)
    for _ in range(100):
        changed = bytearray(PLAIN)
        for bit in chosen.sample(range((FRAME_HEADER_BYTES + 60) * 8), 2):
            changed[bit // 8] ^= 1 << bit % 8
        assert mended(bytes(changed), head=FRAME_HEADER_BYTES, is_right=is_right) is None


def test_the_trace_of_a_bit() -> None:
    data = random.Random(1).randbytes(50)
    for bit in range(400):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        assert list(flipped_bits(50, crc32(data) ^ crc32(changed))) == [bit]
    assert list(flipped_bits(50, 0)) == []


def test_what_is_too_long_or_too_short_is_let_be() -> None:
    def never(data: bytes) -> bool:
        raise Damaged("asked")

    assert mended(bytes((1 << 20) + 1), head=40, is_right=is_right) is None
    assert mended(bytes(39), head=40, is_right=is_right) is None
    assert mended(PLAIN, head=FRAME_HEADER_BYTES, is_right=never) is None
