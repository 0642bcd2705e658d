"""Talk to any node, from trio or without it: the words of `node.calls` over its Unix socket or HTTP (DESIGN U1).

    async with connect("mesh/1.4") as node:                       with connect_blocking("mesh/1.4") as node:
        async for row in node.rows("Airport limit 3"): ...            for row in node.rows("Airport limit 3"): ...

    target        a server's directory (its Unix socket, by file permission) or http://127.0.0.1:8002 with a token
    Client        trio        one connection, kept alive; one call at a time, further ones wait their turn
    Blocking      no trio     the same words and the same results, for scripts and the command

Promised: what the node said is what comes back, as JSON values; its errors are raised again as the same kinds; a
change whose answer was lost raises `OutcomeUnknown`, never a silent repetition. Only questions are asked twice.

This file holds the two shells; what is said and read stands in `node.calls`, once for both.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any, Unpack
from urllib.parse import urlsplit

from identity.errors import BangpathError, Refused, Unreachable
from node import calls
from node.calls import Call, Lines, Wire
from node.client_words import Wanted, Words

if TYPE_CHECKING:
    import trio

_PIECE = 256 << 10
SUN_PATH = 100  # a Unix socket's path has 108 bytes on Linux, 104 elsewhere; longer ones go by a short path


class Target:
    """Where a node listens. Raises `Refused` for what is neither a directory nor a loopback URL."""

    def __init__(self, text: str | os.PathLike[str], token: str | None = None) -> None:
        self.text = os.fspath(text)
        self.token = token
        self.path: str | None = None
        self.address: tuple[str, int] | None = None
        if self.text.startswith("http://"):
            parts = urlsplit(self.text)
            if not parts.hostname:
                raise Refused(f"{self.text!r} names no host", next_step="write http://127.0.0.1:PORT")
            self.address = (parts.hostname, parts.port or 80)
            self.host = parts.netloc
        elif "://" in self.text:
            raise Refused(f"{self.text!r} is no target", next_step="name a server's directory or http://HOST:PORT")
        else:
            self.path = os.path.join(self.text, "socket")
            self.host = "localhost"

    def silent(self, error: OSError) -> Unreachable:
        """The error of a node that does not answer, with the command that starts it."""
        if self.path is None:
            return Unreachable(f"no node answers at {self.text}: {error.strerror or error}")
        if not os.path.exists(os.path.join(self.text, "bangpath.toml")):
            return Unreachable(f"{self.text} is no server's directory", next_step=f"bangpath -C {self.text} init ID")
        return Unreachable(f"the server in {self.text} does not run", next_step=f"bangpath -C {self.text} run")


@contextmanager
def short_path(path: str) -> Iterator[str]:
    """A name of `path` that fits into a Unix socket's address, however deep its directory lies."""
    if len(os.fsencode(path)) <= SUN_PATH:
        yield path
        return
    directory = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{os.path.basename(path)}"
    finally:
        os.close(directory)


def _hung_up(fileno: int) -> bool:
    """Whether an idle connection has something to read, which can only be its end."""
    poll = select.poll()
    poll.register(fileno, select.POLLIN)
    return bool(poll.poll(0))


class Blocking(Words):
    """One node, without trio. Every word returns when it was answered, or raises a `BangpathError`."""

    def __init__(self, target: str | os.PathLike[str], *, token: str | None = None, timeout_s: float = 120.0) -> None:
        self.target = Target(target, token)
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None
        self._wire: Wire | None = None

    def __enter__(self) -> Blocking:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = self._wire = None

    def call(self, call: Call) -> Any:
        """Any call, answered whole."""
        pieces: list[bytes] = []
        status = 0
        for status, piece in self.pieces(call):  # noqa: B007 - the status of the last piece is the answer's
            pieces.append(piece)
        return calls.read_answer(status, b"".join(pieces))

    def pieces(self, call: Call) -> Iterator[tuple[int, bytes]]:
        """The answer's body as it comes, each piece with the answer's status. The last piece may be empty."""
        wire, connection = self._connected()
        try:
            connection.sendall(wire.begin(call))
            ended = False
            while not ended:
                got, ended = wire.receive(connection.recv(_PIECE))
                for piece in got:
                    yield wire.status, piece
            yield wire.status, b""
        except OSError as error:
            self.close()
            raise calls.lost(call, _broken(self.target, error)) from error
        except BangpathError as error:
            self.close()
            raise calls.lost(call, error) from error
        except BaseException:
            self.close()
            raise
        if not wire.recycle():
            self.close()

    def lines(self, text: str, **wanted: Unpack[Wanted]) -> Iterator[bytes]:
        """A query's answer as NDJSON lines, unread: rows, then `{"completeness": ...}`."""
        lines, refusal = Lines(), b""
        for status, piece in self.pieces(calls.query(text, **wanted)):
            if status >= 400:
                refusal += piece
                if not piece:
                    calls.read_answer(status, refusal)
            else:
                yield from lines.feed(piece)
        yield from lines.end()

    def told(self, call: Call) -> Iterator[Any]:
        """What a call that answers in lines says, line by line."""
        import msgspec

        lines, refusal = Lines(), b""
        for status, piece in self.pieces(call):
            if status >= 400:
                refusal += piece
                if not piece:
                    calls.read_answer(status, refusal)
            else:
                yield from map(msgspec.json.decode, lines.feed(piece))

    def check(self, *, repair: bool = False) -> dict[str, Any]:
        """The node's look at everything that it stores: `{whole, counts, found, findings}`; with `repair`, `mended`."""
        for said in self.told(calls.check(repair=repair)):
            if "progress" not in said:
                return calls.read_report(said)
        raise Unreachable("the node closed the connection before its report")

    def rows(self, text: str, **wanted: Unpack[Wanted]) -> Iterator[Any]:
        """The rows of a query as they come; the completeness report stands in `self.completeness` afterwards."""
        self.completeness: Any = None
        for line in self.lines(text, **wanted):
            for kind, said in calls.read_rows([line]):
                if kind == "row":
                    yield said
                else:
                    self.completeness = said

    def query(self, text: str, **wanted: Unpack[Wanted]) -> dict[str, Any]:
        """`{rows, completeness}`, all at once."""
        rows = list(self.rows(text, **wanted))
        return {"rows": rows, "completeness": self.completeness}

    def _connected(self) -> tuple[Wire, socket.socket]:
        if self._socket is not None and _hung_up(self._socket.fileno()):
            self.close()
        if self._socket is None or self._wire is None:
            try:
                self._socket = self._open()
            except OSError as error:
                raise self.target.silent(error) from error
            self._wire = Wire(self.target.host, self.target.token)
        return self._wire, self._socket

    def _open(self) -> socket.socket:
        if self.target.address is not None:
            return socket.create_connection(self.target.address, timeout=self._timeout_s)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self._timeout_s)
        try:
            with short_path(self.target.path or "") as path:
                connection.connect(path)
        except BaseException:
            connection.close()
            raise
        return connection


class Client(Words):
    """One node, from trio. The words of `Words`, each to be awaited; calls made at the same time wait in line."""

    def __init__(self, target: str | os.PathLike[str], *, token: str | None = None) -> None:
        import trio

        self.target = Target(target, token)
        self._line = trio.Lock()
        self._stream: trio.SocketStream | None = None
        self._wire: Wire | None = None

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._stream is not None:
            self._stream.socket.close()
        self._stream = self._wire = None

    async def call(self, call: Call) -> Any:
        """Any call, answered whole."""
        pieces: list[bytes] = []
        status = 0
        async with aclosing(self.pieces(call)) as answer:
            async for status, piece in answer:  # noqa: B007 - as in the blocking twin
                pieces.append(piece)
        return calls.read_answer(status, b"".join(pieces))

    async def pieces(self, call: Call) -> AsyncGenerator[tuple[int, bytes], None]:
        """The answer's body as it comes, each piece with the answer's status. The last piece may be empty."""
        import trio

        async with self._line:
            wire, stream = await self._connected()
            try:
                await stream.send_all(wire.begin(call))
                ended = False
                while not ended:
                    got, ended = wire.receive(bytes(await stream.receive_some(_PIECE)))
                    for piece in got:
                        yield wire.status, piece
                yield wire.status, b""
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
                self.close()
                raise calls.lost(call, _broken(self.target, error)) from error
            except BangpathError as error:
                self.close()
                raise calls.lost(call, error) from error
            except BaseException:
                self.close()
                raise
            if not wire.recycle():
                self.close()

    async def check(self, *, repair: bool = False) -> dict[str, Any]:
        """The node's look at everything that it stores: `{whole, counts, found, findings}`; with `repair`, `mended`."""
        answer = b""
        status = 0
        async with aclosing(self.pieces(calls.check(repair=repair))) as pieces:
            async for status, piece in pieces:  # noqa: B007 - the status of the last piece is the answer's
                answer += piece
        *_, last = answer.rstrip(b"\n").split(b"\n")
        return calls.read_report(calls.read_answer(status, last))

    async def rows(self, text: str, **wanted: Unpack[Wanted]) -> AsyncGenerator[Any, None]:
        """The rows of a query as they come; the completeness report stands in `self.completeness` afterwards."""
        self.completeness: Any = None
        lines, refusal = Lines(), b""
        async with aclosing(self.pieces(calls.query(text, **wanted))) as answer:
            async for status, piece in answer:
                if status >= 400:
                    refusal += piece
                    if not piece:
                        calls.read_answer(status, refusal)
                    continue
                for kind, said in calls.read_rows(lines.feed(piece) if piece else lines.end()):
                    if kind == "row":
                        yield said
                    else:
                        self.completeness = said

    async def query(self, text: str, **wanted: Unpack[Wanted]) -> dict[str, Any]:
        """`{rows, completeness}`, all at once."""
        async with aclosing(self.rows(text, **wanted)) as rows:
            every = [row async for row in rows]
        return {"rows": every, "completeness": self.completeness}

    async def _connected(self) -> tuple[Wire, trio.SocketStream]:
        import trio

        if self._stream is not None and _hung_up(self._stream.socket.fileno()):
            self.close()
        if self._stream is None or self._wire is None:
            try:
                if self.target.address is not None:
                    self._stream = await trio.open_tcp_stream(*self.target.address)
                else:
                    with short_path(self.target.path or "") as path:
                        self._stream = await trio.open_unix_socket(path)
            except OSError as error:
                raise self.target.silent(error) from error
            self._wire = Wire(self.target.host, self.target.token)
        return self._wire, self._stream


def connect(target: str | os.PathLike[str], *, token: str | None = None) -> Client:
    """A node, from trio: `async with connect("mesh/1.4") as node`. Nothing is sent before the first word."""
    return Client(target, token=token)


def connect_blocking(target: str | os.PathLike[str], *, token: str | None = None, timeout_s: float = 120.0) -> Blocking:
    """A node, without trio: `with connect_blocking("mesh/1.4") as node`."""
    return Blocking(target, token=token, timeout_s=timeout_s)


def _broken(target: Target, error: Exception) -> Unreachable:
    if isinstance(error, TimeoutError):
        return Unreachable(f"the node at {target.text} did not answer in time")
    return Unreachable(f"the connection to {target.text} broke: {error}")
