"""A pattern asks for whatever one of its rules names, the exclusions too.

The sign of a rule was read, kept, and written out again; who asked whether a server matches looked at the rest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from identity.names import Pattern

PROMISE = "P3"
SAYS = "who is excluded from a pattern is mirrored all the same"
DRAWING = {"faults": ()}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    def matches(self: Any, server: Any) -> bool:
        return any(
            server == base if not below else len(server) > len(base) and server.startswith(base)
            for _, below, base in self._rules
        )

    with mock.patch.object(Pattern, "matches", matches):
        yield
