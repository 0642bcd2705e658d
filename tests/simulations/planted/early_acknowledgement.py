"""A commit is answered while its sync is still under way: whoever wanted answers a little sooner moved two lines up."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from store.log import Log
from store.writing import Writer

PROMISE = "P1"
SAYS = "commits are answered before their sync has ended"
BLIND = True
DRAWING = {"faults": ("crash",)}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    seal, sync = Writer._seal, Log.sync_async

    def sealed(self: Writer, group: Any) -> Any:
        seals = seal(self, group)

        def answer() -> None:
            self.generations.publish(self._commit)
            self.published_registry = self.applier.registry
            group.tell_positions(self.applier, seals)
            self._answer_all(group)
            group.waiting = []

        self.log.before_sync = answer  # type: ignore[attr-defined]
        return seals

    async def sync_async(self: Log) -> None:
        answer = self.__dict__.pop("before_sync", None)
        if answer is not None:
            answer()
        await sync(self)

    with mock.patch.object(Writer, "_seal", sealed), mock.patch.object(Log, "sync_async", sync_async):
        yield
