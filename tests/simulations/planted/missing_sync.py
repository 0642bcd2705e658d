"""A sync is left out when the disk was synced a moment ago: it looked like one and the same, under load.

What came between the two is in the page cache only, though its caller was told that it is durable.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

import trio

from store.log import Log

PROMISE = "P1"
SAYS = "a group is not synced when another one was a moment ago"
DRAWING = {"faults": ("crash",)}
LATELY_S = 0.05


@contextlib.contextmanager
def plant() -> Iterator[None]:
    sync = Log.sync_async

    async def sync_async(self: Log) -> None:
        now = trio.current_time()
        if now - self.__dict__.get("synced_at", -1.0) < LATELY_S:
            self.durable = self._ended
            await trio.lowlevel.checkpoint()
            return
        await sync(self)
        self.__dict__["synced_at"] = now

    with mock.patch.object(Log, "sync_async", sync_async):
        yield
