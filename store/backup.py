"""A backup is the log up to a durable group, and what stands beside it; each time only what is new is added (D3).

    TARGET/  log-00000001-...   the segments, byte for byte, up to the end of a group; tables are made of them again
             ROOT.blob          blobs
             keys.0123456789..  a small file of the server's directory, and the beginning of its SHA-256
             manifest           what of all this is the backup; written last, replaced in one step

    manifest   magic 8 "BPBAK" CR LF 1A | version u16 = 1 | length u32 | SHA-256 of version, length, JSON | JSON:
               {server, incarnation, position, epoch, hash, time_ms, files: [{place, name, extents: [..]}]}
    extent     [from, to, SHA-256]      of a file, as it was added

Rules. What is copied was read as groups first, so a damaged log is named and never copied as whole; what was written
is read back from the medium and compared. Nothing that the manifest names is ever written again, and bytes behind what
it says are no part of the backup: one that is cut short leaves the one before it. It goes on only where the store has
the very group at which it ended; another history, or a store that came back in time, is refused.

The source may be in use, by this process or another: the log is only ever appended to, and `until` says how far it is
durable. Left to others: putting it back (`store.restoring`), directories (`store.backup_directories`).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

import msgspec

from identity.errors import Damaged, Refused
from identity.names import ServerId
from store.checking_log import LogWalk, Step, Walked
from store.cipher import Cipher, DoesNotOpen
from store.disk import Disk, File
from store.findings import Progress, Report
from store.log import Log
from store.segments import Mark

MAGIC = b"BPBAK\r\n\x1a"
VERSION = 1
_FIXED = struct.Struct(">8sHI32s")
MANIFEST = "manifest"
NEW = "manifest.new"
MAX_MANIFEST_BYTES = 256 << 20
PIECE_BYTES = 256 << 10
LOG_PLACE, BLOBS_PLACE, BESIDE = "log", "blobs", ""

Extent = tuple[int, int, str]


class Kept(msgspec.Struct):
    """One file of a backup: where it belongs, and the pieces that were added, each with its SHA-256."""

    place: str
    name: str
    extents: list[Extent]

    @property
    def size(self) -> int:
        return self.extents[-1][1] if self.extents else 0

    @property
    def file(self) -> str:
        """What it is called in the backup."""
        return f"{self.name}.{self.extents[0][2][:16]}" if self.place == BESIDE else self.name


class Manifest(msgspec.Struct):
    """What a backup holds: the log of one server up to `position`, where the group with `hash` ends."""

    server: str
    incarnation: int
    position: int
    epoch: int
    hash: str
    time_ms: int
    files: list[Kept]

    @property
    def mark(self) -> Mark:
        return Mark(self.position, self.epoch, bytes.fromhex(self.hash))

    @property
    def bytes(self) -> int:
        return sum(each.size for each in self.files)


class Beside(NamedTuple):
    """A file that is copied whole: immutable (a blob), or small. `read(offset, length)` as of `store.disk.File`."""

    place: str
    name: str
    size: int
    read: Callable[[int, int], bytes]


class BackedUp(NamedTuple):
    """The backup that stands now, and how many bytes were added to it."""

    manifest: Manifest
    added: int


def sealed_beside(beside: Beside, cipher: Cipher) -> Beside:
    """The same, sealed for its name; always in the same bytes, so that nothing is added while it stays as it is."""
    plain = beside.read(0, beside.size)
    data = cipher.beside.seal(plain, beside.name.encode())
    return Beside(beside.place, beside.name, len(data), lambda offset, length: data[offset : offset + length])


def opened_beside(name: str, data: bytes, cipher: Cipher) -> bytes:
    """What was sealed so. Raises `Damaged`."""
    try:
        return cipher.beside.open(data, name.encode())
    except DoesNotOpen:
        raise Damaged(f"the file {name} of the backup does not open", next_step="use an older backup") from None


def read_manifest(target: Disk) -> Manifest | None:
    """What the backup on this disk holds; None: there is none. Raises `Damaged`."""
    if MANIFEST not in target.list():
        return None
    file = target.open(MANIFEST)
    try:
        data = file.read(0, min(file.size(), MAX_MANIFEST_BYTES))
    finally:
        file.close()
    try:
        magic, version, length, digest = _FIXED.unpack_from(data)
        body = data[_FIXED.size : _FIXED.size + length]
        if magic == MAGIC and len(body) == length and hashlib.sha256(data[8:14] + body).digest() == digest:
            if version != VERSION:
                raise Refused(f"the backup has format {version}", next_step="use the version that wrote it")
            return msgspec.json.decode(body, type=Manifest)
    except (struct.error, msgspec.MsgspecError) as error:
        raise _no_manifest() from error
    raise _no_manifest()


def _no_manifest() -> Damaged:
    return Damaged("the manifest of the backup is not what was written", next_step="use an older backup")


def back_up(
    log: Log,
    target: Disk,
    *,
    server: ServerId,
    incarnation: int,
    until: int | None,
    beside: Sequence[Beside] = (),
    wall_ms: Callable[[], int],
) -> Generator[Progress, None, BackedUp]:
    """Bring the backup on `target` up to `until` (None: the end of a log that nobody has open).

    Raises `Damaged` when the log is damaged, `Refused` when the backup is of another history, `Exhausted`.
    """
    before = read_manifest(target)
    if before is not None and (before.server, before.incarnation) != (str(server), incarnation):
        raise Refused(
            f"the backup is of {before.server} (incarnation {before.incarnation}), not of {server} ({incarnation})",
            next_step="choose an empty directory for this one",
        )
    mark = yield from _verified(log, before, until)
    kept = {} if before is None else {(each.place, each.name): each for each in before.files}
    files: list[Kept] = []
    added = 0
    for segment in log.segments:
        if segment.first > mark.position:
            break
        following = next((each.first for each in log.segments if each.number == segment.number + 1), mark.position)
        end = segment.offset(min(following, mark.position))
        file = kept.get((LOG_PLACE, segment.file.name), Kept(LOG_PLACE, segment.file.name, []))
        added += end - file.size
        files.append((yield from _append(target, file, end, segment.file.read)))
    for each in beside:
        old = kept.get((each.place, each.name))
        file = Kept(each.place, each.name, [])
        if each.place == BESIDE:
            digest = hashlib.sha256(each.read(0, each.size)).hexdigest()
            file = Kept(each.place, each.name, [(0, each.size, digest)])
        if old is not None and old.size == each.size and (each.place == BLOBS_PLACE or old == file):
            files.append(old)  # a blob's name is the hash of what is in it
            continue
        added += each.size
        written = yield from _append(target, Kept(LOG_PLACE, file.file, []), each.size, each.read)
        files.append(Kept(each.place, each.name, written.extents))
    manifest = Manifest(str(server), incarnation, mark.position, mark.epoch, mark.hash.hex(), wall_ms(), files)
    _write_manifest(target, manifest)
    for name in sorted({each.file for each in kept.values()} - {each.file for each in files}):
        target.remove(name)
    return BackedUp(manifest, added)


def _verified(log: Log, before: Manifest | None, until: int | None) -> Generator[Progress, None, Mark]:
    """Read what is new as groups; the mark at its end."""
    start = 0 if before is None else before.position
    report = Report()
    marks: dict[int, Mark] = {}
    last = None
    done = 0
    for met in LogWalk(log, report, until=until, since=start).walk():
        if isinstance(met, Step):
            done += met.bytes
            yield Progress("reading", done, 0)
        elif isinstance(met, Walked):
            last = met.mark
            if met.mark.position == start:
                marks[start] = met.mark
    if not report.whole:
        raise Damaged(
            f"the log is damaged, and is not backed up so: {report.findings[0]}",
            next_step="mend it first: `bangpath check --repair`",
        )
    if before is not None and marks.get(start) != before.mark:
        raise Refused(
            f"the backup ends with another group at position {start} than the store has there",
            next_step="the store came back in time, or is another one: choose an empty directory",
        )
    if last is None:
        raise Refused("the store has nothing to back up yet")
    return last


def _append(target: Disk, kept: Kept, end: int, read: Callable[[int, int], bytes]) -> Generator[Progress, None, Kept]:
    """The file with what is new up to `end`, durable, and read back."""
    start = kept.size
    if start >= end and kept.extents:
        return kept
    file = target.open(kept.name, create=kept.name not in target.list())
    try:
        file.allocate(end)
        digest = hashlib.sha256()
        for offset in range(start, end, PIECE_BYTES):
            data = read(offset, min(PIECE_BYTES, end - offset))
            if len(data) != min(PIECE_BYTES, end - offset):
                raise Damaged(f"{kept.name} ends at {offset + len(data)}, before {end}", next_step="`bangpath check`")
            file.write(offset, data)
            digest.update(data)
            yield Progress(kept.name, offset - start, end - start)
        file.settle()  # from the medium, and not from the page cache
        if (yield from digest_of(file, start, end)) != digest.hexdigest():
            raise Damaged(f"{kept.name} was written to the backup, and reads otherwise", next_step="use another disk")
    finally:
        file.close()
    return Kept(kept.place, kept.name, [*kept.extents, (start, end, digest.hexdigest())])


def digest_of(file: File, start: int, end: int) -> Generator[Progress, None, str]:
    """SHA-256 of these bytes, as far as they are there, in hexadecimal."""
    digest = hashlib.sha256()
    for offset in range(start, end, PIECE_BYTES):
        digest.update(file.read(offset, min(PIECE_BYTES, end - offset)))
        yield Progress(file.name, offset - start, end - start)
    return digest.hexdigest()


def _write_manifest(target: Disk, manifest: Manifest) -> None:
    body = msgspec.json.encode(manifest)
    start = struct.pack(">HI", VERSION, len(body))
    data = MAGIC + start + hashlib.sha256(start + body).digest() + body
    if NEW in target.list():
        target.remove(NEW)
    file = target.open(NEW, create=True)
    try:
        file.allocate(len(data))
        file.write(0, data)
        file.sync()
    finally:
        file.close()
    target.sync_directory()  # the files it names, before it
    target.rename(NEW, MANIFEST)
    target.sync_directory()
