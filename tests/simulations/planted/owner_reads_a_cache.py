"""An owner keeps the objects it was asked for in memory, and forgets them when it changes them itself.

That others change them too, by request, goes by another function: then the old version is answered for ever.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import msgspec

from node import lookup
from node.owning import Owner
from node.serving import Serving

PROMISE = "P1"
SAYS = "an owner answers with a version that was changed by request since"
DRAWING = {"faults": ()}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    kept: dict[tuple[Any, Any], Any] = {}  # owner, object: as its own people read it first
    told: dict[tuple[Any, Any], Any] = {}  # the same, as others were told
    held_here, get, transact = lookup.held_here, Serving._get, Owner.transact

    def held(asking: Any, server: Any, object: Any) -> Any:
        found = held_here(asking, server, object)
        return kept.setdefault((server, object), found) if found is not None and found.kind == "owned" else found

    def served(self: Serving, question: Any) -> Any:
        answer = get(self, question)
        if question.server != self._server:
            return answer
        leaf = told.setdefault((question.server, question.object), answer.leaf)
        return msgspec.structs.replace(answer, leaf=leaf)

    async def changed(self: Owner, operations: Any) -> Any:
        done = await transact(self, operations)
        for each in done:
            for cache in (kept, told):
                cache.pop((each.reference.server, each.reference.object), None)
        return done

    with (
        mock.patch.object(lookup, "held_here", held),
        mock.patch.object(Serving, "_get", served),
        mock.patch.object(Owner, "transact", changed),
    ):
        yield
