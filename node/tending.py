"""Looking after the store of a running server, as words of `node.node.Node`, and the task that does so by itself.

check()     everything in the store, in slices, while the server serves (`store.scrubbing`); with repair, what was found
            is put back where it can be proven
log_end()   up to where a backup may read
archive     old segments of the log go to the archive, once a minute (`store.archive`)
scrub       the same without end, `[store] scrub` bytes a second

In the log, one line for each round and for each finding:

    scrubbed    {"whole": true, "found": 0, "seconds": 12.1, "bytes": 9120345}; of a check that was asked for: checked
    damaged     {"what": "frame", "where": "log-... at offset 4136", "cause": ..., "repair": ...}
    archived    {"segment": "log-..."}; else not_archived {"cause": ..., "next_step": ...}
    mended      the same and {"mended_from": ..., "evidence": "quarantine-00000001"}; else not_mended
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from identity.errors import BangpathError
from node.running import Running
from store.archive import TieredDisk
from store.database import Database
from store.findings import Progress, Report
from store.scrubbing import Scrub, check_running, mend_running

ARCHIVE_S = 60.0  # a segment is 64 MiB: a busy server fills some in that time
MAX_TOLD = 20  # findings of one round that become lines of the log; the count says how many there are


class Tending(Running):
    """The words about the store itself."""

    async def check(
        self, tell: Callable[[Progress], Awaitable[None]] | None = None, *, repair: bool = False
    ) -> dict[str, Any]:
        """Look at everything that is stored, and say what was counted and what was found (docs/guide-damage)."""
        database = self.parts.database
        report = await check_running(database, tell=tell)
        self.note_report(report, event="checked")
        if not repair or report.whole:
            return report.as_json()
        mended = await self._mend(database, report)
        after = await check_running(database, tell=tell)
        self.note_report(after, event="checked")
        return {**after.as_json(), "before": report.as_json(), "mended": mended, "tables": ""}

    def log_end(self) -> dict[str, Any]:
        """How far the log is durable: whoever copies it reads up to there (`store.backup`)."""
        mark = self.parts.database.inside.log.durable
        return {"position": mark.position, "epoch": mark.epoch, "hash": mark.hash.hex()}

    async def scrub(self, database: Database, bytes_per_s: int) -> None:
        """Until cancelled."""
        begun = trio.current_time()

        def told(report: Report) -> None:
            nonlocal begun
            self.note_report(report, event="scrubbed", seconds=round(trio.current_time() - begun, 1))
            begun = trio.current_time()

        async def mend(report: Report) -> None:
            await self._mend(database, report)

        await Scrub(database, bytes_per_s=bytes_per_s, told=told, mend=mend).run()

    async def archive(self, disk: TieredDisk) -> None:
        """Until cancelled: what is old is moved. What keeps it from that is told once, until it moved again."""
        told = ""
        while True:
            try:
                async for name in disk.move():
                    told = ""
                    self.note("archived", segment=name)
            except BangpathError as error:
                if str(error) != told:
                    told = str(error)
                    self.note("not_archived", cause=error.cause, next_step=error.next_step)
            await trio.sleep(ARCHIVE_S)

    def note_report(self, report: Report, *, event: str, **details: Any) -> None:
        """One line for the whole, and one for each of the first findings."""
        for each in report.findings[:MAX_TOLD]:
            self.note("damaged", **each.as_json())
        self.note(event, whole=report.whole, found=report.found, bytes=report.bytes, **details)

    async def _mend(self, database: Database, report: Report) -> list[dict[str, Any]]:
        """What became of each finding that has a place; told in the log, too."""
        done = [
            {**each.finding.as_json(), "mended_from": each.source, "evidence": each.evidence}
            for each in await mend_running(database, report, wall_ms=self.wall_ms)
        ]
        for said in done[:MAX_TOLD]:
            self.note("mended" if said["mended_from"] else "not_mended", **said)
        return done
