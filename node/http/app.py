"""One HTTP request: token, route, a body within bounds, a word to the node, an answer or an error as JSON.

    scope, receive -> token? -> route? -> body (in time, in size, JSON) -> word -> status, JSON
                       401       404        408  413  400               U4's kinds, each with its status

ASGI by hand (https://asgi.readthedocs.io/en/latest/specs/www.html): one coroutine, no framework. Promised: whatever a
client sends or fails to send, it is answered within the deadlines below or hung up on, holds at most MAX_BODY bytes,
and others are served meanwhile (ATTACKS 20); no error leaves as a traceback; a client that has gone stops its query.

hypercorn cuts slow headers itself, but leaves a silent or trickling *body* open (FACTS): hence the deadline here.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar
from urllib.parse import parse_qsl

import msgspec
import trio

from identity.errors import BangpathError, Exhausted, Refused
from node.http.routes import find_route

MAX_BODY = 17 << 20  # a transaction of the largest size (DESIGN L6) and its envelope
BODY_DEADLINE_S = 30.0  # for the whole body, however it trickles
MAX_ACTIVE = 256  # requests at work at once; more are answered 503 at once rather than queued
SLOW_READER_S = 60.0  # a client that takes nothing for so long is given up

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_log = logging.getLogger("bangpath.http")
_JSON_HEADERS = [(b"content-type", b"application/json")]


class BadRequest(Refused):
    """What came is no request of this interface."""

    http_status: ClassVar[int] = 400


class NoToken(Refused):
    """The token is missing or wrong."""

    kind: ClassVar[str] = "forbidden"
    http_status: ClassVar[int] = 401


class TooLarge(Refused):
    http_status: ClassVar[int] = 413


class TooSlow(Refused):
    http_status: ClassVar[int] = 408


class Gone(Exception):
    """The client hung up; there is nobody to answer."""


class Request:
    """What a word may want to know of its request."""

    __slots__ = ("_receive", "headers", "path", "query", "send")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.query: dict[str, str] = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        self.path: str = scope["path"]
        self._receive = receive
        self.send = send

    async def body(self) -> bytes:
        """The whole body. Raises `TooLarge`, `TooSlow`, `Gone`."""
        stated = self.headers.get(b"content-length", b"0")
        if stated.isdigit() and int(stated) > MAX_BODY:
            raise TooLarge(f"a body of {int(stated)} bytes, {MAX_BODY} allowed", next_step="send it in chunks")
        pieces: list[bytes] = []
        size = 0
        with trio.move_on_after(BODY_DEADLINE_S):
            while True:
                event = await self._receive()
                if event["type"] == "http.disconnect":
                    raise Gone
                piece = event.get("body", b"")
                size += len(piece)
                if size > MAX_BODY:
                    raise TooLarge(f"a body of more than {MAX_BODY} bytes", next_step="send it in chunks")
                if piece:
                    pieces.append(piece)
                if not event.get("more_body", False):
                    return b"".join(pieces)
        raise TooSlow(f"the body did not arrive within {BODY_DEADLINE_S:.0f} s")

    async def json(self, *, empty: Any = None) -> Any:
        """The body as JSON values; `empty` for none, where that means something. Raises `BadRequest`."""
        data = await self.body()
        if not data and empty is not None:
            return empty
        try:
            return msgspec.json.decode(data)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise BadRequest(f"the body is no JSON: {error}", next_step="docs/guide-python-http.md shows it") from error

    async def gone(self) -> None:
        """Return when the client has hung up. To be called after the body only."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def answer(self, status: int, said: Any) -> None:
        """One JSON answer, whole."""
        data = msgspec.json.encode(said)
        headers = [*_JSON_HEADERS, (b"content-length", str(len(data)).encode())]
        await self.start(status, headers)
        await self.piece(data, more=False)

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        with trio.fail_after(SLOW_READER_S):
            await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def piece(self, data: bytes, *, more: bool = True) -> None:
        """A part of the body, taken by the client or given up."""
        with trio.fail_after(SLOW_READER_S):
            await self.send({"type": "http.response.body", "body": data, "more_body": more})


class App:
    """The ASGI application over one node. `token` None: the socket's file permissions are the right (Unix)."""

    def __init__(self, node: Any, *, token: str | None = None) -> None:
        self._node = node
        self._token = token.encode() if token is not None else None
        self._active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._serve(Request(scope, receive, send), scope["method"])

    async def _serve(self, request: Request, method: str) -> None:
        self._active += 1
        try:
            try:
                await self._answer(request, method)
            except BangpathError as error:
                await request.answer(error.http_status, error.as_json())
        except Gone:
            pass
        except trio.TooSlowError:
            _log.warning("a client took nothing for %.0f s and was given up", SLOW_READER_S)
        except Exception:
            _log.exception("%s %s failed", method, request.path)
            fault = {"error": "local_mistake", "cause": "the node failed on this request; its log says how"}
            await request.answer(500, {**fault, "next_step": "report it, with the log"})
        finally:
            self._active -= 1

    async def _answer(self, request: Request, method: str) -> None:
        if self._token is not None:
            given = request.headers.get(b"authorization", b"")
            if not hmac.compare_digest(given, b"Bearer " + self._token):
                raise NoToken("this address wants the node's token", next_step="send Authorization: Bearer TOKEN")
        if self._active > MAX_ACTIVE:
            raise Exhausted(f"{MAX_ACTIVE} requests are at work", next_step="ask again in a moment")
        word, parameters = find_route(method, request.path)
        await word(self._node, request, *parameters)
