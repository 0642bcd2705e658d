"""An owner's conflict is told by the asker's outbox as committed.

A branch too many in what an answer means: whoever asks the outbox hears that the change was made, and it was not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from node import outcomes
from replication.entries import Happened

PROMISE = "P1"
SAYS = "an owner's conflict is told as committed by the outbox"
BLIND = True
DRAWING = {"faults": ("isolation", "partition", "crash")}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    meaning = outcomes._meaning

    def wrong(error: Any, entry: Any) -> Any:
        found = meaning(error, entry)
        return Happened.COMMITTED if found is Happened.CONFLICT else found

    with mock.patch.object(outcomes, "_meaning", wrong):
        yield
