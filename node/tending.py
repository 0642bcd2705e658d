"""Looking after the store of a running server, as words of `node.node.Node`, and the task that does so by itself.

check()    everything in the store, in slices, while the server serves (`store.scrubbing`)
scrub      the same without end, `[store] scrub` bytes a second; each round is a line of the log

scrubbed    {"event": "scrubbed", "whole": true, "seconds": 12.1, "bytes": 9120345}
damaged     {"event": "damaged", "what": "frame", "where": "log-... at offset 4136", "cause": ..., "repair": ...}
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from node.running import Running
from store.database import Database
from store.findings import Progress, Report
from store.scrubbing import Scrub, check_running

MAX_TOLD = 20  # findings of one round that become lines of the log; the count says how many there are


class Tending(Running):
    """The words about the store itself."""

    async def check(self, tell: Callable[[Progress], Awaitable[None]] | None = None) -> dict[str, Any]:
        """Look at everything that is stored, and say what was counted and what was found (docs/guide-damage)."""
        report = await check_running(self.parts.database, tell=tell)
        self.note_report(report, event="checked")
        return report.as_json()

    async def scrub(self, database: Database, bytes_per_s: int) -> None:
        """Until cancelled."""
        begun = trio.current_time()

        def told(report: Report) -> None:
            nonlocal begun
            self.note_report(report, event="scrubbed", seconds=round(trio.current_time() - begun, 1))
            begun = trio.current_time()

        await Scrub(database, bytes_per_s=bytes_per_s, told=told).run()

    def note_report(self, report: Report, *, event: str, **details: Any) -> None:
        """One line for the whole, and one for each of the first findings."""
        for each in report.findings[:MAX_TOLD]:
            self.note("damaged", **each.as_json())
        self.note(event, whole=report.whole, found=report.found, bytes=report.bytes, **details)
