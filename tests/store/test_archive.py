"""Old segments lie elsewhere, and everybody reads, checks, backs up and mends them as before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from identity.errors import Damaged, Exhausted, Refused
from node.cli.main import run
from node.embedded import open_store
from node.tending import Tending
from store import archive
from store.archive import NAME, Policy, TieredDisk, log_disk, move_old, read_policy, write_policy
from store.backup_directories import back_up_directory, restore_directory
from store.database import Settings
from store.disk import RealDisk, RealFile
from store.repair import repair_directory
from store.upkeep import check_directory

NOTE = {"name": "Note", "fields": {"text": {"type": "string", "index": True}}}
SMALL = Settings(segment_bytes=8 << 10, step_bytes=4 << 10)


async def fill(directory: Path, first: int = 0, key: Any = None) -> None:
    async with open_store(directory, settings=SMALL, key=key) as store:
        await store.define(NOTE)
        for number in range(first, first + 40):
            await store.create("Note", {"text": f"note {number} {'x' * 200}"})


async def count(directory: Path, key: Any = None) -> int:
    async with open_store(directory, settings=SMALL, key=key) as store:
        return len([each async for each in store.rows("Note")])


def segments(path: Path) -> list[str]:
    return sorted(each.name for each in path.glob("log-*"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("made") / "store"
    trio.run(fill, directory)
    return directory


@pytest.fixture
def directory(made: Path, tmp_path: Path) -> Iterator[Path]:
    shutil.copytree(made, tmp_path / "store")
    return tmp_path / "store"


async def test_what_is_old_moves_and_is_read_as_before(directory: Path, tmp_path: Path) -> None:
    before = segments(directory / "log")
    assert len(before) > 3
    write_policy(directory, Policy(tmp_path / "far", 2))
    assert await count(directory) == 40
    assert segments(tmp_path / "far") == before[:-2]
    assert not set(segments(directory / "log")) & set(before[:-2])
    assert check_directory(directory).whole
    await fill(directory, 40)
    assert await count(directory) == 80
    assert len(segments(tmp_path / "far")) > len(before)
    shutil.rmtree(directory / "tables")  # everything is read again, from both
    assert await count(directory) == 80
    back_up_directory(directory, tmp_path / "backup")
    assert back_up_directory(directory, tmp_path / "backup").added == 0
    await restore_directory(tmp_path / "backup", tmp_path / "again")
    assert await count(tmp_path / "again") == 80


async def test_an_archive_that_is_away_keeps_nobody_from_his_data(directory: Path, tmp_path: Path) -> None:
    write_policy(directory, Policy(tmp_path / "far", 2))
    assert await count(directory) == 40
    (tmp_path / "far").rename(tmp_path / "away")
    assert await count(directory) == 40
    for work in (check_directory, lambda path: back_up_directory(path, tmp_path / "backup")):
        with pytest.raises(Refused, match=r"the archive .* is not there"):
            work(directory)
    (tmp_path / "away").rename(tmp_path / "far")
    assert check_directory(directory).whole


async def test_what_rots_in_the_archive_is_named_and_mended(directory: Path, tmp_path: Path) -> None:
    write_policy(directory, Policy(tmp_path / "far", 1))
    await count(directory)
    path = tmp_path / "far" / segments(tmp_path / "far")[1]
    data = path.read_bytes()
    path.write_bytes(data[:4200] + bytes([data[4200] ^ 8]) + data[4201:])
    report = check_directory(directory)
    assert [each.what for each in report.findings] == ["frame"]
    assert (await repair_directory(directory)).after.whole
    assert path.read_bytes() == data


@pytest.mark.parametrize("where", ["reserve", "write", "settle", "rename", "remove"])
async def test_a_move_that_is_cut_anywhere_leaves_it_in_one_place_or_both(
    directory: Path, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_policy(directory, Policy(tmp_path / "far", 2))
    disk = log_disk(directory)
    assert isinstance(disk, TieredDisk)
    names = disk.list()

    class Cut(Exception):
        pass

    def cut(*_: Any, **__: Any) -> None:
        raise Cut

    with monkeypatch.context() as patched:
        patched.setattr(RealDisk if where in ("rename", "remove") else RealFile, where, cut)
        with pytest.raises(Cut):
            await move_old(disk)
    assert disk.list() == names
    disk.close()
    assert await count(directory) == 40
    assert check_directory(directory).whole
    assert [each for each in segments(tmp_path / "far") if (directory / "log" / each).exists()] == []


async def test_an_open_file_is_read_on_while_it_moves(directory: Path, tmp_path: Path) -> None:
    write_policy(directory, Policy(tmp_path / "far", 1))
    disk = log_disk(directory)
    assert isinstance(disk, TieredDisk)
    name = disk.due()[0]
    file = disk.open(name)
    before = file.read(0, 9000)
    assert await move_old(disk) is None
    assert not (directory / "log" / name).exists()
    assert file.read(0, 9000) == before
    file.write(9000, b"mended")  # not into what has no name any more, and takes room until it is closed
    assert b"mended" in (tmp_path / "far" / name).read_bytes()
    file.close()
    disk.close()


async def test_an_archive_that_is_full_or_lies_or_is_anothers(
    directory: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_policy(directory, Policy(tmp_path / "far", 2))
    disk = log_disk(directory)
    assert isinstance(disk, TieredDisk)
    due = disk.due()

    def full(*_: Any) -> None:
        raise Exhausted("no room")

    with monkeypatch.context() as patched:
        patched.setattr("store.disk.RealFile.reserve", full)
        assert isinstance(await move_old(disk), Exhausted)
    with monkeypatch.context() as patched:
        patched.setattr(archive, "_digest", _other_digest)
        trouble = await move_old(disk)
    assert isinstance(trouble, Damaged)
    assert "reads otherwise" in str(trouble)
    assert disk.due() == due
    disk.close()
    await fill(tmp_path / "other")
    write_policy(tmp_path / "other", Policy(tmp_path / "far", 2))
    assert await count(directory) == 40
    other = log_disk(tmp_path / "other")
    assert isinstance(other, TieredDisk)
    trouble = await move_old(other)
    assert isinstance(trouble, Refused)
    assert "of another store" in str(trouble)
    other.close()


async def test_a_server_moves_them_beside_its_work_and_says_what_keeps_it(
    directory: Path, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    write_policy(directory, Policy(tmp_path / "far", 2))
    (tmp_path / "far").rmdir()
    disk = log_disk(directory)
    assert isinstance(disk, TieredDisk)
    due = list(disk.due())
    noted: list[tuple[str, str]] = []

    class Server:
        def note(self, event: str, **said: str) -> None:
            noted.append((event, said.get("segment", said.get("cause", ""))))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(Tending.archive, Server(), disk)
        await trio.sleep(200)  # three times in vain
        (tmp_path / "far").mkdir()
        await trio.sleep(100)
        nursery.cancel_scope.cancel()
    assert noted == [
        ("not_archived", f"the archive {tmp_path / 'far'} is not there"),
        *(("archived", each) for each in due),
    ]
    assert disk.due() == []
    disk.close()


async def _other_digest(file: Any, size: int) -> bytes:
    return b""


async def test_segments_of_an_encrypted_store_stay_so(tmp_path: Path) -> None:
    key = bytes(range(32))
    await fill(tmp_path / "store", key=key)
    write_policy(tmp_path / "store", Policy(tmp_path / "far", 1))
    assert await count(tmp_path / "store", key) == 40
    assert segments(tmp_path / "far")
    assert not [each for each in (tmp_path / "far").glob("log-*") if b"note" in each.read_bytes()]
    assert check_directory(tmp_path / "store", key=key).whole


def test_the_command(directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["archive", str(directory)]) == 0
    assert "stay in its directory" in capsys.readouterr().out
    count_before = len(segments(directory / "log"))
    assert run(["archive", str(directory), "--to", str(tmp_path / "far"), "--keep", "3", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"archive": str(tmp_path / "far"), "keep": 3, "moved": count_before - 3}
    assert run(["archive", str(directory)]) == 0
    assert run(["archive", str(directory), "--to", str(directory / "log" / "far")]) == 1
    assert run(["archive", str(tmp_path), "--to", str(tmp_path / "far")]) == 1


@pytest.mark.parametrize("text", ["", "bangpath archive 2\nkeep 1\npath /a\n", "bangpath archive 1\nkeep 0\npath /a\n"])
def test_a_policy_that_is_none_is_refused(directory: Path, text: str) -> None:
    assert read_policy(directory) is None
    (directory / NAME).write_text(text)
    with pytest.raises(Refused, match="is not what was written"):
        check_directory(directory)
