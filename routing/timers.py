"""When each server is to be looked at again: one time each, the last one said.

    set(1.2, 17.0)   set(1.3, 12.0)   set(1.2, 14.5)     deadline 12.0;  take_due(15.0): 1.3, 1.2

Whoever sets another time has seen more than who set the one before, so nothing piles up when ways change often.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator

from identity.names import ServerId


class Timers:
    """One time for each server."""

    def __init__(self) -> None:
        self._at: dict[ServerId, float] = {}
        self._heap: list[tuple[float, ServerId]] = []  # with times that are not meant any more

    def __len__(self) -> int:
        return len(self._at)

    def set(self, server: ServerId, at: float) -> None:
        """Look at it then, and not when it was said before."""
        if self._at.get(server) != at:
            self._at[server] = at
            heapq.heappush(self._heap, (at, server))

    def deadline(self) -> float:
        """The earliest; infinity when there is none."""
        heap, at = self._heap, self._at
        while heap and at.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else math.inf

    def take_due(self, now: float) -> Iterator[ServerId]:
        """Whose time has come, the earliest first; each is forgotten as it is given."""
        while self.deadline() <= now:
            _, server = heapq.heappop(self._heap)
            del self._at[server]
            yield server
