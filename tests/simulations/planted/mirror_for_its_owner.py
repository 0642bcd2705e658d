"""Whoever asks for the owner's own word is given what is mirrored here, as if that would do: it saves a round trip."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

from node import lookup

PROMISE = "P5"
SAYS = "a question to the owner alone is answered by the mirror that is here"
DRAWING = {"faults": (), "servers": 3}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    real = lookup.first_source

    def first_source(*, own: bool, held: str, consistency: str) -> lookup.First:
        return "here" if held == "mirrored" else real(own=own, held=held, consistency=consistency)

    with mock.patch.object(lookup, "first_source", first_source):
        yield
