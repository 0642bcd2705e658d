"""Of the changes that wait for an owner the newest is sent first, and each is sent when the one before has its outcome.

A queue that is taken from the wrong end. Each change is carried out, once, and its outcome told; but of four words
about one object the first one stands in the end.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from replication.entries import STEPS, Happened, Then, Write
from replication.outbox import Outbox

PROMISE = "P1"
SAYS = "the outbox sends the newest change of an owner first"
BLIND = True
DRAWING = {"faults": ("isolation", "partition", "crash")}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    def go_on(self: Any, owner: Any, now: float) -> None:
        state = self._owners.get(owner)
        if state is None or not state.met or now < state.not_before or state.asked or not state.queue:
            return
        newest = state.queue.peekitem(-1)[1]
        newest.state = STEPS[newest.state, Happened.TURN]
        state.asked[newest.number] = newest
        self._outputs.append(Write(newest.number, Then.ASK))

    with mock.patch.object(Outbox, "_go_on", go_on):
        yield
