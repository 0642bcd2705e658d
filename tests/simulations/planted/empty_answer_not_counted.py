"""An owner that answers and has no such rows is told as not reached: an empty answer looked like none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any
from unittest import mock

from node import fan_out
from node.federate import Owner, completeness

PROMISE = "P5"
SAYS = "an owner that answered and has no rows is told as unreachable"
DRAWING = {"faults": (), "servers": 3}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    def claimed(owners: Iterable[Owner], directory: Any) -> dict[str, Any]:
        every = list(owners)
        for each in every:
            if not each.rows and each.how == "owner":
                each.how = "unreachable"
        return completeness(every, directory)

    with mock.patch.object(fan_out, "completeness", claimed):
        yield
