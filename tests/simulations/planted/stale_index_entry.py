"""A mirror that applies a change puts in the new index entries of an object, and leaves the old ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from unittest import mock

from identity.names import END
from store import applying, indexes

PROMISE = "P5"
SAYS = "the index entries that a change has made old are not removed at mirrors"
DRAWING = {"servers": 3, "faults": ()}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    def let_go(index: dict[bytes, bytes | None], entry_keys: Iterable[bytes], object_key: bytes) -> None:
        if object_key.startswith(END):
            indexes.let_go(index, entry_keys, object_key)

    with mock.patch.object(applying, "let_go", let_go):
        yield
