"""Who is fed what: an update goes at once along the tree of its origin, to others it is only advertised.

    1.2 --push--> 1.3 --push--> 1.5        one push per server once LAZY has pruned what came twice;
       \\--push--> 1.4 ..lazy..> 1.5        on lazy links a VECTOR follows 50 ms later, and SENDME(graft) heals the tree

A `Session` is what is known of one greeted neighbour, and it ends with the session: what the neighbour wants, what it
said to hold, what was sent to it, who is lazy for whom. Never persisted (DESIGN F4): a peer that came back in time
says so by its next vector.

Rules for a push (`may_push`, one function, a table of cases in the tests): the neighbour is subscribed, nothing says
that it has the update, it is not in the Path, the Path is not too long, the link is not lazy for the origin, not
congested, and no repair of the same feed is under way to it. Path only saves work and is believed for nothing else:
whoever is not pushed an update is told of it after the sync, unless its own word says that it has it (ATTACKS 12).
"""

from __future__ import annotations

from identity.names import ServerId
from replication.messages import MAX_RANGES, FeedId, Subscription
from transport.ranges import Ranges

MAX_KNOWN_FEEDS = 65_536  # feeds of which one peer may tell what it holds; each costs about 300 bytes here
ADVERTISE_S = 0.05  # advertisements and GOT are batched: a burst of commits costs one message (DESIGN F3)


class Session:
    """One greeted neighbour, from HELLO to the loss of the session."""

    __slots__ = (
        "adverts", "asks", "beat_at", "congested", "credit", "crossed", "feeds_me", "flush_at", "got", "known",
        "lazy", "matches", "misbehaved", "must_resync", "owed", "peer", "pruned", "sent", "streams", "told",
        "unanswered", "wants",
    )  # fmt: skip

    def __init__(self, peer: ServerId) -> None:
        self.peer = peer
        # What the peer wants of us, and what it granted us of our own wishes.
        self.wants: tuple[Subscription, ...] = ()
        self.feeds_me: tuple[Subscription, ...] = ()
        self.unanswered = 0  # wishes of ours that it has not granted yet
        self.crossed = False  # two of them were under way at once, and one may have overtaken the other
        self.matches: dict[tuple[int, ServerId], int] = {}  # (kind, owner) -> hop limit, 0: not wanted
        # What it holds by its own word, and what we sent it in this session.
        self.known: dict[FeedId, Ranges] = {}
        self.sent: dict[FeedId, Ranges] = {}
        # The tree: origins that we do not push to it; those for which we told it LAZY.
        self.lazy: dict[ServerId, None] = {}
        self.pruned: dict[ServerId, None] = {}
        # To be told at `flush_at`.
        self.adverts: dict[FeedId, None] = {}
        self.got: dict[FeedId, Ranges] = {}
        self.flush_at: float | None = None
        self.told = 0  # how far the regular telling of vectors has come
        # Repairs: numbers the peer asked for; bytes we may still send; bytes of its repairs that we are done with.
        self.streams: dict[FeedId, Ranges] = {}
        self.credit = 0
        self.owed = 0
        self.asks = 0  # feeds for which this peer is the one that is asked
        self.beat_at = 0.0  # when it is told vectors again
        # The transport's queue to it is full; something beside updates was lost that way.
        self.congested = False
        self.must_resync = False
        self.misbehaved = 0

    def subscribe(self, wants: tuple[Subscription, ...]) -> None:
        """The peer wants exactly this from now on."""
        self.wants = wants
        self.matches.clear()

    def hop_limit(self, feed: FeedId) -> int:
        """How long a Path may be for a push of this feed; 0: the peer does not want it."""
        key = (feed.kind, feed.server)
        limit = self.matches.get(key)
        if limit is None:
            limit = max(
                (each.hop_limit for each in self.wants if each.kind == feed.kind and feed.server in each.pattern),
                default=0,
            )
            if len(self.matches) >= MAX_KNOWN_FEEDS:
                self.matches.clear()
            self.matches[key] = limit
        return limit

    def note_known(self, feed: FeedId, first: int, last: int) -> bool:
        """The peer said that it holds first..last. False: it spoke of too many feeds, and this is not remembered."""
        known = self.known.get(feed)
        if known is None:
            if len(self.known) >= MAX_KNOWN_FEEDS:
                return False
            known = self.known[feed] = Ranges()
        known.add(first, last)
        if len(known) > MAX_RANGES:
            known.keep_newest(MAX_RANGES)
        return True

    def note_sent(self, feed: FeedId, number: int) -> None:
        sent = self.sent.get(feed)
        if sent is None:
            sent = self.sent[feed] = Ranges()
        sent.add(number)
        if len(sent) > MAX_RANGES:
            sent.keep_newest(MAX_RANGES)

    def has(self, feed: FeedId, number: int) -> bool:
        """Whether the peer has the update, by its word or because it was sent in this session."""
        known = self.known.get(feed)
        if known is not None and number in known:
            return True
        sent = self.sent.get(feed)
        return sent is not None and number in sent

    def lacks_news(self, feed: FeedId, top: int) -> bool:
        """Whether update `top` should be advertised: wanted, and nothing says that the peer has it.

        An owner is not told of its own updates: it looks at session start whether others hold more of it (D4).
        """
        return self.hop_limit(feed) > 0 and feed.server != self.peer and not self.has(feed, top)

    def advertise(self, feed: FeedId, now: float) -> None:
        self.adverts[feed] = None
        if self.flush_at is None:
            self.flush_at = now + ADVERTISE_S

    def tell_got(self, feed: FeedId, number: int, now: float) -> None:
        got = self.got.get(feed)
        if got is None:
            got = self.got[feed] = Ranges()
        got.add(number)
        if self.flush_at is None:
            self.flush_at = now + ADVERTISE_S


def may_push(session: Session, feed: FeedId, number: int, path: tuple[ServerId, ...]) -> bool:
    """Whether a live update that came along `path` (which ends with this server) is pushed to this neighbour."""
    limit = session.hop_limit(feed)
    return (
        0 < len(path) <= limit
        and not session.congested
        and feed.server not in session.lazy
        and session.peer not in path
        and feed not in session.streams
        and not session.has(feed, number)
    )


def check_path_untrusted(path: tuple[ServerId, ...], *, live: bool, origin: ServerId, peer: ServerId) -> str | None:
    """What is wrong with a Path that a peer sent along, or None. A repair comes as [sender]."""
    if path[-1] != peer:
        return "a Path that does not end with its sender"
    if live and path[0] != origin:
        return "a Path that does not begin with the owner"
    if len(set(path)) != len(path):
        return "a Path that passes a server twice"
    return None
