"""What a mirror holds is told as what its owner said just now: the copy is equal, so somebody left the label off."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from node import lookup

PROMISE = "P5"
SAYS = "what a mirror has is told as the owner's own word, of age 0"
DRAWING = {"faults": (), "servers": 3}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    real = lookup._Question._told

    def told(self: Any, found: Any) -> Any:
        answer = real(self, found)
        return answer._replace(kind="owner", age=0.0) if answer.kind == "mirrored" else answer

    with mock.patch.object(lookup._Question, "_told", told):
        yield
