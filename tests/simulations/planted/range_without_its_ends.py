"""A range of an index that a question asks for leaves out the values that it names, its first and its last one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from store import selecting

PROMISE = "P5"
SAYS = "a range of an index begins one value too late and ends one too early"
DRAWING = {"servers": 3, "faults": ()}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    real = selecting._bound

    def bound(index: Any, op: str, value: Any) -> tuple[bytes, bytes] | None:
        found = real(index, op, value)
        if found is None or op not in ("<=", ">="):
            return found
        low, high = index.equal_range(value)
        return (found[0], low) if op == "<=" else (high, found[1])

    with mock.patch.object(selecting, "_bound", bound):
        yield
