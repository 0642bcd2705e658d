"""The Node's words over plain dictionaries, for tests of HTTP, clients and the command (`node.node` keeps them too)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio

from identity.errors import BangpathError, Conflict, NotFound, Refused, Unreachable
from identity.names import Incarnation, ObjectId, Position, Reference, ServerId
from node.asking import Changed, Found, Operation
from node.cli.main import run
from node.http.serve import serve_http
from node.language import parse
from node.wanted import wanted
from store.definitions import ClassDefinition, Field

SERVER = ServerId.parse("1.2")


class FakeNode:
    """One server 1.2 with objects of its own. Set `trouble` to have a word raise it."""

    def __init__(self) -> None:
        self.server = SERVER
        self.classes_: dict[str, ClassDefinition] = {
            "Note": ClassDefinition(
                name="Note",
                fields=(
                    Field(name="text", required=True, unique=True),
                    Field(name="stars", type="int", index=True),
                ),
            )
        }
        self.objects: dict[int, tuple[str, int, dict[str, Any]]] = {}
        self.patterns: dict[str, str] = {}
        self.blocked: dict[str, str] = {}
        self.sequence = 0
        self.trouble: BaseException | None = None
        self.trouble_after: int | None = None
        self.waits: Callable[[], Awaitable[None]] | None = None
        self.cancelled = trio.Event()
        self.wanted: dict[str, Any] = {}  # how good the last answer should be
        self.told: tuple[Any, ...] = ()  # more of what an object says of itself
        self.owners: list[dict[str, Any]] = []  # of a query's completeness

    def definition_to_change(self, found: Found, _names: Any) -> ClassDefinition:
        return self.definition(found.class_name)

    def definition(self, name: str, _fingerprint: bytes = b"") -> ClassDefinition:
        if name not in self.classes_:
            raise Refused(f"there is no class {name!r} here", **{"class": name})
        return self.classes_[name]

    def resolve(self, server: ServerId | None) -> tuple[ServerId, int]:
        return server or SERVER, 1

    def _position(self) -> Position:
        return Position(SERVER, Incarnation(1), 1, self.sequence)

    async def get(self, reference: Any, **said: Any) -> Found:
        wanted(said.get("consistency", "nearest"), said.get("max_age"), said.get("after"))  # as the node checks it
        self.wanted = said
        if self.trouble is not None:
            raise self.trouble
        server, number = reference
        if server not in (None, SERVER):
            raise Unreachable(f"{server} is silent", next_step="bangpath @1.2 peers")
        if number not in self.objects:
            raise NotFound(f"there is no object 1.2/{number}")
        class_name, sequence, fields = self.objects[number]
        whole = Reference(SERVER, Incarnation(1), ObjectId(number))
        return Found(whole, class_name, sequence, fields, "owned", self._position(), 0.0, (SERVER,), *self.told)

    async def create(
        self, class_name: str, fields: dict[str, Any], *, server: ServerId | None = None, deadline: float | None = None
    ) -> Changed:
        return (await self.transact([Operation(op="create", class_name=class_name, fields=fields)], server=server))[0]

    async def update(self, reference: Any, fields: dict[str, Any], *, expect: int | None = None) -> Changed:
        operation = Operation(op="update", object=reference[1], fields=fields, expect=expect)
        return (await self.transact([operation]))[0]

    async def delete(self, reference: Any, *, expect: int | None = None) -> Changed:
        return (await self.transact([Operation(op="delete", object=reference[1], expect=expect)]))[0]

    async def transact(
        self, operations: Sequence[Operation], *, server: ServerId | None = None, deadline: float | None = None
    ) -> list[Changed]:
        if self.trouble is not None:
            raise self.trouble
        if server not in (None, SERVER):
            raise Unreachable(f"{server} is silent")
        before = dict(self.objects)
        self.sequence += 1
        try:
            return [self._do(place, operation) for place, operation in enumerate(operations)]
        except BangpathError:
            self.objects = before
            raise

    def _do(self, place: int, operation: Operation) -> Changed:
        number, done = operation.object, f"{operation.op}d"
        if operation.op in ("create", "put"):
            standing = self._with(operation.fields.get("text"))
            if standing is not None and operation.op == "create":
                raise Conflict(f"1.2/{standing} has this text already", operation=place)
            done = "created" if standing is None else "updated"
            if standing is not None and self.objects[standing][2] == operation.fields:
                done = "unchanged"
            number = standing or len(self.objects) + 1
            self.objects[number] = (operation.class_name, self.sequence, dict(operation.fields))
        else:
            if number not in self.objects:
                raise NotFound(f"there is no object 1.2/{number}")
            class_name, sequence, fields = self.objects[number]
            if operation.expect not in (None, sequence):
                raise Conflict(f"1.2/{number} is at sequence {sequence}", current={"fields": fields}, sequence=sequence)
            if operation.op == "delete":
                del self.objects[number]
            else:
                self.objects[number] = (class_name, self.sequence, {**fields, **operation.fields})
        reference = Reference(SERVER, Incarnation(1), ObjectId(number))
        return Changed(reference, self.sequence, self._position(), done)

    def _with(self, text: object) -> int | None:
        return next((number for number, (_, _, fields) in self.objects.items() if fields.get("text") == text), None)

    async def query_into(self, text: str, give: Any, **said: Any) -> dict[str, Any]:
        wanted(said.get("consistency", "nearest"), said.get("max_age"), said.get("after"))
        asked = parse(text)
        self.definition(asked.question.class_name)
        rows = [await self.get((None, number)) for number in sorted(self.objects)][: asked.question.limit]
        try:
            for at in range(0, len(rows), 100):
                if self.trouble_after is not None and at >= self.trouble_after:
                    raise Unreachable("it fell silent half-way")
                await give(rows[at : at + 100])
                if self.waits is not None:
                    await self.waits()
        except BangpathError:
            raise
        except BaseException:
            self.cancelled.set()
            raise
        self.wanted = said
        owners = [{"server": "1.2", "how": "owned", "position": str(self._position()), "age": 0.0, "path": ["1.2"]}]
        return {"whole": said.get("consistency") != "local", "owners": self.owners or owners, "directory": []}

    async def define(self, definition: ClassDefinition) -> dict[str, Any]:
        self.classes_[definition.name] = definition
        return definition.as_json()

    async def adopt(self, name: str) -> dict[str, Any]:
        return self.definition(name).as_json()

    async def mirror(self, pattern: str, kind: str = "mirrored") -> dict[str, Any]:
        self.patterns[pattern] = kind
        return {"pattern": pattern, "kind": kind}

    async def unmirror(self, pattern: str) -> dict[str, Any]:
        if pattern not in self.patterns:
            raise Refused(f"{pattern} is not mirrored")
        del self.patterns[pattern]
        return {"pattern": pattern}

    async def invite(self, server: str, *, valid_s: int = 86_400) -> dict[str, Any]:
        return {"ticket": f"ticket-for-{ServerId.parse(server)}", "server": server, "expires_ms": valid_s * 1000}

    def status(self) -> dict[str, Any]:
        return {
            "server": "1.2",
            "position": str(self._position()),
            "objects": {"owned": len(self.objects)},
            "uptime_s": 4.5,
        }

    def peers(self) -> list[dict[str, Any]]:
        return [{"server": "1", "state": "direct", "address": "127.0.0.1:7001", "heard_s": 0.1, "rtt_ms": 0.4}]

    def block(self, server: str, direction: str = "both") -> dict[str, Any]:
        if server != "1.1":
            raise Refused(f"{server} is not known to 1.2", next_step="see which are: bangpath @1.2 servers")
        self.blocked[server] = direction
        return {"server": server, "blocked": direction}

    def unblock(self, server: str, direction: str = "both") -> dict[str, Any]:
        left = None if direction == "both" else {"in": "out", "out": "in"}[direction]
        self.blocked.pop(server, None)
        return {"server": server, "blocked": left}

    def unblock_all(self) -> list[dict[str, Any]]:
        return [self.unblock(server) for server in list(self.blocked)]

    def servers(self) -> list[dict[str, Any]]:
        return [{"server": "1.2", "name": "Europe", "addresses": ["127.0.0.1:7002"], "classes": ["Note"], "age": 0.0}]

    def feeds(self) -> list[dict[str, Any]]:
        return [{"server": "1.2", "kind": "data", "first": 1, "last": self.sequence, "lag": 0, "state": "current"}]

    def mirrors(self) -> list[dict[str, Any]]:
        return [
            {"pattern": pattern, "kind": kind, "servers": [pattern], "lag": 0, "age": 1.5}
            for pattern, kind in self.patterns.items()
        ]

    def classes(self) -> list[dict[str, Any]]:
        return [{**each.as_json(), "owners": ["1.2"]} for each in self.classes_.values()]


@pytest.fixture
def fake() -> FakeNode:
    return FakeNode()


class Said(NamedTuple):
    """What a command line came to."""

    code: int
    out: str
    err: str


@pytest.fixture
async def say(
    fake: Any, tmp_path: Path, nursery: trio.Nursery, capsys: pytest.CaptureFixture[str]
) -> AsyncIterator[Callable[..., Awaitable[Said]]]:
    """A command line about the server 1.2, which is served meanwhile."""
    home = tmp_path / "1.2"
    home.mkdir()
    (home / "bangpath.toml").write_text("")

    async def said(*words: str) -> Said:
        code = await trio.to_thread.run_sync(run, ["-C", str(home), *words])
        told = capsys.readouterr()
        return Said(code, told.out, told.err)

    async with serve_http(fake, home):
        yield said
