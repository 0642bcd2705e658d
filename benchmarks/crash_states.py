"""Crash the whole store on a disk that forgets what was not synced; recover, twice; nothing answered may be missing.

    python -m benchmarks.crash_states --states 1000000 [--seed N] [--jobs N] [--without-sync]

    a recording    a store in use: clients that commit pairs (`benchmarks.pairs`), large transactions, changes of the
                   class, updates of another server, folds; four lives, each ended by a crash
    its steps      before each write and each sync, in recovery too, the machine may stop: from that moment several
                   *states* follow, in which unsynced writes and names are each lost, kept or torn by sectors, and a
                   fold under way is there or not; or only the process dies, and nothing is lost yet
    a state        judged in two lives by the shipped recovery (`benchmarks.crash_lives`); no two of a step are alike

One state in `WITH_QUESTIONS` is opened with everything there is, and asked questions as a user would: every pair that
was answered is there and whole, and the feed is one chain of what was told. `--without-sync` takes the sync out of the
disk; it must be found, or this script proves nothing.
"""

from __future__ import annotations

import argparse
import copy
import gc
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import count
from typing import Any, NamedTuple

import msgspec
import trio
import trio.testing

from benchmarks.crash_lives import INCARNATION, ROOMY, SERVER, SMALL, Changes, Group, History, State
from benchmarks.pairs import HALF, Ledger, Violation, client
from identity.errors import BangpathError, Damaged, Refused
from identity.names import END, ServerId
from replication.leaves import FeedSealer
from simulations.faulty_disk import FaultyDisk, PowerCut
from simulations.faulty_tables import FaultyTables
from simulations.medium import Medium
from store.database import Committed, Database, open_database
from store.definitions import ClassDefinition, Field
from store.foreign import Applied
from store.records import DATA, PUT, Update, head_hash, join_update, pack_leaf_fields
from store.tables import MemoryTables
from store.transaction import Transaction

CLIENTS = 2
LIVES = 4
STATES_PER_STEP = 6
WITH_QUESTIONS = 256
OTHERS = 1 << 40  # pairs of another server begin after it
LARGE = 6  # pairs in a large transaction
P_KILLED = 0.2  # that a life of a recording ends with its process, and the page cache stays
PROGRESS_S = 10.0
_ORDERED = [each if each.name != "version" else msgspec.structs.replace(each, index=True) for each in HALF.fields]
FURTHER = (  # the same class otherwise indexed, or longer
    msgspec.structs.replace(HALF, fields=tuple(_ORDERED)),
    HALF,
    msgspec.structs.replace(HALF, minor=1, fields=(*HALF.fields, Field(name="note", default="none", since=1))),
)


class WatchedDisk(FaultyDisk):
    """Tells of each write and sync before it begins: of a write with file, offset and bytes."""

    watch: Callable[[tuple[str, int, bytes, bool] | None], None] | None = None

    def before_sync(self, name: str, forsaken: Any = None) -> None:
        if self.watch is not None:
            self.watch(None)
        super().before_sync(name, forsaken)

    def before_write(self, name: str, offset: int, data: bytes, *, zeros: bool = False) -> bool:
        if self.watch is not None:
            self.watch((name, offset, data, zeros) if name in self._medium.files else None)
        return super().before_write(name, offset, data, zeros=zeros)


class Forgetful(WatchedDisk):
    """A disk whose sync says yes and does nothing: what a store without the sync would run on."""

    def open(self, name: str, *, create: bool = False) -> Any:
        file = super().open(name, create=create)
        file.sync = lambda: None
        return file


class Questions(NamedTuple):
    """A state to be opened and asked, and what was answered and told before it."""

    disk: FaultyDisk
    tables: MemoryTables
    ledger: Ledger
    told: dict[int, bytes]


class Asking:
    """The store as clients have it; `settled` hears of each transaction that was answered."""

    def __init__(self, database: Database, settled: Callable[[int], None]) -> None:
        self.database = database
        self._settled = settled

    async def define(self, definition: ClassDefinition) -> None:
        before = self.database.inside.applier.number
        await self.database.define(definition)
        with self.database.view() as view:
            if view.registry.find(definition.name) is None:
                raise Violation(f"class {definition.name} was answered before {before + 1} was durable")

    async def transact(self, body: Callable[[Transaction], Any]) -> Any:
        kept = []

        def noted(transaction: Transaction) -> Any:
            kept.append(transaction)
            return body(transaction)

        result = await self.database.transact(noted)
        self._settled(kept[0].sequence)
        return result


class Other:
    """Another server, whose updates this one takes: pairs of its own."""

    def __init__(self, generator: random.Random) -> None:
        self._random = generator
        self._server = ServerId.parse("1.9")
        self._made: list[Update] = []
        self._sealer = FeedSealer(self._server, 1, lambda data: bytes(64), generator)
        self._sealer.resume(DATA, None)
        self._sealer.begin_epoch(1)

    async def send(self, database: Database, ledger: Ledger) -> tuple[bytes, int]:
        """The updates that are not there yet, with a new one; under which key, and how many are there now."""
        held = {each.server: each.last for each in database.feeds()}.get(self._server, 0)
        self._made.append(self._make(len(self._made) + 1))
        for number in range(held, len(self._made)):
            ledger.asked[OTHERS + number + 1] = 1
        outcomes = await database.apply(self._made[held:])
        applied = [each.update.head.number for each in outcomes if isinstance(each, Applied)]
        if len(applied) < len(self._made) - held:
            raise Violation(f"updates of {self._server} were not taken: {outcomes[-1]}")
        key = database.inside.applier.servers.key(self._server, 1)
        assert key is not None
        return key, applied[-1]

    def _make(self, number: int) -> Update:
        filling = self._random.randbytes(self._random.randrange(200))
        leaves = [
            pack_leaf_fields(
                PUT, 64 + 2 * number + at, number, HALF.fingerprint, bytes(16), b"",
                HALF.to_body({"pair": OTHERS + number, "side": side, "version": 1, "filling": filling}),
            )
            for at, side in enumerate(("left", "right"))
        ]  # fmt: skip
        seal = self._sealer.seal(DATA, leaves)
        return Update.from_bytes_untrusted(join_update(seal.head, seal.signature, b"".join(leaves)))


class Recording:
    """A store in use; `run` judges the states that follow from each of its steps."""

    def __init__(self, seed: int, *, make_disk: type[WatchedDisk] = WatchedDisk) -> None:
        self.random = random.Random(seed)
        self.make_disk = make_disk
        self._settings = SMALL if seed % 4 else ROOMY
        self.disk = make_disk(self.random)
        self.tables = FaultyTables(self.disk, self.random, pause=self._pause)
        self.history = History()
        self.ledger = Ledger()
        self.other = Other(self.random)
        self.told: dict[int, bytes] = {}
        self.states = 0
        self.least = 0  # groups that were answered
        self.violation: Exception | None = None
        self._questions: list[Questions] = []
        self._changes: list[Changes] = []
        self._next_pair = 1

    def run(self) -> int:
        """All lives; the number of states judged. Raises `Violation`."""
        gc.set_threshold(100_000)  # a state leaves few cycles
        trio._core._run._r.seed(self.random.random())  # type: ignore[attr-defined]  # which task goes first
        for life in range(LIVES):
            self.disk.crash_at(
                write=self.random.randrange(8 if life == 0 else 1, 40),
                sync=self.random.randrange(8 if life == 0 else 1, 60),
            )
            self.disk.watch = self._step
            trio.run(self._live, clock=trio.testing.MockClock(autojump_threshold=0))
            self.disk.watch = None
            for asked in self._questions:
                trio.run(self._ask, asked, clock=trio.testing.MockClock(autojump_threshold=0))
            self._questions.clear()
            killed = self.random.random() < P_KILLED
            self.disk.crash(keep=killed)
            self.tables.crash()
            tables = _copy_tables(self.tables._tables, self.tables._meta)
            medium = self.disk.copy(self.random)
            found, end = self._state(medium, medium, tables).recover()
            self.history.cut(found, end)
            if not killed:
                self.least = found
        return self.states

    # The store in use

    def _open(self, disk: FaultyDisk, tables: MemoryTables) -> Any:
        sealer = FeedSealer(SERVER, INCARNATION, lambda data: bytes(64), self.random)
        return open_database(
            disk, tables, server=SERVER, incarnation=INCARNATION, sealer=sealer, random=self.random,
            wall_ms=lambda: 1000, settings=self._settings,
        )  # fmt: skip

    async def _live(self) -> None:
        """Until the power is cut."""
        first_pair = self._next_pair
        self._next_pair += 1_000_000
        try:
            async with self._open(self.disk, self.tables) as database:
                self.least = len(self.history.groups)  # what a recovery has found stays
                self._record(database)
                asking = Asking(database, self._settled)
                if database.registry.find("Half") is None:
                    await asking.define(HALF)
                self.ledger.settle(database)
                async with trio.open_nursery() as nursery:
                    for number in range(CLIENTS):
                        nursery.start_soon(client, asking, number, self.random, self._asked, self._answered, first_pair)
                    nursery.start_soon(self._now_and_then, asking, first_pair + 100_000)
                if not self.disk.dark:
                    self.violation = Violation(f"the store stopped, and nobody stopped it: {database.failure}")
        except Exception as error:
            if self.violation is None and not _is_power_cut(error):
                raise
        if self.violation is not None:
            raise self.violation

    def _record(self, database: Database) -> None:
        """From now on every group that is written is noted, with what it changes."""
        writer = database.inside
        take, end_group = writer.take, writer.log.end_group

        def noted(tables: Changes) -> None:
            self._changes.append(tables)
            take(tables)

        def ended(seals: bytes = b"") -> Any:
            self.history.add(Group.of(writer.applier, self._changes))
            self._changes.clear()
            mark = end_group(seals)
            self.history.note_end(mark.position)
            return mark

        self._changes.clear()
        writer.take = noted  # type: ignore[method-assign]
        writer.log.end_group = ended  # type: ignore[method-assign]
        database.on_committed = lambda committed: self._tell(database, committed)

    def _asked(self, pair: int, version: int) -> None:
        self.ledger.asked[pair] = version

    def _answered(self, pair: int, version: int, number: int) -> None:
        self.ledger.answered[pair] = version
        self.ledger.highest_object = max(self.ledger.highest_object, number)

    def _settled(self, number: int) -> None:
        """Somebody was answered that this transaction is durable."""
        self.least = max(self.least, self.history.least(number))

    def _tell(self, database: Database, committed: Committed) -> None:
        """What is told to others is durable too."""
        for seal in committed.seals:
            self.least = max(self.least, self.history.least_told((END, seal.kind), seal.number))
            if seal.kind == DATA:
                data = database.read_update(SERVER, INCARNATION, DATA, seal.number)
                assert data is not None
                self.told[seal.number] = data

    async def _now_and_then(self, asking: Asking, pair: int) -> None:
        """What clients do seldom: a large transaction, another definition of the class, updates of another server."""
        definitions = [FURTHER[at] for at in sorted(self.random.sample(range(len(FURTHER)), 2))]
        while True:
            for _ in range(self.random.randrange(1, 12)):
                await trio.lowlevel.checkpoint()
            what = self.random.choice(("large", "define", "apply", "apply", "apply"))
            try:
                if what == "large":
                    await self._commit_large(asking, pair)
                    pair += LARGE
                elif what == "define" and definitions:
                    await asking.define(definitions.pop(0))
                elif what == "apply":
                    self._settled_feed(*await self.other.send(asking.database, self.ledger))
            except Refused:  # an older definition than what an earlier life has defined
                continue
            except BangpathError:
                return

    async def _commit_large(self, asking: Asking, pair: int) -> None:
        numbers = range(pair, pair + LARGE)
        filling = self.random.randbytes(self.random.randrange(2500))

        def make_all(t: Transaction) -> int:
            made = [
                t.create("Half", {"pair": number, "side": side, "version": 1, "filling": filling})
                for number in numbers
                for side in ("left", "right")
            ]
            return made[-1].object

        for number in numbers:
            self._asked(number, 1)
        last = await asking.transact(make_all)
        for number in numbers:
            self._answered(number, 1, last)

    def _settled_feed(self, key: bytes, number: int) -> None:
        if number:
            self.least = max(self.least, self.history.least_told((key, DATA), number))

    async def _pause(self) -> None:
        """A fold takes a while."""
        for _ in range(self.random.randrange(6)):
            await trio.lowlevel.checkpoint()

    # States

    def _step(self, write: tuple[str, int, bytes, bool] | None) -> None:
        """One write or sync of the store begins."""
        cache = self.disk.copy(self.random)
        if write is not None:
            name, offset, data, zeros = write
            cache.files[name].write(offset, data, zeros=zeros)
            cache.last = cache.files[name]
        tables = [(self.tables._tables, self.tables._meta)]
        if self.tables._under_way is not None:
            tables.append(self.tables.folded(*self.tables._under_way))
        seen = set()
        dirty = [name for name, each in cache.files.items() if each.unsynced]
        for number in range(STATES_PER_STEP if cache.unsynced else len(tables)):
            medium = cache.copy(self.random)
            if number:  # of the first one only the process dies
                medium.lose(tear_last=number == 1 and write is not None)
            chosen = self.random.randrange(len(tables)) if cache.unsynced else number
            torn = [(name, each.digest()) for name, each in medium.files.items() if name in dirty]
            alike = (number == 0, chosen, len(medium.files), *torn)
            if alike in seen:
                continue
            seen.add(alike)
            state = self._state(medium, cache, _copy_tables(*tables[chosen]))
            self.states += 1
            if self.states % WITH_QUESTIONS == 0:
                self._questions.append(self._question(medium, tables[chosen]))
            try:
                state.judge()
            except Exception as error:  # the store, in the middle of whose work this is, would make it its own
                self.violation = self.violation or error
                raise

    def _state(self, medium: Medium, cache: Medium, tables: MemoryTables) -> State:
        disk = self.make_disk(self.random)
        disk._medium = medium
        return State(
            disk, tables, self.history, least=self.least, most=len(self.history.groups), cache=cache.files,
            settings=self._settings, random=self.random,
        )  # fmt: skip

    # Questions: a state as users see it

    def _question(self, medium: Medium, tables: tuple[Any, bytes]) -> Questions:
        disk = self.make_disk(self.random)
        disk._medium = medium.copy(self.random)
        return Questions(disk, _copy_tables(*tables), copy.deepcopy(self.ledger), dict(self.told))

    async def _ask(self, asked: Questions) -> None:
        """Both lives again, this one with an event loop, as users have it."""
        disk, tables, ledger, told = asked
        try:
            async with self._open(disk, tables) as database:
                if database.registry.find("Half") is None:
                    if ledger.answered:
                        raise Violation("the class is lost, and with it everything")
                    return
                ledger.judge(database)
                _judge_feed(database, told)
                before = ledger.highest_object
                made = await database.transact(
                    lambda t: [t.create("Half", {"pair": 0, "side": side, "version": 0}) for side in ("left", "right")]
                )
                if made[0].object <= before:
                    raise Violation(f"object {made[0].object} is used again, {before} was answered")
                await database.transact(lambda t: [t.delete(each) for each in made])
            async with self._open(disk, tables) as database:
                ledger.judge(database)
        except Damaged as error:
            raise Violation(f"a crash looks like damage: {error}") from error


def _judge_feed(database: Database, told: dict[int, bytes]) -> None:
    """What was told is there as it was told, and the feed is one chain."""
    previous = bytes(32)
    for number in range(1, database.last_position(DATA).number + 1):
        data = database.read_update(SERVER, INCARNATION, DATA, number)
        if data is None:
            raise Violation(f"own update {number} is missing")
        if told.get(number, data) != data:
            raise Violation(f"own update {number} is not what was told")
        head = Update.from_bytes_untrusted(data).head
        if head.previous != previous:
            raise Violation(f"own update {number} does not follow the one before")
        previous = head_hash(head.to_bytes())
    if told and max(told) > database.last_position(DATA).number:
        raise Violation(f"own update {max(told)} was told and is lost")


def _copy_tables(tables: Any, meta: bytes) -> MemoryTables:
    """Tables that stand as these do; a fold replaces what it changes."""
    copied = MemoryTables()
    copied._tables, copied._meta = tables, meta
    return copied


def _is_power_cut(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_power_cut, error.exceptions))
    return isinstance(error, PowerCut) or "PowerCut" in str(error) or isinstance(error.__cause__, PowerCut)


def judge(seed: int, make_disk: type[WatchedDisk] = WatchedDisk) -> int:
    """All states of one recording; how many. Raises `Violation`, naming seed and state."""
    recording = Recording(seed, make_disk=make_disk)
    try:
        return recording.run()
    except Exception as error:  # whatever it is, a store that only crashed should not have come to it
        first = _first(error)
        told = str(first) if isinstance(first, Violation) else repr(first)
        raise Violation(f"seed {seed}, state {recording.states}: {told}") from error


def _first(error: Exception) -> Exception:
    """What came through an event loop's groups."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def sweep(
    *,
    states: int,
    seed: int,
    make_disk: type[WatchedDisk] = WatchedDisk,
    jobs: int = 1,
    tell: Callable[[int], None] = lambda judged: None,
) -> int:
    """Recordings from `seed` on until so many states were judged, in so many processes. Raises `Violation`.

    `tell` hears after each recording how many were judged.
    """
    judged = 0
    try:
        for more in _in_turn(make_disk, seed) if jobs == 1 else _at_once(make_disk, seed, jobs):
            judged += more
            tell(judged)
            if judged >= states:
                break
    except Violation as error:
        raise Violation(f"after {judged} states, {error}") from error
    return judged


def _in_turn(make_disk: type[WatchedDisk], seed: int) -> Iterator[int]:
    for each in count(seed):
        yield judge(each, make_disk)


def _at_once(make_disk: type[WatchedDisk], seed: int, jobs: int) -> Iterator[int]:
    with ProcessPoolExecutor(jobs) as pool:
        seeds = count(seed)
        running: set[Future[int]] = set()
        try:
            while True:
                running |= {pool.submit(judge, next(seeds), make_disk) for _ in range(2 * jobs - len(running))}
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for each in done:
                    yield each.result()
        finally:
            pool.shutdown(cancel_futures=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crash_states")
    parser.add_argument("--states", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--without-sync", action="store_true", help="take the sync out: it must be found")
    chosen = parser.parse_args()
    begun = told = time.perf_counter()

    def tell(judged: int) -> None:
        nonlocal told
        if time.perf_counter() - told >= PROGRESS_S:
            told = time.perf_counter()
            print(f"{judged} of {chosen.states}, {judged / (told - begun):.0f} states/s", file=sys.stderr, flush=True)

    disk = Forgetful if chosen.without_sync else WatchedDisk
    try:
        judged = sweep(states=chosen.states, seed=chosen.seed, make_disk=disk, jobs=chosen.jobs, tell=tell)
    except Violation as error:
        print(f"violation {error}")
        return 0 if chosen.without_sync else 1
    seconds = time.perf_counter() - begun
    print(f"{judged} crash states, 0 violations, {seconds:.0f} s, {judged / seconds:.0f} states/s")
    return 1 if chosen.without_sync else 0


if __name__ == "__main__":
    sys.exit(main())
