"""The changes of consecutive commits, in memory: every key's versions, newest first, and keys in order.

    b"airport 7"  ->  (commit 9, value) -> (commit 7, value) -> (commit 4, None)       None: a tombstone
                       newest               seen by a view at 7 or 8

Part of `store.generations`, which says when a version can be seen by nobody any more.

Reading at a commit number takes the first version that is not newer. Sorting waits until somebody scans (0.8 us a
key, FACTS), so a commit pays for a dictionary entry only. A scan takes keys in slices and looks versions up as it
goes, so it may be held while commits change the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from sortedcontainers import SortedList

from store.tables import MAX_KEY_BYTES, check_key

ENTRY_BYTES = 230  # measured 222: dictionary entry, sorted list's entry, tuple, number, heads of two bytes objects
VERSION_BYTES = 100  # a further version: tuple, number, head of the value
SLICE = 256  # keys taken at a time by a scan, so that commits between two slices do no harm

Version = tuple[int, "bytes | None", "Version | None"]  # commit number, value, the version before
Entry = tuple[bytes, "bytes | None"]


class Seen(NamedTuple):
    """Which commit numbers open views have (both `published` if there are none), and which a new one would have."""

    lowest_view: int
    highest_view: int
    published: int


class VersionedTable:
    """One table's changes in one generation. Sorting waits until somebody scans: commits only note new keys."""

    __slots__ = ("_fresh", "_keys", "entries")

    def __init__(self) -> None:
        self.entries: dict[bytes, Version] = {}
        self._fresh: list[bytes] = []
        self._keys = SortedList()

    def put(self, number: int, changed: Mapping[bytes, bytes | None], see: Callable[[], Seen]) -> int:
        """Add the versions of a commit, and forget those that nobody can see any more. The change in bytes.

        Raises `LocalMistake` if a key is empty or too long.
        """
        entries, fresh = self.entries, self._fresh
        gained = 0
        seen: Seen | None = None
        for key, value in changed.items():
            older = entries.get(key)
            if value is not None:
                gained += len(value)
            if older is None:
                if not 0 < len(key) <= MAX_KEY_BYTES:
                    check_key(key)
                fresh.append(key)
                gained += len(key) + ENTRY_BYTES
            else:
                seen = seen or see()
                older, change = _without_unseen(older, seen)
                gained += change + VERSION_BYTES
            entries[key] = (number, value, older)
        return gained

    def read(self, key: bytes, number: int) -> Version | None:
        """The version that commit `number` sees, if there is one here."""
        version = self.entries.get(key)
        while version is not None and version[0] > number:
            version = version[2]
        return version

    def keys(self, low: bytes, high: bytes | None, *, reverse: bool = False) -> Iterator[bytes]:
        """Keys with low <= key < high, in slices: the table may change between two of them."""
        inclusive = (True, False)
        while True:
            if self._fresh:
                self._keys.update(self._fresh)
                self._fresh.clear()
            keys = list(islice(self._keys.irange(low, high, inclusive, reverse), SLICE))
            yield from keys
            if len(keys) < SLICE:
                return
            if reverse:
                high = keys[-1]
            else:
                low, inclusive = keys[-1], (False, False)

    def scan(self, low: bytes, high: bytes | None, number: int, *, reverse: bool) -> Iterator[Entry]:
        """What commit `number` sees in the range, tombstones included."""
        for key in self.keys(low, high, reverse=reverse):
            version = self.read(key, number)
            if version is not None:
                yield key, version[1]


class Generation:
    """The changes of consecutive commits."""

    __slots__ = ("memory_bytes", "newest", "next", "tables")

    def __init__(self) -> None:
        self.tables: dict[str, VersionedTable] = {}
        self.memory_bytes = 0
        self.newest = 0  # the last commit in here
        self.next: Generation | None = None  # the one that followed; never the one before, so old ones can go

    @property
    def entries(self) -> int:
        """Keys in all tables."""
        return sum(len(table.entries) for table in self.tables.values())


class FrozenTable(Mapping[bytes, "bytes | None"]):
    """The newest value of each key; read by the fold's thread."""

    def __init__(self, entries: dict[bytes, Version]) -> None:
        self._entries = entries

    def __getitem__(self, key: bytes) -> bytes | None:
        return self._entries[key][1]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _without_unseen(newest: Version, seen: Seen) -> tuple[Version, int]:
    """A key's versions without those that nobody can see any more, and the change in bytes."""
    before = newest[2]
    if before is None:
        return newest, 0
    if newest[0] <= seen.lowest_view:
        return (newest[0], newest[1], None), -_value_bytes(before)
    if newest[0] <= seen.published and before[0] > seen.highest_view:
        return (newest[0], newest[1], before[2]), -len(before[1] or b"") - VERSION_BYTES
    return newest, 0


def _value_bytes(version: Version | None) -> int:
    total = 0
    while version is not None:
        total += len(version[1] or b"") + VERSION_BYTES
        version = version[2]
    return total


def merge(upper: Iterator[Entry], lower: Iterator[Entry], *, reverse: bool) -> Iterator[Entry]:
    """Two sorted runs as one; where both have a key, the upper one's entry."""
    above, below = next(upper, None), next(lower, None)
    while above is not None and below is not None:
        if above[0] == below[0]:
            yield above
            above, below = next(upper, None), next(lower, None)
        elif (above[0] < below[0]) != reverse:
            yield above
            above = next(upper, None)
        else:
            yield below
            below = next(lower, None)
    if above is not None:
        yield above
        yield from upper
    if below is not None:
        yield below
        yield from lower
