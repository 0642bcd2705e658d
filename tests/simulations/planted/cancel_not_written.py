"""What became of a change that was cancelled is told before it is durable, and is not written down at all.

Who cancelled it hears that it is cancelled; after a crash it waits again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from node.delivering import Delivering
from replication.entries import State, Write

PROMISE = "P1"
SAYS = "that a change was cancelled is not written down, so that after a crash it waits again, and is sent"
DRAWING = {"faults": ("isolation", "crash")}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    carry_out = Delivering._carry_out

    async def carried_out(self: Any, outputs: Any) -> None:
        def taken_back(output: Any) -> bool:
            entry = self.outbox.find(output.number)
            return isinstance(output, Write) and entry is not None and entry.state is State.CANCELLED

        await carry_out(self, [each for each in outputs if not taken_back(each)])

    with mock.patch.object(Delivering, "_carry_out", carried_out):
        yield
