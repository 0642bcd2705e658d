"""A server that was restored from a backup signs at once, and learns nothing of what it had signed since."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from node import adopting

PROMISE = "P1"
SAYS = "a server restored from a backup signs at once: it learns nothing of what it had signed since"
DRAWING = {"servers": 4, "faults": ("old backup",)}
BLIND = True


@contextlib.contextmanager
def plant() -> Iterator[None]:
    async def adopt(parts: Any, *, note: Callable[..., Any]) -> None:
        parts.flood.adopt(False)
        await parts.delivering.written()
        await parts.database.end_adoption()
        with parts.database.view() as view:
            parts.recorded.load(view)
        parts.serving.wait("")

    with mock.patch.object(adopting, "adopt", adopt):
        yield
