"""An owner of whom no row came counts as one that has none: whoever was not reached makes no answer incomplete."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any
from unittest import mock

from node import fan_out
from node.federate import Owner, completeness

PROMISE = "P5"
SAYS = "an answer counts as whole although an owner was not reached"
BLIND = True
DRAWING = {"faults": ("crash", "isolation")}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    def claimed(owners: Iterable[Owner], directory: Any) -> dict[str, Any]:
        every = list(owners)
        report = completeness(every, directory)
        return {**report, "whole": all(each.whole for each in every if each.rows)}

    with mock.patch.object(fan_out, "completeness", claimed):
        yield
