"""The log: what is appended replays; what is torn is cut; what is damaged is named; nothing dead comes back."""

import random

import pytest
import trio

from identity.errors import Damaged, Exhausted, LocalMistake, Refused
from identity.names import ServerId
from simulations.faulty_disk import FaultyDisk
from store.frames import SEGMENT_HEADER_BYTES
from store.log import BEGINNING, Group, Location, Log, Mark

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


def test_what_was_appended_and_synced_replays_in_its_groups(disk: FaultyDisk) -> None:
    log, found = recover(disk)
    assert found == []
    assert log.epoch == 1
    log.append(1, [b"registry", b"data", b"local"])
    log.append(2, [b"foreign"])
    mark = log.end_group(b"seals")
    log.sync()
    assert log.durable == mark
    commit(log, b"more")
    disk.crash()

    log, found = recover(disk)
    assert [[frame.kind for frame in group.frames] for group in found] == [[1, 2], [1]]
    assert found[0].frames[0].sections == [b"registry", b"data", b"local"]
    assert [group.seals for group in found] == [b"seals", b""]
    assert found[0].mark == mark
    assert log.epoch == 2


def test_replay_goes_on_after_any_mark(disk: FaultyDisk) -> None:
    log, _ = recover(disk, segment_bytes=8000)
    for number in range(60):
        commit(log, b"%d" % number * 50, b"b")
    log.close()
    groups = list(open_log(disk).replay())
    assert len(groups) == 60
    assert len(disk.list()) > 3
    for index in range(60):
        assert list(open_log(disk).replay(groups[index].mark)) == groups[index + 1 :]


def test_a_location_gives_its_frame_before_and_after_the_sync_and_in_later_runs(disk: FaultyDisk) -> None:
    log, _ = recover(disk, segment_bytes=20_000)
    held: dict[Location, bytes] = {}
    rng = random.Random(5)
    for number in range(30):
        for _ in range(rng.randrange(1, 4)):
            body = b"%d " % number + rng.randbytes(rng.choice([10, 5000]))
            location = log.append(1, [b"", body])
            held[location] = body
            assert log.read(location).sections == [b"", body]
        log.end_group()
        assert log.read(location).sections[1] == body
        log.sync()
    disk.crash()
    log, groups = recover(disk)
    for location, body in held.items():
        frame = log.read(location)
        assert frame.sections == [b"", body]
        assert frame.location == location
    assert {frame.location: frame for group in groups for frame in group.frames}[location] == log.read(location)


def test_positions_are_aligned_and_go_on_over_segments(disk: FaultyDisk) -> None:
    log, _ = recover(disk, segment_bytes=8000)
    for number in range(40):
        commit(log, b"x" * number * 7)
    log.close()
    groups = list(open_log(disk).replay())
    position = 0
    for group in groups:
        assert group.position >= position
        assert all(frame.position % 8 == 0 for frame in group.frames)
        position = group.mark.position
    assert len({frame.location.segment for group in groups for frame in group.frames}) > 2
    assert all(len({frame.location.segment for frame in group.frames}) == 1 for group in groups)


def test_the_next_group_waits_for_the_sync_of_the_one_before(disk: FaultyDisk) -> None:
    log, _ = recover(disk)
    log.append(1, [b"a"])
    log.end_group()
    with pytest.raises(LocalMistake, match="after the sync of the one before"):
        log.append(1, [b"b"])
    with pytest.raises(LocalMistake, match="after the sync"):
        log.end_group()
    log.sync()
    log.append(1, [b"b"])


def test_steps_out_of_order_are_our_mistake(disk: FaultyDisk) -> None:
    log = open_log(disk)
    with pytest.raises(LocalMistake, match="replay it, then start it"):
        log.append(1, [b""])
    with pytest.raises(LocalMistake, match="after its replay"):
        log.start()
    list(log.replay())
    log.start()
    with pytest.raises(LocalMistake):
        log.start()
    with pytest.raises(LocalMistake, match="without transactions"):
        log.end_group()
    for kind in (0, 256, -1):
        with pytest.raises(LocalMistake, match="no kind of frame"):
            log.append(kind, [b""])
    log.close()
    with pytest.raises(LocalMistake):
        log.append(1, [b""])


def test_an_abandoned_group_leaves_no_trace(disk: FaultyDisk) -> None:
    log, _ = recover(disk)
    commit(log, b"a")
    log.append(1, [b"never"])
    log.append(1, [b"never"])
    assert (log.group_frames, log.group_bytes > 0) == (2, True)
    log.abandon_group()
    assert (log.group_frames, log.group_bytes) == (0, 0)
    commit(log, b"b")
    disk.crash()
    assert bodies(recover(disk)[1]) == [[b"a"], [b"b"]]


def test_a_full_disk_refuses_an_append_and_loses_nothing(disk: FaultyDisk) -> None:
    log, _ = recover(disk, segment_bytes=100_000)
    commit(log, b"before")
    disk.full = True
    accepted = []
    body = bytes(3000)  # shrinks to a few bytes, so some fit into what is allocated
    with pytest.raises(Exhausted, match="the disk is full"):  # noqa: PT012 - which of them is refused is not the point
        for _ in range(1000):
            log.append(1, [body])
            accepted.append(body)
    assert disk.failure is None
    assert accepted
    log.end_group(b"the room for the end was kept")
    log.sync()
    disk.full = False
    commit(log, b"after")
    disk.crash()
    assert bodies(recover(disk)[1]) == [[b"before"], accepted, [b"after"]]


def test_a_full_disk_when_a_segment_begins(disk: FaultyDisk) -> None:
    log, _ = recover(disk, segment_bytes=5000)
    count = 0
    while SEGMENT_HEADER_BYTES + log.durable.position < 5000:
        commit(log, b"%d" % count * 200)
        count += 1
    disk.full = True
    with pytest.raises(Exhausted):
        commit(log, b"refused")
    disk.full = False
    commit(log, b"taken")
    disk.crash()
    found = bodies(recover(disk)[1])
    assert len(found) == count + 1
    assert found[-1] == [b"taken"]


def test_after_a_failed_sync_nothing_more_is_written(disk: FaultyDisk) -> None:
    log, _ = recover(disk)
    commit(log, b"answered")
    log.append(1, [b"not answered"])
    log.end_group()
    disk.fail_sync = True
    with pytest.raises(Damaged, match="cannot sync"):
        log.sync()
    disk.fail_sync = False
    with pytest.raises(Damaged, match="cannot sync"):
        log.sync()
    writes = disk.writes
    log.close()
    assert disk.writes == writes
    disk.crash()
    assert bodies(recover(disk)[1])[0] == [b"answered"]


def test_another_servers_log_is_refused(disk: FaultyDisk) -> None:
    recover(disk)
    for server, incarnation in ((ServerId.parse("1.7"), 1), (SERVER, 2)):
        with pytest.raises(Refused, match=r"this log is of 1\.7\.3 \(incarnation 1\)"):
            Log(disk, server=server, incarnation=incarnation)


def test_large_groups_overrun_a_segment_and_lie_in_one(disk: FaultyDisk) -> None:
    log, _ = recover(disk, segment_bytes=8192)
    large = [random.Random(number).randbytes(100_000) for number in range(4)]
    commit(log, *large)
    commit(log, b"next")
    disk.crash()
    _, found = recover(disk)
    assert bodies(found) == [large, [b"next"]]
    assert [frame.location.segment for group in found for frame in group.frames] == [1, 1, 1, 1, 2]


def test_large_seals_find_room(disk: FaultyDisk) -> None:
    log, _ = recover(disk)
    seals = random.Random(1).randbytes(300_000)
    commit(log, b"a", seals=seals)
    disk.crash()
    assert recover(disk)[1][0].seals == seals


def test_replaying_a_log_that_is_open_stops_at_its_end(disk: FaultyDisk) -> None:
    log, _ = recover(disk)
    commit(log, b"a")
    assert bodies(list(log.replay())) == [[b"a"]]
    commit(log, b"b")
    assert bodies(list(log.replay())) == [[b"a"], [b"b"]]
    assert log.durable == list(log.replay())[-1].mark


def test_a_process_that_died_leaves_the_page_cache_and_recovery_makes_it_durable(disk: FaultyDisk) -> None:
    log, _ = recover(disk)
    log.append(1, [b"in the page cache"])
    log.end_group()
    disk.crash(keep=True)
    _, found = recover(disk)
    assert bodies(found) == [[b"in the page cache"]]
    disk.crash()
    assert bodies(recover(disk)[1]) == [[b"in the page cache"]]


async def test_an_awaited_sync_makes_durable_what_was_ended_before_it() -> None:
    reached = trio.Event()
    go_on = trio.Event()

    async def pause() -> None:
        reached.set()
        await go_on.wait()

    disk = FaultyDisk(random.Random(1), pause=pause)
    log, _ = recover(disk)
    log.append(1, [b"a"])
    mark = log.end_group()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.sync_async)
        await reached.wait()
        assert log.durable != mark
        with pytest.raises(LocalMistake):
            log.append(1, [b"b"])
        go_on.set()
    assert log.durable == mark


def test_marks_and_locations_have_bytes() -> None:
    mark = Mark(1 << 40, 7, bytes(range(32)))
    assert len(mark.to_bytes()) == 48
    assert Mark.from_bytes(mark.to_bytes()) == mark
    location = Location(3, 1 << 33)
    assert len(location.to_bytes()) == 12
    assert Location.from_bytes(location.to_bytes()) == location


def test_a_log_starts_on_a_full_disk_as_often_as_it_takes_to_make_room(disk: FaultyDisk) -> None:
    log, _ = recover(disk, segment_bytes=100_000)
    disk.full = True
    count = 0
    with pytest.raises(Exhausted):  # noqa: PT012 - which of them is refused is not the point
        while True:
            log.append(1, [b"%d" % count * 300])
            log.end_group()
            log.sync()
            count += 1
    for start in range(90):
        if start % 2:
            log.close()
            disk.close()
        else:
            disk.crash()
        log, found = recover(disk, segment_bytes=100_000)
        assert len(found) == count
        with pytest.raises(Exhausted):
            log.append(1, [b"refused"])
    disk.full = False
    commit(log, b"taken")
    log.close()
    disk.crash()
    assert bodies(recover(disk)[1])[count:] == [[b"taken"]]


def test_a_reserve_that_is_used_up_says_so_and_loses_nothing(disk: FaultyDisk) -> None:
    log, _ = recover(disk)
    commit(log, b"before")
    disk.full = True
    with pytest.raises(Exhausted, match="no room"):  # noqa: PT012 - in which start is not the point
        for _ in range(5000):
            log.close()
            disk.close()
            log, _ = recover(disk)
    disk.full = False
    disk.crash()
    assert bodies(recover(disk)[1]) == [[b"before"]]
