"""P3: an update crosses a link once, unless it is asked for again; who has it durably tells whom it has it from.

    1.1 sends 1.2 update 7 of 1.1              in one session once, and once for each SENDME of 1.2     else accused
    1.2 has it durably     --> GOT 7 to 1.1    within WITHIN_S, by a GOT or a VECTOR                   else accused
    1.2 says GOT 7                             and has it durably                                      else accused

Nobody is pushed what it is known to have (DESIGN F4), and who is known to have it can be asked for it. All of it is
seen where messages leave, whatever becomes of them then: no loss on the way accuses anybody.

Not accused: whoever is hostile, and who deals with such a one; who has an update from several, or, while anybody is
hostile, from whomever; sessions that ended, servers that are paused, queues that are full.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from node.observing import Durable
from replication.messages import FeedId, Got, SendMe, UpdateMessage, Vector
from simulations.check_memory import parts_of
from simulations.promises import Overhearing
from store.records import FEED_NAMES, Head, Update
from transport.wire import SendTo

if TYPE_CHECKING:
    from simulations.world import World

WITHIN_S = 1.0  # GOT waits 50 ms for others (`replication.feeds`), the regular vectors up to 5 s
LOOK_EVERY_S = 0.25
KEPT = 8192  # updates on their way; of those that get lost nobody hears again


class Sent(NamedTuple):
    """An update on its way: by whom, in which session of its receiver."""

    sender: str
    session: Any


class Owed(NamedTuple):
    """A word that a receiver owes, since when."""

    session: Any
    since: float


Numbers = dict[int, int]


class SentOnce(Overhearing):
    """Once over each link, and then it is known."""

    name = "sent once"
    promise = "P3"

    def __init__(self) -> None:
        super().__init__()
        self._at = -LOOK_EVERY_S
        # sender, receiver -> the sender's session -> feed -> number -> how often
        self._times: dict[tuple[str, str], tuple[Any, dict[FeedId, Numbers]]] = {}
        self._asked: dict[tuple[str, str, FeedId], list[tuple[int, int]]] = {}  # by asker, asked
        self._under_way: dict[tuple[str, FeedId, int], Sent | None] = {}  # None: from several
        self._owed: dict[tuple[str, str, FeedId], dict[int, Owed]] = {}  # receiver, sender
        self._last: tuple[Any, FeedId, int] | None = None

    def begin(self, world: World) -> None:
        super().begin(world)

        def sent(server: str, output: SendTo, now: float) -> None:
            message, peer = output.message, str(output.peer)
            if isinstance(message, UpdateMessage):
                self._update(world, server, peer, message)
            elif isinstance(message, Got):
                feed = FeedId(message.origin, message.incarnation, message.kind)
                self._got(world, server, peer, feed, message)
                self._redeem(server, peer, feed, message.ranges)
            elif isinstance(message, Vector):
                for entry in message.entries:
                    self._redeem(server, peer, entry.feed, [(each.first, each.last) for each in entry.ranges])
            elif isinstance(message, SendMe):
                feed = FeedId(message.origin, message.incarnation, message.kind)
                self._asked.setdefault((server, peer, feed), []).extend(message.ranges)

        def durable(server: str, output: Durable, now: float) -> None:
            for update in output.applied:
                self._applied(world, server, update, now)

        world.ledger.listen(SendTo, sent)
        world.ledger.listen(Durable, durable)

    def look(self, world: World) -> None:
        super().look(world)
        if world.now - self._at < LOOK_EVERY_S:
            return
        self._at = world.now
        for (receiver, sender, feed), numbers in list(self._owed.items()):
            session = _session(world, receiver, sender)
            for number, owed in list(numbers.items()):
                if session is not owed.session or world.ledger.is_hostile(receiver) or world.ledger.is_hostile(sender):
                    del numbers[number]
                elif session.congested or world.server(receiver).paused:
                    numbers[number] = owed._replace(since=world.now)
                elif world.now - owed.since > WITHIN_S:
                    self.accuse(
                        world,
                        f"{receiver} has update {number} of {_named(feed)} durably since {owed.since:.3f} s, from "
                        f"{sender}, and never said so",
                    )
            if not numbers:
                del self._owed[receiver, sender, feed]

    # -- what leaves a server

    def _update(self, world: World, sender: str, receiver: str, message: UpdateMessage) -> None:
        if world.ledger.is_hostile(sender) or world.ledger.is_hostile(receiver):
            return
        feed, number = self._read(message)
        session = _session(world, sender, receiver)
        known, times = self._times.get((sender, receiver), (None, {}))
        if known is not session or session is None:
            self._times[sender, receiver] = session, (times := {})
        numbers = times.setdefault(feed, {})
        numbers[number] = numbers.get(number, 0) + 1
        if session is not None:
            self._check_times(world, sender, receiver, feed, number, numbers[number])
        if world.ledger.held.get((receiver, str(feed.server), feed.kind), 0) < number:
            key = (receiver, feed, number)
            sent = Sent(sender, _session(world, receiver, sender))
            self._under_way[key] = sent if self._under_way.get(key, sent) == sent else None
            if len(self._under_way) > KEPT:
                del self._under_way[next(iter(self._under_way))]

    def _check_times(self, world: World, sender: str, receiver: str, feed: FeedId, number: int, times: int) -> None:
        """Once without a word, and once for each time that it was asked for, or that the queue was full."""
        if times == 1:
            return
        asked = sum(first <= number <= last for first, last in self._asked.get((receiver, sender, feed), ()))
        undelivered = parts_of(world.server(sender)).flood.statistics()["undelivered"]
        if times > 1 + asked + undelivered:
            self.note(
                world,
                f"{sender} sent {receiver} update {number} of {_named(feed)} {times} times in one session, and was "
                f"asked for it {asked} times",
            )

    def _got(self, world: World, server: str, peer: str, feed: FeedId, message: Got) -> None:
        if str(feed.server) == server:  # back in time, it takes its own from others: `no lost commits`
            return
        held = world.ledger.held.get((server, str(feed.server), feed.kind), 0)
        top = max((last for _, last in message.ranges), default=0)
        if top > held and not world.ledger.is_hostile(server) and not world.ledger.is_behind(server):
            self.note(world, f"{server} told {peer} that it has update {top} of {_named(feed)}, and has {held} durably")

    def _redeem(self, server: str, peer: str, feed: FeedId, ranges: Any) -> None:
        owed = self._owed.get((server, peer, feed))
        if owed:
            for number in [each for each in owed if any(first <= each <= last for first, last in ranges)]:
                del owed[number]

    # -- what becomes durable

    def _applied(self, world: World, receiver: str, update: Update, now: float) -> None:
        feed, number = _of(update.head)
        sent = self._under_way.pop((receiver, feed, number), None)
        if sent is None or sent.session is None or world.ledger.has_hostile:  # who may have sent it too, unseen
            return
        if _session(world, receiver, sent.sender) is sent.session:
            self._owed.setdefault((receiver, sent.sender, feed), {})[number] = Owed(sent.session, now)

    def _read(self, message: UpdateMessage) -> tuple[FeedId, int]:
        """Which update it is; one message goes to many."""
        if self._last is None or self._last[0] is not message.update:
            self._last = (message.update, *_of(Update.from_bytes_untrusted(message.update).head))
        return self._last[1:]


def _session(world: World, server: str, peer: str) -> Any:
    """What `server` knows in its session with `peer`, or None where there is none."""
    parts = parts_of(world.server(server))
    return None if parts is None else parts.flood._spool.sessions.get(world.server(peer).server)


def _of(head: Head) -> tuple[FeedId, int]:
    return FeedId(head.server, head.incarnation, head.kind), head.number


def _named(feed: FeedId) -> str:
    return f"{feed.server}'s {FEED_NAMES[feed.kind]} feed"
