"""A client of a simulated server: the words of `bangpath.connect`, for applications that speak them.

    application --Call--> [simulated] --ASGI, in memory--> node.http.app --> the node
                <--JSON--

An application that runs beside its server, and talks to it as `bangpath.connect("mesh/1.4")` does, is tested with
`server.connect()` in that place: the same class (`node.client.Client`), the same requests, answers and errors as over
the Unix socket, without the socket. It outlives its server, as an application's connection does: while that one is
down `Unreachable` is raised; a change whose answer was lost with a crash raises `OutcomeUnknown`. A paused server
answers when it goes on.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import trio

from identity.errors import Unreachable
from node import calls
from node.calls import Call
from node.client import Client
from node.http.app import App

if TYPE_CHECKING:
    from simulations.server import SimulatedServer


class SimulatedClient(Client):
    """`node.client.Client` of a server in the same world."""

    def __init__(self, server: SimulatedServer) -> None:
        super().__init__(server.name)
        self._server = server
        self._line = trio.Lock()

    async def pieces(self, call: Call) -> AsyncGenerator[tuple[int, bytes], None]:
        """The answer's body with its status, when it is there whole."""
        async with self._line:  # one call at a time, as on one connection
            status, said = await self._exchange(call)
        for each in said:
            yield status, each
        yield status, b""

    async def _exchange(self, call: Call) -> tuple[int, list[bytes]]:
        server = self._server
        await server.awake()
        if server.node is None:
            raise Unreachable(f"the server {server.name} does not run", next_step=f"restart {server.name}")
        node, answer = server.up, _Answer(call)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when_gone, server, nursery.cancel_scope)
            await App(node)(_scope(call), answer.receive, answer.send)
            answer.whole = True
            nursery.cancel_scope.cancel()
        if not answer.whole or server.node is None:
            raise calls.lost(call, Unreachable(f"the connection to {server.name} broke: it crashed"))
        return answer.status, answer.pieces


async def _cancel_when_gone(server: SimulatedServer, scope: trio.CancelScope) -> None:
    await server.gone()
    scope.cancel()


class _Answer:
    """The client's end of one exchange."""

    def __init__(self, call: Call) -> None:
        self.status = 0
        self.pieces: list[bytes] = []
        self.whole = False
        self._body: list[bytes] = [call.body]

    async def receive(self) -> dict[str, Any]:
        if self._body:
            await trio.lowlevel.checkpoint()
            return {"type": "http.request", "body": self._body.pop(), "more_body": False}
        await trio.sleep_forever()
        raise AssertionError  # pragma: no cover

    async def send(self, event: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        if event["type"] == "http.response.start":
            self.status = event["status"]
        elif event.get("body"):
            self.pieces.append(bytes(event["body"]))


def _scope(call: Call) -> dict[str, Any]:
    path, _, query = call.path.partition("?")
    headers = [(b"host", b"localhost"), (b"accept", call.accept.encode())]
    headers += [(b"content-length", str(len(call.body)).encode())] if call.body else []
    headers += [(b"if-match", str(call.if_match).encode())] if call.if_match is not None else []
    return {
        "type": "http", "http_version": "1.1", "method": call.method, "path": unquote(path),
        "raw_path": path.encode(), "query_string": query.encode(), "headers": headers, "scheme": "http",
    }  # fmt: skip
