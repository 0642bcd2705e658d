"""What `store.disk.Disk` promises, kept by the real disk and by the faulty one alike."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from identity.errors import Damaged, LocalMistake
from simulations.faulty_disk import FaultyDisk
from store.disk import Disk, RealDisk


class Machine:
    """A directory, and the disk that is opened on it in each run."""

    def __init__(self, kind: str, path: Path) -> None:
        self._path = path
        self._faulty = FaultyDisk(random.Random(1)) if kind == "faulty" else None
        self.disk: Disk = self._open()

    def _open(self) -> Disk:
        return self._faulty if self._faulty is not None else RealDisk(self._path)

    def reopen(self) -> Disk:
        self.disk.close()
        self.disk = self._open()
        return self.disk


@pytest.fixture(params=["real", "faulty"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(request.param, tmp_path / "store")
    yield machine
    machine.disk.close()


def test_what_was_written_is_read_by_the_next_run(machine: Machine) -> None:
    file = machine.disk.open("log-1", create=True)
    file.write(0, b"first")
    file.write(5, bytearray(b" and second"))
    file.sync()
    machine.disk.sync_directory()
    file.close()
    again = machine.reopen().open("log-1")
    assert again.read(0, 100) == b"first and second"
    assert again.size() == 16
    assert again.name == "log-1"


def test_reading_past_the_end_gives_what_there_is(machine: Machine) -> None:
    file = machine.disk.open("log-1", create=True)
    file.write(0, b"abc")
    assert file.read(1, 100) == b"bc"
    assert file.read(3, 1) == b""
    assert file.read(1000, 10) == b""


def test_a_gap_reads_as_zeros(machine: Machine) -> None:
    file = machine.disk.open("log-1", create=True)
    file.write(4, b"x")
    assert file.read(0, 5) == b"\0\0\0\0x"


def test_allocated_room_is_zeros_and_never_shrinks_a_file(machine: Machine) -> None:
    file = machine.disk.open("log-1", create=True)
    file.write(0, b"head")
    file.allocate(3 << 20)
    assert file.size() == 3 << 20
    assert file.read(0, 8) == b"head\0\0\0\0"
    assert file.read((3 << 20) - 4, 8) == bytes(4)
    file.allocate(10)
    assert file.size() == 3 << 20


def test_reserved_room_can_be_written_and_reserved_again(machine: Machine) -> None:
    file = machine.disk.open("blob-1", create=True)
    file.write(0, b"head")
    file.reserve(1 << 20)
    file.reserve(10)
    file.write(4, b"tail")
    file.sync()
    assert file.read(0, 8) == b"headtail"


def test_overwriting_changes_only_its_bytes(machine: Machine) -> None:
    file = machine.disk.open("log-1", create=True)
    file.write(0, b"0123456789")
    file.write(3, memoryview(b"abc"))
    assert file.read(0, 10) == b"012abc6789"


def test_names_are_listed_in_order_renamed_and_removed(machine: Machine) -> None:
    disk = machine.disk
    for name in ("log-2", "log-1", "a.blob"):
        disk.open(name, create=True).close()
    assert disk.list() == ["a.blob", "log-1", "log-2"]
    disk.rename("log-2", "log-3")
    disk.remove("a.blob")
    disk.sync_directory()
    assert machine.reopen().list() == ["log-1", "log-3"]


def test_a_rename_replaces(machine: Machine) -> None:
    for name in ("old", "new"):
        file = machine.disk.open(name, create=True)
        file.write(0, name.encode())
        file.close()
    machine.disk.rename("old", "new")
    assert machine.disk.list() == ["new"]
    assert machine.disk.open("new").read(0, 9) == b"old"


def test_two_handles_see_one_file(machine: Machine) -> None:
    first = machine.disk.open("log-1", create=True)
    second = machine.disk.open("log-1")
    first.write(0, b"x")
    assert second.read(0, 1) == b"x"


@pytest.mark.parametrize("name", ["", "../up", "a/b", "A", ".hidden", "lock", "a b", "x" * 101, "nul\0"])
def test_only_plain_names_are_files(machine: Machine, name: str) -> None:
    with pytest.raises(LocalMistake):
        machine.disk.open(name, create=True)


def test_creating_what_exists_and_opening_what_does_not(machine: Machine) -> None:
    machine.disk.open("log-1", create=True)
    with pytest.raises(LocalMistake, match="exists already"):
        machine.disk.open("log-1", create=True)
    with pytest.raises(Damaged, match="log-2"):
        machine.disk.open("log-2")


async def test_a_sync_may_be_awaited(machine: Machine) -> None:
    file = machine.disk.open("log-1", create=True)
    file.write(0, b"x")
    await file.sync_async()
    assert machine.disk.failure is None


def break_real(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("store.disk._data_sync", fail)


def break_faulty(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(machine.disk, FaultyDisk)
    machine.disk.fail_sync = True


def mend(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    if isinstance(machine.disk, FaultyDisk):
        machine.disk.fail_sync = False
    monkeypatch.undo()


async def test_a_sync_that_failed_stops_the_disk_for_this_run(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = machine.disk.open("log-1", create=True)
    file.write(0, b"x")
    breaks: Callable[[Machine, pytest.MonkeyPatch], None]
    breaks = break_faulty if isinstance(machine.disk, FaultyDisk) else break_real
    breaks(machine, monkeypatch)
    with pytest.raises(Damaged, match="cannot sync log-1"):
        file.sync()
    mend(machine, monkeypatch)
    for again in (
        file.sync,
        lambda: file.write(0, b"y"),
        lambda: file.read(0, 1),
        machine.disk.sync_directory,
        machine.disk.list,
        lambda: machine.disk.open("log-1"),
    ):
        with pytest.raises(Damaged, match="cannot sync log-1"):
            again()
    with pytest.raises(Damaged, match="cannot sync log-1"):
        await file.sync_async()
    assert machine.disk.failure is not None
    assert machine.reopen().failure is None


def test_what_was_settled_is_read_as_it_was_and_outlives_a_power_cut(machine: Machine) -> None:
    file = machine.disk.open("log-1", create=True)
    machine.disk.sync_directory()
    file.write(0, b"not synced by the run that wrote it")
    file = machine.reopen().open("log-1")
    file.settle()
    assert file.read(0, 100) == b"not synced by the run that wrote it"
    if isinstance(machine.disk, FaultyDisk):
        assert machine.disk.unsynced == 0


def test_a_start_settles_what_a_failed_sync_left_in_the_cache() -> None:
    left = set()
    for seed in range(20):
        disk = FaultyDisk(random.Random(seed))
        file = disk.open("log-1", create=True)
        file.write(0, b"durable ")
        file.sync()
        disk.sync_directory()
        file.write(8, b"in the cache only")
        disk.fail_at(sync=1)
        with pytest.raises(Damaged):
            file.sync()
        disk.close()
        file = disk.open("log-1")
        assert file.read(0, 100) == b"durable in the cache only"
        file.settle()
        left.add(file.read(0, 100))
        disk.crash()
        assert disk.open("log-1").read(0, 100) in left
    assert left == {b"durable "}
