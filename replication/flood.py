"""Every mirror gets every update once and in its owner's order, sooner or later, whatever was cut off meanwhile (P3).

    a commit, synced ---> handle_committed --+--> UPDATE, Path [1.2]      to those on the tree of 1.2
                                             '--> VECTOR 50 ms later     to the others

    UPDATE --> Path? wanted? new? --> signature, leaves --> chained?  --+--> UPDATE, Path [1.2, 1.4], before the sync
                       |                                       |       '--> Apply --> store --> handle_applied
                  LAZY | fork?                 gap: wait, then SENDME            GOT, VECTOR, after the sync <--'

Rules (DESIGN F4, each with a test that breaks it):

- nothing is taken that its owner did not sign, that does not continue what is held, or that would lie on a hole;
- owners send after their sync; mirrors forward after verifying and before their own sync, and advertise after it;
- nobody is pushed what it has, or who is in the Path; Path saves work and decides nothing else;
- a live update that came twice, both times pushed, is answered LAZY; repairs are given when asked for, never pushed;
- two updates with one number in one run of an owner: the proof is kept, told to everyone, and the feed stands still;
- nothing said in a session is remembered after it; everything a peer can make us keep has a bound.

The caller carries out `Apply` in order and tells the outcome of each update (`handle_applied`, `handle_deferred`,
`handle_refused`). The parts: `intake` verifies and orders, `telling` pushes and advertises, `catch_up` finds what
is missing, `serving` gives repairs, `forks` keeps proofs; they share a `spool`. Left to others: whose key it is (the
node), reading leaves (the store).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Sequence
from random import Random
from typing import Any

from identity.errors import PeerMisbehaved
from identity.names import Pattern, ServerId
from replication.catch_up import CatchUp
from replication.chain import Chain, Mark
from replication.feeds import MAX_KNOWN_FEEDS, Session
from replication.forks import SigningKeyOf
from replication.intake import Intake, Introduce
from replication.messages import (
    MAX_RANGES,
    Digest,
    Feed,
    FeedId,
    FeedOk,
    Fork,
    Got,
    Lazy,
    Refuse,
    SendMe,
    UpdateMessage,
    Vector,
)
from replication.serving import Serving
from replication.spool import ReadUpdate, Spool
from replication.status import FeedStatus, carriers_of, mirrors_among, status_of, subscribers_of
from replication.telling import Telling
from store.records import DATA, Head, Seal, Update, head_hash
from transport.ranges import Ranges
from transport.wire import Message


class Flood:
    """One server's replication: a machine (`identity.machine`)."""

    def __init__(
        self,
        own: ServerId,
        incarnation: int,
        *,
        signing_key_of: SigningKeyOf,
        introduce_untrusted: Introduce,
        read_update: ReadUpdate,
        random: Random,
    ) -> None:
        """`signing_key_of(server, incarnation)`: the key the directory knows. `introduce_untrusted(head, leaves)`: the
        key of an owner whose registry update carries a chain that proves it; may raise `PeerMisbehaved`."""
        self._spool = Spool(own, incarnation, read_update)
        self._due = math.inf
        self._catch_up = CatchUp(self._spool, self._wake_at)
        self._serving = Serving(self._spool)
        self._telling = Telling(self._spool, self._catch_up, self._wake_at, random)
        self._intake = Intake(
            self._spool,
            self._catch_up,
            self._telling,
            signing_key_of=signing_key_of,
            introduce_untrusted=introduce_untrusted,
        )

    # -- the machine

    def deadline(self) -> float:
        return self._due

    def handle_deadline(self, now: float) -> None:
        if now < self._due:
            return
        self._due = math.inf
        self._catch_up.handle_deadline(now)
        for session in self._spool.sessions.values():
            self._telling.handle_deadline(session, now)
            if session.streams and not session.congested and self._serving.serve(session):
                self._wake_at(now)
        self._wake_at(self._catch_up.next_due())

    def take_outputs(self) -> Sequence[Any]:
        self._intake.hand_over()
        outputs, self._spool.outputs = self._spool.outputs, []
        return outputs

    def _wake_at(self, at: float) -> None:
        self._due = min(self._due, at)

    # -- wishes and sessions

    def load(self, held: Iterable[tuple[Any, ...]]) -> None:
        """What the store holds at its opening: (server, incarnation, kind, first, last, hash of last, ...)."""
        for server, incarnation, kind, first, last, last_hash, *_ in held:
            feed = FeedId(server, incarnation, kind)
            chain = Chain(feed, Mark(last, last_hash, -1, b"", 0), first)
            self._spool.chains[feed] = chain
            self._spool.hold(chain)

    def load_proofs(self, proofs: Iterable[Fork]) -> None:
        """After `load`: of owners that lied in an earlier run; their feeds stand still."""
        self._intake.forks.load(proofs)

    def adopt(self, adopting: bool) -> None:
        """Whether own updates are taken from others, which this server had signed before it came back in time."""
        self._spool.adopting = adopting

    def subscribe(self, kind: int, pattern: Pattern, now: float) -> None:
        """Mirror these feeds from now on. Raises `Exhausted` where that is more than a FEED can say."""
        if self._spool.wish(kind, pattern):
            for session in self._spool.sessions.values():
                self._catch_up.open(session, window=0)

    def require_room(self, pattern: Pattern) -> None:
        """Raise `Exhausted` where `subscribe` would."""
        self._spool.require_room(pattern)

    def unsubscribe(self, kind: int, pattern: Pattern, now: float) -> None:
        """Keep what is held, take nothing more."""
        if self._spool.unwish(kind, pattern):
            self._intake.handle_unsubscribed()
            for session in self._spool.sessions.values():
                self._catch_up.open(session, window=0)

    def handle_greeted(self, peer: ServerId, now: float) -> None:
        """A session with `peer` has begun, and both know who they are."""
        self.handle_parted(peer, now)
        session = self._spool.sessions[peer] = Session(peer)
        self._catch_up.open(session)
        self._telling.open(session, now)
        self._intake.forks.tell(session)
        self._catch_up.retry(now)  # its HELLO may have brought a key we lacked

    def handle_parted(self, peer: ServerId, now: float) -> None:
        """The session is over. What it sent and was verified stays on its way to the store."""
        session = self._spool.sessions.pop(peer, None)
        if session is not None:
            self._catch_up.handle_parted(session, now)

    def handle_undelivered(self, peer: ServerId, message: Message, now: float) -> None:
        """The transport's queue to `peer` was full: what this message said is told when it has drained."""
        session = self._spool.sessions.get(peer)
        if session is not None:
            self._telling.handle_undelivered(session, message)

    def handle_drained(self, peer: ServerId, now: float) -> None:
        """The queue to `peer` has room again."""
        session = self._spool.sessions.get(peer)
        if session is not None and session.congested:
            self._telling.handle_drained(session, now)

    # -- messages

    def handle_message(self, peer: ServerId, message: Message, now: float) -> None:
        """A message of the table `replication.messages.MESSAGES`. What is wrong with it is reported, never raised."""
        session = self._spool.sessions.get(peer)
        handle = _HANDLERS.get(type(message))
        if session is None or handle is None:
            return  # of a session that is over
        try:
            handle(self, session, message, now)
        except PeerMisbehaved as error:
            session.misbehaved += 1
            self._spool.counts["misbehaved"] += 1
            self._spool.report("misbehaved", peer=str(peer), cause=error.cause)

    def _handle_feed(self, session: Session, message: Feed, now: float) -> None:
        self._serving.grant(session, message.window)
        self._catch_up.handle_feed(session, message, now)
        self._serve(session, now)

    def _handle_send_me(self, session: Session, message: SendMe, now: float) -> None:
        self._serving.handle_send_me_untrusted(session, message)
        self._serve(session, now)

    def _serve(self, session: Session, now: float) -> None:
        if session.streams and not session.congested and self._serving.serve(session):
            self._wake_at(now)

    def _handle_lazy(self, session: Session, message: Lazy, now: float) -> None:
        self._spool.counts["lazy"] += 1
        if len(session.lazy) < MAX_KNOWN_FEEDS:
            session.lazy[message.origin] = None

    def _handle_got(self, session: Session, message: Got, now: float) -> None:
        feed = FeedId(message.origin, message.incarnation, message.kind)
        numbers = Ranges.from_list_untrusted(message.ranges, max_ranges=MAX_RANGES, lowest=1)
        if feed in self._spool.chains:
            for first, last in numbers:
                session.note_known(feed, first, last)

    # -- the store

    def handle_applied(self, updates: Sequence[Update], now: float) -> None:
        """The store has these updates of an `Apply` durably; the very objects, in their order."""
        self._intake.handle_applied(updates, now)

    def handle_deferred(self, update: Update, now: float) -> None:
        """The store cannot read it yet (a class it does not know): it stays missing until the registry advances."""
        self._intake.handle_deferred(update, now)

    def handle_refused(self, update: Update, reason: str, now: float) -> None:
        """The store will never take it: the feed stands still, and people are told."""
        self._intake.handle_refused(update, reason, now)

    def handle_registry_advanced(self, now: float) -> None:
        """The directory knows more owners, keys or classes than before."""
        self._intake.handle_registry_advanced(now)

    def handle_committed(self, seals: Sequence[Seal], now: float) -> None:
        """Groups of this server are durable, in order: now others may hear of them."""
        spool = self._spool
        for seal in seals:
            feed = FeedId(spool.own, spool.incarnation, seal.kind)
            chain = spool.chains.get(feed)
            if chain is None:
                chain = spool.chains[feed] = Chain(feed)
            head = Head.from_bytes_untrusted(seal.head)
            chain.extend(Mark(seal.number, head_hash(seal.head), head.epoch, head.nonce, 0))
            spool.hold(chain)
            self._telling.push(feed, seal.number, (spool.own,), None)
            self._telling.advertise(feed, seal.number, now)

    # -- questions

    def feeds(self, now: float) -> list[FeedStatus]:
        """Every feed that is held or carried, in the order of names."""
        return status_of(self._spool, now)

    def age(self, feed: FeedId, now: float) -> float | None:
        """Seconds since this server was proven to hold all there was of the feed; own 0.0; None: never."""
        return self._spool.age(feed, now)

    def position(self, feed: FeedId) -> int:
        """The last update that is durable here; 0: none."""
        chain = self._spool.chains.get(feed)
        return chain.durable.number if chain else 0

    def lag(self, feed: FeedId) -> int:
        """How many updates are known to exist and not durable here."""
        chain = self._spool.chains.get(feed)
        return max(0, chain.known - chain.durable.number) if chain else 0

    def carriers(self, server: ServerId, kind: int = DATA) -> list[ServerId]:
        """Greeted peers that can be asked for this owner's objects: itself, its mirrors, who holds its feed."""
        return carriers_of(self._spool, server, kind)

    def is_carried(self, server: ServerId, but: Container[ServerId] = ()) -> bool:
        """Whether anybody greeted, `but` these, is the owner of this data feed or mirrors it."""
        return any(each not in but for each in mirrors_among(self._spool, server))

    def subscribers(self, server: ServerId, kind: int = DATA) -> list[ServerId]:
        """Greeted peers that are fed this owner's updates from here."""
        return subscribers_of(self._spool, server, kind)

    def proofs(self) -> dict[FeedId, Fork]:
        """The feeds whose owner lied, each with the proof."""
        return dict(self._intake.forks.proofs)

    def statistics(self) -> dict[str, int]:
        """What happened since the start, by `replication.spool.COUNTED`, and bytes held in memory."""
        return {**self._spool.counts, "held_bytes": self._intake.held_bytes}


_HANDLERS: dict[type[Message], Callable[[Flood, Session, Any, float], None]] = {
    Feed: Flood._handle_feed,
    FeedOk: lambda flood, session, message, now: flood._catch_up.handle_feed_ok(session, message, now),
    Digest: lambda flood, session, message, now: flood._catch_up.handle_digest(session, message, now),
    Vector: lambda flood, session, message, now: flood._catch_up.handle_vector(session, message, now),
    SendMe: Flood._handle_send_me,
    UpdateMessage: lambda flood, session, message, now: flood._intake.handle_update_untrusted(session, message, now),
    Lazy: Flood._handle_lazy,
    Got: Flood._handle_got,
    Refuse: lambda flood, session, message, now: flood._catch_up.handle_refuse_untrusted(session, message, now),
    Fork: lambda flood, session, message, now: flood._intake.forks.handle_fork_untrusted(session, message),
}
