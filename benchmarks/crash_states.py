"""Crash the whole store on a disk that forgets what was not synced; recover; nothing answered may be missing.

    python -m benchmarks.crash_states --states 10000 [--seed N] [--without-sync]

A schedule is a disk, tables, and lives on them. In each life eight clients commit pairs (`benchmarks.pairs`) until
the power is cut inside a write or a sync, in recovery too. From that one moment many *states* follow: the unsynced
writes lost, kept or torn, each by chance. Every state is opened by the shipped recovery and judged, and one more
commit is made in it; then one of them becomes the next life. Also judged: an update that was told after its sync
(`on_committed`) must read back byte for byte, and own updates must form one unbroken chain.

`--without-sync` takes the sync out of the disk; it must be found, or this script proves nothing.
"""

from __future__ import annotations

import argparse
import copy
import random
import sys
import time
from typing import Any

import trio
import trio.testing

from benchmarks.pairs import CLIENTS, HALF, Ledger, Violation, client
from identity.errors import Damaged
from identity.names import ServerId
from replication.leaves import FeedSealer
from simulations.faulty_disk import FaultyDisk, PowerCut
from store.database import Committed, Database, Settings, open_database
from store.records import DATA, Update, head_hash
from store.tables import MemoryTables

SERVER = ServerId.parse("1.7.3")
INCARNATION = 3
LIVES = 4
STATES_PER_CRASH = 6
SMALL = Settings(generation_bytes=60_000, segment_bytes=1 << 15, step_bytes=1 << 13)


class Forgetful(FaultyDisk):
    """A disk whose sync says yes and does nothing: what a store without the sync would run on."""

    def open(self, name: str, *, create: bool = False) -> Any:
        file = super().open(name, create=create)
        file.sync = lambda: None
        return file


class Schedule:
    """One disk and the lives on it."""

    def __init__(self, seed: int, *, make_disk: type[FaultyDisk] = FaultyDisk) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.disk = make_disk(self.random)
        self.tables = MemoryTables()
        self.ledger = Ledger()
        self.told: dict[int, bytes] = {}
        self.states = 0
        self.next_pair = 1

    def run(self) -> int:
        """All lives; the number of states judged. Raises `Violation`."""
        for life in range(LIVES):
            self.disk.crash_at(write=self.random.randrange(0, 60), sync=self.random.randrange(0 if life else 3, 40))
            if not self.disk.will_crash:
                self.disk.crash_at(write=20)
            trio.run(self._live, clock=trio.testing.MockClock())
            survivor = None
            for state in range(STATES_PER_CRASH):
                disk, tables = self._after_crash()
                trio.run(self._judge, disk, tables, state == STATES_PER_CRASH - 1, clock=trio.testing.MockClock())
                self.states += 1
                survivor = (disk, tables)
            assert survivor is not None
            self.disk, self.tables = survivor
        return self.states

    def _open(self, disk: FaultyDisk, tables: MemoryTables) -> Any:
        sealer = FeedSealer(SERVER, INCARNATION, lambda data: bytes(64), self.random)
        return open_database(
            disk, tables, server=SERVER, incarnation=INCARNATION, sealer=sealer, random=self.random,
            wall_ms=lambda: 1000, settings=SMALL,
        )  # fmt: skip

    async def _live(self) -> None:
        """Commit until the power is cut."""
        first_pair = self.next_pair
        self.next_pair += 1_000_000
        try:
            async with self._open(self.disk, self.tables) as database:
                database.on_committed = lambda committed: self._tell(database, committed)
                await database.define(HALF)
                async with trio.open_nursery() as nursery:
                    for number in range(CLIENTS):
                        nursery.start_soon(
                            client, database, number, self.random, self._asked, self._answered, first_pair
                        )
        except Exception as error:
            if not _is_power_cut(error):
                raise

    def _asked(self, pair: int, version: int) -> None:
        self.ledger.asked[pair] = version

    def _answered(self, pair: int, version: int, number: int) -> None:
        self.ledger.answered[pair] = version
        self.ledger.highest_object = max(self.ledger.highest_object, number)

    def _tell(self, database: Database, committed: Committed) -> None:
        for seal in committed.seals:
            if seal.kind == DATA:
                data = database.read_update(SERVER, INCARNATION, DATA, seal.number)
                assert data is not None
                self.told[seal.number] = data

    def _after_crash(self) -> tuple[FaultyDisk, MemoryTables]:
        """One of the states that may follow from this crash."""
        disk = copy.deepcopy(self.disk)
        disk._random = random.Random(self.random.random())
        disk.crash()
        return disk, copy.copy(self.tables)

    async def _judge(self, disk: FaultyDisk, tables: MemoryTables, next_life: bool) -> None:
        try:
            async with self._open(disk, tables) as database:
                if database.registry.find("Half") is None:
                    if self.ledger.answered:
                        raise Violation("the class is lost, and with it everything")
                    return
                self.ledger.judge(database)
                self._judge_feed(database)
                before = self.ledger.highest_object
                made = await database.transact(
                    lambda t: [t.create("Half", {"pair": 0, "side": side, "version": 0}) for side in ("left", "right")]
                )
                if made[0].object <= before:
                    raise Violation(f"object {made[0].object} is used again, {before} was answered")
                await database.transact(lambda t: [t.delete(each) for each in made])
            async with self._open(disk, tables) as database:
                self.ledger.judge(database)
                if next_life:
                    self.ledger.settle(database)
        except Damaged as error:
            raise Violation(f"a crash looks like damage: {error}") from error

    def _judge_feed(self, database: Database) -> None:
        """What was told is there as it was told, and the feed is one chain."""
        previous = bytes(32)
        for number in range(1, database.last_position(DATA).number + 1):
            data = database.read_update(SERVER, INCARNATION, DATA, number)
            if data is None:
                raise Violation(f"own update {number} is missing")
            if self.told.get(number, data) != data:
                raise Violation(f"own update {number} is not what was told")
            head = Update.from_bytes_untrusted(data).head
            if head.previous != previous:
                raise Violation(f"own update {number} does not follow the one before")
            previous = head_hash(head.to_bytes())
        if self.told and max(self.told) > database.last_position(DATA).number:
            raise Violation(f"own update {max(self.told)} was told and is lost")


def _is_power_cut(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_power_cut, error.exceptions))
    return isinstance(error, PowerCut) or "PowerCut" in str(error) or isinstance(error.__cause__, PowerCut)


def sweep(*, states: int, seed: int, make_disk: type[FaultyDisk] = FaultyDisk) -> int:
    """Schedules from `seed` on until so many states were judged. Raises `Violation`, naming the seed."""
    judged = 0
    while judged < states:
        try:
            judged += Schedule(seed, make_disk=make_disk).run()
        except Violation as error:
            raise Violation(f"seed {seed}: {error}") from error
        seed += 1
    return judged


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crash_states")
    parser.add_argument("--states", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--without-sync", action="store_true", help="take the sync out: it must be found")
    chosen = parser.parse_args()
    begun = time.perf_counter()
    try:
        judged = sweep(
            states=chosen.states, seed=chosen.seed, make_disk=Forgetful if chosen.without_sync else FaultyDisk
        )
    except Violation as error:
        print(f"violation: {error}")
        return 0 if chosen.without_sync else 1
    seconds = time.perf_counter() - begun
    print(f"{judged} crash states, 0 violations, {seconds:.0f} s, {judged / seconds:.0f} states/s")
    return 1 if chosen.without_sync else 0


if __name__ == "__main__":
    sys.exit(main())
