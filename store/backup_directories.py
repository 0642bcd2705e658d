"""Directories backed up and put back: of servers and of stores alone, stopped or in use (DESIGN D3, D4).

    back_up_directory(DIR, TARGET)      stopped: under its lock. In use: `durable` is how far, by its own word; then its
                                        files are only read, for a log is only ever appended to
    verify_directory(TARGET)            every byte of the backup
    restore_directory(TARGET, DIR)      verified, copied to DIR.restoring, its tables made, then named DIR

Beside log and blobs goes what the directory of a server needs to be one: keys, certificates, configuration. So a backup
is as secret as the server, or as its key when that is encrypted; it has mode 0700, its files 0600. A restored server
has forgotten what it did since the backup: the file `restored` says so to its first start (docs/decisions/0078).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

from identity.errors import Damaged, Refused
from identity.names import ServerId
from store.archive import read_only_log
from store.backup import (
    BESIDE,
    BLOBS_PLACE,
    LOG_PLACE,
    BackedUp,
    Beside,
    Manifest,
    back_up,
    opened_beside,
    read_manifest,
    sealed_beside,
)
from store.checking_log import LogWalk, Walked
from store.cipher import Cipher
from store.data_key import COPY, NAME, Secret, open_key
from store.disk import LOCK_NAME, Disk, RealDisk, sync_names
from store.findings import Report
from store.log import Log
from store.read_only import read_only
from store.repair import rebuild_tables
from store.restoring import Looked, copy_out, verify
from store.upkeep import BLOBS, LOG, Tell, Whose, held, wall_clock_ms, whose

RESTORED = "restored"
SERVER_FILE = "bangpath.toml"
FILES = (SERVER_FILE, "keys", "chain", "token", "store.toml")
KEY_FILES = (NAME, COPY)
MAX_FILE_BYTES = 16 << 20
_QUIET: Tell = lambda progress: None  # noqa: E731


def back_up_directory(
    directory: Path,
    target: Path,
    *,
    wall_ms: Callable[[], int] = wall_clock_ms,
    durable: int | None = None,
    tell: Tell = _QUIET,
    key: Secret | None = None,
) -> BackedUp:
    """Bring the backup in `target` up to date. `durable`: the position that a server which has it open says; `key`
    opens an encrypted one, whose backup is encrypted with the same key.

    Raises `Refused`, `Damaged`, `Exhausted`; then the backup that was there stands.
    """
    with ExitStack() as open_:
        if durable is None:
            disk: Disk = open_.enter_context(held(directory, key))
        else:
            disk = read_only_log(directory, open_key(directory, key))
        kept = RealDisk(target)
        open_.callback(kept.close)
        owner = whose(disk)
        log = Log(disk, server=owner.server, incarnation=owner.incarnation)
        open_.callback(log.close, clean=False)
        beside = [*open_.enter_context(_blobs(directory)), *open_.enter_context(_files(directory, disk.cipher))]
        work = back_up(
            log, kept, server=owner.server, incarnation=owner.incarnation, until=durable, beside=beside, wall_ms=wall_ms
        )
        return cast(BackedUp, _drive(work, tell))


def verify_directory(target: Path, tell: Tell = _QUIET) -> Looked:
    """Look at every byte of a backup. Raises `Refused` when there is none."""
    with _backup(target) as disk:
        return cast(Looked, _drive(verify(disk), tell))


class Restored(NamedTuple):
    """What was put back, and up to where."""

    manifest: Manifest
    groups: int


async def restore_directory(
    target: Path, directory: Path, tell: Tell = _QUIET, *, key: Secret | None = None
) -> Restored:
    """Put a backup back as `directory`, which is empty or not there. Raises `Refused`, `Damaged`, naming the place."""
    cipher = open_key(target, key, names=_key_files(target))
    making, manifest = _copy(target, directory, tell, cipher)
    owner = Whose(ServerId.parse(manifest.server), manifest.incarnation)
    groups = await _make_tables(making, owner, manifest, tell, cipher)
    _name(making, directory, manifest)
    return Restored(manifest, groups)


def needs_key(target: Path) -> bool:
    """Whether the backup in this directory is of an encrypted store. Raises `Refused` when there is none, `Damaged`."""
    return bool(_key_files(target))


def _key_files(target: Path) -> list[Path]:
    """`encryption` and its copy, by the names that they have in the backup."""
    with _backup(target) as disk:
        manifest = read_manifest(disk)
    kept = {each.name: target / each.file for each in (manifest.files if manifest else ()) if each.place == BESIDE}
    return [kept[name] for name in KEY_FILES if name in kept]


def _copy(target: Path, directory: Path, tell: Tell, cipher: Cipher | None) -> tuple[Path, Manifest]:
    """Everything verified, and under a name of its own."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise Refused(f"{directory} is there already", next_step="name a new directory, or move that one away")
    making = directory.with_name(directory.name + ".restoring")
    with _backup(target) as disk:
        looked: Looked = _drive(verify(disk), tell)
        manifest = looked.manifest
        if manifest is None or not looked.report.whole:
            raise Damaged(
                f"the backup in {target} is damaged: {looked.report.findings[0]}",
                next_step="use an older backup; nothing was restored",
            )
        if making.exists():
            shutil.rmtree(making)  # of an attempt that was cut short
        making.mkdir(mode=0o700, parents=True)
        for place, name in ((LOG_PLACE, LOG), (BLOBS_PLACE, BLOBS), (BESIDE, "")):
            if any(each.place == place for each in manifest.files):
                with _disk(making / name) as to:
                    _drive(copy_out(disk, manifest, place, to), tell)
        (making / LOCK_NAME).unlink(missing_ok=True)
        _open_files(making, cipher)
    return making, manifest


def _name(making: Path, directory: Path, manifest: Manifest) -> None:
    """It is whole: now, and not before, it has the name that was asked for."""
    if (making / SERVER_FILE).exists():
        with (making / RESTORED).open("w") as file:
            file.write(f"a backup of {manifest.time_ms} ms, up to position {manifest.position}\n")
            file.flush()
            os.fsync(file.fileno())
    sync_names(making)
    if directory.exists():
        directory.rmdir()
    making.rename(directory)
    sync_names(directory.parent)


async def _make_tables(making: Path, owner: Whose, manifest: Manifest, tell: Tell, cipher: Cipher | None) -> int:
    """Read the restored log whole, up to the very group with which the backup ends, and fold it."""
    with _disk(making / LOG, cipher) as disk:
        log = Log(disk, server=owner.server, incarnation=owner.incarnation)
        try:
            report = Report()
            last = None
            for met in LogWalk(log, report, until=manifest.position).walk():
                last = met.mark if isinstance(met, Walked) else last
            if not report.whole or last != manifest.mark:
                told = report.findings[0] if report.findings else f"it does not end at position {manifest.position}"
                raise Damaged(f"the log of the backup is damaged: {told}", next_step="use an older backup")
            await rebuild_tables(log, making, owner, tell)
            return report.counts.get("groups", 0)
        finally:
            log.close(clean=False)


def _drive(work: Any, tell: Tell) -> Any:
    while True:
        try:
            tell(next(work))
        except StopIteration as finished:
            return finished.value


@contextmanager
def _disk(path: Path, cipher: Cipher | None = None) -> Iterator[RealDisk]:
    disk = RealDisk(path, cipher=cipher)
    try:
        yield disk
    finally:
        disk.close()


@contextmanager
def _backup(target: Path) -> Iterator[Disk]:
    if not target.is_dir():
        raise Refused(f"there is no directory {target}", next_step="name the directory of a backup")
    yield read_only(target)


@contextmanager
def _blobs(directory: Path) -> Iterator[list[Beside]]:
    """Those that are finished. One that goes meanwhile is read to its end all the same, for it is open here."""
    with ExitStack() as files:
        found = []
        path = directory / BLOBS
        for each in sorted(path.glob("*.blob")) if path.is_dir() else ():
            found.append(_beside(BLOBS_PLACE, each, files))
        yield [each for each in found if each is not None]


@contextmanager
def _files(directory: Path, cipher: Cipher | None) -> Iterator[list[Beside]]:
    """Of an encrypted store all are sealed but those with which it is opened."""
    with ExitStack() as files:
        found = [_beside(BESIDE, directory / name, files) for name in (*KEY_FILES, *FILES)]
        there = [each for each in found if each is not None]
        yield (
            there
            if cipher is None
            else [each if each.name in KEY_FILES else sealed_beside(each, cipher) for each in there]
        )


def _open_files(making: Path, cipher: Cipher | None) -> None:
    """As they were in the directory. Raises `Damaged`."""
    for name in FILES if cipher is not None else ():
        path = making / name
        if path.exists() and cipher is not None:
            path.write_bytes(opened_beside(name, path.read_bytes(), cipher))
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _beside(place: str, path: Path, files: ExitStack) -> Beside | None:
    """None: it is not there. Raises `Refused` for what is no plain file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}", next_step=f"ls -l {path}") from error
    files.callback(os.close, descriptor)
    size = os.fstat(descriptor).st_size
    return Beside(place, path.name, size, lambda offset, length: os.pread(descriptor, length, offset))
