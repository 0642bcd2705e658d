"""A backup is looked at whole, and put back whole or not at all (DESIGN D3, D4).

    verify       every byte of it against the SHA-256 of its piece; then its log as groups, up to the mark
    restore      the same while it is copied, into DIR.restoring; tables are made of the log; then DIR is its name

What is cut off or flipped anywhere is named, with file and offset, and nothing is restored of it. A server that comes
back so has forgotten what it did since: its first start must know (docs/decisions/0078), so a file `restored` says it.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple

from identity.errors import Damaged, Refused
from store.backup import MANIFEST, Kept, Manifest, digest_of, read_manifest
from store.disk import Disk, File
from store.findings import Finding, Progress, Report


class Looked(NamedTuple):
    """What a backup says it is (None: unreadable), and what is wrong with it."""

    manifest: Manifest | None
    report: Report


def verify(target: Disk) -> Generator[Progress, None, Looked]:
    """Every byte. Raises `Refused` when there is no backup."""
    report = Report()
    try:
        manifest = read_manifest(target)
    except Damaged as error:
        report.find(Finding("manifest", MANIFEST, error.cause, error.next_step))
        return Looked(None, report)
    if manifest is None:
        raise Refused("there is no backup here, or none that was finished", next_step="bangpath backup makes one")
    for kept in manifest.files:
        report.count("files")
        yield from _verify_file(target, kept, report)
    return Looked(manifest, report)


def _verify_file(target: Disk, kept: Kept, report: Report) -> Generator[Progress, None, None]:
    try:
        file = target.open(kept.file)
    except Damaged as error:
        report.find(Finding("file", kept.file, error.cause, "use an older backup"))
        return
    try:
        for start, end, digest in kept.extents:
            report.count("pieces")
            report.bytes += end - start
            if (yield from digest_of(file, start, end)) != digest:
                cut = f", and the file ends at {file.size()}" if file.size() < end else ""
                cause = f"bytes {start} to {end} are not what was written{cut}"
                report.find(Finding("file", f"{kept.file} at offset {start}", cause, "use an older backup"))
    finally:
        file.close()


def copy_out(target: Disk, manifest: Manifest, place: str, to: Disk) -> Generator[Progress, None, None]:
    """The files of one place, onto another disk. They were verified before; what is written is read by others then."""
    for kept in manifest.files:
        if kept.place != place:
            continue
        source = target.open(kept.file)
        file = to.open(kept.name, create=True)
        try:
            file.allocate(kept.size)
            for start, end, _ in kept.extents:
                for offset in range(start, end, 1 << 20):
                    file.write(offset, source.read(offset, min(1 << 20, end - offset)))
                    yield Progress("restoring", offset, kept.size)
            file.sync()
            if (yield from _all_digests(source, kept)) != (yield from _all_digests(file, kept)):
                raise Damaged(f"{kept.name} was restored, and reads otherwise", next_step="use another disk")
        finally:
            source.close()
            file.close()
    to.sync_directory()


def _all_digests(file: File, kept: Kept) -> Generator[Progress, None, list[str]]:
    found = []
    for start, end, _ in kept.extents:
        found.append((yield from digest_of(file, start, end)))
    return found
