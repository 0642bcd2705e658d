"""A seam for those who look on: each output as it is carried out, each group as it becomes durable. Nothing else.

    Node(observe=tell)    tell(output, now)     before anything is done about it: SendTo, HandOn, Apply, Report ...
                          tell(Durable, now)    after the sync, before anybody is told of it

In production nobody looks on: with `observe` None the very same functions are called as without this file. Whoever
looks on changes nothing, does not wait, and raises nothing; the simulator's checkers do it (`simulations.ledger`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from store.database import Committed, Database
from store.records import Update

Observe = Callable[[Any, float], None]
CarryOut = Callable[[Any, float], None]
HearCommitted = Callable[[Committed], None]


class Durable(NamedTuple):
    """What one sync made durable here: own updates as every other server will have them, and updates of others."""

    own: tuple[Update, ...]
    applied: tuple[Update, ...]


def watched(carry_out: CarryOut, observe: Observe | None) -> CarryOut:
    """`carry_out`, seen."""
    if observe is None:
        return carry_out
    tell = observe

    def both(output: Any, now: float) -> None:
        tell(output, now)
        carry_out(output, now)

    return both


def watched_commits(
    hear: HearCommitted, observe: Observe | None, *, database: Database, clock: Callable[[], float]
) -> HearCommitted:
    """`hear`, seen, with the bytes of own updates, which the store tells by their seals alone."""
    if observe is None:
        return hear
    tell = observe

    def both(committed: Committed) -> None:
        own = []
        for seal in committed.seals:
            data = database.read_update(database.server, database.incarnation, seal.kind, seal.number)
            if data is not None:
                own.append(Update.from_bytes_untrusted(data))
        tell(Durable(tuple(own), committed.applied), clock())
        hear(committed)

    return both
