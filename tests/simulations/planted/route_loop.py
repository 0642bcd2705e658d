"""A gateway that does not reach the next server on a packet's path sends it along its own route to the target, and
nobody looks any more whether a path passes a server twice: two gateways that hope for each other play ball."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from identity.names import ServerId
from routing import forwarding
from routing.forwarding import Forwarding
from routing.probes import MAX_PATH, Forward, Lost
from routing.router import Router
from routing.ways import HandOn

PROMISE = "P4"
SAYS = "gateways mend the paths of others' packets by their own routes, and paths may pass a server twice"
BLIND = True
DRAWING = {"faults": ("partition", "isolation", "one-way cut")}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    begin, hand_on = Router.__init__, Forwarding._hand_on

    def made(self: Router, *args: Any, **options: Any) -> None:
        begin(self, *args, **options)
        self._forwarding.ways = self._using.ways  # type: ignore[attr-defined]

    def handed_on(self: Any, message: Forward, now: float) -> None:
        path, at = message.path, message.at
        way = self.ways.get(path[-1])
        if not self._reached(path[at + 1]) and way is not None and way.route is not None:
            mended = (*path[: at + 1], *way.route.path[1:])
            if len(mended) <= MAX_PATH:
                self._put(HandOn(mended[at + 1], Forward(mended, at + 1, message.packet)))
                return
        hand_on(self, message, now)

    def check(message: Forward | Lost, own: ServerId, peer: ServerId) -> str | None:
        path, at = message.path, message.at
        if len(path) < 3 or at >= len(path) or path[at] != own:
            return "a packet of a path that does not pass here"
        return None

    with (
        mock.patch.object(Router, "__init__", made),
        mock.patch.object(Forwarding, "_hand_on", handed_on),
        mock.patch.object(forwarding, "check_forward_untrusted", check),
    ):
        yield
