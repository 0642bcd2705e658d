"""When each connection wants to be looked at: one heap for all of them.

    heap      (5.020, c7) (5.021, c2) (5.3, c7)          armed   c7: 5.020   c2: 5.021
                                                         wanted  c7: 5.4     c2: 5.021

A connection's deadline moves with every packet. It is pushed only where it comes earlier than what is armed already;
of one that moved later only the time is noted, and its entry moves when it has come to the top. So the heap has a few
entries for each connection, none is ever searched for, and nobody is woken for nothing.
"""

from __future__ import annotations

import math
from heapq import heappop, heappush, heapreplace


class Turns:
    """Deadlines by connection number."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._armed: dict[int, float] = {}  # the earliest entry of each number in the heap
        self._wanted: dict[int, float] = {}  # what was asked for last; never before what is armed

    def earliest(self) -> float:
        """When somebody is due, `math.inf` for never."""
        heap = self._heap
        while heap:
            due, number = heap[0]
            if self._armed.get(number) != due:
                heappop(heap)  # an earlier one was armed, and has been
                continue
            wanted = self._wanted[number]
            if wanted == due:
                return due
            if wanted == math.inf:
                heappop(heap)
                del self._armed[number]
            else:
                heapreplace(heap, (wanted, number))
                self._armed[number] = wanted
        return math.inf

    def arm(self, number: int, due: float) -> None:
        """See to it that `number` is looked at when `due` has come, and not at what was asked for before."""
        self._wanted[number] = due
        if due < self._armed.get(number, math.inf):
            self._armed[number] = due
            heappush(self._heap, (due, number))

    def disarm(self, number: int) -> None:
        self._armed.pop(number, None)
        self._wanted.pop(number, None)

    def take_due(self, now: float) -> list[int]:
        """Whose time has come, earliest first; they are to be armed anew."""
        numbers = []
        while self.earliest() <= now:
            _, number = heappop(self._heap)
            self.disarm(number)
            numbers.append(number)
        return numbers
