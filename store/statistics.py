"""How many entries lie in a range of an index: counted when it is asked, so it is never out of date.

    candidates   country = "DE"   name ^= "S"   size > 100
    up to 16          16 ...          16 ...        9      <- the least, and below the bound: taken
    up to 64, 256, 1 024 ...       while all of them reach the bound

Nothing is kept, so there is nothing to update, to replay or to rebuild. What is counted for a choice is at most four
times the candidates times what the best of them holds, and an entry costs a fraction of the object behind it: a
choice is cheap where the answer is small, and where it is large it does not matter. A wrong choice would be slow, and
never a wrong answer, for every row is asked the whole condition.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Protocol

from store.built_in import FIRST_USER_NUMBER
from store.records import CACHED, MIRRORED, OWNED, unpack_record

Range = tuple[bytes, bytes]
_OBJECTS_TABLE = "objects"
_INDEX_TABLE = "index"
FIRST_BOUND, GROWTH, LAST_BOUND = 16, 4, 4096


class Scanned(Protocol):
    """What is read here of a source (`store.reading`)."""

    def scan(
        self, table: str, low: bytes = b"", high: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]: ...


def count_entries(source: Scanned, ranges: Sequence[Range], most: int) -> int:
    """How many entries lie in these ranges together; `most` means that many or more."""
    count = 0
    for low, high in ranges:
        if low < high:
            count += sum(1 for _ in islice(source.scan(_INDEX_TABLE, low, high), most - count))
        if count >= most:
            break
    return count


def count_kinds(source: Scanned) -> dict[int, int]:
    """How many objects of users' classes there are of each kind; walks all of them."""
    counted = dict.fromkeys((OWNED, MIRRORED, CACHED), 0)
    for key, data in source.scan(_OBJECTS_TABLE):
        record = unpack_record(key, data)
        if record.body and record.class_number >= FIRST_USER_NUMBER:
            counted[record.kind] += 1
    return counted


def narrowest(source: Scanned, candidates: Sequence[Sequence[Range]]) -> int:
    """Which of them has the fewest entries, by its place; the first one when all have very many."""
    bound = FIRST_BOUND
    while True:
        counts = [count_entries(source, ranges, bound) for ranges in candidates]
        least = min(counts)
        if least < bound or bound >= LAST_BOUND:
            return counts.index(least)
        bound *= GROWTH
