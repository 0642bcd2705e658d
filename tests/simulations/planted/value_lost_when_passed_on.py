"""Who lets go of a unique value takes its index entry out, also when another has it by then, in the same transaction.

The product had this one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from unittest import mock

from store import applying

PROMISE = "P1"
SAYS = "a unique value that changes hands within one transaction loses its index entry"
DRAWING = {"servers": 3, "faults": ()}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    def let_go(index: dict[bytes, bytes | None], entry_keys: Iterable[bytes], object_key: bytes) -> None:
        index.update(dict.fromkeys(entry_keys))

    with mock.patch.object(applying, "let_go", let_go):
        yield
