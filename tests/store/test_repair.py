"""A damaged directory is mended from itself, from its log, from a backup; what cannot be is told and kept."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from identity.errors import Damaged, Refused
from identity.names import ObjectId
from store.disk import RealDisk
from store.frames import SegmentHeader
from store.quarantine import read_evidence
from store.repair import Repaired, repair_directory
from store.upkeep import check_directory

SEGMENT = "log-00000001-0000000000000000"


@pytest.fixture
async def server(make_server: Callable[..., Any], shoe: Any, tmp_path: Path) -> Any:
    server = make_server("1.2", path=tmp_path / "store")
    async with server.open() as database:
        await database.define(shoe)
        for number in range(30):
            await database.transact(lambda t, n=number: t.create("Shoe", {"name": f"{n}", "size": n}))
    return server


def flip(path: Path, *offsets: int) -> None:
    data = bytearray(path.read_bytes())
    for offset in offsets:
        data[offset] ^= 1
    path.write_bytes(data)


async def repair(server: Any, *backups: Path) -> Repaired:
    return await repair_directory(server.path, backups=backups, wall_ms=lambda: 7)


async def sizes(server: Any) -> list[int]:
    async with server.open() as database:
        with database.view() as view:
            found = [view.get((None, ObjectId(65 + number))) for number in range(31)]
        return [each.fields["size"] for each in found if each is not None and "size" in each.fields]


async def test_nothing_is_done_to_what_is_whole(server: Any) -> None:
    before = {path: path.read_bytes() for path in server.path.rglob("*") if path.is_file() and path.name != "lock.mdb"}
    done = await repair(server)
    assert (done.mended, done.tables, done.after.whole) == ((), "", True)
    assert {path: path.read_bytes() for path in before} == before


async def test_one_bit_of_the_log(server: Any) -> None:
    segment = server.path / "log" / SEGMENT
    before = segment.read_bytes()
    flip(segment, 5000)
    done = await repair(server)
    assert [each.source for each in done.mended] == ["itself: one bit had flipped"]
    assert not done.before.whole
    assert done.after.whole
    assert done.tables == "", "the tables have nothing to do with it"
    assert segment.read_bytes() == before
    disk = RealDisk(server.path / "log")
    (kept,) = read_evidence(disk)
    disk.close()
    assert kept.head["time_ms"] == 7
    assert await sizes(server) == list(range(30))


async def test_the_only_header_of_a_log(server: Any) -> None:
    flip(server.path / "log" / SEGMENT, 20)
    done = await repair(server)
    assert done.after.whole
    assert await sizes(server) == list(range(30))


@pytest.mark.parametrize("how", ["cut", "scrambled", "gone", "no tables"])
async def test_tables_come_back_from_the_log(server: Any, how: str) -> None:
    pages = server.path / "tables" / "data.mdb"
    data = pages.read_bytes()
    if how == "cut":
        os.truncate(pages, len(data) // 2)
    elif how == "scrambled":
        at = data.index(b"\x80")  # somewhere; and a record's body
        flip(pages, at, data.rindex(b"none"))
    elif how == "gone":
        pages.write_bytes(b"")
    else:
        pages.write_bytes(os.urandom(len(data)))
    done = await repair(server)
    assert not done.before.whole
    assert done.after.whole, [str(each) for each in done.after.findings]
    assert done.tables == str(server.path / "tables.damaged-1")
    assert (server.path / "tables.damaged-1" / "data.mdb").exists()
    assert await sizes(server) == list(range(30))


async def test_damage_of_both_is_mended_in_order(server: Any) -> None:
    flip(server.path / "log" / SEGMENT, 5000)
    (server.path / "tables" / "data.mdb").write_bytes(b"")
    done = await repair(server)
    assert done.after.whole
    assert len(done.mended) == 1
    assert done.tables
    assert await sizes(server) == list(range(30))


async def test_a_hole_stays_a_hole_unless_a_backup_fills_it(server: Any, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    shutil.copytree(server.path / "log", backup)
    flip(server.path / "log" / SEGMENT, 5000, 5001)
    done = await repair(server)
    assert [each.source for each in done.mended] == [""]
    assert done.mended[0].evidence == "quarantine-00000001"
    assert not done.after.whole
    assert done.tables == "", "tables are not made of a log with a hole"
    assert await sizes(server) == list(range(30)), "the tables hold what it did"
    done = await repair(server, backup)
    assert [each.source for each in done.mended] == [f"backup {backup}"]
    assert done.after.whole
    assert done.as_json()["mended"][0]["evidence"] == "quarantine-00000002"


async def test_a_backup_that_is_none_is_told(server: Any, tmp_path: Path) -> None:
    flip(server.path / "log" / SEGMENT, 5000, 5001)
    other = tmp_path / "other"
    shutil.copytree(server.path / "log", other)
    data = (other / SEGMENT).read_bytes()
    header = SegmentHeader.from_bytes(data)._replace(incarnation=6)
    (other / SEGMENT).write_bytes(header.to_bytes() + data[4096:])
    with pytest.raises(Refused, match=r"not of 1\.2 \(5\)"):
        await repair(server, other)
    assert not check_directory(server.path).whole


async def test_what_cannot_even_say_whose_it_is(server: Any) -> None:
    flip(server.path / "log" / SEGMENT, 3, 4)
    with pytest.raises(Damaged, match="restore a backup"):
        await repair(server)
