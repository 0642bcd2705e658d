"""When a drain of the commit queue ends, and whether it needs a sync (DESIGN L5).

    queue   c c w c a         c commit (its caller is held), w plain write, a abort
            | | | | |
            append each, hold the c's            queue empty?  the drain ends
                                                 c's held?     sync once, then answer them in order

A drain ends all the same after 2 ms, 1 024 transactions or 8 MiB, so that nobody waits for ever in a queue that never
empties. Without a held commit nothing is synced: plain writes ride with the next commit's sync.

Pure arithmetic: the one task that owns the log (`store.database`) asks, appends and syncs.
"""

from __future__ import annotations

MAX_DRAIN_S = 0.002
MAX_TRANSACTIONS = 1024
MAX_GROUP_BYTES = 8 << 20


class Drain:
    """One drain of the queue, from its first transaction to the question whether to sync."""

    __slots__ = ("_deadline", "held", "stored_bytes", "transactions")

    def __init__(self, now: float) -> None:
        self._deadline = now + MAX_DRAIN_S
        self.transactions = 0
        self.stored_bytes = 0
        self.held = 0

    def note(self, stored_bytes: int, *, held: bool) -> None:
        """One transaction was appended; `held` when somebody waits for its sync."""
        self.transactions += 1
        self.stored_bytes += stored_bytes
        self.held += held

    def ends(self, queued: int, now: float) -> bool:
        """Whether to stop taking from the queue, in which `queued` are still waiting."""
        return (
            queued == 0
            or self.transactions >= MAX_TRANSACTIONS
            or self.stored_bytes >= MAX_GROUP_BYTES
            or now >= self._deadline
        )

    @property
    def must_sync(self) -> bool:
        """Whether any commit waits for the disk."""
        return self.held > 0
