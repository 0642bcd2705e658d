"""Whether everything that a store holds is what was written, and fits together; reading only (DESIGN D1, T4).

    log      every frame of every segment, group by group (`store.checking_log`)
               each change in it  ->  its object has a record or a tombstone, and none that is older; where its
                                      class keeps versions, this one is kept if it was replaced
               each update in it  ->  the table of feeds says where it lies
    tables   each record, index entry, update and other entry, and what belongs to it (`store.checking_tables`)
    blobs    each chunk of each file, and that those which own objects name are there (`store.checking_blobs`)

Why both ways: an entry that LMDB lost, or an older one in its place, has a right checksum or none to look at. The log
tells which object ids were given, so one without record and tombstone is damage here, and never "no such object".

The work is a generator of `Progress`, in slices of some milliseconds; each slice of the tables looks through a view
of its own, so a check of any length works beside commits and folds, and holds back nobody's space. What is found is
told, not mended: that is `store.repair`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple

from identity.encoding import encode_integer
from identity.errors import BangpathError, Damaged
from identity.names import END
from store.applying import STATE
from store.checking_blobs import check_blobs
from store.checking_log import LogWalk, Step, Walked
from store.checking_tables import Judge, Moment
from store.disk import Disk
from store.findings import FROM_OTHERS, Finding, InLog, InTable, Progress, Report
from store.frame_parts import FOREIGN, OWN, unpack_local, unpack_seals
from store.held_feeds import foreign_entry, own_entry
from store.history import HISTORY
from store.log import Log
from store.reading import FEEDS, INDEX, OBJECTS
from store.records import (
    DATA,
    REGISTRY,
    Head,
    Update,
    head_hash,
    read_leaves_untrusted,
    read_own_leaves,
    unpack_record,
)
from store.segments import Frame, Location

SLICE = 64  # entries of a table in one go: two to three milliseconds
LEAVES = 256  # of one frame

Ask = Callable[[Moment, bytes, bytes], None]


class Checker:
    """One check of one store; `moment` gives it as it is now, `until` is how far the log is durable (None: stopped).

    `applied`: up to there the tables hold what the log says, so they are compared with it; None: all of it. `blind`:
    the classes are not known, because they are damaged themselves, so only checksums can be looked at.
    """

    def __init__(
        self,
        log: Log,
        moment: Callable[[], AbstractContextManager[Moment]],
        report: Report,
        *,
        until: int | None,
        applied: int | None = None,
        blind: bool = False,
        blobs: Disk | None = None,
    ) -> None:
        self._log = log
        self._moment = moment
        self._report = report
        self._until = until
        self._applied = applied
        self._blind = blind
        self._blobs = blobs
        self._walk = LogWalk(log, report, until=until, at_least=applied or 0)
        self._judge = Judge(report, log.read)

    def run(self) -> Iterator[Progress]:
        """All of it, a slice at a time. Raises only what a disk that stopped raises."""
        judge = self._judge
        yield from self.check_log()
        yield from self._each(OBJECTS, judge.record_alone if self._blind else judge.record)
        yield from self._each(INDEX, judge.count if self._blind else judge.index)
        yield from self._each(FEEDS, judge.count if self._blind else judge.feed)
        yield from self._each(HISTORY, judge.count if self._blind else judge.version)
        yield from self._each(STATE, judge.count if self._blind else judge.ends)
        judge.after_all()
        if self._blobs is not None:
            yield from check_blobs(self._blobs, self._moment, self._report)

    # The log

    def check_log(self) -> Iterator[Progress]:
        """Every frame, and what the tables say of it."""
        done = 0
        segments = self._log.segments
        total = sum(segment.file.size() for segment in segments)
        if self._until is not None and segments:
            total = self._until - segments[0].first
        for met in self._walk.walk():
            if isinstance(met, Step):
                done += met.bytes
                self._report.bytes += met.bytes
                yield Progress("log", done, total)
            elif not self._blind and (self._applied is None or met.mark.position <= self._applied):
                for _ in self._group(met):
                    yield Progress("log", done, total)
        yield Progress("log", total, total)

    def _group(self, group: Walked) -> Iterator[None]:
        places: tuple[list[Location], list[Location]] = ([], [])
        for frame in group.frames:
            try:
                changes = _changes(frame)
            except BangpathError as error:
                where = f"{frame.location.offset} of segment {frame.location.segment}"
                place = InLog(*frame.location, frame.location.offset)
                cause = f"it is intact, and makes no sense: {error.cause}"
                self._report.find(Finding("frame", where, cause, FROM_OTHERS, place))
                continue
            for mine, changed in ((True, changes.own), (False, changes.theirs)):
                for at in range(0, len(changed), LEAVES):
                    with self._moment() as moment:
                        owner = END if mine or changes.update is None else moment.owner(changes.update.head)
                        for number, sequence in changed[at : at + LEAVES]:
                            self._change(moment, owner, number, sequence)
                    yield
            for kind in (REGISTRY, DATA):
                if frame.kind == OWN and frame.sections[kind]:
                    places[kind].append(frame.location)
            if changes.update is not None:
                with self._moment() as moment:
                    self._update_of(moment, changes.update.head, frame.location)
        if not group.broken:
            with self._moment() as moment:
                for seal in unpack_seals(group.seals):
                    key, value = own_entry(seal, head_hash(seal.head), places[seal.kind])
                    self._place(moment, key, value, f"{seal.number} of {moment.servers.server}, feed {seal.kind}")
        yield

    def _change(self, moment: Moment, owner: bytes | None, number: int, sequence: int) -> None:
        """One change of the log: is it, or a later one of this object, in the tables?"""
        self._report.count("changes")
        if owner is None:
            return  # The object that names it is missing: that is a change, too.
        key = owner + encode_integer(number)
        data = moment.source.get(OBJECTS, key)
        if data is None:
            cause = "the log says that it was given, and there is neither record nor tombstone"
            self._judge.find("record", moment.named(key), cause, InTable(OBJECTS, key))
            return
        try:
            record = unpack_record(key, data)
        except Damaged:
            return  # It is met again among the records.
        if record.sequence < sequence:
            cause = f"it is of sequence {record.sequence}, and the log has {sequence}"
            self._judge.find("record", moment.named(key), cause, InTable(OBJECTS, key))
        elif record.sequence > sequence and owner == END:
            self._judge.replaced(moment, key, record, sequence)

    def _update_of(self, moment: Moment, head: Head, location: Location) -> None:
        owner = moment.owner(head)
        if owner is not None:
            digest = head_hash(head.to_bytes())
            key, value = foreign_entry(owner, head.kind, head.number, digest, location)
            self._place(moment, key, value, f"{head.number} of {head.server}, feed {head.kind}")

    def _place(self, moment: Moment, key: bytes, value: bytes, named: str) -> None:
        self._report.count("updates")
        try:
            found = moment.source.get(FEEDS, key)
        except Damaged:
            return
        if found != value:
            cause = "it is in the log, and "
            cause += "not in the table of feeds" if found is None else "elsewhere than the table of feeds says"
            self._judge.find("update", named, cause, InTable(FEEDS, key))

    # Tables

    def _each(self, table: str, ask: Ask) -> Iterator[Progress]:
        """Every entry of a table, in slices; one that cannot be read is named and passed."""
        low: bytes | None = b""
        done = 0
        while low is not None:
            with self._moment() as moment:
                low, taken = self._slice(moment, table, low, ask)
            done += taken
            yield Progress(table, done, 0)

    def _slice(self, moment: Moment, table: str, low: bytes, ask: Ask) -> tuple[bytes | None, int]:
        """Where the next slice begins (None: there is none), and how many entries were in this one."""
        taken = 0
        try:
            for key, value in moment.source.scan(table, low):
                if key < low:
                    self._judge.find("entry", f"{key.hex()} of table {table}", "it stands in the wrong order", None)
                    return None, taken
                low = key + b"\0"
                taken += 1
                self._report.bytes += len(key) + len(value)
                ask(moment, key, value)
                if taken == SLICE:
                    return low, taken
        except Damaged as error:
            key = bytes.fromhex(str(error.details.get("key", "")))
            if key >= low and key:
                self._judge.find("entry", f"{key.hex()} of table {table}", error.cause, InTable(table, key))
                return key + b"\0", taken
            self._judge.find("entry", f"of table {table} after {low.hex()}", error.cause, None)
        return None, taken


class _Changes(NamedTuple):
    """What a frame says of objects, as number and sequence: of this server's, and of those of the owner of `update`."""

    own: list[tuple[int, int]]
    theirs: list[tuple[int, int]]
    update: Update | None


def _changes(frame: Frame) -> _Changes:
    """Raises `Damaged`, `PeerMisbehaved`."""
    if frame.kind == OWN:
        leaves = [leaf for kind in (REGISTRY, DATA) for leaf in read_own_leaves(frame.sections[kind])]
        number, local = unpack_local(frame.sections[2])
        own = [(leaf.object, leaf.sequence) for leaf in leaves]
        return _Changes(own + [(change.object, number) for change in local], [], None)
    if frame.kind == FOREIGN:
        update = Update.from_bytes_untrusted(frame.sections[0])
        leaves = read_leaves_untrusted(update.leaves, update.head.count)
        number, local = unpack_local(frame.sections[1])
        theirs = [(leaf.object, leaf.sequence) for leaf in leaves]
        return _Changes([(change.object, number) for change in local], theirs, update)
    return _Changes([], [], None)
