"""Entries of the tables of a store that is in use are put back from its log, while it serves (DESIGN D1).

    findings --> which objects, index entries, updates --> the whole log, in slices: the last version of each
             --> one piece of work for the task that owns the log: what was not changed meanwhile is put back --> folded

Only if the log is whole from its first byte on: behind a hole the last version that is left may be an older one, and an
older version is worse than none, for nobody would notice. What the log does not know was never written, and goes. As
there is nothing new in it, nothing is logged: a crash before the fold leaves the damage, and the next look finds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import outcome
import trio

from identity.encoding import encode_integer
from identity.errors import Damaged
from identity.names import END
from store.applying import STATE, Applier, TableChanges
from store.checking_log import LogWalk, Walked
from store.findings import Finding, InTable, Report
from store.frame_parts import COPIES, FOREIGN, OWN, LocalChange, unpack_copies, unpack_local, unpack_seals
from store.held_feeds import foreign_entry, own_entry, state_entry
from store.history import HISTORY, SEQUENCE_BYTES, Kept, version_key, versions_again
from store.indexes import entries
from store.log import Log
from store.reading import FEEDS, INDEX, OBJECTS, Source
from store.records import (
    CACHED,
    DATA,
    MIRRORED,
    OWNED,
    REGISTRY,
    Leaf,
    Record,
    Update,
    head_hash,
    pack_record,
    read_leaves_untrusted,
    read_own_leaves,
    unpack_record,
)
from store.registry import ClassEntry
from store.segments import Frame, Location
from store.writing import Writer

FOLD_S = 10.0  # to wait until scans meet what was put back; a fold without room goes on by itself


class LastVersions:
    """What the log says last of each entry that is wanted."""

    def __init__(self, applier: Applier, findings: Sequence[Finding]) -> None:
        places = [each.place for each in findings if isinstance(each.place, InTable)]
        self._applier = applier
        self.objects = {each.key for each in places if each.table == OBJECTS}
        self.objects |= {each.object for each in places if each.object}
        self.index = {each.key: each.object for each in places if each.table == INDEX}
        self.feeds = {each.key for each in places if each.table == FEEDS}
        self.history: dict[bytes, bytes | None] = {each.key: None for each in places if each.table == HISTORY}
        self.sequences: dict[bytes, list[int]] = {}
        self._wanted = self.objects | {key[:-SEQUENCE_BYTES] for key in self.history}
        self.records: dict[bytes, bytes | None] = {}
        self.updates: dict[bytes, bytes] = {}
        self.whole = False

    def read(self, log: Log, *, until: int) -> Iterator[None]:
        """The whole log, a frame at a time."""
        report = Report()
        for met in LogWalk(log, report, until=until).walk():
            if isinstance(met, Walked):
                self._take(met)
            yield
        segments = log.segments
        self.whole = report.whole and bool(segments) and segments[0].first == 0

    def _take(self, group: Walked) -> None:
        seals = {seal.kind: seal for seal in unpack_seals(group.seals)}
        places: tuple[list[Location], list[Location]] = ([], [])
        for frame in group.frames:
            if frame.kind == OWN:
                number, local = unpack_local(frame.sections[2])
                self._take_local(local, number)
                for kind in (REGISTRY, DATA):
                    if frame.sections[kind]:
                        places[kind].append(frame.location)
                        update = seals[kind].number if kind in seals else 0
                        self._take_leaves(read_own_leaves(frame.sections[kind]), END, update)
            elif frame.kind == FOREIGN:
                self._take_foreign(frame)
            elif frame.kind == COPIES:
                for copy in unpack_copies(frame.sections[0]):
                    entry = self._applier.registry.by_number(copy.class_number)
                    if copy.object_key in self.objects and entry is not None:
                        self._put(copy.object_key, entry, copy.sequence, CACHED, copy.received_ms, copy.body)
        for kind, seal in () if group.broken else seals.items():
            key, value = own_entry(seal, head_hash(seal.head), places[kind])
            if key in self.feeds:
                self.updates[key] = value

    def _take_foreign(self, frame: Frame) -> None:
        update = Update.from_bytes_untrusted(frame.sections[0])
        head = update.head
        number, local = unpack_local(frame.sections[1])
        self._take_local(local, number)
        owner = self._applier.servers.key(head.server, head.incarnation)
        if owner is None:
            return
        self._take_leaves(read_leaves_untrusted(update.leaves, head.count), owner, head.number)
        key, value = foreign_entry(owner, head.kind, head.number, head_hash(head.to_bytes()), frame.location)
        if key in self.feeds:
            self.updates[key] = value

    def _take_local(self, changes: Sequence[LocalChange], number: int) -> None:
        for change in changes:
            key = END + encode_integer(change.object)
            entry = self._applier.registry.by_number(change.class_number)
            if key in self._wanted and entry is not None:
                self._put(key, entry, number, OWNED, 0, change.body)

    def _take_leaves(self, leaves: Sequence[Leaf], owner: bytes, update: int) -> None:
        for leaf in leaves:
            key = owner + encode_integer(leaf.object)
            entry = self._applier.registry.by_fingerprint(leaf.fingerprint)
            if key in self._wanted and entry is not None:
                stored = entry.codec.store(leaf.body) if leaf.body else b""
                self._put(key, entry, leaf.sequence, OWNED if owner == END else MIRRORED, update, stored)

    def _put(self, key: bytes, entry: ClassEntry, sequence: int, kind: int, number: int, stored: bytes) -> None:
        if kind == CACHED and not stored:
            self.records[key] = None
            return
        codec = entry.own_codec if kind == OWNED else entry.codec
        record = pack_record(key, entry.number, codec.definition.minor, sequence, kind, number, stored)
        if self.history:
            self.sequences.setdefault(key, []).append(sequence)
        if version_key(key, sequence) in self.history:
            self.history[version_key(key, sequence)] = record
        if key in self.objects:
            self.records[key] = record


class PutBack:
    """The work: entries that are still damaged get what the log has."""

    def __init__(self, last: LastVersions) -> None:
        self.task: trio.lowlevel.Task | None = None
        self._last = last

    def carry_out(self, writer: Writer) -> bool:
        assert self.task is not None
        changes = self._changes(writer)
        rides = bool(writer.log.group_frames)  # What is appended and not synced yet publishes it, too.
        writer.take({**changes, STATE: writer.applier.ends()})
        if not rides:
            writer.generations.publish(writer.generations.appended_number)
            _fold_now(writer)
        writer.answer(self.task, outcome.Value(None))
        return False

    def _changes(self, writer: Writer) -> TableChanges:
        source, applier, last = writer.generations.appended, writer.applier, self._last
        objects: dict[bytes, bytes | None] = {}
        for key in last.objects:
            wanted = last.records.get(key)
            standing = _intact(source, key)
            if standing is None or wanted is None or standing.sequence < unpack_record(key, wanted).sequence:
                objects[key] = wanted
        index: dict[bytes, bytes | None] = {}
        for key, owner in last.index.items():
            holders = (_value(source, INDEX, key), owner)  # who has a unique value keeps it
            index[key] = next(
                (each for each in holders if each and key in _entries(source, applier, objects, each, coming=True)),
                None,
            )
        for key in objects:
            index.update(dict.fromkeys(_entries(source, applier, objects, key, coming=False), key))
        feeds: dict[bytes, bytes | None] = {key: last.updates.get(key) for key in last.feeds}
        for (server_key, kind), state in applier.feeds.items():
            key, value = state_entry(server_key, kind, state)
            if key in feeds:
                feeds[key] = value
        changes: TableChanges = {OBJECTS: objects, INDEX: index, FEEDS: feeds}
        if last.history:
            changes[HISTORY] = versions_again(
                source, last.history, last.sequences, lambda key: _kept(source, applier, objects, key)
            )
        return changes


def _fold_now(writer: Writer) -> None:
    """Into the tables at once, over what is damaged there: scans meet that until then."""
    fold = writer._fold
    if not fold.pending:
        fold.freeze(writer.log.durable)
        writer._fold_wanted.set()


async def mend_tables(writer: Writer, findings: Sequence[Finding]) -> bool:
    """Put back what the findings name. False: the log has a hole, and cannot prove what they were."""
    last = LastVersions(writer.applier, findings)
    for _ in last.read(writer.log, until=writer.log.durable.position):
        await trio.lowlevel.checkpoint()
    if last.whole:
        await writer.do(PutBack(last))
        ended = writer._fold_ended
        if writer._fold.pending:
            with trio.move_on_after(FOLD_S):
                await ended.wait()
    return last.whole


def _intact(source: Source, key: bytes) -> Record | None:
    data = _value(source, OBJECTS, key)
    try:
        return None if data is None else unpack_record(key, data)
    except Damaged:
        return None


def _value(source: Source, table: str, key: bytes) -> bytes | None:
    try:
        return source.get(table, key)
    except Damaged:
        return None


def _kept(source: Source, applier: Applier, objects: dict[bytes, bytes | None], key: bytes) -> Kept | None:
    """What the class of an object keeps."""
    data = objects[key] if key in objects else _value(source, OBJECTS, key)
    try:
        return None if data is None else applier.registry.history(unpack_record(key, data).class_number)
    except Damaged:
        return None


def _entries(
    source: Source, applier: Applier, objects: dict[bytes, bytes | None], key: bytes, *, coming: bool
) -> list[bytes]:
    """The index entries of an object as it is, or will be; `coming`: of indexes that are being built as well."""
    data = objects[key] if key in objects else _value(source, OBJECTS, key)
    try:
        record = None if data is None else unpack_record(key, data)
    except Damaged:
        return []
    if record is None or record.deleted:
        return []
    entry = applier.registry.by_number(record.class_number)
    values: list[Any] = [] if entry is None else entry.codec.load_values(record.body)
    return [] if entry is None else entries(entry.indexes if coming else entry.usable, values, key)
