"""An index of a class that has many objects comes or goes while everything goes on (DESIGN R2).

    define ---> building ---------> dropping ---> done          ready: questions use it from `dropping` on
                   |                (indexes that are no longer wanted)
                   '--> undoing ---> refused                     two objects cannot both stand in a unique one

    setting store/building/N    [1, state, other definition, cursor, done, reason]        N: the class's number

Every step is a transaction of its own that moves the cursor, and nothing else is written of it: which entries come or
go is told by the cursor before and after it and by the objects at that place of the log, so replay makes the same ones.
While it is built, whoever changes an object writes its entries there too, whether the cursor has passed it or not;
what the cursor passes afterwards is written again, and is the same. So no entry is ever of an older version.

    building    `other` is what will be defined; the cursor goes along an index that has all objects
    undoing     `other` is what was to be defined; the cursor goes along its new indexes, whose entries go
    dropping    `other` is what was defined before; the cursor goes along its indexes that are no longer wanted

Pure. Left to others: the entries themselves (`store.applying`), the steps as work (`store.building_steps`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from store.definitions import ClassDefinition
from store.indexes import BLOBS, Index, compile_indexes

if TYPE_CHECKING:
    from store.reading import Source

BUILDING, UNDOING, DROPPING, DONE, REFUSED = "building", "undoing", "dropping", "done", "refused"
DROPPED = "dropped"  # of the class itself (`store.dropping`)
UPGRADING = "upgrading"  # its objects become those of a newer major (`store.upgrading`), `other` at first
UNFINISHED = (BUILDING, UNDOING, DROPPING)
SETTING_PREFIX = "store/building/"
BUILT_AT_ONCE = 256  # objects: some milliseconds in which nobody else is served
DROPPED_AT_ONCE = 2048  # entries, which are only keys
_INDEX_TABLE = "index"
_VERSION = 1


class Building(msgspec.Struct, frozen=True):
    """How far the indexes of one class are. `done`: objects passed, or entries gone."""

    state: str
    other: ClassDefinition
    cursor: bytes = b""
    done: int = 0
    reason: str = ""

    @property
    def unfinished(self) -> bool:
        return self.state in UNFINISHED

    def to_plain(self) -> list[Any]:
        return [_VERSION, self.state, self.other.to_plain(), self.cursor, self.done, self.reason]

    @classmethod
    def from_plain(cls, plain: Any) -> Building:
        """What `to_plain` gave."""
        _, state, other, cursor, done, reason = plain
        return cls(state, ClassDefinition.from_plain_untrusted(other), cursor, done, reason)

    def as_json(self, definition: ClassDefinition, number: int) -> dict[str, Any]:
        """As `class` shows it: which indexes, and how far; of an upgrade, to which version."""
        if self.state == UPGRADING:
            version = f"{self.other.major}.{self.other.minor}"
            return {"state": self.state, "indexes": [], "done": self.done, "reason": self.reason, "version": version}
        names = [index.name for index in more_indexes(self.other, definition, number) if index.name]
        return {"state": self.state, "indexes": names, "done": self.done, "reason": self.reason}


def more_indexes(definition: ClassDefinition, than: ClassDefinition, number: int) -> tuple[Index, ...]:
    """The indexes that one definition has and another has not, the extent too."""
    standing = {index.prefix for index in compile_indexes(than, number)}
    standing.add(BLOBS)  # that one index is of all classes; a class that comes to it has no blobs yet
    return tuple(index for index in compile_indexes(definition, number) if index.prefix not in standing)


def walked(source: Source, along: Index, cursor: bytes, last: bytes | None, most: int) -> list[tuple[bytes, bytes]]:
    """Entries behind the cursor up to and with `last` (None: to the end), at most so many."""
    low, high = along.whole_range()
    found = source.scan(_INDEX_TABLE, cursor + b"\0" if cursor else low, high if last is None else last + b"\0")
    return list(islice(found, most))


def leaving(source: Source, gone: Sequence[Index], cursor: bytes, last: bytes | None) -> Iterator[bytes]:
    """The keys of these indexes behind the cursor, up to and with `last`, in their order."""
    for index in sorted(gone, key=lambda each: each.prefix):
        low, high = index.whole_range()
        low = max(low, cursor + b"\0") if cursor else low
        high = high if last is None else min(high, last + b"\0")
        if low < high:
            for key, _ in source.scan(_INDEX_TABLE, low, high):
                yield key
