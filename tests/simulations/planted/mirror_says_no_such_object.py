"""A server that is asked for what it holds itself, and holds no copy, says for the owner that there is no such object.

One case less to explain, it seemed. The object may be there all the while; only its owner can know.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from identity.errors import NotFound
from node import lookup

PROMISE = "P5"
SAYS = "who holds no copy says that there is no such object"
DRAWING = {"faults": ("partition", "isolation")}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    def denied(self: Any) -> NotFound:
        return NotFound.by_owner(self._server, f"{self._server}/{self._object}")

    with mock.patch.object(lookup._Question, "_unknown_here", denied):
        yield
