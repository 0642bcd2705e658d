"""What replication tells people: each feed, how much of it is here, how current that is, and why it stands still.

Questions only: nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from identity.names import ServerId
from replication.chain import Chain, Standing
from replication.messages import FeedId
from replication.spool import Spool
from store.records import DATA


class FeedStatus(msgspec.Struct, frozen=True):
    """One feed as this server sees it."""

    feed: FeedId
    first: int
    last: int  # durable here
    known: int  # the highest number anybody said to hold
    age: float | None  # seconds since proven to have everything; own: 0.0; None: never
    path: tuple[ServerId, ...]  # how the last update came, owner first (of a repair: who sent it)
    state: str  # "current", "behind", "quarantined", "waiting"
    reason: str


def status_of(spool: Spool, now: float) -> list[FeedStatus]:
    """All feeds, in the order of names."""
    chains = sorted(spool.chains.values(), key=lambda each: (each.feed.server.ended, each.feed[1:]))
    return [
        FeedStatus(
            feed=chain.feed,
            first=chain.first,
            last=chain.durable.number,
            known=chain.known,
            age=spool.age(chain.feed, now),
            path=chain.path,
            state=_state(chain),
            reason=chain.reason,
        )
        for chain in chains
    ]


def _state(chain: Chain) -> str:
    if chain.standing is Standing.GROWING:
        return "current" if chain.known <= chain.durable.number else "behind"
    return "waiting" if chain.standing is Standing.WAITING else "quarantined"


def carriers_of(spool: Spool, server: ServerId, kind: int) -> list[ServerId]:
    """Greeted peers that can be asked for this owner's objects: itself, who mirrors it, who said to hold its feed."""
    found = [server] if server in spool.sessions else []
    for session in spool.sessions.values():
        if session.peer == server:
            continue
        mirrors = any(each.kind == kind and server in each.pattern for each in session.wants)
        if mirrors or any(feed.server == server and feed.kind == kind for feed in session.known):
            found.append(session.peer)
    return found


def mirrors_among(spool: Spool, server: ServerId) -> Iterator[ServerId]:
    """Greeted peers that are the owner of this data feed, or are subscribed to it themselves and so pass it on."""
    probe = FeedId(server, 0, DATA)
    return (each.peer for each in spool.sessions.values() if each.peer == server or each.hop_limit(probe))


def subscribers_of(spool: Spool, server: ServerId, kind: int) -> list[ServerId]:
    """Greeted peers that are fed this owner's updates from here."""
    probe = FeedId(server, 0, kind)
    sessions = spool.sessions.values()
    return [each.peer for each in sessions if each.peer != server and each.hop_limit(probe)]
