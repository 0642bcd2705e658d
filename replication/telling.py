"""What neighbours are told: updates at once, advertisements after 50 ms, how current everything is every 5 s.

    push        to whom `feeds.may_push` allows, one message object for all of them
    advertise   VECTOR of feeds that grew, to subscribers that have not got the news by their own word or our sending
    got         GOT to whom we have the update from, after our sync
    beat        VECTOR with ages: own feeds, those that grew last, and up to 64 of all in turn

When the transport's queue to a neighbour is full, nothing is queued twice: pushes to it stop, what could not be
queued is remembered as one bit per feed, and it is advertised when the queue has drained (DESIGN F4: offer repairs).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, islice
from random import Random

from identity.names import ServerId
from replication.catch_up import CatchUp
from replication.coverage import EXACT_FEEDS
from replication.feeds import Session, may_push
from replication.messages import (
    MAX_ENTRIES,
    MAX_RANGES,
    WINDOW_BYTES,
    Entry,
    Feed,
    FeedId,
    Got,
    Lazy,
    SendMe,
    UpdateMessage,
    Vector,
)
from replication.spool import Spool
from store.records import DATA, REGISTRY, Update
from transport.ranges import Ranges
from transport.wire import Message

BEAT_S = 5.0  # an age shown to people is at most this old on a healthy link
FIRST_BEAT_S = 0.2
NEWEST = 16  # feeds that grew last, told at every beat: of a mesh of 1000 each other one has its turn after 80 s


class Telling:
    """Sends what others should know."""

    def __init__(self, spool: Spool, catch_up: CatchUp, wake_at: Callable[[float], None], random: Random) -> None:
        self._spool = spool
        self._catch_up = catch_up
        self._wake_at = wake_at
        self._random = random
        self._newest: dict[FeedId, None] = {}

    def open(self, session: Session, now: float) -> None:
        """The regular telling begins, not at one moment for all neighbours."""
        session.beat_at = now + FIRST_BEAT_S * (0.5 + self._random.random())
        self._wake_at(session.beat_at)

    def push(self, feed: FeedId, number: int, path: tuple[ServerId, ...], data: bytes | None) -> int:
        """A live update, to everybody on the tree of its origin. `data` None: read it when somebody wants it."""
        message = None
        pushed = 0
        for session in self._spool.sessions.values():
            if not may_push(session, feed, number, path):
                continue
            if message is None:
                data = self._spool.read(feed, number) if data is None else data
                if data is None:
                    break  # unreadable: reported when it is asked for
                message = UpdateMessage(path, live=True, update=data)
            session.note_sent(feed, number)
            self._spool.send(session, message)
            pushed += 1
        self._spool.counts["pushed"] += pushed
        return pushed

    def advertise(self, feed: FeedId, number: int, now: float) -> None:
        """Update `number` is durable here: tell those who want it and have not got it."""
        self._newest.pop(feed, None)
        self._newest[feed] = None
        if len(self._newest) > NEWEST:
            del self._newest[next(iter(self._newest))]
        for session in self._spool.sessions.values():
            if session.lacks_news(feed, number):
                session.advertise(feed, now)
                assert session.flush_at is not None
                self._wake_at(session.flush_at)

    def tell_got(self, session: Session, feed: FeedId, number: int, now: float) -> None:
        session.tell_got(feed, number, now)
        assert session.flush_at is not None
        self._wake_at(session.flush_at)

    def handle_deadline(self, session: Session, now: float) -> None:
        """What is due to one neighbour."""
        if session.congested:
            return
        if session.flush_at is not None:
            if session.flush_at <= now:
                self._flush(session, now)
            else:
                self._wake_at(session.flush_at)
        if session.beat_at <= now:
            self._beat(session, now)
        self._wake_at(session.beat_at)

    def _flush(self, session: Session, now: float) -> None:
        spool = self._spool
        session.flush_at = None
        got, session.got = session.got, {}
        for feed, numbers in got.items():
            ranges = tuple(numbers.newest(MAX_RANGES)[::-1])
            spool.send(session, Got(feed.server, feed.incarnation, feed.kind, ranges))
        adverts, session.adverts = session.adverts, {}
        entries: list[Entry] = []
        for feed in adverts:
            held = spool.coverage.get(feed)
            if held is not None and session.lacks_news(feed, held.last):
                entries.append(spool.entry(feed, held, now))
        for start in range(0, len(entries), MAX_ENTRIES):
            spool.send(session, Vector(tuple(entries[start : start + MAX_ENTRIES]), whole=False))
        spool.counts["advertised"] += len(entries)

    def _beat(self, session: Session, now: float) -> None:
        """Some of what the peer wants, a different part each time where there is much of it; the news always."""
        spool = self._spool
        session.beat_at = now + BEAT_S
        if not session.feeds_me or session.crossed:
            # Our FEED came before the peer had greeted us, or its answer is slow, or one overtook another: again.
            session.crossed, session.unanswered = False, 0
            self._catch_up.open(session, window=0 if session.feeds_me else WINDOW_BYTES)
        entries: dict[FeedId, Entry] = {}
        for kind in (REGISTRY, DATA):
            own = FeedId(spool.own, spool.incarnation, kind)
            held = spool.coverage.get(own)
            if held is not None and session.hop_limit(own):
                entries[own] = spool.entry(own, held, now)
        for feed in self._newest:
            held = spool.coverage.get(feed)
            if held is not None and session.hop_limit(feed):
                entries[feed] = spool.entry(feed, held, now)
        wanted = [(each.kind, each.pattern) for each in session.wants]
        everything = chain(
            (pair for kind, pattern in wanted for pair in spool.coverage.select(kind, pattern)),
            (pair for kind, pattern in wanted for pair in spool.empty(kind, pattern)),
        )
        turn = list(islice(everything, session.told, session.told + EXACT_FEEDS))
        session.told = session.told + EXACT_FEEDS if len(turn) == EXACT_FEEDS else 0
        for feed, held in turn:
            entries.setdefault(feed, spool.entry(feed, held, now))
        if entries:
            spool.send(session, Vector(tuple(entries.values()), whole=False))

    # -- a full queue

    def handle_undelivered(self, session: Session, message: Message) -> None:
        """The transport's queue to the neighbour was full."""
        session.congested = True
        self._spool.counts["undelivered"] += 1
        if isinstance(message, UpdateMessage):
            head = Update.from_bytes_untrusted(message.update).head
            feed = FeedId(head.server, head.incarnation, head.kind)
            if feed in session.sent:
                session.sent[feed].subtract(head.number)
            if message.live:
                session.adverts[feed] = None
            else:
                session.streams.setdefault(feed, Ranges()).add(head.number)
                session.credit += len(message.update)
        elif isinstance(message, Vector):
            session.adverts.update(dict.fromkeys(each.feed for each in message.entries))
        elif isinstance(message, Got):
            got = session.got.setdefault(FeedId(message.origin, message.incarnation, message.kind), Ranges())
            for first, last in message.ranges:
                got.add(first, last)
        elif not isinstance(message, Lazy):  # a LAZY is said again at the next duplicate
            session.must_resync = True
            if isinstance(message, SendMe):
                session.owed += message.budget
            elif isinstance(message, Feed):
                session.owed += message.window
                session.unanswered -= 1
        else:
            session.pruned.pop(message.origin, None)

    def handle_drained(self, session: Session, now: float) -> None:
        """The queue to the neighbour has room again."""
        session.congested = False
        if session.must_resync:
            session.must_resync = False
            window, session.owed = session.owed, 0
            self._catch_up.open(session, window=window)
            self._catch_up.handle_parted(session, now)  # what it was asked may be what was lost
        session.flush_at = now
        self._wake_at(now)
