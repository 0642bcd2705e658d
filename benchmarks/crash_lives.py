"""One state after a crash: recovered, changed, crashed and recovered again, by the shipped code without an event loop.

    what is left of disk and tables --recover--> found groups      judged
         begin_run, commit, perhaps fold, perhaps close            cut in one of its writes or syncs, or after all
    what is left of that            --recover--> found groups      judged

`recover`, `begin_run`, `Writer`, `Fold`: those of the store. Coroutines of theirs that have nothing to wait for on a
simulated disk are run by `finish`. What must be found is a `History`: the changes of each group as the living store
made them. A recovery must give exactly those of the first n groups, byte for byte: their table entries, feeds, classes
and numbers, and the log up to their end; n is at least what was answered, at most what was submitted.
Entries that are in the tables already need not be compared again: no crash touches them, and the tables' mark says of
how many groups they are.
"""

from __future__ import annotations

import random as random_module
from bisect import bisect_right
from collections.abc import Coroutine, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec
import outcome

from benchmarks.pairs import HALF, Violation
from identity.errors import Damaged
from identity.names import ServerId
from replication.leaves import FeedSealer
from simulations.faulty_disk import FaultyDisk, PowerCut
from store.applying import Applier
from store.checked import open_entry
from store.database import Settings
from store.fold import Fold
from store.generations import Generations
from store.log import Log
from store.recovery import Opened, begin_run, recover
from store.registry import Registry
from store.segments import BEGINNING, Mark
from store.tables import CHECKED_ABOVE, MemoryTables
from store.transaction import Transaction
from store.work import Define, RunBody
from store.writing import Writer

SERVER = ServerId.parse("1.7.3")
INCARNATION = 3
SMALL = Settings(generation_bytes=12_000, segment_bytes=1 << 14, step_bytes=1 << 13)
ROOMY = msgspec.structs.replace(SMALL, step_bytes=96 << 10)  # no growth syncs what the log itself forgot to sync
SECOND_STEPS = 9  # writes and syncs of a second life; most end within so many
P_FOLDED, P_CLOSED, P_WHOLE = 0.1, 0.15, 0.15  # a second life folds; closes in order; is cut after all it did

Result = TypeVar("Result")
Changes = Mapping[str, Mapping[bytes, bytes | None]]
Entries = dict[str, dict[bytes, bytes | None]]


def finish(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """What it returns; it has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as finished:
        result: Result = finished.value
        return result
    coroutine.close()
    raise AssertionError("it waits for something")


def no_clock() -> float:
    return 0.0


class Group(NamedTuple):
    """The state of a store after a group, and what the group changed; all that a recovery must give again."""

    number: int  # of its last transaction
    next_object: int
    feeds: dict[tuple[bytes, int], Any]
    registry: Registry
    changes: tuple[Changes, ...]

    @classmethod
    def of(cls, applier: Applier, changes: list[Changes]) -> Group:
        return cls(applier.number, applier.next_object, dict(applier.feeds), applier.registry, tuple(changes))


class History:
    """The groups of a store in order, from an empty one on."""

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self._ends: list[int] = []  # positions; of the last group only when its write came to its end
        self._merged: dict[tuple[int, int], Entries] = {}

    def add(self, group: Group) -> None:
        self.groups.append(group)

    def note_end(self, position: int) -> None:
        """The last group ends there."""
        self._ends.append(position)

    def cut(self, count: int, position: int) -> None:
        """So many groups were found after a crash, up to this position."""
        del self.groups[count:]
        del self._ends[count:]
        if len(self._ends) < count:  # the last one, in whose write the power was cut
            self._ends.append(position)
        self._merged.clear()

    def end(self, count: int) -> int | None:
        """Where so many groups end; None: nobody was told."""
        return 0 if not count else self._ends[count - 1] if count <= len(self._ends) else None

    def folded(self, mark: Mark) -> int:
        """How many groups tables with this mark hold."""
        return bisect_right(self._ends, mark.position)

    def found(self, number: int) -> int | None:
        """How many groups a store has whose last transaction is this; None: it ends within one."""
        if number == 0:
            return 0
        at = bisect_right(self.groups, number, key=lambda group: group.number)
        return at if at and self.groups[at - 1].number == number else None

    def least(self, number: int) -> int:
        """How many groups a store has at least that has this transaction."""
        return bisect_right(self.groups, number - 1, key=lambda group: group.number) + 1 if number else 0

    def least_told(self, feed: tuple[bytes, int], number: int) -> int:
        """How many groups a store has at least that has this update."""
        for at, group in enumerate(self.groups):
            if feed in group.feeds and group.feeds[feed].last >= number:
                return at + 1
        raise Violation(f"update {number} was told before its group was written")

    def entries(self, first: int, count: int) -> Entries:
        """What the groups after the first ones, up to so many, changed."""
        merged = self._merged.get((first, count))
        if merged is None:
            merged = {}
            for group in self.groups[first:count]:
                take(merged, group.changes)
            self._merged[first, count] = merged
        return merged


def take(entries: Entries, changes: tuple[Changes, ...]) -> None:
    for tables in changes:
        for name, changed in tables.items():
            if changed:
                entries.setdefault(name, {}).update(changed)


class LabWriter(Writer):
    """The writer of a second life; its tasks do not run, and what it answers is kept."""

    def __init__(self, opened: Opened, tables: MemoryTables, sealer: FeedSealer, random: random_module.Random) -> None:
        fold = Fold(opened.generations, tables)
        super().__init__(opened.log, opened.generations, opened.applier, fold, sealer, random)
        self.changes: list[Changes] = []
        self.answers: list[outcome.Outcome[Any]] = []

    def take(self, tables: Any) -> None:
        super().take(tables)
        self.changes.append(tables)

    def answer(self, task: Any, result: outcome.Outcome[Any]) -> None:
        self.answers.append(result)

    def commit(self, work: Any) -> None:
        """Carry the work out; its group is not ended yet."""
        work.task = self
        self._carry_out(work)
        for each in self.answers if self.failure is None else ():
            if isinstance(each, outcome.Error):
                raise Violation(f"a second life cannot commit: {each.error}")

    def end_group(self) -> bool:
        """Whether its commits were answered as done. Raises `PowerCut`."""
        self.answers.clear()
        finish(self._end_group())
        return bool(self.answers) and all(isinstance(each, outcome.Value) for each in self.answers)


class State:
    """Disk and tables as one crash may leave them, with what must be found: `least` to `most` groups of `history`.

    `cache` is the disk as programs saw it before; `killed`: only the process died, nothing is lost yet.
    """

    def __init__(
        self,
        disk: FaultyDisk,
        tables: MemoryTables,
        history: History,
        *,
        least: int,
        most: int,
        cache: Mapping[str, Any],
        settings: Settings,
        random: random_module.Random,
    ) -> None:
        self.disk = disk
        self._settings = settings
        self.tables = tables
        self.history = history
        self.least = least
        self.most = most
        self._cache = cache
        self._random = random
        self._base = tables._tables
        self._mark = Mark.from_bytes(tables._meta) if tables._meta else BEGINNING
        self._second: list[Group] = []
        self._end = 1 << 63  # where the log ended at the first recovery
        self.found = 0

    def judge(self) -> None:
        """Both lives. Raises `Violation`."""
        try:
            opened = self._recover()
            if opened is not None:
                self.found = self.least = self.most = self._judge(opened)
                self._live(opened)
            self.disk.crash()
            self.disk.crash_at()
            again = self._recover()
            assert again is not None
            self._judge(again)
        except Damaged as error:
            raise Violation(f"a crash looks like damage: {error}") from error

    def recover(self) -> tuple[int, int]:
        """One life only: how many groups were found, and where the log ends."""
        opened = self._recover()
        assert opened is not None
        return self._judge(opened), opened.log.durable.position

    def _recover(self) -> Opened | None:
        """None: the power was cut in it."""
        steps = recover(
            self.disk, self.tables, server=SERVER, incarnation=INCARNATION, clock=no_clock,
            generation_bytes=self._settings.generation_bytes, segment_bytes=self._settings.segment_bytes,
            step_bytes=self._settings.step_bytes,
        )  # fmt: skip
        try:
            while True:
                next(steps)
        except StopIteration as finished:
            opened: Opened = finished.value
            return opened
        except PowerCut:
            return None

    def _live(self, opened: Opened) -> None:
        """The second life, until it is cut."""
        generator = self._random
        sealer = FeedSealer(SERVER, INCARNATION, _no_signature, generator)
        if generator.random() >= P_WHOLE:
            step = generator.randrange(1, SECOND_STEPS)
            self.disk.crash_at(**{generator.choice(("write", "sync")): step})
        try:
            begin_run(opened, sealer, generator)
            writer = LabWriter(opened, self.tables, sealer, generator)
            for _ in range(generator.randrange(3)):
                self._commit(writer)
            chance = generator.random()
            if chance < P_FOLDED and writer.failure is None:
                finish(writer.fold_everything())
            elif chance < P_FOLDED + P_CLOSED and writer.failure is None:
                opened.log.close()
        except PowerCut:
            pass

    def _commit(self, writer: LabWriter) -> None:
        """One group, of one commit or several."""
        if writer.failure is not None:
            return
        number = writer.applier.number
        if writer.applier.registry.find("Half") is None:
            writer.commit(Define(HALF))
        else:
            for _ in range(self._random.choice((1, 1, 3))):
                if not self.disk.dark:  # an append makes room, in which the power may be cut
                    writer.commit(RunBody(self._pair))
            if writer.applier.number == number:
                return
        self.most += 1
        try:
            done = writer.end_group()
        finally:
            self._second.append(Group.of(writer.applier, writer.changes))
            writer.changes.clear()
        if writer.failure is not None and not self.disk.dark:
            raise Violation(f"a second life stopped: {writer.failure}")
        if done:
            self.least = self.most

    def _pair(self, t: Transaction) -> None:
        filling = self._random.randbytes(self._random.choice((0, 30, 30, 600)))
        for side in ("left", "right"):
            t.create("Half", {"pair": 0, "side": side, "version": 0, "filling": filling})

    # Judging

    def _judge(self, opened: Opened) -> int:
        """How many groups were found. Raises `Violation`."""
        applier = opened.applier
        first_groups = len(self.history.groups) if not self._second else self.found
        if self._second and applier.number > (self.history.groups[self.found - 1].number if self.found else 0):
            numbers = [group.number for group in self._second]
            if applier.number not in numbers:
                raise Violation(f"the store ends at transaction {applier.number}, within a group of its second life")
            more = numbers.index(applier.number) + 1
            count = self.found + more
            reached = self._second[more - 1]
        else:
            more = 0
            at = self.history.found(applier.number)
            if at is None or at > first_groups:
                raise Violation(f"the store ends at transaction {applier.number}, within a group")
            count = at
            reached = self.history.groups[at - 1] if at else Group(0, applier.next_object, {}, applier.registry, ())
        if not self.least <= count <= self.most:
            raise Violation(f"{count} groups are there; {self.least} were answered, {self.most} submitted")
        if applier.next_object != reached.next_object:
            raise Violation(f"the next object is {applier.next_object}, it was {reached.next_object}")
        if applier.feeds != reached.feeds:
            raise Violation("the ends of feeds are not those that the store had")
        if applier.registry is not reached.registry and _classes(applier.registry) != _classes(reached.registry):
            raise Violation("the classes are not those that the store had")
        self._judge_entries(opened.generations, count - more, more)
        self._judge_log(opened.log, count - more)
        return count

    def _judge_entries(self, generations: Generations, count: int, more: int) -> None:
        """Every entry that is not in tables from before the crash."""
        found: Entries = {
            name: {key: version[1] for key, version in table.entries.items()}
            for name, table in generations._active.tables.items()
            if table.entries
        }
        expected = self.history.entries(self.history.folded(self._mark), count)
        if more:
            expected = {name: dict(entries) for name, entries in expected.items()}
            for group in self._second[:more]:
                take(expected, group.changes)
        if self.tables._tables is not self._base:  # the second life has folded
            expected = _whole(self._base, expected)
            found = _whole(self.tables._tables, found)
        if found != expected:
            raise Violation(_difference(found, expected))

    def _judge_log(self, log: Log, count: int) -> None:
        """The log is what was written, up to the end of these groups."""
        end = self.history.end(count)
        if end is None:  # the last one that was submitted, in whose write the power was cut
            end = self._end = min(self._end, log.durable.position)
        files = self.disk._medium.files
        for segment in log.segments:
            if segment.first < end:
                name = segment.file.name
                if files[name].begins_otherwise(self._cache[name], segment.offset(end)):
                    raise Violation(f"{name} is not what was written")


def _no_signature(data: bytes) -> bytes:
    return bytes(64)


def _classes(registry: Registry) -> list[Any]:
    return [
        (each.number, each.definition, each.own_codec.definition, each.own_object, each.dropped) for each in registry
    ]


def _whole(tables: Mapping[str, Any], entries: Entries) -> Entries:
    """What tables hold with these entries above them, without tombstones."""
    whole: Entries = {
        name: {key: value if name == CHECKED_ABOVE else open_entry(name, key, value) for key, value in table.items()}
        for name, table in tables.items()
    }
    take(whole, (entries,))
    return {name: {key: value for key, value in table.items() if value is not None} for name, table in whole.items()}


def _difference(found: Entries, expected: Entries) -> str:
    for name in sorted({*found, *expected}):
        left, right = found.get(name, {}), expected.get(name, {})
        for key in sorted({*left, *right}):
            if (key in left) != (key in right) or left.get(key) != right.get(key):
                return f"{name} {key.hex()} is {_short(left, key)}, it was {_short(right, key)}"
    return "entries differ"


def _short(entries: Mapping[bytes, bytes | None], key: bytes) -> str:
    value = entries.get(key)
    return ("gone" if key in entries else "as in the tables") if value is None else value.hex()[:80]
