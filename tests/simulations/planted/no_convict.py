"""Two updates of one number are seen, and that is all: the feed goes on, no proof is kept, nobody is told."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

from replication.forks import Forks

PROMISE = "P2"
SAYS = "a fork is seen, and nobody is convicted of it"
BLIND = True
DRAWING = {"faults": ("hostile",)}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    with mock.patch.object(Forks, "_quarantine", return_value=None):
        yield
