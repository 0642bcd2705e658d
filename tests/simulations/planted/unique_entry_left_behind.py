"""An own object that gets another unique value, or is deleted, keeps the entry of the old one: nobody can have it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from unittest import mock

from identity.encoding import decode_integer_untrusted
from identity.names import END
from store import applying, indexes
from store.registry import FIRST_USER_NUMBER

PROMISE = "P1"
SAYS = "the entry of a unique value stays when its object gets another one"
DRAWING = {"servers": 3, "faults": ()}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    def let_go(index: dict[bytes, bytes | None], entry_keys: Iterable[bytes], object_key: bytes) -> None:
        gone = [each for each in entry_keys if not _is_unique(each)]
        indexes.let_go(index, gone, object_key)

    with mock.patch.object(applying, "let_go", let_go):
        yield


def _is_unique(key: bytes) -> bool:
    """Whether it is an entry of a user's unique index of own objects: those do not end in the object's number."""
    return key.endswith(END) and decode_integer_untrusted(key, 0)[0] >= FIRST_USER_NUMBER
