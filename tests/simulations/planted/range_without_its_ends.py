"""A range of an index that a question asks for leaves out the values that it names, its first and its last one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from store import selecting
from store.keys import after_prefix

PROMISE = "P5"
SAYS = "a range of an index begins one value too late and ends one too early"
DRAWING = {"servers": 3, "faults": ()}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    real = selecting._bounds

    def bounds(part: Any, op: str, value: Any) -> tuple[bytes, bytes] | None:
        found = real(part, op, value)
        if found is None or op not in ("<=", ">="):
            return found
        key = part.cut(part.write(value))
        return (found[0], key) if op == "<=" else (after_prefix(key), found[1])

    with mock.patch.object(selecting, "_bounds", bounds):
        yield
