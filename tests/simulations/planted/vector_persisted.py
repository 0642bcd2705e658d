"""How far a feed was taken is written down by itself, as soon as the updates are on their way to the disk.

It is small and quickly done, and the next start believes it instead of counting what the store holds. What the power
cut took from that is never asked for again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any
from unittest import mock

from identity.names import ServerId
from replication.chain import Mark
from replication.flood import Flood
from replication.intake import Intake
from replication.messages import FeedId

PROMISE = "P3"
SAYS = "how far a feed was taken is kept ahead of its updates, and believed at the next start"
DRAWING = {"servers": 3, "faults": ("crash in a write",)}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    vectors: dict[tuple[ServerId, FeedId], Mark] = {}
    hand_over, load = Intake.hand_over, Flood.load

    def handed_over(self: Intake) -> None:
        for arrival in self._ready:
            head = arrival.update.head
            feed = FeedId(head.server, head.incarnation, head.kind)
            vectors[self._spool.own, feed] = self._spool.chains[feed].taken
        hand_over(self)

    def loaded(self: Flood, held: Iterable[tuple[Any, ...]]) -> None:
        load(self, held)
        for feed, chain in self._spool.chains.items():
            kept = vectors.get((self._spool.own, feed), chain.durable)
            if kept.number > chain.durable.number:
                chain.taken = chain.durable = kept
                self._spool.hold(chain)

    with mock.patch.object(Intake, "hand_over", handed_over), mock.patch.object(Flood, "load", loaded):
        yield
