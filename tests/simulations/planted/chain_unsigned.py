"""A certificate says who issued it, and that was thought enough: nobody looks whether that issuer signed it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

from identity import trust

PROMISE = "P2"
SAYS = "who signed a certificate is not looked at"
BLIND = True
DRAWING = {"faults": ("hostile",)}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    trust._links_untrusted.cache_clear()  # what was proven is remembered by the process, not by a run
    try:
        with mock.patch.object(trust, "verify", return_value=True):
            yield
    finally:
        trust._links_untrusted.cache_clear()
