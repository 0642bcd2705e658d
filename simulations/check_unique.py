"""P1: of two living objects of one owner no two have one value in a unique field; and who is refused has a cause.

    1.1  update 7   1.1/4 {serial: 3}
         update 9   1.1/6 {serial: 3}         accused, unless 1.1/4 was deleted or had another serial by then
    1.2 asked of 1.1: create Item {serial: 3} (refused: 3 is taken by 1.1/4)
         1.1/4 had serial 3 at some moment between question and answer                            else accused

Looked at are what an owner signed, transaction by transaction; its own store, after each of its starts and in the end,
also when it came back in time, and whether it finds there what it has; what its mirrors hold in the end; and the rows
of one answer that are of one position.
Null is never unique. Which fields are, an owner's own class says: others may index theirs differently.

Not accused: hostile servers, rotten disks, mirrors of owners that are excused, refusals by an owner that went down
after it was asked (it may have seen a change that its disk never had), and transactions that contradict themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from simulations.check_commits import is_alike
from simulations.history import Outcome, Word
from simulations.promises import JudgingWords
from simulations.truth import fields_of, held_records, record_at
from store.reading import INDEX, split_object_key
from store.records import DATA

if TYPE_CHECKING:
    from simulations.ledger import Made
    from simulations.server import SimulatedServer
    from simulations.world import World
    from store.records import Leaf
    from store.registry import ClassEntry

SYNC_S = 10.0  # until a change that an owner refused another one for is durable: the slowest disks take less

Key = tuple[str, str, Any]  # class, field, value


class UniqueValues(JudgingWords):
    """No value of a unique field is had twice at one owner, or denied without a cause."""

    name = "unique values"
    promise = "P1"

    def __init__(self) -> None:
        super().__init__()
        self._numbers: dict[str, int] = {}  # owner -> the last update that was looked at
        self._holders: dict[str, dict[Key, int]] = {}
        self._keys: dict[str, dict[int, list[Key]]] = {}
        self._lives: dict[str, int] = {}
        self._any: dict[str, None] = {}  # owners who have something unique
        self._registries: dict[str, tuple[Any, bool]] = {}  # owner -> its classes, and whether any has a unique field

    def look(self, world: World) -> None:
        super().look(world)
        for (owner, kind), made in world.ledger.made.items():
            if kind == DATA and owner not in world.ledger.excused:
                self._follow(world, owner, made)
        for server in world.servers:
            if server.node is not None and self._lives.get(server.name) != server.lives:
                self._lives[server.name] = server.lives
                if server.name in self._any:
                    self._check_own(world, server)

    def finish(self, world: World) -> str:
        world.ledger.refresh()
        self.look(world)
        for server in world.servers:
            if server.node is not None and self._any:
                self._check_own(world, server)
                self._check_index(world, server)
                self._check_mirrored(world, server)
        return ""

    # -- what owners signed

    def _follow(self, world: World, owner: str, made: Mapping[int, Made]) -> None:
        server = world.server(owner)
        if server.node is None or not self._has_unique(server):  # when it is up again it knows its classes
            return
        number = self._numbers.get(owner, 0) + 1
        while number in made:
            entries = {leaf.fingerprint: entry_of(server, leaf.fingerprint) for leaf in made[number].leaves}
            if any(map(unique_names, entries.values())):
                self._any[owner] = None
            if owner in self._any:
                for leaves in _transactions(made[number]):
                    self._take(world, owner, number, leaves, entries)
            self._numbers[owner] = number
            number += 1

    def _has_unique(self, server: SimulatedServer) -> bool:
        registry = server.node.parts.database.registry  # a new one with each class
        known = self._registries.get(server.name)
        if known is None or known[0] is not registry:
            unique = any(not entry.hidden and unique_names(entry) for entry in registry)
            known = self._registries[server.name] = (registry, unique)
        return known[1]

    def _take(
        self, world: World, owner: str, number: int, leaves: list[Leaf], entries: Mapping[bytes, ClassEntry | None]
    ) -> None:
        holders, keys = self._holders.setdefault(owner, {}), self._keys.setdefault(owner, {})
        for leaf in leaves:
            for key in keys.pop(leaf.object, ()):
                holders.pop(key, None)
        for leaf in leaves:
            mine = list(_keys(entries[leaf.fingerprint], fields_of(world, leaf)))
            for key in mine:
                other = holders.setdefault(key, leaf.object)
                if other != leaf.object:
                    self.accuse(
                        world,
                        f"update {number} of {owner} has {_said(key)} for {owner}/{leaf.object}, and {owner}/{other} "
                        f"has it",
                    )
            if mine:
                keys[leaf.object] = mine

    # -- what servers have

    def _check_own(self, world: World, server: SimulatedServer) -> None:
        if world.ledger.is_hostile(server.name) or _has_rotted(world, server.name):
            return
        with server.node.view() as view:
            records = [(object, record_at(view, server, object)) for object in world.ledger.objects(server.name)]
            self._check_records(world, server, server.name, records)

    def _check_index(self, world: World, server: SimulatedServer) -> None:
        """That an owner finds what it has: else it will give the value to somebody else."""
        if server.name in world.ledger.excused or world.ledger.is_behind(server.name):
            return
        holders = self._holders.get(server.name, {})
        registry = server.node.parts.database.registry
        with server.node.view() as view:
            for key, object in holders.items():
                entry = registry.by_name(key[0])
                index = None if entry is None else entry.index_on(key[1])
                if index is None or not index.unique:
                    continue
                found = view.source.get(INDEX, index.unique_key(key[2]))
                if found is None or split_object_key(found)[1] != object:
                    has = "nothing" if found is None else f"{server.name}/{split_object_key(found)[1]}"
                    self.accuse(
                        world, f"{server.name}/{object} has {_said(key)}, and {server.name} finds {has} by that"
                    )

    def _check_mirrored(self, world: World, server: SimulatedServer) -> None:
        if world.ledger.is_hostile(server.name) or _has_rotted(world, server.name):
            return
        with server.node.view() as view:
            for owner in self._any:
                if owner != server.name and owner not in world.ledger.excused:
                    there = world.server(owner)
                    for _, known, incarnation, newest in list(view.servers.known()):
                        if known == there.server and newest:
                            self._check_records(world, server, owner, held_records(view, there, incarnation))

    def _check_records(
        self, world: World, server: SimulatedServer, owner: str, records: Iterable[tuple[int, Any]]
    ) -> None:
        holders: dict[Key, int] = {}
        registry = server.node.parts.database.registry
        for object, record in records:
            entry = None if record is None or record.deleted else registry.by_number(record.class_number)
            if entry is None:
                continue
            unique = unique_names(entry_of(world.server(owner), entry.definition.fingerprint))
            if not unique:
                continue
            fields = entry.codec.load_fields(record.body)
            for name in unique:
                key = (entry.definition.name, name, fields.get(name))
                other = holders.setdefault(key, object)
                if key[2] is not None and other != object:
                    self.accuse(world, f"{server.name} has {_said(key)} in {owner}/{other} and in {owner}/{object}")

    # -- what was told

    def concerns(self, word: Word) -> bool:
        if word.verb == "query":
            return word.outcome is Outcome.DONE
        return word.verb == "change" and word.outcome is Outcome.REFUSED and "taken_by" in _details(word)

    def judge(self, world: World, word: Word) -> bool:
        """Accuses, or says whether nothing is left to say."""
        if world.ledger.is_hostile(word.server):
            return True
        if word.verb == "query":
            self._judge_rows(world, word)
            return True
        return self._judge_refusal(world, word)

    def _judge_rows(self, world: World, word: Word) -> None:
        holders: dict[Any, Any] = {}
        for row in word.result.rows:
            owner = str(row.reference.server)
            if str(row.by or owner) in world.ledger.excused or owner in world.ledger.excused:
                continue
            for name in self._names(world, owner, row.class_name):
                value = row.fields.get(name)
                key = (owner, str(row.position), row.by, name, value)
                other = holders.setdefault(key, row.reference)
                if value is not None and other != row.reference:
                    said = _said((row.class_name, name, value))
                    self.accuse(world, f"{word}, and was told {said} of {other} and of {row.reference}")

    def _names(self, world: World, owner: str, class_name: str) -> tuple[str, ...]:
        server = world.server(owner)
        if owner not in self._any or server.node is None:
            return ()
        registry = server.node.parts.database.registry
        return unique_names(registry.by_name(class_name))

    def _judge_refusal(self, world: World, word: Word) -> bool:
        ledger, owner = world.ledger, word.owner
        if owner in ledger.excused:
            return True
        server = world.server(owner)
        if server.node is None or ledger.is_behind(owner):
            return False
        if any(each.kind == "start" and each.servers == (owner,) and each.at >= word.begin_s for each in world.marks):
            return True
        details = _details(word)
        holder, field = int(str(details["taken_by"]).rpartition("/")[2]), str(details["field"])
        wished = [each.fields[field] for each in word.operations if each.fields.get(field) is not None]
        if len(set(map(str, wished))) < len(wished) or any(
            self._had(world, word, holder, field, each) for each in wished
        ):
            return True
        if world.now < word.end_s + SYNC_S:
            return False
        versions = ledger.versions(owner, holder)
        if versions or not _may_be_private(server, word):
            had = [(fields_of(world, each.leaf) or {}).get(field) for each in versions[-5:]]
            self.accuse(world, f"{word}; but {owner}/{holder} had no such {field} then, but {had}")
        return True

    def _had(self, world: World, word: Word, object: int, field: str, value: Any) -> bool:
        """Whether an object had this value at some moment between question and answer."""
        ledger = world.ledger
        made = ledger.made.get((word.owner, DATA), {})
        versions = ledger.versions(word.owner, object)
        for version, following in zip_longest(versions, versions[1:]):
            fields = fields_of(world, version.leaf) or {}
            if fields.get(field) is None or not is_alike(fields[field], value):
                continue
            begins = made.get(version.number)
            ends = None if following is None else made.get(following.number)
            if (begins is None or begins.at <= word.end_s + SYNC_S) and (ends is None or ends.tick >= word.begin):
                return True
        return False


def entry_of(server: SimulatedServer, fingerprint: bytes) -> ClassEntry | None:
    """A class as this server knows it; None while it is down."""
    if server.node is None:
        return None
    entry: ClassEntry | None = server.node.parts.database.registry.by_fingerprint(fingerprint)
    return entry


def unique_names(entry: ClassEntry | None) -> tuple[str, ...]:
    """The unique fields of a class."""
    return () if entry is None else tuple(index.name for index in entry.indexes if index.unique)


def _keys(entry: ClassEntry | None, fields: Mapping[str, Any] | None) -> Iterator[Key]:
    if entry is not None and fields:
        for name in unique_names(entry):
            if fields.get(name) is not None:
                yield entry.definition.name, name, fields[name]


def _transactions(made: Made) -> Iterator[list[Leaf]]:
    """The leaves of each, the earliest first."""
    by_sequence: dict[int, list[Leaf]] = {}
    for leaf in made.leaves:
        by_sequence.setdefault(leaf.sequence, []).append(leaf)
    yield from (by_sequence[sequence] for sequence in sorted(by_sequence))


def _details(word: Word) -> Mapping[str, Any]:
    return getattr(word.error, "details", {})


def _may_be_private(server: SimulatedServer, word: Word) -> bool:
    """Whether it asked for objects of a class that is in no feed, or of one that it does not name."""
    entries = (server.node.parts.database.registry.by_name(each.class_name) for each in word.operations)
    return any(entry is None or entry.definition.privacy == "private" for entry in entries)


def _has_rotted(world: World, name: str) -> bool:
    return any(mark.kind == "disk" and mark.text == "rot" and mark.servers == (name,) for mark in world.marks)


def _said(key: Key) -> str:
    return f"{key[1]} {key[2]!r} of {key[0]}"
