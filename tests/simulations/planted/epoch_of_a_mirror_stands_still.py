"""A mirror tells the epoch in which its owner was when the mirror was opened, whatever came since.

The epoch was read from the store at opening, and nobody thought of it when an update is applied. Whoever then asks for
an answer `after` a position of a later run is told that this good copy is too old.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from node.standpoint import Standpoint

PROMISE = "P5"
SAYS = "positions of a mirror tell the epoch of its owner that was current when the mirror was opened"
BLIND = True
DRAWING = {"faults": ("crash", "stop")}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    handle_applied = Standpoint.handle_applied

    def applied(self: Any, update: Any) -> None:
        epochs = dict(self._epochs)
        handle_applied(self, update)
        self._epochs = epochs

    with mock.patch.object(Standpoint, "handle_applied", applied):
        yield
