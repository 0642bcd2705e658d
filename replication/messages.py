"""What servers say to each other so that every mirror gets every update (DESIGN F3), and what the machine puts out.

    48 FEED      what I want to be fed, and how many repair bytes you may send unasked for more
    49 FEEDOK    what of it I feed you, with my digest of it: equal to yours means that nothing is missing
    50 DIGEST    a hash of all I hold below a prefix of names, and of each branch below it; descends where two differ
    51 VECTOR    exactly what I hold of each feed: ranges, each with the hash of its last update, and how current
    52 SENDME    send me these numbers (graft: and push from now on; repair: only these); so many bytes more
    53 UPDATE    one update, verbatim, with the servers it came through; live (pushed) or repair (asked for)
    54 LAZY      I had that already: of this origin only advertise to me
    55 GOT       these numbers are durable here now
    56 REFUSE    I cannot send these numbers of that feed
    57 FORK      two signed heads with one number in one epoch: this owner lied; pass it on (DESIGN I7)

    a Path      [owner, ..., sender]: who had a live update, in order; nobody in it is pushed it again

A feed is named everywhere by (server, incarnation, kind) and its numbers are dense from 1. No message depends on the
order in which messages arrive; every count in them is bounded here, beside its reason.

What the machine says to its caller, beside `transport.wire.SendTo`: `Apply` (make these durable, in this order) and
`Report` (something for the log and for people).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Any, ClassVar, NamedTuple

import msgspec

from identity.names import Pattern, ServerId
from store.records import Update
from transport.wire import Body, Hash, Message, Number, Priority, Text, table_of

MAX_PATH = 32  # a mesh of thousands is crossed in ten hops (sketches/feedspool: last hop of 1000 servers was 9)
MAX_SUBSCRIPTIONS = 256  # per peer; each pattern may hold 256 rules itself
MAX_FEED_BYTES = 64 << 10  # all of them together: 65 536 rules cost their reader 0.3 s, at every FEED
MAX_ENTRIES = 256  # feeds in one VECTOR: 20 KiB
MAX_RANGES = 64  # intervals of one feed in one message; more are told by the next
MAX_BRANCHES = 256  # a digest branches by one byte of the name
MAX_NAME_BYTES = 16 * 8 + 4  # 16 long components, ended
WINDOW_BYTES = 4 << 20  # repair bytes that may be on their way from one peer (DESIGN F3: budget)


class FeedId(NamedTuple):
    """One feed: whose, of which life of that owner, registry or data (`store.records.REGISTRY`, `DATA`)."""

    server: ServerId
    incarnation: int
    kind: int

    def __str__(self) -> str:
        return f"{self.server}/{'data' if self.kind else 'registry'}"


Kind = Annotated[int, msgspec.Meta(ge=0, le=1)]
Interval = tuple[Number, Number]
Intervals = Annotated[tuple[Interval, ...], msgspec.Meta(max_length=MAX_RANGES)]
Prefix = Annotated[bytes, msgspec.Meta(max_length=MAX_NAME_BYTES)]
PathField = Annotated[tuple[ServerId, ...], msgspec.Meta(min_length=1, max_length=MAX_PATH)]


class Part(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A piece of a message: fields in wire order."""


class Subscription(Part, frozen=True, gc=False):
    """All feeds of one kind whose owners match the pattern."""

    kind: Kind
    pattern: Pattern
    coverage: Annotated[bytes, msgspec.Meta(max_length=0)]  # empty: everything; class filters come with stubs (F2)
    hop_limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PATH)]  # a live update that came through more is only offered
    digest: Hash  # over what the sender holds of it (`coverage.Coverage.digest`)


Subscriptions = Annotated[tuple[Subscription, ...], msgspec.Meta(max_length=MAX_SUBSCRIPTIONS)]


class Feed(Message, frozen=True, gc=False):
    """FEED: the whole list of what the sender wants from now on; it replaces the list before."""

    TYPE: ClassVar[int] = 48
    MOST_BYTES: ClassVar[int] = MAX_FEED_BYTES
    subscriptions: Subscriptions
    window: Number  # repair bytes the receiver may send before SENDME grants more


class FeedOk(Message, frozen=True, gc=False):
    """FEEDOK: what of a FEED is granted, with the feeder's own digests."""

    TYPE: ClassVar[int] = 49
    MOST_BYTES: ClassVar[int] = MAX_FEED_BYTES
    subscriptions: Subscriptions


class Branch(Part, frozen=True, gc=False):
    """All that is held of owners whose ended name begins with these bytes."""

    prefix: Prefix
    digest: Hash


class Digest(Message, frozen=True, gc=False):
    """DIGEST: `asked` is a subscriber's question "mine is this, what is yours?", else it is a feeder's answer."""

    TYPE: ClassVar[int] = 50
    kind: Kind
    pattern: Pattern
    prefix: Prefix
    digest: Hash
    branches: Annotated[tuple[Branch, ...], msgspec.Meta(max_length=MAX_BRANCHES)]
    asked: bool


class HeldRange(Part, frozen=True, gc=False):
    """Updates first..last, and the hash of the last one (`store.records.head_hash`)."""

    first: Number
    last: Number
    last_hash: Hash


class Entry(Part, frozen=True, gc=False):
    """What a server holds of one feed, durable and chained to the owner's signature."""

    origin: ServerId
    incarnation: Number
    kind: Kind
    floor: Number  # below it only a snapshot helps
    ranges: Annotated[tuple[HeldRange, ...], msgspec.Meta(max_length=MAX_RANGES)]
    age_ms: Number | None  # how long ago the sender was proven to have all there was; None: never

    @property
    def feed(self) -> FeedId:
        return FeedId(self.origin, self.incarnation, self.kind)


class Vector(Message, frozen=True, gc=False):
    """VECTOR: what the sender holds. `whole`: asked for while comparing; else a change or the regular telling."""

    TYPE: ClassVar[int] = 51
    entries: Annotated[tuple[Entry, ...], msgspec.Meta(max_length=MAX_ENTRIES)]
    whole: bool


class Mode(IntEnum):
    """Why numbers are asked for."""

    REPAIR = 0
    GRAFT = 1


class SendMe(Message, frozen=True, gc=False):
    """SENDME: send these numbers of one feed; `budget` more repair bytes may come in this session."""

    TYPE: ClassVar[int] = 52
    origin: ServerId
    incarnation: Number
    kind: Kind
    ranges: Intervals
    mode: Mode
    budget: Number


class UpdateMessage(Message, frozen=True, gc=False):
    """UPDATE: one update as its owner signed it. The Path of a repair is [sender]; nobody believes a Path anyway."""

    TYPE: ClassVar[int] = 53
    PRIORITY: ClassVar[Priority] = Priority.UPDATE
    path: PathField
    live: bool
    update: Body


class Lazy(Message, frozen=True, gc=False):
    """LAZY: the sender got a live update of this origin twice."""

    TYPE: ClassVar[int] = 54
    origin: ServerId


class Got(Message, frozen=True, gc=False):
    """GOT: these numbers are durable at the sender."""

    TYPE: ClassVar[int] = 55
    origin: ServerId
    incarnation: Number
    kind: Kind
    ranges: Intervals


class Refuse(Message, frozen=True, gc=False):
    """REFUSE: the sender cannot give these numbers; whatever it advertised of them is withdrawn."""

    TYPE: ClassVar[int] = 56
    origin: ServerId
    incarnation: Number
    kind: Kind
    ranges: Intervals
    reason: Text


HeadField = Annotated[bytes, msgspec.Meta(max_length=1024)]
SignatureField = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]


class Fork(Message, frozen=True, gc=False):
    """FORK: the proof that an owner signed two different updates of one number within one epoch."""

    TYPE: ClassVar[int] = 57
    first_head: HeadField
    first_signature: SignatureField
    second_head: HeadField
    second_signature: SignatureField


MESSAGES: dict[int, type[Message]] = table_of(
    (Feed, FeedOk, Digest, Vector, SendMe, UpdateMessage, Lazy, Got, Refuse, Fork)
)


class Apply(msgspec.Struct, frozen=True):
    """Verified updates for the store, in order within each feed; tell `Flood` the outcome of each."""

    updates: tuple[Update, ...]
    from_peer: ServerId


class Report(msgspec.Struct, frozen=True):
    """Something for the log: `event` is one word, `details` JSON values."""

    event: str
    details: dict[str, Any]
