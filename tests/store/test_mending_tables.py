"""Entries of a store in use come back from its log while others commit; what the log cannot prove is left and told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from identity.names import END, Incarnation, ObjectId, Reference, ServerId
from store.checked import seal_entry
from store.database import Copy, Database
from store.findings import Report
from store.held_feeds import entry_key
from store.quarantine import read_evidence
from store.reading import FEEDS, INDEX, OBJECTS
from store.records import CACHED, DATA, REGISTRY
from store.scrubbing import check_running, mend_running


@pytest.fixture
async def server(make_server: Callable[..., Any], shoe: Any) -> Any:
    """Folded: own objects, another's, a copy, a deleted one."""
    server, other = make_server("1.2"), make_server("1.3")
    async with other.open() as database:
        await database.define(shoe)
        for number in range(4):
            await database.transact(lambda t, n=number: t.create("Shoe", {"name": f"theirs {n}", "size": n}))
        updates = [*other.updates(database, REGISTRY), *other.updates(database, DATA)]
    async with server.open() as database:
        await database.define(shoe)
        made = []
        for number in range(8):
            made.append(await database.transact(lambda t, n=number: t.create("Shoe", {"name": f"{n}", "size": n})))
        await database.transact(lambda t: t.update(made[2], {"size": 52}))
        await database.transact(lambda t: t.delete(made[3]))
        await database.apply(updates)
        entry = database.registry.entry("Shoe")
        wire = entry.codec.encode(entry.codec.check({"name": "copy", "note": "x"}))
        theirs = Reference(ServerId.parse("1.3"), Incarnation(5), ObjectId(5000))
        await database.cache([Copy(theirs, entry.definition.fingerprint, 9, wire)])
        await database.transact(lambda t: t.put_setting("mine", 1))
    return server


def told(report: Report) -> list[str]:
    return [str(each) for each in report.findings]


async def mend(database: Database) -> tuple[Report, list[str]]:
    report = await check_running(database)
    done = await mend_running(database, report, wall_ms=lambda: 7)
    return report, [each.source for each in done]


def spoil(stored: bytes) -> bytes:
    return stored[:-1] + bytes([stored[-1] ^ 1])


def user_entries(server: Any, table: str) -> list[bytes]:
    """Keys of the table, without those that an opening reads."""
    return [key for key in server.tables._tables[table] if table == FEEDS or not _is_built_in(server, table, key)]


def _is_built_in(server: Any, table: str, key: bytes) -> bool:
    if table == INDEX:
        return int.from_bytes(key[:4], "big") < 64
    return int.from_bytes(server.tables._tables[OBJECTS][key][4:12], "big") < 64


@pytest.mark.parametrize("how", ["spoiled", "gone"])
@pytest.mark.parametrize("table", [OBJECTS, INDEX, FEEDS])
async def test_each_entry_comes_back(server: Any, table: str, how: str) -> None:
    before = {name: dict(each) for name, each in server.tables._tables.items()}
    keys = [key for key in user_entries(server, table) if table != FEEDS or key[-8:] != bytes(8)]
    assert len(keys) >= 8
    cached = [key for key, data in before[OBJECTS].items() if data[24] == CACHED]
    assert len(cached) == 1
    for key in keys:
        if how == "gone" and key in cached:
            continue  # nobody promised to keep it
        entries = server.tables._tables[table]
        async with server.open() as database:
            if how == "gone":
                del entries[key]
            else:
                entries[key] = spoil(entries[key])
            report, sources = await mend(database)
            assert report.findings
            assert set(sources) == {"the log"}
            assert told(await check_running(database)) == []
        tables = server.tables._tables
        assert tables[table] is not entries, "it was folded"
        for name in (OBJECTS, INDEX, FEEDS):
            assert dict(tables[name]) == before[name]


async def test_what_nobody_wrote_goes(server: Any) -> None:
    async with server.open() as database:
        tables = server.tables._tables
        planted = next(key for key in user_entries(server, INDEX))[:-1] + b"\x7f"
        tables[INDEX][planted] = seal_entry(planted, user_entries(server, OBJECTS)[0])
        beyond = entry_key(END, DATA, 99)
        tables[FEEDS][beyond] = seal_entry(beyond, b"no update")
        _, sources = await mend(database)
        assert sources == ["the log", "the log"]
        assert told(await check_running(database)) == []
    assert planted not in server.tables._tables[INDEX]
    assert beyond not in server.tables._tables[FEEDS]


async def test_what_was_changed_meanwhile_stays(server: Any) -> None:
    async with server.open() as database:
        key = next(key for key in user_entries(server, OBJECTS) if key.startswith(END))
        server.tables._tables[OBJECTS][key] = spoil(server.tables._tables[OBJECTS][key])
        report = await check_running(database)
        number = int.from_bytes(key[len(END) :], "big")
        await database.transact(lambda t: t.create("Shoe", {"name": "other"}))
        await mend_running(database, report, wall_ms=lambda: 7)
        await database.transact(lambda t: t.update(number, {"size": 33}))
        await mend_running(database, report, wall_ms=lambda: 7)
        with database.view() as view:
            found = view.get((None, ObjectId(number)))
        assert found is not None
        assert found.fields["size"] == 33
        assert told(await check_running(database)) == []


async def test_a_log_with_a_hole_proves_nothing(server: Any) -> None:
    async with server.open() as database:
        name = server.disk.list()[0]
        server.disk.flip(name, 5000)
        server.disk.flip(name, 5004)
        key = user_entries(server, OBJECTS)[0]
        entries = server.tables._tables[OBJECTS]
        entries[key] = spoil(entries[key])
        _, sources = await mend(database)
        assert set(sources) == {""}
        assert not (await check_running(database)).whole
        kept = read_evidence(server.disk)
        assert entries[key] in [each.data for each in kept]
        server.disk.flip(name, 5000)
        server.disk.flip(name, 5004, 0xFE)  # now one bit is wrong: the frame first, then the entry from the log
        _, sources = await mend(database)
        assert set(sources) == {"itself: one bit had flipped", "the log"}
        assert told(await check_running(database)) == []
