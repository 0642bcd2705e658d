"""What only LMDB can do wrong: files, forks, threads, a full map, flipped bytes."""

import os
import threading
from pathlib import Path

import lmdb
import pytest
import trio

from identity.errors import Damaged, Exhausted, LocalMistake, Refused
from store.tables import LmdbTables


async def test_the_next_run_finds_what_was_folded(tmp_path: Path) -> None:
    tables = LmdbTables(tmp_path / "tables")
    await tables.fold({"objects": {b"a": b"1"}}, b"mark")
    tables.close()
    tables.close()
    with pytest.raises(LocalMistake, match="were closed"):
        tables.begin_read()
    again = LmdbTables(tmp_path / "tables")
    snapshot = again.begin_read()
    assert (snapshot.get("objects", b"a"), snapshot.meta) == (b"1", b"mark")
    snapshot.close()
    again.close()
    assert (tmp_path / "tables" / "data.mdb").stat().st_mode & 0o777 == 0o600


async def test_all_writing_is_done_by_one_thread_that_is_not_the_loops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    original = LmdbTables._write
    monkeypatch.setattr(LmdbTables, "_write", lambda *a: (threads.append(threading.get_ident()), original(*a))[1])
    tables = LmdbTables(tmp_path)
    for number in range(3):
        await tables.fold({"t": {b"a": b"%d" % number}}, b"")
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()
    tables.close()


async def test_a_fold_is_finished_even_if_its_task_is_cancelled(tmp_path: Path) -> None:
    tables = LmdbTables(tmp_path)
    with trio.CancelScope() as scope:
        scope.cancel()
        await tables.fold({"t": {b"a": b"1"}}, b"done")
    snapshot = tables.begin_read()
    assert snapshot.meta == b"done"
    snapshot.close()
    tables.close()


async def test_after_a_fork_the_child_is_refused(tmp_path: Path) -> None:
    tables = LmdbTables(tmp_path)
    tables._process = os.getpid() + 1  # what a forked child would see; forking under trio is asking for trouble
    with pytest.raises(LocalMistake, match="after a fork"):
        tables.begin_read()
    with pytest.raises(LocalMistake, match="after a fork"):
        await tables.fold({}, b"")
    tables._process = os.getpid()
    tables.close()


async def test_a_full_map_is_exhausted_and_nothing_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.tables.MAP_BYTES", 1 << 20)
    tables = LmdbTables(tmp_path)
    await tables.fold({"t": {b"a": b"1"}}, b"1")
    with pytest.raises(Exhausted, match="no room"):
        await tables.fold({"t": {b"%d" % number: bytes(1000) for number in range(2000)}}, b"2")
    await tables.fold({"t": {b"b": b"2"}}, b"3")
    snapshot = tables.begin_read()
    assert (list(snapshot.scan("t")), snapshot.meta) == ([(b"a", b"1"), (b"b", b"2")], b"3")
    snapshot.close()
    tables.close()


async def test_a_disk_that_fails_stops_the_folding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise lmdb.Error("mdb_txn_commit: Input/output error")

    tables = LmdbTables(tmp_path)
    monkeypatch.setattr(LmdbTables, "_write", fail)
    with pytest.raises(Damaged, match="cannot be written"):
        await tables.fold({}, b"")
    monkeypatch.undo()
    with pytest.raises(Damaged, match="cannot be written"):
        await tables.fold({}, b"")
    tables.close()


async def test_a_write_cut_short_by_a_full_disk_is_exhausted_and_folded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise lmdb.Error("mdb_txn_commit: Input/output error")

    def full(_: str) -> os.statvfs_result:
        return os.statvfs_result((4096, 4096, 1000, 10, 3, 0, 0, 0, 0, 255))

    tables = LmdbTables(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(LmdbTables, "_write", fail)
        patch.setattr(os, "statvfs", full)
        with pytest.raises(Exhausted, match=r"12288 bytes are free: .*; make room"):
            await tables.fold({"t": {b"a": b"1"}}, b"1")
    assert tables.failure is None
    await tables.fold({"t": {b"a": b"1"}}, b"1")
    snapshot = tables.begin_read()
    assert (list(snapshot.scan("t")), snapshot.meta) == ([(b"a", b"1")], b"1")
    snapshot.close()
    tables.close()


async def test_a_flipped_byte_in_meta_is_noticed(tmp_path: Path) -> None:
    tables = LmdbTables(tmp_path)
    await tables.fold({"t": {b"a": b"1"}}, b"a mark of the log")
    tables.close()
    path = tmp_path / "data.mdb"
    data = path.read_bytes()
    assert data.count(b"a mark of the log") == 1
    path.write_bytes(data.replace(b"a mark of the log", b"a mark oF the log"))
    tables = LmdbTables(tmp_path)
    snapshot = tables.begin_read()
    with pytest.raises(Damaged, match=r"the entry 6d657461 of table .meta"):
        snapshot.meta  # noqa: B018
    snapshot.close()
    tables.close()


def test_a_directory_that_holds_something_else_is_damaged_or_refused(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"no tables" * 2000)
    with pytest.raises(Damaged, match="cannot be opened"):
        LmdbTables(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Refused, match="cannot be used"):
        LmdbTables(tmp_path / "file")


async def test_no_name_of_a_table_is_in_the_way_of_another(tmp_path: Path) -> None:
    tables = LmdbTables(tmp_path)
    changes = {f"table {number}": {b"k": b"%d" % number} for number in range(20)}
    await tables.fold(changes, b"")
    tables.close()
    tables = LmdbTables(tmp_path)
    snapshot = tables.begin_read()
    assert [snapshot.get(f"table {number}", b"k") for number in range(20)] == [b"%d" % n for n in range(20)]
    snapshot.close()
    tables.close()
