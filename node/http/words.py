"""What each path does: JSON in, one word to the node, JSON out (DESIGN U3).

    a change's answer              200 {reference, sequence, position}      committed by its owner
                                   202 {request, server, state}             it waits in the outbox (node.http.outbox)
    GET an object, POST a query    with consistency, max_age, after, deadline: how good it must be (node.wanted)
    If-Match: 17                   409 with the current version when the object is no longer at sequence 17
    POST /v1/query                 {"rows": [...], "completeness": {...}}, streamed; with Accept: application/x-ndjson
                                   a row a line, and {"completeness": ...} as the last one
    a query that fails half-way    "error" stands where "completeness" would: an answer without either is cut off

Rules. A field that the interface does not know is refused by name, so that a misspelt `consistancy` is noticed. Rows
leave as they become certain, in pieces of PIECE bytes, never faster than the client takes them; when the client hangs
up, the query ends. Values are read and written by `node.http.forms`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import trio

from identity.errors import BangpathError, Refused, Unreachable
from identity.names import ServerId, parse_reference
from node.asking import Operation
from node.http.forms import Forms
from node.http.outbox import answer_changed, how
from node.mirroring import MIRRORED
from node.wanted import check_consistency

if TYPE_CHECKING:
    from node.asking import Found
    from node.http.app import Request
    from node.node import Node

CLASS_S = 5.0  # for the class of an object that is to be changed; its owner reads the fields otherwise
PIECE = 128 << 10  # large enough to be one write to the socket, small enough to start at once
MAX_DEADLINE_S = 3600.0
WANTED = ("consistency", "max_age", "after", "deadline")  # of an answer (node.wanted)
MAX_OPERATIONS = 65_536  # of one transaction (DESIGN L6)


async def get(node: Node, request: Request, server: str, number: str) -> None:
    query = request.query
    only_names(query, WANTED)
    found = await node.get(reference_in_path(server, number), **_wanted(query))
    await _answer_raw(request, Forms(node).row(found))


async def create(node: Node, request: Request) -> None:
    said = only_map(await request.json(), ("class", "fields", "server"))
    class_name = text_of(said, "class")
    owner = ServerId.parse(text_of(said, "server")) if said.get("server") is not None else None
    fields = Forms(node).fields(class_name, said.get("fields", {}))
    await answer_changed(request, await node.create(class_name, fields, server=owner, **how(request)))


async def update(node: Node, request: Request, server: str, number: str) -> None:
    await _change_fields(node, request, server, number, whole=False)


async def replace(node: Node, request: Request, server: str, number: str) -> None:
    await _change_fields(node, request, server, number, whole=True)


async def _change_fields(node: Node, request: Request, server: str, number: str, *, whole: bool) -> None:
    reference = reference_in_path(server, number)
    said = only_map(await request.json(), ("fields",))
    forms = Forms(node)
    fields = await _fields(node, forms, reference, said.get("fields"), whole=whole)
    changed = await node.update(reference, fields, expect=_if_match(request), **how(request))
    await answer_changed(request, changed)


async def _fields(node: Node, forms: Forms, reference: Any, said: object, *, whole: bool = False) -> dict[str, Any]:
    """The fields of an object that is to be changed: its class says how they are read, here or by its owner."""
    try:
        try:
            found = await node.get(reference, consistency="local")
        except Unreachable:
            found = await node.get(reference, consistency="nearest", deadline=CLASS_S)
    except Unreachable:
        if whole or not isinstance(said, dict):
            raise
        return said  # as JSON: the owner reads them when it is back
    return forms.changes(found, said, whole=whole)


async def delete(node: Node, request: Request, server: str, number: str) -> None:
    changed = await node.delete(reference_in_path(server, number), expect=_if_match(request), **how(request))
    await answer_changed(request, changed)


async def transact(node: Node, request: Request) -> None:
    said = await request.json()
    if not isinstance(said, list) or not said:
        raise Refused("a transaction is a list of operations", next_step='send [{"op": "create", ...}, ...]')
    if len(said) > MAX_OPERATIONS:
        raise Refused(
            f"{len(said)} operations in a transaction, {MAX_OPERATIONS} allowed", next_step="send it in chunks"
        )
    forms = Forms(node)
    operations: list[Operation] = []
    owners: dict[ServerId, int] = {}  # each owner that is named, and the first operation that names it
    for place, each in enumerate(said):
        try:
            operation, server = await _operation(node, forms, each)
        except Refused as error:
            error.details["operation"] = place
            error.cause = f"operation {place}: {error.cause}"
            raise
        operations.append(operation)
        if server is not None:
            owners.setdefault(server, place)
    if len(owners) > 1:
        one, other, *_ = owners.items()
        raise Refused(
            f"operation {one[1]} is about an object of {one[0]}, operation {other[1]} about one of {other[0]}",
            next_step="send one transaction for each owner",
            operation=other[1],
        )
    owner = next(iter(owners), None)
    await answer_changed(request, await node.transact(operations, server=owner, **how(request)))


async def _operation(node: Node, forms: Forms, said: object) -> tuple[Operation, ServerId | None]:
    """One operation, and the owner it names."""
    said = only_map(said, ("op", "class", "fields", "key", "server", "reference", "expect"))
    op = text_of(said, "op")
    if op in ("create", "put"):
        class_name = text_of(said, "class")
        fields = forms.fields(class_name, said.get("fields", {}))
        key = text_of(said, "key") if op == "put" else ""
        owner = ServerId.parse(text_of(said, "server")) if said.get("server") is not None else None
        return Operation(op="put" if op == "put" else "create", class_name=class_name, key=key, fields=fields), owner
    if op not in ("update", "delete"):
        raise Refused(f"{op!r} is no operation", next_step="say create, put, update or delete", field="op")
    server, number = parse_reference(text_of(said, "reference"))
    expect = said.get("expect")
    if expect is not None and type(expect) is not int:
        raise Refused("expect is a sequence, a whole number", field="expect")
    if op == "delete":
        return Operation(op="delete", object=number, expect=expect), server
    if "class" in said:
        fields = forms.fields(text_of(said, "class"), said.get("fields"))
    else:
        fields = await _fields(node, forms, (server, number), said.get("fields"))
    return Operation(op="update", object=number, fields=fields, expect=expect), server


async def query(node: Node, request: Request) -> None:
    said = only_map(await request.json(), ("query", *WANTED))
    want = _wanted(said)
    lines = b"application/x-ndjson" in request.headers.get(b"accept", b"")
    rows = _Rows(request, Forms(node), lines=lines)
    last: dict[str, Any] | None = None
    failed: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_when_gone, request, nursery.cancel_scope)
        try:
            last = {
                "completeness": await node.query_into(
                    text_of(said, "query"),
                    rows.give,
                    **want,
                )
            }
        except (BangpathError, trio.TooSlowError) as error:
            failed = error  # told outside the nursery, which would wrap it
        nursery.cancel_scope.cancel()
    # The end is sent out here: hypercorn tells of the end of a request as it tells of a client that hung up, and
    # would have its own closing of the connection cancelled.
    if isinstance(failed, BangpathError) and rows.started:
        last = failed.as_json() if lines else {"error": failed.as_json()}
    elif failed is not None:
        raise failed
    if last is not None:
        await rows.end(last)


async def _cancel_when_gone(request: Request, scope: trio.CancelScope) -> None:
    await request.gone()
    scope.cancel()


class _Rows:
    """The streamed answer of a query: JSON, or NDJSON."""

    def __init__(self, request: Request, forms: Forms, *, lines: bool) -> None:
        self._request = request
        self._forms = forms
        self._lines = lines
        self._waiting: list[bytes] = []
        self._size = 0
        self._some = False
        self.started = False

    async def give(self, rows: Sequence[Found]) -> None:
        """Rows in their final order."""
        separator = b"\n" if self._lines else b","
        row_of = self._forms.row
        waiting = self._waiting
        for found in rows:
            data = row_of(found)
            if self._some and not self._lines:
                waiting.append(separator)
            self._some = True
            waiting.append(data)
            if self._lines:
                waiting.append(separator)
            self._size += len(data)
            if self._size > PIECE:
                await self._flush()

    async def end(self, last: Mapping[str, Any]) -> None:
        """The completeness, or the error."""
        data = self._forms.plain(last)
        self._waiting.append(data + b"\n" if self._lines else b"]," + data[1:])
        await self._flush(more=False)

    async def _flush(self, *, more: bool = True) -> None:
        if not self.started:
            self.started = True
            kind = b"application/x-ndjson" if self._lines else b"application/json"
            await self._request.start(200, [(b"content-type", kind)])
            if not self._lines:
                self._waiting.insert(0, b'{"rows":[')
        data = b"".join(self._waiting)
        self._waiting.clear()
        self._size = 0
        await self._request.piece(data, more=more)


async def classes(node: Node, request: Request) -> None:
    await request.answer(200, node.classes())


async def define(node: Node, request: Request) -> None:
    said = await request.json()
    if isinstance(said, dict) and "adopt" in said:
        await request.answer(200, await node.adopt(text_of(only_map(said, ("adopt",)), "adopt")))
        return
    try:
        defined = await node.define(Forms(node).definition(said))
    except Refused as refused:
        if "major" in refused.details:  # its own objects need a function, which cannot be sent
            refused.next_step = "stop the node, and define the class with its upgrade functions in a program that has "
            refused.next_step += "its directory open: bangpath.open_node(DIR)"
        raise
    await request.answer(200, defined)


async def drop(node: Node, request: Request) -> None:
    only_names(request.query, ("class", "objects"))
    said = request.query.get("objects", "false")
    if said not in ("true", "false"):
        raise Refused("objects is true or false", next_step="say objects=true to delete them too", field="objects")
    await request.answer(200, await node.drop(text_of(request.query, "class"), objects=said == "true"))


async def mirrors(node: Node, request: Request) -> None:
    await request.answer(200, node.mirrors())


async def mirror(node: Node, request: Request) -> None:
    said = only_map(await request.json(), ("pattern", "kind"))
    kind = text_of(said, "kind") if "kind" in said else MIRRORED
    await request.answer(200, await node.mirror(text_of(said, "pattern"), kind))


async def unmirror(node: Node, request: Request) -> None:
    only_names(request.query, ("pattern",))
    await request.answer(200, await node.unmirror(text_of(request.query, "pattern")))


async def invite(node: Node, request: Request) -> None:
    said = only_map(await request.json(), ("server", "valid_s"))
    valid_s = said.get("valid_s", 86_400)
    if type(valid_s) is not int or not 1 <= valid_s <= 31_536_000:
        raise Refused("valid_s is a whole number of seconds, at most a year", field="valid_s")
    await request.answer(200, await node.invite(text_of(said, "server"), valid_s=valid_s))


async def status(node: Node, request: Request) -> None:
    await request.answer(200, node.status())


async def peers(node: Node, request: Request) -> None:
    await request.answer(200, node.peers())


async def servers(node: Node, request: Request) -> None:
    await request.answer(200, node.servers())


async def feeds(node: Node, request: Request) -> None:
    await request.answer(200, node.feeds())


def reference_in_path(server: str, number: str) -> Any:
    """The reference in a path; `self` is this server."""
    return parse_reference(f"{'' if server == 'self' else server}/{number}")


def only_map(said: object, names: Sequence[str]) -> dict[str, Any]:
    """A JSON object with no other names than these. Raises `Refused` naming the stranger."""
    if not isinstance(said, dict):
        raise Refused(f"a JSON object with {', '.join(names)} was expected")
    only_names(said, names)
    return said


def only_names(said: Mapping[str, Any], names: Sequence[str]) -> None:
    for name in said:
        if name not in names:
            raise Refused(f"{name[:100]!r} means nothing here", next_step=f"say {', '.join(names)}", field=name[:100])


def text_of(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    if not isinstance(value, str):
        raise Refused(f"{name} is missing or no text", field=name)
    return value


def _wanted(said: Mapping[str, Any]) -> dict[str, Any]:
    """How good an answer must be, and by when it must come. Raises `Refused` naming the field."""
    after = said.get("after")
    if not isinstance(after, str | None) and not isinstance(after, list):
        raise Refused('after is a position as a change tells it, or a list of them: "1.2@3:17"', field="after")
    max_age = _seconds(said.get("max_age"))
    if max_age is not None and not 0 <= max_age < math.inf:
        raise Refused("max_age is a number of seconds, 0 or more", field="max_age")
    deadline = _seconds(said.get("deadline"))
    if deadline is not None and not 0 < deadline <= MAX_DEADLINE_S:
        raise Refused(f"a deadline is a number of seconds above 0, at most {MAX_DEADLINE_S:.0f}", field="deadline")
    consistency = check_consistency(said.get("consistency", "nearest"))
    return {"consistency": consistency, "max_age": max_age, "after": after, "deadline": deadline}


def _seconds(said: Any) -> float | None:
    """As JSON or in a path's query; what is no number is less than any."""
    if said is None:
        return None
    try:
        return -1.0 if isinstance(said, bool) else float(said)
    except (TypeError, ValueError):
        return -1.0


def _if_match(request: Request) -> int | None:
    given = request.headers.get(b"if-match")
    if given is None:
        return None
    text = given.decode("latin-1").strip().strip('"')
    if not text.isascii() or not text.isdigit():
        raise Refused(f"If-Match names a sequence, not {text[:40]!r}", next_step="send If-Match: 17", field="If-Match")
    return int(text)


async def _answer_raw(request: Request, data: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    await request.start(200, headers)
    await request.piece(data, more=False)
