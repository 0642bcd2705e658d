"""A mirror says of what it holds that it was proven current just now: nobody had time to count, and 0 looked modest."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from node.standpoint import Standpoint

PROMISE = "P5"
SAYS = "the age of a mirror's answer is always 0"
DRAWING = {"faults": ("isolation", "partition"), "servers": 3}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    holding = Standpoint.holding

    def young(self: Standpoint, server: Any) -> Any:
        found = holding(self, server)
        return found if found.age is None else found._replace(age=0.0)

    with mock.patch.object(Standpoint, "holding", young):
        yield
