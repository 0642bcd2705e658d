"""What a server mirrors is read back after a restart, and shown, and nobody is asked for it any more.

The subscription was moved to the word that asks for a mirror, where it seemed to belong; the start was forgotten.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from node.mirroring import Mirroring

PROMISE = "P3"
SAYS = "a restarted server does not subscribe to what it mirrors"
DRAWING = {"faults": ("crash", "stop")}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    load = Mirroring.load

    def loaded(self: Mirroring, view: Any, *, now: float) -> None:
        with mock.patch.object(self._flood, "subscribe"):
            load(self, view, now=now)

    with mock.patch.object(Mirroring, "load", loaded):
        yield
