"""One real server of a stage: its directory, its process, and the words of `SimulatedServer` said to it as a client.

    start ---> running ---> stop      SIGTERM, in order
      ^           |-------> crash     kill -9: nothing is closed. What was not synced stays in the machine's page cache,
      |           |                   for a process cannot fail the power
      |           '-------> pause     SIGSTOP, until `resume`
      '--------------------------'

A process that ends without being told to fails the run with its last words. Words that are said at the same time have
each a connection, so that one that waits for an owner holds up no other. What is said while it starts waits until it
serves: a start takes a second here, and none in the simulator. Left to others: where it runs (`real_ground.py`).
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import trio

from identity.errors import BangpathError, LocalMistake, Refused
from identity.names import Incarnation, Reference, ServerId, parse_reference
from node import children
from node.client import Blocking, Client
from node.outcomes import Queued

if TYPE_CHECKING:
    from simulations.real import RealStage

READ_S = 2.0  # for a server of this machine to say what it holds


class RealServer:
    """A `bangpath run` process, as verbs see it (`stage.StageServer`)."""

    def __init__(self, stage: RealStage, server: ServerId, home: Path, incarnation: Incarnation) -> None:
        self.stage = stage
        self.server = server
        self.name = str(server)
        self.home = home
        self.lives = 0
        self.paused = False
        self._incarnation = incarnation
        self._child: children.Child | None = None
        self._idle: list[Client] = []  # connections that nobody uses now
        self._reader = Blocking(home, timeout_s=READ_S)
        self._scope = trio.CancelScope()
        self._starting = trio.Event()  # set while nobody starts it
        self._starting.set()

    def __repr__(self) -> str:
        return f"<real server {self.name}>"

    # -- life

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    @property
    def joined(self) -> bool:
        return True

    async def start(self) -> None:
        """Returns when it serves. Raises `Refused` with its last words."""
        if self.running:
            raise LocalMistake(f"{self.name} is up already")
        self.lives += 1
        self.stage.mark("start", self.name, life=self.lives)
        ground = self.stage.ground
        self._starting = trio.Event()
        words, inside = ground.words(self.name), ground.inside(self.name)
        try:
            child = self._child = await children.start(self.name, self.home, *words, inside=inside)
        finally:
            self._starting.set()
        self._scope = trio.CancelScope()
        self.stage.nursery.start_soon(self._guard, child, self._scope)

    async def _guard(self, child: children.Child, scope: trio.CancelScope) -> None:
        with scope:
            how = await child.wait()
            words = children.last_words(self.home / children.LOG, 0)
            raise AssertionError(f"{self.name}: {how}, and nobody had told it to; it said: {words}")

    async def restart(self) -> None:
        await self.start()

    async def crash(self, *, keep: bool = True, torn_write: bool = False) -> None:
        """`kill -9`."""
        if torn_write or not keep:
            raise Refused("a power failure can be made only in the simulator", next_step="say kill, or leave --real")
        child = self._going("crash")
        os.kill(child.pid, signal.SIGKILL)
        await child.wait()
        child.let_go()

    async def kill(self) -> None:
        await self.crash()

    async def stop(self) -> None:
        if self.paused:
            await self.resume()
        await self._going("stop").stop()

    def _going(self, mark: str) -> children.Child:
        if self._child is None or not self._child.running:
            raise LocalMistake(f"{self.name} is down already")
        self.stage.mark(mark, self.name)
        self._scope.cancel()
        self._hang_up()
        self.paused = False
        child, self._child = self._child, None
        return child

    async def pause(self) -> None:
        self._signal(signal.SIGSTOP, "pause")
        self.paused = True

    async def resume(self) -> None:
        """Go on; nothing for one that is not paused, or went down meanwhile."""
        if self.paused:
            self.paused = False
            self._signal(signal.SIGCONT, "resume")

    def _hang_up(self) -> None:
        self._reader.close()
        while self._idle:
            self._idle.pop().close()

    def _signal(self, number: signal.Signals, mark: str) -> None:
        if self._child is None or not self._child.running:
            raise LocalMistake(f"{self.name} is down already")
        os.kill(self._child.pid, number)
        self.stage.mark(mark, self.name)

    async def end(self) -> str:
        """However it is, end it; how it ended."""
        if not self.running:
            return "it was down"
        if self.paused:
            await self.resume()
        self._scope.cancel()
        self._hang_up()
        assert self._child is not None
        return await self._child.stop()

    # -- words

    def connect(self) -> Client:
        """A connection to it, kept, which lives through its deaths."""
        return Client(self.home)

    @asynccontextmanager
    async def _door(self) -> AsyncIterator[Client]:
        """A connection of one's own, one that was used before or a new one; to one that starts, when it serves."""
        await self._starting.wait()
        client = self._idle.pop() if self._idle else self.connect()
        try:
            yield client
        except BaseException:
            client.close()  # whatever its answer would have been
            raise
        self._idle.append(client)

    async def define(self, what: Any) -> None:
        said = what.as_json() if hasattr(what, "as_json") else what
        async with self._door() as client:
            await client.define(said)

    async def create(self, what: Any, fields: Mapping[str, Any] | None = None, /, **more: Any) -> Reference:
        if not isinstance(what, str):
            await self.define(what)
        given, options = (more, {}) if fields is None else (fields, more)
        async with self._door() as client:
            return self._reference((await client.create(what, given, **options))["reference"])

    async def update(self, reference: Reference, fields: Mapping[str, Any] | None = None, /, **more: Any) -> Any:
        given, options = (more, {}) if fields is None else (fields, more)
        async with self._door() as client:
            return self._changed(await client.update(str(reference), given, **options))

    async def delete(self, reference: Reference, **options: Any) -> Any:
        async with self._door() as client:
            return self._changed(await client.delete(str(reference), **options))

    async def transact(self, operations: Sequence[Any], *, owner: str | None = None, **options: Any) -> Any:
        said = [_as_json(each, owner or self.name) for each in operations]
        async with self._door() as client:
            answer = await client.transact(said, **options)
        return self._changed(answer) if "request" in answer else [self._changed(each) for each in answer["results"]]

    async def get(self, reference: Reference, **options: Any) -> Any:
        async with self._door() as client:
            return self._found(await client.get(str(reference), **options))

    async def query(self, text: str, **options: Any) -> Any:
        async with self._door() as client:
            answer = await client.query(text, **options)
        rows = [self._found(each) for each in answer["rows"]]
        return SimpleNamespace(rows=rows, completeness=answer["completeness"])

    async def mirror(self, what: Any, kind: str = "mirrored") -> None:
        if isinstance(what, RealServer):
            what = what.name
        async with self._door() as client:
            await client.mirror(str(what.server) if isinstance(what, Reference) else what, kind)

    async def unmirror(self, what: str) -> None:
        async with self._door() as client:
            await client.unmirror(what)

    async def outbox(self) -> Any:
        async with self._door() as client:
            return await client.outbox()

    async def cancel_change(self, request: int, *, forget: bool = False) -> Any:
        async with self._door() as client:
            return await client.cancel_change(request, forget=forget)

    def read(self, reference: Reference) -> Mapping[str, Any] | None:
        """What it holds itself; None also for one that is paused, for it cannot say."""
        if not self.running or self.paused:
            return None
        try:
            fields: Mapping[str, Any] = self._reader.get(str(reference), consistency="local")["fields"]
        except BangpathError:
            return None
        return fields

    # -- answers, as the simulator's servers give them

    def _reference(self, text: str) -> Reference:
        server, number = parse_reference(text)
        return Reference(server or self.server, self._incarnation, number)

    def _changed(self, said: Mapping[str, Any]) -> Any:
        if "request" in said:
            return Queued(said["request"], ServerId.parse(said["server"]), said["state"], said["ahead"])
        return SimpleNamespace(**{**said, "reference": self._reference(said["reference"])})

    def _found(self, said: Mapping[str, Any]) -> Any:
        path = tuple(ServerId.parse(each) for each in said.get("path", ()))
        told = {**said, "class_name": said.get("class"), "reference": self._reference(said["reference"]), "path": path}
        return SimpleNamespace(**told)


def _as_json(operation: Any, owner: str) -> dict[str, Any]:
    """A `node.asking.Operation` as HTTP takes it."""
    said: dict[str, Any] = {"op": operation.op}
    if operation.op in ("create", "put"):
        said |= {"class": operation.class_name, "server": owner}
    else:
        said["reference"] = f"{owner}/{operation.object}"
    if operation.op == "put":
        said["key"] = operation.key
    if operation.op != "delete":
        said["fields"] = operation.fields
    if operation.expect is not None:
        said["expect"] = operation.expect
    return said
