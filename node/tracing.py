"""By which ways other servers are reached, as words of `node.node.Node` (`route`, `trace`, `ping`).

    routes()        each server: our way to it and its way to us, standby, round trip
    trace(1.2)      there 1.1!1.5!1.2  38 ms      back 1.2!1.1      each as its sender says, asked of 1.2
                    came  1.1!1.9!1.5!1.2                           where its receiver was told another one
    ping(1.2)       how long it takes to answer, whichever way

Each end says which path it writes on its packets; the answer is sealed between the two, so no gateway can change that.
What stands on a packet when it comes is the word of the gateways: where it differs, a way has just changed, or one of
them lies. The times are those of requests, so they hold what the servers need to think of the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from identity.errors import BangpathError, Refused
from identity.names import ServerId
from node import reporting
from node.requests import Ping, Pong
from node.running import Running
from routing.probes import Trace, Traced

if TYPE_CHECKING:
    from node.parts import Parts

HOP_S = 2.0  # what a server on the path has to answer in


class Tracing(Running):
    """The words about ways. `parts` raises `Exhausted` when nothing runs."""

    def routes(self, server: ServerId | str | None = None) -> list[dict[str, Any]]:
        """How each server is reached, in both directions, or that one. Raises `Refused` for one that is not known."""
        every = reporting.routes(self.parts, trio.current_time())
        if server is None:
            return every
        peer = str(self._other(server))
        none = {"server": peer, **reporting.NO_WAY, "reason": "nobody has asked for it"}
        return [each for each in every if each["server"] == peer] or [none]

    async def ping(self, server: ServerId | str, *, deadline: float | None = None) -> dict[str, Any]:
        """How long another server takes to answer. Raises `Unreachable`, `OutcomeUnknown`."""
        peer = self._other(server)
        async with self._word(deadline) as (parts, until):
            seconds, pong = await _asked(parts, peer, until)
            return {
                "server": str(peer),
                "seconds": round(seconds, 6),
                "clock_offset_ms": pong.wall_ms - self.wall_ms(),
                "path": [str(each) for each in parts.router.path_to(peer, trio.current_time())],
            }

    async def trace(self, server: ServerId | str, *, deadline: float | None = None) -> dict[str, Any]:
        """The path there, the path back, and how long each server on them takes. Raises `Unreachable`."""
        peer = self._other(server)
        async with self._word(deadline) as (parts, until):
            begun = trio.current_time()
            traced: Traced = await parts.requesting.ask_one(peer, Trace(), Traced, deadline=until)
            now = trio.current_time()
            seconds = now - begun
            came_back = parts.detours.path_from(peer, now)
            there = parts.router.path_to(peer, now) or traced.there
            back = traced.back or came_back
            came = {"there": (traced.there, there), "back": (came_back, back)}
            hops = []
            for each in dict.fromkeys((*there[1:-1], *back[1:-1])):
                try:
                    hop_s, _ = await _asked(parts, each, min(until, trio.current_time() + HOP_S))
                    hops.append({"server": str(each), "rtt_ms": round(1000 * hop_s, 3)})
                except BangpathError as error:
                    hops.append({"server": str(each), "rtt_ms": None, "cause": error.cause})
            return {
                "server": str(peer),
                "there": [str(each) for each in there],
                "back": [str(each) for each in back],
                "came": {way: [str(each) for each in it] for way, (it, sent) in came.items() if it and it != sent},
                "rtt_ms": round(1000 * seconds, 3),
                "hops": hops,
            }

    def _other(self, server: ServerId | str) -> ServerId:
        peer = ServerId.parse(server) if isinstance(server, str) else server
        if peer == self.server:
            raise Refused(f"{peer} is this server itself", next_step="name another one")
        if self.parts.directory.entry(peer) is None:
            raise Refused(f"no server {peer} is known here", next_step=f"see who is: bangpath @{self.server} servers")
        return peer


async def _asked(parts: Parts, peer: ServerId, until: float) -> tuple[float, Pong]:
    begun = trio.current_time()
    pong: Pong = await parts.requesting.ask_one(peer, Ping(), Pong, deadline=until)
    return trio.current_time() - begun, pong
