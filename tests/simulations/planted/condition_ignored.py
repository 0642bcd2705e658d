"""The condition of a question is checked, and then not asked of any row."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

from store import selecting

PROMISE = "P5"
SAYS = "the condition of a question is not asked of its rows"
DRAWING = {"faults": ()}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    with mock.patch.object(selecting, "compile_filter", return_value=lambda fields: True):
        yield
