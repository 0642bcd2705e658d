"""What is bad in a log is put back byte for byte, if it can be proven that it is what stood there (DESIGN D1, L4).

    from itself      one flipped bit: the frame's own SHA-256 proves it (`store.one_bit`)
    from a backup    the same bytes of the same segment: the chain of hashes proves them. The backup is whole, and has a
                     GROUP frame, at the damage or after it, that stands here as well: all before it hangs on that
    otherwise        it stays as it is: named, kept, and stepped over; nothing is made up

The damaged bytes are kept first (`store.quarantine`). A log that is open is mended as well: what is mended was synced
long ago, and nobody writes there. A power cut in the middle leaves it damaged, or mended.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple, cast

from identity.errors import Damaged
from store.checking_log import LogWalk, Walked
from store.disk import File
from store.findings import Finding, InLog, Report
from store.frames import ALIGNMENT, FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES, SEGMENT_HEADER_USED, SegmentHeader
from store.log import Log
from store.one_bit import MAX_BYTES, mended
from store.quarantine import Quarantine
from store.segments import Segment, Window

FROM_ITSELF = "itself: one bit had flipped"


class Mended(NamedTuple):
    """What became of one finding. `source` empty: it could not be mended; `evidence`: the file that keeps its bytes."""

    finding: Finding
    source: str
    evidence: str


class Backup(NamedTuple):
    """A log that may have what is lost here, and what it is called."""

    name: str
    log: Log


def mend_log(
    log: Log,
    findings: Sequence[Finding],
    quarantine: Quarantine,
    *,
    until: int | None,
    backups: Sequence[Backup] = (),
    most: int = MAX_BYTES,
) -> Iterator[Mended | None]:
    """Try each finding that has a place in the log; None between slices of work. `most`: `store.one_bit`."""
    proofs: dict[str, dict[int, bytes]] = {}
    own: dict[int, bytes] | None = None
    for finding in findings:
        place = finding.place
        segment = _segment(log, place)
        if segment is None or not isinstance(place, InLog) or place.end <= place.offset:
            continue
        found = segment.file.read(place.offset, place.end - place.offset)
        source, data = FROM_ITSELF, _from_itself(log, segment, place, found, most)
        for backup in () if data is not None else backups:
            if own is None:
                own = yield from _hashes(log, until, whole=False)
            if backup.name not in proofs:
                proofs[backup.name] = yield from _hashes(backup.log, None, whole=True)
            source = f"backup {backup.name}"
            data = _from_backup(segment, place, own, proofs[backup.name], backup.log)
            if data is not None:
                break
        if data is None:
            source = ""
        evidence = quarantine.keep(finding, found, source)
        if data is not None:
            segment.file.write(place.offset, data)
            segment.file.sync()
            if place.offset == 0:
                segment.header = SegmentHeader.from_bytes(segment.file.read(0, SEGMENT_HEADER_BYTES))
        yield Mended(finding, source, evidence)


def _segment(log: Log, place: object) -> Segment | None:
    if not isinstance(place, InLog):
        return None
    return next((each for each in log.segments if each.number == place.segment), None)


def _from_itself(log: Log, segment: Segment, place: InLog, found: bytes, most: int) -> bytes | None:
    if place.offset == 0:
        return mended_header(segment.file.name, found)

    def is_right(data: bytes) -> bool:
        window = Window(cast(File, _Bytes(segment, place.offset, data)))
        header, _ = log.reader.read_frame(window, place.offset, segment.position(place.offset))
        return header.size == len(data)

    if len(found) % ALIGNMENT:
        return None
    return mended(found, head=FRAME_HEADER_BYTES, is_right=is_right, most=most)


def mended_header(name: str, found: bytes) -> bytes | None:
    """A segment's header with one bit flipped back: its CRC-32 and what the file's name says prove it."""
    number, first = int(name[4:12]), int(name[13:], 16)
    for bit in range(SEGMENT_HEADER_USED * 8):
        changed = bytearray(found)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            header = SegmentHeader.from_bytes(changed)
        except Damaged:
            continue
        if (header.number, header.first) == (number, first):
            return bytes(changed)
    return None


def read_header(name: str, found: bytes) -> SegmentHeader | None:
    """What the header of this file says, or said before one bit flipped; None: not known."""
    try:
        return SegmentHeader.from_bytes(found)
    except Damaged:
        before = mended_header(name, found) if len(found) >= SEGMENT_HEADER_USED else None
        return None if before is None else SegmentHeader.from_bytes(before)


def _hashes(log: Log, until: int | None, *, whole: bool) -> Generator[None, None, dict[int, bytes]]:
    """The hash of each GROUP frame by the position of its end; of a log that must be `whole` and is not, none."""
    found: dict[int, bytes] = {}
    report = Report()
    for met in LogWalk(log, report, until=until).walk():
        if isinstance(met, Walked):
            found[met.mark.position] = met.mark.hash
        else:
            yield
    return found if report.whole or not whole else {}


def _from_backup(
    segment: Segment, place: InLog, own: dict[int, bytes], theirs: dict[int, bytes], backup: Log
) -> bytes | None:
    """The bytes of the backup, if a GROUP frame that is the same in both stands behind the damage."""
    same = (segment.number, segment.first)
    copy = next((each for each in backup.segments if (each.number, each.first) == same), None)
    end = segment.position(max(place.end, SEGMENT_HEADER_BYTES))
    if copy is None or copy.file.size() < place.end:
        return None
    if not any(position >= end and own.get(position) == digest for position, digest in theirs.items()):
        return None
    return copy.file.read(place.offset, place.end - place.offset)


class _Bytes:
    """A file's part that reads as if mended. What `Window` asks of a `store.disk.File`."""

    def __init__(self, segment: Segment, offset: int, data: bytes) -> None:
        self.name = segment.file.name
        self._offset = offset
        self._data = data

    def read(self, offset: int, length: int) -> bytes:
        at = offset - self._offset
        return self._data[at : at + length]
