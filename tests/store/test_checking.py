"""A check of a whole store finds nothing; of a damaged one, each damage is named with its place."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from identity.encoding import encode_integer
from identity.errors import Refused
from identity.names import END, Incarnation, ObjectId, Reference, ServerId
from store.checking_stopped import check_stopped
from store.database import Copy, Settings
from store.disk import RealDisk
from store.findings import InLog, InTable, Report
from store.held_feeds import entry_key
from store.reading import FEEDS, INDEX, OBJECTS
from store.records import DATA, REGISTRY, pack_record
from store.registry import FIRST_USER_NUMBER, definition_from_toml
from store.tables import LmdbTables, seal_entry

INCARNATION = 5
BOOT = definition_from_toml(
    'name = "Boot"\n[fields]\nname = { type = "string", unique = true }\n'
    'pair = { type = "reference(Boot)", on_delete = "restrict" }\n'
)
SMALL = Settings(generation_bytes=4000, segment_bytes=6000, step_bytes=4096)


async def fill(server: Any, other: Any, shoe: Any) -> None:
    """Own objects, deleted ones, references, another's mirrored, a cached copy, over two runs and several segments."""
    async with other.open() as database:
        await database.define(shoe)
        for number in range(4):
            await database.transact(lambda t, n=number: t.create("Shoe", {"name": f"theirs {n}", "size": n}))
        updates = [*other.updates(database, REGISTRY), *other.updates(database, DATA)]
        with database.view() as view:
            body = view.get((None, ObjectId(FIRST_USER_NUMBER + 2)))
        assert body is not None
    async with server.open() as database:
        await database.define(shoe)
        await database.define(BOOT)
        made = []
        for number in range(12):
            made.append(await database.transact(lambda t, n=number: t.create("Shoe", {"name": f"{n}", "size": n})))
        await database.transact(lambda t: t.delete(made[3]))
        await database.apply(updates)
    async with server.open() as database:
        boot = await database.transact(lambda t: t.create("Boot", {"name": "left"}))
        await database.transact(lambda t: t.create("Boot", {"name": "right", "pair": boot}))
        await database.transact(lambda t: t.update(made[5], {"size": 55}))
        entry = database.registry.entry("Shoe")
        wire = entry.codec.encode(entry.codec.check({"name": "copy", "note": "x"}))
        theirs = Reference(ServerId.parse("1.3"), Incarnation(INCARNATION), ObjectId(5000))
        await database.cache([Copy(theirs, entry.definition.fingerprint, 9, wire)])
        await database.transact(lambda t: t.put_setting("mine", 1))


def check(server: Any) -> Report:
    disk, tables = server.disk, server.tables
    if server.path is not None:
        disk, tables = RealDisk(server.path / "log"), LmdbTables(server.path / "tables")
    work = check_stopped(disk, tables, server=server.server, incarnation=INCARNATION)
    try:
        while True:
            next(work)
    except StopIteration as ended:
        report: Report = ended.value
        return report
    finally:
        if server.path is not None:
            tables.close()
            disk.close()


@pytest.fixture
async def filled(make_server: Callable[..., Any], shoe: Any) -> Any:
    server, other = make_server("1.2", settings=SMALL), make_server("1.3")
    await fill(server, other, shoe)
    return server


def told(report: Report) -> list[str]:
    return [str(each) for each in report.findings]


async def test_a_whole_store_has_nothing_to_tell(make_server: Callable[..., Any], shoe: Any, tmp_path: Path) -> None:
    for path in (None, tmp_path):
        server, other = make_server("1.2", path=path, settings=SMALL), make_server("1.3")
        await fill(server, other, shoe)
        report = check(server)
        assert told(report) == []
        assert report.whole
        counts = report.counts
        assert counts["segments"] >= 2
        assert counts["mirrored records"] == 5
        assert counts["cached records"] == 1
        assert counts["tombstones"] >= 1
        assert counts["references"] == 1
        assert counts["updates"] + 2 * 2 == counts["feed entries"], "four feeds have ends beside their updates"
        assert check(server).counts == counts, "reading changes nothing"


async def test_what_was_not_folded_yet_is_looked_at_as_well(filled: Any) -> None:
    async with filled.open() as database:
        await database.transact(lambda t: t.create("Shoe", {"name": "late"}))
        filled.crash()
        database._writer.abandon()
    report = check(filled)
    assert told(report) == []


def key_of(server: Any, number: int) -> bytes:
    return END + encode_integer(number)


def owned(server: Any, class_number: int) -> list[bytes]:
    return [
        key
        for key, data in server.tables._tables[OBJECTS].items()
        if key.startswith(END) and int.from_bytes(data[4:12], "big") == class_number
    ]


def class_number(server: Any, name: str) -> int:
    """Of a class, by the objects that a stopped store holds."""
    return {"Shoe": FIRST_USER_NUMBER, "Boot": FIRST_USER_NUMBER + 2}[name]


async def test_each_kind_of_contradiction_is_named(filled: Any) -> None:
    tables = filled.tables._tables
    shoes = owned(filled, class_number(filled, "Shoe"))
    assert len(shoes) == 12
    first_index = next(key for key, value in tables[INDEX].items() if value[:-4] == shoes[0])

    def found(table: str, key: bytes, stored: bytes | None) -> Report:
        before = tables[table].get(key)
        if stored is None:
            del tables[table][key]
        else:
            tables[table][key] = stored
        try:
            return check(filled)
        finally:
            if before is None:
                del tables[table][key]
            else:
                tables[table][key] = before

    report = found(OBJECTS, shoes[0], None)
    assert "neither record nor tombstone" in told(report)[0]
    assert any("which has no record" in each for each in told(report)), "its index entries lead nowhere"
    assert report.findings[0].place == InTable(OBJECTS, shoes[0])

    data = tables[OBJECTS][shoes[0]]
    report = found(OBJECTS, shoes[0], data[:-1] + bytes([data[-1] ^ 1]))
    assert any("is not what was written" in each for each in told(report))

    older = pack_record(shoes[0], FIRST_USER_NUMBER, 0, 1, 1, 1, data[41:])
    report = found(OBJECTS, shoes[0], older)
    assert any("it is of sequence 1, and the log has" in each for each in told(report))

    report = found(INDEX, first_index, None)
    assert [each.what for each in report.findings] == ["record"]
    assert "its index entry is missing" in told(report)[0]

    report = found(INDEX, first_index, seal_entry(first_index, shoes[1]))
    assert {each.what for each in report.findings} >= {"index entry", "unique value"}

    report = found(INDEX, first_index, tables[INDEX][first_index][:-1] + b"!")
    assert [(each.what, each.place) for each in report.findings] == [("entry", InTable(INDEX, first_index, shoes[0]))]

    planted = first_index[:-1] + b"\x7f"
    report = found(INDEX, planted, seal_entry(planted, shoes[1]))
    assert "has no such value" in told(report)[0]

    update = entry_key(END, DATA, 2)
    report = found(FEEDS, update, None)
    assert any("not in the table of feeds" in each for each in told(report))
    assert any("the update before it is missing" in each for each in told(report))

    other = entry_key(END, DATA, 3)
    report = found(FEEDS, update, seal_entry(update, tables[FEEDS][other][:-4]))
    assert any("elsewhere than the table of feeds says" in each for each in told(report))
    beyond = entry_key(END, DATA, 99)
    report = found(FEEDS, beyond, seal_entry(beyond, tables[FEEDS][other][:-4]))
    assert told(report) == ["update 99 of 1.2, feed 1: update 3 of 1.2 stands in its place"]
    assert check(filled).whole


async def test_a_reference_that_dangles_is_named(filled: Any) -> None:
    tables = filled.tables._tables
    left, _ = owned(filled, class_number(filled, "Boot"))
    del tables[OBJECTS][left]
    assert any("field pair leads to 1.2/" in each for each in told(check(filled)))
    tables[OBJECTS][left] = pack_record(left, class_number(filled, "Boot"), 0, 99, 1, 1, b"")
    assert any("was deleted, and that is watched" in each for each in told(check(filled)))


async def test_bad_frames_are_named_and_all_others_are_read(filled: Any) -> None:
    whole = check(filled)
    name = filled.disk.list()[0]
    size = filled.disk.used()[name]
    for offset in random.Random(1).sample(range(4096, size), 60):
        filled.disk.flip(name, offset)
        report = check(filled)
        filled.disk.flip(name, offset)
        if report.whole:
            assert report.counts == whole.counts, "zeros between frames"
            continue
        (bad,) = [each for each in report.findings if isinstance(each.place, InLog)]
        place = bad.place
        assert isinstance(place, InLog)
        assert place.offset <= offset < place.end
        assert bad.where == f"{name} at offset {place.offset}"
        assert report.counts["frames"] == whole.counts["frames"] - 1


async def test_a_segment_that_is_gone_or_headless_is_named(filled: Any) -> None:
    first, second = filled.disk.list()[:2]
    filled.disk.flip(second, 3)
    report = check(filled)
    assert [each.where for each in report.findings if each.what == "segment"] == [f"{second} at offset 0"]
    filled.disk.flip(second, 3)
    filled.disk.remove(second)
    assert "segment 2 of the log of 1.2 is missing" in told(check(filled))[0]
    assert first in filled.disk.list()


async def test_another_servers_log_is_refused(filled: Any) -> None:
    work = check_stopped(filled.disk, filled.tables, server=ServerId.parse("1.9"), incarnation=INCARNATION)
    with pytest.raises(Refused, match=r"this log is of 1\.2"):
        list(work)
