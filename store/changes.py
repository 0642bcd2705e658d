"""What one unit of work would change, and what it has read, before anything of it is appended (DESIGN T3, L6).

Change     one object's next version, with the index entries that go and come
    Overlay    the state below, with these entries above it; it notes what was read, when that must be checked
"""

from __future__ import annotations

from collections.abc import Iterator

from store.reading import INDEX, Source
from store.records import DELETE, PUT
from store.registry import ClassEntry

CHANGE_BYTES = 64  # what a change weighs beside its body, about


class Change:
    """One object's next version. `values` None: it is deleted."""

    __slots__ = ("after_keys", "before_keys", "entry", "existed", "number", "object_key", "request", "stored", "wire")

    def __init__(
        self,
        number: int,
        object_key: bytes,
        entry: ClassEntry,
        wire: bytes,
        stored: bytes,
        before_keys: list[bytes],
        after_keys: list[bytes],
        request: bytes,
        *,
        existed: bool,
    ) -> None:
        self.number = number
        self.object_key = object_key
        self.entry = entry
        self.wire = wire
        self.stored = stored
        self.before_keys = before_keys
        self.after_keys = after_keys
        self.request = request
        self.existed = existed

    @property
    def operation(self) -> int:
        return PUT if self.stored else DELETE


class Overlay:
    """A source with a transaction's index changes above it; notes what is read when it may have to be checked."""

    __slots__ = ("below", "index", "keys_read", "noting", "ranges_read", "weight")

    def __init__(self, below: Source, *, noting: bool) -> None:
        self.below = below
        self.noting = noting
        self.index: dict[bytes, bytes | None] = {}
        self.weight = 0  # of all changes together, in bytes
        self.keys_read: dict[tuple[str, bytes], None] = {}
        self.ranges_read: list[tuple[str, bytes, bytes | None]] | tuple[()] = [] if noting else ()

    def get(self, table: str, key: bytes) -> bytes | None:
        if table == INDEX and key in self.index:
            return self.index[key]
        if self.noting:
            self.keys_read[table, key] = None
        return self.below.get(table, key)

    def scan(
        self, table: str, low: bytes = b"", high: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        if isinstance(self.ranges_read, list):
            self.ranges_read.append((table, low, high))
        found = self.below.scan(table, low, high, reverse)
        mine = [key for key in self.index if low <= key and (high is None or key < high)] if table == INDEX else []
        if not mine:
            return found
        merged = {**dict(found), **{key: self.index[key] for key in mine}}
        kept = ((key, value) for key in sorted(merged, reverse=reverse) if (value := merged[key]) is not None)
        return iter(list(kept))
