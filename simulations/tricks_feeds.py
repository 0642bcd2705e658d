"""Tricks with updates: forged, replayed, two of one number, rolled back, withheld, never acknowledged (ATTACKS 12-14).

    forges                  others' updates altered, or made up, under its own signature; proofs of forks that are none
    replays                 messages and packets of before, its own and those that others sent it
    tells two stories       two updates of one number of its own, one to every other neighbour
    rolls back              its own feed as if its store had come back in time, and others' as if there were no more
    withholds               advertises everything, sends no update to anybody
    acknowledges nothing    no GOT, no RECEIPT, no ANSWER

All but the last two end with the liar being found out, or with nothing: see tests/simulations/test_hostile.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec

from identity.errors import BangpathError
from identity.machine import Batch
from identity.names import ServerId
from node.greeting import Hello
from replication.leaves import UPDATE_DOMAIN, leaf_hash, leaf_prefix, merkle_root
from replication.messages import Entry, FeedId, Fork, Got, HeldRange, UpdateMessage, Vector
from simulations.trick import Accomplice, Trick, altered_body
from store.records import DATA, REGISTRY, Head, Update, head_hash, join_update, pack_leaf, read_leaves_untrusted
from transport.requests import Answer, Receipt, Request
from transport.wire import Message

MAX_KEPT = 64  # messages, and packets, that a replayer remembers


class Forges(Trick):
    """Signs for others with the only key it has."""

    name = "forges"
    says = "alters updates of others that it passes on, and makes up updates, registry entries and proofs"
    every_s = 0.2

    def say(self, peer: ServerId, message: Message) -> Sequence[Message]:
        if not isinstance(message, UpdateMessage):
            return (message,)
        update = Update.from_bytes_untrusted(message.update)
        if update.head.server == self._with.server or self._with.random.random() < 0.5:
            return (message,)
        self._with.count("altered updates of others")
        return (msgspec.structs.replace(message, update=self._forged(update, update.head)),)

    def act(self, now: float) -> None:
        parts, random = self._with.parts, self._with.random
        peers = self._with.peers()
        feeds = [each.feed for each in parts.flood.feeds(now) if each.feed.server != self._with.server and each.last]
        if not peers or not feeds:
            return
        feed, peer = random.choice(feeds), random.choice(peers)
        number = parts.flood.position(feed)
        data = parts.database.read_update(feed.server, feed.incarnation, feed.kind, number)
        if data is None:
            return
        last = Update.from_bytes_untrusted(data)
        kind = random.randrange(3)
        if kind == 0:  # the next one, in its owner's place
            head = msgspec.structs.replace(last.head, number=number + 1, previous=head_hash(last.head.to_bytes()))
            told: Message = self._message(feed, self._forged(last, head))
        elif kind == 1:  # another one of the newest number
            told = self._message(feed, self._forged(last, last.head))
        else:  # a proof that the owner lied, whose second half it signed itself
            twin = msgspec.structs.replace(last.head, root=random.randbytes(32)).to_bytes()
            told = Fork(last.head.to_bytes(), last.signature, twin, self._with.sign(UPDATE_DOMAIN + twin))
        if self._with.tell(peer, told):
            self._with.count(("updates made up", "second updates of one number", "false proofs")[kind])

    def _message(self, feed: FeedId, update: bytes) -> Message:
        live = self._with.random.random() < 0.5
        path = (feed.server, self._with.server) if live else (self._with.server,)
        return UpdateMessage(path, live, update)

    def _forged(self, update: Update, head: Head) -> bytes:
        """Other contents under this head, in order but for the signature, which is the forger's."""
        head, leaves = altered(update, head)
        return join_update(head.to_bytes(), self._with.sign(UPDATE_DOMAIN + head.to_bytes()), leaves)


class Replays(Trick):
    """Says again what was true once."""

    name = "replays"
    says = "sends again what it said and heard: messages to anybody, packets also as if from somebody else"
    every_s = 0.1

    def __init__(self, accomplice: Accomplice) -> None:
        super().__init__(accomplice)
        self._messages: deque[Message] = deque(maxlen=MAX_KEPT)
        self._packets: deque[tuple[ServerId, bytes]] = deque(maxlen=MAX_KEPT)
        port = accomplice.parts.port
        self._port, self._send_batch = port, port.send_batch
        port.send_batch = self._record
        self._names = {(str(each), port.address[1]): each for each in self._neighbours()}

    def greet(self, hello: Hello) -> Hello:
        self._keep(hello)
        return hello

    def say(self, peer: ServerId, message: Message) -> Sequence[Message]:
        self._keep(message)
        return (message,)

    def hear(self, peer: ServerId, message: Message) -> bool:
        self._keep(message)
        return True

    def act(self, now: float) -> None:
        random, peers = self._with.random, self._with.peers()
        if peers and self._messages:
            for _ in range(4):
                message = random.choice(self._messages)
                if isinstance(message, UpdateMessage):  # as a repair, or it would be refused for its Path alone
                    message = msgspec.structs.replace(message, path=(self._with.server,), live=False)
                if self._with.tell(random.choice(peers), message):
                    self._with.count("messages again")
        if self._packets:
            for _ in range(4):
                target, packet = random.choice(self._packets)
                source = random.choice([str(self._with.server), *map(str, peers)])
                if source != str(target):
                    self._with.throw(source, target, packet)
                    self._with.count("packets again")

    def end(self) -> None:
        if self._port.__dict__.get("send_batch") == self._record:
            del self._port.send_batch

    def _keep(self, message: Message) -> None:
        if not isinstance(message, Answer):  # an answer that nobody waits for says nothing
            self._messages.append(message)

    def _record(self, batch: Batch) -> bool:
        data, size = bytes(batch.buffer), batch.segment_size
        target = self._names.get(batch.address)
        if target is not None and self._with.random.random() < 0.2:
            self._packets.append((target, data[:size]))
        sent: bool = self._send_batch(batch)
        return sent

    def _neighbours(self) -> list[ServerId]:
        return [each.server for each in self._with.parts.directory.entries()]


class TellsTwoStories(Trick):
    """Signs two different updates of one number."""

    name = "tells two stories"
    says = "signs two different updates of each number, and tells one to every other neighbour"

    def __init__(self, accomplice: Accomplice) -> None:
        super().__init__(accomplice)
        self._heads: dict[tuple[int, int], bytes] = {}  # of the other story, by kind and number
        self._updates: dict[tuple[int, int], bytes] = {}

    def say(self, peer: ServerId, message: Message) -> Sequence[Message]:
        if sorted([*self._with.peers(), peer]).index(peer) % 2 == 0:
            return (message,)
        if isinstance(message, UpdateMessage):
            update = Update.from_bytes_untrusted(message.update)
            if update.head.server == self._with.server and update.head.kind == DATA:
                self._with.count("updates of the other story")
                return (msgspec.structs.replace(message, update=self._twin(update)),)
        elif isinstance(message, Vector):
            entries = tuple(self._twin_entry(each) for each in message.entries)
            return (Vector(entries, message.whole),)
        return (message,)

    def _twin(self, update: Update) -> bytes:
        key = update.head.kind, update.head.number
        if key not in self._updates:
            previous = self._heads.get((key[0], key[1] - 1))
            head = update.head
            if previous is not None:
                head = msgspec.structs.replace(head, previous=head_hash(previous))
            head, leaves = altered(update, head)
            self._heads[key] = head.to_bytes()
            self._updates[key] = join_update(head.to_bytes(), self._with.sign(UPDATE_DOMAIN + head.to_bytes()), leaves)
        return self._updates[key]

    def _twin_entry(self, entry: Entry) -> Entry:
        if entry.origin != self._with.server:
            return entry
        ranges = []
        for held in entry.ranges:
            twin = self._heads.get((entry.kind, held.last))
            ranges.append(held if twin is None else HeldRange(held.first, held.last, head_hash(twin)))
        return msgspec.structs.replace(entry, ranges=tuple(ranges))


class RollsBack(Trick):
    """Denies the newest of what it said, and of what others said."""

    name = "rolls back"
    says = (
        "signs updates as if its store had come back in time, and tells of the feeds of others as if there were no more"
    )
    every_s = 0.5

    def say(self, peer: ServerId, message: Message) -> Sequence[Message]:
        if not isinstance(message, Vector):
            return (message,)
        self._with.count("vectors of before")
        return (Vector(tuple(self._older(each) for each in message.entries), message.whole),)

    def _older(self, entry: Entry) -> Entry:
        if not entry.ranges or entry.ranges[-1].last < 2 or entry.kind == REGISTRY:
            return entry
        held = entry.ranges[-1]
        number = max(held.first, held.last // 2)
        data = self._with.parts.database.read_update(entry.origin, entry.incarnation, entry.kind, number)
        if data is None:
            return entry
        digest = head_hash(Update.from_bytes_untrusted(data).head.to_bytes())
        return msgspec.structs.replace(entry, ranges=(HeldRange(held.first, number, digest),), age_ms=0)

    def act(self, now: float) -> None:
        """An own update above a half of the feed, of a run that is newer, or older, than the one that has gone on."""
        parts, random = self._with.parts, self._with.random
        feed = FeedId(self._with.server, parts.database.incarnation, DATA)
        last, peers = parts.flood.position(feed), self._with.peers()
        if last < 2 or not peers:
            return
        number = random.randrange(1, last)
        data = parts.database.read_update(feed.server, feed.incarnation, DATA, number)
        if data is None:
            return
        update = Update.from_bytes_untrusted(data)
        epoch = max(1, parts.database.epoch + random.choice((-1, 1, 1)))
        head = msgspec.structs.replace(
            update.head, number=number + 1, previous=head_hash(update.head.to_bytes()), epoch=epoch,
            nonce=random.randbytes(16),
        )  # fmt: skip
        head, leaves = altered(update, head)
        signed = join_update(head.to_bytes(), self._with.sign(UPDATE_DOMAIN + head.to_bytes()), leaves)
        if self._with.tell(random.choice(peers), UpdateMessage((self._with.server,), True, signed)):
            self._with.count("updates of another run")


class Withholds(Trick):
    """Advertises, and sends nothing."""

    name = "withholds"
    says = "advertises all it has, and sends no update of anybody to anybody"

    def say(self, peer: ServerId, message: Message) -> Sequence[Message]:
        if isinstance(message, UpdateMessage):
            self._with.count("updates withheld")
            return ()
        return (message,)


class AcknowledgesNothing(Trick):
    """Takes, and never says so."""

    name = "acknowledges nothing"
    says = "takes updates and requests, and never says that it has them, nor answers"

    def say(self, peer: ServerId, message: Message) -> Sequence[Message]:
        if isinstance(message, (Got, Receipt, Answer)):
            self._with.count(f"{type(message).__name__} withheld")
            return ()
        return (message,)

    def hear(self, peer: ServerId, message: Message) -> bool:
        if isinstance(message, Request):
            self._with.count("requests taken")
        return True


def altered(update: Update, head: Head) -> tuple[Head, bytes]:
    """Other contents for an update, and the head that fits them: valid but for who may sign it."""
    prefix = leaf_prefix(head.server, head.incarnation)
    try:
        read = read_leaves_untrusted(update.leaves, update.head.count)
    except BangpathError:
        return head, update.leaves
    lies = [msgspec.structs.replace(each, body=altered_body(each.body) if each.body else b"") for each in read]
    packed = [pack_leaf(msgspec.structs.replace(each, salt=bytes(16))) for each in lies]
    root = merkle_root([leaf_hash(prefix, each) for each in packed])
    return msgspec.structs.replace(head, root=root, count=len(packed)), b"".join(packed)


FEED_TRICKS: tuple[type[Trick], ...] = (
    Forges, Replays, TellsTwoStories, RollsBack, Withholds, AcknowledgesNothing,
)  # fmt: skip
