"""The faulty disk keeps what it must, loses what it may, and does the same again from the same seed."""

import itertools
import random

import pytest

from identity.errors import Damaged, Exhausted, LocalMistake
from simulations.faulty_disk import SECTOR_BYTES, FaultyDisk, Place, PowerCut


def make(seed: int = 1) -> FaultyDisk:
    return FaultyDisk(random.Random(seed))


def test_synced_stays_and_unsynced_may_go() -> None:
    outcomes = set()
    for seed in range(60):
        disk = make(seed)
        file = disk.open("log-1", create=True)
        disk.sync_directory()
        file.write(0, b"synced")
        file.sync()
        file.write(6, b" not synced")
        assert disk.unsynced == 1
        disk.crash()
        assert disk.unsynced == 0
        outcomes.add(disk.open("log-1").read(0, 100))
    assert all(outcome.startswith(b"synced") for outcome in outcomes)
    assert {b"synced", b"synced not synced"} < outcomes
    assert len(outcomes) > 2, "garbage, too"


def test_a_torn_write_lands_by_whole_sectors_in_any_order() -> None:
    patterns = set()
    for seed in range(300):
        disk = make(seed)
        file = disk.open("log-1", create=True)
        file.allocate(SECTOR_BYTES * 6)
        disk.sync_directory()
        file.write(SECTOR_BYTES // 2, b"x" * SECTOR_BYTES * 4)  # touches five sectors, two of them in part
        disk.crash()
        data = disk.open("log-1").read(0, SECTOR_BYTES * 6)
        assert data[: SECTOR_BYTES // 2] == bytes(SECTOR_BYTES // 2)
        assert data[SECTOR_BYTES // 2 + SECTOR_BYTES * 4 :] == bytes(SECTOR_BYTES * 3 // 2)
        bounds = [SECTOR_BYTES // 2, *(SECTOR_BYTES * number for number in range(1, 5)), SECTOR_BYTES * 9 // 2]
        pattern = ""
        for start, end in itertools.pairwise(bounds):
            piece = data[start:end]
            whole = {b"x" * len(piece): "x", bytes(len(piece)): "0"}
            pattern += whole.get(piece, "?")
        patterns.add(pattern)
    assert {"xxxxx", "00000"} < patterns
    assert any(pattern.startswith("0") and pattern.endswith("x") for pattern in patterns)
    assert any("?" in pattern for pattern in patterns)


def test_a_later_write_may_be_there_without_an_earlier_one() -> None:
    seen = set()
    for seed in range(100):
        disk = make(seed)
        file = disk.open("log-1", create=True)
        file.allocate(2000)
        disk.sync_directory()
        file.write(0, b"a")
        file.write(1000, b"b")
        disk.crash()
        file = disk.open("log-1")
        seen.add((file.read(0, 1), file.read(1000, 1)))
    assert {(b"a", b"b"), (b"a", b"\0"), (b"\0", b"b"), (b"\0", b"\0")} <= seen


def test_names_are_kept_in_their_order_or_not_at_all() -> None:
    seen = set()
    for seed in range(100):
        disk = make(seed)
        disk.open("old", create=True)
        disk.sync_directory()
        disk.open("new", create=True)
        disk.rename("new", "newer")
        disk.remove("old")
        disk.crash()
        seen.add(tuple(disk.list()))
    assert seen == {("old",), ("new", "old"), ("newer", "old"), ("newer",)}


def test_the_death_of_the_process_keeps_the_page_cache_unsynced() -> None:
    disk = make()
    file = disk.open("log-1", create=True)
    file.write(0, b"x")
    disk.crash(keep=True)
    with pytest.raises(PowerCut, match="a run that ended"):
        file.read(0, 1)
    assert disk.open("log-1").read(0, 1) == b"x"
    assert disk.unsynced == 2


@pytest.mark.parametrize("which", ["write", "sync"])
def test_the_power_is_cut_in_the_chosen_step_and_nothing_goes_on(which: str) -> None:
    disk = make()
    file = disk.open("log-1", create=True)
    disk.crash_at(**{which: 2})
    file.write(0, b"a")
    file.sync()
    with pytest.raises(PowerCut, match=f"in {which} 2"):  # noqa: PT012 - which of the steps raises is the parameter
        for _ in range(3):
            file.write(0, b"b")
            file.sync()
    for step in (lambda: file.write(0, b"c"), file.sync, disk.list, disk.sync_directory, lambda: file.read(0, 1)):
        with pytest.raises(PowerCut, match="the power is cut"):
            step()
    disk.crash()
    disk.list()


def test_a_full_disk_and_a_failing_one() -> None:
    disk = make()
    file = disk.open("log-1", create=True)
    file.allocate(100)
    disk.full = True
    file.write(0, b"within what is there")
    with pytest.raises(Exhausted, match="no room"):
        file.allocate(200)
    with pytest.raises(Exhausted, match="no room"):
        disk.open("log-2", create=True)
    assert disk.failure is None
    disk.full = False
    disk.fail_sync = True
    with pytest.raises(Damaged, match="cannot sync"):
        file.sync()
    disk.fail_sync = False
    with pytest.raises(Damaged, match="cannot sync"):
        file.sync()
    disk.crash()
    disk.open("log-1" if "log-1" in disk.list() else "other", create="log-1" not in disk.list()).sync()


def test_one_seed_gives_one_history_and_one_trace() -> None:
    def history(seed: int) -> tuple[list[str], dict[str, bytes]]:
        trace: list[str] = []
        disk = FaultyDisk(random.Random(seed), trace=trace.append)
        for life in range(5):
            for name in [f"log-{life}", *disk.list()]:
                file = disk.open(name, create=name not in disk.list())
                file.write(life * 100, bytes([life]) * 2000)
            disk.sync_directory()
            disk.crash()
        return trace, disk.image()

    assert history(1) == history(1)
    assert history(1)[1] != history(2)[1]
    trace = history(1)[0]
    assert trace[0].startswith("write log-0 0 2000 ")
    assert "sync directory" in trace
    assert trace[-1].startswith("crash 5 ")
    assert len({history(seed)[0][-1] for seed in range(5)}) == 5, "what is left is part of the trace"


async def test_a_slow_disk_is_a_pause_in_virtual_time() -> None:
    pauses = 0

    async def pause() -> None:
        nonlocal pauses
        pauses += 1

    disk = FaultyDisk(random.Random(1), pause=pause)
    file = disk.open("log-1", create=True)
    await file.sync_async()
    file.sync()
    assert (pauses, disk.syncs) == (1, 2)


def test_a_torn_write_is_asked_for_and_made() -> None:
    for seed in range(100):
        disk = make(seed)
        file = disk.open("log-1", create=True)
        file.allocate(SECTOR_BYTES * 4)
        disk.sync_directory()
        file.write(0, b"x" * SECTOR_BYTES * 4)
        disk.crash(torn_write=True)
        left = disk.open("log-1").read(0, SECTOR_BYTES * 4)
        assert left != b"x" * SECTOR_BYTES * 4, "all of it landed"
        assert b"x" * SECTOR_BYTES in left, "nothing of it landed"


def test_a_write_had_just_begun_where_none_was_under_way() -> None:
    for seed in range(100):
        disk = make(seed)
        file = disk.open("log-1", create=True)
        file.allocate(SECTOR_BYTES * 4)
        disk.sync_directory()
        file.write(0, b"durable" * 100)
        file.sync()
        assert disk.unsynced == 0
        disk.crash(torn_write=True)
        left = disk.open("log-1").read(0, SECTOR_BYTES * 4)
        assert left[:700] == b"durable" * 100
        assert len(left.rstrip(b"\0")) > 700


def test_a_process_that_dies_tears_nothing() -> None:
    with pytest.raises(LocalMistake, match="tears no write"):
        make().crash(keep=True, torn_write=True)


@pytest.mark.parametrize("which", ["write", "sync"])
def test_a_disk_that_fails_in_the_chosen_step_works_again_in_the_next_run(which: str) -> None:
    disk = make()
    file = disk.open("log-1", create=True)
    file.write(0, b"a")
    disk.fail_at(**{which: 1})
    step = {"write": lambda: file.write(1, b"b"), "sync": file.sync}[which]
    with pytest.raises(Damaged, match=f"cannot {which} log-1"):
        step()
    for again in (file.sync, disk.list, lambda: file.read(0, 1)):
        with pytest.raises(Damaged, match=f"cannot {which} log-1"):
            again()
    disk.close()
    file = disk.open("log-1")
    file.write(0, b"c")
    file.sync()


def test_what_a_failed_sync_was_for_is_shown_and_is_not_there() -> None:
    outcomes = set()
    for seed in range(40):
        disk = make(seed)
        file = disk.open("log-1", create=True)
        disk.sync_directory()
        file.write(0, b"one ")
        file.write(4, b"two ")
        disk.fail_at(sync=1)
        with pytest.raises(Damaged):
            file.sync()
        disk.crash(keep=True)
        file = disk.open("log-1")
        assert file.read(0, 20) == b"one two "
        file.write(8, b"three")
        file.sync()  # says nothing, for the pages are clean
        assert disk.unsynced > 0
        disk.crash()
        outcomes.add(disk.open("log-1").read(0, 20))
    assert outcomes == {b"\0\0\0\0two three", b"one \0\0\0\0three", b"\0" * 8 + b"three"}


def test_room_for_so_many_bytes() -> None:
    disk = make()
    file = disk.open("log-1", create=True)
    disk.room = 1000
    file.allocate(600)
    file.write(600, b"x" * 100)
    assert disk.room == 300
    file.write(0, b"y" * 700)
    assert disk.room == 300, "overwriting takes no room"
    with pytest.raises(Exhausted, match="the disk is full"):
        file.write(600, b"z" * 500)
    disk.crash(keep=True)
    assert disk.open("log-1").read(600, 1000) == b"z" * 400, "what there was room for landed"
    assert disk.full
    with pytest.raises(Exhausted, match="no room for log-2"):
        disk.open("log-2", create=True)
    disk.remove("log-1")
    assert disk.room == 1000


def test_an_allocation_that_finds_no_room_may_have_taken_what_there_was() -> None:
    sizes = set()
    for seed in range(20):
        disk = make(seed)
        file = disk.open("log-1", create=True)
        disk.room = 1000
        with pytest.raises(Exhausted, match="no room"):
            file.allocate(1001)
        assert disk.failure is None
        sizes.add((file.size(), disk.room))
        disk.room = None
        file.allocate(1001)
    assert sizes == {(0, 1000), (1000, 0)}


def test_rot_changes_one_bit_of_bytes_that_were_written_and_synced() -> None:
    disk = make()
    file = disk.open("log-1", create=True)
    disk.sync_directory()
    file.allocate(1 << 20)
    file.write(0, b"a" * 1000)
    file.sync()
    file.write(1000, b"c" * 50)
    file.sync()
    file.write(500, b"b" * 600)
    before = disk.image()["log-1"]
    rotten = disk.rot(20)
    assert len(set(rotten)) == 20
    after = disk.image()["log-1"]
    changed = [at for at in range(len(before)) if before[at] != after[at]]
    assert changed == sorted(place.offset for place in rotten)
    assert all(at < 500 for at in changed)
    assert all((before[at] ^ after[at]).bit_count() == 1 for at in changed)
    disk.crash()
    assert [disk.image()["log-1"][at] for at in changed] == [after[at] for at in changed], "rot is on the medium"


def test_rot_finds_no_place_where_nothing_was_written() -> None:
    disk = make()
    disk.open("log-1", create=True).allocate(1 << 20)
    assert disk.rot(3) == []
    assert disk.rot(3, name="log-2") == []


def test_an_unreadable_place_is_named() -> None:
    disk = make()
    file = disk.open("log-1", create=True)
    file.write(0, b"x" * 1000)
    disk.unreadable[Place("log-1", 700)] = None
    assert file.read(0, 700) == b"x" * 700
    with pytest.raises(Damaged, match="log-1 cannot be read at offset 500"):
        file.read(500, 201)


def test_the_power_is_cut_for_the_whole_machine() -> None:
    heard: list[str] = []
    disk = FaultyDisk(random.Random(1), when_cut=lambda: heard.append(disk.dark))
    file = disk.open("log-1", create=True)
    disk.crash_at(write=2, sync=2)
    file.write(0, b"a")
    file.sync()
    assert heard == []
    with pytest.raises(PowerCut):
        file.sync()
    assert heard == ["sync 2"]


def test_a_copy_is_the_whole_directory_at_one_moment() -> None:
    disk = make()
    file = disk.open("log-1", create=True)
    file.write(0, b"old")
    file.sync()
    disk.sync_directory()
    copy = disk.copy(random.Random(2))
    file.write(0, b"new")
    file.sync()
    disk.open("log-2", create=True)
    disk.sync_directory()
    disk.load(copy)
    with pytest.raises(PowerCut, match="a run that ended"):
        file.read(0, 1)
    assert disk.image() == {"log-1": b"old"}
    disk.open("log-1").write(0, b"other")
    disk.load(copy)
    assert disk.image() == {"log-1": b"old"}, "a copy can be put back again and again"


def test_a_copy_holds_of_what_was_unsynced_what_a_power_cut_would_leave() -> None:
    left = set()
    for seed in range(30):
        disk = make(seed)
        file = disk.open("log-1", create=True)
        disk.sync_directory()
        file.write(0, b"x")
        disk.load(disk.copy(random.Random(seed)))
        left.add(disk.image()["log-1"])
    assert left == {b"", b"x", b"\0"} or {b"", b"x"} < left


def test_zeros_that_nobody_wrote_take_no_memory() -> None:
    disk = make()
    for number in range(64):
        file = disk.open(f"log-{number}", create=True)
        file.allocate(1 << 30)
        file.write(0, b"head")
        file.sync()
    assert disk.size == 64 << 30
    assert sum(disk.used().values()) == 64 * 4
