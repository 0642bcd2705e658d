"""Several `Flood` machines in one process, on virtual time, over a pipe that delays, reorders, loses and cuts.

    lab = Lab(seed=1); a, b, c = lab.servers("1.1", "1.2", "1.3")
    lab.connect(a, b); lab.subscribe(b, "1.1"); a.commit(); lab.run(5)
    assert b.numbers(a) == [1]

The store is a dict that survives `crash`; what was put out by `Apply` and not yet synced does not. Every message goes
through its wire bytes. Each server checks at every `Apply` that nothing comes twice, out of order, or unsigned.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable
from random import Random
from typing import Any

from nacl.signing import SigningKey

from identity.names import Pattern, ServerId
from replication.flood import Flood
from replication.leaves import FeedSealer, update_hash, verify_update_untrusted
from replication.messages import MESSAGES, Apply, FeedId, Report, UpdateMessage
from store.records import DATA, PUT, REGISTRY, Leaf, Update, head_hash, join_update, pack_leaf, read_leaves_untrusted
from transport.wire import Message, SendTo, decode_untrusted, encode

INTRODUCTION = b"introduc"  # fingerprint of the leaf that says who the owner is
ADOPTION = b"adoption"  # fingerprint of the leaf that says which class it has adopted
PLAIN = b"plainair"  # a class that everybody knows


class Server:
    """One server: its key, its durable store, and (while it runs) its Flood."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab = lab
        self.id = ServerId.parse(name)
        self.incarnation = 1000 + len(lab.all)
        self.key = SigningKey(lab.random.randbytes(32))
        self.public = bytes(self.key.verify_key)
        self.durable: dict[FeedId, list[bytes]] = defaultdict(list)
        self.sequence = 0
        self.epoch = 0
        self.life = 0
        self.up = False
        self.sync_s = 0.002
        self.wishes: list[tuple[int, Pattern]] = []
        self.reports: list[Report] = []
        self.copies: dict[tuple[FeedId, int], int] = defaultdict(int)  # UPDATE messages received, by update
        self.applied: dict[FeedId, int] = defaultdict(int)  # how often an Apply became durable
        self.sent_kinds: dict[str, int] = defaultdict(int)
        self.capacity: Callable[[Server, Message], bool] | None = None
        self.start()

    def __repr__(self) -> str:
        return str(self.id)

    def feed(self, kind: int = DATA) -> FeedId:
        return FeedId(self.id, self.incarnation, kind)

    # -- life

    def start(self) -> None:
        self.up = True
        self._applied_at = 0.0
        self.epoch += 1
        self.keys: dict[tuple[ServerId, int], bytes] = {(self.id, self.incarnation): self.public}
        self.classes = {PLAIN, INTRODUCTION, ADOPTION}
        self.sealer = FeedSealer(self.id, self.incarnation, lambda data: self.key.sign(data).signature, self.lab.random)
        for kind in (REGISTRY, DATA):
            own = self.durable.get(self.feed(kind))
            self.sealer.resume(kind, Update.from_bytes_untrusted(own[-1]).head.to_bytes() if own else None)
        self.sealer.begin_epoch(self.epoch)
        self.flood = Flood(
            self.id,
            self.incarnation,
            signing_key_of=lambda server, incarnation: self.keys.get((server, incarnation)),
            introduce_untrusted=self.introduce,
            read_update=self.read,
            random=self.lab.random,
        )
        held = []
        for feed, updates in self.durable.items():
            if not updates:
                continue
            last = Update.from_bytes_untrusted(updates[-1])
            held.append((feed.server, feed.incarnation, feed.kind, 1, len(updates), update_hash(last)))
            if feed.kind == REGISTRY:
                for data in updates:
                    self.learn(Update.from_bytes_untrusted(data))
        self.flood.load(held)
        for kind, pattern in self.wishes:
            self.flood.subscribe(kind, pattern, self.lab.now)
        if not self.durable.get(self.feed(REGISTRY)):
            self.commit(REGISTRY, fingerprint=INTRODUCTION, body=self.public)

    def crash(self) -> None:
        """What was not synced is gone; its sessions end."""
        self.up = False
        self.life += 1
        for pair in [pair for pair in self.lab.links if self in pair]:
            self.lab.cut(*pair)

    def restart(self) -> None:
        self.start()

    # -- the store

    def read(self, server: ServerId, incarnation: int, kind: int, number: int) -> bytes | None:
        updates = self.durable.get(FeedId(server, incarnation, kind), [])
        return updates[number - 1] if 1 <= number <= len(updates) else None

    def introduce(self, head: Any, leaves: bytes) -> bytes | None:
        for leaf in read_leaves_untrusted(leaves, head.count):
            if leaf.fingerprint == INTRODUCTION and leaf.body in self.lab.certified:
                return leaf.body
        return None

    def learn(self, update: Update) -> None:
        for leaf in read_leaves_untrusted(update.leaves, update.head.count):
            if leaf.fingerprint == INTRODUCTION:
                self.keys[update.head.server, update.head.incarnation] = leaf.body
            elif leaf.fingerprint == ADOPTION:
                self.classes.add(leaf.body)

    def apply(self, apply: Apply) -> None:
        life = self.life

        def synced() -> None:
            if self.life != life:
                return
            for update in apply.updates:
                head = update.head
                feed = FeedId(head.server, head.incarnation, head.kind)
                updates = self.durable[feed]
                known = head.kind == REGISTRY or all(
                    leaf.fingerprint in self.classes for leaf in read_leaves_untrusted(update.leaves, head.count)
                )
                if not known or (head.number > len(updates) + 1 and feed in self.deferring):
                    self.deferring.add(feed)
                    self.flood.handle_deferred(update, self.lab.now)
                    continue
                self.deferring.discard(feed)
                assert head.number == len(updates) + 1, f"{self} applies {feed} {head.number} after {len(updates)}"
                owner = self.lab.by_id[head.server]
                verify_update_untrusted(update, owner.public)
                updates.append(update.to_bytes())
                self.applied[feed] += 1
                self.flood.handle_applied([update], self.lab.now)
                if head.kind == REGISTRY:
                    self.learn(update)
                    self.flood.handle_registry_advanced(self.lab.now)
            self.lab.pump(self)

        self.lab.at(self.apply_done() - self.lab.now, synced)

    deferring: set[FeedId]
    _applied_at = 0.0

    def apply_done(self) -> float:
        """Applies end one after another."""
        self._applied_at = max(self._applied_at, self.lab.now) + self.sync_s
        return self._applied_at

    def commit(
        self, kind: int = DATA, *, fingerprint: bytes = PLAIN, body: bytes = b"\x81\x01", leaves: int = 1
    ) -> int:
        """One group of own changes; durable at once (an owner sends after its sync)."""
        packed = []
        for _ in range(leaves):
            self.sequence += 1
            salt = self.lab.random.randbytes(16)
            packed.append(pack_leaf(Leaf(self.sequence, self.sequence, fingerprint, PUT, b"", salt, body)))
        seal = self.sealer.seal(kind, packed)
        self.durable[self.feed(kind)].append(join_update(seal.head, seal.signature, b"".join(packed)))
        self.flood.handle_committed([seal], self.lab.now)
        self.lab.pump(self)
        return seal.number

    # -- what a test asks

    def numbers(self, owner: Server, kind: int = DATA) -> list[int]:
        return [Update.from_bytes_untrusted(each).head.number for each in self.durable.get(owner.feed(kind), [])]

    def has_all(self, owner: Server, kind: int = DATA) -> bool:
        return self.durable.get(owner.feed(kind), []) == owner.durable.get(owner.feed(kind), [])

    def events(self) -> list[str]:
        return [each.event for each in self.reports]


class Lab:
    """Virtual time, servers, links."""

    def __init__(self, seed: int = 0, *, delay: float = 0.01, jitter: float = 0.0) -> None:
        self.random = Random(seed)
        self.delay, self.jitter = delay, jitter
        self.now = 0.0
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.count = 0
        self.all: list[Server] = []
        self.by_id: dict[ServerId, Server] = {}
        self.certified: set[bytes] = set()
        self.links: dict[tuple[Server, Server], int] = {}  # (one, other) -> number of the session
        self.wakes: dict[Server, float] = {}
        self.tamper: Callable[[Server, Server, Message], list[Message]] | None = None
        self.delivered = 0

    def servers(self, *names: str) -> list[Server]:
        made = []
        for name in names:
            server = Server.__new__(Server)
            server.deferring = set()
            self.by_id[ServerId.parse(name)] = server
            server.__init__(self, name)  # type: ignore[misc]
            self.certified.add(server.public)
            self.all.append(server)
            made.append(server)
        return made

    def subscribe(self, server: Server, pattern: str) -> None:
        server.wishes.append((DATA, Pattern(pattern)))
        server.flood.subscribe(DATA, Pattern(pattern), self.now)
        self.pump(server)

    def at(self, after: float, what: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.queue, (self.now + after, self.count, what))

    # -- sessions

    def connect(self, one: Server, other: Server) -> None:
        if not (one.up and other.up) or (one, other) in self.links or (other, one) in self.links:
            return
        self.count += 1
        self.links[one, other] = session = self.count
        for here, there in ((one, other), (other, one)):
            self.at(self.random.random() * self.delay, lambda h=here, t=there: self._greet(h, t, session))

    def _greet(self, here: Server, there: Server, session: int) -> None:
        if self.session_of(here, there) == session:
            here.keys[there.id, there.incarnation] = there.public  # the HELLO brought its certificate
            here.flood.handle_greeted(there.id, self.now)
            self.pump(here)

    def session_of(self, one: Server, other: Server) -> int | None:
        return self.links.get((one, other)) or self.links.get((other, one))

    def cut(self, one: Server, other: Server) -> None:
        """The session ends: what is on its way in it is lost, and each side learns of it in its own time."""
        session = self.links.pop((one, other), None) or self.links.pop((other, one), None)
        if session is None:
            return
        for here, there in ((one, other), (other, one)):
            life = here.life

            def part(here: Server = here, there: Server = there, life: int = life) -> None:
                if here.up and here.life == life and self.session_of(here, there) is None:
                    here.flood.handle_parted(there.id, self.now)
                    self.pump(here)

            self.at(self.random.random() * 0.5, part)

    # -- the pump

    def pump(self, server: Server) -> None:
        for output in server.flood.take_outputs():
            if isinstance(output, SendTo):
                self._send(server, self.by_id[output.peer], output.message)
            elif isinstance(output, Apply):
                server.apply(output)
            else:
                server.reports.append(output)
        due = server.flood.deadline()
        if due < self.wakes.get(server, float("inf")):
            self.wakes[server] = due
            life = server.life

            def wake() -> None:
                self.wakes.pop(server, None)
                if server.up and server.life == life:
                    server.flood.handle_deadline(self.now)
                    self.pump(server)

            if due < float("inf"):
                self.at(max(0.0, due - self.now), wake)

    def _send(self, sender: Server, to: Server, message: Message) -> None:
        session = self.session_of(sender, to)
        if session is None:
            return
        if sender.capacity is not None and not sender.capacity(to, message):
            sender.flood.handle_undelivered(to.id, message, self.now)
            return
        for each in self.tamper(sender, to, message) if self.tamper else [message]:
            sender.sent_kinds[type(each).__name__] += 1
            data = encode(each)
            after = self.delay + self.random.random() * self.jitter
            self.at(after, lambda data=data: self._deliver(sender, to, session, data))

    def _deliver(self, sender: Server, to: Server, session: int, data: bytes) -> None:
        if self.session_of(sender, to) != session or not to.up:
            return
        self.delivered += 1
        message = decode_untrusted(data, MESSAGES)
        if isinstance(message, UpdateMessage):
            head = Update.from_bytes_untrusted(message.update).head
            to.copies[FeedId(head.server, head.incarnation, head.kind), head.number] += 1
        to.flood.handle_message(sender.id, message, self.now)
        self.pump(to)

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.queue and self.queue[0][0] <= until:
            self.now, _, what = heapq.heappop(self.queue)
            what()
        self.now = until


def forged(update: bytes, **changes: Any) -> Update:
    """The update with other fields in its head, signature unchanged."""
    import msgspec

    real = Update.from_bytes_untrusted(update)
    return Update(msgspec.structs.replace(real.head, **changes), real.signature, real.leaves)


__all__ = ["ADOPTION", "PLAIN", "Lab", "Server", "forged", "head_hash"]
