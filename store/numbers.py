"""A set of object numbers, a bit each: a million of them in dense use take 125 KB, however many are members.

block n >> 15  ->  4 096 bytes        a block without members is not kept
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_SHIFT = 15
_BLOCK = 1 << _SHIFT
_SOME = re.compile(rb"[^\0]")


class Numbers:
    """Numbers from 0 on; they come back ascending."""

    def __init__(self) -> None:
        self._blocks: dict[int, bytearray] = {}
        self._counts: dict[int, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, number: object) -> bool:
        assert isinstance(number, int)
        block = self._blocks.get(number >> _SHIFT)
        return block is not None and bool(block[(number & _BLOCK - 1) >> 3] >> (number & 7) & 1)

    def add(self, number: int) -> bool:
        """False: it was there."""
        if number in self:
            return False
        at = number >> _SHIFT
        block = self._blocks.setdefault(at, bytearray(_BLOCK >> 3))
        block[(number & _BLOCK - 1) >> 3] |= 1 << (number & 7)
        self._counts[at] = self._counts.get(at, 0) + 1
        self._count += 1
        return True

    def discard(self, number: int) -> bool:
        """False: it was not there."""
        if number not in self:
            return False
        at = number >> _SHIFT
        self._blocks[at][(number & _BLOCK - 1) >> 3] &= ~(1 << (number & 7))
        self._counts[at] -= 1
        self._count -= 1
        if not self._counts[at]:
            del self._blocks[at], self._counts[at]
        return True

    def beyond(self, number: int) -> Iterator[int]:
        """Those above a number; the set stays as it is meanwhile."""
        first = number + 1
        for at in sorted(each for each in self._blocks if each >= first >> _SHIFT):
            block = self._blocks[at]
            found = _SOME.search(block, max(first - (at << _SHIFT), 0) >> 3)
            while found is not None:
                byte = found.start()
                for bit in range(8):
                    member = (at << _SHIFT) + (byte << 3) + bit
                    if block[byte] >> bit & 1 and member >= first:
                        yield member
                found = _SOME.search(block, byte + 1)
