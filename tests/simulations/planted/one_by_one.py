"""A transaction of several operations is carried out one operation after another: somebody wanted shorter groups.

Each is durable and answered in order; a crash between two of them leaves a part, and a reader may see one any time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

from node.owning import Owner

PROMISE = "P1"
SAYS = "the operations of a transaction are committed one by one"
DRAWING = {"faults": ("crash", "crash in a write")}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    transact = Owner.transact

    async def one_by_one(self: Owner, operations: Sequence[Any]) -> list[Any]:
        return [changed for each in operations for changed in await transact(self, [each])]

    with mock.patch.object(Owner, "transact", one_by_one):
        yield
