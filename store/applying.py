"""From checked changes to table entries: the one way for live commits and for replay, so that both give the same.

    Transaction ----.                                  objects   record, or a tombstone; history  the one before it
    Update ---------+-->  Applier  -->  changes of     index     entries gone, entries come
    copies ---------+        |                         feeds     where updates lie, ends of feeds
    frames of log --'        |                         state     transaction number, next object
                        state it keeps in memory: classes, servers, next object, transaction number, ends of feeds

Live, index keys are known from the transaction; in replay they are computed from the version before. What a class
object or a known server changes in the state happens here too, so that a frame later in the same group finds it.

Left to others: whether another's update can be taken (`store.foreign`), when and in which group (`store.database`),
bytes of frames (`store.frame_parts`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

from identity.encoding import decode_integer_untrusted, encode_integer
from identity.errors import Damaged, Exhausted
from identity.names import END, Incarnation, Position, ServerId
from store.building import SETTING_PREFIX
from store.frame_parts import CopyChange, LocalChange
from store.held_feeds import FeedState, foreign_entry, own_entry, read_states, state_entry
from store.history import HISTORY, HISTORY_PREFIX, keep_version
from store.indexes import entries, let_go
from store.keys import prefix_range
from store.learning import Learning
from store.reading import FEEDS, INDEX, OBJECTS, Source
from store.records import (
    CACHED,
    DATA,
    DELETE,
    MIRRORED,
    OWNED,
    PUT,
    REGISTRY,
    Leaf,
    Record,
    Seal,
    Update,
    head_hash,
    pack_leaf_fields,
    pack_record,
    unpack_record,
)
from store.registry import (
    CLASS,
    FIRST_USER_NUMBER,
    KNOWN_CLASS,
    KNOWN_SERVER,
    SETTING,
    ClassEntry,
)
from store.segments import Location
from store.transaction import Transaction

if TYPE_CHECKING:
    from store.collecting import Collection
    from store.temporary import Session

TableChanges = dict[str, dict[bytes, bytes | None]]
STATE, ENDS_KEY = "state", b"ends"
_ENDS = struct.Struct(">QQ")  # transaction number, next object


class ForeignPut(NamedTuple):
    """One leaf of another's update, understood. `values` None: a deletion."""

    leaf: Leaf
    entry: ClassEntry
    values: list[Any] | None


class Applier(Learning):
    """Turns work into table changes, and keeps what must be known to do so. `source` gives the appended state."""

    def __init__(self, server: ServerId, incarnation: int, source: Callable[[], Source]) -> None:
        super().__init__(server, incarnation, source)
        self.next_object = FIRST_USER_NUMBER
        self.epoch = 0  # of this run, once it has begun
        self.number = 0  # of the last transaction, store-wide
        self.feeds: dict[tuple[bytes, int], FeedState] = {}
        self.gained: dict[int, int] = {OWNED: 0, MIRRORED: 0, CACHED: 0}  # objects of users' classes since opening
        self.adopting = False  # whether own updates are taken from others: this store came back in time
        self.collection: Collection | None = None  # that is under way
        self.sessions: WeakSet[Session] = WeakSet()  # of temporary objects

    @property
    def appended(self) -> Source:
        """The newest state, durable or not."""
        return self._source()

    def allocate(self) -> int:
        """The next object of this server."""
        number = self.next_object
        self.next_object = number + 1
        return number

    # Own transactions

    def own(
        self, transaction: Transaction, number: int, salts: Callable[[], bytes]
    ) -> tuple[tuple[list[bytes], list[bytes]], list[LocalChange], TableChanges]:
        """Leaves by feed kind, private changes, table changes of a transaction that is appended as `number`."""
        leaves: tuple[list[bytes], list[bytes]] = ([], [])
        local: list[LocalChange] = []
        objects: dict[bytes, bytes | None] = {}
        index: dict[bytes, bytes | None] = {}
        history: dict[bytes, bytes | None] = {}
        for change in transaction.changes.values():
            entry = change.entry
            stored = change.stored
            update = 0
            if entry.feed is None:
                local.append(LocalChange(PUT if stored else DELETE, change.number, entry.number, stored))
            else:
                if self.adopting:
                    raise Exhausted(
                        f"{self.servers.server} came back from a backup, and first learns what it had signed since",
                        next_step="try again when its neighbours have been reached",
                    )
                update = self.next_update(entry.feed)
                leaves[entry.feed].append(
                    pack_leaf_fields(
                        PUT if stored else DELETE, change.number, number, entry.definition.fingerprint, salts(),
                        change.request, change.wire,
                    )
                )  # fmt: skip
            key = change.object_key
            if entry.history is not None:
                self._keep(objects, history, key, entry)
            objects[key] = pack_record(
                key, entry.number, entry.own_codec.definition.minor, number, OWNED, update, stored
            )
            if change.before_keys:
                let_go(index, change.before_keys, key)
            for after in change.after_keys:
                index[after] = key
            self._count(entry, OWNED, bool(stored) - change.existed)
            if entry.number < FIRST_USER_NUMBER:
                self._learn(entry.number, change.number, stored, index)
        if self.collection is not None:
            self.collection.note(objects)
        self.number = number
        return leaves, local, _with_history({OBJECTS: objects, INDEX: index}, history)

    def own_again(self, leaves: Sequence[Leaf], local: Sequence[LocalChange], number: int) -> TableChanges:
        """The same from a frame of the log: private changes first, for they name classes."""
        objects: dict[bytes, bytes | None] = {}
        index: dict[bytes, bytes | None] = {}
        history: dict[bytes, bytes | None] = {}
        for change in local:
            entry = self._known(change.class_number)
            self._put_again(objects, index, history, change.object, entry, number, 0, change.body)
        for leaf in leaves:
            found = self.registry.by_fingerprint(leaf.fingerprint)
            if found is None:
                raise Damaged(
                    f"object /{leaf.object} is of class {leaf.fingerprint.hex()}, which no frame before defines"
                )
            stored = found.codec.store(leaf.body) if leaf.body else b""
            update = self.next_update(found.feed if found.feed is not None else DATA)
            self._put_again(objects, index, history, leaf.object, found, number, update, stored)
        self.number = number
        return _with_history({OBJECTS: objects, INDEX: index}, history)

    def sealed(self, seal: Seal, locations: Sequence[Location], epoch: int) -> dict[bytes, bytes | None]:
        """Entries of `feeds` for an own update whose leaves lie at these places, of this epoch."""
        digest = head_hash(seal.head)
        key, value = own_entry(seal, digest, locations)
        return {key: value, **self._advance(END, seal.kind, seal.number, epoch, digest, seal.head)}

    def ends(self) -> dict[bytes, bytes | None]:
        """The entry of table `state`: what the last group has reached."""
        return {ENDS_KEY: _ENDS.pack(self.number, self.next_object)}

    def next_update(self, kind: int) -> int:
        """The number of the own update that the group in the making will be."""
        state = self.feeds.get((END, kind))
        return 1 if state is None else state.last + 1

    def expected_positions(self) -> dict[int, Position]:
        """The own updates that will carry what is appended now, by kind of feed."""
        servers = self.servers
        incarnation = Incarnation(servers.incarnation)
        return {
            kind: Position(servers.server, incarnation, self.epoch, self.next_update(kind)) for kind in (REGISTRY, DATA)
        }

    # Updates of others

    def foreign(
        self,
        update: Update,
        local: Sequence[LocalChange],
        understand: list[ForeignPut] | Callable[[], list[ForeignPut]],
        number: int,
        location: Location,
    ) -> TableChanges:
        """Table changes of an update that is at `location` as transaction `number`.

        Its leaves, understood; in replay a function that does so when the classes in `local` are known.
        """
        objects: dict[bytes, bytes | None] = {}
        index: dict[bytes, bytes | None] = {}
        history: dict[bytes, bytes | None] = {}
        for change in local:
            entry = self._known(change.class_number)
            self._put_again(objects, index, history, change.object, entry, number, 0, change.body)
        head = update.head
        server_key = self.servers.key(head.server, head.incarnation)
        if server_key is None:
            raise Damaged(f"update {head.number} of {head.server}, which no frame before names")
        puts = understand() if callable(understand) else understand
        for leaf, entry, values in puts:
            if server_key == END:  # adopted: this server signed it, and had forgotten it
                own = entry.codec.store(leaf.body) if values is not None else b""
                self._put_again(objects, index, history, leaf.object, entry, leaf.sequence, head.number, own)
                continue
            object_key = server_key + encode_integer(leaf.object)
            after: list[bytes] = []
            stored = b""
            if values is not None:
                stored = entry.codec.store(leaf.body)
                after = entries(entry.indexes, values, object_key)
            self._replace(
                objects, index, object_key, entry, MIRRORED, after,
                pack_record(
                    object_key, entry.number, entry.definition.minor, leaf.sequence, MIRRORED, head.number, stored
                ),
            )  # fmt: skip
        if self.collection is not None:
            self.collection.note(objects)
        head_bytes = head.to_bytes()
        digest = head_hash(head_bytes)
        key, value = foreign_entry(server_key, head.kind, head.number, digest, location)
        self.number = number
        advance = self._advance(server_key, head.kind, head.number, head.epoch, digest, head_bytes)
        return _with_history({OBJECTS: objects, INDEX: index, FEEDS: {key: value, **advance}}, history)

    # Copies of single objects

    def copies(self, copies: Sequence[CopyChange]) -> TableChanges:
        """Table changes of cached copies that came or went."""
        objects: dict[bytes, bytes | None] = {}
        index: dict[bytes, bytes | None] = {}
        for copy in copies:
            entry = self._known(copy.class_number)
            key = copy.object_key
            after: list[bytes] = []
            record = None
            if copy.body:
                after = entries(entry.indexes, entry.codec.load_values(copy.body), key)
                record = pack_record(
                    key, entry.number, entry.definition.minor, copy.sequence, CACHED, copy.received_ms, copy.body
                )
            self._replace(objects, index, key, entry, CACHED, after, record)
        if self.collection is not None:
            self.collection.note(objects)
        return {OBJECTS: objects, INDEX: index}

    # Opening

    def load(self) -> None:
        """What the tables say of the state, before anything is replayed."""
        source = self._source()
        ends = source.get(STATE, ENDS_KEY)
        if ends is not None:
            self.number, self.next_object = _ENDS.unpack(ends)
        unused: dict[bytes, bytes | None] = {}
        for number in (KNOWN_SERVER, KNOWN_CLASS, CLASS):
            entry = self._known(number)
            low, high = entry.extent.whole_range()
            for _, key in source.scan(INDEX, low, high):
                data = source.get(OBJECTS, key) if key.startswith(END) else None
                if data is not None:
                    object_number = decode_integer_untrusted(key, len(END))[0]
                    self._learn(number, object_number, unpack_record(key, data).body, unused)
        settings = self._known(SETTING).index_on("key")
        assert settings is not None
        for prefix in (SETTING_PREFIX, HISTORY_PREFIX):
            low, high = (settings.prefix + bound for bound in prefix_range(prefix))
            for _, key in source.scan(INDEX, low, high):
                data = source.get(OBJECTS, key)
                if data is not None:
                    self._learn(SETTING, 0, unpack_record(key, data).body, unused)
        for server_key, kind, state in read_states(lambda low: source.scan(FEEDS, low)):
            self.feeds[server_key, kind] = state

    # What the above is made of

    def _put_again(
        self,
        objects: dict[bytes, bytes | None],
        index: dict[bytes, bytes | None],
        history: dict[bytes, bytes | None],
        object_number: int,
        entry: ClassEntry,
        number: int,
        update: int,
        stored: bytes,
    ) -> None:
        key = END + encode_integer(object_number)
        after = entries(entry.indexes, entry.codec.load_values(stored), key) if stored else []
        record = pack_record(key, entry.number, entry.own_codec.definition.minor, number, OWNED, update, stored)
        if entry.history is not None:
            self._keep(objects, history, key, entry)
        self._replace(objects, index, key, entry, OWNED, after, record)
        if object_number >= self.next_object:
            self.next_object = object_number + 1
        if entry.number < FIRST_USER_NUMBER:
            self._learn(entry.number, object_number, stored, index)

    def _replace(
        self,
        objects: dict[bytes, bytes | None],
        index: dict[bytes, bytes | None],
        key: bytes,
        entry: ClassEntry,
        kind: int,
        after: list[bytes],
        record: bytes | None,
    ) -> None:
        """One object's record and index entries in place of those that stand."""
        before = self.standing(objects, key)
        if before is not None and before.body:
            old = self._known(before.class_number)
            let_go(index, entries(old.indexes, old.codec.load_values(before.body), key), key)
            self._count(old, before.kind, -1)
        for entry_key in after:
            index[entry_key] = key
        if after:
            self._count(entry, kind, 1)
        objects[key] = record

    def _keep(
        self,
        objects: dict[bytes, bytes | None],
        history: dict[bytes, bytes | None],
        key: bytes,
        entry: ClassEntry,
    ) -> None:
        """The version of an own object that is about to be replaced goes where its class keeps them."""
        assert entry.history is not None
        source = self._source()
        keep_version(source, history, key, objects[key] if key in objects else source.get(OBJECTS, key), entry.history)

    def standing(self, objects: dict[bytes, bytes | None], key: bytes) -> Record | None:
        """What stands under a key, in the appended state with `objects` above it; a tombstone too."""
        data = objects[key] if key in objects else self._source().get(OBJECTS, key)
        return None if data is None else unpack_record(key, data)

    def _advance(
        self, server_key: bytes, kind: int, number: int, epoch: int, digest: bytes, head: bytes
    ) -> dict[bytes, bytes | None]:
        """The feed's ends with one more update, whose signed part and its hash these are."""
        before = self.feeds.get((server_key, kind))
        state = FeedState(number if before is None else before.first, number, epoch, digest, head)
        self.feeds[server_key, kind] = state
        key, value = state_entry(server_key, kind, state)
        return {key: value}

    def _count(self, entry: ClassEntry, kind: int, gained: int) -> None:
        if gained and entry.number >= FIRST_USER_NUMBER:
            self.gained[kind] += gained


def _with_history(changes: TableChanges, history: dict[bytes, bytes | None]) -> TableChanges:
    """That table too, when there is something for it."""
    if history:
        changes[HISTORY] = history
    return changes
