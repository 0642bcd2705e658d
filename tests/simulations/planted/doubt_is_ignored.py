"""A session whose packets are not answered looks for no other way until it has ended; then its next one does. So
everything comes right, and a link that breaks is felt for some ten seconds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from routing.mending import Mending

PROMISE = "P4"
SAYS = "a session in doubt looks for no way round, and is waited for"
DRAWING = {"faults": ("one-way cut", "isolation", "partition")}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    def ignored(self: Mending, *args: Any, **options: Any) -> None: ...

    with mock.patch.object(Mending, "handle_doubted", ignored):
        yield
