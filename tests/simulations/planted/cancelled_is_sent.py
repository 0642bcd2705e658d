"""A change that waits, and is cancelled, is told as cancelled, and stays in the queue of its owner.

Somebody took it out of the count, and wrote down its outcome; the queue is another table.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from node.delivering import Delivering, New

PROMISE = "P1"
SAYS = "a change that was cancelled while it waited is sent when its owner is back"
DRAWING = {"faults": ("isolation",)}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    cancel = Delivering.cancel

    async def cancelled(self: Any, number: int, **how: Any) -> Any:
        entry = self.outbox.entry(number)
        body = self.body(entry) if entry.open and entry.request is None else None
        told = await cancel(self, number, **how)
        if body is not None:
            await self.queue(New(entry.owner, entry.incarnation, entry.text, body, entry.expires_ms))
        return told

    with mock.patch.object(Delivering, "cancel", cancelled):
        yield
