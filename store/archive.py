"""Old segments of the log lie on another disk, larger and slower, and are read from there as if they had never moved.

    DIR/log/    log-00000007 log-00000008       the newest `keep`; the last one is written
    ARCHIVE/    log-00000001 ... log-00000006   never written again, but to mend what rots

    DIR/archive     bangpath archive 1          what is done with old segments; without this file they stay
                    keep 2
                    path /media/usb/1.4

    a move      copied -> synced -> read back and compared -> named -> removed from log/        a crash: it is in both

Nothing is ever thrown away: the log is the feed (L9), tables are made anew from it, and a backup is it. So a segment
that no recovery needs goes where room is cheap, and that is all. Whoever reads a log sees one disk (`TieredDisk`): what
is in both places is read from the nearer one. While the archive is not there the store starts and works; what would be
read from it is named as missing, and a check, a backup or a repair is refused, for each needs all of it.

Left to others: when (`node.tending` once a minute, `node.embedded` at each start, `bangpath archive` at once).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, cast

import trio

from identity.errors import BangpathError, Damaged, Refused
from identity.keys import read_plain_file
from store.cipher import Cipher
from store.disk import Buffer, Disk, File, RealDisk, sync_names
from store.frames import SEGMENT_HEADER_BYTES, SegmentHeader
from store.read_only import read_only

NAME = "archive"
FIRST_LINE = "bangpath archive 1"
MAX_KEEP = 1_000_000
MAX_FILE_BYTES = 8192
PIECE_BYTES = 256 << 10
UNFINISHED = "moving"
LOG = "log"
_SEGMENT = re.compile(r"log-[0-9]{8}-[0-9a-f]{16}")
_POLICY = re.compile(re.escape(FIRST_LINE) + r"\nkeep ([1-9][0-9]{0,6})\npath (/[^\n\0]*)\n")


class Policy(NamedTuple):
    """Where old segments go, and how many of the newest stay."""

    path: Path
    keep: int


def read_policy(directory: Path) -> Policy | None:
    """What the file `archive` says; None: there is none. Raises `Refused`."""
    path = directory / NAME
    try:
        text = read_plain_file(path, max_bytes=MAX_FILE_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}", next_step=f"look at it: ls -l {path}") from error
    found = _POLICY.fullmatch(text)
    if found is None:
        raise Refused(f"{path} is not what was written", next_step=f"bangpath archive {directory} --to PATH writes it")
    return Policy(Path(found[2]), int(found[1]))


def write_policy(directory: Path, policy: Policy) -> None:
    """Durably. The archive is made when it is not there. Raises `Refused` when it cannot be, or is no place for one."""
    path = Path(os.path.abspath(policy.path))
    if not 1 <= policy.keep <= MAX_KEEP or "\n" in str(path):
        raise Refused(f"{policy.keep} segments cannot be kept", next_step=f"say 1 to {MAX_KEEP}")
    if path == directory.absolute() or path.is_relative_to((directory / LOG).absolute()):
        raise Refused(f"{path} is where the log is", next_step="choose a directory on another disk")
    new = directory / (NAME + ".new")
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(new, "w", encoding="utf-8", opener=_private) as file:
            file.write(f"{FIRST_LINE}\nkeep {policy.keep}\npath {path}\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(directory / NAME)
        sync_names(directory)
    except OSError as error:
        raise Refused(f"{error.filename or path} cannot be written: {error.strerror}") from error


def log_disk(directory: Path, *, cipher: Cipher | None = None, whole: bool = False) -> RealDisk | TieredDisk:
    """The disk of the log in this directory, locked, with its archive. `whole`: `Refused` while that is not there."""
    policy = read_policy(directory)
    hot = RealDisk(directory / LOG, cipher=cipher)
    if policy is None:
        return hot
    try:
        return TieredDisk(hot, _cold(policy, whole=whole), policy)
    except BangpathError:
        hot.close()
        raise


def read_only_log(directory: Path, cipher: Cipher | None) -> Disk:
    """The same of a log that another process has open. Raises `Refused` while its archive is not there."""
    hot = read_only(directory / LOG, cipher)
    policy = read_policy(directory)
    if policy is None:
        return hot
    return cast(Disk, TieredDisk(hot, read_only(policy.path), policy))


def _cold(policy: Policy, *, whole: bool) -> RealDisk | None:
    """None: it is not there, and may be away."""
    if policy.path.is_dir():
        return RealDisk(policy.path)
    if whole:
        raise Refused(f"the archive {policy.path} is not there", next_step="mount it, and try again")
    return None


class TieredDisk:
    """A `store.disk.Disk`: `hot`, and behind it the segments in `cold`."""

    def __init__(self, hot: Disk, cold: Disk | None, policy: Policy) -> None:
        self.cipher = hot.cipher
        self._hot = hot
        self._cold = cold
        self._policy = policy
        self._opened: dict[str, list[TieredFile]] = {}

    @property
    def failure(self) -> BangpathError | None:
        return self._hot.failure

    def list(self) -> list[str]:
        return sorted({*self._hot.list(), *self._archived()})

    def open(self, name: str, *, create: bool = False) -> TieredFile:
        file = TieredFile(self, name, self._hot.open(name, create=True) if create else self._found(name))
        self._opened.setdefault(name, []).append(file)
        return file

    def rename(self, old: str, new: str) -> None:
        self._hot.rename(old, new)

    def remove(self, name: str) -> None:
        self._hot.remove(name)

    def sync_directory(self) -> None:
        self._hot.sync_directory()

    def close(self) -> None:
        self._hot.close()
        if self._cold is not None:
            self._cold.close()

    # Moving

    def due(self) -> Sequence[str]:
        """The segments that should move, oldest first."""
        names = [name for name in self.list() if _SEGMENT.fullmatch(name)]
        hot = set(self._hot.list())
        return [name for name in names[: -self._policy.keep] if name in hot]

    async def move(self) -> AsyncIterator[str]:
        """Each that is due; its name, when it lies in the archive. Raises `Exhausted`, `Damaged`, `Refused`.

        Others run meanwhile, and may read what moves. Left anywhere nothing is lost, and the next move goes on.
        """
        if self._cold is None and self._policy.path.is_dir():
            self._cold = RealDisk(self._policy.path)
        for name in self.due():
            if self._cold is None:
                raise Refused(f"the archive {self._policy.path} is not there", next_step="mount it; nothing was moved")
            await self._move(name, self._cold)
            yield name

    async def _move(self, name: str, cold: Disk) -> None:
        source = self._hot.open(name)
        try:
            size = source.size()
            if name in cold.list():  # of a move that was cut short, or another store's
                _check_same(source, cold.open(name), self._policy)
                cold.remove(name)
            if UNFINISHED in cold.list():
                cold.remove(UNFINISHED)
            target = cold.open(UNFINISHED, create=True)
            try:
                target.reserve(size)
                written = hashlib.sha256()
                for offset in range(0, size, PIECE_BYTES):
                    data = source.read(offset, min(PIECE_BYTES, size - offset))
                    target.write(offset, data)
                    written.update(data)
                    await trio.lowlevel.checkpoint()
                await target.sync_async()
                target.settle()  # what follows is read from the medium
                if await _digest(target, size) != written.digest():
                    raise Damaged(f"{name} was written to {self._policy.path}, and reads otherwise",
                                  next_step="use another disk; the segment is where it was")  # fmt: skip
            finally:
                target.close()
        finally:
            source.close()
        cold.rename(UNFINISHED, name)
        cold.sync_directory()
        for file in self._opened.get(name, ()):
            file.reopen(cold.open(name))
        self._hot.remove(name)
        self._hot.sync_directory()

    # What the above is made of

    def forget(self, file: TieredFile) -> None:
        """It was closed."""
        opened = self._opened[file.name]
        opened.remove(file)
        if not opened:
            del self._opened[file.name]

    def _archived(self) -> Sequence[str]:
        return [] if self._cold is None else [name for name in self._cold.list() if _SEGMENT.fullmatch(name)]

    def _found(self, name: str) -> File:
        if self._cold is None or name in self._hot.list() or name not in self._archived():
            return self._hot.open(name)
        return self._cold.open(name)


class TieredFile:
    """A `store.disk.File` that may move while it is open."""

    def __init__(self, disk: TieredDisk, name: str, inner: File) -> None:
        self.name = name
        self._disk = disk
        self._inner = inner
        self._closed = False

    def reopen(self, inner: File) -> None:
        """The same bytes, elsewhere."""
        self._inner.close()
        self._inner = inner

    def read(self, offset: int, length: int) -> bytes:
        return self._inner.read(offset, length)

    def write(self, offset: int, data: Buffer) -> None:
        self._inner.write(offset, data)

    def allocate(self, size: int) -> None:
        self._inner.allocate(size)

    def reserve(self, size: int) -> None:
        self._inner.reserve(size)

    def sync(self) -> None:
        self._inner.sync()

    async def sync_async(self) -> None:
        await self._inner.sync_async()

    def settle(self) -> None:
        self._inner.settle()

    def size(self) -> int:
        return self._inner.size()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._disk.forget(self)
        self._inner.close()


async def move_old(disk: TieredDisk) -> BangpathError | None:
    """Move what is due; why it could not go on: an archive that is full or away keeps nobody from working."""
    try:
        async for _ in disk.move():
            pass
    except BangpathError as error:
        return error
    return None


async def _digest(file: File, size: int) -> bytes:
    digest = hashlib.sha256()
    for offset in range(0, size, PIECE_BYTES):
        digest.update(file.read(offset, min(PIECE_BYTES, size - offset)))
        await trio.lowlevel.checkpoint()
    return digest.digest()


def _check_same(ours: File, theirs: File, policy: Policy) -> None:
    """Raises `Refused` unless the archive's file of this name is of the same store."""
    try:
        headers = []
        for file in (ours, theirs):
            with suppress(Damaged):
                headers.append(SegmentHeader.from_bytes(file.read(0, SEGMENT_HEADER_BYTES)))
    finally:
        theirs.close()
    if len(headers) == 2 and headers[0] != headers[1]:
        raise Refused(
            f"{policy.path} has a segment {ours.name} of another store", next_step="give each store its own archive"
        )


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
