"""Who has an update durably does not say so: GOT was left out when telling was made lazy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

from replication.telling import Telling

PROMISE = "P3"
SAYS = "who has an update durably does not tell whom it has it from"
DRAWING = {"faults": ("crash", "partition")}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    with mock.patch.object(Telling, "tell_got"):
        yield
