"""Committed changes in memory above the tables: a view sees one moment while commits and folds go on (DESIGN T1, T2).

    newest   active    key -> (commit 9, value) -> (commit 7, value)      changes arrive here
             frozen    key -> (commit 5, value)                           being folded, unchanging
    oldest   snapshot  the tables as they stood after the last fold

    apply 8 . apply 9 ... sync ... publish 9        views opened before: 7 at most; from now on: 9
    freeze                                          active becomes frozen, a new active begins
    swap                                            the fold is in the tables: new snapshot, frozen goes, in one step

A view is a snapshot, the generations above it and a commit number. Its generations are never emptied under it; they
go with the last view that looks at them. Versions that no view and no future view can see are dropped as new ones
come. None is a tombstone: the key is gone, whatever the layers below say.

Rules. Commit numbers ascend. Appended is not yet published: only synchronous bodies read it (`appended`), because a
transaction runs on what the queue before it will have done. A view expires after 30 s (`SnapshotExpired`), for an old
LMDB reader makes the file grow without end; the clock is asked when views open, commits publish and folds swap, which
are the moments when an old view begins to cost. Generations are bounded in bytes: at half the bound a fold is due,
and when the active one is full while the frozen one is still being written, commits wait (`must_wait`).

Pure and single-threaded; only the frozen mapping may be read by the fold's thread. What keys and values mean is left
to the layers above.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from identity.errors import Exhausted, LocalMistake
from store.tables import Changes, Snapshot
from store.versions import Entry, FrozenTable, Generation, Seen, VersionedTable, merge

MAX_BYTES = 64 << 20  # of one generation; two exist at most, and T4's reserve on the disk is for two
VIEW_S = 30.0  # DESIGN T2
ALL: Final = 1 << 63  # a commit number above all others


class SnapshotExpired(Exhausted):
    """The view was open for too long."""

    kind = "exhausted"


class _Base:
    """A snapshot and how many views read through it."""

    __slots__ = ("current", "snapshot", "views")

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.views = 0
        self.current = True

    def release(self) -> None:
        """Close the snapshot when nothing needs it any more."""
        if self.views == 0 and not self.current:
            self.snapshot.close()


class Generations:
    """The newest two generations and the snapshot below them. Owned by the task that owns the log.

    `clock` gives monotonic seconds; `max_bytes` bounds each generation; `view_s` is how long a view may live.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        clock: Callable[[], float],
        max_bytes: int = MAX_BYTES,
        view_s: float = VIEW_S,
    ) -> None:
        self._clock = clock
        self._max_bytes = max_bytes
        self._view_s = view_s
        self._base = _Base(snapshot)
        self._active = Generation()
        self._frozen: Generation | None = None
        self._views: dict[View, None] = {}  # in the order of their opening: numbers and times ascend
        self.published = 0
        self.appended_number = 0  # Invariant: published <= appended_number.
        self._appended: View | None = None

    # Commits

    def apply(self, number: int, changes: Changes) -> None:
        """Take in the changes of commit `number`, which was appended to the log.

        Raises `LocalMistake` if the number does not ascend or a key is empty or too long.
        """
        if number <= self.appended_number:
            raise LocalMistake(f"commit {number} after commit {self.appended_number}")
        active = self._active
        for name, changed in changes.items():
            table = active.tables.get(name)
            if table is None:
                table = active.tables[name] = VersionedTable()
            active.memory_bytes += table.put(number, changed, self._seen)
        active.newest = self.appended_number = number

    def publish(self, number: int) -> None:
        """Commits up to `number` are durable: views opened from now on see them. Raises `LocalMistake`."""
        if not self.published <= number <= self.appended_number:
            raise LocalMistake(f"commit {number} published: {self.published} was, {self.appended_number} is appended")
        self.published = number
        self._expire()

    # Reading

    def view(self) -> View:
        """What is published now, fixed. Close it, or use it in a with-statement."""
        self._expire()
        view = View(self, self._base, self._layers(), self.published, expires=self._clock() + self._view_s)
        self._base.views += 1
        self._views[view] = None
        return view

    @property
    def appended(self) -> View:
        """The newest state, published or not, for synchronous bodies: ask anew after each await."""
        if self._appended is None:
            self._appended = View(self, self._base, self._layers(), ALL, expires=0.0)
        return self._appended

    # Folding

    @property
    def active_bytes(self) -> int:
        """Estimated memory of the active generation."""
        return self._active.memory_bytes

    @property
    def active_entries(self) -> int:
        """Keys in the active generation."""
        return self._active.entries

    @property
    def fold_due(self) -> bool:
        """Whether it is time to freeze."""
        return self._frozen is None and self._active.memory_bytes * 2 >= self._max_bytes

    @property
    def must_wait(self) -> bool:
        """Whether commits wait for the fold under way."""
        return self._frozen is not None and self._active.memory_bytes >= self._max_bytes

    @property
    def oldest_seen(self) -> int:
        """The commit that the oldest open view ends with; without views, the last that is published."""
        return self._seen().lowest_view

    @property
    def frozen(self) -> Changes | None:
        """The newest values of the frozen generation, or None."""
        if self._frozen is None:
            return None
        return {name: FrozenTable(table.entries) for name, table in self._frozen.tables.items()}

    def freeze(self) -> Changes:
        """Close the active generation and begin a new one; what it holds is to be folded.

        Raises `LocalMistake` while another is frozen, or while appended commits are not published.
        """
        if self._frozen is not None:
            raise LocalMistake("a generation is frozen already")
        if self.published != self.appended_number:
            raise LocalMistake(f"commits after {self.published} are not durable and may not be folded")
        self._frozen = self._active
        self._active = self._frozen.next = Generation()
        self._appended = None
        frozen = self.frozen
        assert frozen is not None
        return frozen

    def swap(self, snapshot: Snapshot) -> None:
        """`snapshot` contains the frozen generation: it takes the place of the old one and of the generation."""
        if self._frozen is None:
            raise LocalMistake("nothing was frozen")
        self._frozen = None
        self._appended = None
        old, self._base = self._base, _Base(snapshot)
        old.current = False
        old.release()
        self._expire()

    def close(self) -> None:
        """End all views."""
        for view in list(self._views):
            view.expire()
        self._base.current = False
        self._base.release()

    # What the above is made of

    def _layers(self) -> tuple[Generation, ...]:
        return (self._active,) if self._frozen is None else (self._active, self._frozen)

    def _seen(self) -> Seen:
        if not self._views:
            return Seen(self.published, self.published, self.published)
        return Seen(next(iter(self._views)).number, next(reversed(self._views)).number, self.published)

    def _expire(self) -> None:
        while self._views and (view := next(iter(self._views))).expires <= self._clock():
            view.expire()

    def forget(self, view: View) -> bool:
        """A view ended; whether it was a counted one and still open."""
        was_open = view in self._views
        self._views.pop(view, None)
        return was_open


class View:
    """One moment of the tables: reads are synchronous and give the same answer however often they are asked.

    Every read raises `SnapshotExpired` once the view is closed or too old.
    """

    def __init__(
        self, owner: Generations, base: _Base, layers: tuple[Generation, ...], number: int, *, expires: float
    ) -> None:
        self._owner = owner
        self._base = base
        self._layers = layers
        self._expired = False
        self.number = number
        self.expires = expires

    def get(self, table: str, key: bytes) -> bytes | None:
        """The value of `key`, or None."""
        if self._expired:
            self._check()
        for generation in self._layers:
            changes = generation.tables.get(table)
            version = changes.read(key, self.number) if changes is not None else None
            if version is not None:
                return version[1]
        return self._base.snapshot.get(table, key)

    def scan(
        self, table: str, low: bytes = b"", high: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values with low <= key < high (None: to the end). May be held over awaits, until it expires."""
        self._check()
        below: Iterator[Entry] = self._base.snapshot.scan(table, low, high, reverse)
        overlaid = False
        for generation in reversed(self._layers):
            changes = generation.tables.get(table)
            if changes is not None and next(changes.keys(low, high), None) is not None:
                overlaid = True
                below = merge(changes.scan(low, high, self.number, reverse=reverse), below, reverse=reverse)
        return self._guard(below, overlaid=overlaid)

    def changed(self, table: str, key: bytes) -> bool:
        """Whether a commit appended since this view changed `key` (also to what it was)."""
        self._check()
        for generation in self._since():
            changes = generation.tables.get(table)
            version = changes.entries.get(key) if changes is not None else None
            if version is not None and version[0] > self.number:
                return True
        return False

    def range_changed(self, table: str, low: bytes = b"", high: bytes | None = None) -> bool:
        """Whether a commit appended since this view changed any key with low <= key < high."""
        self._check()
        for generation in self._since():
            changes = generation.tables.get(table)
            if changes is not None and any(changes.entries[key][0] > self.number for key in changes.keys(low, high)):
                return True
        return False

    def close(self) -> None:
        """End the view; a second time does nothing. Without meaning for `appended`."""
        if self._owner.forget(self):
            self._expired = True
            self._layers = ()
            self._base.views -= 1
            self._base.release()

    def expire(self) -> None:
        """End the view because it is too old."""
        self.close()

    def __enter__(self) -> View:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _since(self) -> Iterator[Generation]:
        """The generations that may hold later commits: the newest of this view and all that followed it."""
        generation: Generation | None = self._layers[0]
        while generation is not None:
            if generation.newest > self.number:
                yield generation
            generation = generation.next

    def _guard(self, entries: Iterator[Entry], *, overlaid: bool) -> Iterator[tuple[bytes, bytes]]:
        """Without tombstones, and never past the end of the view."""
        self._check()
        for key, value in entries:
            if not overlaid or value is not None:
                yield key, value  # type: ignore[misc]  # a snapshot has no tombstones
                if self._expired:
                    self._check()

    def _check(self) -> None:
        if self._expired:
            raise SnapshotExpired(
                "the view is closed or older than it may be", next_step="ask again, in smaller pieces"
            )
