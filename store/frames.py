"""The bytes of the log: what is read back is what was appended, or it is known to be damaged (DESIGN L1-L3).

    segment   | header, 4096 bytes | frame | frame | GROUP frame | frame | GROUP frame | zeros ...
                                   position 0 of this segment's range; every frame begins 8-aligned

    segment header (version 1, big-endian)                       frame header (version 1, 40 bytes)
      0  magic       8  "BPLOG" CR LF 1A                           0  magic       u16  BA 50
      8  version     u16                                           2  version     u8
     10  name length u16                                           3  flags       u8   1 compressed, 2 GROUP
     12  number      u32  of the segment                           4  stored      u32  bytes after this header
     16  incarnation u64  of the server                            8  raw         u32  bytes when decompressed
     24  epoch       u64  of the run that made it                 12  epoch       u64  of the run that wrote it
     32  first       u64  position of its first frame             20  position    u64  of this frame in the whole log
     40  previous    32   hash of the group before it             28  back        u32  from here to the group's first
     72  server      128  name, zeros after it                    32  dictionary  u32  0: none
    200  CRC-32      u32  over bytes 0..199                       36  CRC-32      u32  over bytes 0..35 and stored

    of an encrypted log: version 2, 200 key id 16, 216 CRC-32 over bytes 0..215; flag 4 (`store.sealed_frames`)

    stored = zstd(raw) or raw         raw = body | SHA-256 of body         then zeros up to the next 8-aligned position
    body   = kind u8 | sections u8 | length u32 of each | the sections

    GROUP  is a frame of kind 0 with two sections: seals (opaque to the log), after
           frames u32 | first position u64 | purpose u8 | hash of the group before 32 | SHA-256 over its frames' 32

Rules. Each frame is compressed alone, so that damage stays in one transaction; plain when small or when it does not
help. Reading goes CRC-32, then bounded decompression, then SHA-256. The header has a 4096-byte sector of its own,
because a torn write of the first frame may not touch it. A group's *hash* is the SHA-256 of its GROUP frame's body,
so the hashes chain the whole log. The header of a frame says where it stands, in which run and in which group, so a
frame can never be taken for one that belongs elsewhere.

Which frames make up the log, and what a bad one means, is left to `store.log`; what sections mean, to its callers.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import NamedTuple
from zlib import crc32

import msgspec
import zstandard

from identity.errors import Damaged, LocalMistake
from identity.names import ServerId

Buffer = bytes | bytearray | memoryview

SEGMENT_MAGIC = b"BPLOG\r\n\x1a"
SEGMENT_VERSION = 1
SEALED_VERSION = 2  # the same, and the id of the key that its frames are sealed with
KEY_ID_BYTES = 16
SEGMENT_HEADER_BYTES = 4096  # the largest sector in use; nothing else may share it
_SEGMENT = struct.Struct(">8sHHIQQQ32s128s")
_CRC = struct.Struct(">I")
SEGMENT_HEADER_USED = _SEGMENT.size + KEY_ID_BYTES + _CRC.size  # at most; zeros after it

FRAME_MAGIC = b"\xba\x50"
FRAME_VERSION = 1
FRAME_START = FRAME_MAGIC + bytes([FRAME_VERSION])  # what a search for frames looks for
FLAG_COMPRESSED = 1
FLAG_GROUP = 2
FLAG_SEALED = 4
_FRAME = struct.Struct(">2sBBIIQQII")
FRAME_HEADER_BYTES = _FRAME.size + _CRC.size
DIGEST_BYTES = 32
ALIGNMENT = 8

GROUP_KIND = 0
ORDINARY, OPENING, CLOSING = 0, 1, 2  # purposes of a group; the last two have no frames and no seals
_GROUP = struct.Struct(">IQB32s32s")

MAX_BODY_BYTES = (
    32 << 20
)  # one foreign group: 8 MiB when its drain ends, and its last transaction of 16 (DESIGN L5, L6)
MAX_SECTIONS = 255
COMPRESS_FROM_BYTES = 256  # below, zstd without a dictionary gains less than its own header costs
NO_HASH = bytes(DIGEST_BYTES)

_PADDINGS = tuple(bytes(count) for count in range(ALIGNMENT))
_PREFIXES = tuple(struct.Struct(f">BB{count}I") for count in range(MAX_SECTIONS + 1))


class SegmentHeader(NamedTuple):
    """What a segment says of itself."""

    number: int
    incarnation: int
    epoch: int
    first: int
    previous: bytes
    server: ServerId
    key_id: bytes = b""  # of an encrypted log

    def to_bytes(self) -> bytes:
        """All `SEGMENT_HEADER_BYTES` of it."""
        fixed = _SEGMENT.pack(
            SEGMENT_MAGIC, SEALED_VERSION if self.key_id else SEGMENT_VERSION, len(self.server), self.number,
            self.incarnation, self.epoch, self.first, self.previous, self.server,
        ) + self.key_id  # fmt: skip
        return (fixed + _CRC.pack(crc32(fixed))).ljust(SEGMENT_HEADER_BYTES, b"\0")

    @classmethod
    def from_bytes(cls, data: Buffer) -> SegmentHeader:
        """The header at the start of `data`. Raises `Damaged`."""
        if len(data) < _SEGMENT.size + _CRC.size:
            raise Damaged("the segment header is cut off")
        magic, version, length, number, incarnation, epoch, first, previous, server = _SEGMENT.unpack_from(data)
        if magic != SEGMENT_MAGIC:
            raise Damaged("this is no segment of a log")
        end = _SEGMENT.size + (KEY_ID_BYTES if version == SEALED_VERSION else 0)
        if len(data) < end + _CRC.size or crc32(bytes(data[:end])) != _CRC.unpack_from(data, end)[0]:
            raise Damaged("the CRC-32 of the segment header differs")
        if version not in (SEGMENT_VERSION, SEALED_VERSION):
            raise Damaged(f"the segment has format {version}", next_step="open it with the version that wrote it")
        key_id = bytes(data[_SEGMENT.size : end])
        return cls(number, incarnation, epoch, first, previous, ServerId(server[:length]), key_id)


class FrameHeader(msgspec.Struct, frozen=True, gc=False):
    """What a frame says of itself; `size` is what it takes in the log, header and padding included."""

    flags: int
    stored_bytes: int
    raw_bytes: int
    epoch: int
    position: int
    back: int
    crc: int

    @property
    def size(self) -> int:
        whole = FRAME_HEADER_BYTES + self.stored_bytes
        return whole + (-whole % ALIGNMENT)

    @property
    def group_position(self) -> int:
        """Where the group begins that this frame is part of."""
        return self.position - self.back


class GroupHead(NamedTuple):
    """The first section of a GROUP frame."""

    frames: int
    first: int
    purpose: int
    previous: bytes
    content: bytes

    def to_bytes(self) -> bytes:
        return _GROUP.pack(*self)

    @classmethod
    def from_bytes(cls, data: Buffer) -> GroupHead:
        """Raises `Damaged`."""
        if len(data) != _GROUP.size:
            raise Damaged(f"the head of a group has {len(data)} bytes instead of {_GROUP.size}")
        return cls(*_GROUP.unpack(data))


class Body(NamedTuple):
    """What was appended, and its SHA-256."""

    kind: int
    sections: list[bytes]
    digest: bytes


class FrameCodec:
    """Frames to bytes and back. Keeps one compressor and one decompressor (17 us to build): one codec per thread."""

    def __init__(self) -> None:
        self._compress = zstandard.ZstdCompressor(level=1, write_checksum=False).compress
        # A window is never larger than what it is a window of.
        self._decompress = zstandard.ZstdDecompressor(max_window_size=MAX_BODY_BYTES * 2).decompress

    def encode(
        self, kind: int, sections: Sequence[Buffer], *, epoch: int, position: int, group_position: int
    ) -> tuple[bytes, bytes]:
        """The bytes of a frame, padded to the next aligned position, and the SHA-256 of its body.

        Raises `LocalMistake` above `MAX_BODY_BYTES` or `MAX_SECTIONS`.
        """
        if len(sections) > MAX_SECTIONS:
            raise LocalMistake(f"a frame of {len(sections)} sections, {MAX_SECTIONS} allowed")
        prefix = _PREFIXES[len(sections)].pack(kind, len(sections), *map(len, sections))
        body = b"".join((prefix, *sections))
        if len(body) > MAX_BODY_BYTES:
            raise LocalMistake(f"a frame of {len(body)} bytes, {MAX_BODY_BYTES} allowed")
        digest = hashlib.sha256(body).digest()
        stored = raw = body + digest
        flags = FLAG_GROUP if kind == GROUP_KIND else 0
        if len(raw) >= COMPRESS_FROM_BYTES and kind != GROUP_KIND:  # which is hashes and signatures
            packed: bytes = self._compress(raw)
            if len(packed) + ALIGNMENT <= len(raw):
                stored = packed
                flags |= FLAG_COMPRESSED
        head = _FRAME.pack(
            FRAME_MAGIC, FRAME_VERSION, flags, len(stored), len(raw), epoch, position, position - group_position, 0
        )
        padding = _PADDINGS[-(FRAME_HEADER_BYTES + len(stored)) % ALIGNMENT]
        return b"".join((head, crc32(stored, crc32(head)).to_bytes(4, "big"), stored, padding)), digest

    def read_header(self, data: Buffer, offset: int = 0) -> FrameHeader:
        """The frame header at `offset`, its numbers within their bounds; the CRC is not checked yet.

        Raises `Damaged`.
        """
        if len(data) - offset < FRAME_HEADER_BYTES:
            raise Damaged("the frame is cut off")
        magic, version, flags, stored, raw, epoch, position, back, dictionary = _FRAME.unpack_from(data, offset)
        if magic != FRAME_MAGIC:
            raise Damaged("no frame begins here")
        if version != FRAME_VERSION or flags > (FLAG_COMPRESSED | FLAG_GROUP) or dictionary:
            raise Damaged(f"a frame of format {version}, flags {flags}, dictionary {dictionary}")
        if not DIGEST_BYTES + 2 <= raw <= MAX_BODY_BYTES + DIGEST_BYTES or not 0 < stored <= raw or back > position:
            raise Damaged("the lengths of the frame make no sense")
        return FrameHeader(flags, stored, raw, epoch, position, back, _CRC.unpack_from(data, offset + _FRAME.size)[0])

    def read_body(self, header: FrameHeader, frame: Buffer) -> Body:
        """The body of the `frame`, which begins with `header`. Raises `Damaged` unless every check passes."""
        end = FRAME_HEADER_BYTES + header.stored_bytes
        if len(frame) < end:
            raise Damaged("the frame is cut off")
        stored = memoryview(frame)[FRAME_HEADER_BYTES:end]
        if not self.crc_fits(header, frame):
            raise Damaged("the CRC-32 of the frame differs")
        raw = self._inflate(stored, header.raw_bytes) if header.flags & FLAG_COMPRESSED else bytes(stored)
        if len(raw) != header.raw_bytes:
            raise Damaged(f"the frame has {len(raw)} bytes instead of {header.raw_bytes}")
        body = memoryview(raw)[:-DIGEST_BYTES]
        digest = raw[-DIGEST_BYTES:]
        if not self.digest_fits(body, digest):
            raise Damaged("the SHA-256 of the frame differs")
        kind, sections = _split_body(body)
        if (kind == GROUP_KIND) != bool(header.flags & FLAG_GROUP):
            raise Damaged("the frame's flags and kind differ")
        return Body(kind, sections, digest)

    def crc_fits(self, header: FrameHeader, frame: Buffer) -> bool:
        """Whether header and stored bytes are those that were written."""
        view = memoryview(frame)
        end = FRAME_HEADER_BYTES + header.stored_bytes
        return crc32(view[FRAME_HEADER_BYTES:end], crc32(view[: _FRAME.size])) == header.crc

    def digest_fits(self, body: Buffer, digest: bytes) -> bool:
        """Whether the body is the one that was appended."""
        return hashlib.sha256(body).digest() == digest

    def _inflate(self, stored: Buffer, raw_bytes: int) -> bytes:
        """Bounded before memory is taken: a frame that states its size makes zstd ignore `max_output_size` (FACTS)."""
        try:
            stated = zstandard.get_frame_parameters(stored)
            if stated.content_size != raw_bytes:
                raise Damaged(f"a compressed frame of {stated.content_size} bytes that says {raw_bytes}")
            raw: bytes = self._decompress(stored, max_output_size=raw_bytes)
        except zstandard.ZstdError as error:
            raise Damaged(f"the frame does not decompress: {error}") from error
        return raw


def _split_body(body: memoryview) -> tuple[int, list[bytes]]:
    """Kind and sections. Raises `Damaged` unless they fill the body exactly."""
    count = body[1]
    prefix = _PREFIXES[count]
    if len(body) < prefix.size:
        raise Damaged("the sections of the frame are cut off")
    kind, _, *lengths = prefix.unpack_from(body)
    offset = prefix.size
    if offset + sum(lengths) != len(body):
        raise Damaged("the sections do not fill the frame")
    sections = []
    for length in lengths:
        sections.append(bytes(body[offset : offset + length]))
        offset += length
    return kind, sections
