"""What a running server says of itself, as words of `node.node.Node`: the lists of `node.reporting`, as of now.

The part of the node that only reads. A word that is said while nothing runs is refused (`Exhausted`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from node import reporting
from node.running import Running

if TYPE_CHECKING:
    pass


class Saying(Running):
    """The reading words. `parts` raises `Exhausted` when nothing runs."""

    _started: float
    _started_ms: int
    _stop_asked: trio.Event

    def status(self) -> dict[str, Any]:
        return reporting.status(
            self.parts,
            now=trio.current_time(),
            started=self._started,
            started_ms=self._started_ms,
            stopping=self._stop_asked.is_set(),
        )

    def peers(self) -> list[dict[str, Any]]:
        return reporting.peers(self.parts, trio.current_time())

    def servers(self) -> list[dict[str, Any]]:
        return reporting.servers(self.parts, trio.current_time())

    def feeds(self) -> list[dict[str, Any]]:
        return reporting.feeds(self.parts, trio.current_time())

    def mirrors(self) -> list[dict[str, Any]]:
        return reporting.mirrors(self.parts, trio.current_time())

    def classes(self) -> list[dict[str, Any]]:
        return reporting.classes(self.parts)
