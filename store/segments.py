"""One file of the log and what can be read from it: frames, whole groups, proofs that a group was not the last.

    Location   segment 1, offset 4 136          where one frame is
    Mark       position, epoch, hash            the end of a whole group: where replay goes on
    Group      Frame Frame Frame, seals, Mark   what one sync made durable

`GroupReader.read_group` believes a group only if every frame is intact and `same_group` and `belongs` say that all of
it was written in one piece, in this place, by one run. `find_later_frame` looks for anything intact of a group that
begins later, which is how `store.log` tells a torn tail from damage; the argument stands there.

Bytes are left to `store.frames`, the order of segments and all writing to `store.log`.
"""

from __future__ import annotations

import hashlib
import re
import struct
from typing import NamedTuple

import msgspec

from identity.errors import Damaged
from store.disk import Buffer, File
from store.frames import (
    ALIGNMENT,
    CLOSING,
    FLAG_GROUP,
    FRAME_HEADER_BYTES,
    FRAME_START,
    GROUP_KIND,
    NO_HASH,
    ORDINARY,
    SEGMENT_HEADER_BYTES,
    Body,
    FrameCodec,
    FrameHeader,
    GroupHead,
    SegmentHeader,
)

READ_BYTES = 1 << 20
FIRST_READ_BYTES = 4096  # most frames are smaller, so one read call does
_LOCATION = struct.Struct(">IQ")
_MARK = struct.Struct(">QQ32s")
_FRAME_START = re.compile(re.escape(FRAME_START))  # through zeros, which the end of a log is, twice as fast as `find`


class Location(NamedTuple):
    """Where a frame is: number of its segment and byte offset in that file."""

    segment: int
    offset: int

    def to_bytes(self) -> bytes:
        return _LOCATION.pack(*self)

    @classmethod
    def from_bytes(cls, data: Buffer) -> Location:
        return cls(*_LOCATION.unpack(data))


class Mark(NamedTuple):
    """The end of a whole group: the position after it, the epoch it was written in, its hash. Replay starts at one."""

    position: int
    epoch: int
    hash: bytes

    def to_bytes(self) -> bytes:
        return _MARK.pack(*self)

    @classmethod
    def from_bytes(cls, data: Buffer) -> Mark:
        return cls(*_MARK.unpack(data))


BEGINNING = Mark(0, 0, NO_HASH)


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One transaction as it was appended."""

    kind: int
    sections: list[bytes]
    location: Location
    position: int
    digest: bytes


class Group(msgspec.Struct, frozen=True, gc=False):
    """Transactions made durable by one sync, in order; `mark` is its end, `seals` what the caller gave at its end."""

    position: int
    frames: list[Frame]
    seals: bytes
    mark: Mark


class Segment(msgspec.Struct):
    number: int
    first: int
    file: File
    header: SegmentHeader | None  # None: unreadable; its frames are readable all the same
    allocated: int  # bytes of the file; asking the system costs 1.5 us for each append

    def offset(self, position: int) -> int:
        return SEGMENT_HEADER_BYTES + position - self.first

    def position(self, offset: int) -> int:
        return self.first + offset - SEGMENT_HEADER_BYTES

    def damaged(self, offset: int, cause: str) -> Damaged:
        return Damaged(
            f"{self.file.name} at offset {offset}: {cause}",
            next_step="run `bangpath check`; a mirror or a backup may have these updates",
            segment=self.number,
            offset=offset,
        )


class Window:
    """The part of a file that was read last; so many bytes at once."""

    def __init__(self, file: File, read_bytes: int = READ_BYTES) -> None:
        self._file = file
        self._read_bytes = read_bytes
        self._start = 0
        self._data = b""

    def at(self, offset: int, length: int) -> memoryview:
        """`length` bytes from `offset`, fewer at the end of the file."""
        if not self._start <= offset <= offset + length <= self._start + len(self._data):
            self._data = self._file.read(offset, max(length, self._read_bytes))
            self._start = offset
        at = offset - self._start
        return memoryview(self._data)[at : at + length]


class GroupReader:
    """Reads frames and groups of any segment. Tests weaken one of its checks to see that each is needed."""

    def __init__(self, codec: FrameCodec) -> None:
        self._codec = codec

    def belongs(self, head: GroupHead, epoch: int, content: bytes, frames: int, before: Mark) -> bool:
        """Whether a GROUP frame of `epoch` after `frames` intact frames ends the group that follows `before`."""
        if head.purpose == ORDINARY:
            fits = epoch == before.epoch
        else:
            fits = frames == 0 and (epoch == before.epoch if head.purpose == CLOSING else epoch >= before.epoch)
        return (
            fits
            and head.frames == frames
            and head.first == before.position
            and head.content == content
            and head.previous == before.hash
        )

    def same_group(self, header: FrameHeader, epoch: int | None, first: int) -> bool:
        """Whether a frame is part of the group that begins at `first` with frames of `epoch` (None: the first one)."""
        return header.group_position == first and epoch in (None, header.epoch)

    def read_group(self, segment: Segment, window: Window, before: Mark) -> Group:
        """The whole group that begins after `before`. Raises `Damaged`, naming the place."""
        frames: list[Frame] = []
        content = hashlib.sha256()
        position = before.position
        epoch: int | None = None
        while True:
            offset = segment.offset(position)
            try:
                header, body = self.read_frame(window, offset, position)
                epoch = self._check_same_group(header, epoch, before.position)
                position += header.size
                if body.kind == GROUP_KIND:
                    return self._make_group(body, frames, epoch, content.digest(), before, end=position)
            except Damaged as error:
                raise segment.damaged(offset, error.cause) from error
            frames.append(
                Frame(body.kind, body.sections, Location(segment.number, offset), header.position, body.digest)
            )
            content.update(body.digest)

    def read(self, segment: Segment, offset: int, appended: Buffer | None = None) -> Frame:
        """The transaction at `offset`; from `appended` if it is not written yet. Raises `Damaged`, naming the place."""
        data = segment.file.read(offset, FIRST_READ_BYTES) if appended is None else appended
        position = segment.position(offset)
        try:
            header = self._codec.read_header(data)
            if len(data) < header.size and appended is None:
                data = segment.file.read(offset, header.size)
            body = self._codec.read_body(header, data)
        except Damaged as error:
            raise segment.damaged(offset, error.cause) from error
        if header.position != position or header.flags & FLAG_GROUP:
            raise segment.damaged(offset, "another frame stands there")
        return Frame(body.kind, body.sections, Location(segment.number, offset), position, body.digest)

    def _check_same_group(self, header: FrameHeader, epoch: int | None, first: int) -> int:
        if not self.same_group(header, epoch, first):
            raise Damaged("a frame of another group stands there")
        return header.epoch

    def read_frame(self, window: Window, offset: int, position: int) -> tuple[FrameHeader, Body]:
        """The frame at `offset`, which must be that of `position`. Raises `Damaged`."""
        header = self._codec.read_header(window.at(offset, FRAME_HEADER_BYTES))
        if header.position != position:
            raise Damaged(f"a frame of position {header.position} stands at position {position}")
        return header, self._codec.read_body(header, window.at(offset, header.size))

    def _make_group(
        self, body: Body, frames: list[Frame], epoch: int, content: bytes, before: Mark, *, end: int
    ) -> Group:
        if len(body.sections) != 2:
            raise Damaged("a GROUP frame has not two sections")
        head = GroupHead.from_bytes(body.sections[1])
        if not self.belongs(head, epoch, content, len(frames), before):
            raise Damaged("the GROUP frame is of another group")
        return Group(before.position, frames, body.sections[0], Mark(end, epoch, body.digest))

    def find_later_frame(self, segment: Segment, start: int, first: int) -> int | None:
        """The offset of an intact frame from `start` on whose group begins after position `first`, if there is one.

        Intact frames of other groups are stepped over whole, so what they carry is never taken for a frame.
        """
        window = Window(segment.file)
        end = segment.file.size()
        resume = start
        for chunk_start in range(start, end, READ_BYTES):
            chunk = segment.file.read(chunk_start, READ_BYTES + len(FRAME_START) - 1)
            while (start_of_frame := _FRAME_START.search(chunk, max(resume - chunk_start, 0))) is not None:
                offset = chunk_start + start_of_frame.start()
                resume = offset + 1
                if offset % ALIGNMENT:
                    continue
                try:
                    header, _ = self.read_frame(window, offset, segment.position(offset))
                except Damaged:
                    continue
                if header.group_position > first:
                    return offset
                resume = offset + header.size
        return None
