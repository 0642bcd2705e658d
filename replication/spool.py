"""What the parts of replication share: what is held, who is greeted, what is wished for, and what is to be done.

    chains     FeedId -> Chain      one feed as it grows here            (replication.chain)
    coverage   what is durable, in the order of names                    (replication.coverage)
    sessions   ServerId -> Session  one greeted neighbour                (replication.feeds)
    wishes     (kind, pattern)      what this server mirrors

`Flood`, `CatchUp` and `Serving` each change what their file says; this one only keeps it together and knows the few
questions that all of them ask. It owns no time and no decision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from identity.errors import Damaged, Exhausted
from identity.names import Pattern, ServerId
from replication.chain import Chain
from replication.coverage import Coverage, Held
from replication.feeds import Session
from replication.messages import (
    MAX_FEED_BYTES,
    MAX_PATH,
    MAX_SUBSCRIPTIONS,
    Apply,
    Entry,
    FeedId,
    HeldRange,
    Report,
    Subscription,
)
from store.records import DATA, REGISTRY
from transport.wire import MAX_MESSAGE_BYTES, Message, SendTo

MAX_FEEDS = 65_536  # feeds that are carried; one costs about 1 KB here
MAX_CARRIED_BYTES = MAX_MESSAGE_BYTES - 8192  # of an update: a Path of 32 long names is 4 KiB
EVERYBODY = Pattern("*")
_SUBSCRIPTION_BYTES = 48  # of one in a FEED, beside its pattern: digest, kind, limits
NOTHING_HELD = Held(1, 0, bytes(32))

ReadUpdate = Callable[[ServerId, int, int, int], bytes | None]


class Spool:
    """The state of one server's replication."""

    def __init__(self, own: ServerId, incarnation: int, read_update: ReadUpdate) -> None:
        self.own = own
        self.incarnation = incarnation
        self.chains: dict[FeedId, Chain] = {}
        # What was said of feeds of which nothing is held yet: (number, when that was all of it). At most MAX_FEEDS. Of
        # an owner that has published nothing the number is 0, and this is all that a mirror can hold.
        self.claims: dict[FeedId, tuple[int, float]] = {}
        self.coverage = Coverage()
        self.sessions: dict[ServerId, Session] = {}
        # All registry feeds; and the own data feed, to see when others hold more of it than this store (DESIGN D4).
        self.wishes: dict[tuple[int, str], Pattern] = {(REGISTRY, "*"): EVERYBODY, (DATA, str(own)): Pattern(str(own))}
        self.outputs: list[SendTo | Apply | Report] = []
        self.adopting = False  # own updates of before a restore are taken from others (DESIGN D4)
        self.counts: dict[str, int] = dict.fromkeys(COUNTED, 0)
        self._read_update = read_update
        self._carried: dict[tuple[int, ServerId], bool] = {}

    # -- wishes

    def wish(self, kind: int, pattern: Pattern) -> bool:
        """Says whether that is new. Raises `Exhausted` like `require_room`."""
        key = (kind, pattern.text)
        if key in self.wishes:
            return False
        self.require_room(pattern)
        self.wishes[key] = pattern
        self._carried.clear()
        return True

    def require_room(self, pattern: Pattern) -> None:
        """Raise `Exhausted` when the wishes and this one would not fit into a FEED."""
        told = sum(len(each.text) + _SUBSCRIPTION_BYTES for each in (*self.wishes.values(), pattern))
        if len(self.wishes) >= MAX_SUBSCRIPTIONS or told > MAX_FEED_BYTES:
            raise Exhausted(
                f"no room for the pattern {pattern.text[:80]!r} beside {len(self.wishes)} others, {told} bytes in all",
                next_step=f"mirror fewer, wider patterns: {MAX_SUBSCRIPTIONS} of {MAX_FEED_BYTES} bytes are allowed",
            )

    def unwish(self, kind: int, pattern: Pattern) -> bool:
        self._carried.clear()
        always = kind == REGISTRY or pattern.text == str(self.own)
        return not always and self.wishes.pop((kind, pattern.text), None) is not None

    def subscriptions(self) -> tuple[Subscription, ...]:
        """The wishes as they are told to neighbours, each with a digest of what is held already."""
        return tuple(self.subscription(kind, pattern) for (kind, _), pattern in self.wishes.items())

    def subscription(self, kind: int, pattern: Pattern, hop_limit: int = MAX_PATH) -> Subscription:
        return Subscription(kind, pattern, b"", hop_limit, self.coverage.digest(kind, pattern))

    def carries(self, feed: FeedId) -> bool:
        """Whether updates of this feed are taken from others."""
        key = (feed.kind, feed.server)
        known = self._carried.get(key)
        if known is None:
            known = any(kind == feed.kind and feed.server in pattern for (kind, _), pattern in self.wishes.items())
            if len(self._carried) >= MAX_FEEDS:
                self._carried.clear()
            self._carried[key] = known
        return known

    def is_own(self, feed: FeedId) -> bool:
        return feed.server == self.own and feed.incarnation == self.incarnation

    # -- what is held

    def hold(self, chain: Chain) -> None:
        """What is durable of this feed has grown."""
        mark = chain.durable
        self.coverage.hold(chain.feed, Held(chain.first, mark.number, mark.digest))

    def read(self, feed: FeedId, number: int) -> bytes | None:
        """The very bytes of an update that is held here, durable or on its way to the store; None: it is not.

        Nor is one that the disk does not give back: it is reported, and the feed and whoever asked go on without it.
        """
        chain = self.chains.get(feed)
        if chain is None or not chain.first <= number <= chain.taken.number:
            return None
        in_flight = chain.in_flight.get(number)
        if in_flight is not None:
            return in_flight[0].update.to_bytes()
        try:
            data = self._read_update(feed.server, feed.incarnation, feed.kind, number)
        except Damaged as error:  # this one is lost here, the others are not
            self.report("damaged", feed, number=number, cause=error.cause)
            return None
        if data is not None and len(data) > MAX_CARRIED_BYTES:
            self.report("too_large", feed, number=number, bytes=len(data), cause="no message can carry this update")
            return None
        return data

    def entry(self, feed: FeedId, held: Held, now: float) -> Entry:
        """What is told of one feed in a VECTOR."""
        age = self.age(feed, now)
        return Entry(
            feed.server,
            feed.incarnation,
            feed.kind,
            held.first,
            (HeldRange(held.first, held.last, held.last_hash),) if held.last else (),
            None if age is None else max(0, int(age * 1000)),
        )

    def entries(self, kind: int, pattern: Pattern, prefix: bytes, now: float) -> Iterator[Entry]:
        for feed, held in self.coverage.select(kind, pattern, prefix):
            yield self.entry(feed, held, now)

    def age(self, feed: FeedId, now: float) -> float | None:
        """Seconds since this server was proven to hold all there was of the feed; None: never."""
        if self.is_own(feed):
            return 0.0
        chain = self.chains.get(feed)
        if chain is None:
            number, at = self.claims.get(feed, (1, now))
            return None if number else max(0.0, now - at)
        return None if chain.current_at is None else max(0.0, now - chain.current_at)

    def claim(self, feed: FeedId, number: int, at: float) -> None:
        """Somebody proved at time `at` that there was nothing above `number` of a feed of which nothing is held."""
        before = self.claims.get(feed)
        if before is None:
            if len(self.claims) < MAX_FEEDS:
                self.claims[feed] = (number, at)
        elif (number, at) > before:  # who knows of more knows better, however long ago
            self.claims[feed] = (number, at)

    def empty(self, kind: int, pattern: Pattern) -> Iterator[tuple[FeedId, Held]]:
        """Feeds of which their owners said that there is nothing; our own too."""
        own = FeedId(self.own, self.incarnation, kind)
        if own not in self.chains and own.server in pattern:
            yield own, NOTHING_HELD
        for feed, (number, _) in self.claims.items():
            if feed.kind == kind and not number and feed.server in pattern:
                yield feed, NOTHING_HELD

    # -- what is to be done

    def send(self, session: Session, message: Message) -> None:
        self.outputs.append(SendTo(session.peer, message))

    def is_current(self, session: Session | None) -> bool:
        """Whether the session still lasts."""
        return session is not None and self.sessions.get(session.peer) is session

    def report(self, event: str, feed: FeedId | None = None, **details: Any) -> None:
        if feed is not None:
            details = {"server": str(feed.server), "incarnation": feed.incarnation, "kind": feed.kind, **details}
        self.outputs.append(Report(event, details))


COUNTED = (
    "received", "duplicates", "applied", "forwarded", "pushed", "repaired", "asked", "advertised", "lazy", "refused",
    "dropped", "misbehaved", "undelivered",
)  # fmt: skip
