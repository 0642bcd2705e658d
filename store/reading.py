"""Reading objects: of a view of what is durable, or, below a transaction, of what is appended.

    reference  ->  object key (server number, object)  ->  record, checksum verified  ->  fields  ->  Stored

    Servers     who the server numbers in keys and records are; grows with the object of `KnownServer` that says so
    Source      where bytes come from: a view of the generations, or a transaction's own writes above one
    Reader      objects from a source, by reference, by question, by index
    View        a reader of one durable moment, for everyone outside; expires after 30 s (DESIGN T2)

A record that is not what was written raises `Damaged`, and so does an index entry without its record: that is never
reported as absence (T4). Objects of hidden classes are seen by those only who name the class inside the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from identity.encoding import MAX_INTEGER, encode_integer
from identity.errors import Damaged, Refused
from identity.names import END, Incarnation, ObjectId, Pattern, Reference, ServerId
from store.completing import complete
from store.definitions import ClassDefinition
from store.explaining import CountingSource, Explained
from store.generations import View as GenerationsView
from store.majors import select_named
from store.query import Question
from store.records import CACHED, KIND_NAMES, OWNED, Record, Stored, unpack_record
from store.registry import CLASS, FIRST_USER_NUMBER, SERVER, SETTING, ClassEntry, Registry
from store.roots import root_of

SHORT = 1 << 31  # extensible integers below it have four bytes (DESIGN N1)
OBJECTS, INDEX, FEEDS = "objects", "index", "feeds"
_new_tuple = tuple.__new__  # a named tuple without the call of its own
Target = Reference | tuple[ServerId | None, ObjectId]


class Source(Protocol):
    """Ordered tables of bytes."""

    def get(self, table: str, key: bytes) -> bytes | None: ...

    def scan(
        self, table: str, low: bytes = b"", high: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]: ...


class Servers:
    """The servers that records speak of, by number; 0 is this one. Shared by all readers, for it only grows."""

    def __init__(self, server: ServerId, incarnation: int) -> None:
        self.server = server
        self.incarnation = incarnation
        self.own_prefix = server.ended + encode_integer(incarnation)
        self._by_key: dict[bytes, tuple[ServerId, int]] = {END: (server, incarnation)}
        self._keys: dict[tuple[ServerId, int], bytes] = {(server, incarnation): END}
        self._newest: dict[ServerId, int] = {server: incarnation}
        self._newest_keys: dict[ServerId | None, bytes] = {None: END, server: END}

    def add(self, number: int, server: ServerId, incarnation: int) -> None:
        """`number` is the object of `KnownServer` that names it."""
        key = encode_integer(number)
        self._by_key[key] = (server, incarnation)
        self._keys[server, incarnation] = key
        if server != self.server:
            newest = self._newest[server] = max(incarnation, self._newest.get(server, 0))
            self._newest_keys[server] = self._keys[server, newest]

    @property
    def own(self) -> tuple[ServerId, int]:
        """This server and its incarnation."""
        return self.server, self.incarnation

    def key(self, server: ServerId, incarnation: int) -> bytes | None:
        """What the object keys of this owner begin with; None: no object of it was ever here."""
        return self._keys.get((server, incarnation))

    def newest_key(self, server: ServerId | None) -> bytes | None:
        """The same for the newest incarnation known here; of None this server's own."""
        return self._newest_keys.get(server)

    def at(self, server_key: bytes) -> tuple[ServerId, int]:
        """Whose keys begin with it. Raises `Damaged` for a number that nobody was given."""
        found = self._by_key.get(server_key)
        if found is None:
            raise Damaged(f"server number {server_key.hex()} is not known", next_step="restore a backup of this server")
        return found

    def newest(self, server: ServerId | None) -> int | None:
        """The newest incarnation known here; None: unknown."""
        return self._newest.get(self.server if server is None else server)

    def resolve(self, server: ServerId | None) -> tuple[ServerId, int]:
        """Whom a reference in text means; incarnation 0 of a server that is not known, which matches nothing."""
        named = self.server if server is None else server
        return named, self._newest.get(named, 0)

    def known(self) -> Iterable[tuple[bytes, ServerId, int, bool]]:
        """Key, server, incarnation, and whether that is the newest one known."""
        for key, (server, incarnation) in self._by_key.items():
            yield key, server, incarnation, self._newest.get(server) == incarnation


def split_object_key(object_key: bytes) -> tuple[bytes, int]:
    """The server's part and the object, of a key that this server wrote."""
    cut = 8 if object_key[0] & 0x80 else 4
    number = object_key[cut:]
    if len(number) == 4:  # two extensible integers (DESIGN N1); a read spends a tenth of its time here otherwise
        return object_key[:cut], int.from_bytes(number, "big")
    return object_key[:cut], int.from_bytes(number, "big") & MAX_INTEGER


class Reader:
    """Objects from one source."""

    def __init__(self, source: Source, registry: Registry, servers: Servers) -> None:
        self.source = source
        self.registry = registry
        self.servers = servers

    @property
    def unnoted(self) -> Source:
        """For reads that no answer depends on: a transaction does not conflict over them."""
        return self.source

    def object_key(self, target: Target) -> bytes | None:
        """None: nothing of that owner was ever here. Raises `Refused` for object 0."""
        number = target[-1]
        if isinstance(target, Reference):
            server_key = self.servers.key(target.server, target.incarnation)
        else:
            server_key = self.servers.newest_key(target[0])
        if 1 <= number < SHORT:  # a read spends its time in calls
            return None if server_key is None else server_key + number.to_bytes(4, "big")
        if number < 1:
            raise Refused(f"{number} is no object; they are numbered from 1")
        return None if server_key is None else server_key + encode_integer(number)

    def record(self, object_key: bytes) -> Record | None:
        """The record under a key, verified; also a tombstone."""
        data = self.source.get(OBJECTS, object_key)
        return None if data is None else unpack_record(object_key, data)

    def entry_of(self, object_key: bytes, record: Record) -> ClassEntry:
        entry = self.registry.by_number(record.class_number)
        if entry is None:
            raise Damaged(
                f"the record under {object_key.hex()} is of class {record.class_number}, which is not known",
                next_step="restore a backup of this server",
            )
        return entry

    def stored(self, object_key: bytes, record: Record, entry: ClassEntry, fields: dict[str, Any]) -> Stored:
        server_key, number = split_object_key(object_key)
        server, incarnation = self.servers.at(server_key)
        of = entry.definition
        if record.kind == OWNED:
            reference = Reference(server, Incarnation(incarnation), ObjectId(number))
            return Stored(
                reference, of.name, record.sequence, fields, "owned", record.number, 0, of.major, of.fingerprint
            )
        cached = record.kind == CACHED
        return Stored(
            Reference(server, Incarnation(incarnation), ObjectId(number)),
            of.name,
            record.sequence,
            fields,
            KIND_NAMES[record.kind],
            0 if cached else record.number,
            record.number if cached else 0,
            of.major,
            of.fingerprint,
        )

    def read(self, object_key: bytes) -> Stored | None:
        """The object under a key, whatever its class; None for a tombstone or for nothing."""
        record = self.record(object_key)
        if record is None or record.deleted:
            return None
        entry = self.entry_of(object_key, record)
        return self.stored(object_key, record, entry, entry.codec.load_fields(record.body))

    def get(self, target: Target) -> Stored | None:
        """The object, or None: nothing of that name is here. Only of own ones does that mean there is none."""
        object_key = self.object_key(target)
        record = None if object_key is None else self.record(object_key)
        if record is None or not record.body:
            return None
        assert object_key is not None
        entry = self.entry_of(object_key, record)
        if entry.hidden:
            return None
        return self.stored(object_key, record, entry, entry.codec.load_fields(record.body))

    def class_of(self, stored: Stored) -> ClassDefinition:
        """The definition of an object's class, of the several that may have its name."""
        entry = self.registry.by_fingerprint(stored.fingerprint)
        return self.registry.definition(stored.class_name) if entry is None else entry.definition

    def select(self, question: Question, *, servers: Pattern | None = None) -> Iterator[Stored]:
        """The objects held here that answer it, in its order. Raises `Refused`, naming class or field."""
        for batch in self.select_batches(question, servers=servers):
            yield from batch

    def select_batches(
        self, question: Question, *, servers: Pattern | None = None, size: int = 512
    ) -> Iterator[list[Stored]]:
        """The same, `size` rows at a time, so that a loop may let others run between."""
        return select_named(self, self.registry.named(question.class_name), question, servers, size)

    def explain(self, question: Question, *, servers: Pattern | None = None) -> Explained:
        """How that question is answered here: chosen now, measured while its `batches` are read. Raises `Refused`."""
        counting = CountingSource(self.unnoted)
        reader = Reader(counting, self.registry, self.servers)
        return Explained(reader, counting, self.registry.named(question.class_name), question, servers)

    def complete(
        self,
        class_name: str,
        field: str,
        prefix: Any = "",
        *,
        limit: int = 20,
        servers: Pattern | None = None,
        shows: Callable[[Stored], bool] = lambda _: True,
    ) -> list[Any]:
        """The first `limit` different values, in order, that objects held here have in `field` and that begin so.

        Of a list its elements. Raises `Refused`, naming the field, when no index begins with it.
        """
        return complete(self, self.registry.named(class_name), field, prefix, limit, servers, shows)

    @property
    def root(self) -> Stored | None:
        """The root object of this store, or None (`store.roots`)."""
        return root_of(self)

    def get_setting(self, key: str) -> Any:
        """What `Transaction.put_setting` kept under `key`; None: nothing."""
        return read_setting(self, key)

    def find_internal(self, entry: ClassEntry, field: str, value: Any) -> Stored | None:
        """The own object of a class whose unique field has this value."""
        index = entry.index_on(field)
        assert index is not None
        assert index.unique
        object_key = self.source.get(INDEX, index.unique_key(value))
        return None if object_key is None else self.read(object_key)

    def all_of(self, entry: ClassEntry) -> Iterator[Stored]:
        """Every object of a class, in no promised order."""
        low, high = entry.extent.whole_range()
        for _, object_key in self.source.scan(INDEX, low, high):
            stored = self.read(object_key)
            if stored is not None:
                yield stored


class View(Reader):
    """One durable moment. Use it in a with-statement, or close it; after 30 s reads raise `SnapshotExpired`."""

    def __init__(self, view: GenerationsView, registry: Registry, servers: Servers) -> None:
        super().__init__(view, registry, servers)
        self._view = view

    def get(self, target: Target) -> Stored | None:
        """As `Reader.get`. In one function, for nearly all reads are these, and calls took a third of their time."""
        number, servers = target[-1], self.servers
        server_key = servers._newest_keys.get(target[0]) if len(target) == 2 else servers._keys.get(target[:2])
        if server_key is None or not 1 <= number < SHORT:
            return super().get(target)
        object_key = server_key + number.to_bytes(4, "big")
        data = self._view.get(OBJECTS, object_key)
        if data is None:
            return None
        record = unpack_record(object_key, data)
        if not record.body:
            return None
        entry = self.registry.by_number(record.class_number)
        if entry is None or record.kind != OWNED or entry.number < FIRST_USER_NUMBER:
            return super().get(target)
        server, incarnation = servers._by_key[server_key]
        of = entry.definition
        return Stored(
            _new_tuple(Reference, (server, incarnation, number)),
            of.name,
            record.sequence,
            entry.codec.load_fields(record.body),
            "owned",
            record.number,
            0,
            of.major,
            of.fingerprint,
        )

    @property
    def number(self) -> int:
        """Of the commit up to which this view sees; grows within one run of the server."""
        return self._view.number

    def definition(self, class_name: str) -> ClassDefinition:
        """That of the class that leads of its name. Raises `Refused` for one that is not known here."""
        return self.registry.definition(class_name)

    def definitions(self, class_name: str) -> list[ClassDefinition]:
        """Those of all classes of that name, the one that leads first. Raises `Refused` as `definition`."""
        return [each.definition for each in self.registry.named(class_name)]

    def incarnation_of(self, server: ServerId) -> int | None:
        """The newest incarnation of a server of which something is held here."""
        return self.servers.newest(server)

    def settings(self, prefix: str = "") -> dict[str, Any]:
        """What `Transaction.put_setting` kept, by key in order: those keys that begin with `prefix`."""
        entry = self.registry.by_number(SETTING)
        assert entry is not None
        found = {each.fields["key"]: (each.fields["value"] or [None])[0] for each in self.all_of(entry)}
        return {key: value for key, value in found.items() if key.startswith(prefix)}

    def registry_objects(self, class_name: str) -> Iterator[Stored]:
        """All objects of `Class` or `Server`, own and others'. Raises `Refused` for another class."""
        entry = self.registry.entry(class_name)
        if entry.number not in (CLASS, SERVER):
            raise Refused(f"{class_name} is no class of the registry feed", next_step="ask for Class or Server")
        return self.all_of(entry)

    def close(self) -> None:
        self._view.close()

    def __enter__(self) -> View:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_setting(reader: Reader, key: str) -> Any:
    """The value kept under `key`, or None."""
    entry = reader.registry.by_number(SETTING)
    assert entry is not None
    stored = reader.find_internal(entry, "key", key)
    return None if stored is None else (stored.fields["value"] or [None])[0]
