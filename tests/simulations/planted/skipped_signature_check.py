"""An update's leaves are compared with its head, and the head's signature with nothing: the root was thought enough."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

from replication import leaves

PROMISE = "P2"
SAYS = "the signature of an update is not verified"
BLIND = True
DRAWING = {"faults": ("hostile",)}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    with mock.patch.object(leaves, "verify_signature", return_value=True):
        yield
