"""Of a question with a limit each server gives one row less than the limit, where it has to sort them first."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from store import selecting

PROMISE = "P5"
SAYS = "where rows are sorted, one less than the limit is given"
DRAWING = {"faults": ()}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    real = selecting._sorted

    def short(rows: Any, key: Any, limit: int | None) -> Any:
        ordered = real(rows, key, limit)
        return ordered if limit is None else selecting.limited(ordered, max(limit - 1, 1))

    with mock.patch.object(selecting, "_sorted", short):
        yield
