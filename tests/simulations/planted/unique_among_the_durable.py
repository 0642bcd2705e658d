"""Whether a unique value is taken is looked up in what is durable: not among the changes of the group in the making."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from store.reading import INDEX
from store.transaction import Transaction

PROMISE = "P1"
SAYS = "a unique value counts as free until the sync of the change that took it"
DRAWING = {"servers": 3, "faults": ()}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    real = Transaction._refuse_taken

    def refuse(self: Transaction, entry: Any, index: Any, value: Any, taken: bytes) -> None:
        with self.unnoted._owner.view() as durable:  # type: ignore[attr-defined]
            if durable.get(INDEX, index.unique_key(value)) == taken:
                real(self, entry, index, value, taken)

    with mock.patch.object(Transaction, "_refuse_taken", refuse):
        yield
