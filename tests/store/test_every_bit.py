"""Every bit of a small store flipped, one at a time, and every length it may be cut to: named, or nothing was lost.

What is promised of each: whoever reads gets what was written, or is told `Damaged`; a check names the place. Nothing of
it may ever come back as data that nobody wrote.

`make test` takes one bit of each byte, another one each time, and every fifth length; `make planted` takes all.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from identity.errors import Damaged
from identity.names import ServerId
from simulations.faulty_disk import FaultyDisk
from store.checked import open_entry
from store.checking_log import LogWalk, Walked
from store.checking_stopped import check_stopped
from store.database import Settings
from store.findings import InLog, Report
from store.frames import SEGMENT_HEADER_BYTES
from store.log import BEGINNING, Log
from store.probing import probe_tables
from store.reading import OBJECTS
from store.records import unpack_record
from store.tables import LmdbTables

SERVER = ServerId.parse("1.2")
ROOT = Path(__file__).parents[2]
HEADER_USED = 204  # of a segment's header; zeros after it


def open_log(disk: FaultyDisk) -> Log:
    return Log(disk, server=SERVER, incarnation=5, segment_bytes=5500, step_bytes=1024)


@pytest.fixture(scope="module")
def disk() -> FaultyDisk:
    """Two segments; groups of one and of several frames, plain and compressed; two runs, the last one closed."""
    disk = FaultyDisk(random.Random(1))
    for run in range(2):
        log = open_log(disk)
        list(log.replay())
        log.start()
        for group in range(2):
            log.append(1, [b"%d %d" % (run, group), b"", b"short"])
            log.append(2, [bytes(range(200)) * 2, b"x" * 90 * group])
            log.end_group(b"seal %d" % group)
            log.sync()
        log.close()
    disk.close()
    assert len(disk.list()) == 2
    return disk


def contents(disk: FaultyDisk) -> list[tuple[Any, ...]] | None:
    """What recovery would replay; None: it stops at damage."""
    try:
        log = open_log(disk)
        return [(group.seals, [(each.kind, each.sections) for each in group.frames]) for group in log.replay(BEGINNING)]
    except Damaged:
        return None


def walked(disk: FaultyDisk) -> tuple[Report, list[tuple[Any, ...]]]:
    """What a check says of the log, and the groups that it calls whole."""
    report = Report()
    found = []
    for each in LogWalk(open_log(disk), report, until=None).walk():
        if isinstance(each, Walked) and each.frames and not each.broken:
            found.append((each.seals, [(frame.kind, frame.sections) for frame in each.frames]))
    return report, found


ALL = pytest.mark.sweep
EVERY = pytest.param(1, marks=ALL, id="all")


def bits(disk: FaultyDisk, every: int) -> Iterator[tuple[str, int, int]]:
    """Each bit, or of each byte each `every`-th."""
    for name, used in disk.used().items():
        for offset in range(used):
            filler = HEADER_USED <= offset < SEGMENT_HEADER_BYTES
            if filler and offset % 61:
                continue
            for bit in range(offset % every, 8, every):
                yield name, offset, 1 << bit


@pytest.mark.parametrize("every", [EVERY, 8])
def test_every_bit_of_the_log(disk: FaultyDisk, every: int) -> None:
    whole = contents(disk)
    report, groups = walked(disk)
    assert report.whole
    assert whole == groups
    assert len(groups) == 4
    named = harmless = 0
    for name, offset, mask in bits(disk, every):
        disk.flip(name, offset, mask)
        replayed = contents(disk)
        report, groups = walked(disk)
        disk.flip(name, offset, mask)
        assert replayed in (whole, None), (name, offset, mask)
        assert all(each in whole for each in groups), (name, offset, mask)
        if not report.whole:
            places = [each.place for each in report.findings if isinstance(each.place, InLog)]
            segment = int(name[4:12])
            assert any(each.segment == segment and each.offset <= offset < each.end for each in places), (name, offset)
            named += 1
        else:  # zeros between frames and in headers, and the mark of a clean end
            assert groups == whole, (name, offset, mask)
            harmless += 1
        assert (replayed is None) <= (not report.whole), "whatever stops a start is named by a check"
    assert named > 3 * harmless


async def closed_server(make_server: Callable[..., Any], shoe: Any, path: Path | None = None) -> Any:
    server = make_server("1.2", path=path, settings=Settings(step_bytes=1024))
    async with server.open() as database:
        await database.define(shoe)
        for number in range(6):
            await database.transact(lambda t, n=number: t.create("Shoe", {"name": f"shoe {n}", "size": n}))
        await database.transact(lambda t: t.delete(66))
    return server


def check(server: Any) -> Report:
    work = check_stopped(server.disk, server.tables, server=server.server, incarnation=5)
    while True:
        try:
            next(work)
        except StopIteration as finished:
            report: Report = finished.value
            return report


@pytest.mark.parametrize("every", [EVERY, 5])
async def test_the_log_cut_at_every_byte(make_server: Callable[..., Any], shoe: Any, every: int) -> None:
    """The tables know how far the log went, so a log that ends before that is no torn tail."""
    server = await closed_server(make_server, shoe)
    (name,) = server.disk.list()
    contents = server.disk._medium.files[name]
    whole, used = bytes(contents.read(0, contents.size)), contents.used
    counts = check(server).counts
    named = 0
    for length in (*range(0, 300, 7), *range(SEGMENT_HEADER_BYTES - 20, used + 40, every)):
        cut = FaultyDisk(random.Random(1))
        if length:
            file = cut.open(name, create=True)
            file.write(0, whole[:length])
            file.sync()
            cut.sync_directory()
        server.disk = cut
        report = check(server)
        if report.whole:
            mark = {"groups": 0, "frames": 0}
            assert report.counts | mark == counts | mark, "only the mark of a clean end was cut"
            assert length >= used - 200
        else:
            named += 1
    assert named > (used - SEGMENT_HEADER_BYTES - 200) // every


async def test_every_bit_of_every_entry(make_server: Callable[..., Any], shoe: Any) -> None:
    """Of values and of keys; and the check names one bit of each entry."""
    server = await closed_server(make_server, shoe)
    tables = server.tables._tables
    read: dict[str, Callable[[bytes, bytes], Any]] = dict.fromkeys(
        tables, lambda key, stored: open_entry("table", key, stored)
    )
    read[OBJECTS] = unpack_record
    flipped = 0
    for name, table in tables.items():
        for key, stored in table.items():
            whole = key + stored
            for at in range(len(whole) * 8):
                changed = bytearray(whole)
                changed[at // 8] ^= 1 << at % 8
                with pytest.raises(Damaged):
                    read[name](bytes(changed[: len(key)]), bytes(changed[len(key) :]))
                flipped += 1
            for length in range(len(stored)):
                with pytest.raises(Damaged):
                    read[name](key, stored[:length])
    assert flipped > 10_000
    chosen = random.Random(1)
    for table in tables.values():
        for key, stored in list(table.items()):
            at = chosen.randrange(len(stored))
            table[key] = stored[:at] + bytes([stored[at] ^ 1 << chosen.randrange(8)]) + stored[at + 1 :]
            assert not check(server).whole
            del table[key]
            assert not check(server).whole, "and one that is gone"
            table[key] = stored
    assert check(server).whole


BATCH = """
import json, sys, trio
sys.path.insert(0, {root!r})
from pathlib import Path
from store.tables import LmdbTables
from store.upkeep import check_directory
directory, whole = Path({directory!r}), Path({whole!r}).read_bytes()
pages = directory / "tables" / "data.mdb"
def dump():
    tables = LmdbTables(directory / "tables")
    snapshot = tables.begin_read()
    found = [list(snapshot.scan(name)) for name in ("objects", "index", "feeds", "state")] + [snapshot.meta]
    tables.close()
    return found
pages.write_bytes(whole)
before = dump()
for number, (offset, mask) in enumerate(json.loads({places!r})):
    data = bytearray(whole)
    data[offset] ^= mask
    pages.write_bytes(data)
    (directory / "tables" / "lock.mdb").unlink(missing_ok=True)
    report = check_directory(directory)
    same = report.whole and dump() == before
    print(json.dumps([offset, report.whole, same]), flush=True)
"""


@pytest.mark.parametrize("count", [pytest.param(60, marks=ALL), 12])
async def test_bits_of_the_pages_of_lmdb(
    make_server: Callable[..., Any], shoe: Any, tmp_path: Path, count: int
) -> None:
    """LMDB knows no checksums, and here any bit may flip, also of what leads from page to page. A start of a reader
    costs a tenth of a second, so these are drawn."""
    server = await closed_server(make_server, shoe, tmp_path)
    pages = tmp_path / "tables" / "data.mdb"
    whole = pages.read_bytes()
    (tmp_path / "whole").write_bytes(whole)
    chosen = random.Random(1)
    places = [(chosen.randrange(len(whole)), 1 << chosen.randrange(8)) for _ in range(count)]
    script = BATCH.format(
        root=str(ROOT), directory=str(tmp_path), whole=str(tmp_path / "whole"), places=json.dumps(places)
    )
    done = await trio.run_process([sys.executable, "-c", script], capture_stdout=True, capture_stderr=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(said) == len(places)
    assert all(same for _, is_whole, same in said if is_whole)
    assert count < 60 or any(not is_whole for _, is_whole, _ in said)
    assert server.server == SERVER


async def test_pages_cut_short(make_server: Callable[..., Any], shoe: Any, tmp_path: Path) -> None:
    await closed_server(make_server, shoe, tmp_path)
    pages = tmp_path / "tables" / "data.mdb"
    whole = pages.read_bytes()
    for length in (0, 100, 4096, 8191, len(whole) // 2, len(whole) - 4096):
        pages.write_bytes(whole[:length])
        (tmp_path / "tables" / "lock.mdb").unlink(missing_ok=True)
        told = probe_tables(str(tmp_path / "tables"))
        if not told:
            tables = LmdbTables(tmp_path / "tables")
            assert list(tables.begin_read().scan(OBJECTS)) != []
            tables.close()
