"""What this server sees of the mesh, and how it asks the others: `node.asking.Asking` over the running parts.

    held here      store          owned, mirrored, cached objects; positions of feeds
    known here     directory      who has adopted which class
    proven when    flood          how old what is held is, by whom it came, who else holds it
    asked          requesting     GET and QUERY of owners and mirrors; what comes is kept as a cached copy

A mirror counts as whole for its owner once it was proven to hold everything the owner had, in this run or an earlier
one (that is written down once), and as long as either its age is known or there is no session with the owner: a
mirror that just came back and reaches the owner asks him, rather than to answer with an age that nobody knows.

Copies of what owners answered are written to the store by one task, many together, and dropped when it is behind:
they are a convenience (DESIGN R6).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, NamedTuple

import trio

from identity.encoding import encode_value
from identity.errors import BangpathError, PeerMisbehaved, Refused
from identity.names import Incarnation, ObjectId, Pattern, Position, ServerId
from node.asking import MAX_HOLDERS, Found, Holding, RowPart
from node.directory import Directory, distance
from node.requesting import Requesting
from node.requests import At, Done, Get, Object, Query, Rows, read_rows_untrusted, reference_of
from replication.flood import Flood
from replication.messages import FeedId
from replication.status import FeedStatus
from store.database import Copy, Database
from store.query import Question
from store.reading import View
from store.records import DATA, REGISTRY, Leaf, Stored, Update, read_leaves_untrusted
from transport.wire import Message

MAX_COPIES = 1024  # waiting to be written down; more are dropped
STATUS_S = 0.5  # how long a list of all feeds is used for paths, which change seldom
WHOLE_SETTING = "whole"
CLASS_S = 3.0  # a registry update is some round trips behind an answer at most


class Worth(NamedTuple):
    """What every row of one part of an answer says of itself; all but the owner as in `Found`."""

    owner: ServerId
    kind: str
    position: Position | None
    age: float | None
    path: tuple[ServerId, ...]
    owner_unreachable_since: None = None  # whoever asked will know
    by: ServerId | None = None


class Standpoint:
    """One server's view of the mesh. Implements `node.asking.Asking`."""

    def __init__(
        self,
        server: ServerId,
        *,
        database: Database,
        directory: Directory,
        flood: Flood,
        requesting: Requesting,
        mirrors: Callable[[ServerId], bool],
        silent_since: Callable[[ServerId], float | None],
        reached: Callable[[ServerId], bool],
        peers: Callable[[], Sequence[ServerId]],
        heard_at: Callable[[ServerId], float | None],
        path_from: Callable[[ServerId], tuple[ServerId, ...]],
        without_mirrors: bool,
        wall_ms: Callable[[], int],
        backs_up: Callable[[ServerId], bool] = lambda server: False,
    ) -> None:
        """`peers()`: with whom there are sessions; `path_from(server)`: how its packets come, it first, we last."""
        self.server = server
        self.incarnation = database.incarnation
        self.directory = directory
        self._database = database
        self._flood = flood
        self._requesting = requesting
        self._mirrors = mirrors
        self._silent_since = silent_since
        self._reached = reached
        self._peers = peers
        self._heard_at = heard_at
        self._path_from = path_from
        self._backs_up = backs_up
        self._without_mirrors = without_mirrors
        self._wall_ms = wall_ms
        self._epochs: dict[FeedId, int] = {}
        self._was_whole: dict[str, None] = {}
        self._newly_whole: list[str] = []
        self._status: dict[FeedId, FeedStatus] = {}
        self._status_at = -STATUS_S
        self._copies: list[Copy] = []
        self._copied = trio.Event()
        self._advanced = trio.Event()

    def load(self, view: View) -> None:
        """What the store remembers, at opening."""
        for held in self._database.feeds():
            self._epochs[FeedId(held.server, held.incarnation, held.kind)] = held.epoch
        self._was_whole = dict.fromkeys(view.get_setting(WHOLE_SETTING) or ())

    def handle_applied(self, update: Update) -> None:
        """An update of another server is durable here."""
        head = update.head
        self._epochs[FeedId(head.server, head.incarnation, head.kind)] = head.epoch
        if head.kind == REGISTRY:
            self._advanced.set()
            self._advanced = trio.Event()

    def note_whole(self) -> None:
        """Look which mirrors have been proven to hold everything, so that it is written down."""
        for entry in self.directory.entries():
            if entry.server != self.server and self._mirrors(entry.server):
                self.holding(entry.server)

    # -- what is held and known

    def now(self) -> float:
        return trio.current_time()

    def view(self) -> View:
        return self._database.view()

    def incarnation_of(self, server: ServerId) -> int:
        """The incarnation that is current; 0 of a server that is not known."""
        if server == self.server:
            return self.incarnation
        entry = self.directory.entry(server)
        return entry.incarnation if entry is not None else 0

    def resolve(self, server: ServerId | None) -> tuple[ServerId, int]:
        """Whom a reference in text means (`store.values.Resolve`)."""
        named = self.server if server is None else server
        return named, self.incarnation_of(named)

    def position(self, server: ServerId, kind: int) -> Position | None:
        """How far a feed is durable here; None: nothing of it."""
        if server == self.server:
            position = self._database.last_position(kind)
            return position if position is not None and position.number else None
        feed = FeedId(server, self.incarnation_of(server), kind)
        number = self._flood.position(feed)
        if not number:
            return None
        return Position(server, Incarnation(feed.incarnation), self._epochs.get(feed, 0), number)

    def holding(self, server: ServerId) -> Holding:
        position = self.position(server, DATA)
        if server == self.server:
            return Holding("owned", position, 0.0, True)
        if self._without_mirrors or not self._mirrors(server):
            return Holding("none", None, None, False, position if self._backs_up(server) else None)
        feed = FeedId(server, self.incarnation_of(server), DATA)
        age = self._flood.age(feed, self.now())
        name = f"{server}@{feed.incarnation}"
        if age is not None and name not in self._was_whole:
            self._was_whole[name] = None
            self._newly_whole.append(name)
            self._copied.set()
        whole = age is not None or (name in self._was_whole and not self._reached(server))
        return Holding("mirrored", position, age, whole)

    def age_of(self, stored: Stored) -> float:
        return max(0.0, (self._wall_ms() - stored.received_ms) / 1000) if stored.received_ms else 0.0

    def path_to(self, server: ServerId) -> tuple[ServerId, ...]:
        if server == self.server:
            return (server,)
        now = self.now()
        if now - self._status_at >= STATUS_S:
            self._status = {status.feed: status for status in self._flood.feeds(now)}
            self._status_at = now
        status = self._status.get(FeedId(server, self.incarnation_of(server), DATA))
        path = status.path if status is not None else ()
        if not path or path[0] != server:
            path = (server, *path)  # a repair names only who sent it
        return path if path[-1] == self.server else (*path, self.server)

    def shows(self, stored: Stored) -> bool:
        return stored.kind != "mirrored" or not (self._without_mirrors or self._backs_up(stored.reference.server))

    def silent_since(self, server: ServerId) -> float | None:
        return self._silent_since(server)

    def heard_at(self, server: ServerId) -> float | None:
        return self._heard_at(server)

    def owners(self, class_name: str, servers: Pattern | None) -> list[ServerId]:
        return self.directory.owners(class_name, servers)

    def major(self, server: ServerId, class_name: str) -> int | None:
        return self.directory.major(server, class_name)

    def knows(self, server: ServerId) -> bool:
        return server == self.server or self.directory.entry(server) is not None

    def carriers(self, owner: ServerId) -> list[ServerId]:
        return [each for each in self._flood.carriers(owner, DATA) if each not in (owner, self.server)]

    def holders(self, owner: ServerId) -> list[ServerId]:
        """Neighbours that hold it, then who announces to mirror it; those that are silent too only in the end."""
        if self._without_mirrors:
            return []
        every = dict.fromkeys((*self.carriers(owner), *self.directory.mirrors_of(owner)))
        return sorted(every, key=lambda each: self._silent_since(each) is not None)[:MAX_HOLDERS]

    def neighbours(self) -> list[ServerId]:
        return sorted(self._peers(), key=lambda each: (distance(self.server, each), each))

    def registry_report(self) -> list[dict[str, Any]]:
        now = self.now()
        report = []
        for entry in self.directory.entries():
            position = self.position(entry.server, REGISTRY)
            own = entry.server == self.server
            age = 0.0 if own else self._flood.age(FeedId(entry.server, entry.incarnation, REGISTRY), now)
            report.append(
                {
                    "server": str(entry.server),
                    "position": None if position is None else str(position),
                    "age": None if age is None else round(age, 3),
                }
            )
        return report

    # -- asking others

    async def ask_object(
        self,
        server: ServerId,
        object: ObjectId,
        *,
        holder: ServerId | None = None,
        cached: bool = False,
        deadline: float,
    ) -> Found:
        peer = holder or server
        answer: Object = await self._requesting.ask_one(peer, Get(server, object, cached), Object, deadline=deadline)
        leaves = self._read(peer, lambda: read_rows_untrusted(answer.leaf, 1))
        if (answer.server, leaves[0].object) != (server, object):
            self._misbehaved(peer, f"{peer} answered with {answer.server}/{leaves[0].object} for {server}/{object}")
        await self._know_class(leaves[0].fingerprint, deadline)
        worth = self._worth(peer, server, answer.incarnation, answer.at)
        if worth.kind == "cached" and not cached:
            self._misbehaved(peer, f"{peer} answered with a cached copy of {server}/{object}, which was not asked for")
        found = self._found(peer, answer.incarnation, leaves[0], worth)
        if holder is None:  # a copy of a copy would look younger than it is
            self._keep_copy(found, leaves[0])
        return found

    async def ask_rows(
        self, server: ServerId, question: Question, *, owner: ServerId | None = None, deadline: float
    ) -> AsyncGenerator[RowPart, None]:
        whose = owner or server
        query: Message = Query(encode_value(question.to_plain()), whose)
        async with aclosing(self._requesting.ask_parts(server, query, Rows, Done, deadline=deadline)) as parts:
            async for part in parts:
                worth = self._worth(server, whose, part.incarnation, part.at)
                if isinstance(part, Done):
                    yield RowPart([], True, worth.position, worth.age, worth.path, worth.by)
                    return
                leaves = self._read(server, partial(read_rows_untrusted, part.leaves, part.count))
                for fingerprint in dict.fromkeys(leaf.fingerprint for leaf in leaves):
                    await self._know_class(fingerprint, deadline)
                rows = [self._found(server, part.incarnation, leaf, worth) for leaf in leaves]
                yield RowPart(rows, False, worth.position, worth.age, worth.path, worth.by)

    async def _know_class(self, fingerprint: bytes, deadline: float) -> None:
        """Wait a moment for the registry feed that tells of a class: an answer may come before it."""
        with trio.move_on_at(min(deadline, self.now() + CLASS_S)):
            while self._database.registry.by_fingerprint(fingerprint) is None:
                await self._advanced.wait()

    def _worth(self, peer: ServerId, owner: ServerId, incarnation: int, at: At) -> Worth:
        """What an answer of `peer` about an object of `owner` is worth, and by whom it came: the owner first."""
        way = self._path_from(peer)
        if not way or way[0] != peer or way[-1] != self.server:
            way = (peer, self.server)
        if peer == owner:
            return Worth(owner, "owner", at.position(owner, incarnation), at.age, way)
        told = at.path
        if len(told) < 2 or told[0] != owner or told[-1] != peer:
            told = (owner, peer)
        if at.cached:
            return Worth(owner, "cached", None, at.age, way, by=peer)
        return Worth(owner, "mirrored", at.position(owner, incarnation), at.age, (*told, *way[1:]), by=peer)

    def _found(self, peer: ServerId, incarnation: int, leaf: Leaf, worth: Worth) -> Found:
        server = worth.owner
        entry = self._database.registry.by_fingerprint(leaf.fingerprint)
        if entry is None:
            raise Refused(
                f"{server}/{leaf.object} is of a class that is not known here yet ({leaf.fingerprint.hex()})",
                next_step=f"bangpath @{self.server} feeds shows how far the registry of {server} is known here",
            )
        definition = entry.definition
        fields = self._read(peer, lambda: definition.from_body_untrusted(leaf.body))
        reference = reference_of(server, incarnation, leaf.object)
        return Found(reference, definition.name, leaf.sequence, fields, *worth[1:], leaf.fingerprint)

    def _read(self, peer: ServerId, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except PeerMisbehaved as error:
            self._requesting.misbehaved(peer, error.cause)
            raise

    def _misbehaved(self, peer: ServerId, cause: str) -> None:
        self._requesting.misbehaved(peer, cause)
        raise PeerMisbehaved(cause)

    # -- copies

    def _keep_copy(self, found: Found, leaf: Leaf) -> None:
        if len(self._copies) < MAX_COPIES and not self._mirrors(found.reference.server):
            self._copies.append(Copy(found.reference, leaf.fingerprint, leaf.sequence, leaf.body))
            self._copied.set()

    async def keep(self) -> None:
        """The task that writes copies, and which mirrors were whole, to the store. Until cancelled."""
        while True:
            await self._copied.wait()
            self._copied = trio.Event()
            copies, self._copies = self._copies, []
            try:
                if copies:
                    await self._database.cache(copies)
                await self.keep_whole()
            except BangpathError:
                if self._database.failure is not None:
                    raise
                continue  # a copy that could not be kept is asked for again

    async def keep_whole(self) -> None:
        """Write down which mirrors were whole."""
        newly, self._newly_whole = self._newly_whole, []
        if newly:
            names = list(self._was_whole)
            await self._database.transact(lambda transaction: transaction.put_setting(WHOLE_SETTING, names))


def learn_registry(directory: Directory, view: View, updates: Sequence[Update]) -> None:
    """Take the objects of applied registry updates into the directory, as they are now."""
    for update in updates:
        head = update.head
        for leaf in read_leaves_untrusted(update.leaves, head.count):
            stored = view.get(reference_of(head.server, head.incarnation, leaf.object))
            directory.learn_object(head.server, leaf.object, stored)
