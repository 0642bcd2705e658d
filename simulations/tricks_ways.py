"""Tricks with ways: packets swallowed, routes that do not exist, floods of messages and of packets (ATTACKS 2, 15-17).

swallows    a black hole: says that it reaches whom it is asked for, and drops what it should hand on
lies        confirms every probe at once, says LOST for ways that work, and writes false paths on what it hands on
floods      requests, probes, wishes, demands for repairs, words, and packets of noise: as much as its links take
misleads    as a mirror, answers about others' objects what they never wrote
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec

from identity.encoding import encode_value
from identity.errors import BangpathError
from identity.names import Pattern, ServerId
from node.requests import ANSWERS, REQUESTS, Get, Object, Ping, Query, Rows
from replication.messages import MAX_SUBSCRIPTIONS, Feed, Mode, SendMe, Subscription
from routing.probes import MAX_HOPS, MAX_PATH, MAX_SOUGHT, Carry, Confirm, Forward, Lost, Path, Probe, Seek
from simulations.trick import Accomplice, Trick, altered_body
from store.records import DATA, Leaf, pack_leaf, read_leaves_untrusted
from transport.requests import Answer, Request, first_number
from transport.wire import Message, decode_untrusted, encode

BURST = 16  # messages, and packets, of a flooder to each neighbour at a time: what sweeps can afford


class Swallows(Trick):
    """Is a gateway that hands nothing on."""

    name = "swallows"
    says = "says truly whom it reaches, and drops all that it should hand on"

    def hear(self, peer: ServerId, message: Message) -> bool:
        if isinstance(message, Forward) and message.at < len(message.path) - 1:
            self._with.count("packets swallowed")
            return False
        return True


class Lies(Trick):
    """Says of ways what is not so."""

    name = "lies"
    says = "confirms ways that are not there, drops what comes by them, denies ways that work, falsifies paths"
    every_s = 0.25

    def __init__(self, accomplice: Accomplice) -> None:
        super().__init__(accomplice)
        self._paths: deque[Path] = deque(maxlen=16)  # by which packets came through here

    def hear(self, peer: ServerId, message: Message) -> bool:
        if isinstance(message, Request):
            return not self._confirm(peer, message)
        if isinstance(message, Forward) and message.at < len(message.path) - 1:
            self._paths.append(message.path)
            if isinstance(message, Carry) or self._with.parts.sessions.connection(message.path[message.at + 1]) is None:
                self._with.count("packets swallowed")  # by a way that it made up
                return False
        return True

    def say(self, peer: ServerId, message: Message) -> Sequence[Message]:
        if isinstance(message, Forward) and message.at > 1 and len(message.path) < MAX_PATH:
            others = [each for each in self._with.peers() if each not in message.path]
            if others:  # as if another server had handed it to this one
                stranger = self._with.random.choice(others)
                own = message.at - 1
                path = (*message.path[:own], stranger, *message.path[own:])
                self._with.count("paths falsified")
                return (type(message)(path, message.at + 1, message.packet),)
        if isinstance(message, Lost):
            self._with.count("LOST kept back")
            return ()
        if isinstance(message, Seek) and len(message.path) > 1:  # as if it came straight, and each target's had too
            self._with.count("paths falsified")
            origin, liar = message.path[0], self._with.server
            came = tuple((target, liar, origin) for target in message.targets)
            return (Seek(message.number, (origin, liar), message.targets, came),)
        return (message,)

    def act(self, now: float) -> None:
        if self._paths:
            path = self._with.random.choice(self._paths)
            at = path.index(self._with.server)
            if 0 < at < len(path) - 1 and self._with.tell(path[at - 1], Lost(path, at, at - 1, "there is no such way")):
                self._with.count("ways denied")

    def _confirm(self, peer: ServerId, request: Request) -> bool:
        """A probe is answered at once, before any honest server can."""
        try:
            asked = decode_untrusted(request.body, REQUESTS)
        except BangpathError:
            return False
        if not isinstance(asked, Probe) or asked.target == self._with.server:
            return False
        yes = encode(Confirm((self._with.server, asked.target), 1))
        if self._with.tell(peer, Answer(request.incarnation, request.number, 0, True, True, yes)):
            self._with.count("ways made up")
        return True


class Floods(Trick):
    """Asks for more than anybody can want."""

    name = "floods"
    says = "sends requests, probes, wishes, demands for repairs, words and noise, far more than anybody answers"
    every_s = 0.4

    def __init__(self, accomplice: Accomplice) -> None:
        super().__init__(accomplice)
        # Numbers of its own requests, far above those that the node itself will give in this run.
        self._number = first_number(accomplice.parts.database.epoch) + (1 << 39)
        self._wishes = self._many()

    def act(self, now: float) -> None:
        random = self._with.random
        for peer in self._with.peers():
            for _ in range(BURST):
                message = self._message(peer)
                if self._with.tell(peer, message):
                    self._with.count(f"{type(message).__name__} messages")
            self._seek(peer)
        for entry in self._with.parts.directory.entries():
            if entry.server == self._with.server:
                continue
            for _ in range(BURST):
                kind = random.choice((1, 2, 3, 4, 16, 16, 16, 255))  # the types of packets, and none
                noise = bytes([kind]) + random.randbytes(random.choice((8, 40, 1199)))
                self._with.throw(str(self._with.server), entry.server, noise)
            self._with.count("packets of noise", BURST)

    def _seek(self, peer: ServerId) -> None:
        """As if it and others sought all that it knows of, by paths that nobody went."""
        own, random = self._with.server, self._with.random
        known = [each.server for each in self._with.parts.directory.entries() if each.server not in (peer, own)]
        targets = tuple(known[:MAX_SOUGHT])
        for origin in random.choices(known, k=BURST if known else 0):
            number = random.getrandbits(40)
            self._with.say(peer, Seek(number, (own,), targets, ((),) * len(targets)))
            self._with.say(peer, Seek(number, (origin, own), (peer,), ((peer, own, origin),)))
            self._with.count("words", 2)

    def _message(self, peer: ServerId) -> Message:
        random, parts = self._with.random, self._with.parts
        kind = random.randrange(16)  # mostly small ones: a FEED costs its reader more than any other
        if kind == 0:
            return self._wishes
        if kind == 1:
            feed = random.choice([each.feed for each in parts.flood.feeds(self._with.now)])
            return SendMe(feed.server, feed.incarnation, feed.kind, ((1, 1 << 40),), Mode.REPAIR, 1 << 40)
        known = [each.server for each in parts.directory.entries() if each.server not in (peer, self._with.server)]
        if kind == 2 and known:
            target = random.choice(known)
            body = encode(Probe(target, random.getrandbits(40), (self._with.server,), MAX_HOPS))
        elif kind == 3:
            body = encode(Probe(peer.child(random.randrange(1, 99)), 1, (self._with.server,), MAX_HOPS))
        elif kind == 4:
            body = encode(Get(peer, random.randrange(1, 1 << 20)))
        elif kind == 5:
            body = encode(Query(encode_value(["Note", None, [], None, None]), peer))
        else:
            body = encode(Ping())
        self._number += 1
        return Request(parts.database.incarnation, self._number, 1, 0, 1, 0, 0, body)

    def _many(self) -> Feed:
        """As many wishes as one message holds, one of them for everything."""
        text = str(self._with.server)
        few = [
            Subscription(DATA, Pattern(f"{text}.{each}.*"), b"", 32, bytes(32)) for each in range(1, MAX_SUBSCRIPTIONS)
        ]
        return Feed((*few, Subscription(DATA, Pattern("*"), b"", 32, bytes(32))), 1 << 40)


class Misleads(Trick):
    """Answers for others, and not as they would."""

    name = "misleads"
    says = "answers about objects that it mirrors what their owners never wrote"

    def say(self, peer: ServerId, message: Message) -> Sequence[Message]:
        if not isinstance(message, Answer):
            return (message,)
        try:
            answer = decode_untrusted(message.body, ANSWERS)
        except BangpathError:
            return (message,)
        if isinstance(answer, Object) and answer.server != self._with.server:
            answer = msgspec.structs.replace(answer, leaf=_altered_leaves(answer.leaf, 1))
        elif isinstance(answer, Rows) and answer.incarnation != self._with.parts.database.incarnation:
            answer = msgspec.structs.replace(answer, leaves=_altered_leaves(answer.leaves, answer.count))
        else:
            return (message,)
        self._with.count("answers falsified")
        return (msgspec.structs.replace(message, body=encode(answer)),)


def _altered_leaves(leaves: bytes, count: int) -> bytes:
    read: list[Leaf] = read_leaves_untrusted(leaves, count)
    return b"".join(pack_leaf(msgspec.structs.replace(each, body=altered_body(each.body))) for each in read)


WAY_TRICKS: tuple[type[Trick], ...] = (Swallows, Lies, Floods, Misleads)
