"""An owner carries out a change whatever version it was based on.

Of two who changed what both had seen both are told that it was done, and the first one's change is lost.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from store.transaction import Transaction

PROMISE = "P1"
SAYS = "a change is carried out although the version that it was based on does not stand any more"
DRAWING = {"servers": 3, "faults": ("crash", "partition")}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    own = Transaction._own

    def _own(self: Transaction, target: Any, expect: int | None) -> Any:
        return own(self, target, None)

    with mock.patch.object(Transaction, "_own", _own):
        yield
