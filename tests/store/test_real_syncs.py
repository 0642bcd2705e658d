"""On real files: what was answered as kept was synced as it lies there, and so was each name, before it meant anything.

A power cut cannot be had here, so each sync is noted with the size and the time of change of what it was for: what
changed since then, or was never synced, would be lost. The simulated disk shows the rest (`benchmarks.crash_states`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lmdb
import pytest

from identity.errors import Damaged
from store import disk as disk_module
from store.backup_directories import back_up_directory, restore_directory
from store.data_key import create_key
from store.database import Settings, open_database
from store.definitions import definition_from_toml
from store.disk import LOCK_NAME, RealDisk, RealFile, sync_names
from store.repair import repair_directory
from store.tables import LmdbTables

SMALL = Settings(segment_bytes=6000, step_bytes=4096)
OF_LMDB = ("data.mdb", "lock.mdb")  # it syncs them itself


class Syncs:
    """What was synced, as it was then; `early`: names that were given before what they name was synced."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._synced: dict[tuple[int, int], tuple[int, int]] = {}
        self.early: list[str] = []
        self.names_early: list[str] = []  # the same, before all other names beside it were
        self.dropped: list[tuple[int, bool]] = []  # by each drop of the page cache: was it synced before?
        for module, name in ((os, "fsync"), (disk_module, "_data_sync")):
            monkeypatch.setattr(module, name, self._noting(getattr(module, name)))
        for name in ("rename", "replace"):
            monkeypatch.setattr(os, name, self._looking(getattr(os, name)))
        monkeypatch.setattr(os, "posix_fadvise", self._drop)

    def unsynced(self, *paths: Path) -> list[str]:
        """Files and directories below these that a power cut might take."""
        found = []
        for path in paths:
            for each in [path, *path.rglob("*")] if path.is_dir() else [path]:
                if each.name not in (*OF_LMDB, LOCK_NAME) and not self._is_synced(os.stat(each)):
                    found.append(str(each))
        return found

    def _is_synced(self, now: os.stat_result) -> bool:
        return self._synced.get((now.st_dev, now.st_ino)) == (now.st_mtime_ns, now.st_size)

    def _noting(self, sync: Any) -> Any:
        def noted(descriptor: int) -> None:
            sync(descriptor)
            now = os.fstat(descriptor)
            self._synced[now.st_dev, now.st_ino] = (now.st_mtime_ns, now.st_size)

        return noted

    def _looking(self, rename: Any) -> Any:
        def looked(old: Any, new: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
            if src_dir_fd is not None:
                now = os.stat(old, dir_fd=src_dir_fd)
                self.early += [] if self._is_synced(now) else [str(old)]
                self.names_early += [] if self._is_synced(os.fstat(src_dir_fd)) else [str(old)]
            else:
                self.early += self.unsynced(Path(old))
            rename(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

        return looked

    def _drop(self, descriptor: int, start: int, length: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_DONTNEED
        self.dropped.append((descriptor, self._is_synced(os.fstat(descriptor))))


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> Syncs:
    return Syncs(monkeypatch)


def test_a_disk_s_own(tmp_path: Path, syncs: Syncs) -> None:
    disk = RealDisk(tmp_path / "log")
    file = disk.open("a", create=True)
    file.allocate(9000)
    assert syncs.unsynced(tmp_path / "log" / "a") == [], "room"
    disk.sync_directory()
    assert syncs.unsynced(tmp_path / "log") == [str(tmp_path / "log")] * bool(syncs.unsynced(tmp_path / "log"))
    os.utime(tmp_path / "log" / "a", ns=(1, 1))  # clocks of file systems stand still for some milliseconds
    file.write(0, b"word")
    file.sync()
    assert syncs.unsynced(tmp_path / "log" / "a") == []
    os.utime(tmp_path / "log" / "a", ns=(1, 1))
    file.settle()
    assert [synced for _, synced in syncs.dropped] == [True], "written out first, then dropped"
    os.utime(tmp_path / "log", ns=(1, 1))
    disk.sync_directory()
    assert syncs.unsynced(tmp_path / "log") == []
    disk.close()


def test_names_outside_of_a_disk(tmp_path: Path, syncs: Syncs) -> None:
    (tmp_path / "new").mkdir()
    sync_names(tmp_path)
    assert syncs.unsynced(tmp_path) == [str(tmp_path / "new")]


def test_tables_leave_their_syncs_to_lmdb(tmp_path: Path, syncs: Syncs, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    really = lmdb.open

    def open_noted(path: str, **options: Any) -> Any:
        asked.update(options)
        return really(path, **options)

    monkeypatch.setattr(lmdb, "open", open_noted)
    tables = LmdbTables(tmp_path / "tables")
    assert (asked["sync"], asked["metasync"], asked["writemap"]) == (True, True, False)
    assert syncs.unsynced(tmp_path) == []
    tables.close()


@pytest.fixture
async def store(make_server: Any, shoe: Any, tmp_path: Path) -> Any:
    """With a chain and twelve objects, closed."""
    server = make_server("1.2", path=tmp_path / "store", settings=SMALL)
    async with server.open() as database:
        await database.define(shoe)
        for number in range(12):
            await database.transact(lambda t, n=number: t.create("Shoe", {"name": f"{n}", "size": n}))
    (server.path / "chain").write_text("who it is\n")
    (server.path / "bangpath.toml").write_text("")
    return server


async def test_a_blob_before_its_object(make_server: Any, tmp_path: Path, syncs: Syncs) -> None:
    server = make_server("1.2")
    blobs = tmp_path / "blobs"
    picture = definition_from_toml('name = "Picture"\n[fields]\nbytes = "blob"\n')
    async with open_database(
        server.disk, server.tables, server=server.server, incarnation=5, random=server.random, wall_ms=lambda: 1,
        blobs=RealDisk(blobs),
    ) as database:  # fmt: skip
        await database.define(picture)
        async with database.write_blob() as new:
            await new.write(b"pixel" * 50_000)
            os.utime(next(blobs.glob("new-*")), ns=(1, 1))
            blob = await new.finish()
            assert syncs.early == []
            assert syncs.unsynced(blobs) == [], "before an object can name it"
            await database.transact(lambda t: t.create("Picture", {"bytes": blob}))


async def test_a_backup_and_its_way_back(store: Any, tmp_path: Path, syncs: Syncs) -> None:
    target = tmp_path / "backup"
    back_up_directory(store.path, target, wall_ms=lambda: 7)
    assert syncs.early == syncs.names_early == [], "the manifest is named last"
    assert syncs.unsynced(target) == []
    assert all(synced for _, synced in syncs.dropped)
    assert len(syncs.dropped) >= 2, "read back from the medium"
    restored = tmp_path / "restored"
    await restore_directory(target, restored)
    assert syncs.early == []
    assert syncs.unsynced(restored) == []
    assert str(tmp_path) not in syncs.unsynced(tmp_path)


async def test_what_is_mended_and_what_was_found(store: Any, syncs: Syncs) -> None:
    segment = min((store.path / "log").glob("log-*"))
    data = bytearray(segment.read_bytes())
    data[4096 + 100] ^= 4
    segment.write_bytes(data)
    os.utime(segment, ns=(1, 1))
    await repair_directory(store.path, wall_ms=lambda: 7)
    assert any((store.path / "log").glob("quarantine-*")), "evidence"
    assert syncs.unsynced(store.path / "log") == []


def test_a_data_key(tmp_path: Path, syncs: Syncs) -> None:
    store = tmp_path / "store"
    store.mkdir()
    create_key(store, bytes(32))
    assert syncs.early == []
    assert syncs.unsynced(store) == []


async def test_a_backup_s_disk_that_reads_otherwise(store: Any, tmp_path: Path, syncs: Syncs) -> None:
    def drop_and_spoil(descriptor: int, start: int, length: int, advice: int) -> None:
        if os.fstat(descriptor).st_ino in [each.stat().st_ino for each in (tmp_path / "backup").iterdir()]:
            os.pwrite(descriptor, b"?", 4096)

    with pytest.MonkeyPatch.context() as spoiling:
        spoiling.setattr(os, "posix_fadvise", drop_and_spoil)
        with pytest.raises(Damaged, match="was written to the backup, and reads otherwise"):
            back_up_directory(store.path, tmp_path / "backup", wall_ms=lambda: 7)


async def test_a_restored_store_s_disk_that_reads_otherwise(store: Any, tmp_path: Path) -> None:
    back_up_directory(store.path, tmp_path / "backup", wall_ms=lambda: 7)
    write = RealFile.write

    def spoil(file: RealFile, offset: int, data: Any) -> None:
        write(file, offset, b"?" + bytes(data)[1:])

    with pytest.MonkeyPatch.context() as spoiling:
        spoiling.setattr(RealFile, "write", spoil)
        with pytest.raises(Damaged, match="was restored, and reads otherwise"):
            await restore_directory(tmp_path / "backup", tmp_path / "restored")
