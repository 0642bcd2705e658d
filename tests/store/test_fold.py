"""The fold: generation and mark in one step, again after failure, and with the log a whole recovery."""

import contextlib
import random
from pathlib import Path

import pytest
import trio

from identity.errors import Damaged, Exhausted, LocalMistake
from identity.names import ServerId
from simulations.faulty_disk import FaultyDisk, PowerCut
from store.fold import Fold, read_mark
from store.generations import Generations
from store.log import BEGINNING, Log, Mark
from store.tables import Changes, LmdbTables, MemoryTables, Tables

MARK = Mark(800, 3, bytes(range(32)))


def make_generations(tables: Tables) -> Generations:
    return Generations(tables.begin_read(), clock=lambda: 0.0)


@pytest.mark.parametrize("kind", ["memory", "lmdb"])
async def test_a_generation_and_its_mark_reach_the_tables_in_one_step(kind: str, tmp_path: Path) -> None:
    tables: Tables = LmdbTables(tmp_path / "tables") if kind == "lmdb" else MemoryTables()
    generations = make_generations(tables)
    fold = Fold(generations, tables)
    assert read_mark(tables.begin_read()) == BEGINNING
    generations.apply(1, {"t": {b"a": b"1", b"b": b"2"}})
    generations.publish(1)
    fold.freeze(MARK)
    assert fold.pending
    generations.apply(2, {"t": {b"a": b"9", b"b": None}})
    await fold.run()
    assert not fold.pending
    snapshot = tables.begin_read()
    assert list(snapshot.scan("t")) == [(b"a", b"1"), (b"b", b"2")]
    assert read_mark(snapshot) == MARK
    assert list(generations.appended.scan("t")) == [(b"a", b"9")]
    await fold.run()
    snapshot.close()
    generations.close()
    tables.close()


class FullTables(MemoryTables):
    full = True

    async def fold(self, changes: Changes, meta: bytes) -> None:
        if self.full:
            raise Exhausted("no room for the tables")
        await super().fold(changes, meta)


async def test_a_fold_without_room_is_run_again_and_commits_go_on() -> None:
    tables = FullTables()
    generations = make_generations(tables)
    fold = Fold(generations, tables)
    generations.apply(1, {"t": {b"a": b"1"}})
    generations.publish(1)
    fold.freeze(MARK)
    for _ in range(2):
        with pytest.raises(Exhausted):
            await fold.run()
        assert fold.pending
        with generations.view() as view:
            assert view.get("t", b"a") == b"1"
    generations.apply(2, {"t": {b"b": b"2"}})
    with pytest.raises(LocalMistake, match="frozen already"):
        fold.freeze(MARK)
    tables.full = False
    await fold.run()
    assert read_mark(tables.begin_read()) == MARK
    assert list(generations.appended.scan("t")) == [(b"a", b"1"), (b"b", b"2")]


class SlowTables(MemoryTables):
    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go_on = trio.Event(), trio.Event()

    async def fold(self, changes: Changes, meta: bytes) -> None:
        self.begun.set()
        await self.go_on.wait()
        await super().fold(changes, meta)


async def test_two_folds_at_once_are_our_mistake() -> None:
    tables = SlowTables()
    generations = make_generations(tables)
    fold = Fold(generations, tables)
    fold.freeze(MARK)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fold.run)
        await tables.begun.wait()
        with pytest.raises(LocalMistake, match="under way"):
            await fold.run()
        tables.go_on.set()
    assert not fold.pending


def test_only_durable_commits_are_frozen() -> None:
    tables = MemoryTables()
    generations = make_generations(tables)
    fold = Fold(generations, tables)
    generations.apply(1, {"t": {b"a": b"1"}})
    with pytest.raises(LocalMistake, match="not durable"):
        fold.freeze(MARK)
    assert not fold.pending


async def test_a_mark_that_cannot_be_read_is_damage() -> None:
    tables = MemoryTables()
    await tables.fold({}, b"short")
    with pytest.raises(Damaged, match="mark has 5 bytes"):
        read_mark(tables.begin_read())


def test_log_generations_and_tables_together_survive_crashes() -> None:
    """Counters on a faulty disk: recovery is the tables and the log after their mark, and equals what was answered."""

    async def live(disk: FaultyDisk, tables: MemoryTables, rng: random.Random, answered: dict[bytes, bytes]) -> None:
        log = Log(disk, server=ServerId.parse("1.7"), incarnation=1, segment_bytes=6000, step_bytes=4096)
        snapshot = tables.begin_read()
        generations = make_generations(tables)
        number = 0
        for group in log.replay(read_mark(snapshot)):
            for frame in group.frames:
                number += 1
                generations.apply(number, {"t": {frame.sections[0]: frame.sections[1]}})
        log.start()
        generations.publish(number)
        found = dict(generations.appended.scan("t"))
        for key, value in answered.items():
            assert int(found[key]) - int(value) in (0, 1), "one more than answered may have been under way"
        assert all(key in answered or value == b"1" for key, value in found.items())
        answered.clear()
        answered.update(found)
        fold = Fold(generations, tables)
        for _ in range(rng.randrange(20)):
            key = b"k%d" % rng.randrange(5)
            value = b"%d" % (int(answered.get(key, b"0")) + 1)
            log.append(1, [key, value])
            number += 1
            generations.apply(number, {"t": {key: value}})
            log.end_group()
            await log.sync_async()
            generations.publish(number)
            answered[key] = value
            if rng.random() < 0.2:
                fold.freeze(log.durable)
                await fold.run()

    for seed in range(60):
        rng = random.Random(seed)
        disk, tables = FaultyDisk(rng), MemoryTables()
        answered: dict[bytes, bytes] = {}
        for _ in range(6):
            disk.crash_at(write=rng.randrange(1, 30))
            with contextlib.suppress(PowerCut):
                trio.run(live, disk, tables, rng, answered)
            disk.crash()
        disk.crash_at()
        trio.run(live, disk, tables, rng, answered)
