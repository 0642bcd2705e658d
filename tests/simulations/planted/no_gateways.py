"""Nobody ever asks others for a way: the product's own test switch, left on. Neighbours notice nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from routing.router import Router

PROMISE = "P4"
SAYS = "routing by gateways is switched off in every server"
DRAWING = {"faults": ("one-way cut", "isolation", "partition")}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    begin = Router.__init__

    def made(self: Router, *args: Any, **options: Any) -> None:
        begin(self, *args, **{**options, "gateways": False})

    with mock.patch.object(Router, "__init__", made):
        yield
