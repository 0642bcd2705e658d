"""Repairs given to others: what they asked for, in order, as fast as they granted and the queue takes.

    SENDME(1.2, 5-900, budget 4 MiB)  ->  UPDATE 5, 6, 7 ...     until the credit is used up
    SENDME(1.2, -, budget 1 MiB)      ->  UPDATE 311, 312 ...    granted while the others are still on their way

A peer grants bytes, in FEED and in each SENDME, and gets no more repairs than it granted: what it cannot store yet
waits in our log, not in its memory. At most `SLICE_BYTES` are read from the log at a time, so that a mirror that was
away for a year does not hold up the loop. What is not here is refused at once, by number.
"""

from __future__ import annotations

from identity.errors import PeerMisbehaved
from replication.feeds import Session
from replication.messages import MAX_RANGES, WINDOW_BYTES, FeedId, Mode, Refuse, SendMe, UpdateMessage
from replication.spool import Spool
from transport.ranges import Ranges

SLICE_BYTES = 256 << 10  # about 2 ms of reading and packing between two turns of the loop
MAX_CREDIT = 4 * WINDOW_BYTES  # however much a peer grants, this much may wait in the transport


class Serving:
    """Answers SENDME."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def grant(self, session: Session, budget: int) -> None:
        """The peer takes so many bytes more."""
        session.credit = min(session.credit + budget, MAX_CREDIT)

    def handle_send_me_untrusted(self, session: Session, message: SendMe) -> None:
        """Note what is asked; `serve` sends it. Raises `PeerMisbehaved` for ranges that are none."""
        self.grant(session, message.budget)
        asked = Ranges.from_list_untrusted(message.ranges, max_ranges=MAX_RANGES, lowest=1)
        feed = FeedId(message.origin, message.incarnation, message.kind)
        if message.mode == Mode.GRAFT:
            session.lazy.pop(message.origin, None)
        if not asked:
            return
        chain = self._spool.chains.get(feed)
        here = Ranges([(chain.first, chain.taken.number)] if chain and chain.taken.number >= chain.first else [])
        held = asked.intersection(here)
        if held:
            stream = session.streams.setdefault(feed, Ranges())
            stream.update(held)
            if len(stream) > MAX_RANGES:
                raise PeerMisbehaved(f"{session.peer} asked for {feed} in more than {MAX_RANGES} pieces")
        absent = asked.difference(here)
        if absent:
            self._refuse(session, feed, absent, "not held here")

    def serve(self, session: Session) -> bool:
        """Send the next slice. Says whether more could be sent at once."""
        left = SLICE_BYTES
        for feed in sorted(session.streams, key=lambda each: each.kind):  # registry first: data cannot be read without
            stream = session.streams[feed]
            while stream:
                if session.credit <= 0 or session.congested:
                    return False
                if left <= 0:
                    return True
                number = stream.lowest
                assert number is not None
                stream.subtract(number)
                size = self._send(session, feed, number)
                left -= size
                session.credit -= size
            del session.streams[feed]
        return False

    def _send(self, session: Session, feed: FeedId, number: int) -> int:
        data = self._spool.read(feed, number)
        if data is None:
            self._refuse(session, feed, Ranges([(number, number)]), "not readable here")
            return 0
        session.note_sent(feed, number)
        self._spool.send(session, UpdateMessage((self._spool.own,), live=False, update=data))
        self._spool.counts["repaired"] += 1
        return len(data)

    def _refuse(self, session: Session, feed: FeedId, numbers: Ranges, reason: str) -> None:
        self._spool.counts["refused"] += 1
        ranges = tuple(numbers.as_list()[:MAX_RANGES])
        self._spool.send(session, Refuse(feed.server, feed.incarnation, feed.kind, ranges, reason))
