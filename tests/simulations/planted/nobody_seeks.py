"""Ways over links that carry one way only are looked for by nobody. So who is left in a ring of such links reaches
nobody in it, until a link carries both ways."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from routing.seeking import Seeking

PROMISE = "P4"
SAYS = "ways over links that carry one way only are looked for by nobody"
DRAWING = {"faults": ("one-way cut", "isolation", "partition")}
SEEDS = 120  # a ring of links that carry one way, and nothing else between three servers, is drawn seldom


@contextlib.contextmanager
def plant() -> Iterator[None]:
    def nobody(self: Seeking, *args: Any, **options: Any) -> None: ...

    with (
        mock.patch.object(Seeking, "want_doubted", nobody),
        mock.patch.object(Seeking, "want_lost", nobody),
        mock.patch.object(Seeking, "_seek_back", nobody),
    ):
        yield
