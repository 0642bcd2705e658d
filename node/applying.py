"""The one task that hands verified updates to the store, in order, and tells what became of each.

    Flood --Apply--> queue --everything that has gathered--> database.apply --one sync--> outcomes --> Flood

Rules. Updates reach the store in the order in which Flood put them out; while there is no room they wait. Whatever has
gathered while the store was syncing goes in one call, so that one sync covers it: the queue is empty most of the time,
and long only while a mirror catches up. Outcomes are told in the same order, those of one kind together.

Bounds: Flood puts out no more than its own window (4 MiB, DESIGN F3) before outcomes return, so the queue needs no
second bound; one call takes at most `MAX_CALL_BYTES`, so that one sync never makes a reader wait for megabytes.

Left to others: what is believed (`replication.flood`); what a leaf means (`store.database`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import trio

from identity.errors import Exhausted
from replication.messages import Apply
from store.foreign import Applied, Deferred, Outcome
from store.records import REGISTRY, Update

MAX_CALL_BYTES = 4 << 20
FULL_S = 5.0  # until a full disk is tried again; the operator needs longer
MAX_CALL_UPDATES = 1024  # about 50 ms of applying at 20 000 objects/s: others get their turn between two calls


class Outcomes(Protocol):
    """What `replication.flood.Flood` wants to hear."""

    def handle_applied(self, updates: Sequence[Update], now: float) -> None: ...
    def handle_deferred(self, update: Update, now: float) -> None: ...
    def handle_refused(self, update: Update, reason: str, now: float) -> None: ...
    def handle_registry_advanced(self, now: float) -> None: ...


class Applier:
    """The queue between Flood and the store, and the task that empties it.

    `apply(updates)` is `database.apply`; `learn(update)` is told of each applied update, for the directory;
    `touch()` wakes the pump after outcomes were told.
    """

    def __init__(
        self,
        outcomes: Outcomes,
        *,
        apply: Callable[[Sequence[Update]], Awaitable[Sequence[Outcome]]],
        learn: Callable[[Update], None],
        touch: Callable[[], None],
        note: Callable[..., None],
    ) -> None:
        self.waiting_bytes = 0
        self._outcomes = outcomes
        self._apply = apply
        self._learn = learn
        self._touch = touch
        self._note = note
        self._queue: deque[Update] = deque()
        self._filled = trio.Event()

    def put(self, output: Apply) -> None:
        """Carry out an `Apply`."""
        for update in output.updates:
            self._queue.append(update)
            self.waiting_bytes += len(update.leaves)
        self._filled.set()

    async def run(self) -> None:
        """Until cancelled; what the store raises (it stopped) ends the node."""
        while True:
            await self._filled.wait()
            batch: Sequence[Update] = self._take()
            while batch:
                outcomes = await self._apply_patiently(batch)
                self._tell(outcomes)
                self._touch()
                batch = batch[len(outcomes) :]  # mostly none: the disk was full before the next one

    async def _apply_patiently(self, batch: Sequence[Update]) -> Sequence[Outcome]:
        """Wait for room rather than die: what others may do with a full disk here, they may do (ATTACKS 25)."""
        while True:
            try:
                return await self._apply(batch)
            except Exhausted as error:
                self._note("no room", cause=error.cause, updates=len(batch))
                await trio.sleep(FULL_S)

    def _take(self) -> list[Update]:
        batch: list[Update] = []
        taken = 0
        while self._queue and len(batch) < MAX_CALL_UPDATES and (taken < MAX_CALL_BYTES or not batch):
            update = self._queue.popleft()
            taken += len(update.leaves)
            batch.append(update)
        self.waiting_bytes -= taken
        if not self._queue:
            self._filled = trio.Event()
        return batch

    def _tell(self, outcomes: Sequence[Outcome]) -> None:
        now = trio.current_time()
        applied: list[Update] = []
        for outcome in outcomes:
            if isinstance(outcome, Applied):
                applied.append(outcome.update)
                continue
            if applied:
                self._outcomes.handle_applied(applied, now)
                applied = []
            if isinstance(outcome, Deferred):
                self._outcomes.handle_deferred(outcome.update, now)
            else:
                self._outcomes.handle_refused(outcome.update, outcome.reason, now)
        if applied:
            self._outcomes.handle_applied(applied, now)
        advanced = False
        for outcome in outcomes:
            if isinstance(outcome, Applied):
                self._learn(outcome.update)
                advanced = advanced or outcome.update.head.kind == REGISTRY
        if advanced:
            self._outcomes.handle_registry_advanced(now)
