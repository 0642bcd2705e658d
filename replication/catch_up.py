"""What is missing is found exactly, and asked for: from one peer per feed at a time, from another if it withholds.

    greeted   FEED(my wishes, my digests)   ->
                                            <-   FEEDOK(its digests): all equal, nothing more is said
                                            <-   VECTOR where at most 64 feeds are left, else DIGEST with branches
              DIGEST? for each branch that differs ->                        ... down the name tree
    missing   SENDME(5-900, 4 MiB)          ->   UPDATE, UPDATE, ...         (replication.serving)

              no answer in 10 s, or in 2 s where others hold it: SENDME to another

    later     a live update above a gap, or an advertisement: wait 120 ms for it to come by itself, then
              SENDME(graft) when the gap is at the head, SENDME(repair) when it is old (DESIGN F4)

Rules: what is durable here and what peers say they hold decide, never Path, never what was told in another session.
A peer that keeps back what it advertised for `WITHHELD_S` is taken at its deed: the numbers are struck from
what it holds and others are asked. Regular vectors (every `BEAT_S`, at most 64 feeds in turn) tell how current
everything is, and heal an advertisement that was lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from identity.names import Pattern
from replication.chain import Chain
from replication.coverage import EXACT_FEEDS
from replication.feeds import Session
from replication.leaves import update_hash
from replication.messages import (
    MAX_ENTRIES,
    MAX_RANGES,
    WINDOW_BYTES,
    Branch,
    Digest,
    Entry,
    Feed,
    FeedId,
    FeedOk,
    Mode,
    Refuse,
    SendMe,
    Vector,
)
from replication.spool import Spool
from store.records import REGISTRY, Update
from transport.ranges import Ranges

GRAFT_S = 0.12  # how long an advertised update may take to come by itself (sketches/feedspool)
GRAFT_MOST = 64  # numbers: more than that is no gap at the head
WITHHELD_S = 10.0  # during which the lowest number that was asked for does not come
NEAR_S = 2.0  # the same of few numbers that somebody else holds too: the peer may have fallen silent just now
MAX_UNVERIFIABLE = 4096  # feeds whose owner is not known yet


class Ask(NamedTuple):
    """What one peer was asked for and has not sent yet."""

    session: Session
    outstanding: Ranges
    progress: list[float]  # one number: when the lowest of it came
    patience_s: float  # from then on


class CatchUp:
    """Compares with peers, and asks for what is missing."""

    def __init__(self, spool: Spool, wake_at: Callable[[float], None]) -> None:
        self._spool = spool
        self._wake_at = wake_at
        self._asks: dict[FeedId, Ask] = {}
        self._due: dict[FeedId, float] = {}  # when to look at a feed again
        self._grafting: dict[FeedId, None] = {}  # what opened the gap was live
        self._questioned: dict[tuple[FeedId, int], None] = {}  # numbers of which a peer holds another update
        self.unverifiable: dict[FeedId, None] = {}  # not asked for before the registry advances

    # -- comparing

    def open(self, session: Session, *, window: int = WINDOW_BYTES) -> None:
        """Tell the peer what is wanted and what of it is held.

        Messages overtake each other. Where two of these were under way at once, the older one may be in force there
        in the end, so it is said once more when both are answered.
        """
        session.crossed = session.crossed or session.unanswered > 0
        session.unanswered += 1
        self._spool.send(session, Feed(self._spool.subscriptions(), window))

    def handle_feed(self, session: Session, message: Feed, now: float) -> None:
        spool = self._spool
        session.subscribe(message.subscriptions)
        mine = tuple(spool.subscription(each.kind, each.pattern, each.hop_limit) for each in message.subscriptions)
        spool.send(session, FeedOk(mine))
        for theirs, ours in zip(message.subscriptions, mine, strict=True):
            if theirs.digest != ours.digest:
                self._tell(session, ours.kind, ours.pattern, b"", now)

    def handle_feed_ok(self, session: Session, message: FeedOk, now: float) -> None:
        spool = self._spool
        session.unanswered = max(0, session.unanswered - 1)
        if session.crossed and not session.unanswered:
            session.crossed = False
            self.open(session, window=0)
            return
        session.feeds_me = message.subscriptions
        for each in message.subscriptions:
            if session.peer in each.pattern and each.digest == spool.coverage.digest(each.kind, each.pattern):
                for feed, chain in spool.chains.items():  # the owner itself says that there is nothing more
                    if feed.server == session.peer and feed.kind == each.kind:
                        chain.prove_current(chain.durable.number, now)

    def handle_digest(self, session: Session, message: Digest, now: float) -> None:
        spool = self._spool
        kind, pattern, prefix = message.kind, message.pattern, message.prefix
        if message.asked:
            wanted = any(each.kind == kind and each.pattern == pattern for each in session.wants)
            if wanted and spool.coverage.digest(kind, pattern, prefix) != message.digest:
                self._tell(session, kind, pattern, prefix, now)
            return
        if (kind, pattern.text) not in spool.wishes:
            return
        for branch in message.branches:
            if not branch.prefix.startswith(prefix) or len(branch.prefix) <= len(prefix):
                continue  # a descent that does not descend could go on for ever
            mine = spool.coverage.digest(kind, pattern, branch.prefix)
            if mine != branch.digest:
                spool.send(session, Digest(kind, pattern, branch.prefix, mine, (), asked=True))

    def _tell(self, session: Session, kind: int, pattern: Pattern, prefix: bytes, now: float) -> None:
        """A feeder's answer where two differ: vectors where few feeds are left, else the branches."""
        spool = self._spool
        branches: tuple[Branch, ...] = ()
        if spool.coverage.count(kind, pattern, prefix) > EXACT_FEEDS:
            branches = spool.coverage.branches(kind, pattern, prefix)
        if branches:
            mine = spool.coverage.digest(kind, pattern, prefix)
            spool.send(session, Digest(kind, pattern, prefix, mine, branches, asked=False))
            return
        entries = tuple(spool.entries(kind, pattern, prefix, now))
        for start in range(0, len(entries), MAX_ENTRIES):
            spool.send(session, Vector(entries[start : start + MAX_ENTRIES], whole=True))

    def handle_vector(self, session: Session, message: Vector, now: float) -> None:
        for entry in message.entries:
            if not self._spool.carries(entry.feed):
                continue
            if not entry.ranges:
                self._learn_empty(entry, now)
            else:
                self._learn(session, entry, now, delay=0.0 if message.whole else GRAFT_S)

    def _learn(self, session: Session, entry: Entry, now: float, *, delay: float) -> None:
        spool, feed = self._spool, entry.feed
        top = 0
        for held in entry.ranges:
            if 1 <= held.first <= held.last:
                session.note_known(feed, held.first, held.last)
                top = max(top, held.last)
        chain = spool.chains.get(feed)
        if spool.is_own(feed) and not spool.adopting:
            if top > (chain.taken.number if chain else 0):
                spool.report("own_feed_ahead", feed, peer=str(session.peer), number=top)
            return
        if chain is not None:
            chain.known = max(chain.known, top)
            if entry.age_ms is not None:
                chain.prove_current(top, now - entry.age_ms / 1000)
            if chain.grows:
                self._question(session, feed, entry)
        elif entry.age_ms is not None:
            spool.claim(feed, top, now - entry.age_ms / 1000)
        if chain is None or top > chain.taken.number:
            self.want(feed, now + delay, graft=delay > 0)

    def _learn_empty(self, entry: Entry, now: float) -> None:
        """The owner has published nothing, or had not when somebody last knew: then we hold all of it."""
        if entry.age_ms is not None and entry.feed not in self._spool.chains and not self._spool.is_own(entry.feed):
            self._spool.claim(entry.feed, 0, now - entry.age_ms / 1000)

    def _question(self, session: Session, feed: FeedId, entry: Entry) -> None:
        """Where a peer's hash of an update is not ours, its update is fetched: it is the proof of a fork."""
        chain = self._spool.chains[feed]
        for held in entry.ranges:
            mine = self._hash_of(chain, held.last, log=held is entry.ranges[-1])
            if mine is not None and mine != held.last_hash and (feed, held.last) not in self._questioned:
                if len(self._questioned) >= MAX_UNVERIFIABLE:
                    self._questioned.clear()
                self._questioned[feed, held.last] = None
                self._send_me(session, feed, ((held.last, held.last),), Mode.REPAIR)

    def _hash_of(self, chain: Chain, number: int, *, log: bool) -> bytes | None:
        """Of an update that is held here; None where it is not, or only the log could tell and is not asked.

        After a restart the log alone knows all but the last, and two who were told two stories before it must find out
        (DESIGN I7). It is asked for one number of a peer's entry: that is what a question costs its answerer as well.
        """
        recent = chain.recent.get(number)
        if recent is not None:
            return recent[0]
        if number == chain.taken.number:
            return chain.taken.digest
        data = self._spool.read(chain.feed, number) if log else None
        return None if data is None else update_hash(Update.from_bytes_untrusted(data))

    # -- asking

    def want(self, feed: FeedId, at: float, *, graft: bool = False) -> None:
        """Look at time `at` whether something of the feed is missing, and ask for it."""
        if at < self._due.get(feed, math.inf):
            self._due[feed] = at
            self._wake_at(at)
        if graft:
            self._grafting[feed] = None

    def handle_arrived(self, feed: FeedId, number: int, session: Session, now: float) -> None:
        """This number need not be asked for again, whether it was taken or dropped."""
        ask = self._asks.get(feed)
        if ask is None:
            return
        if session is ask.session and number == ask.outstanding.lowest:
            ask.progress[0] = now  # a peer that keeps back the first gains no time by sending others
        ask.outstanding.subtract(number)
        if not ask.outstanding:
            self._end(feed)
            self.want(feed, now)

    def handle_refuse_untrusted(self, session: Session, message: Refuse, now: float) -> None:
        """The peer has not got what it advertised. Raises `PeerMisbehaved` for ranges that are none."""
        refused = Ranges.from_list_untrusted(message.ranges, max_ranges=MAX_RANGES)
        self._strike(session, FeedId(message.origin, message.incarnation, message.kind), refused, now)

    def strike(self, session: Session, feed: FeedId, number: int, now: float) -> None:
        """What the peer sent as this number was worth nothing: it does not hold it."""
        self._strike(session, feed, Ranges([(number, number)]), now)

    def handle_parted(self, session: Session, now: float) -> None:
        """Whatever the peer was asked for is asked of others."""
        for feed, ask in list(self._asks.items()):
            if ask.session is session:
                self._end(feed)
                self.want(feed, now)
        self._questioned.clear()  # what it was asked may never come

    def next_due(self) -> float:
        return min(self._due.values(), default=math.inf)

    def handle_deadline(self, now: float) -> None:
        for feed in [feed for feed, at in self._due.items() if at <= now]:
            del self._due[feed]
            self._pursue(feed, now)

    def _pursue(self, feed: FeedId, now: float) -> None:
        spool = self._spool
        graft = feed in self._grafting
        self._grafting.pop(feed, None)
        chain = spool.chains.get(feed)
        if (chain is not None and not chain.grows) or feed in self.unverifiable or not spool.carries(feed):
            self._end(feed)
            return
        ask = self._asks.get(feed)
        if ask is not None and now >= ask.progress[0] + ask.patience_s:
            if ask.patience_s == WITHHELD_S:
                spool.report("withheld", feed, peer=str(ask.session.peer), ranges=ask.outstanding.as_list()[:8])
            self._strike(ask.session, feed, ask.outstanding.copy(), now)
            ask = None
        taken = chain.taken.number if chain else 0
        holders = [each for each in spool.sessions.values() if feed in each.known]
        top = max((each.known[feed].highest or 0 for each in holders), default=0)
        if top <= taken:
            return
        if chain is not None and chain.severed:  # what lies above may be of another branch
            top = taken + 1
        missing = Ranges([(taken + 1, top)])
        if chain is not None and chain.waiting:
            missing = missing.difference(Ranges((number, number) for number in sorted(chain.waiting)))
        if ask is not None:
            missing = missing.difference(ask.outstanding)
            holders = [ask.session]  # one peer per feed at a time: updates of two would only wait for each other
            self.want(feed, ask.progress[0] + ask.patience_s)
        first = missing.lowest
        if first is None:
            return
        holders = [each for each in holders if first in each.known[feed]] if ask is None else holders
        if not holders:
            return
        chosen = min(holders, key=lambda each: each.asks)  # the first of equals: sessions keep their order
        ranges = Ranges(missing.intersection(chosen.known.get(feed, Ranges())).as_list()[:MAX_RANGES])
        if not ranges:
            return
        near = graft and ranges.count() <= GRAFT_MOST
        if near:
            chosen.lazy.pop(feed.server, None)
            chosen.pruned.pop(feed.server, None)
        self._send_me(chosen, feed, tuple(ranges), Mode.GRAFT if near else Mode.REPAIR)
        if ask is None:
            others = any(each is not chosen and first in each.known[feed] for each in holders)
            patience_s = NEAR_S if others and ranges.count() <= GRAFT_MOST else WITHHELD_S
            self._asks[feed] = Ask(chosen, ranges, [now], patience_s)
            chosen.asks += 1
            self.want(feed, now + patience_s)
        else:
            ask.outstanding.update(ranges)

    def _send_me(self, session: Session, feed: FeedId, ranges: tuple[tuple[int, int], ...], mode: Mode) -> None:
        self._spool.counts["asked"] += 1
        budget, session.owed = session.owed, 0
        self._spool.send(session, SendMe(feed.server, feed.incarnation, feed.kind, ranges, mode, budget))

    def grant(self, session: Session, feed: FeedId) -> None:
        """Repair bytes were dealt with: as many more may come."""
        self._send_me(session, feed, (), Mode.REPAIR)
        self._spool.counts["asked"] -= 1

    def _end(self, feed: FeedId) -> None:
        ask = self._asks.pop(feed, None)
        if ask is not None:
            ask.session.asks -= 1

    def _strike(self, session: Session, feed: FeedId, numbers: Ranges, now: float) -> None:
        known = session.known.get(feed)
        ask = self._asks.get(feed)
        for first, last in numbers.as_list():
            if known is not None:
                known.subtract(first, last)
            if ask is not None and ask.session is session:
                ask.outstanding.subtract(first, last)
        if known is not None and not known:
            del session.known[feed]
        if ask is not None and ask.session is session and not ask.outstanding:
            self._end(feed)
        self.want(feed, now)

    # -- feeds whose owner is not known yet

    def set_aside(self, feed: FeedId) -> None:
        """Its updates cannot be verified before the registry advances (DESIGN F4)."""
        if len(self.unverifiable) >= MAX_UNVERIFIABLE:
            self.unverifiable.pop(next(iter(self.unverifiable)))
        self.unverifiable[feed] = None

    def retry(self, now: float) -> None:
        """The registry has advanced: registry feeds first, they are what the others wait for."""
        waiting = sorted(self.unverifiable, key=lambda feed: feed.kind != REGISTRY)
        self.unverifiable.clear()
        for feed in waiting:
            self.want(feed, now)
