"""Torn or damaged: what a crash leaves is cut in silence, what the medium lost is named, and neither is the other."""

import random

import pytest

from identity.errors import Damaged, LocalMistake
from identity.names import ServerId
from simulations.faulty_disk import FaultyDisk, PowerCut
from store.frames import CLOSING, OPENING, ORDINARY, SEGMENT_HEADER_BYTES, FrameCodec, FrameHeader, GroupHead
from store.log import BEGINNING, Group, Location, Log, Mark
from store.segments import GroupReader

SERVER = ServerId.parse("1.7.3")


def open_log(disk: FaultyDisk, **settings: int) -> Log:
    return Log(disk, server=SERVER, incarnation=1, **{"segment_bytes": 64 << 10, "step_bytes": 4096, **settings})


def recover(disk: FaultyDisk, after: Mark = BEGINNING, **settings: int) -> tuple[Log, list[Group]]:
    log = open_log(disk, **settings)
    groups = list(log.replay(after))
    log.start()
    return log, groups


def commit(log: Log, *bodies: bytes, seals: bytes = b"") -> list[Location]:
    locations = [log.append(1, [body]) for body in bodies]
    log.end_group(seals)
    log.sync()
    return locations


def bodies(groups: list[Group]) -> list[list[bytes]]:
    return [[frame.sections[0] for frame in group.frames] for group in groups]


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk(random.Random(1))


def test_every_cut_through_the_last_group_leaves_those_before(disk: FaultyDisk) -> None:
    log, _ = recover(disk)
    commit(log, b"first", b"group")
    durable = log.durable
    commit(log, b"second" * 20, b"torn")
    name = disk.list()[0]
    file = disk.open(name)
    start = SEGMENT_HEADER_BYTES + durable.position
    end = SEGMENT_HEADER_BYTES + log.durable.position
    whole = file.read(start, end - start)
    padding = len(whole) - len(whole.rstrip(b"\0"))
    for cut in range(end - start - padding):
        file.write(start, whole[:cut].ljust(len(whole), b"\0"))
        log = open_log(disk)
        assert bodies(list(log.replay())) == [[b"first", b"group"]]
    file.write(start, whole)
    assert len(list(open_log(disk).replay())) == 2


def test_a_log_goes_on_after_its_torn_tail(disk: FaultyDisk) -> None:
    log, _ = recover(disk)
    commit(log, b"kept")
    log.append(1, [b"A" * 300])
    log.append(1, [b"B" * 300])
    log.end_group()
    disk.crash(keep=True)
    disk.flip(disk.list()[0], SEGMENT_HEADER_BYTES + log.durable.position + 60)
    for life in range(2, 5):
        log, found = recover(disk)
        assert log.epoch == life
        assert bodies(found) == [[b"kept"], *([b"life %d" % before] for before in range(2, life))]
        commit(log, b"life %d" % life)
        disk.crash()


def test_a_bad_frame_before_the_last_group_is_named_and_later_ones_stay_readable(disk: FaultyDisk) -> None:
    log, _ = recover(disk)
    (first,) = commit(log, b"first")
    (second,) = commit(log, b"second")
    (third,) = commit(log, b"third")
    disk.crash()
    disk.flip(disk.list()[0], second.offset + 50)
    log = open_log(disk)
    replay = log.replay()
    assert bodies([next(replay)]) == [[b"first"]]
    with pytest.raises(Damaged, match=f"log-00000001-0000000000000000 at offset {second.offset}.*intact frames follow"):
        next(replay)
    with pytest.raises(LocalMistake, match="after its replay"):
        log.start()
    assert log.read(first).sections == [b"first"]
    assert log.read(third).sections == [b"third"]
    with pytest.raises(Damaged, match=f"offset {second.offset}: the CRC-32 of the frame differs") as caught:
        log.read(second)
    assert caught.value.details == {"segment": 1, "offset": second.offset}


def test_what_was_never_appended_cannot_be_read(disk: FaultyDisk) -> None:
    log, _ = recover(disk)
    commit(log, b"kept")
    dead = log.append(1, [b"dead" * 50])
    log.end_group()
    disk.crash(keep=True)
    disk.flip(disk.list()[0], SEGMENT_HEADER_BYTES + log._ended.position - 20)
    log, _ = recover(disk)
    for location in (dead, Location(1, dead.offset + (1 << 20)), Location(2, 4096), Location(1, 4097)):
        with pytest.raises(Damaged):
            log.read(location)


def test_one_intact_frame_of_a_torn_later_group_proves_damage(disk: FaultyDisk) -> None:
    log, _ = recover(disk)
    (answered,) = commit(log, b"answered")
    log.append(1, [b"A"])
    torn = log.append(1, [b"B"])
    log.end_group()
    disk.crash(keep=True)
    name = disk.list()[0]
    group_end = SEGMENT_HEADER_BYTES + log._ended.position
    disk.flip(name, group_end - 20)  # the GROUP frame never landed whole
    assert bodies(list(open_log(disk).replay())) == [[b"answered"]]
    disk.flip(name, answered.offset + 45)
    with pytest.raises(Damaged, match="intact frames follow"):
        list(open_log(disk).replay())
    assert open_log(disk).read(torn).sections == [b"B"]


def test_closing_in_order_lets_damage_of_the_last_group_be_noticed(disk: FaultyDisk) -> None:
    log, _ = recover(disk)
    (last,) = commit(log, b"last")
    log.close()
    disk.close()
    disk.flip(disk.list()[0], last.offset + 45)
    with pytest.raises(Damaged, match="intact frames follow"):
        list(open_log(disk).replay())


def test_damage_in_an_earlier_segment_is_never_a_torn_tail(disk: FaultyDisk) -> None:
    log, _ = recover(disk, segment_bytes=5000)
    locations = [commit(log, b"x" * 300)[0] for _ in range(30)]
    disk.crash()
    first_of_second = next(location for location in locations if location.segment == 2)
    last_of_first = locations[locations.index(first_of_second) - 1]
    name = disk.list()[0]
    for at in (last_of_first.offset + 50, last_of_first.offset):
        disk.flip(name, at)
        with pytest.raises(Damaged, match=name):
            list(open_log(disk).replay())
        disk.flip(name, at)
    disk.flip(disk.list()[1], 20)  # a header
    log = open_log(disk)
    with pytest.raises(Damaged, match="segment header"):
        list(log.replay())
    assert log.read(first_of_second).sections == [b"x" * 300]


def test_a_bad_header_before_intact_frames_is_damage_and_nothing_is_removed(disk: FaultyDisk) -> None:
    log, _ = recover(disk)
    (location,) = commit(log, b"answered")
    disk.crash()
    disk.flip(disk.list()[0], 3)
    log = open_log(disk)
    with pytest.raises(Damaged, match="segment header cannot be read"):
        list(log.replay())
    with pytest.raises(LocalMistake):
        log.start()
    assert log.read(location).sections == [b"answered"]
    assert len(disk.list()) == 1


def test_a_missing_segment_is_named(disk: FaultyDisk) -> None:
    log, _ = recover(disk, segment_bytes=5000)
    locations = [commit(log, b"%d" % number * 300)[0] for number in range(40)]
    disk.crash()
    disk.remove(disk.list()[1])
    with pytest.raises(Damaged, match=r"segment 2 of the log of 1\.7\.3 is missing"):
        open_log(disk)
    assert locations


def test_a_log_shorter_than_what_tables_hold_is_damaged(disk: FaultyDisk) -> None:
    log, _ = recover(disk)
    mark = Mark(1 << 20, 1, bytes(32))
    with pytest.raises(Damaged, match="does not reach position 1048576"):
        list(open_log(disk).replay(mark))
    with pytest.raises(Damaged, match="is empty, but tables hold it"):
        list(open_log(FaultyDisk(random.Random(1))).replay(mark))
    assert log.durable.position > 0


def test_a_segment_whose_making_was_cut_short_is_made_anew(disk: FaultyDisk) -> None:
    for kth in range(1, 6):
        disk = FaultyDisk(random.Random(kth))
        log, _ = recover(disk, segment_bytes=5000)
        count = 0
        while len(disk.list()) < 2:
            commit(log, b"%d" % count * 100)
            count += 1
        name = disk.list()[1]
        disk.crash()
        file = disk.open(name)
        file.write(0, bytes(file.size()) if kth % 2 else random.Random(kth).randbytes(SEGMENT_HEADER_BYTES // kth))
        file.write(SEGMENT_HEADER_BYTES, bytes(file.size() - SEGMENT_HEADER_BYTES))
        log, found = recover(disk, segment_bytes=5000)
        assert len(found) == count - 1
        commit(log, b"on")
        disk.crash()
        assert len(recover(disk)[1]) == count


def test_a_crash_in_any_step_of_recovery_is_harmless() -> None:
    for kth in range(1, 5):
        for which in ("write", "sync"):
            disk = FaultyDisk(random.Random(kth))
            log, _ = recover(disk)
            commit(log, b"answered")
            log.append(1, [b"torn"])
            log.end_group()
            disk.crash()
            disk.crash_at(**{which: kth})
            try:
                recover(disk)
                died = False
            except PowerCut:
                died = True
            disk.crash()
            log, found = recover(disk)
            assert bodies(found)[0] == [b"answered"]
            assert len(found) <= 2
            assert log.epoch == (2 if died else 3) or died


def test_a_frame_inside_a_transaction_is_not_taken_for_one_of_the_log(disk: FaultyDisk) -> None:
    """A peer that guessed the position at which its bytes will stand, in a group that is then torn."""
    log, _ = recover(disk)
    commit(log, b"kept")
    torn = log.append(1, [b"first"])
    # The payload begins 46 bytes after the frame does: header, kind, number of sections, one length.
    position = log.durable.position + log.group_bytes + 48
    imitation, _ = log._codec.encode(1, [b"imitation"], epoch=9, position=position, group_position=position)
    carrier = log.append(1, [b"\0\0" + imitation])
    log.end_group()
    name = disk.list()[0]
    at = carrier.offset + 48
    assert disk.open(name).read(at, len(imitation)) == imitation
    disk.crash(keep=True)
    disk.flip(name, torn.offset + 50)
    assert bodies(recover(disk)[1]) == [[b"kept"]]


BEFORE = Mark(800, 5, b"p" * 32)
HEAD = GroupHead(2, 800, ORDINARY, b"p" * 32, b"c" * 32)


@pytest.mark.parametrize(
    ("head", "epoch", "frames", "fits"),
    [
        (HEAD, 5, 2, True),
        (HEAD, 4, 2, False),
        (HEAD, 6, 2, False),
        (HEAD, 5, 3, False),
        (HEAD._replace(first=792), 5, 2, False),
        (HEAD._replace(previous=b"q" * 32), 5, 2, False),
        (HEAD._replace(content=b"d" * 32), 5, 2, False),
        (HEAD._replace(purpose=OPENING), 6, 2, False),
        (HEAD._replace(purpose=OPENING, frames=0), 6, 0, True),
        (HEAD._replace(purpose=OPENING, frames=0), 4, 0, False),
        (HEAD._replace(purpose=CLOSING, frames=0), 5, 0, True),
        (HEAD._replace(purpose=CLOSING, frames=0), 6, 0, False),
    ],
)
def test_which_group_frames_belong(head: GroupHead, epoch: int, frames: int, fits: bool) -> None:
    assert GroupReader(FrameCodec()).belongs(head, epoch, b"c" * 32, frames, BEFORE) is fits


@pytest.mark.parametrize(
    ("back", "epoch_before", "fits"), [(16, 5, True), (16, None, True), (8, 5, False), (16, 4, False), (16, 6, False)]
)
def test_which_frames_are_of_one_group(back: int, epoch_before: int | None, fits: bool) -> None:
    header = FrameHeader(flags=0, stored_bytes=1, raw_bytes=1, epoch=5, position=816, back=back, crc=0)
    assert GroupReader(FrameCodec()).same_group(header, epoch_before, 800) is fits
