"""One feed as it grows here: each update is taken once, in its owner's order, and only if it continues what is held.

    numbers   1 . . . . . . 7  8  9  .  11  12
              durable here  |  in flight   |  waiting: 10 is missing
                            |  verified,   |  verified, but not yet chained
                            |  at the store|
    marks     durable ......^  taken ...^

An update continues the feed when it names the hash of the one before, belongs to the same run of the owner (epoch and
nonce) or to a later one, and its sequences do not fall. What does not:

    same run, another hash before it, or another update with that number    FORK: proof of lying (DESIGN I7)
    another run, another hash before it; an epoch or a sequence that falls  ROLLBACK: the owner's store came back in
                                                                            time (DESIGN D4, ATTACKS 13), or
                                                                            somebody replays such a one: refused

Rules: durable <= taken; in flight is exactly durable+1..taken; waiting lies above taken+1; both are bounded by their
callers in bytes (`MAX_HELD_BYTES`). A feed that stands (quarantined, refused) takes nothing more.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

import msgspec

from identity.names import ServerId
from replication.messages import FeedId
from store.records import Head, Update, head_hash

RECENT = 256  # hashes of updates by which duplicates of the last seconds are told from forks without reading the log
MAX_WAITING = 8192  # updates above a gap, per feed; their bytes are bounded by the flood as a whole


class Arrival(msgspec.Struct, eq=False):
    """A verified update on its way from a peer to the store."""

    update: Update
    digest: bytes  # its hash
    size: int  # bytes on the wire
    path: tuple[ServerId, ...]
    live: bool  # to be pushed on
    paid: bool  # a repair: its bytes were granted, and are granted again when it is dealt with
    sequence: int  # the highest of its leaves
    lowest: int
    sender: Any  # the session it came by (`replication.feeds.Session`)
    waits: bool = False  # for the update before it
    since: int = 0  # generation of the registry when it was handed to the store


class Mark(NamedTuple):
    """The end of what was taken: what the next update must continue. Epoch -1: not read from the log yet."""

    number: int
    digest: bytes
    epoch: int
    nonce: bytes
    sequence: int


class Verdict(Enum):
    """What an update with the next number is."""

    CONTINUES = "continues"
    FORK = "fork"
    ROLLBACK = "rollback"


START = Mark(0, bytes(32), 0, b"", 0)


class Standing(Enum):
    """Whether a feed grows. Everything but GROWING and WAITING is left only by people."""

    GROWING = "growing"
    WAITING = "waiting"  # the store cannot read it yet: asked for again when the registry advances
    QUARANTINED = "quarantined"
    REFUSED = "refused"


class Chain:
    """What this server holds of one feed, from the wire to the disk."""

    __slots__ = (
        "claim", "current_at", "durable", "feed", "first", "in_flight", "key", "known", "path", "reason", "recent",
        "standing", "taken", "waiting",
    )  # fmt: skip

    def __init__(self, feed: FeedId, mark: Mark = START, first: int = 1) -> None:
        self.feed = feed
        self.first = first
        self.durable = mark
        self.taken = mark
        self.known = mark.number  # the highest number anybody said to hold
        self.in_flight: dict[int, tuple[Arrival, Mark]] = {}
        self.waiting: dict[int, Arrival] = {}
        # number -> (hash, whether it was pushed); the newest RECENT
        self.recent: dict[int, tuple[bytes, bool]] = {}
        self.standing = Standing.GROWING
        self.reason = ""
        self.key: bytes | None = None  # of an owner who introduced himself by this very feed
        self.path: tuple[ServerId, ...] = ()  # how the last update came
        self.claim: tuple[int, float] | None = None  # whoever holds this number was current at that time
        self.current_at: float | None = None

    @property
    def grows(self) -> bool:
        return self.standing is Standing.GROWING

    @property
    def severed(self) -> bool:
        """Whether what came last as the next update does not continue this feed: nothing is kept above it then."""
        return self.grows and bool(self.reason)

    def stand(self, standing: Standing, reason: str) -> list[Arrival]:
        """Take nothing more; what was not yet at the store is forgotten and returned."""
        self.standing = standing
        self.reason = reason
        return self.let_go()

    def let_go(self) -> list[Arrival]:
        """Forget what waits for one before it; it is returned. What is at the store goes on."""
        dropped = list(self.waiting.values())
        self.waiting.clear()
        return dropped

    def continues(self, arrival: Arrival) -> Verdict:
        """What the update numbered taken+1 is. Pure: a table of cases in the tests."""
        return judge(self.taken, arrival.update.head, lowest=arrival.lowest)

    def take(self, arrival: Arrival) -> None:
        """The update is the next one: it goes to the store, and maybe on to others before its sync."""
        head = arrival.update.head
        self.taken = Mark(head.number, arrival.digest, head.epoch, head.nonce, arrival.sequence)
        self.in_flight[head.number] = (arrival, self.taken)
        self.note(head.number, arrival.digest, live=arrival.live)
        self.path = arrival.path

    def confirm(self, update: Update) -> Arrival | None:
        """The store has it durably. None when this is no news (an update of before a fall back)."""
        number = update.head.number
        found = self.in_flight.get(number)
        if found is None or found[0].update is not update or number != self.durable.number + 1:
            return None
        del self.in_flight[number]
        self.durable = found[1]
        return found[0]

    def extend(self, mark: Mark) -> None:
        """An own update, which was durable before anybody heard of it."""
        self.durable = self.taken = mark
        self.known = max(self.known, mark.number)

    def fall_back(self) -> list[Arrival]:
        """The store did not take what was in flight: forget it and what waited behind it."""
        dropped = [arrival for arrival, _ in self.in_flight.values()]
        dropped += self.waiting.values()
        self.in_flight.clear()
        self.waiting.clear()
        self.taken = self.durable
        return dropped

    def note(self, number: int, digest: bytes, *, live: bool) -> None:
        """Remember the hash of an update for a while."""
        self.recent[number] = (digest, live)
        if len(self.recent) > RECENT:
            del self.recent[next(iter(self.recent))]

    def prove_current(self, number: int, at: float) -> None:
        """Somebody proved at time `at` that there was nothing above `number`."""
        if number <= self.durable.number:
            if self.current_at is None or at > self.current_at:
                self.current_at = at
        elif self.claim is None or at >= self.claim[1]:
            self.claim = (number, at)

    def redeem(self) -> None:
        """After growing: a claim that was waiting for these numbers holds now."""
        if self.claim is not None and self.claim[0] <= self.durable.number:
            _, at = self.claim
            self.claim = None
            if self.current_at is None or at > self.current_at:
                self.current_at = at


def judge(mark: Mark, head: Head, *, lowest: int) -> Verdict:
    """Whether `head`, numbered mark.number + 1, continues a feed that ends at `mark`."""
    same_run = head.epoch == mark.epoch and head.nonce == mark.nonce
    if head.previous != mark.digest:
        return Verdict.FORK if same_run else Verdict.ROLLBACK
    if same_run:
        return Verdict.CONTINUES if lowest >= mark.sequence else Verdict.ROLLBACK
    if head.epoch <= mark.epoch and mark.number > 0:
        return Verdict.ROLLBACK
    return Verdict.CONTINUES if lowest >= mark.sequence else Verdict.ROLLBACK


def are_conflicting(first: Head, second: Head) -> bool:
    """Whether two heads that one owner signed in one run prove by themselves that it lied (DESIGN I7).

    Either they are different updates with one number, or the later one of two neighbours disowns the earlier.
    """
    if (first.server, first.incarnation, first.kind) != (second.server, second.incarnation, second.kind):
        return False
    if (first.epoch, first.nonce) != (second.epoch, second.nonce):
        return False
    if first.number > second.number:
        first, second = second, first
    if first.number == second.number:
        return first.to_bytes() != second.to_bytes()
    return second.number == first.number + 1 and second.previous != head_hash(first.to_bytes())
