"""When a drain of the commit queue ends, and whether it needs a sync (DESIGN L5).

    queue   c c w c a         c commit (its caller is held), w plain write, a abort
            | | | | |
            append each, hold the c's            queue empty?  the drain ends
                                                 c's held?     sync once, then answer them in order

A drain ends all the same after 1 024 transactions, 8 MiB, or the time that four syncs have taken lately (`Pace`), so
that nobody waits for ever in a queue that never empties. Without a held commit nothing is synced: plain writes ride
with the next commit's sync.

Why four: a queue that never empties gets four parts of work for one of waiting, whatever the disk. With a fixed 2 ms,
64 committers shared a sync of 3 ms in two halves, and most of the time went by in syncs. A long drain lets others run
after each 2 ms: `must_rest`.

Pure arithmetic: the one task that owns the log (`store.database`) asks, appends and syncs.
"""

from __future__ import annotations

from collections import deque

LEAST_DRAIN_S, MOST_DRAIN_S = 0.002, 0.1  # on a disk as fast as memory; on one that stalls
SYNCS_A_DRAIN = 4
SYNC_SAMPLES = 15  # the median of an odd, small number: one slow sync does not move it, eight do
REST_EVERY_S = 0.002  # timers and packets of the same loop wait meanwhile
MAX_TRANSACTIONS = 1024
MAX_GROUP_BYTES = 8 << 20


class Pace:
    """How long a drain may take: a few times as long as a sync takes here."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=SYNC_SAMPLES)
        self.drain_s = LEAST_DRAIN_S

    def note_sync(self, seconds: float) -> None:
        """A sync took so long, with all its waiting."""
        self._seconds.append(seconds)
        median = sorted(self._seconds)[len(self._seconds) // 2]
        self.drain_s = min(MOST_DRAIN_S, max(LEAST_DRAIN_S, SYNCS_A_DRAIN * median))


class Drain:
    """One drain of the queue, from its first transaction to the question whether to sync."""

    __slots__ = ("_deadline", "_rest_at", "held", "stored_bytes", "transactions")

    def __init__(self, now: float, limit_s: float = LEAST_DRAIN_S) -> None:
        self._deadline = now + limit_s
        self._rest_at = now + REST_EVERY_S
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

    def must_rest(self, now: float) -> bool:
        """Whether others have waited long enough to run before the next transaction."""
        return now >= self._rest_at

    def rested(self, now: float) -> None:
        """Others have run."""
        self._rest_at = now + REST_EVERY_S

    @property
    def must_sync(self) -> bool:
        """Whether any commit waits for the disk."""
        return self.held > 0
