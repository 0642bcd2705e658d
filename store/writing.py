"""The one task that owns the log: takes work from a queue, appends it, syncs once, answers in order (DESIGN L5, L6).

    callers --work--> queue --> carry out each: checks, append to the log, take into the generations
                                     |  queue empty (and it stopped growing), or 4 syncs long, 1 024, 8 MiB
                                somebody waits for the disk?  no: go on; plain writes ride with the next sync
                                     |  yes
                                seal each feed's leaves, end the group, sync
                                     |
                                publish (readers see it)  ->  answer, in order  ->  on_committed  ->  fold due? freeze

    Work   carry_out(writer) -> True: its caller is held until the sync, False: it was answered, or wants no answer

Message passing: nobody else touches log, applier or the active generation, and there is no await between checking and
appending. Work that fails (refused, conflict) is answered at once and leaves nothing. When the disk fails nothing is
tried again: whoever was held learns `OutcomeUnknown`, later work and the store's `failure` say why; the next start
recovers (L7). Bounds: the queue holds 4 096; more callers wait for room in order. While both generations are full,
commits wait for the fold; if that has no room, they are answered `Exhausted`.
A caller that waits here ignores cancellation: its commit is durable or absent, and it learns which (L8).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any, Protocol

import outcome
import trio

from identity.errors import BangpathError, Damaged, Exhausted, LocalMistake, OutcomeUnknown
from store.applying import STATE, Applier, TableChanges
from store.blobs import Blobs
from store.fold import Fold
from store.frame_parts import OWN, pack_local, pack_seals
from store.generations import Generations
from store.group_commit import Drain, Pace
from store.grouping import Committed, Group, GroupFull, RecentUpdates, Salts, again
from store.held_feeds import FEEDS
from store.log import Log
from store.records import Seal, Sealer
from store.registry import Registry
from store.segments import Location
from store.transaction import Transaction
from store.upgrading import Functions

MAX_QUEUE = 4096  # work that waits; a task waits with one, so more than this many tasks wait in line for room
LINGER_S = 0.5  # how long a plain write may wait for somebody else's sync; without one, the wait has no scope: 8 us
FOLD_RETRY_S = 1.0  # while there is no room for the tables
OWN_MISTAKES = (AssertionError, TypeError, AttributeError, NameError)  # they end the process too, not the store alone


class Work(Protocol):
    """Something for the task that owns the log."""

    task: trio.lowlevel.Task | None

    def carry_out(self, writer: Writer) -> bool: ...


class Writer:
    """Owner of log, generations and applier. `run` and `run_fold` are its two tasks."""

    def __init__(
        self,
        log: Log,
        generations: Generations,
        applier: Applier,
        fold: Fold,
        sealer: Sealer | None,
        random: Any,
    ) -> None:
        self.log = log
        self.generations = generations
        self.applier = applier
        self.published_registry: Registry = applier.registry
        self.published_feeds = dict(applier.feeds)
        self.on_committed: Callable[[Committed], None] | None = None
        self.failure: BangpathError | None = None
        self.syncs = 0
        self._fold = fold
        self.sealer = sealer
        self.blobs: Blobs | None = None
        self.upgrades = Functions()
        self._salts = Salts(random)
        self._pace = Pace()
        self._queue: deque[Work] = deque()
        self._room = trio.lowlevel.ParkingLot()
        self._idle: trio.lowlevel.Task | None = None  # the task that owns the log, while it rests
        self._alone = False  # one caller came, and in the turn after nobody else did
        self._closing = False
        self._full = False  # the open group must end before what waits can be appended
        self.finished = trio.Event()
        self._scope = trio.CancelScope(shield=True)
        self._commit = generations.appended_number
        self.group = Group()
        self.recent = RecentUpdates()
        self._fold_wanted, self._fold_ended = trio.Event(), trio.Event()
        self._fold_trouble: BangpathError | None = None

    # Callers

    async def do(self, work: Work) -> Any:
        """Queue the work, wait until it is answered; not cancellable once it is queued. Raises what its answer says."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while len(self._queue) >= MAX_QUEUE:
            await self._room.park()
        self._check_open()
        work.task = trio.lowlevel.current_task()
        self._queue.append(work)
        self._wake()
        return await trio.lowlevel.wait_task_rescheduled(_never_abort)

    def note(self, work: Work) -> bool:
        """Queue work that nobody waits for; False: the queue is full, it was dropped."""
        self._check_open()
        if len(self._queue) >= MAX_QUEUE:
            return False
        self._queue.append(work)
        self._wake()
        return True

    async def close(self) -> None:
        """Carry out what is queued, then end both tasks."""
        self._closing = True
        self._wake()
        await self.finished.wait()

    def abandon(self) -> None:
        """End without another write: whoever waits learns that nobody knows."""
        self._closing = True
        self._scope.cancel()
        self._stop(LocalMistake("the store was closed", next_step="open it again"))

    # The task that owns the log

    async def run(self) -> None:
        """Until closed and everything queued is carried out, or abandoned.

        Shielded: whoever queued something before a cancellation still learns what became of it (L8).
        """
        with self._scope:
            await self._run()
        self.finished.set()

    async def _run(self) -> None:
        try:
            while True:
                if not self._queue:
                    if self._closing:
                        break
                    await self._rest()
                elif self.failure is not None:
                    self._refuse_all(self.failure)
                elif self.generations.must_wait:
                    await self._wait_for_fold()
                elif (await self._drain()).must_sync or self._full or self._closing:
                    self._full = False
                    await self._end_group()
            if self.log.group_frames and self.failure is None:
                await self._end_group()
        except Exception as error:  # a disk that is gone, or our own mistake: the store stops, the process need not
            self._stop(error)
            if isinstance(error, OWN_MISTAKES):
                self.finished.set()
                raise

    async def _rest(self) -> None:
        """Until there is work; plain writes are made durable when nobody else's sync came along."""
        self._idle = trio.lowlevel.current_task()
        with trio.move_on_after(LINGER_S) if self.log.group_frames and self.failure is None else nullcontext() as nap:
            await trio.lowlevel.wait_task_rescheduled(self._rest_no_more)
        self._alone = len(self._queue) == 1
        if nap is not None and nap.cancelled_caught:
            await self._end_group()

    def _wake(self) -> None:
        task, self._idle = self._idle, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    def _rest_no_more(self, _: Any) -> trio.lowlevel.Abort:
        self._idle = None
        return trio.lowlevel.Abort.SUCCEEDED

    async def _drain(self) -> Drain:
        """Carry out work until the queue is empty and no longer growing, or the drain has been long enough."""
        queue, now = self._queue, trio.current_time
        alone, self._alone = self._alone and len(queue) == 1, False
        drain = Drain(now(), self._pace.drain_s)
        while True:
            while queue:
                work = queue.popleft()
                before = self.log.group_bytes
                try:
                    held = self._carry_out(work)
                except BaseException as error:  # the next group's first; or our mistake: `_stop` still has to answer it
                    queue.appendleft(work)
                    if not isinstance(error, GroupFull):
                        raise
                    self._full = True
                    return drain
                drain.note(self.log.group_bytes - before, held=held)
                if queue and drain.ends(len(queue), moment := now()):
                    break
                if queue and drain.must_rest(moment):
                    await trio.lowlevel.cancel_shielded_checkpoint()
                    drain.rested(now())
            if self._room:
                self._room.unpark(count=MAX_QUEUE - len(queue))
            if queue or alone:  # it has not grown since it woke this task: that was the turn to wait for
                return drain
            await trio.lowlevel.cancel_shielded_checkpoint()
            if not queue or drain.ends(len(queue), now()):
                return drain

    def _carry_out(self, work: Work) -> bool:
        try:
            return work.carry_out(self)
        except GroupFull:
            raise
        except Exception as error:  # what a body raised, or what was refused: its caller's affair
            if work.task is not None:
                self.answer(work.task, outcome.Error(error))
            return False

    async def _end_group(self) -> None:
        """Seal, write, sync; then, and only then, tell everybody."""
        if self.failure is not None:
            return
        group, self.group = self.group, Group()
        if not self.log.group_frames:
            self._answer_all(group)
            return
        try:
            seals = self._seal(group)
            mark = self.log.end_group(pack_seals(seals))
            begun = trio.current_time()
            await self.log.sync_async()
            self._pace.note_sync(trio.current_time() - begun)
        except Exception as error:
            self.group = group
            self._stop(error)
            return
        except BaseException:  # abandoned in the middle of a sync: whoever is held learns that nobody knows
            self.group = group
            self._stop(LocalMistake("the store was closed", next_step="open it again"))
            raise
        self.syncs += 1
        try:
            self.generations.publish(self._commit)
            self.published_registry = self.applier.registry
            if seals or group.applied:
                self.published_feeds = dict(self.applier.feeds)
            group.tell_positions(self.applier, seals)
        finally:  # what raises here stops the store, but the changes are durable, and whoever waits is told so
            self._answer_all(group)
        self.recent.add_applied(group.applied)
        if self.on_committed is not None and (seals or group.applied):
            self.on_committed(Committed(tuple(seals), tuple(group.applied)))
        if self.generations.fold_due:
            self._fold.freeze(mark)
            self._fold_wanted.set()

    def _seal(self, group: Group) -> list[Seal]:
        """Each feed's leaves become an own update; where they lie is part of the same group."""
        seals, feeds = ([], {}) if self.sealer is None else group.seal(self.sealer, self.applier, self.recent)
        self.take({FEEDS: feeds, STATE: self.applier.ends()})
        return seals

    # For work

    def append_own(self, transaction: Transaction) -> None:
        """Append a transaction whose checks are done. Raises `Exhausted` when the disk is full: nothing was changed."""
        if not transaction.changes:
            return
        transaction.end()
        applier = self.applier
        before = (applier.registry, applier.number, dict(applier.gained))
        number = applier.number + 1
        try:
            leaves, local, tables = applier.own(transaction, number, self._salts.draw)
            sizes = self.group.check_room(leaves)
            location = self._append(OWN, [*map(b"".join, leaves), pack_local(number, local)])
        except Exception:
            applier.registry, applier.number, applier.gained = before
            raise
        self.take(tables)
        if self.blobs is not None:
            self.blobs.note_changes(transaction.changes.values(), self._commit)
        transaction.sequence = number
        self.group.add(transaction, leaves, sizes, location)

    def append_foreign(self, kind: int, sections: list[bytes], make: Callable[[int, Location], TableChanges]) -> None:
        """Append a frame that is no own transaction; `make` says what it changes, given number and place."""
        self.take(make(self.applier.number + 1, self._append(kind, sections)))

    def _append(self, kind: int, sections: list[bytes]) -> Location:
        """A full disk is its caller's affair; one that fails stops the store."""
        try:
            return self.log.append(kind, sections)
        except (Exhausted, LocalMistake):
            raise
        except Exception as error:
            self._stop(error)
            assert self.failure is not None
            raise again(self.failure) from error

    def take(self, tables: TableChanges) -> None:
        """Changes become part of the appended state."""
        self._commit += 1
        self.generations.apply(self._commit, tables)

    @property
    def unsynced(self) -> bool:
        """Whether the appended state has something that is not durable yet."""
        return self.generations.appended_number != self.generations.published

    def hold(self, work: Work, value: Any) -> bool:
        """Answer `value` after the sync."""
        assert work.task is not None
        self.group.waiting.append((work.task, value))
        return True

    def answer(self, task: trio.lowlevel.Task, result: outcome.Outcome[Any]) -> None:
        trio.lowlevel.reschedule(task, result)

    # Folding

    async def run_fold(self) -> None:
        """The task that moves frozen generations into the tables; ends when cancelled, or when they fail."""
        while True:
            await self._fold_wanted.wait()
            self._fold_wanted = trio.Event()
            while self._fold.pending:
                try:
                    await self._fold.run()
                    self._fold_trouble = None
                except Exhausted as error:
                    self._fold_trouble = error
                except Exception as error:  # as above; who waits for this fold waits no longer
                    self._stop(error)
                    self._fold_ended.set()
                    if isinstance(error, OWN_MISTAKES):
                        raise
                    return
                self._fold_ended.set()
                self._fold_ended = trio.Event()
                if self._fold_trouble is not None:
                    await trio.sleep(FOLD_RETRY_S)

    async def fold_everything(self) -> None:
        """At a clean close, when both tasks have ended: the next start replays nothing."""
        if self.failure is None:
            with suppress(Exhausted):  # then the next start replays
                await self._fold.run()
                if self.generations.active_entries:
                    self._fold.freeze(self.log.durable)
                    await self._fold.run()

    async def _wait_for_fold(self) -> None:
        if self._fold_trouble is not None:
            self._refuse_all(self._fold_trouble)
        else:
            await self._fold_ended.wait()

    # What the above is made of

    def _answer_all(self, group: Group) -> None:
        for task, value in group.waiting:
            self.answer(task, outcome.Value(value))

    def _refuse_all(self, error: BangpathError) -> None:
        while self._queue:
            work = self._queue.popleft()
            if work.task is not None:
                self.answer(work.task, outcome.Error(again(error)))
        self._room.unpark_all()

    def _stop(self, error: BaseException) -> None:
        """The store takes no more work; readers go on."""
        if self.failure is None:
            stopped = Damaged(f"the store stopped: {error!r}", next_step="start the server again; it recovers")
            self.failure = error if isinstance(error, BangpathError) else stopped
        waiting, self.group.waiting = self.group.waiting, []
        cause = f"the change was written, but whether it is durable is not known: {self.failure.cause}"
        for task, _ in waiting:
            unknown = OutcomeUnknown(cause, next_step="look whether it is there after the next start")
            self.answer(task, outcome.Error(unknown))
        self._refuse_all(self.failure)

    def _check_open(self) -> None:
        if self.failure is not None:
            raise again(self.failure)
        if self._closing:
            raise LocalMistake("the store is closed")


def _never_abort(_: Any) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.FAILED
