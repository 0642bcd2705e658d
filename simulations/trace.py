"""The trace of a run: one hash over everything that happened, equal wherever the same seed runs (DESIGN section 10).

Each delivery, loss, disk write, sync and decision is one line, and so is what people were told. The hash covers them
all; the last few (or all, on request) are kept: two runs that differ can be compared to the first event that does.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import zip_longest


class Trace:
    """A running BLAKE2b over the events, their number, and the newest `keep` of them (None: all)."""

    def __init__(self, *, keep: int | None = 10_000) -> None:
        self._hash = hashlib.blake2b(digest_size=32)
        self._kept: deque[str] = deque(maxlen=keep)
        self.count = 0

    def record(self, at: float, what: str, *details: object) -> None:
        """One event at virtual second `at`. Details must print the same in every process: no ids, no sets."""
        line = f"{at:.9f} {what} {' '.join(map(str, details))}"
        self._hash.update(f"\n{line}".encode())
        self._kept.append(line)
        self.count += 1

    def record_bytes(self, at: float, what: str, data: bytes | memoryview, *details: object) -> None:
        """An event that carries bytes: all of them are hashed, their length and a short digest are printed."""
        line = f"{at:.9f} {what} {' '.join(map(str, details))} {len(data)}"
        self._hash.update(f"\n{line} ".encode())  # the length of what follows is in it
        self._hash.update(data)
        if self._kept.maxlen != 0:
            self._kept.append(f"{line} {hashlib.blake2b(data, digest_size=8).hexdigest()}")
        self.count += 1

    @property
    def hash(self) -> str:
        """64 hexadecimal digits over all events so far."""
        return self._hash.hexdigest()

    def lines(self) -> Iterator[str]:
        """The newest events, oldest first."""
        return iter(self._kept)


def first_difference(left: Trace, right: Trace) -> str:
    """The first event in which two kept traces differ, for a failure's message; empty when they are equal."""
    first = first_difference_of(left.lines(), right.lines())
    if not first and left.count != right.count:
        return f"{left.count} events against {right.count}"
    return first


def first_difference_of(left: Iterable[str], right: Iterable[str]) -> str:
    """The same of two traces' lines, wherever they were kept."""
    for number, (one, other) in enumerate(zip_longest(left, right)):
        if one != other:
            return f"event {number}: {_told(one)} against {_told(other)}"
    return ""


def _told(event: str | None) -> str:
    return "the end" if event is None else repr(event)
