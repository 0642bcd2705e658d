"""The log's bytes: what was framed is read back, and every flipped bit is noticed."""

import hashlib
import re
import struct
from pathlib import Path
from zlib import crc32

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from identity.errors import Damaged, LocalMistake
from identity.names import ServerId
from store.frames import (
    COMPRESS_FROM_BYTES,
    DIGEST_BYTES,
    FRAME_HEADER_BYTES,
    GROUP_KIND,
    MAX_BODY_BYTES,
    ORDINARY,
    SEGMENT_HEADER_BYTES,
    Body,
    FrameCodec,
    GroupHead,
    SegmentHeader,
)

CODEC = FrameCodec()


def decode(data: bytes, offset: int = 0) -> Body:
    header = CODEC.read_header(data, offset)
    return CODEC.read_body(header, data[offset:])


def read_vectors() -> dict[str, bytes]:
    vectors: dict[str, str] = {}
    name = ""
    for line in (Path(__file__).parents[1] / "vectors" / "log_frames.txt").read_text().splitlines():
        content = line.partition("#")[0].strip()
        if heading := re.fullmatch(r"\[(.+)\]", content):
            name = heading[1]
            vectors[name] = ""
        elif content:
            vectors[name] += content.replace(" ", "")
    return {name: bytes.fromhex(text) for name, text in vectors.items()}


def test_what_was_framed_is_read_back() -> None:
    data, digest = CODEC.encode(1, [b"", b"Castle Rock", b"local"], epoch=7, position=0x12340, group_position=0x12340)
    header = CODEC.read_header(data)
    assert (header.epoch, header.position, header.group_position, header.size) == (7, 0x12340, 0x12340, len(data))
    assert decode(data) == Body(1, [b"", b"Castle Rock", b"local"], digest)
    assert len(data) % 8 == 0


def test_frozen_bytes() -> None:
    frozen = read_vectors()
    first = 0x12340
    before = bytes(range(32))
    segment = SegmentHeader(3, 1_700_000_000_123, 7, first, before, ServerId.parse("1.7.3"))
    assert segment.to_bytes() == frozen["segment header"].ljust(SEGMENT_HEADER_BYTES, b"\0")
    assert SegmentHeader.from_bytes(frozen["segment header"]) == segment

    plain, digest = CODEC.encode(1, [b"", b"Castle Rock", b"local"], epoch=7, position=first, group_position=first)
    assert plain == frozen["plain frame"]

    # Another zstd may pack otherwise; what it packed then must be readable for ever.
    packed = frozen["compressed frame"]
    body = decode(packed)
    assert (body.kind, body.sections) == (2, [b"Bangpath " * 60])
    assert CODEC.read_header(packed).group_position == first

    content = hashlib.sha256(digest + body.digest).digest()
    head = GroupHead(2, first, ORDINARY, before, content)
    position = first + len(plain) + len(packed)
    group, _ = CODEC.encode(GROUP_KIND, [b"seals", head.to_bytes()], epoch=7, position=position, group_position=first)
    assert group == frozen["group frame"]
    assert GroupHead.from_bytes(decode(group).sections[1]) == head


@given(
    kind=st.integers(1, 255),
    sections=st.lists(st.binary(max_size=600), max_size=8),
    epoch=st.integers(0, 2**64 - 1),
    position=st.integers(0, 2**50).map(lambda number: number * 8),
)
@settings(max_examples=60)
def test_any_frame_opens_again(kind: int, sections: list[bytes], epoch: int, position: int) -> None:
    data, digest = CODEC.encode(kind, sections, epoch=epoch, position=position, group_position=position)
    assert decode(data) == Body(kind, sections, digest)


@pytest.mark.parametrize("body", [b"Castle Rock", b"Bangpath " * 60])
def test_every_flipped_bit_is_noticed(body: bytes) -> None:
    data, _ = CODEC.encode(1, [body, b"local"], epoch=7, position=800, group_position=640)
    whole = FRAME_HEADER_BYTES + CODEC.read_header(data).stored_bytes
    for at in range(whole):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[at] ^= 1 << bit
            with pytest.raises(Damaged):
                decode(bytes(flipped))


@pytest.mark.parametrize("body", [b"Castle Rock", b"Bangpath " * 60])
def test_every_cut_is_noticed(body: bytes) -> None:
    data, _ = CODEC.encode(1, [body], epoch=7, position=0, group_position=0)
    for length in range(FRAME_HEADER_BYTES + CODEC.read_header(data).stored_bytes):
        with pytest.raises(Damaged):
            decode(data[:length])


def test_small_frames_and_those_that_do_not_shrink_stay_plain() -> None:
    small, _ = CODEC.encode(1, [b"a" * (COMPRESS_FROM_BYTES - 100)], epoch=1, position=0, group_position=0)
    noise, _ = CODEC.encode(1, [hashlib.shake_256(b"noise").digest(2000)], epoch=1, position=0, group_position=0)
    large, _ = CODEC.encode(1, [b"a" * 2000], epoch=1, position=0, group_position=0)
    assert [CODEC.read_header(data).flags for data in (small, noise, large)] == [0, 0, 1]
    assert len(large) < 200


def forge(stored: bytes, raw_bytes: int, *, flags: int) -> bytes:
    """A frame with a right CRC-32 over any stored bytes, as no correct log writes it."""
    head = struct.pack(">2sBBIIQQII", b"\xba\x50", 1, flags, len(stored), raw_bytes, 1, 0, 0, 0)
    return head + struct.pack(">I", crc32(stored, crc32(head))) + stored


def test_a_bomb_is_refused_before_memory_is_taken() -> None:
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(200 << 20))
    assert len(bomb) < 20_000
    with pytest.raises(Damaged, match="that says"):
        decode(forge(bomb, len(bomb), flags=1))
    with pytest.raises(Damaged, match="make no sense"):
        decode(forge(bomb, 200 << 20, flags=1))
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(100_000))
    with pytest.raises(Damaged):
        decode(forge(unsized, 100_000, flags=1))


@pytest.mark.parametrize("body", [b"\x01\x01\0\0\0\x05abc", b"\x01\x01\0\0\0\x01abc", b"\x01\xffabc"])
def test_sections_must_fill_the_body_exactly(body: bytes) -> None:
    raw = body + hashlib.sha256(body).digest()
    with pytest.raises(Damaged, match="sections"):
        decode(forge(raw, len(raw), flags=0))


def test_kind_and_flags_must_agree() -> None:
    body = b"\x00\x00"
    raw = body + hashlib.sha256(body).digest()
    with pytest.raises(Damaged, match="flags and kind"):
        decode(forge(raw, len(raw), flags=0))


def test_what_is_too_large_is_our_mistake() -> None:
    with pytest.raises(LocalMistake, match="allowed"):
        CODEC.encode(1, [bytes(MAX_BODY_BYTES)], epoch=1, position=0, group_position=0)
    with pytest.raises(LocalMistake, match="256 sections"):
        CODEC.encode(1, [b""] * 256, epoch=1, position=0, group_position=0)
    largest = bytes(MAX_BODY_BYTES - 6)
    data, _ = CODEC.encode(1, [largest], epoch=1, position=0, group_position=0)
    assert decode(data).sections == [largest]


def test_a_flipped_bit_in_a_segment_header_is_noticed() -> None:
    data = SegmentHeader(1, 2, 3, 4, bytes(32), ServerId.parse("1.7")).to_bytes()
    for at in range(204):
        flipped = bytearray(data)
        flipped[at] ^= 0x10
        with pytest.raises(Damaged):
            SegmentHeader.from_bytes(bytes(flipped))
    with pytest.raises(Damaged, match="cut off"):
        SegmentHeader.from_bytes(data[:100])


def test_the_digest_covers_kind_and_sections() -> None:
    data, digest = CODEC.encode(9, [b"ab", b"c"], epoch=1, position=0, group_position=0)
    body = data[FRAME_HEADER_BYTES:-DIGEST_BYTES].rstrip(b"\0")
    assert digest == hashlib.sha256(b"\x09\x02" + b"\0\0\0\x02" + b"\0\0\0\x01" + b"abc").digest()
    assert body.startswith(b"\x09\x02")
