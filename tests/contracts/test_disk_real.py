"""What only a real disk can do wrong: locks, links, permissions, slowness, errors of the operating system."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from identity.errors import Damaged, Exhausted, LocalMistake, Refused
from store.disk import SLOW_SYNC_S, SYNC_SAMPLES, RealDisk

HOLD = """
import sys
from store.disk import RealDisk
disk = RealDisk(sys.argv[1])
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_told_who_has_the_directory(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(Refused, match=f"in use by process {other.pid}; stop that one"):
            RealDisk(tmp_path)
        other.kill()
        other.wait()
        RealDisk(tmp_path).close()  # a killed process leaves no lock behind


def test_the_same_process_does_not_get_in_twice_and_close_frees_it(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    with pytest.raises(Refused, match=f"process {os.getpid()}"):
        RealDisk(tmp_path)
    disk.close()
    disk.close()
    with pytest.raises(LocalMistake, match="was closed"):
        disk.list()
    RealDisk(tmp_path).close()


def test_directory_and_files_are_for_their_owner_only(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path / "a" / "b")
    disk.open("log-1", create=True)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "a" / "b" / "log-1").stat().st_mode & 0o777 == 0o600
    disk.close()


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"precious")
    disk = RealDisk(tmp_path / "store")
    os.symlink(tmp_path / "elsewhere", tmp_path / "store" / "log-1")
    with pytest.raises(Damaged, match="log-1"):
        disk.open("log-1")
    assert disk.list() == []
    disk.close()
    os.mkdir(tmp_path / "other")
    os.symlink(tmp_path / "elsewhere", tmp_path / "other" / "lock")
    with pytest.raises(Refused, match="without links"):
        RealDisk(tmp_path / "other")
    assert (tmp_path / "elsewhere").read_bytes() == b"precious"


def test_a_path_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Refused, match="cannot be used"):
        RealDisk(tmp_path / "file")


def test_a_full_disk_found_by_allocate_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = RealDisk(tmp_path)
    file = disk.open("log-1", create=True)
    file.write(0, b"x")

    def fail(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", fail)
    with pytest.raises(Exhausted, match="no room for log-1"):
        file.allocate(100)
    assert disk.failure is None
    monkeypatch.undo()
    file.allocate(100)
    assert file.read(0, 2) == b"x\0"
    disk.close()


def test_a_full_disk_found_by_a_write_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = RealDisk(tmp_path)
    file = disk.open("log-1", create=True)

    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.pwrite", fail)
    with pytest.raises(Exhausted, match=r"cannot write log-1.*then start again"):
        file.write(0, b"x")
    monkeypatch.undo()
    with pytest.raises(Exhausted):
        file.write(0, b"x")
    disk.close()


def test_a_write_that_the_kernel_cuts_short_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = RealDisk(tmp_path)
    file = disk.open("log-1", create=True)
    whole = os.pwrite
    monkeypatch.setattr("os.pwrite", lambda fd, data, offset: whole(fd, memoryview(data)[:3], offset))
    file.write(2, b"0123456789")
    assert file.read(0, 20) == b"\0\x000123456789"
    disk.close()


async def test_a_slow_disk_syncs_in_a_thread_and_the_loop_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = RealDisk(tmp_path)
    file = disk.open("log-1", create=True)
    file.write(0, b"x")
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.sleep(0.0005)

    disk.sync_seconds.extend([SLOW_SYNC_S / 10] * SYNC_SAMPLES)
    await file.sync_async()
    assert not disk.is_slow
    disk.sync_seconds.extend([SLOW_SYNC_S * 3] * SYNC_SAMPLES)

    def slow_sync(_: int) -> None:
        """Not done before the loop has gone on beside it, which is what is promised; 30 s is for ever."""
        deadline = time.monotonic() + 30
        while turns < 5 and time.monotonic() < deadline:
            time.sleep(0.001)

    monkeypatch.setattr("store.disk._data_sync", slow_sync)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        with trio.CancelScope() as scope:
            scope.cancel()
            await file.sync_async()  # what was begun is finished: cancelled or not
        nursery.cancel_scope.cancel()
    assert turns >= 5
    assert disk.sync_seconds[-1] < 30
    disk.close()


async def test_a_sync_that_fails_in_the_thread_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = RealDisk(tmp_path)
    file = disk.open("log-1", create=True)
    disk.sync_seconds.extend([1.0] * SYNC_SAMPLES)

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("store.disk._data_sync", fail)
    with pytest.raises(Damaged, match="cannot sync log-1"):
        await file.sync_async()
    assert disk.failure is not None
    disk.close()
