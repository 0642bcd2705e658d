"""P3: a mirror shows a prefix of its owner's history, at all times; and the whole of it once everybody is well again.

    1.1        1  2  3  4  5  6            what the owner made
    1.2 holds  1  2  3  4                  so its copies are those after update 4: the same objects, sequences, bodies,
                                           and nothing else
    in the end 1  2  3  4  5  6            (`Converged`)

Looked at whenever updates became durable at a mirror: the objects they changed; every ten seconds, after each start and
in the end: all.
Nothing is said of owners that are excused: of two branches of one history nobody can say which is the prefix. But of
one that was restored from a backup, `Converged` asks what its mirrors lack where they are on its branch.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from identity.errors import Damaged
from replication.messages import FeedId
from simulations.promises import Watching
from simulations.truth import fields_of, held_record, held_records
from store.records import CACHED, DATA, FEED_NAMES, REGISTRY, Record
from store.registry import FIRST_USER_NUMBER

if TYPE_CHECKING:
    from simulations.ledger import Version
    from simulations.server import SimulatedServer
    from simulations.world import World


ALL_EVERY_S = 10.0  # virtual seconds


class MirrorsArePrefixes(Watching):
    """What a mirror holds is what its owner had after the update that the mirror holds last."""

    name = "mirrors are prefixes"
    promise = "P3"

    def __init__(self) -> None:
        self._taken = 0
        self._at = 0.0

    def look(self, world: World) -> None:
        started = world.ledger.refresh()
        taken = world.ledger.taken
        touched: dict[tuple[str, str], dict[int, None]] = {}
        for each in taken[self._taken :]:
            if each.kind == DATA:
                touched.setdefault((each.holder, each.owner), {}).update(dict.fromkeys(each.objects))
        self._taken = len(taken)
        if world.now - self._at >= ALL_EVERY_S:
            self._at = world.now
            started = [each.name for each in world.servers]
        for name in started:
            self._check_all(world, world.server(name))
        for (holder, owner), objects in touched.items():
            if holder not in started:
                self._check_some(world, world.server(holder), world.server(owner), objects)

    def finish(self, world: World) -> str:
        self.look(world)
        for server in world.servers:
            self._check_all(world, server)
        return ""

    def _check_all(self, world: World, holder: SimulatedServer) -> None:
        """Every object of every owner, and that there is nothing else."""
        for owner in world.servers:
            if owner is holder or (holder.name, owner.name, DATA) not in world.ledger.held:
                continue
            self._check_some(world, holder, owner, world.ledger.objects(owner.name), whole=True)

    def _check_some(
        self, world: World, holder: SimulatedServer, owner: SimulatedServer, objects: Iterable[int], whole: bool = False
    ) -> None:
        ledger = world.ledger
        if holder.node is None or owner.name in ledger.excused or is_beyond(world, holder.name):
            return
        if not holder.node.parts.mirroring.keeps(owner.server):
            return  # it kept them once; copies that are asked for one by one may be newer than the rest
        number = ledger.held[holder.name, owner.name, DATA]
        if number > ledger.last(owner.name):
            return  # the owner is down, and what it made last is not known yet
        with holder.node.view() as view:
            incarnation = view.incarnation_of(owner.server) or 0  # its registry feed may come later than its data
            for object in objects:
                version = ledger.version(owner.name, object, number)
                self._compare(world, holder, owner, object, version, held_record(view, owner, incarnation, object))
            if whole:
                for object, record in held_records(view, owner, incarnation):
                    if record.class_number >= FIRST_USER_NUMBER and not ledger.version(owner.name, object, number):
                        self._compare(world, holder, owner, object, None, record)

    def _compare(
        self,
        world: World,
        holder: SimulatedServer,
        owner: SimulatedServer,
        object: int,
        version: Version | None,
        record: Record | None,
    ) -> None:
        if record is not None and record.kind == CACHED:
            record = None  # kept by chance, after it was no mirror any more: that is no part of any prefix
        if version is None and record is None:
            return
        if version is not None and record is not None and record.sequence == version.leaf.sequence:
            body = version.leaf.body
            if body in (record.body, _to_wire(holder, record)):
                return
        number = world.ledger.held[holder.name, owner.name, DATA]
        wanted = "nothing" if version is None else f"sequence {version.leaf.sequence}, {fields_of(world, version.leaf)}"
        found = "nothing" if record is None else f"sequence {record.sequence}, {_fields(holder, record)}"
        self.accuse(
            world,
            f"{holder.name} holds {owner.name} up to update {number}, where {owner.name}/{object} is {wanted}; it has "
            f"{found}",
        )


class Converged(Watching):
    """Every mirror has everything of its owner; every server has every registry feed.

    The same of an owner that was restored from a backup, once its adoption is over; but for a mirror that holds another
    branch of its history, or more of it: those two do not meet again, and the verdict names them.
    """

    name = "converged"
    promise = "P3"

    def __init__(self) -> None:
        self._apart: dict[str, None] = {}

    @property
    def unjudged(self) -> str:
        """The mirrors that hold another history than their owner, which came back from a backup."""
        return f"not judged: {', '.join(self._apart)}" if self._apart else ""

    def finish(self, world: World) -> str:
        world.ledger.refresh()
        self._apart = {}
        missing = []
        for holder in world.servers:
            if holder.node is None or is_beyond(world, holder.name):
                continue
            for owner in world.servers:
                restored = owner.name in world.ledger.excused
                if owner is holder or owner.node is None or (restored and not _has_adopted(world, owner)):
                    continue
                keeps = holder.node.parts.mirroring.keeps(owner.server)
                for kind in (REGISTRY, DATA) if keeps else (REGISTRY,):
                    wanted = _position(owner, kind) if restored else world.ledger.last(owner.name, kind)
                    held = world.ledger.held.get((holder.name, owner.name, kind), 0)
                    feed = f"{owner.name}'s {FEED_NAMES[kind]} feed"
                    if restored and not _is_alike(holder, owner, kind, held):
                        self._apart[f"{holder.name} has another history of {feed}"] = None
                    elif held < wanted:
                        missing.append(f"{holder.name} has {held} of {wanted} updates of {feed}")
        return "; ".join(missing)


def _has_adopted(world: World, owner: SimulatedServer) -> bool:
    """Whether it was restored from a backup, and told so, nothing worse befell it, and its adoption is over."""
    return world.ledger.remembers_requests(owner.name) and not owner.node.parts.database.adopting


def _position(owner: SimulatedServer, kind: int) -> int:
    database = owner.node.parts.database
    number: int = owner.node.parts.flood.position(FeedId(owner.server, database.incarnation, kind))
    return number


def _is_alike(holder: SimulatedServer, owner: SimulatedServer, kind: int, number: int) -> bool:
    """Whether the holder's last update of a feed, of this number, is one of its owner's; True where it has none."""
    incarnation = owner.node.parts.database.incarnation
    try:
        held, made = (
            each.node.parts.database.read_update(owner.server, incarnation, kind, number) for each in (holder, owner)
        )
    except Damaged:
        return True  # another checker's affair
    return not number or held is None or held == made


def is_beyond(world: World, server: str) -> bool:
    """Whether nobody can expect that this server catches up: it is hostile, or its disk rotted."""
    return server in world.ledger.excused and "backup" not in world.ledger.excused[server][1]


def _to_wire(holder: SimulatedServer, record: Record) -> bytes:
    """The body as its owner signed it: a reference to the holder's own objects is kept in another form."""
    entry = holder.node.parts.database.registry.by_number(record.class_number)
    wire: bytes = b"" if entry is None or not record.body else entry.codec.to_wire(record.body)
    return wire


def _fields(holder: SimulatedServer, record: Record) -> Any:
    if not record.body:
        return "deleted"
    entry = holder.node.parts.database.registry.by_number(record.class_number)
    return record.body.hex() if entry is None else entry.codec.load_fields(record.body)
