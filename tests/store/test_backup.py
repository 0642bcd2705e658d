"""A backup grows by what is new, comes back whole, and says of every bit and length that is wrong with it."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from identity.errors import Damaged, Exhausted, Refused
from identity.names import ObjectId
from simulations.faulty_disk import FaultyDisk, PowerCut
from store.backup import BESIDE, MANIFEST, Beside, back_up, read_manifest
from store.backup_directories import back_up_directory, restore_directory, verify_directory
from store.database import Settings
from store.log import Log
from store.repair import repair_directory
from store.restoring import verify
from store.upkeep import check_directory, whose

SMALL = Settings(segment_bytes=6000, step_bytes=4096)


async def grow(server: Any, shoe: Any, first: int, count: int) -> None:
    async with server.open() as database:
        await database.define(shoe)
        for number in range(first, first + count):
            await database.transact(lambda t, n=number: t.create("Shoe", {"name": f"{n}", "size": n % 60}))


@pytest.fixture
async def server(make_server: Callable[..., Any], shoe: Any, tmp_path: Path) -> Any:
    server = make_server("1.2", path=tmp_path / "store", settings=SMALL)
    await grow(server, shoe, 0, 20)
    (server.path / "chain").write_text("who it is\n")
    return server


def back(server: Any, target: Path, durable: int | None = None) -> Any:
    return back_up_directory(server.path, target, wall_ms=lambda: 7, durable=durable)


async def names(server: Any) -> list[str]:
    async with server.open() as database, server_view(database) as view:
        found = [view.get((None, ObjectId(65 + number))) for number in range(60)]
        return [each.fields["name"] for each in found if each is not None and "size" in each.fields]


class server_view:  # noqa: N801
    def __init__(self, database: Any) -> None:
        self.view = database.view()

    async def __aenter__(self) -> Any:
        return self.view

    async def __aexit__(self, *_: object) -> None:
        self.view.close()


async def test_there_and_back_again_in_two_steps(server: Any, shoe: Any, tmp_path: Path) -> None:
    target = tmp_path / "backup"
    first = back(server, target)
    assert first.added == first.manifest.bytes
    again = back(server, target)
    assert again.added == 0
    await grow(server, shoe, 20, 15)
    (server.path / "chain").write_text("who it is now\n")
    second = back(server, target)
    assert len(list(target.glob("chain.*"))) == 1, "the older one went"
    assert 0 < second.added < first.added
    assert second.manifest.position > first.manifest.position
    assert verify_directory(target).report.whole
    whole = await names(server)
    assert len(whole) == 35
    restored = tmp_path / "new"
    done = await restore_directory(target, restored)
    assert done.manifest == second.manifest
    assert (restored / "chain").read_text() == "who it is now\n"
    assert not (restored / "restored").exists(), "of a store alone nobody has what it forgot"
    assert check_directory(restored).whole
    server.path = restored
    assert await names(server) == whole
    assert back(server, target).added > 0, "the restored store goes on with the same backup"


async def test_of_a_store_in_use(server: Any, shoe: Any, tmp_path: Path) -> None:
    target = tmp_path / "backup"
    async with server.open() as database:
        position = database.inside.log.durable.position
        await database.transact(lambda t: t.create("Shoe", {"name": "late"}))
        with pytest.raises(Refused, match="in use by process"):
            back(server, target)
        done = back(server, target, position)
        assert done.manifest.position == position
        later = back(server, target, database.inside.log.durable.position)
        assert later.manifest.position > position
    await restore_directory(target, tmp_path / "new")
    server.path = tmp_path / "new"
    assert (await names(server))[-1] == "late"


async def test_a_damaged_log_is_not_backed_up(server: Any, shoe: Any, tmp_path: Path) -> None:
    target = tmp_path / "backup"
    before = back(server, target).manifest
    await grow(server, shoe, 20, 15)
    segment = sorted((server.path / "log").glob("log-*"))[-1]
    flip(segment, 4200)
    with pytest.raises(Damaged, match="the log is damaged, and is not backed up so: frame log-"):
        back(server, target)
    assert verify_directory(target).manifest == before, "the one before stands"


async def test_another_history_or_server_is_refused(
    server: Any, shoe: Any, tmp_path: Path, make_server: Callable[..., Any]
) -> None:
    target = tmp_path / "backup"
    shutil.copytree(server.path, tmp_path / "older")
    await grow(server, shoe, 20, 5)
    back(server, target)
    older = make_server("1.2", path=tmp_path / "older", settings=SMALL)
    with pytest.raises(Refused, match="ends with another group at position"):
        back(older, target)
    await grow(older, shoe, 30, 25)
    with pytest.raises(Refused, match="ends with another group at position"):
        back(older, target)
    other = make_server("1.3", path=tmp_path / "other")
    await grow(other, shoe, 0, 1)
    with pytest.raises(Refused, match=r"the backup is of 1\.2"):
        back(other, target)
    assert verify_directory(target).report.whole


def flip(path: Path, offset: int, mask: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= mask
    path.write_bytes(data)


async def test_every_byte_flipped_or_cut_is_named(server: Any, tmp_path: Path) -> None:
    """The manifest and the small files at every byte, with every bit in turn; the long ones, which are zeros for the
    most part, at every eleventh."""
    target = tmp_path / "backup"
    manifest = back(server, target).manifest
    disk = FaultyDisk(random.Random(1))
    for path in target.iterdir():
        if path.name != "lock":
            file = disk.open(path.name, create=True)
            file.write(0, path.read_bytes())
    assert looked(disk).report.whole
    sizes = {MANIFEST: disk.used()[MANIFEST], **{each.file: each.size for each in manifest.files}}
    tried = 0
    for name, size in sizes.items():
        for offset in range(0, size, 11 if size > 3000 else 1):
            disk.flip(name, offset, 1 << offset % 8)
            found = looked(disk)
            disk.flip(name, offset, 1 << offset % 8)
            assert not found.report.whole, (name, offset)
            assert found.manifest in (None, manifest)
            tried += 1
    assert tried > 2000
    for name, size in sizes.items():
        whole = disk.image()[name][:size]
        for length in range(0, size, 97 if size > 3000 else 1):
            disk.remove(name)
            file = disk.open(name, create=True)
            file.write(0, whole[:length])
            assert not looked(disk).report.whole, (name, length)
        disk.remove(name)
        if name == MANIFEST:
            with pytest.raises(Refused, match="no backup here"):
                looked(disk)
        else:
            assert not looked(disk).report.whole
        disk.open(name, create=True).write(0, whole)
    assert looked(disk).report.whole


def looked(disk: FaultyDisk) -> Any:
    work = verify(disk)
    while True:
        try:
            next(work)
        except StopIteration as finished:
            return finished.value


async def test_a_backup_that_is_damaged_restores_nothing(server: Any, tmp_path: Path) -> None:
    target = tmp_path / "backup"
    back(server, target)
    flip(sorted(target.glob("log-*"))[0], 4500)
    with pytest.raises(Damaged, match=r"is damaged: file log-.* at offset 0: bytes 0 to"):
        await restore_directory(target, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    flip(sorted(target.glob("log-*"))[0], 4500)
    with pytest.raises(Refused, match="is there already"):
        await restore_directory(target, server.path)
    with pytest.raises(Refused, match="no directory"):
        await restore_directory(tmp_path / "nowhere", tmp_path / "new")
    (tmp_path / "new.restoring" / "log").mkdir(parents=True)  # an attempt that was cut short
    (tmp_path / "new").mkdir()
    await restore_directory(target, tmp_path / "new")
    assert check_directory(tmp_path / "new").whole


async def test_a_power_cut_at_any_step_leaves_the_one_before(make_server: Callable[..., Any], shoe: Any) -> None:
    server = make_server("1.2", settings=SMALL)
    await grow(server, shoe, 0, 12)
    first = FaultyDisk(random.Random(2))
    run_back(server, first)
    before = read_manifest(first)
    await grow(server, shoe, 12, 12)
    cuts = 0
    for kind in ("write", "sync"):
        for step in range(1, 40):
            target = FaultyDisk(random.Random(step))
            target.load(first.copy(random.Random(step)))
            target.crash_at(**{kind: step})
            try:
                run_back(server, target)
                finished = True
            except PowerCut:
                finished = False
                cuts += 1
            target.crash()
            found = looked(target)
            assert found.report.whole
            assert (found.manifest != before) >= finished
            run_back(server, target)
            assert looked(target).report.whole
    assert cuts > 8


async def test_a_full_target_is_told(make_server: Callable[..., Any], shoe: Any) -> None:
    server = make_server("1.2", settings=SMALL)
    await grow(server, shoe, 0, 12)
    target = FaultyDisk(random.Random(2))
    target.room = 5000
    with pytest.raises(Exhausted):
        run_back(server, target)
    assert read_manifest(target) is None
    target.room = None
    run_back(server, target)
    assert looked(target).report.whole


def run_back(server: Any, target: FaultyDisk) -> None:
    owner = whose(server.disk)
    log = Log(server.disk, server=owner.server, incarnation=owner.incarnation)
    text = b"written at %d" % sum(server.disk.used().values())  # another one at each time
    chain = Beside(BESIDE, "chain", len(text), lambda offset, length: text[offset : offset + length])
    work = back_up(
        log, target, server=owner.server, incarnation=owner.incarnation, until=None, beside=[chain], wall_ms=lambda: 7
    )
    for _ in work:
        pass


async def test_a_log_is_mended_from_its_backup(server: Any, tmp_path: Path) -> None:
    target = tmp_path / "backup"
    back(server, target)
    segment = sorted((server.path / "log").glob("log-*"))[0]
    flip(segment, 4500, 3)
    done = await repair_directory(server.path, backups=[target], wall_ms=lambda: 7)
    assert [each.source for each in done.mended] == [f"backup {target}"]
    assert done.after.whole


async def test_links_are_not_followed(server: Any, tmp_path: Path) -> None:
    (server.path / "keys").symlink_to("/etc/hostname")
    with pytest.raises(Refused, match="keys cannot be read"):
        back(server, tmp_path / "backup")
    os.unlink(server.path / "keys")
    back(server, tmp_path / "backup")
    assert (tmp_path / "backup").stat().st_mode & 0o077 == 0
