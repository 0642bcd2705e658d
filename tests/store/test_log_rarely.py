"""What a log, its recovery and the tables meet so seldom that no other test comes upon it: named, never believed."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import lmdb
import pytest
import zstandard

from identity.errors import Damaged, Exhausted
from identity.names import ServerId
from simulations.faulty_disk import FaultyDisk
from store import recovery, tables
from store.copies import Copy
from store.frame_parts import pack_seals, unpack_seals
from store.frames import (
    CLOSING,
    FRAME_HEADER_BYTES,
    FRAME_START,
    GROUP_KIND,
    OPENING,
    ORDINARY,
    SEGMENT_HEADER_BYTES,
    FrameCodec,
    GroupHead,
    SegmentHeader,
)
from store.log import Log
from store.records import DATA, REGISTRY, SIGNATURE_BYTES, Seal
from store.segments import BEGINNING, GroupReader, Location, Mark, Window
from store.tables import LmdbTables, MemoryTables

SERVER = ServerId.parse("1.7.3")


def open_log(disk: FaultyDisk) -> Log:
    return Log(disk, server=SERVER, incarnation=3, segment_bytes=SEGMENT_HEADER_BYTES + 400, step_bytes=8192)


def started(disk: FaultyDisk, groups: int) -> Log:
    log = open_log(disk)
    list(log.replay())
    log.start()
    for number in range(groups):
        log.append(1, [b"%d" % number])
        log.end_group()
        log.sync()
    return log


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk(random.Random(1))


# Bytes that no crash makes


def test_seals_that_are_cut_off() -> None:
    whole = pack_seals([Seal(DATA, 1, b"head", bytes(SIGNATURE_BYTES))])
    for length in range(1, len(whole)):
        with pytest.raises(Damaged, match="cut off"):
            unpack_seals(whole[:length])


def test_a_segment_header_of_a_format_to_come() -> None:
    header = SegmentHeader(1, 3, 1, 0, bytes(32), SERVER).to_bytes()
    sum_at = header.rstrip(b"\0").__len__()
    for end in range(sum_at - 4, sum_at + 4):  # where the checksum stands
        if crc32(header[:end]) == int.from_bytes(header[end : end + 4], "big"):
            break
    newer = bytearray(header)
    newer[8:10] = (9).to_bytes(2, "big")
    newer[end : end + 4] = crc32(bytes(newer[:end])).to_bytes(4, "big")
    with pytest.raises(Damaged, match="format 9") as raised:
        SegmentHeader.from_bytes(bytes(newer))
    assert "version that wrote it" in str(raised.value.next_step)


def test_the_head_of_a_group_of_another_length() -> None:
    with pytest.raises(Damaged, match="1 bytes instead of"):
        GroupHead.from_bytes(b"x")


def frame_of(stored: bytes, raw_bytes: int, *, compressed: bool) -> bytes:
    """A frame whose checksum is right, whatever is in it."""
    model, _ = FrameCodec().encode(1, [b"any"], epoch=1, position=0, group_position=0)
    magic, version, _, _, _, *rest = struct.unpack_from(">2sBBIIQQII", model)
    head = struct.pack(">2sBBIIQQII", magic, version, int(compressed), len(stored), raw_bytes, *rest)
    return head + crc32(stored, crc32(head)).to_bytes(4, "big") + stored


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (frame_of(bytes(100), 101, compressed=False), "100 bytes instead of 101"),
        (frame_of(b"\1\0" + bytes(32), 34, compressed=False), "SHA-256"),
        (frame_of(zstandard.compress(random.Random(1).randbytes(500))[:-200], 500, compressed=True), "does not decom"),
    ],
)
def test_a_frame_whose_checksum_alone_is_right(frame: bytes, said: str) -> None:
    codec = FrameCodec()
    with pytest.raises(Damaged, match=said):
        codec.read_body(codec.read_header(frame), frame)
    assert len(frame) > FRAME_HEADER_BYTES


# Logs that somebody put together


def test_a_group_of_one_section(disk: FaultyDisk) -> None:
    log = started(disk, 1)
    segment = log.segments[-1]
    frame, _ = FrameCodec().encode(
        GROUP_KIND, [b"one"], epoch=1, position=log.durable.position, group_position=log.durable.position
    )
    segment.file.write(segment.offset(log.durable.position), frame)
    with pytest.raises(Damaged, match="not two sections"):
        log.reader.read_group(segment, Window(segment.file), log.durable)


def test_groups_of_frames_that_do_not_belong_together(disk: FaultyDisk) -> None:
    log = started(disk, 1)
    segment, before, codec = log.segments[-1], log.durable, FrameCodec()
    at = segment.offset(before.position)

    def read(*frames: bytes) -> None:
        segment.file.write(at, b"".join(frames))
        log.reader.read_group(segment, Window(segment.file), before)

    def place(position: int, group: int, kind: int = 1, *sections: bytes) -> bytes:
        return codec.encode(kind, sections or [b"any"], epoch=1, position=position, group_position=group)[0]

    first = place(before.position, before.position)
    after = before.position + len(first)
    with pytest.raises(Damaged, match="a frame of another group stands there"):
        read(first, place(after, after))
    head = GroupHead(1, before.position, ORDINARY, before.hash, bytes(32))
    with pytest.raises(Damaged, match="the GROUP frame is of another group"):
        read(first, place(after, before.position, GROUP_KIND, b"", head.to_bytes()))


def test_what_looks_like_a_frame_between_two_places_of_frames_is_none(disk: FaultyDisk) -> None:
    log = started(disk, 1)
    segment = log.segments[-1]
    end = segment.offset(log.durable.position)
    segment.file.write(end, b"abc" + FRAME_START)
    assert log.reader.find_later_frame(segment, end, 0) is None


def replaced(disk: FaultyDisk, **changes: Any) -> None:
    """The header of the second segment, and its name, say otherwise."""
    old = disk.list()[1]
    file = disk.open(old)
    header = SegmentHeader.from_bytes(file.read(0, SEGMENT_HEADER_BYTES))._replace(**changes)
    file.write(0, header.to_bytes())
    disk.rename(old, f"log-{header.number:08d}-{header.first:016x}")
    disk.crash(keep=True)


def test_a_segment_that_begins_within_the_last_group_of_the_one_before(disk: FaultyDisk) -> None:
    log = started(disk, 6)
    first = log.segments[1].first
    log.close()
    replaced(disk, first=first - 8)
    with pytest.raises(Damaged, match="reaches into the next segment"):
        list(open_log(disk).replay())


def test_a_segment_whose_header_is_of_another_one(disk: FaultyDisk) -> None:
    log = started(disk, 6)
    name = log.segments[1].file.name
    log.close()
    replaced(disk, number=3)
    disk.rename(disk.list()[1], name)
    with pytest.raises(Damaged, match="the segment header cannot be read"):
        list(open_log(disk).replay())


def test_a_segment_that_follows_another_one(disk: FaultyDisk) -> None:
    started(disk, 6).close()
    replaced(disk, previous=bytes(32))
    with pytest.raises(Damaged, match="does not follow the one before"):
        list(open_log(disk).replay())


def test_the_last_group_of_a_log_that_is_open(disk: FaultyDisk) -> None:
    """Of one that nobody has open it would be the torn tail; here it is known to have been synced."""
    log = started(disk, 0)
    place = log.append(1, [b"the last"])
    log.end_group()
    log.sync()
    assert len(list(log.replay())) == 1
    disk.flip(log.segments[-1].file.name, place.offset + 50)
    with pytest.raises(Damaged, match="at offset"):
        list(log.replay())


def test_a_log_without_segments_has_nothing_to_read(disk: FaultyDisk) -> None:
    with pytest.raises(Damaged, match=r"segment 1 of the log of 1\.7\.3 is missing"):
        open_log(disk).read(Location(1, SEGMENT_HEADER_BYTES))
    assert list(open_log(disk).replay(BEGINNING)) == []


def test_closing_syncs_what_was_ended_and_marks_the_end_durably(disk: FaultyDisk) -> None:
    log = started(disk, 1)
    log.append(1, [b"ended, not synced"])
    log.end_group()
    before = disk.syncs
    log.close()
    assert disk.syncs == before + 2, "what was ended is durable before the mark is written"
    assert disk.unsynced == 0
    disk.crash()
    assert len(list(open_log(disk).replay())) == 2


# What a group must be to count: each of it is looked at, whatever the others say

BEFORE = Mark(4096, 7, bytes(range(32)))
CONTENT = bytes(reversed(range(32)))
HEAD = GroupHead(2, 4096, ORDINARY, BEFORE.hash, CONTENT)


def belongs(head: GroupHead, *, epoch: int = 7, content: bytes = CONTENT, frames: int = 2) -> bool:
    return GroupReader(FrameCodec()).belongs(head, epoch, content, frames, BEFORE)


def test_a_group_is_of_its_place_its_run_and_its_frames() -> None:
    assert belongs(HEAD)
    assert not belongs(HEAD, content=bytes(32))
    assert not belongs(HEAD._replace(previous=bytes(32)))
    assert not belongs(HEAD._replace(first=4104))
    assert not belongs(HEAD, frames=1)
    assert not belongs(HEAD._replace(frames=1))
    assert not belongs(HEAD, epoch=6)
    assert not belongs(HEAD, epoch=8), "a run begins with an opening"
    empty = HEAD._replace(frames=0)
    assert belongs(empty._replace(purpose=OPENING), frames=0, epoch=9)
    assert not belongs(empty._replace(purpose=OPENING), frames=0, epoch=6)
    assert not belongs(HEAD._replace(purpose=OPENING), epoch=9), "it has no frames"
    assert belongs(empty._replace(purpose=CLOSING), frames=0)
    assert not belongs(empty._replace(purpose=CLOSING), frames=0, epoch=9)


def test_frames_are_of_one_group_and_each_of_its_place(disk: FaultyDisk) -> None:
    log = started(disk, 1)
    codec, reader = FrameCodec(), log.reader
    frame, _ = codec.encode(1, [b"any"], epoch=7, position=4200, group_position=4096)
    header = codec.read_header(frame)
    assert reader.same_group(header, None, 4096)
    assert reader.same_group(header, 7, 4096)
    assert not reader.same_group(header, 8, 4096)
    assert not reader.same_group(header, None, 4104)
    segment = log.segments[-1]
    at = segment.offset(log.durable.position)
    segment.file.write(at, frame)
    with pytest.raises(Damaged, match="a frame of position 4200 stands at position"):
        reader.read_frame(Window(segment.file), at, log.durable.position)
    with pytest.raises(Damaged, match="another frame stands there"):
        reader.read(segment, at)


def test_every_run_has_an_epoch_of_its_own(disk: FaultyDisk) -> None:
    for epoch in range(1, 5):
        log = started(disk, epoch % 2)
        assert log.epoch == epoch
        disk.crash()


def test_a_log_that_ends_before_the_tables_do(disk: FaultyDisk) -> None:
    log = started(disk, 1)
    log.close()
    with pytest.raises(Damaged, match="does not reach position 99999"):
        list(open_log(disk).replay(Mark(99_999, 1, bytes(32))))
    with pytest.raises(Damaged, match=r"is empty, but tables hold it up to position 99999"):
        list(open_log(FaultyDisk(random.Random(1))).replay(Mark(99_999, 1, bytes(32))))


# Recovery


async def test_cached_copies_come_back_from_the_log(make_server: Callable[..., Any], shoe: Any) -> None:
    server, other = make_server(), make_server("1.3")
    async with other.open() as theirs:
        await theirs.define(shoe)
        reference = await theirs.transact(lambda t: t.create("Shoe", {"name": "far"}))
        registry = other.updates(theirs, REGISTRY)
    async with server.open() as database:
        await database.define(shoe)
        await database.apply(registry)
        await database.cache([Copy(reference, shoe.fingerprint, 3, shoe.to_body({"name": "far"}))])
        await database.transact(lambda t: t.create("Shoe", {"name": "near"}))
    server.tables = MemoryTables()
    async with server.open() as database:
        with database.view() as view:
            assert view.get(reference).fields["name"] == "far"


async def test_a_frame_of_a_kind_to_come(server: Any) -> None:
    async with server.open():
        pass
    log = Log(server.disk, server=server.server, incarnation=5)
    list(log.replay())
    log.start()
    log.append(9, [b"what is this"])
    log.end_group()
    log.sync()
    server.disk.crash()
    with pytest.raises(Damaged, match=r"a frame of kind 9 .* which this version does not know"):
        async with server.open():
            pass


async def test_an_update_that_was_taken_and_is_not_understood_any_more(
    make_server: Callable[..., Any], shoe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, other = make_server(), make_server("1.3")
    async with other.open() as theirs:
        await theirs.define(shoe)
        registry = other.updates(theirs, REGISTRY)
    async with server.open() as database:
        await database.apply(registry)
    server.tables = MemoryTables()
    monkeypatch.setattr(recovery, "understand_untrusted", lambda *_: "its class is not known")
    with pytest.raises(Damaged, match=r"update 1 of 1\.3 was taken, but now its class is not known"):
        async with server.open():
            pass


# Tables


def test_no_room_to_open_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise lmdb.DiskError("No space left on device")

    monkeypatch.setattr(lmdb, "open", refuse)
    with pytest.raises(Exhausted, match="no room to open the tables"):
        LmdbTables(tmp_path / "tables")


async def test_what_lmdb_says_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_READERS", 2)
    opened = LmdbTables(tmp_path / "tables")
    await opened.fold({"t": {b"key": b"value"}}, b"meta")
    first, second = opened.begin_read(), opened.begin_read()
    with pytest.raises(Exhausted, match=r"2 snapshots of .* are open"):
        opened.begin_read()
    second.close()
    assert first.get("t", b"x" * 600) is None, "no such key can be there"

    class Broken:
        def get(self, *_: Any) -> Any:
            raise lmdb.CorruptedError("a page is not what it was")

        def abort(self) -> None: ...

    whole, first._transaction = first._transaction, Broken()
    with pytest.raises(Damaged, match="cannot be read: a page is not what it was"):
        first.get("t", b"key")
    first._transaction = whole
    first.close()
    opened.close()
