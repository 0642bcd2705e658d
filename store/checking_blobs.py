"""Whether each blob is what its name says, chunk by chunk, and each that an own object names is there (DESIGN R4, D1).

    file     ROOT.blob: its head, its tree of hashes, each chunk        what is not right is named with its place
    entry    of the index: an own object names a blob  ->  its file     others' blobs need not be here

A blob that goes meanwhile, because nothing names it any more, is no finding. What a blob is, is `store.blob_files`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from identity.errors import BangpathError, Damaged
from identity.names import END
from store.blob_files import HASH_BYTES, Verified, read_head
from store.checking_tables import Moment
from store.disk import Disk
from store.findings import Finding, Progress, Report
from store.indexes import BLOBS
from store.keys import after_prefix
from store.reading import INDEX

SUFFIX = ".blob"
BLOB = "blob"  # what such a finding is about
SLICE = 64
FROM_A_BACKUP = "put its file back from a backup: it has the same name there"


def check_blobs(disk: Disk, moment: Callable[[], AbstractContextManager[Moment]], report: Report) -> Iterator[Progress]:
    """All of them, a chunk at a time. Raises only what a disk that stopped raises."""
    names = [name for name in disk.list() if name.endswith(SUFFIX)]
    for done, name in enumerate(names):
        report.count("blobs")
        try:
            for taken in chunks_of(disk, name, name):
                report.bytes += taken
                yield Progress("blobs", done, len(names))
        except BangpathError as error:
            if disk.failure is not None:
                raise
            if name in disk.list():
                report.find(Finding(BLOB, name, error.cause, FROM_A_BACKUP))
    yield from _named(disk, moment, report)


def chunks_of(disk: Disk, file_name: str, name: str) -> Iterator[int]:
    """How many bytes each has that was verified, of the blob of this name. Raises `Damaged`."""
    file = disk.open(file_name)
    try:
        blob = read_head(file)
        if blob.root.hex() + SUFFIX != name:
            raise Damaged(f"its head is that of {blob}")
        verified = Verified(file, blob)
        for number in range(blob.chunks):
            yield len(verified.chunk(number))
    finally:
        file.close()


def _named(disk: Disk, moment: Callable[[], AbstractContextManager[Moment]], report: Report) -> Iterator[Progress]:
    low, high = BLOBS, after_prefix(BLOBS)
    while True:
        taken = 0
        with moment() as now:
            there = set(disk.list())
            try:
                for key, object_key in now.source.scan(INDEX, low, high):
                    low = key + b"\0"
                    taken += 1
                    root = key[len(BLOBS) : len(BLOBS) + HASH_BYTES].hex()
                    if object_key.startswith(END) and root + SUFFIX not in there:
                        cause = f"{now.named(object_key)} names it, and its file is gone"
                        report.find(Finding(BLOB, root + SUFFIX, cause, FROM_A_BACKUP))
                    if taken == SLICE:
                        break
            except Damaged:
                return  # the walk through the index names it
        yield Progress("blobs", taken, 0)
        if taken < SLICE:
            return
