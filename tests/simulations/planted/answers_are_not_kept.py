"""The answer of another server's request is not written down beside its work.

While the owner runs, the transport repeats it; after a crash the same request is carried out anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from store.transaction import Transaction

PROMISE = "P1"
SAYS = "the answer of a request is not durable, so that after a crash it is carried out again"
DRAWING = {"servers": 3, "faults": ("crash", "one-way partition")}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    def record_answer(self: Transaction, *answer: Any) -> None: ...

    with mock.patch.object(Transaction, "record_answer", record_answer):
        yield
