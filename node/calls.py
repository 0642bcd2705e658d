"""What a client says to a node, word by word, before any socket: the one list that both twins of `node.client` speak.

    word        call                                                    answer, as the client gives it
    get         GET    /v1/objects/1.2/42?consistency=local&max_age=5   {reference, class, sequence, fields, kind, ...}
    create      POST   /v1/objects            {class, fields}           {reference, sequence, position}
    update      PATCH  /v1/objects/1.2/42     {fields}  If-Match: 17    the same
    replace     PUT    /v1/objects/1.2/42     {fields}  If-Match: 17    the same
    delete      DELETE /v1/objects/1.2/42               If-Match: 17    the same
    transact    POST   /v1/transactions       [{op, ...}]               {results, position}
    query       POST   /v1/query              {query, max_age, ...}     rows, and the completeness at their end
    a change that waits in the outbox is answered 202                       {request, server, state, ahead}
    outbox      GET    /v1/outbox, /v1/outbox/17; cancel_change: DELETE     a list, or one entry
    block       POST   /v1/peers/1.2/block    {direction}               {server, blocked}; unblock: DELETE
    trace, ping POST   /v1/trace, /v1/ping    {server, deadline}        paths and times
    check       POST   /v1/check                                            lines of progress, and the report
    status ...  GET    /v1/status, /v1/peers ...                        a map or a list

Pure: a `Call` is a value, and `Wire` turns it into bytes and the bytes that come back into an answer (h11 does the
HTTP/1.1). An answer of 400 and above is raised as the very error that the node raised (`identity.errors.from_json`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import h11
import msgspec

from identity.errors import BangpathError, OutcomeUnknown, PeerMisbehaved, Refused, Unreachable, from_json

NDJSON = "application/x-ndjson"
MAX_ANSWER_BYTES = 256 << 20  # an answer kept in memory; longer ones are streamed


class Call(NamedTuple):
    """One request, not yet sent. `changes`: it may have been carried out although no answer came."""

    method: str
    path: str
    body: bytes = b""
    if_match: int | None = None
    accept: str = "application/json"
    changes: bool = False


def get(reference: str, **wanted: Any) -> Call:
    """`wanted`: consistency, max_age, after (a position or several), deadline."""
    said = _said(wanted)
    if not isinstance(said.get("after", ""), str):
        said["after"] = ",".join(map(str, said["after"]))
    return Call("GET", _object_path(reference) + _parameters(**said))


def create(class_name: str, fields: Mapping[str, Any], *, server: str | None = None, **how: Any) -> Call:
    """`how`, here and below: queue=False, expires, deadline (docs/guide-outbox)."""
    said = {"class": class_name, "fields": fields, **({"server": server} if server else {})}
    return Call("POST", "/v1/objects" + _parameters(**how), _body(said), changes=True)


def update(reference: str, fields: Mapping[str, Any], *, expect: int | None = None, **how: Any) -> Call:
    path = _object_path(reference) + _parameters(**how)
    return Call("PATCH", path, _body({"fields": fields}), if_match=expect, changes=True)


def replace(reference: str, fields: Mapping[str, Any], *, expect: int | None = None, **how: Any) -> Call:
    path = _object_path(reference) + _parameters(**how)
    return Call("PUT", path, _body({"fields": fields}), if_match=expect, changes=True)


def delete(reference: str, *, expect: int | None = None, **how: Any) -> Call:
    return Call("DELETE", _object_path(reference) + _parameters(**how), if_match=expect, changes=True)


def transact(operations: Sequence[Mapping[str, Any]], **how: Any) -> Call:
    return Call("POST", "/v1/transactions" + _parameters(**how), _body(operations), changes=True)


def outbox_entry(request: int, *, wait: float | None = None) -> Call:
    return Call("GET", f"/v1/outbox/{request}" + _parameters(wait=wait))


def cancel_change(request: int, *, forget: bool = False) -> Call:
    return Call("DELETE", f"/v1/outbox/{request}" + _parameters(forget=True if forget else None), changes=True)


def query(text: str, **wanted: Any) -> Call:
    """`wanted` as for `get`."""
    return Call("POST", "/v1/query", _body({"query": text, **_said(wanted)}), accept=NDJSON)


def explain(text: str) -> Call:
    return Call("POST", "/v1/explain", _body({"query": text}))


def complete(class_name: str, field: str, prefix: str, *, limit: int) -> Call:
    said = {"class": class_name, "field": field, "prefix": prefix or None, "limit": limit}
    return Call("GET", "/v1/complete" + _parameters(**said))


def history(reference: str, *, at: int | None, limit: int | None) -> Call:
    return Call("GET", _object_path(reference).replace("/objects/", "/history/", 1) + _parameters(at=at, limit=limit))


def _said(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What was said of it: a `max_age` of 0 is, an `after` without positions is not. Raises `Refused` for a NaN."""
    for name, value in wanted.items():
        if isinstance(value, float) and not math.isfinite(value):  # JSON has no word for it, and would say nothing
            raise Refused(f"{name} is a number of seconds, not {value}", field=name)
    return {name: value for name, value in wanted.items() if value is not None and value != () and value != []}


def show(what: str) -> Call:
    """One of status, peers, servers, feeds, mirrors, classes, outbox."""
    return Call("GET", f"/v1/{what}")


def check(*, repair: bool = False) -> Call:
    """Answered in lines: `{"progress": ...}` as it goes, and `{"report": ...}`."""
    return Call("POST", "/v1/check", _body({"repair": repair}), accept=NDJSON, changes=repair)


def define(definition: Mapping[str, Any]) -> Call:
    return Call("POST", "/v1/classes", _body(definition), changes=True)


def adopt(name: str) -> Call:
    return Call("POST", "/v1/classes", _body({"adopt": name}), changes=True)


def drop(class_name: str, *, objects: bool) -> Call:
    return Call("DELETE", "/v1/classes" + _parameters(**{"class": class_name, "objects": objects}), changes=True)


def mirror(pattern: str, kind: str = "mirrored") -> Call:
    return Call("POST", "/v1/mirrors", _body({"pattern": pattern, "kind": kind}), changes=True)


def unmirror(pattern: str) -> Call:
    return Call("DELETE", "/v1/mirrors" + _parameters(pattern=pattern), changes=True)


def invite(server: str, *, valid_s: int = 86_400) -> Call:
    return Call("POST", "/v1/tickets", _body({"server": server, "valid_s": valid_s}), changes=True)


def routes(server: str | None = None) -> Call:
    return Call("GET", "/v1/routes" + _parameters(server=server))


def trace(server: str, *, deadline: float | None = None) -> Call:
    return Call("POST", "/v1/trace", _body(_said({"server": server, "deadline": deadline})))


def ping(server: str, *, deadline: float | None = None) -> Call:
    return Call("POST", "/v1/ping", _body(_said({"server": server, "deadline": deadline})))


def block(server: str, direction: str = "both") -> Call:
    return Call("POST", f"/v1/peers/{quote(server, safe='.')}/block", _body({"direction": direction}), changes=True)


def unblock(server: str, direction: str | None = None) -> Call:
    path = f"/v1/peers/{quote(server, safe='.')}/block"
    return Call("DELETE", path + _parameters(direction=direction), changes=True)


class Wire:
    """One kept-alive connection's bytes, both ways. One call at a time; no socket, no clock."""

    def __init__(self, host: str, token: str | None = None) -> None:
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=64 << 10)
        self._host = host
        self._token = token
        self.status = 0

    def begin(self, call: Call) -> bytes:
        """The bytes to send."""
        headers = [("host", self._host), ("accept", call.accept)]
        if call.body or call.method in ("POST", "PUT", "PATCH"):
            headers += [("content-type", "application/json"), ("content-length", str(len(call.body)))]
        if call.if_match is not None:
            headers.append(("if-match", str(call.if_match)))
        if self._token is not None:
            headers.append(("authorization", f"Bearer {self._token}"))
        self.status = 0
        parts = [self._connection.send(h11.Request(method=call.method, target=call.path, headers=headers)) or b""]
        if call.body:
            parts.append(self._connection.send(h11.Data(data=call.body)) or b"")
        parts.append(self._connection.send(h11.EndOfMessage()) or b"")
        return b"".join(parts)

    def receive(self, data: bytes) -> tuple[list[bytes], bool]:
        """Pieces of the answer's body, and whether it ended. `data` empty: the node hung up.

        Raises `Unreachable` when it hung up before the end, `PeerMisbehaved` for what is no HTTP.
        """
        pieces: list[bytes] = []
        try:
            self._connection.receive_data(data)
            while True:
                event = self._connection.next_event()
                if isinstance(event, h11.Response):
                    self.status = event.status_code
                elif isinstance(event, h11.Data):
                    pieces.append(bytes(event.data))
                elif isinstance(event, h11.EndOfMessage):
                    return pieces, True
                elif isinstance(event, h11.ConnectionClosed):
                    raise Unreachable("the node closed the connection before its answer ended")
                elif event is h11.NEED_DATA or event is h11.PAUSED:
                    return pieces, False
        except h11.RemoteProtocolError as error:
            if not data:
                raise Unreachable("the node closed the connection before its answer ended") from error
            raise PeerMisbehaved(f"what answered does not speak HTTP: {error}") from error

    def recycle(self) -> bool:
        """Make ready for the next call; False when the connection must be closed instead."""
        try:
            self._connection.start_next_cycle()
        except h11.LocalProtocolError:
            return False
        return True


def read_answer(status: int, body: bytes) -> Any:
    """What a whole answer says. Raises the node's own error when it is one."""
    try:
        said = msgspec.json.decode(body) if body else {}
    except msgspec.DecodeError as error:
        raise PeerMisbehaved(f"an answer with status {status} that is not JSON") from error
    if status >= 400:
        raise from_json(said if isinstance(said, dict) else {"cause": f"status {status}"})
    return said


def read_report(said: dict[str, Any]) -> dict[str, Any]:
    """The report in the last line of a check. Raises the error that it tells."""
    if "report" not in said:
        raise from_json(said)
    report: dict[str, Any] = said["report"]
    return report


class Lines:
    """NDJSON from pieces of any size: whole lines come out, the last line is kept back.

    The last line of a query is `{"completeness": {...}}`, or `{"error": ...}` when it failed on the way.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[bytes]:
        *whole, self._rest = (self._rest + piece).split(b"\n")
        return whole

    def end(self) -> list[bytes]:
        rest, self._rest = self._rest, b""
        return [rest] if rest else []


def read_rows(lines: Sequence[bytes]) -> Iterator[tuple[str, Any]]:
    """Each line as ("row", {...}) or ("completeness", {...}). Raises the error that a line tells."""
    for line in lines:
        said = msgspec.json.decode(line)
        if "reference" in said:
            yield "row", said
        elif "completeness" in said:
            yield "completeness", said["completeness"]
        elif "error" in said:
            raise from_json(said)


def lost(call: Call, error: BangpathError) -> BangpathError:
    """What a broken connection means: a change may have been carried out, a question may be repeated."""
    if not call.changes:
        return error
    return OutcomeUnknown(
        f"the connection broke while {call.method} {call.path} was carried out: {error.cause}",
        next_step="read the object again before repeating the change",
    )


def _object_path(reference: str) -> str:
    server, _, number = str(reference).rpartition("/")
    return f"/v1/objects/{quote(server or 'self', safe='.')}/{quote(number, safe='')}"


def _parameters(**values: Any) -> str:
    said = {key: value for key, value in values.items() if value is not None}
    said = {key: str(value).lower() if isinstance(value, bool) else value for key, value in said.items()}
    return f"?{urlencode(said)}" if said else ""


def _body(said: Any) -> bytes:
    return msgspec.json.encode(said)
