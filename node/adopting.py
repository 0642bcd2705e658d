"""A server that came back from a backup learns what it had signed since, before it signs anything new (DESIGN D4).

    restored ---> the neighbours are greeted ---> own updates that they hold are taken ---> quiet ---> as ever
                  until then: nothing that leaves this server is committed, and no question is answered for it

Whoever has its updates sends them as those of any other owner, verified by its own key; the store takes them as its
own again. It is over when every neighbour is reached and for `SETTLE_S` none has shown anything newer; after
`PATIENCE_S` it goes on without those that were not reached. Should one of them hold more, it will refuse the branch
that is signed now, and say so (`rolled_back`, docs/decisions/0030).

Requests of others that it had carried out are known again by their ids in the leaves of these updates, so that one
that comes again is answered and not carried out twice; until then it waits. What waited in this server's own outbox may
have been sent meanwhile, and its owner may have been told since that nobody asks for it any more: such changes are not
sent again, and their outcome is unknown.

What cannot come back: commits that no other server had, private objects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from identity.errors import OutcomeUnknown
from replication.messages import FeedId
from store.records import DATA, REGISTRY

if TYPE_CHECKING:
    from node.parts import Parts

SETTLE_S = 5.0  # some round trips of the slowest links: subscriptions, digests and vectors cross in two
PATIENCE_S = 600.0  # a neighbour that is away for longer may be away for good
LOOK_S = 0.25


async def adopt(parts: Parts, *, note: Callable[..., Any]) -> None:
    """Until all is here that anybody has; then the store takes changes again."""
    own = [FeedId(parts.server, parts.database.incarnation, kind) for kind in (REGISTRY, DATA)]
    before = [parts.flood.position(feed) for feed in own]
    begun = quiet_since = trio.current_time()
    while True:
        await trio.sleep(LOOK_S)
        now = trio.current_time()
        missing = [str(each) for each in parts.kept if parts.sessions.connection(each) is None]
        if missing or any(parts.flood.lag(feed) for feed in own):
            quiet_since = now
        if now - quiet_since >= SETTLE_S or now - begun >= PATIENCE_S:
            break
    parts.flood.adopt(False)
    try:
        await parts.delivering.written()  # what became of the outbox: the next start is none of a restored server
    except OutcomeUnknown:  # this one ends: the next one adopts, and is a restored server's all the same
        return
    await parts.database.end_adoption()
    with parts.database.view() as view:
        parts.recorded.load(view)
    parts.serving.wait("")
    updates = sum(parts.flood.position(feed) - position for feed, position in zip(own, before, strict=True))
    note("adopted", updates=updates, without=missing, seconds=round(now - begun, 3))
