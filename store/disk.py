"""What was written and synced is there after a power cut; the seam between the store and any disk (DESIGN L7, U6).

    Disk    one directory of files with plain names       File    bytes at offsets
      list open rename remove                               read write allocate reserve settle size close
      sync_directory   names outlive a power cut            sync   what was written before it outlives a power cut

    write ... write ... sync       without the sync any of the writes may be lost, whole or by 512-byte sectors,
                                   in any order; simulations/faulty_disk.py does so, and passes the same contract suite

Rules. One process owns a directory: it holds a lock on it, and a second one is told who has it. A write or sync that
failed is never tried again, because after a failed fdatasync Linux marks the pages clean and a second one succeeds
without them: the disk stops, `failure` says why, and everything after raises it until the next start (DESIGN L7).
That start settles what it reads, or it would believe, and build on, what the next power cut takes.
Only `allocate` and `reserve` may find the disk full harmlessly, so whoever appends begins with one of them. No
symbolic link is followed.

A thread hop costs as much as a sync on a fast disk (115-154 us against 110-190 us, FACTS), so `sync_async` syncs
inline until the median of the last syncs exceeds 2 ms, then in one dedicated thread (`store.worker`).

What the bytes mean is left to `store.log` and the tables.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import time
from collections import deque
from collections.abc import Callable
from typing import NoReturn, Protocol

from identity.errors import BangpathError, Damaged, Exhausted, LocalMistake, Refused
from store.cipher import Cipher
from store.worker import Worker

Buffer = bytes | bytearray | memoryview

SLOW_SYNC_S = 0.002  # DESIGN L7: above this a thread hop is cheap beside the sync
SYNC_SAMPLES = 15  # the median of an odd, small number: one slow sync does not move it, eight do
ZEROS = bytes(1 << 20)
LOCK_NAME = "lock"
_PLAIN_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


class File(Protocol):
    """One open file. Every method raises `Damaged` or `Exhausted` once the disk has stopped."""

    name: str

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`; fewer only at the end of the file. Raises `Damaged` if unreadable."""

    def write(self, offset: int, data: Buffer) -> None:
        """All of `data` at `offset`. A failure stops the disk: `Exhausted` when it is full, else `Damaged`."""

    def allocate(self, size: int) -> None:
        """Make the file at least `size` bytes long, the new part filled with zeros and synced.

        Raises `Exhausted` when there is no room; then nothing is lost, and it may be tried again.
        """

    def reserve(self, size: int) -> None:
        """Take the room up to `size` bytes, without writing or syncing it: what is there until then is not said.

        Raises `Exhausted` when there is none; then nothing is lost, and it may be tried again.
        """

    def sync(self) -> None:
        """Everything written to this file outlives a power cut. A failure stops the disk."""

    async def sync_async(self) -> None:
        """The same, in a thread where the disk is slow. Cannot be cancelled; inline it does not yield."""

    def settle(self) -> None:
        """What is read from now on outlives a power cut, though an earlier run wrote it.

        What that run had not synced is synced; what a sync of its that failed had left in the page cache, marked
        clean and on no disk, is dropped from there. A failure stops the disk.
        """

    def size(self) -> int:
        """Bytes from the start to the end of the file."""

    def close(self) -> None:
        """Let go of the file; nothing is synced by it."""


class Disk(Protocol):
    """One directory that this process owns."""

    @property
    def cipher(self) -> Cipher | None:
        """What is written there is sealed with it by whoever knows what the bytes mean; None: in the clear."""

    @property
    def failure(self) -> BangpathError | None:
        """Why the disk stopped, or None."""

    def list(self) -> list[str]:
        """Names of all files, sorted."""

    def open(self, name: str, *, create: bool = False) -> File:
        """An existing file, or a new one with `create` (`LocalMistake` if it exists already, `Damaged` if not)."""

    def rename(self, old: str, new: str) -> None:
        """In one step, replacing `new` if it exists."""

    def remove(self, name: str) -> None:
        """Take the name away."""

    def sync_directory(self) -> None:
        """Names made, changed and removed before this outlive a power cut."""

    def close(self) -> None:
        """Give the directory back; files that are still open must not be used any more."""


class RealDisk:
    """A directory of this machine, made with mode 0700 if it is not there, locked until `close`.

    Raises `Refused` when another process holds it or when it cannot be used at all.
    """

    def __init__(self, path: str | os.PathLike[str], *, cipher: Cipher | None = None) -> None:
        self.path = os.fspath(path)
        self.cipher = cipher
        self.failure: BangpathError | None = None
        self.sync_seconds: deque[float] = deque(maxlen=SYNC_SAMPLES)
        self.worker = Worker("bangpath sync")
        self._directory = _open_directory(self.path)
        try:
            self._lock = _lock_directory(self._directory, self.path)
        except BangpathError:
            os.close(self._directory)
            raise
        self._closed = False

    @property
    def is_slow(self) -> bool:
        """Whether the median of the last syncs is over `SLOW_SYNC_S`."""
        return bool(self.sync_seconds) and sorted(self.sync_seconds)[len(self.sync_seconds) // 2] > SLOW_SYNC_S

    def list(self) -> list[str]:
        self.check()
        with os.scandir(self._directory) as entries:
            return sorted(
                entry.name for entry in entries if entry.is_file(follow_symlinks=False) and entry.name != LOCK_NAME
            )

    def open(self, name: str, *, create: bool = False) -> RealFile:
        self.check()
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if create else 0)
        try:
            descriptor = os.open(plain_name(name), flags, 0o600, dir_fd=self._directory)
        except FileExistsError as error:
            raise LocalMistake(f"file {name} exists already in {self.path}") from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):  # a name needs room too; nothing was changed
                raise self.full(name, error) from error
            raise Damaged(f"file {name} in {self.path} cannot be opened: {error.strerror}") from error
        return RealFile(self, name, descriptor)

    def rename(self, old: str, new: str) -> None:
        self.check()
        with self._stopping("rename", old):
            os.rename(plain_name(old), plain_name(new), src_dir_fd=self._directory, dst_dir_fd=self._directory)

    def remove(self, name: str) -> None:
        self.check()
        with self._stopping("remove", name):
            os.unlink(plain_name(name), dir_fd=self._directory)

    def sync_directory(self) -> None:
        self.check()
        with self._stopping("sync", "the directory"):
            os.fsync(self._directory)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.worker.stop()
            os.close(self._lock)
            os.close(self._directory)

    def check(self) -> None:
        """Raise why the disk stopped, if it did; `LocalMistake` after `close`."""
        if self.failure is not None:
            raise self.failure
        if self._closed:
            raise LocalMistake(f"the disk at {self.path} was closed")

    def full(self, name: str, error: OSError) -> Exhausted:
        """The error that says so, and what to do."""
        return Exhausted(
            f"no room for {name} in {self.path}: {error.strerror}",
            next_step="free space on that file system; the store goes on by itself",
        )

    def stop(self, act: str, name: str, error: OSError) -> NoReturn:
        """Remember and raise the failure that ends this run."""
        if self.failure is None:
            cause = f"cannot {act} {name} in {self.path}: {error.strerror}"
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                self.failure = Exhausted(cause, next_step="free space on that file system, then start again")
            else:
                self.failure = Damaged(cause, next_step="look at the disk's health (dmesg), then start again")
        raise self.failure from error

    def _stopping(self, act: str, name: str) -> _Stopping:
        return _Stopping(self, act, name)


class _Stopping:
    """An operating system error inside this block stops the disk."""

    __slots__ = ("_act", "_disk", "_name")

    def __init__(self, disk: RealDisk, act: str, name: str) -> None:
        self._disk, self._act, self._name = disk, act, name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if isinstance(error, OSError):
            self._disk.stop(self._act, self._name, error)


class RealFile:
    """A file of a `RealDisk`."""

    def __init__(self, disk: RealDisk, name: str, descriptor: int) -> None:
        self.name = name
        self._disk = disk
        self._descriptor = descriptor

    def read(self, offset: int, length: int) -> bytes:
        self._disk.check()
        try:
            data = os.pread(self._descriptor, length, offset)
            while len(data) < length and (more := os.pread(self._descriptor, length - len(data), offset + len(data))):
                data += more
        except OSError as error:
            raise Damaged(
                f"{self.name} cannot be read at offset {offset}: {error.strerror}",
                next_step="look at the disk's health (dmesg)",
            ) from error
        return data

    def write(self, offset: int, data: Buffer) -> None:
        self._disk.check()
        with self._disk._stopping("write", self.name):
            _write_all(self._descriptor, offset, data)

    def allocate(self, size: int) -> None:
        self._disk.check()
        before = self.size()
        if size <= before:
            return
        try:
            _reserve(self._descriptor, before, size)
            for offset in range(before, size, len(ZEROS)):
                _write_all(self._descriptor, offset, memoryview(ZEROS)[: min(len(ZEROS), size - offset)])
        except OSError as error:
            self._refuse_or_stop("allocate", error)
        self.sync()

    def reserve(self, size: int) -> None:
        self._disk.check()
        before = self.size()
        if size <= before:
            return
        try:
            _reserve(self._descriptor, before, size)
        except OSError as error:
            self._refuse_or_stop("reserve", error)

    def sync(self) -> None:
        self._disk.check()
        started = time.perf_counter()
        with self._disk._stopping("sync", self.name):
            _data_sync(self._descriptor)
        self._disk.sync_seconds.append(time.perf_counter() - started)

    async def sync_async(self) -> None:
        if self._disk.is_slow:
            await self._disk.worker.run(self.sync)
        else:
            self.sync()

    def settle(self) -> None:
        self.sync()
        drop = getattr(os, "posix_fadvise", None)  # macOS has none, and its file systems drop what they could not write
        if drop is not None:
            with self._disk._stopping("reread", self.name):
                drop(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def size(self) -> int:
        self._disk.check()
        return os.fstat(self._descriptor).st_size

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _refuse_or_stop(self, act: str, error: OSError) -> NoReturn:
        """A disk that is full loses nothing and refuses; one that fails stops."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise self._disk.full(self.name, error) from error
        self._disk.stop(act, self.name, error)


def sync_names(directory: str | os.PathLike[str]) -> None:
    """Names made, changed and removed in this directory before outlive a power cut. Raises `OSError`."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def plain_name(name: str) -> str:
    """`name` if it can only mean a file of this directory; else `LocalMistake`."""
    if _PLAIN_NAME.fullmatch(name) is None or name == LOCK_NAME:
        raise LocalMistake(f"{name!r} is no name for a file of the store")
    return name


def _open_directory(path: str) -> int:
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Refused(
            f"the directory {path} cannot be used: {error.strerror}",
            next_step="choose a directory that this user may write to",
        ) from error


def _lock_directory(directory: int, path: str) -> int:
    """An open, locked descriptor with our process id in it.

    flock, not lockf: a lockf lock is lost when *any* descriptor of the file is closed in this process, and lets the
    same process in twice.
    """
    try:
        descriptor = os.open(LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory)
    except OSError as error:
        raise Refused(
            f"the directory {path} cannot be locked: {error.strerror}",
            next_step="choose a directory that this user may write to, without links in it",
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        named = f"process {holder}" if holder else "another process"
        raise Refused(
            f"the directory {path} is in use by {named}",
            next_step=f"stop that one (kill {holder or 'PID'}), or choose another directory",
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    return descriptor


def _write_all(descriptor: int, offset: int, data: Buffer) -> None:
    written = os.pwrite(descriptor, data, offset)
    while written < len(data):  # a signal or a nearly full disk may cut a write short
        written += os.pwrite(descriptor, memoryview(data)[written:], offset + written)


def _reserve(descriptor: int, start: int, end: int) -> None:
    """Take the blocks before anything is written, so that a full disk is found while nothing is at stake."""
    reserve = getattr(os, "posix_fallocate", None)  # macOS has none; the zeros that follow find a full disk there
    if reserve is None:
        return
    try:
        reserve(descriptor, start, end - start)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise


_data_sync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)  # macOS has only fsync
