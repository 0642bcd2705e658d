"""A change for an absent owner is said to wait in the outbox, and is written down only when it is sent.

It looked like one sync saved: what is sent at once needs no outbox. Whoever crashes before the owner is back forgets
what it promised to deliver.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from node import delivering

PROMISE = "P1"
SAYS = "a change that waits in the outbox is not written down before it is sent"
BLIND = True
DRAWING = {"faults": ("crash", "isolation", "partition")}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    queue = delivering.Delivering.queue

    async def queued(self: Any, new: Any, **options: Any) -> Any:
        kept: list[Callable[[Any], None]] = []
        database = self._database

        class Later:
            """The database, but that the entry and what is sent wait for the first time they are sent."""

            def __getattr__(self, name: str) -> Any:
                return getattr(database, name)

            async def transact(self, body: Callable[[Any], None], **more: Any) -> Any:
                kept.append(body)
                return None

        self._database = Later()
        try:
            entry = await queue(self, new, **options)
        finally:
            self._database = database
        self.__dict__.setdefault("unwritten", {})[entry.number] = kept
        return entry

    carry_out = delivering.Delivering._carry_out

    async def carried_out(self: Any, outputs: Any) -> None:
        for output in outputs:
            for body in self.__dict__.get("unwritten", {}).pop(output.number, ()):
                await self._database.transact(body)
        await carry_out(self, outputs)

    with (
        mock.patch.object(delivering.Delivering, "queue", queued),
        mock.patch.object(delivering.Delivering, "_carry_out", carried_out),
    ):
        yield
