"""What flips in a blob's file, and a file that is gone, is named by a check; a backup brings both back."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from node.embedded import open_store
from store.backup_directories import back_up_directory, restore_directory, verify_directory
from store.blob_files import CHUNK_BYTES, HEAD_BYTES
from store.findings import Report
from store.repair import repair_directory
from store.scrubbing import check_running
from store.upkeep import check_directory

FILE = 'name = "File"\n[fields]\nname = "string"\ncontent = "blob"\n'
SIZE = CHUNK_BYTES + 1000


async def put(store: Any, data: bytes) -> Any:
    async with store.database.write_blob() as new:
        await new.write(data)
        blob = await new.finish()
        return await store.transact(lambda t: t.create("File", {"name": "a", "content": blob}))


@pytest.fixture
async def directory(tmp_path: Path) -> Path:
    async with open_store(tmp_path / "store") as store:
        await store.define(FILE)
        await put(store, random.Random(1).randbytes(SIZE))
        await put(store, b"small")
    return tmp_path / "store"


def told(report: Report) -> list[str]:
    return [str(each) for each in report.findings]


def largest(directory: Path) -> Path:
    return max((directory / "blobs").glob("*.blob"), key=lambda each: each.stat().st_size)


async def test_whole_blobs_are_counted(directory: Path) -> None:
    report = check_directory(directory)
    assert told(report) == []
    assert report.counts["blobs"] == 2
    assert report.bytes > SIZE
    async with open_store(directory) as store:
        report = await check_running(store.database)
        assert told(report) == []
        assert report.counts["blobs"] == 2


@pytest.mark.parametrize("offset", [0, 9, 30, 55, 100, HEAD_BYTES, HEAD_BYTES + CHUNK_BYTES, HEAD_BYTES + SIZE + 40])
async def test_a_flipped_bit_anywhere_is_named(directory: Path, offset: int) -> None:
    path = largest(directory)
    data = bytearray(path.read_bytes())
    data[offset] ^= 8
    path.write_bytes(data)
    (found,) = check_directory(directory).findings
    assert (found.what, found.where) == ("blob", path.name)
    async with open_store(directory) as store:
        (found,) = (await check_running(store.database)).findings
        assert found.where == path.name


async def test_a_file_that_is_cut_gone_or_of_another_name(directory: Path) -> None:
    path = largest(directory)
    whole = path.read_bytes()
    path.write_bytes(whole[: HEAD_BYTES + 50])
    assert [each.where for each in check_directory(directory).findings] == [path.name]
    path.unlink()
    (found,) = told(check_directory(directory))
    assert "names it, and its file is gone" in found
    other = next((directory / "blobs").glob("*.blob"))
    path.write_bytes(other.read_bytes())
    (found,) = told(check_directory(directory))
    assert "its head is that of" in found


async def broken_and_mended(directory: Path, target: Path) -> None:
    path = largest(directory)
    whole = path.read_bytes()
    other = next(each for each in (directory / "blobs").glob("*.blob") if each != path)
    path.write_bytes(whole[:5000] + b"\0" + whole[5001:])
    other.unlink()
    done = await repair_directory(directory, wall_ms=lambda: 7)
    assert {each.source for each in done.mended} == {""}
    done = await repair_directory(directory, backups=[directory, target], wall_ms=lambda: 7)
    assert {each.source for each in done.mended} == {f"backup {target}"}
    assert sorted(each.evidence for each in done.mended) == ["", path.name + ".damaged"]
    assert told(done.after) == []
    assert path.read_bytes() == whole
    async with open_store(directory) as store:
        assert told(await check_running(store.database)) == []


async def test_a_backup_brings_them_back(directory: Path, tmp_path: Path) -> None:
    target = tmp_path / "backup"
    first = back_up_directory(directory, target, wall_ms=lambda: 7)
    assert first.added > SIZE
    async with open_store(directory) as store:
        await put(store, b"another")
    second = back_up_directory(directory, target, wall_ms=lambda: 8)
    assert second.added < 100_000, "blobs that are there are not copied again"
    shutil.rmtree(directory)
    await restore_directory(target, directory)
    report = check_directory(directory)
    assert told(report) == []
    assert report.counts["blobs"] == 3
    await broken_and_mended(directory, target)
    kept = largest(directory).name
    data = bytearray((target / kept).read_bytes())
    data[5000] ^= 1
    (target / kept).write_bytes(data)
    assert [each.where for each in verify_directory(target).report.findings] == [f"{kept} at offset 0"]
