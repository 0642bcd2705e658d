"""Logs that no crash and no bit makes, walked through: each contradiction is named, and what is behind it is read."""

from __future__ import annotations

import random
from typing import Any

import pytest

from identity.names import ServerId
from simulations.faulty_disk import FaultyDisk
from store.checking_log import LogWalk, Walked
from store.findings import InLog, Report
from store.frames import GROUP_KIND, SEGMENT_HEADER_BYTES, FrameCodec, SegmentHeader
from store.log import Log
from store.mending_log import _from_itself, mended_header, read_header

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


def walk(disk: FaultyDisk, **bounds: Any) -> tuple[list[str], int]:
    """The causes that are told, and how many groups were read."""
    report = Report()
    met = list(LogWalk(open_log(disk), report, **{"until": None, **bounds}).walk())
    return [each.cause for each in report.findings], sum(isinstance(each, Walked) and bool(each.frames) for each in met)


def replaced(disk: FaultyDisk, **changes: Any) -> None:
    """The header of the second segment, and its name, say otherwise."""
    old = disk.list()[1]
    file = disk.open(old)
    header = SegmentHeader.from_bytes(file.read(0, SEGMENT_HEADER_BYTES))._replace(**changes)
    file.write(0, header.to_bytes())
    disk.rename(old, f"log-{header.number:08d}-{header.first:016x}")
    disk.crash(keep=True)


def test_a_segment_that_follows_another_one(disk: FaultyDisk) -> None:
    started(disk, 9).close()
    assert walk(disk) == ([], 9)
    replaced(disk, previous=bytes(32))
    assert walk(disk) == (["it does not follow the one before it"], 9)


def test_a_segment_that_begins_within_the_last_group_of_the_one_before(disk: FaultyDisk) -> None:
    log = started(disk, 9)
    first = log.segments[1].first
    log.close()
    replaced(disk, first=first - 8)
    causes, groups = walk(disk)
    assert causes[0] == "a group reaches into the next segment"
    assert groups < 9


def put(log: Log, *frames: tuple[int, bool, list[bytes]]) -> None:
    """Frames behind the end: each of a kind, of the group that begins there or of one that begins with it."""
    segment, before = log.segments[-1], log.durable
    position = before.position
    for kind, alone, sections in frames:
        data, _ = FrameCodec().encode(
            kind, sections, epoch=before.epoch, position=position,
            group_position=position if alone else before.position,
        )  # fmt: skip
        segment.file.write(segment.offset(position), data)
        position += len(data)


def test_a_group_of_one_section(disk: FaultyDisk) -> None:
    put(started(disk, 2), (GROUP_KIND, False, [b"one"]), (1, True, [b"of a later one"]))
    disk.crash(keep=True)
    causes, groups = walk(disk)
    assert causes[0].startswith("a GROUP frame has not two sections")
    assert groups == 2


def test_a_frame_of_another_group_within_one(disk: FaultyDisk) -> None:
    put(started(disk, 2), (1, False, [b"first"]), (1, True, [b"of a later one"]), (1, True, [b"and of another"]))
    disk.crash(keep=True)
    causes, groups = walk(disk)
    assert causes[0].startswith("a frame of another group stands there")
    assert groups == 2


def test_no_further_than_asked_for(disk: FaultyDisk) -> None:
    log = started(disk, 9)
    segments = log.segments
    log.close()
    assert len(segments) >= 3
    whole = walk(disk)[1]
    assert walk(disk, until=segments[1].first)[1] < whole
    assert walk(disk, since=segments[2].first)[1] < whole


def test_a_header_is_mended_by_one_bit_and_its_name_or_not_at_all(disk: FaultyDisk) -> None:
    log = started(disk, 1)
    name = log.segments[0].file.name
    whole = log.segments[0].file.read(0, SEGMENT_HEADER_BYTES)
    one, two = bytearray(whole), bytearray(whole)
    one[20] ^= 4
    two[20] ^= 4
    two[30] ^= 4
    assert mended_header(name, bytes(one)) == whole
    assert mended_header(name, bytes(two)) is None
    assert read_header(name, bytes(one)) == read_header(name, whole) == SegmentHeader.from_bytes(whole)
    assert read_header(name, bytes(two)) is None
    assert read_header(name, whole[:40]) is None
    assert mended_header(name.replace("00000001", "00000002"), bytes(one)) is None, "of another segment"


def test_a_piece_that_is_no_whole_frame_is_not_mended_from_itself(disk: FaultyDisk) -> None:
    segment = (log := started(disk, 1)).segments[0]
    place = InLog(segment.number, SEGMENT_HEADER_BYTES, SEGMENT_HEADER_BYTES + 101)
    assert _from_itself(log, segment, place, bytes(101), 1) is None
