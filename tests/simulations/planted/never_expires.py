"""What was to wait for ten seconds or not at all waits for ever."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

from replication.outbox import Outbox

PROMISE = "P1"
SAYS = "a change whose time is over goes on waiting, and is carried out when its owner is back"
DRAWING = {"faults": ("isolation", "crash")}
BLIND = True


@contextlib.contextmanager
def plant() -> Iterator[None]:
    with mock.patch.object(Outbox, "_may_expire", return_value=False):
        yield
