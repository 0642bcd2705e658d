"""When each connection wants to be looked at: one heap for all of them.

    heap      (5.020, c7) (5.021, c2) (5.3, c7)          armed   c7: 5.020   c2: 5.021

A connection's deadline moves with every packet. It is pushed only where it comes earlier than what is armed already;
one that moved later is found out when the earlier time comes: the connection is looked at, which is harmless, and
armed anew. So the heap has a few entries for each connection, and none is ever searched for.
"""

from __future__ import annotations

import math
from heapq import heappop, heappush


class Turns:
    """Deadlines by connection number."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._armed: dict[int, float] = {}  # the earliest entry of each number in the heap

    def earliest(self) -> float:
        return self._heap[0][0] if self._heap else math.inf

    def arm(self, number: int, due: float) -> None:
        """See to it that `number` is looked at by `due`; it may be looked at earlier."""
        if due < self._armed.get(number, math.inf):
            self._armed[number] = due
            heappush(self._heap, (due, number))

    def disarm(self, number: int) -> None:
        self._armed.pop(number, None)

    def take_due(self, now: float) -> list[int]:
        """Whose time has come, earliest first; they are to be armed anew."""
        numbers = []
        while self._heap and self._heap[0][0] <= now:
            due, number = heappop(self._heap)
            if self._armed.get(number) == due:
                del self._armed[number]
                numbers.append(number)
        return numbers
