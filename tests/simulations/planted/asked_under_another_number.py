"""A change that was sent and not answered goes into the outbox like a new one, under a number of its own.

The first message is still on its way: when its owner is back it is carried out, and then the second one is too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from node.posting import Posting

PROMISE = "P1"
SAYS = "a change that was sent without an answer is asked again under another number"
DRAWING = {"faults": ("partition", "one-way cut", "isolation"), "servers": 3}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    async def take_over(self: Posting, new: Any, number: int, direct: Any, deadline: float) -> Any:
        return await self._outcome(await self._delivering.queue(new), deadline)

    with mock.patch.object(Posting, "_take_over", take_over):
        yield
