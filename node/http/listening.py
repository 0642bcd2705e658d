"""Who is let in: connections accepted one by one, those of strangers counted and timed, each handed to hypercorn.

    accept -> room? -> hypercorn's connection -> a request within FIRST_REQUEST_S -> kept alive as long as it is used
              no: closed at once                 none: closed

Promised: connections over TCP, which need no right to be opened, take at most a quarter of the process's descriptors,
so that the Unix socket, the log and the tables keep theirs; one that asks nothing is closed soon; a lack of
descriptors is told once a minute and is a pause, never an end. hypercorn's own loop has no bound and, out of
descriptors, writes a traceback ten times a second.

Left to others: what is answered (`app`), the sockets and the process's life (`serve`).
"""

from __future__ import annotations

import logging
import math
import resource
import socket
from contextlib import suppress
from typing import Any, cast

import trio
from hypercorn.config import Config as HypercornConfig
from hypercorn.events import Event, Updated
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app

MAX_STRANGERS = 256  # as many as are answered at once (node.http.app.MAX_ACTIVE)
STRANGERS_SHARE = 4  # one descriptor in so many, where the process may have few
FIRST_REQUEST_S = 10.0  # a program that connects has something to say
PAUSE_S = 0.1  # when there is no descriptor for the next connection, which waits in the backlog
TELL_EVERY_S = 60.0

_log = logging.getLogger("bangpath.http")


def most_strangers(descriptors: int) -> int:
    """How many connections over TCP a process may have that may open so many descriptors."""
    if descriptors == resource.RLIM_INFINITY:
        return MAX_STRANGERS
    return max(1, min(MAX_STRANGERS, descriptors // STRANGERS_SHARE))


class Connection(TCPServer):
    """hypercorn's connection, with less patience for one that has asked nothing yet than between requests.

    One whose client hung up ends with its last task; hypercorn alone would keep it for the whole keep-alive time.
    """

    asked = False
    hung_up = False

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, Updated):
            if self.hung_up:
                return
            self.asked = self.asked or not event.idle
        await super().protocol_send(event)

    async def _read_data(self) -> None:
        await super()._read_data()
        self.hung_up = True
        await self.idle_task.stop()

    async def _idle_timeout(self) -> None:
        with trio.move_on_after(self.config.keep_alive_timeout if self.asked else FIRST_REQUEST_S):
            await self.context.terminated.wait()
        with trio.CancelScope(shield=True):
            await self._initiate_server_close()


class Door:
    """One listening socket and those who came in by it. `most`: of connections at once; None: as many as come."""

    def __init__(self, app: Any, config: HypercornConfig, listening: socket.socket, *, most: int | None = None) -> None:
        self._app = wrap_app(app, config.wsgi_max_body_size, "asgi")
        self._config = config
        self._listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
        self._most = math.inf if most is None else most
        self._inside = 0
        self._context = WorkerContext(None)
        self._tell_again = -math.inf

    async def serve(self, ended: trio.Event) -> None:
        """Until `ended`; then nobody is let in, and those inside have the configured time to finish."""
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting, self._listener:
                accepting.start_soon(self._accept, connections)
                await ended.wait()
                accepting.cancel_scope.cancel()
            await self._context.terminated.set()
            connections.cancel_scope.deadline = trio.current_time() + self._config.graceful_timeout

    async def _accept(self, connections: trio.Nursery) -> None:
        while True:
            try:
                stream = await self._listener.accept()
            except OSError as error:
                self._tell("no connection can be accepted: %s; see ulimit -n", error.strerror)
                await trio.sleep(PAUSE_S)
                continue
            if self._inside < self._most:
                self._inside += 1
                connections.start_soon(self._keep, stream)
            else:
                self._tell("%d connections over TCP are open; more are closed at once", self._inside)
                stream.socket.close()

    async def _keep(self, stream: trio.SocketStream) -> None:
        try:
            await Connection(self._app, self._config, self._context, ConnectionState({}), cast(Any, stream))
        finally:
            self._inside -= 1
            with suppress(OSError):
                stream.socket.close()

    def _tell(self, text: str, *values: object) -> None:
        """Who knocks often fills no log."""
        now = trio.current_time()
        if now >= self._tell_again:
            self._tell_again = now + TELL_EVERY_S
            _log.warning(text, *values)
