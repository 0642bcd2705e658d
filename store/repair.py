"""A stopped store that is damaged is mended from what is certain, in this order, and what was done is told (DESIGN D1).

    1  the log        from itself, from backups (`store.mending_log`), byte for byte, proven
    2  the tables     from the log: if it is whole, they are made anew beside it; the old ones are kept
    3  blobs          from backups: a file is one blob and no other, so it is proven by its name
    4  quarantine     what could not be mended stays where it is and is never returned; its bytes are kept

    log  ---->  check  ---->  mended, or kept  ---->  whole? tables -> tables.damaged-1, log -> tables  ---->  check

Nothing is made up, and nothing that is intact is thrown away: a hole in the log that the tables' mark is beyond keeps
nobody from starting, for its effects are in the tables; one after the mark does, for nothing is applied over it
(L4), and then a mirror's or a backup's copy is needed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from identity.errors import BangpathError
from store.applying import Applier
from store.checking_blobs import BLOB, chunks_of
from store.checking_log import LogWalk, Step
from store.cipher import Cipher
from store.data_key import Secret
from store.disk import sync_names
from store.findings import Finding, InLog, Progress, Report
from store.fold import Fold
from store.generations import Generations
from store.log import BEGINNING, Log
from store.mending_log import Backup, Mended, mend_log
from store.quarantine import Quarantine
from store.read_only import read_only
from store.recovery import replay_group
from store.sealed_files import opened_name, sealed_name, unsealed
from store.sealed_tables import GENERATION_BYTES, sealed_in
from store.tables import LmdbTables
from store.upkeep import BLOBS, LOG, TABLES, Tell, Whose, check_held, held, wall_clock_ms, whose


class Repaired(NamedTuple):
    """What was found, what became of it, what is still wrong. `tables`: where the old ones are; empty: untouched."""

    before: Report
    mended: tuple[Mended, ...]
    tables: str
    after: Report

    def as_json(self) -> dict[str, Any]:
        """JSON values only."""
        mended = [
            {**each.finding.as_json(), "mended_from": each.source, "evidence": each.evidence} for each in self.mended
        ]
        return {**self.after.as_json(), "before": self.before.as_json(), "mended": mended, "tables": self.tables}


async def repair_directory(
    directory: Path,
    *,
    backups: Sequence[Path] = (),
    wall_ms: Callable[[], int] = wall_clock_ms,
    tell: Tell = lambda progress: None,
    key: Secret | None = None,
) -> Repaired:
    """Check it, mend what can be, check again; `key` opens it, and its backups, when they are encrypted.

    Raises `Refused` when there is no store, or somebody has it open.
    """
    with held(directory, key) as disk:
        before = check_held(directory, disk, tell)
        if before.whole:
            return Repaired(before, (), "", before)
        owner = whose(disk)
        mended: list[Mended] = []
        log = Log(disk, server=owner.server, incarnation=owner.incarnation)
        try:
            with ExitStack() as opened:
                others = [
                    Backup(str(each), opened.enter_context(_Opened(each, owner, disk.cipher))) for each in backups
                ]
                for done in mend_log(log, before.findings, Quarantine(disk, wall_ms), until=None, backups=others):
                    tell(Progress("repair", len(mended), before.found))
                    if done is not None:
                        mended.append(done)
            aside = ""
            if any(not isinstance(each.place, InLog) for each in before.findings) and _is_whole(log, tell):
                after_log = check_held(directory, disk, tell)
                if not after_log.whole:
                    aside = _move_aside(directory)
                    await rebuild_tables(log, directory, owner, tell)
        finally:
            log.close(clean=False)
        blobs = [each for each in before.findings if each.what == BLOB]
        mended += [_mend_blob(directory / BLOBS, each, backups, disk.cipher) for each in blobs]
        return Repaired(before, tuple(mended), aside, check_held(directory, disk, tell))


class _Opened:
    """The log of a backup's directory, read only."""

    def __init__(self, directory: Path, owner: Whose, cipher: Cipher | None) -> None:
        path = directory / LOG if (directory / LOG).is_dir() else directory
        self._disk = read_only(path, cipher)
        try:
            self._log = Log(self._disk, server=owner.server, incarnation=owner.incarnation)
        except BangpathError:
            self._disk.close()
            raise

    def __enter__(self) -> Log:
        return self._log

    def __exit__(self, *_: object) -> None:
        self._log.close(clean=False)
        self._disk.close()


def _mend_blob(directory: Path, finding: Finding, backups: Sequence[Path], cipher: Cipher | None) -> Mended:
    """Put the file back that the first of the backups has whole; the damaged one gets another name, and stays."""
    name = finding.where
    path = directory / name_of(name, cipher)
    for backup in backups:
        places = (backup / BLOBS, backup)
        source = next((each / path.name for each in places if (each / path.name).is_file()), None)
        if source is None or not is_blob(source, name, cipher):
            continue
        new = path.with_name(path.name + ".new")
        shutil.copyfile(source, new)
        if not is_blob(new, name, cipher):
            new.unlink()
            continue
        evidence = ""
        if path.exists():
            evidence = path.name + ".damaged"
            path.rename(path.with_name(evidence))
        with new.open("r+b") as file:
            os.fsync(file.fileno())
        new.chmod(0o600)
        new.rename(path)
        sync_names(directory)
        return Mended(finding, f"backup {backup}", evidence)
    return Mended(finding, "", "")


def name_of(name: str, cipher: Cipher | None) -> str:
    """What a blob's file is called in its directory."""
    return name if cipher is None else sealed_name(name, cipher)


def is_blob(path: Path, name: str, cipher: Cipher | None) -> bool:
    """Whether every chunk of this file is what the blob's name says."""
    try:
        disk = unsealed(read_only(path.parent, cipher))
        return all(taken >= 0 for taken in chunks_of(disk, opened_name(path.name, cipher), name))
    except BangpathError:
        return False


def _is_whole(log: Log, tell: Tell) -> bool:
    report = Report()
    done = 0
    for met in LogWalk(log, report, until=None).walk():
        if isinstance(met, Step):
            done += met.bytes
            tell(Progress("log", done, 0))
    return report.whole


def _move_aside(directory: Path) -> str:
    """The old tables get another name: evidence, and what is not in the log if it should be shorter than they were."""
    number = 1
    while (aside := directory / f"{TABLES}.damaged-{number}").exists():
        number += 1
    if (directory / TABLES).exists():
        (directory / TABLES).rename(aside)
        sync_names(directory)
    return str(aside)


async def rebuild_tables(log: Log, directory: Path, owner: Whose, tell: Tell) -> None:
    """Everything in the log, group by group, as a start would apply it to empty tables; folded in bounded pieces."""
    tables = sealed_in(LmdbTables(directory / TABLES), log.disk.cipher)
    try:
        generations = Generations(tables.begin_read(), clock=lambda: 0.0, max_bytes=GENERATION_BYTES)
        applier = Applier(owner.server, owner.incarnation, lambda: generations.appended)
        fold = Fold(generations, tables)
        number, mark = 0, BEGINNING
        for group in log.replay(BEGINNING):
            number = replay_group(group, applier, generations, number)
            generations.publish(number)
            mark = group.mark
            if generations.fold_due:
                fold.freeze(mark)
                await fold.run()
            tell(Progress("tables", mark.position, 0))
        fold.freeze(mark)
        await fold.run()
        generations.close()
    finally:
        tables.close()
