"""Flood machines alone, thousands of them on virtual time: who receives how many copies of what, and what is missing.

    mesh = Mesh(1000, seed=1)                     networkx small world, degree 6, links of 5-50 ms, eight origins
    mesh.warm(); figures = mesh.run(updates=40, churn=0.3, loss=0.02)

No trio, no transport, no disk: a message object passes a heap, an Apply is durable 2 ms later, signatures are real.
Everybody mirrors all origins. Faults, as hard as they come:

    loss     a message is gone, and no transport repeats it (a real one would; then it is late instead)
    churn    a server is away for 1-2 s at a random moment, what is on its way to it is lost, and it comes back
             deaf     with its memory, its neighbours never having noticed (as in the sketch of feedspool)
             crashed  with what it had synced, to new sessions with all its neighbours
    cut      a link, one way or both: its session is lost in the end, and there is a new one when it is mended

Counted for the updates of the run: copies received (UPDATE messages that arrived), useless ones (that the receiver had
already, on disk or on its way there), small messages, and at the end what anybody lacks.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import NamedTuple

import networkx
from nacl.signing import SigningKey

from identity.names import Pattern, ServerId
from replication.flood import Flood
from replication.leaves import FeedSealer
from replication.messages import Apply, FeedId, Fork, UpdateMessage
from store.records import DATA, PUT, Leaf, Update, head_hash, join_update, pack_leaf
from transport.wire import Message, SendTo

ORIGINS = 8
DEGREE = 6
REWIRED = 0.3  # of Watts and Strogatz: between a lattice and a random graph
COMMIT_EVERY_S = 0.05
SYNC_S = 0.002
GREET_S = 0.03  # between the two ends of one greeting, at most
SILENCE_S = 2.5  # until both sides of a cut link have lost their session
QUIET_S = 45.0  # after the last commit: an answer that was lost is asked for anew after ten seconds, of another


class Figures(NamedTuple):
    """Of one run, per server (but the origin) and update."""

    copies: float
    useless: float
    small: float  # all other messages of replication
    missing: int  # deliveries that never came
    last_ms: float  # until the last server had the median update


def name(number: int) -> ServerId:
    """Of the server at this place of the graph."""
    return ServerId.of(1, number + 1) if number else ServerId.of(1)


class Member:
    """One server: its key, what is durable, and its Flood while it is up."""

    def __init__(self, mesh: Mesh, number: int) -> None:
        self.mesh = mesh
        self.id = name(number)
        self.key = SigningKey(mesh.random.randbytes(32))
        self.feed = FeedId(self.id, 1000, DATA)
        self.durable: dict[FeedId, list[bytes]] = {}
        self.proofs: list[Fork] = []  # of lies; durable, as the store keeps them
        self.life = 0
        self.up = True
        self.wake_at = float("inf")
        self.applied_at = 0.0
        self.sequence = 0
        self.sealer = FeedSealer(self.id, 1000, lambda data: self.key.sign(data).signature, mesh.random)
        self.sealer.resume(DATA, None)
        self.sealer.begin_epoch(1)
        self.flood = self._new_flood()

    def _new_flood(self) -> Flood:
        mesh = self.mesh
        flood = Flood(
            self.id, 1000, signing_key_of=lambda server, incarnation: mesh.keys.get(server),
            introduce_untrusted=lambda head, leaves: None, read_update=self._read, random=mesh.random,
        )  # fmt: skip
        held = []
        for feed, updates in self.durable.items():
            last = Update.from_bytes_untrusted(updates[-1]).head
            held.append((*feed, 1, len(updates), head_hash(last.to_bytes())))
        flood.load(held)
        flood.load_proofs(self.proofs)
        flood.subscribe(DATA, mesh.wanted, mesh.now)
        return flood

    def _read(self, server: ServerId, incarnation: int, kind: int, number: int) -> bytes | None:
        updates = self.durable.get(FeedId(server, incarnation, kind), ())
        return updates[number - 1] if 0 < number <= len(updates) else None

    def commit(self) -> int:
        self.sequence += 1
        leaf = Leaf(self.sequence, self.sequence, b"readings", PUT, b"", self.mesh.random.randbytes(16), b"\x81\x01")
        packed = pack_leaf(leaf)
        seal = self.sealer.seal(DATA, [packed])
        self.durable.setdefault(self.feed, []).append(join_update(seal.head, seal.signature, packed))
        self.flood.handle_committed([seal], self.mesh.now)
        self.mesh.pump(self)
        return seal.number

    def crash(self) -> None:
        self.up = False
        self.life += 1
        for key in [key for key in self.mesh.session if key[0] == self.id]:
            del self.mesh.session[key]

    def restart(self) -> None:
        self.up = True
        self.wake_at = float("inf")
        self.flood = self._new_flood()

    def apply(self, update: Update) -> None:
        head = update.head
        updates = self.durable.setdefault(FeedId(head.server, head.incarnation, head.kind), [])
        if head.number != len(updates) + 1:
            raise AssertionError(f"{self.id} applies update {head.number} of {head.server} after {len(updates)}")
        updates.append(update.to_bytes())
        self.mesh.when[self.id, head.server, head.number] = self.mesh.now


class Mesh:
    """Servers on a graph, virtual time, faults."""

    def __init__(self, servers: int, *, seed: int, degree: int = DEGREE, beside: int = 0) -> None:
        """`beside`: so many more servers whose feeds everybody mirrors, for tests of owners that lie."""
        self.random = Random(seed)
        self.now = 0.0
        self.heap: list[tuple[float, int, Callable[[], None]]] = []
        self.pushed = 0
        self.loss = 0.0
        self.keys: dict[ServerId, bytes] = {}
        self.when: dict[tuple[ServerId, ServerId, int], float] = {}
        self.counts: Counter[str] = Counter()
        self.copies: Counter[tuple[ServerId, int]] = Counter()  # received, by update
        self.useless: Counter[tuple[ServerId, int]] = Counter()
        numbers = self.random.sample(range(servers), min(ORIGINS + beside, servers))
        self.wanted = Pattern(",".join(str(name(number)) for number in sorted(numbers)))
        self.members = [Member(self, number) for number in range(servers)]
        self.by_id = {each.id: each for each in self.members}
        self.keys = {each.id: bytes(each.key.verify_key) for each in self.members}
        self.origins = [self.members[number] for number in numbers[:ORIGINS]]
        self.beside = [self.members[number] for number in numbers[ORIGINS:]]
        self.spared = [*self.origins, *self.beside]  # by churn
        graph = networkx.connected_watts_strogatz_graph(servers, min(degree, servers - 1), REWIRED, seed=seed)
        self.neighbours: dict[ServerId, list[Member]] = {each.id: [] for each in self.members}
        self.delay: dict[tuple[ServerId, ServerId], float] = {}
        self.session: dict[tuple[ServerId, ServerId], int] = {}  # (here, there) -> number of here's session with there
        self.cuts: set[tuple[ServerId, ServerId]] = set()
        for a, b in sorted(graph.edges):
            one, other = self.members[a], self.members[b]
            self.neighbours[one.id].append(other)
            self.neighbours[other.id].append(one)
            self.delay[one.id, other.id] = self.delay[other.id, one.id] = self.random.uniform(0.005, 0.05)

    # -- time

    def at(self, after: float, what: Callable[[], None]) -> None:
        self.pushed += 1
        heapq.heappush(self.heap, (self.now + after, self.pushed, what))

    def run_for(self, seconds: float) -> None:
        until = self.now + seconds
        while self.heap and self.heap[0][0] <= until:
            self.now, _, what = heapq.heappop(self.heap)
            what()
        self.now = until

    # -- sessions

    def greet(self, one: Member, other: Member) -> None:
        """A new session: each side learns of it in its own time, and what was on its way in an older one is lost."""
        self.pushed += 1
        number = self.pushed
        for here, there in ((one, other), (other, one)):
            self.at(self.delay[one.id, other.id] + GREET_S * self.random.random(), self._greeting(here, there, number))

    def _greeting(self, here: Member, there: Member, number: int) -> Callable[[], None]:
        def greeted() -> None:
            if here.up and there.up and (here.id, there.id) not in self.cuts and (there.id, here.id) not in self.cuts:
                self.session[here.id, there.id] = number
                here.flood.handle_greeted(there.id, self.now)
                self.pump(here)

        return greeted

    def cut(self, one: Member, other: Member, *, both: bool) -> None:
        """Messages from one to the other are gone, and the other way too if `both`; after a while the session is."""
        self.cuts.add((one.id, other.id))
        if both:
            self.cuts.add((other.id, one.id))
        for here, there in ((one, other), (other, one)):
            number = self.session.get((here.id, there.id), 0)
            self.at(SILENCE_S * (0.5 + self.random.random()), self._parting(here, there, number))

    def _parting(self, here: Member, there: Member, number: int) -> Callable[[], None]:
        def parted() -> None:
            if here.up and self.session.get((here.id, there.id)) == number:
                del self.session[here.id, there.id]
                here.flood.handle_parted(there.id, self.now)
                self.pump(here)

        return parted

    def mend(self, one: Member, other: Member) -> None:
        self.cuts -= {(one.id, other.id), (other.id, one.id)}
        self.greet(one, other)

    # -- the pump

    def pump(self, member: Member) -> None:
        for output in member.flood.take_outputs():
            if isinstance(output, SendTo):
                self.say(member, self.by_id[output.peer], output.message)
            elif isinstance(output, Apply):
                member.applied_at = max(member.applied_at, self.now) + SYNC_S
                self.at(member.applied_at - self.now, self._syncing(member, output))
            elif output.event == "forked":
                member.proofs = list(member.flood.proofs().values())
        due = member.flood.deadline()
        if due < member.wake_at:
            member.wake_at = due
            self.at(max(0.0, due - self.now), self._waking(member, due))

    def _waking(self, member: Member, due: float) -> Callable[[], None]:
        life = member.life

        def wake() -> None:
            if member.life != life or member.wake_at != due:
                return
            member.wake_at = float("inf")
            if member.up:
                member.flood.handle_deadline(self.now)
                self.pump(member)

        return wake

    def _syncing(self, member: Member, output: Apply) -> Callable[[], None]:
        life = member.life

        def synced() -> None:
            if member.life == life:
                for update in output.updates:
                    member.apply(update)
                member.flood.handle_applied(output.updates, self.now)
                self.pump(member)

        return synced

    def say(self, sender: Member, to: Member, message: Message) -> None:
        """A message on its way, if it is not lost."""
        self.counts[type(message).__name__] += 1
        number = self.session.get((sender.id, to.id))
        if (sender.id, to.id) in self.cuts:
            return
        if self.random.random() < self.loss and not isinstance(message, Fork):  # said once in a session
            return

        def deliver() -> None:
            if to.up and number == self.session.get((to.id, sender.id)):
                if isinstance(message, UpdateMessage):
                    self._count(to, message)
                to.flood.handle_message(sender.id, message, self.now)
                self.pump(to)

        self.at(self.delay[sender.id, to.id], deliver)

    def _count(self, to: Member, message: UpdateMessage) -> None:
        head = Update.from_bytes_untrusted(message.update).head
        self.copies[head.server, head.number] += 1
        chain = to.flood._spool.chains.get(FeedId(head.server, head.incarnation, head.kind))
        if chain is not None and (head.number <= chain.taken.number or head.number in chain.waiting):
            self.useless[head.server, head.number] += 1

    # -- the story

    def warm(self, updates: int = 40) -> None:
        """Everybody greets everybody it is linked to; some updates find the trees."""
        for one in self.members:
            for other in self.neighbours[one.id]:
                if one.id < other.id:
                    self.greet(one, other)
        self.run_for(1.0)
        self._commit(updates)
        self.run_for(3.0)

    def _commit(self, updates: int) -> list[tuple[Member, int]]:
        made = []
        for number in range(updates):
            origin = self.origins[number % len(self.origins)]
            made.append((origin, origin.commit()))
            self.run_for(COMMIT_EVERY_S)
        return made

    def run(self, *, updates: int = 40, churn: float = 0.0, loss: float = 0.0, crash: bool = False) -> Figures:
        """Commit `updates` in turn while faults happen, wait until all is repaired, and count."""
        self.loss = loss
        small_before = sum(self.counts.values()) - self.counts["UpdateMessage"]
        lasting = updates * COMMIT_EVERY_S
        for member in self.members:
            if member in self.spared or self.random.random() >= churn:
                continue
            begins = self.random.random() * lasting
            ends = begins + 1 + self.random.random()
            self.at(begins, member.crash if crash else self._deafening(member, up=False))
            self.at(ends, self._returning(member) if crash else self._deafening(member, up=True))
        began = self.now
        made = self._commit(updates)
        small = sum(self.counts.values()) - self.counts["UpdateMessage"] - small_before
        self.run_for(QUIET_S)
        self.loss = 0.0
        keys = [(origin.id, number) for origin, number in made]
        everyone = (len(self.members) - 1) * len(made)
        missing = 0
        last = []
        for at, (origin, number) in enumerate(made):
            times = [self.when.get((each.id, origin.id, number)) for each in self.members if each is not origin]
            missing += times.count(None)
            last.append(max((time for time in times if time is not None), default=0.0) - began - at * COMMIT_EVERY_S)
        return Figures(
            copies=sum(self.copies[key] for key in keys) / everyone,
            useless=sum(self.useless[key] for key in keys) / everyone,
            small=small / everyone,
            missing=missing,
            last_ms=1000 * sorted(last)[len(last) // 2],
        )

    def _deafening(self, member: Member, *, up: bool) -> Callable[[], None]:
        def change() -> None:
            member.up = up
            if up:
                self.pump(member)

        return change

    def _returning(self, member: Member) -> Callable[[], None]:
        def back() -> None:
            member.restart()
            for other in self.neighbours[member.id]:
                self.greet(member, other)

        return back
