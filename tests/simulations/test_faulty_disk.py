"""The faulty disk keeps what it must, loses what it may, and does the same again from the same seed."""

import itertools
import random

import pytest

from identity.errors import Damaged, Exhausted
from simulations.faulty_disk import SECTOR_BYTES, FaultyDisk, PowerCut


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
    assert trace[-1] == "crash 5"


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
