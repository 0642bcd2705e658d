"""What every owner made and what every other server took of it, as it became durable: the truth for all answers.

    node --observe--> Durable --> made    1.1 data   1 2 3 4 5           what the owner signed, whoever hears of it
                                  taken   1.2 of 1.1   1 2 3             in the order in which it became durable there
                 other outputs --> who listens for their type

It is written at the one moment that counts: after the sync, before anybody is told. A crash between these two leaves
the last group durable and unheard of; so after each start (`refresh`) the ledger reads what the log really has, which
may be more than was heard and never less. Less, or other than was heard, is a broken promise (P1), and stands in
`broken` until a checker says so: observers raise nothing.

Who came back in time (a restart from a backup), whose disk rotted, or who is hostile, is *excused* from then on: its
own history may have branches, and nobody is accused of what it lost. `made` keeps every branch that was seen.

Left to others: judging (the check_*.py files), words and answers (`history.py`).
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from identity.errors import Damaged
from node.observing import Durable
from simulations.faulty_disk import PowerCut
from simulations.promises import Breach
from store.records import DATA, FEED_NAMES, Leaf, Update, read_leaves_untrusted

if TYPE_CHECKING:
    from identity.names import ServerId
    from simulations.history import History
    from simulations.server import SimulatedServer
    from simulations.world import World
    from store.database import FeedHeld

FeedOf = tuple[str, int]  # owner, kind


class Made(NamedTuple):
    """One update as its owner made it.

    `tick` and `at`: when it became durable there, or was found to be; `since`: the earliest tick at which it may have
    been: 0 where it was found in the log.
    """

    number: int
    digest: bytes
    tick: int
    at: float
    leaves: tuple[Leaf, ...]
    since: int
    epoch: int = 0


class Taken(NamedTuple):
    """One update that another server made durable. `update` is kept where it is not (yet) one that its owner made."""

    tick: int
    at: float
    holder: str
    owner: str
    kind: int
    number: int
    digest: bytes
    objects: tuple[int, ...]
    update: Update | None


class Version(NamedTuple):
    """One version of one object. `number`: of the update that brought it; `leaf.body` empty: it was deleted."""

    number: int
    leaf: Leaf


def digest_of(update: Update) -> bytes:
    """Over every byte of an update."""
    return sha256(update.to_bytes()).digest()


class Ledger:
    """The truth of one world."""

    def __init__(self, world: World, history: History) -> None:
        self._world = world
        self._history = history
        self.made: dict[FeedOf, dict[int, Made]] = {}
        self.branches: dict[FeedOf, dict[bytes, Made]] = {}  # by digest: everything its owner ever made
        self.taken: list[Taken] = []
        self.held: dict[tuple[str, str, int], int] = {}  # holder, owner, kind -> the last number that is durable there
        self.broken: list[Breach] = []
        self.excused: dict[str, tuple[float, str]] = {}  # server -> since when, why
        self.read: dict[
            tuple[bytes, bytes], dict[str, Any] | None
        ] = {}  # bodies read before, by class and bytes (`truth.fields_of`)
        self._versions: dict[str, dict[int, list[Version]]] = {}
        self._requests: dict[str, dict[bytes, int]] = {}  # owner -> request -> the first sequence that it caused
        self._listeners: dict[type, list[Callable[[str, Any, float], None]]] = {Durable: [self._durable]}
        self._lives: dict[str, int] = {}
        # holder -> in its present life, by feed: the last number held before it, and the first number taken in it
        self._firsts: dict[str, dict[FeedOf, tuple[int, int]]] = {}
        self._hostile: dict[str, None] = {}
        self._restored: dict[str, None] = {}  # from a backup, and their nodes were told
        self._lost: dict[str, None] = {}  # what they knew: rotted, or set back behind their nodes' backs
        self._gaps: dict[str, None] = {}  # owners of whom an update was heard whose predecessor was not
        self._marks = 0

    # -- looking on

    def observer(self, server: str) -> Callable[[Any, float], None]:
        """What is handed to a node as `observe`; a new one for each of its lives."""
        listeners = self._listeners
        self._firsts[server] = {}

        def observe(output: Any, now: float) -> None:
            for listener in listeners.get(type(output), ()):
                listener(server, output, now)

        return observe

    def listen(self, of: type, listener: Callable[[str, Any, float], None]) -> None:
        """Have `listener(server, output, now)` called for every output of that type, of every server."""
        self._listeners.setdefault(of, []).append(listener)

    def _durable(self, server: str, durable: Durable, now: float) -> None:
        for update in durable.own:
            self._make(server, update)
        for update in durable.applied:
            self._take(server, update)

    def _make(self, server: str, update: Update, *, found: bool = False) -> None:
        head = update.head
        feed = (server, head.kind)
        made = self.made.setdefault(feed, {})
        digest = digest_of(update)
        known = made.get(head.number)
        if known is not None and known.digest == digest:
            return
        if known is not None and not self._is_excused(server):
            self._breach(
                "P1", f"{server} made update {head.number} of its {FEED_NAMES[head.kind]} feed, durable at "
                f"{known.at:.3f} s, a second time with other contents"
            )  # fmt: skip
        if head.number > 1 and head.number - 1 not in made:
            self._gaps[server] = None
        leaves = tuple(read_leaves_untrusted(update.leaves, head.count))
        tick = self._history.tick()
        entry = Made(head.number, digest, tick, self._world.now, leaves, 0 if found else tick, head.epoch)
        for newer in [number for number in made if number >= head.number]:  # a branch that was left
            del made[newer]
        made[head.number] = entry
        self.branches.setdefault(feed, {})[digest] = entry
        if head.kind == DATA:
            self._note_versions(server, entry)
            objects = len({leaf.object for leaf in leaves})
            self._world.mark("commit", server, text=f"update {head.number}", number=head.number, objects=objects)

    def _note_versions(self, server: str, entry: Made) -> None:
        versions = self._versions.setdefault(server, {})
        requests = self._requests.setdefault(server, {})
        for object in {leaf.object: None for leaf in entry.leaves}:
            known = versions.setdefault(object, [])
            if known and known[-1].number >= entry.number:  # found in the log later, told again, another branch
                known[:] = [each for each in known if each.number < entry.number]
        for leaf in entry.leaves:
            if leaf.request:
                requests.setdefault(leaf.request, leaf.sequence)
            versions[leaf.object].append(Version(entry.number, leaf))

    def _take(self, holder: str, update: Update) -> None:
        """An update became durable at a holder: the next one; of what is before a life's first the log will tell."""
        head = update.head
        owner = str(head.server)
        key = (holder, owner, head.kind)
        held = self.held.get(key, 0)
        firsts = self._firsts[holder]
        first = (owner, head.kind) not in firsts
        if first:
            firsts[owner, head.kind] = (held, head.number)
        said = f"{owner}'s {FEED_NAMES[head.kind]} feed"
        if head.number == held + 1 or (first and head.number > held) or self._is_excused(holder):
            pass
        elif first:
            self._breach("P1", f"{holder} had update {held} of {said} durably, and after its start took {head.number}")
        else:
            self._breach("P3", f"{holder} applied update {head.number} of {said} after update {held}")
        self.held[key] = head.number
        self._note_taken(holder, update)

    def _note_taken(self, holder: str, update: Update) -> None:
        head = update.head
        owner = str(head.server)
        digest = digest_of(update)
        known = digest in self.branches.get((owner, head.kind), ())
        objects = tuple({leaf.object: None for leaf in read_leaves_untrusted(update.leaves, head.count)})
        at = self._world.now
        self.taken.append(Taken(
            self._history.tick(), at, holder, owner, head.kind, head.number, digest, objects, None if known else update
        ))  # fmt: skip
        if head.kind == DATA:
            self._world.mark("applied", holder, owner, text=f"update {head.number} of {owner}", number=head.number)

    def _breach(self, promise: str, said: str) -> None:
        self.broken.append(Breach(promise, self._world.now, said))

    # -- after starts

    def refresh(self) -> list[str]:
        """Learn what the logs of servers that started have; who is excused. The names of those that did start."""
        self._hear_marks()
        started = []
        for server in self._world.servers:
            fresh = self._lives.get(server.name) != server.lives
            if server.node is None or not (fresh or server.name in self._gaps):
                continue
            try:
                self._read_log(server, fresh=fresh)
            except PowerCut:  # it is going down at this moment, and is read when it is back
                continue
            self._gaps.pop(server.name, None)
            if fresh:
                self._lives[server.name] = server.lives
                started.append(server.name)
        return started

    def _read_log(self, server: SimulatedServer, *, fresh: bool) -> None:
        database = server.node.parts.database
        feeds = {(str(feed.server), feed.kind): feed for feed in database.feeds()}
        for kind in FEED_NAMES:
            own = feeds.pop((server.name, kind), None)
            self._read_own(server, kind, own.last if own else 0)
        if not fresh:
            return
        held = [(owner, kind) for holder, owner, kind in self.held if holder == server.name]
        for owner, kind in dict.fromkeys((*feeds, *held)):
            self._read_held(server, owner, kind, feeds.get((owner, kind)))

    def _read_held(self, server: SimulatedServer, owner: str, kind: int, feed: FeedHeld | None) -> None:
        """What it has of another's feed, compared with what was heard of that before this life, and in it."""
        holder, said = server.name, f"{owner}'s {FEED_NAMES[kind]} feed"
        last = 0 if feed is None else feed.last
        held = self.held.get((holder, owner, kind), 0)
        before, first = self._firsts[holder].get((owner, kind), (held, last + 1))
        for number in range(before + 1, first):  # durable when it crashed, and nobody was told
            if feed is None and self._is_excused(holder):  # it came back in time, to before it had any of it
                break
            assert feed is not None
            data = self._read_update(server, feed.server, feed.incarnation, kind, number)
            if data is not None:
                self._note_taken(holder, Update.from_bytes_untrusted(data))
            elif not self._is_excused(holder):
                self._breach("P3", f"{holder} applied update {first} of {said} and has not update {number}")
        if last < held and not self._is_excused(holder):
            self._breach("P1", f"{holder} had update {held} of {said} durably, and after its start has {last}")
        self.held[holder, owner, kind] = last

    def _read_own(self, server: SimulatedServer, kind: int, last: int) -> None:
        database = server.node.parts.database
        made = self.made.setdefault((server.name, kind), {})
        newest = max(made, default=0)
        if newest > last:
            if not self._is_excused(server.name):
                self._breach(
                    "P1", f"{server.name} made update {newest} of its {FEED_NAMES[kind]} feed durable at "
                    f"{made[newest].at:.3f} s, and after its start has {last}"
                )  # fmt: skip
            for number in [each for each in made if each > last]:
                del made[number]
        for number in range(1, last + 1):
            if number in made and number < newest - _LOOK_BACK:
                continue
            data = self._read_update(server, database.server, database.incarnation, kind, number)
            if data is not None:
                self._make(server.name, Update.from_bytes_untrusted(data), found=True)

    def _read_update(
        self, server: SimulatedServer, owner: ServerId, incarnation: int, kind: int, number: int
    ) -> bytes | None:
        """As the server's log has it; None where that rotted."""
        try:
            data: bytes | None = server.node.parts.database.read_update(owner, incarnation, kind, number)
        except Damaged as error:
            if not self._is_excused(server.name):
                self._breach("P1", f"{server.name} cannot read update {number} of {owner} any more: {error.cause}")
            return None
        return data

    # -- who is excused

    def excuse(self, server: str, why: str) -> None:
        """Nobody is accused of what became of this server's own history from now on."""
        self.excused.setdefault(server, (self._world.now, why))

    def is_hostile(self, server: str) -> bool:
        """Whether its machine was ever altered: what it answers and hands on means nothing."""
        self._hear_marks()
        return server in self._hostile

    @property
    def has_hostile(self) -> bool:
        """Whether anybody was ever hostile: others' requests may have been said again."""
        self._hear_marks()
        return bool(self._hostile)

    def remembers_requests(self, server: str) -> bool:
        """Whether it still knows what it carried out for others: nothing befell it, or it was restored and knows it."""
        self._hear_marks()
        return server not in self.excused or (
            server in self._restored and server not in {**self._lost, **self._hostile}
        )

    def _is_excused(self, server: str) -> bool:
        self._hear_marks()
        return server in self.excused

    def _hear_marks(self) -> None:
        marks = self._world.marks
        for mark in marks[self._marks :]:
            if mark.kind == "hostile" and mark.servers:
                self._hostile[mark.servers[0]] = None
                self.excuse(mark.servers[0], "it is hostile")
            elif mark.kind == "restore":
                self.excuse(mark.servers[0], "it was restored from a backup")
                (self._restored if mark.details["told"] else self._lost)[mark.servers[0]] = None
            elif mark.kind == "disk" and mark.text == "rot":
                self.excuse(mark.servers[0], "its disk rotted")
                self._lost[mark.servers[0]] = None
        self._marks = len(marks)

    # -- questions

    def is_behind(self, server: str) -> bool:
        """Whether the server had a life whose beginnings in the log are not read yet: it may know more than this."""
        return self._lives.get(server) != self._world.server(server).lives or server in self._gaps

    def last(self, owner: str, kind: int = DATA) -> int:
        """The number of the owner's newest update."""
        return max(self.made.get((owner, kind), ()), default=0)

    def last_at(self, owner: str, at: float) -> int:
        """The number of the owner's newest data update that was durable before this second."""
        made = self.made.get((owner, DATA), {})
        return max((number for number, each in made.items() if each.at < at), default=0)

    def version(self, owner: str, object: int, number: int) -> Version | None:
        """The version that stands after the owner's update `number`; None: it was not made yet."""
        versions = self._versions.get(owner, {}).get(object, [])
        at = bisect.bisect_right(versions, number, key=lambda each: each.number)
        return versions[at - 1] if at else None

    def versions(self, owner: str, object: int) -> list[Version]:
        """Every version of it, oldest first."""
        return self._versions.get(owner, {}).get(object, [])

    def sequence_by(self, owner: str, request: bytes) -> int | None:
        """The sequence in which the owner carried out this request of another; None: it made nothing by it."""
        return self._requests.get(owner, {}).get(request)

    def objects(self, owner: str) -> Iterable[int]:
        """All that the owner ever made, in the order of their making."""
        return self._versions.get(owner, {})


_LOOK_BACK = 64  # updates before the newest that are read again after a start: what a crash can touch is the last group
