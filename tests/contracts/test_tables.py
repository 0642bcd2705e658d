"""What `store.tables.Tables` promises, kept by LMDB, by the tables in memory and by the simulator's alike."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from identity.errors import LocalMistake
from simulations.faulty_disk import FaultyDisk
from simulations.faulty_tables import FaultyTables
from store.cipher import Cipher
from store.sealed_tables import sealed_in
from store.tables import LmdbTables, MemoryTables, Tables


@pytest.fixture(params=["lmdb", "memory", "faulty", "sealed", "sealed lmdb"])
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tables]:
    tables: Tables
    if request.param == "lmdb":
        tables = LmdbTables(tmp_path / "tables")
    elif request.param == "memory":
        tables = MemoryTables()
    elif request.param.startswith("sealed"):
        inner = LmdbTables(tmp_path / "tables") if request.param == "sealed lmdb" else MemoryTables()
        tables = sealed_in(inner, Cipher(bytes(32)))
    else:
        tables = FaultyTables(FaultyDisk(random.Random(1)), random.Random(1))
    yield tables
    tables.close()


async def test_what_was_folded_is_read_with_its_meta(tables: Tables) -> None:
    before = tables.begin_read()
    await tables.fold({"objects": {b"a": b"1", b"b": b""}, "index": {b"a": b"other"}}, b"mark 1")
    after = tables.begin_read()
    assert (after.get("objects", b"a"), after.get("objects", b"b"), after.get("index", b"a")) == (b"1", b"", b"other")
    assert after.get("objects", b"c") is None
    assert after.get("nothing", b"a") is None
    assert after.meta == b"mark 1"
    assert (before.get("objects", b"a"), before.meta) == (None, b"")
    assert list(before.scan("objects")) == []
    before.close()
    after.close()


async def test_a_snapshot_stays_while_folds_go_on(tables: Tables) -> None:
    await tables.fold({"t": {b"a": b"1", b"b": b"2"}}, b"1")
    snapshot = tables.begin_read()
    scan = snapshot.scan("t")
    assert next(scan) == (b"a", b"1")
    await tables.fold({"t": {b"a": b"9", b"b": None, b"c": b"3"}}, b"2")
    assert list(scan) == [(b"b", b"2")]
    assert list(snapshot.scan("t")) == [(b"a", b"1"), (b"b", b"2")]
    assert snapshot.meta == b"1"
    newer = tables.begin_read()
    assert list(newer.scan("t")) == [(b"a", b"9"), (b"c", b"3")]
    snapshot.close()
    newer.close()


async def test_deleting_what_is_not_there_and_folding_nothing(tables: Tables) -> None:
    await tables.fold({"t": {b"a": None}, "empty": {}}, b"1")
    await tables.fold({}, b"2")
    snapshot = tables.begin_read()
    assert list(snapshot.scan("t")) == []
    assert snapshot.meta == b"2"
    snapshot.close()


async def test_large_values_and_the_longest_keys(tables: Tables) -> None:
    value = random.Random(1).randbytes(3 << 20)
    await tables.fold({"t": {b"k" * 511: value}}, b"")
    snapshot = tables.begin_read()
    assert snapshot.get("t", b"k" * 511) == value
    snapshot.close()


@pytest.mark.parametrize("key", [b"", b"k" * 512])
async def test_a_key_that_cannot_be_kept_changes_nothing(tables: Tables, key: bytes) -> None:
    await tables.fold({"t": {b"a": b"1"}}, b"1")
    for value in (b"x", None):
        with pytest.raises(LocalMistake, match="keys have 1 to 511"):
            await tables.fold({"t": {b"b": b"2", key: value}}, b"2")
    snapshot = tables.begin_read()
    assert (list(snapshot.scan("t")), snapshot.meta) == ([(b"a", b"1")], b"1")
    snapshot.close()


async def test_scans_agree_with_a_sorted_dict_at_every_bound(tables: Tables) -> None:
    rng = random.Random(2)
    model: dict[bytes, bytes] = {}
    for round_number in range(4):
        changes: dict[bytes, bytes | None] = {
            rng.randbytes(rng.randrange(1, 4)): rng.choice([b"x", b"yy", None]) for _ in range(120)
        }
        for key, value in changes.items():
            if value is None:
                model.pop(key, None)
            else:
                model[key] = value
        await tables.fold({"t": changes, "other": {b"a": b"b"}}, b"%d" % round_number)
        snapshot = tables.begin_read()
        ordered = sorted(model.items())
        bounds = [b"", b"\x80", b"\xff\xff\xff\xff", *rng.sample(sorted(model), 4), rng.randbytes(2)]
        for low in bounds:
            for high in [None, *bounds]:
                expected = [entry for entry in ordered if low <= entry[0] and (high is None or entry[0] < high)]
                assert list(snapshot.scan("t", low, high)) == expected
                assert list(snapshot.scan("t", low, high, reverse=True)) == expected[::-1]
        snapshot.close()


async def test_a_closed_snapshot_is_not_read(tables: Tables) -> None:
    await tables.fold({"t": {b"%03d" % number: b"x" for number in range(300)}}, b"")
    snapshot = tables.begin_read()
    scan = snapshot.scan("t")
    next(scan)
    snapshot.close()
    with pytest.raises(LocalMistake, match="closed"):
        list(scan)
    with pytest.raises(LocalMistake, match="closed"):
        snapshot.get("t", b"000")
    with pytest.raises(LocalMistake, match="closed"):
        list(snapshot.scan("t"))
