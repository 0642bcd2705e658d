"""Whether one entry of a table is what it should be, and agrees with the entries that belong to it (DESIGN D1).

    record   its checksum, class, owner and fields; its index entries are there and its own (a unique value has one
             object); its references to own objects lead to records, and where deletion is watched (R5) to objects
    index    the object that it leads to is there, and has that value
    history  the version's checksum, place, class and fields
    feed     the update can be read where the entry says, is that one, and follows the one before
    ends     no object and no transaction is beyond what the table `state` says

Each is asked of one entry at one `Moment`, so an entry and what it is compared with are of the same state, however
long the whole check takes. Damage of the *other* entry is left to its own turn. Which entries there are, and in which
order they are met, is `store.checking`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from identity.encoding import decode_integer_untrusted, encode_integer
from identity.errors import BangpathError, Damaged
from identity.names import END
from store.applying import _ENDS, ENDS_KEY, STATE
from store.findings import FROM_LOG, FROM_OTHERS, Finding, InTable, Report
from store.held_feeds import entry_key, read_update
from store.history import HISTORY, SEQUENCE_BYTES, is_missing, judge_version, version_key
from store.indexes import BLOBS, entries
from store.reading import FEEDS, INDEX, OBJECTS, Servers, Source, split_object_key
from store.records import KIND_NAMES, OWNED, Head, Record, Update, head_hash, unpack_record
from store.references import references_in
from store.registry import ClassEntry, Registry
from store.segments import Frame, Location


class Moment(NamedTuple):
    """The tables and what is known of them, at one moment."""

    source: Source
    registry: Registry
    servers: Servers

    def named(self, key: bytes) -> str:
        """An object as a person calls it; its key, where it is of nobody who is known."""
        try:
            server_key, number = split_object_key(key)
            return f"{self.servers.at(server_key)[0]}/{number}"
        except (BangpathError, IndexError):
            return key.hex()

    def owner(self, head: Head) -> bytes | None:
        """What keys of the objects of an update begin with."""
        return self.servers.key(head.server, head.incarnation)


class Judge:
    """Asks each entry; what it finds goes into `report`. `read` gives frames of the log."""

    def __init__(self, report: Report, read: Callable[[Location], Frame]) -> None:
        self._report = report
        self._read = read
        self._highest_object = self._highest_sequence = 0
        self._ends_seen = False

    # Without knowing the classes

    def count(self, moment: Moment, key: bytes, value: bytes) -> None:
        """The table's own checksum was right: more is not known of it."""
        self._report.count("entries")

    def record_alone(self, moment: Moment, key: bytes, data: bytes) -> None:
        """Its checksum."""
        self._report.count("records")
        try:
            unpack_record(key, data)
        except Damaged as error:
            self.find("record", key.hex(), error.cause, InTable(OBJECTS, key))

    # Records

    def record(self, moment: Moment, key: bytes, data: bytes) -> None:
        where = moment.named(key)
        place = InTable(OBJECTS, key)
        try:
            record = unpack_record(key, data)
            server_key, number = split_object_key(key)
            owner = moment.servers.at(server_key)[0]
        except Damaged as error:
            self._report.count("damaged records")
            self.find("record", where, error.cause, place)
            return
        kind = KIND_NAMES.get(record.kind, f"unknown ({record.kind})")
        self._report.count("tombstones" if record.deleted else f"{kind} records")
        entry = moment.registry.by_number(record.class_number)
        if entry is None:
            self.find("record", where, f"it is of class {record.class_number}, which is not known", place)
            return
        if record.kind not in KIND_NAMES or (record.kind == OWNED) != (server_key == END):
            self.find("record", where, f"it is marked {kind}, and its owner is {owner}", place)
            return
        if server_key == END:
            self._highest_object = max(self._highest_object, number)
            self._highest_sequence = max(self._highest_sequence, record.sequence)
        if record.deleted:
            return
        try:
            values = entry.codec.load_values(record.body)
            expected = entries(entry.usable, values, key)
        except Exception as error:
            self.find("record", where, f"its fields make no sense: {error!r}", place)
            return
        self._entries_of(moment, key, where, expected)
        if server_key == END:
            self._references_of(moment, where, entry, values)

    def _entries_of(self, moment: Moment, key: bytes, where: str, expected: list[bytes]) -> None:
        for each in expected:
            try:
                found = moment.source.get(INDEX, each)
            except Damaged as error:
                self.find("entry", f"{each.hex()} of table {INDEX}", error.cause, InTable(INDEX, each, key))
                continue
            if found is None:
                self.find("record", where, "its index entry is missing", InTable(INDEX, each, key))
            elif found != key:
                cause = f"its index entry is that of {moment.named(found)}"
                self.find("unique value", f"of {where}", cause, InTable(INDEX, each, key))

    def _references_of(self, moment: Moment, where: str, entry: ClassEntry, values: list[Any]) -> None:
        for position, _ in entry.codec.pointers:
            for reference in references_in(values[position]):
                if (reference.server, reference.incarnation) != moment.servers.own:
                    continue
                self._report.count("references")
                field = entry.definition.fields[position]
                target_key = END + encode_integer(reference.object)
                data = moment.source.get(OBJECTS, target_key)
                if data is None:
                    cause = f"field {field.name} leads to {reference}, which has neither record nor tombstone"
                    self.find("reference", f"from {where}", cause, InTable(OBJECTS, target_key))
                elif field.on_delete and _is_tombstone(target_key, data):
                    cause = f"field {field.name} leads to {reference}, which was deleted, and that is watched"
                    self._report.find(
                        Finding("reference", f"from {where}", cause, "point it elsewhere: `bangpath update`")
                    )

    # Index entries

    def index(self, moment: Moment, key: bytes, object_key: bytes) -> None:
        self._report.count("index entries")
        try:
            cause = self._index(moment, key, object_key)
        except Damaged:
            return
        except Exception as error:
            cause = f"it makes no sense: {error!r}"
        if cause:
            self.find("index entry", key.hex(), cause, InTable(INDEX, key))

    def _index(self, moment: Moment, key: bytes, object_key: bytes) -> str:
        class_number, _ = decode_integer_untrusted(key, 0)
        if moment.registry.by_number(class_number) is None and not key.startswith(BLOBS):
            return f"it is of class {class_number}, which is not known"
        data = moment.source.get(OBJECTS, object_key)
        if data is None:
            return f"it leads to {moment.named(object_key)}, which has no record"
        record = unpack_record(object_key, data)
        entry = moment.registry.by_number(record.class_number)
        if entry is None:
            return ""  # it is told of the record
        if moment.registry.is_leaving(class_number, key):
            return ""
        if record.deleted or key not in entries(entry.indexes, entry.codec.load_values(record.body), object_key):
            return f"{moment.named(object_key)} has no such value"
        return ""

    # Earlier versions

    def version(self, moment: Moment, key: bytes, data: bytes) -> None:
        self._report.count("earlier versions")
        try:
            cause = judge_version(moment.registry.by_number, key, data)
        except BangpathError as error:
            cause = error.cause
        except Exception as error:
            cause = f"it makes no sense: {error!r}"
        if cause:
            self._find_version(moment, key, cause)

    def replaced(self, moment: Moment, object_key: bytes, record: Record, sequence: int) -> None:
        """The log knows a version that is older than the `record` that stands."""
        entry = moment.registry.by_number(record.class_number)
        try:
            if entry is not None and is_missing(moment.source, object_key, sequence, entry.history):
                self._find_version(moment, version_key(object_key, sequence), "its class keeps it, and it is not there")
        except Damaged:
            return  # It is met again among the versions.

    def _find_version(self, moment: Moment, key: bytes, cause: str) -> None:
        sequence = int.from_bytes(key[-SEQUENCE_BYTES:], "big")
        where = f"of {moment.named(key[:-SEQUENCE_BYTES])} at {sequence}"
        self.find("earlier version", where, cause, InTable(HISTORY, key))

    # Feeds and the rest

    def feed(self, moment: Moment, key: bytes, value: bytes) -> None:
        self._report.count("feed entries")
        server_key, kind, number = key[:-9], key[-9], int.from_bytes(key[-8:], "big")
        where = key.hex()
        repair = FROM_LOG
        try:
            server, incarnation = moment.servers.at(server_key)
            where = f"{number} of {server}, feed {kind}" if number else f"the last of {server}, feed {kind}"
            cause = self._update(moment, (server, incarnation, kind, number), server_key, value)
        except BangpathError as error:
            cause = error.cause
            repair = FROM_OTHERS if "segment" in error.details else FROM_LOG
        except Exception as error:
            cause = f"it makes no sense: {error!r}"
        if cause:
            self._report.find(Finding("update", where, cause, repair, InTable(FEEDS, key)))

    def _update(self, moment: Moment, wanted: tuple[Any, ...], server_key: bytes, value: bytes) -> str:
        kind, number = wanted[2:]
        get = moment.source.get
        if number == 0:
            head = Head.from_bytes_untrusted(value[8:])
            there = get(FEEDS, entry_key(server_key, kind, head.number)) is not None
            return "" if there else f"update {head.number} is missing"
        head = Update.from_bytes_untrusted(read_update(value, kind, self._read)).head
        if (head.server, head.incarnation, head.kind, head.number) != wanted:
            return f"update {head.number} of {head.server} stands in its place"
        if head_hash(head.to_bytes()) != value[:32]:
            return "its head is not the one that was taken"
        ends = get(FEEDS, entry_key(server_key, kind, 0))
        if ends is None:
            return "the ends of its feed are missing"
        if number <= int.from_bytes(ends[:8], "big"):
            return ""
        before = get(FEEDS, entry_key(server_key, kind, number - 1))
        if before is None:
            return "the update before it is missing"
        return "" if before[:32] == head.previous else "it does not follow the update before it"

    def ends(self, moment: Moment, key: bytes, value: bytes) -> None:
        self._report.count("entries")
        if key != ENDS_KEY:
            return
        self._ends_seen = True
        number, next_object = _ENDS.unpack(value)
        if number < self._highest_sequence or next_object <= self._highest_object:
            cause = (
                f"it says transaction {number} and next object {next_object}, and there are "
                f"{self._highest_sequence} and {self._highest_object}"
            )
            self.find("entry", "of table state", cause, InTable(STATE, key))

    def after_all(self) -> None:
        """When every entry of every table was asked: one that must be there and was not met."""
        if self._highest_sequence and not self._ends_seen:
            self.find("entry", "of table state", "the ends of the log are missing", InTable(STATE, ENDS_KEY))

    def find(self, what: str, where: str, cause: str, place: InTable | None) -> None:
        """Something that the log can mend."""
        self._report.find(Finding(what, where, cause, FROM_LOG, place))


def _is_tombstone(key: bytes, data: bytes) -> bool:
    try:
        return unpack_record(key, data).deleted
    except Damaged:
        return False
