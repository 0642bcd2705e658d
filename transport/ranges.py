"""What is in the set was received: it is the next ACK. What is missing below the top is the next NAK.

    received  0 1 2 . . 5 6      in 0-2 5-6      missing 3-4

A set of numbers 0..2^64-1 kept as sorted, disjoint, never touching closed intervals. Adding, asking and removing take
O(log n) of the number of intervals (and one memory move where an interval comes or goes); appending the number after
the highest, which is nearly every call, takes one comparison.

Rules: an interval is a pair (first, last) with first <= last; two sets with the same numbers are equal and have the
same list. How many intervals a stranger can make us keep is the caller's bound: `keep_newest`, and `max_ranges` of
`from_list_untrusted`.

Used for packet numbers here, and by `replication` for what is held of each feed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Any

from identity.errors import LocalMistake, PeerMisbehaved

MAX_NUMBER = 2**64 - 1

Interval = tuple[int, int]


class Ranges:
    """A set of numbers as sorted disjoint closed intervals."""

    __slots__ = ("_firsts", "_lasts")

    # Invariant: _firsts[i] <= _lasts[i] and _lasts[i] + 1 < _firsts[i + 1], for every i.
    _firsts: list[int]
    _lasts: list[int]

    def __init__(self, intervals: Iterable[Interval] = ()) -> None:
        """The union of `intervals`, in any order, overlapping or not. Raises `LocalMistake` for a pair reversed."""
        self._firsts = []
        self._lasts = []
        for first, last in intervals:
            self.add(first, last)

    @classmethod
    def from_list_untrusted(cls, value: Any, *, max_ranges: int, lowest: int = 0, highest: int = MAX_NUMBER) -> Ranges:
        """The set that a stranger sent as a list of pairs, in the one form that `as_list` writes.

        Raises `PeerMisbehaved` for anything else than at most `max_ranges` ascending, disjoint, not touching pairs of
        integers in `lowest`..`highest`.
        """
        if not isinstance(value, (list, tuple)):
            raise PeerMisbehaved("ranges that are not a list")
        if len(value) > max_ranges:
            raise PeerMisbehaved(f"{len(value)} ranges in one list, {max_ranges} allowed")
        result = cls()
        below = lowest - 2  # the highest number so far; the first interval may begin at `lowest`
        for pair in value:
            if not isinstance(pair, (list, tuple)) or len(pair) != 2:
                raise PeerMisbehaved("a range that is not a pair")
            first, last = pair
            if type(first) is not int or type(last) is not int:
                raise PeerMisbehaved("a range of something else than integers")
            if not below + 2 <= first <= last <= highest:
                raise PeerMisbehaved(f"a range {first}-{last} reversed, out of order or out of bounds")
            result._firsts.append(first)
            result._lasts.append(last)
            below = last
        return result

    # -- asking

    def __contains__(self, number: int) -> bool:
        at = bisect_left(self._lasts, number)
        return at < len(self._lasts) and self._firsts[at] <= number

    def covers(self, first: int, last: int) -> bool:
        """Whether every number of first..last is in the set."""
        at = bisect_left(self._lasts, last)
        return at < len(self._lasts) and self._firsts[at] <= first

    def __len__(self) -> int:
        """How many intervals there are (not how many numbers: that is `count`)."""
        return len(self._firsts)

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def count(self) -> int:
        """How many numbers are in the set."""
        return sum(self._lasts) - sum(self._firsts) + len(self._firsts)

    @property
    def lowest(self) -> int | None:
        return self._firsts[0] if self._firsts else None

    @property
    def highest(self) -> int | None:
        return self._lasts[-1] if self._lasts else None

    def next_missing(self, number: int = 0) -> int:
        """The lowest number not below `number` that is not in the set."""
        at = bisect_left(self._lasts, number)
        if at < len(self._lasts) and self._firsts[at] <= number:
            return self._lasts[at] + 1
        return number

    def missing(self, first: int, last: int) -> list[Interval]:
        """The intervals of first..last that are not in the set, ascending; empty when first > last."""
        gaps: list[Interval] = []
        at = bisect_left(self._lasts, first)
        while first <= last:
            if at == len(self._firsts) or self._firsts[at] > last:
                gaps.append((first, last))
                break
            if self._firsts[at] > first:
                gaps.append((first, self._firsts[at] - 1))
            first = self._lasts[at] + 1
            at += 1
        return gaps

    def missing_below(self, top: int, bottom: int = 0) -> list[Interval]:
        """The intervals of `bottom`..`top` - 1 that are not in the set, ascending."""
        return self.missing(bottom, top - 1)

    def present(self, first: int, last: int) -> list[Interval]:
        """The intervals of first..last that are in the set, ascending: the opposite of `missing`."""
        low = bisect_left(self._lasts, first)
        high = bisect_right(self._firsts, last, low)
        if low == high:
            return []
        found = list(zip(self._firsts[low:high], self._lasts[low:high], strict=True))
        found[0] = max(first, found[0][0]), found[0][1]
        found[-1] = found[-1][0], min(last, found[-1][1])
        return found

    def gap_around(self, number: int, *, lowest: int = 0, highest: int = MAX_NUMBER) -> Interval:
        """The widest interval round `number`, within `lowest`..`highest`, of which nothing is in the set.

        Raises `LocalMistake` where `number` itself is in the set.
        """
        at = bisect_left(self._lasts, number)
        if at < len(self._lasts):
            if self._firsts[at] <= number:
                raise LocalMistake(f"{number} is in the set and so in no gap of it")
            highest = min(highest, self._firsts[at] - 1)
        if at:
            lowest = max(lowest, self._lasts[at - 1] + 1)
        return lowest, highest

    def __iter__(self) -> Iterator[Interval]:
        """The intervals, ascending. The set must not change meanwhile."""
        return zip(self._firsts, self._lasts, strict=True)

    def as_list(self) -> list[Interval]:
        """The intervals, ascending: the one form of this set on the wire."""
        return list(zip(self._firsts, self._lasts, strict=True))

    def newest(self, most: int) -> list[Interval]:
        """At most `most` intervals, the highest first: what an ACK tells."""
        if most <= 0:
            return []
        return list(zip(self._firsts[: -most - 1 : -1], self._lasts[: -most - 1 : -1], strict=True))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ranges):
            return NotImplemented
        return self._firsts == other._firsts and self._lasts == other._lasts

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        inside = " ".join(f"{first}-{last}" if first < last else str(first) for first, last in self)
        return f"Ranges({inside})"

    # -- changing

    def add(self, first: int, last: int | None = None) -> bool:
        """Put first..last (or the one number) in. Says whether any of them was new.

        Raises `LocalMistake` where first > last or first < 0.
        """
        if last is None:
            last = first
        firsts, lasts = self._firsts, self._lasts
        if lasts:
            top = lasts[-1]
            if first == top + 1 and last >= first:  # nearly always: the next number
                lasts[-1] = last
                return True
        if not 0 <= first <= last:
            raise LocalMistake(f"{first}-{last} is no range of numbers")
        # All intervals in low..high-1 overlap or touch first..last and become one with it.
        low = bisect_left(lasts, first - 1)
        high = bisect_right(firsts, last + 1, low)
        if low == high:
            firsts.insert(low, first)
            lasts.insert(low, last)
            return True
        if firsts[low] <= first and last <= lasts[low]:
            return False
        firsts[low] = min(first, firsts[low])
        lasts[low] = max(last, lasts[high - 1])
        if high - low > 1:
            del firsts[low + 1 : high]
            del lasts[low + 1 : high]
        return True

    def subtract(self, first: int, last: int | None = None) -> bool:
        """Take first..last (or the one number) out. Says whether any of them was in.

        Raises `LocalMistake` where first > last or first < 0.
        """
        if last is None:
            last = first
        if not 0 <= first <= last:
            raise LocalMistake(f"{first}-{last} is no range of numbers")
        firsts, lasts = self._firsts, self._lasts
        low = bisect_left(lasts, first)
        high = bisect_right(firsts, last, low)
        if low == high:
            return False
        keep: list[Interval] = []
        if firsts[low] < first:
            keep.append((firsts[low], first - 1))
        if lasts[high - 1] > last:
            keep.append((last + 1, lasts[high - 1]))
        firsts[low:high] = [each[0] for each in keep]
        lasts[low:high] = [each[1] for each in keep]
        return True

    def update(self, other: Ranges) -> None:
        """Put all numbers of `other` in."""
        if len(other) * 8 < len(self):  # few into many: each by search; else one walk over both
            for first, last in other.as_list():
                self.add(first, last)
        else:
            merged = self.union(other)
            self._firsts, self._lasts = merged._firsts, merged._lasts

    def forget_below(self, floor: int) -> None:
        """Take all numbers below `floor` out."""
        if floor > 0 and self._firsts and self._firsts[0] < floor:
            self.subtract(0, floor - 1)

    def keep_newest(self, most: int) -> int:
        """Keep only the `most` highest intervals. Returns a floor: every number dropped was below it, 0 for none."""
        surplus = len(self._firsts) - most
        if surplus <= 0:
            return 0
        floor = self._lasts[surplus - 1] + 1
        del self._firsts[:surplus]
        del self._lasts[:surplus]
        return floor

    # -- sets out of sets

    def copy(self) -> Ranges:
        same = Ranges()
        same._firsts = self._firsts.copy()
        same._lasts = self._lasts.copy()
        return same

    def union(self, other: Ranges) -> Ranges:
        """A new set of the numbers in either, in one walk over both."""
        result = Ranges()
        firsts, lasts = result._firsts, result._lasts
        for first, last in sorted(self.as_list() + other.as_list()):  # timsort merges two sorted runs in one walk
            if lasts and first <= lasts[-1] + 1:
                if last > lasts[-1]:
                    lasts[-1] = last
            else:
                firsts.append(first)
                lasts.append(last)
        return result

    def intersection(self, other: Ranges) -> Ranges:
        """A new set of the numbers in both, in one walk over both."""
        result = Ranges()
        mine = theirs = 0
        while mine < len(self._firsts) and theirs < len(other._firsts):
            first = max(self._firsts[mine], other._firsts[theirs])
            last = min(self._lasts[mine], other._lasts[theirs])
            if first <= last:
                result._firsts.append(first)
                result._lasts.append(last)
            if self._lasts[mine] < other._lasts[theirs]:
                mine += 1
            else:
                theirs += 1
        return result

    def difference(self, other: Ranges) -> Ranges:
        """A new set of the numbers in this one and not in `other`, in one walk over both."""
        result = Ranges()
        firsts, lasts = other._firsts, other._lasts
        at = 0
        for first, last in self:
            while at < len(lasts) and lasts[at] < first:
                at += 1
            here = at
            while here < len(firsts) and firsts[here] <= last:
                if firsts[here] > first:
                    result._firsts.append(first)
                    result._lasts.append(firsts[here] - 1)
                first = lasts[here] + 1
                here += 1
            at = max(at, here - 1)  # the last one seen may reach into the next interval
            if first <= last:
                result._firsts.append(first)
                result._lasts.append(last)
        return result
