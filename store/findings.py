"""What a look at a store found: how many things of each kind were looked at, and what is wrong with which (DESIGN D1).

    Report    counts   segments 2, groups 40, frames 90, records 120, index entries 300 ...
              findings frame   log-00000001-0000000000000000 at offset 4136   what is wrong, and means   what repairs it

Vocabulary of `checking_log`, `checking`, `scrubbing` and `repair`. A finding names its place in bytes too, so that a
repair finds it without reading sentences.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

MAX_FINDINGS = 1000  # kept whole; of a store that is nothing but damage the rest is counted

FROM_LOG = "the log has what was written: `bangpath check --repair` rebuilds the tables from it"
FROM_OTHERS = "`bangpath check --repair` mends it where its bytes can be proven, also from a backup with --from BACKUP"


class InLog(NamedTuple):
    """Bytes of a segment; `end` is where the next intact frame begins, or the end of the segment."""

    segment: int
    offset: int
    end: int


class InTable(NamedTuple):
    """One entry of a table; `object`: of an index, whose entry it should be, where that is known."""

    table: str
    key: bytes
    object: bytes = b""


class Finding(msgspec.Struct, frozen=True):
    """One thing that is not what was written, or that contradicts another."""

    what: str
    where: str
    cause: str
    repair: str
    place: InLog | InTable | None = None

    def __str__(self) -> str:
        return f"{self.what} {self.where}: {self.cause}"

    def as_json(self) -> dict[str, Any]:
        """JSON values only."""
        told: dict[str, Any] = {"what": self.what, "where": self.where, "cause": self.cause, "repair": self.repair}
        if isinstance(self.place, InLog):
            told |= self.place._asdict()
        elif self.place is not None:
            told |= {"table": self.place.table, "key": self.place.key.hex()}
        return told


class Progress(NamedTuple):
    """Where a check stands: which part, how much of it is done, and of how much (0: not known before the end)."""

    part: str
    done: int
    total: int


class Report:
    """Counted and found so far."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.findings: list[Finding] = []
        self.found = 0
        self.bytes = 0  # read and looked at
        self._seen: set[tuple[str, str]] = set()

    def count(self, what: str, number: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + number

    def find(self, finding: Finding) -> None:
        """Once for each thing and place, however often it is met."""
        if (finding.what, finding.where) in self._seen:
            return
        self.found += 1
        if len(self.findings) < MAX_FINDINGS:
            self._seen.add((finding.what, finding.where))
            self.findings.append(finding)

    @property
    def whole(self) -> bool:
        """Whether nothing was found."""
        return not self.found

    def as_json(self) -> dict[str, Any]:
        return {
            "whole": self.whole,
            "counts": dict(self.counts),
            "bytes": self.bytes,
            "found": self.found,
            "findings": [each.as_json() for each in self.findings],
        }
