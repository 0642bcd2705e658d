"""From a peer's message to the disk: nothing is taken that its owner did not sign or that would lie on a hole.

    UPDATE  Path? wanted? new?  ->  signature, leaves  ->  next number?  -- no -->  waits for the one before
                     |                                          | yes
               the same: LAZY, or a lie: `forks`                v
                                                 chained? pushed on?  ->  Apply  ->  store  ->  GOT, VECTOR

Each update has one outcome here, and its bytes are counted until then (`MAX_HELD_BYTES`, over all feeds): durable,
dropped, or fallen back because the store could not take it yet. A peer gets its repair bytes granted again at that
moment and not before, so a slow disk slows its senders down and fills no memory.

Left to others: whom to ask for what is missing (`catch_up`), whom to tell (`telling`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from identity.errors import PeerMisbehaved
from replication.catch_up import GRAFT_S, CatchUp
from replication.chain import MAX_WAITING, Arrival, Chain, Mark, Standing, Verdict, are_conflicting
from replication.feeds import Session, check_path_untrusted
from replication.forks import Forks, SigningKeyOf
from replication.leaves import check_leaves_untrusted, update_hash, verify_signature, verify_update_untrusted
from replication.messages import WINDOW_BYTES, Apply, FeedId, Lazy, UpdateMessage
from replication.spool import MAX_FEEDS, Spool
from replication.telling import Telling
from store.records import REGISTRY, Head, Update

MAX_HELD_BYTES = 64 << 20  # updates in memory, waiting or at the store; beyond, they are dropped and asked for later
TOP_UP_BYTES = WINDOW_BYTES // 4  # granted again at once: three quarters are still on their way
APPLY_UPDATES = 256
APPLY_BYTES = 4 << 20  # one synced transaction of the store at a time stays far below its bound (DESIGN L6)

Introduce = Callable[[Head, bytes], bytes | None]


class Intake:
    """Verifies, orders and hands over what others send."""

    def __init__(
        self,
        spool: Spool,
        catch_up: CatchUp,
        telling: Telling,
        *,
        signing_key_of: SigningKeyOf,
        introduce_untrusted: Introduce,
    ) -> None:
        self._spool = spool
        self._catch_up = catch_up
        self._telling = telling
        self._signing_key_of = signing_key_of
        self._introduce_untrusted = introduce_untrusted
        self.forks = Forks(spool, signing_key_of, self._release)
        self._ready: list[Arrival] = []  # verified and chained, for the next Apply
        self.held_bytes = 0  # of all arrivals that wait or are at the store
        # Of those that wait for the one before: half at most, so that the one before always finds room.
        self._waiting_bytes = 0
        self._starved: dict[FeedId, None] = {}  # feeds of which something was dropped for want of memory
        self._registry_generation = 0

    def handle_update_untrusted(self, session: Session, message: UpdateMessage, now: float) -> None:
        """One update of a peer. Raises `PeerMisbehaved`."""
        update = Update.from_bytes_untrusted(message.update)
        head = update.head
        feed = FeedId(head.server, head.incarnation, head.kind)
        self._spool.counts["received"] += 1
        kept = False
        try:
            kept = self._receive_untrusted(session, message, update, feed, now)
        except PeerMisbehaved:
            self._catch_up.strike(session, feed, head.number, now)  # others are asked for it
            raise
        finally:
            if not kept and not message.live:
                self._settle(session, feed, len(message.update))
        self._catch_up.handle_arrived(feed, head.number, session, now)

    def _receive_untrusted(
        self, session: Session, message: UpdateMessage, update: Update, feed: FeedId, now: float
    ) -> bool:
        """Says whether the update is kept: on its way to the store, or waiting for the one before it."""
        spool, number = self._spool, update.head.number
        wrong = check_path_untrusted(message.path, live=message.live, origin=feed.server, peer=session.peer)
        if wrong is not None or number < 1:
            raise PeerMisbehaved(f"{session.peer} sent update {number} of {feed} with {wrong or 'no number'}")
        chain = spool.chains.get(feed)
        if spool.is_own(feed) and not spool.adopting:
            if chain is None or number > chain.taken.number:
                spool.report("own_feed_ahead", feed, peer=str(session.peer), number=number)
            return False
        if not spool.carries(feed) or (chain is not None and chain.standing is Standing.QUARANTINED):
            return False
        # Who pushes an update has chained it, so it holds those before it: a gap below is asked of it at once.
        taken = chain.taken.number if chain else 0
        session.note_known(feed, min(taken + 1, number) if message.live else number, number)
        if chain is not None:
            chain.known = max(chain.known, number)
            if number <= chain.taken.number or number in chain.waiting:
                self._handle_duplicate(session, message, update, chain)
                return False
            if not chain.grows:
                return False
        next_number = chain.taken.number + 1 if chain else 1
        size = len(message.update)
        full = self.held_bytes + size > MAX_HELD_BYTES
        if number != next_number:
            waiting = len(chain.waiting) if chain else 0
            full = full or waiting >= MAX_WAITING or self._waiting_bytes + size > MAX_HELD_BYTES // 2
            if chain is not None and chain.severed:
                spool.counts["dropped"] += 1  # it may be of the other branch, and wait for ever
                return False
        if full:
            self._starved[feed] = None
            spool.counts["dropped"] += 1
            return False
        key = self._key_of(feed, chain)
        if key is None and feed.kind == REGISTRY:
            try:
                key = self._introduce_untrusted(update.head, update.leaves)
            except PeerMisbehaved:
                if session.peer == feed.server:
                    raise
                # What the owner signed may make no sense; who knew its key passed it on in good faith.
        if key is None:
            if feed not in self._catch_up.unverifiable:
                spool.report("unverifiable", feed, number=number, peer=str(session.peer))
            self._catch_up.set_aside(feed)
            return False
        checked = verify_update_untrusted(update, key)
        self._catch_up.unverifiable.pop(feed, None)
        if chain is None:
            if len(spool.chains) >= MAX_FEEDS:
                spool.report("full", feed, cause=f"{MAX_FEEDS} feeds are carried already")
                return False
            chain = spool.chains[feed] = Chain(feed)
            chain.known = number
            chain.claim = spool.claims.pop(feed, None)
        chain.key = key
        arrival = Arrival(
            update,
            update_hash(update),
            size,
            message.path,
            # With this server in the Path, forged or confused, it is worth as much and offered instead of pushed on.
            live=message.live and spool.own not in message.path,
            paid=not message.live,
            sequence=checked.highest,
            lowest=checked.lowest,
            sender=session,
        )
        self.held_bytes += size
        if number == next_number:
            return self._grow(chain, arrival, now)
        chain.waiting[number] = arrival
        arrival.waits = True
        self._waiting_bytes += size
        self._catch_up.want(feed, now + GRAFT_S, graft=message.live)
        return True

    def _grow(self, chain: Chain, first: Arrival, now: float) -> bool:
        """Take the next update, and those that waited for it. Says whether the first was taken."""
        self._read_mark(chain)
        arrival: Arrival | None = first
        while arrival is not None:
            verdict = chain.continues(arrival)
            if verdict is not Verdict.CONTINUES:
                if arrival is not first and arrival.paid:
                    self._settle(arrival.sender, chain.feed, arrival.size)
                self._break(chain, verdict, arrival, now)
                return arrival is not first
            chain.take(arrival)
            if chain.reason:
                chain.reason = ""
                self._catch_up.want(chain.feed, now)  # what was not kept above it
            arrival.since = self._registry_generation
            self._ready.append(arrival)
            number = chain.taken.number
            if arrival.live:
                path = (*arrival.path, self._spool.own)
                if self._telling.push(chain.feed, number, path, arrival.update.to_bytes()):
                    self._spool.counts["forwarded"] += 1
                if len(arrival.path) == 1:  # the owner itself, just now
                    chain.prove_current(number, now)
            arrival = chain.waiting.pop(number + 1, None)
            if arrival is not None:
                arrival.waits = False
                self._waiting_bytes -= arrival.size
        return True

    def _break(self, chain: Chain, verdict: Verdict, arrival: Arrival, now: float) -> None:
        """The owner signed it, and it does not continue what the owner signed before."""
        feed, head = chain.feed, arrival.update.head
        self.held_bytes -= arrival.size
        if verdict is Verdict.FORK:
            held = self._held_update(chain, head.number - 1)
            if held is not None:
                self.forks.convict(chain, held, arrival.update)
            return
        # Maybe replayed by a stranger: it is refused, and the feed goes on when what continues it comes.
        cause = f"update {head.number} of {feed} in epoch {head.epoch} does not continue epoch {chain.taken.epoch}"
        if chain.reason != cause:
            chain.reason = cause
            self._spool.report("rolled_back", feed, number=head.number, epoch=head.epoch, cause=cause)
        dropped = list(chain.waiting.values())
        chain.waiting.clear()
        self._release(dropped)
        self._catch_up.strike(arrival.sender, feed, head.number, now)

    def _handle_duplicate(self, session: Session, message: UpdateMessage, update: Update, chain: Chain) -> None:
        """An update whose number is held: the same, or a lie."""
        feed, number = chain.feed, update.head.number
        waiting = chain.waiting.get(number)
        known = (waiting.digest, waiting.live) if waiting else chain.recent.get(number)
        held = None
        if known is None:
            held = self._held_update(chain, number)
            known = (update_hash(held) if held else update_hash(update), False)
        if known[0] == update_hash(update):
            self._spool.counts["duplicates"] += 1
            if message.live and known[1] and feed.server not in session.pruned:
                session.pruned[feed.server] = None
                session.lazy[feed.server] = None  # it has what we have, as early: neither pushes to the other
                self._spool.send(session, Lazy(feed.server))
            return
        key = self._key_of(feed, chain)
        head = update.head
        if key is None or not verify_signature(head.to_bytes(), update.signature, key):
            raise PeerMisbehaved(f"{session.peer} sent an update {number} of {feed} that {feed.server} did not sign")
        held = held or self._held_update(chain, number)
        if held is not None and are_conflicting(held.head, head):
            self.forks.convict(chain, held, update)
        else:
            cause = f"another update {number} of {feed}, of epoch {head.epoch}"
            self._spool.report("rolled_back", feed, number=number, epoch=head.epoch, cause=cause)

    def _key_of(self, feed: FeedId, chain: Chain | None) -> bytes | None:
        """The owner's key: as the directory knows it, or as he introduced himself just now in his registry feed."""
        known = self._signing_key_of(feed.server, feed.incarnation)
        if known is None and feed.kind != REGISTRY:
            chain = self._spool.chains.get(FeedId(feed.server, feed.incarnation, REGISTRY))
        return known or (chain.key if chain else None)

    def _held_update(self, chain: Chain, number: int) -> Update | None:
        if number in chain.waiting:
            return chain.waiting[number].update
        data = self._spool.read(chain.feed, number)
        return None if data is None else Update.from_bytes_untrusted(data)

    def _read_mark(self, chain: Chain) -> None:
        """After a restart: in which run of its owner, and at which sequence, what is held ends."""
        if chain.taken.epoch >= 0:
            return
        number, digest = chain.taken.number, chain.taken.digest
        held = self._held_update(chain, number)
        mark = Mark(number, digest, 0, b"", 0)  # unreadable: its hash is known, and that is the chain
        if held is not None:
            head = held.head
            checked = check_leaves_untrusted(head.server, head.incarnation, held.leaves, head.count)
            mark = Mark(number, digest, head.epoch, head.nonce, checked.highest)
        chain.taken = chain.durable = mark
        chain.note(number, digest, live=False)

    # -- what the store said

    def hand_over(self) -> None:
        """What was taken since the last time becomes `Apply`, in order."""
        ready, self._ready = self._ready, []
        batch: list[Arrival] = []
        size = 0
        for arrival in ready:
            head = arrival.update.head
            chain = self._spool.chains[FeedId(head.server, head.incarnation, head.kind)]
            found = chain.in_flight.get(head.number)
            if found is None or found[0] is not arrival:
                continue  # fallen back meanwhile
            if batch and (len(batch) >= APPLY_UPDATES or size + arrival.size > APPLY_BYTES):
                self._spool.outputs.append(Apply(tuple(each.update for each in batch), batch[0].sender.peer))
                batch, size = [], 0
            batch.append(arrival)
            size += arrival.size
        if batch:
            self._spool.outputs.append(Apply(tuple(each.update for each in batch), batch[0].sender.peer))

    def handle_applied(self, updates: Sequence[Update], now: float) -> None:
        """The store has these durably, in the order of `Apply`."""
        grown: dict[FeedId, Chain] = {}
        for update in updates:
            head = update.head
            chain = self._spool.chains.get(FeedId(head.server, head.incarnation, head.kind))
            arrival = chain.confirm(update) if chain else None
            if chain is None or arrival is None:
                continue
            grown[chain.feed] = chain
            self._spool.counts["applied"] += 1
            if self._spool.is_current(arrival.sender):
                self._telling.tell_got(arrival.sender, chain.feed, head.number, now)
            self._release([arrival])
        for feed, chain in grown.items():
            chain.redeem()
            self._spool.hold(chain)
            self._telling.advertise(feed, chain.durable.number, now)
        if self._starved and self.held_bytes < MAX_HELD_BYTES // 2:
            for feed in self._starved:
                self._catch_up.want(feed, now)
            self._starved.clear()

    def handle_deferred(self, update: Update, now: float) -> None:
        """The store cannot read it yet (a class it does not know): it stays missing until the registry advances."""
        self._fall_back(update, Standing.WAITING, "waits for the registry", now)

    def handle_refused(self, update: Update, reason: str, now: float) -> None:
        """The store will never take it: the feed stands still, and people are told."""
        if self._fall_back(update, Standing.REFUSED, reason, now):
            head = update.head
            feed = FeedId(head.server, head.incarnation, head.kind)
            self._spool.report("refused", feed, number=head.number, cause=reason)

    def _fall_back(self, update: Update, standing: Standing, reason: str, now: float) -> bool:
        head = update.head
        chain = self._spool.chains.get(FeedId(head.server, head.incarnation, head.kind))
        found = chain.in_flight.get(head.number) if chain else None
        if chain is None or found is None or found[0].update is not update:
            return False  # one that stood behind another which was not taken either
        since = found[0].since
        self._release(chain.fall_back())
        if standing is Standing.WAITING and since != self._registry_generation:
            self._catch_up.want(chain.feed, now)  # the registry advanced while the store was looking
        elif chain.grows:
            chain.stand(standing, reason)
        return True

    def handle_unsubscribed(self) -> None:
        """Some feeds are not taken any more: what waits in them for one before it would wait for ever."""
        for chain in self._spool.chains.values():
            if chain.waiting and not self._spool.carries(chain.feed):
                self._release(chain.let_go())

    def handle_registry_advanced(self, now: float) -> None:
        """The directory knows more owners, keys or classes than before."""
        self._registry_generation += 1
        for chain in self._spool.chains.values():
            if chain.standing is Standing.WAITING:
                chain.standing = Standing.GROWING
                chain.reason = ""
                self._catch_up.want(chain.feed, now)
        self._catch_up.retry(now)

    def _release(self, arrivals: Sequence[Arrival]) -> None:
        """These are no longer in memory here."""
        for arrival in arrivals:
            self.held_bytes -= arrival.size
            if arrival.waits:
                self._waiting_bytes -= arrival.size
            if arrival.paid:
                head = arrival.update.head
                self._settle(arrival.sender, FeedId(head.server, head.incarnation, head.kind), arrival.size)

    def _settle(self, session: Session, feed: FeedId, size: int) -> None:
        """Repair bytes were dealt with: the peer that sent them may send as many again."""
        if self._spool.is_current(session):
            session.owed += size
            if session.owed >= TOP_UP_BYTES:
                self._catch_up.grant(session, feed)
