"""What servers ask each other, and what comes back (LAYOUT: vocabulary). Carried by `transport.outstanding`.

    80 GET      an object of its owner, or as the asked server mirrors it     81 OBJECT   the leaf, position, age
    82 QUERY    the rows of the asked server, or those of an owner it mirrors 83 ROWS     leaves of one owner, one part
                                                                              84 DONE     how far the rows reach
    85 MODIFY   a transaction on objects of the asked server                  86 CHANGED  what became of each operation
    87 PING                                                                   88 PONG
    93 WITHDRAW the MODIFY of that number is wanted no more                   86 CHANGED if it was carried out, else 89
                                                                              89 FAILED   an error, raised again there

An object travels as a packed leaf (`store.records`) with the wire form of its fields as body; its class is named by
fingerprint. Unlike a leaf in a feed it is not signed: it is its sender's word, given over a session whose other end is
proven. Values in operations travel as a leaf's body too, so that one reader checks both.

Every size is bounded here: what a stranger asks costs no more than its message. Reading what came is done by the
`..._untrusted` functions, which raise `PeerMisbehaved` and nothing else.
"""

from __future__ import annotations

import base64
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar
from uuid import UUID

import msgspec

from identity.encoding import decode_value_untrusted, encode_value
from identity.errors import BangpathError, PeerMisbehaved, Refused, from_json
from identity.names import Incarnation, ObjectId, Pattern, Position, Reference, ServerId
from node.asking import Operation
from routing.probes import Confirm, NoWay, Probe, Trace, Traced
from store.records import PUT, Leaf, pack_leaf, read_leaves_untrusted
from transport.wire import Message, Number, Priority, decode_untrusted, table_of

PART_BYTES = 64 << 10  # rows are sent on when so much has gathered: a receiver shows them while more come
MAX_PART_BYTES = 17 << 20  # one row may be as large as a transaction (DESIGN L6)
MAX_ROWS = 1 << 16  # in one part
MAX_OPERATIONS = 1 << 16  # changes in one transaction (DESIGN L6)
MAX_QUESTION_BYTES = 256 << 10  # a question is written by a person or a small program
MAX_ERROR_BYTES = 64 << 10
OPERATIONS = ("create", "update", "delete", "put")
NO_SALT = bytes(16)
MAX_PATH = 33  # servers: as long as a Path of replication, and the mirror itself

Plain = Annotated[bytes, msgspec.Meta(max_length=MAX_QUESTION_BYTES)]
Fingerprint = Annotated[bytes, msgspec.Meta(min_length=8, max_length=8)]
AgeMs = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class At(msgspec.Struct, frozen=True, array_like=True):
    """A position in an owner's data feed, and how long ago it was proven current; None: nobody there knows."""

    epoch: Number
    number: Number  # 0: nothing of that feed is there yet
    age_ms: AgeMs | None
    path: Annotated[tuple[ServerId, ...], msgspec.Meta(max_length=MAX_PATH)] = ()  # how a mirror got it; owner: none
    cached: bool = False  # a copy kept by chance: of no position, `age_ms` since it was fetched

    @property
    def age(self) -> float | None:
        return None if self.age_ms is None else self.age_ms / 1000

    def position(self, server: ServerId, incarnation: int) -> Position | None:
        return Position(server, Incarnation(incarnation), self.epoch, self.number) if self.number else None


class Get(Message, frozen=True):
    """GET: the object, on the owner's word or as a mirror holds it."""

    TYPE: ClassVar[int] = 80
    PRIORITY: ClassVar[Priority] = Priority.REQUEST
    server: ServerId
    object: Number
    cached: bool = False  # a copy that is kept by chance will do


class Object(Message, frozen=True):
    """OBJECT: the answer to GET."""

    TYPE: ClassVar[int] = 81
    PRIORITY: ClassVar[Priority] = Priority.REQUEST
    server: ServerId
    incarnation: Number
    at: At
    leaf: Annotated[bytes, msgspec.Meta(max_length=MAX_PART_BYTES)]


class Query(Message, frozen=True):
    """QUERY: `question` is the CBOR of `store.query.Question.to_plain()`; of the rows of `owner`, always one server."""

    TYPE: ClassVar[int] = 82
    PRIORITY: ClassVar[Priority] = Priority.REQUEST
    question: Plain
    owner: ServerId


class Rows(Message, frozen=True):
    """ROWS: `count` packed leaves of the query's owner, in the order that was asked for, true up to `at`."""

    TYPE: ClassVar[int] = 83
    PRIORITY: ClassVar[Priority] = Priority.BULK
    incarnation: Number
    at: At  # in each part, for an asker with a limit may never read the last one
    count: Annotated[int, msgspec.Meta(ge=0, le=MAX_ROWS)]
    leaves: Annotated[bytes, msgspec.Meta(max_length=MAX_PART_BYTES)]


class Done(Message, frozen=True):
    """DONE: the rows were all; they are true up to `at`."""

    TYPE: ClassVar[int] = 84
    PRIORITY: ClassVar[Priority] = Priority.BULK
    incarnation: Number
    at: At


class Act(msgspec.Struct, frozen=True, array_like=True):
    """One operation: `fields` is the CBOR of a map from name to JSON form; the owner's definition reads it."""

    op: Annotated[str, msgspec.Meta(max_length=16)]
    class_name: Annotated[str, msgspec.Meta(max_length=256)]
    object: Number
    key: Annotated[str, msgspec.Meta(max_length=256)]
    expect: Number | None
    fields: Annotated[bytes, msgspec.Meta(max_length=MAX_PART_BYTES)]


class Modify(Message, frozen=True):
    """MODIFY: all of these or none, at their owner, which is the asked server.

    `incarnation` is the owner's that is meant, 0: any. Numbers of another one's objects are not this one's (DESIGN N5).
    """

    TYPE: ClassVar[int] = 85
    PRIORITY: ClassVar[Priority] = Priority.REQUEST
    acts: Annotated[tuple[Act, ...], msgspec.Meta(min_length=1, max_length=MAX_OPERATIONS)]
    incarnation: Number = 0


class Withdraw(Message, frozen=True):
    """WITHDRAW: asked under the number of a MODIFY: what became of that, if it came; else it is never carried out."""

    TYPE: ClassVar[int] = 93
    PRIORITY: ClassVar[Priority] = Priority.REQUEST


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """What became of one operation."""

    object: Number
    sequence: Number
    done: Annotated[str, msgspec.Meta(max_length=16)]


class ChangedAll(Message, frozen=True):
    """CHANGED: the answer to MODIFY; what the owner also writes down beside the change (`Answered`)."""

    TYPE: ClassVar[int] = 86
    PRIORITY: ClassVar[Priority] = Priority.REQUEST
    incarnation: Number
    at: At
    outcomes: Annotated[tuple[Outcome, ...], msgspec.Meta(max_length=MAX_OPERATIONS)]


class Ping(Message, frozen=True):
    """PING: are you there?"""

    TYPE: ClassVar[int] = 87
    PRIORITY: ClassVar[Priority] = Priority.REQUEST


class Pong(Message, frozen=True):
    """PONG: I am, and so late is it here."""

    TYPE: ClassVar[int] = 88
    PRIORITY: ClassVar[Priority] = Priority.REQUEST
    wall_ms: Number


class Failed(Message, frozen=True):
    """FAILED: `BangpathError.as_json()` as CBOR."""

    TYPE: ClassVar[int] = 89
    PRIORITY: ClassVar[Priority] = Priority.REQUEST
    error: Annotated[bytes, msgspec.Meta(max_length=MAX_ERROR_BYTES)]

    @classmethod
    def of(cls, error: BangpathError) -> Failed:
        """The error as it travels; details that are too large or no plain values are left out."""
        said = error.as_json()
        for fields in (said, {key: said[key] for key in ("error", "cause", "next_step")}):
            try:
                data = encode_value(fields)
            except BangpathError:
                continue
            if len(data) <= MAX_ERROR_BYTES:
                return cls(data)
        return cls(encode_value({"error": error.kind, "cause": error.cause[:1024], "next_step": ""}))

    def as_error(self) -> BangpathError:
        """The error to be raised here. Raises `PeerMisbehaved` when it is none."""
        said = decode_value_untrusted(self.error)
        if not isinstance(said, dict) or not isinstance(said.get("cause"), str):
            raise PeerMisbehaved("a FAILED that names no cause")
        return from_json(said)


REQUESTS: dict[int, type[Message]] = table_of((Get, Query, Modify, Ping, Withdraw, Probe, Trace))
ANSWERS: dict[int, type[Message]] = table_of((Object, Rows, Done, ChangedAll, Pong, Failed, Confirm, NoWay, Traced))


def read_request_untrusted(body: bytes) -> Message:
    """What a peer asks. Raises `PeerMisbehaved`; of a type that is no request, its subclass `UnknownType`."""
    return decode_untrusted(body, REQUESTS)


def read_answer_untrusted(body: bytes, *expected: type[Message]) -> Message:
    """One part of an answer, of an expected type. Raises the error that it tells, or `PeerMisbehaved`."""
    answer = decode_untrusted(body, ANSWERS)
    if isinstance(answer, Failed):
        raise answer.as_error()
    if not isinstance(answer, expected):
        raise PeerMisbehaved(f"answered {type(answer).__name__} where {expected[0].__name__} was asked for")
    return answer


def object_leaf(reference: Reference, *, sequence: int, fingerprint: bytes, body: bytes) -> bytes:
    """A row as it travels."""
    return pack_leaf(Leaf(reference.object, sequence, fingerprint, PUT, b"", NO_SALT, body))


def read_rows_untrusted(leaves: bytes, count: int) -> list[Leaf]:
    """The rows of one part; deletions are none. Raises `PeerMisbehaved`."""
    rows = read_leaves_untrusted(leaves, count)
    for row in rows:
        if not row.body:
            raise PeerMisbehaved(f"a row of object {row.object} without fields")
    return rows


class PartWriter:
    """Gathers rows into parts of about `PART_BYTES`."""

    def __init__(self, incarnation: int, at: At) -> None:
        self.rows = 0
        self._incarnation = incarnation
        self._at = at
        self._leaves: list[bytes] = []
        self._bytes = 0

    def add(self, leaf: bytes) -> Rows | None:
        """Add a row; gives the part that is full now."""
        self._leaves.append(leaf)
        self._bytes += len(leaf)
        self.rows += 1
        if self._bytes >= PART_BYTES or len(self._leaves) >= MAX_ROWS:
            return self.take()
        return None

    def take(self) -> Rows | None:
        """What is left; None when nothing is."""
        if not self._leaves:
            return None
        part = Rows(self._incarnation, self._at, len(self._leaves), b"".join(self._leaves))
        self._leaves = []
        self._bytes = 0
        return part


def at_of(position: Position | None, age: float | None, *, path: tuple[ServerId, ...] = (), cached: bool = False) -> At:
    """A position, age and path as they travel."""
    age_ms = None if age is None else max(0, round(age * 1000))
    at = (position.epoch, position.number) if position else (0, 0)
    return At(*at, age_ms, path[-MAX_PATH:], cached)


def reference_of(server: ServerId, incarnation: int, number: int) -> Reference:
    return Reference(server, Incarnation(incarnation), ObjectId(number))


def matches(pattern: Pattern | None, server: ServerId) -> bool:
    """Whether a right that is given by pattern is given to `server`; None gives it to nobody."""
    return pattern is not None and pattern.matches(server)


def read_fields_untrusted(data: bytes) -> dict[str, Any]:
    """The map in `Act.fields`. Raises `PeerMisbehaved`."""
    fields = decode_value_untrusted(data) if data else {}
    if not isinstance(fields, dict):
        raise PeerMisbehaved("fields that are no map")
    return fields


def plain_value(value: Any) -> Any:
    """A field's value in its JSON form (DESIGN N10), whatever class it belongs to: the owner's definition reads it."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    if isinstance(value, Reference):
        return str(value)
    if isinstance(value, (Decimal, UUID)):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        return [plain_value(each) for each in value]
    if isinstance(value, dict):
        return {str(key): plain_value(each) for key, each in value.items()}
    raise Refused(f"a value of type {type(value).__name__} is none of a field")


def act_of(operation: Operation) -> Act:
    """An operation as it travels. Raises `Refused` for a value that is none."""
    return Act(
        operation.op,
        operation.class_name,
        operation.object,
        operation.key,
        operation.expect,
        encode_value(plain_value(operation.fields)) if operation.fields else b"",
    )


def operation_untrusted(act: Act) -> Operation:
    """What a peer wants done. Raises `PeerMisbehaved`."""
    if act.op not in OPERATIONS:
        raise PeerMisbehaved(f"an operation {act.op[:16]!r} that is not known here")
    return Operation(
        op=act.op,  # type: ignore[arg-type]  # one of the literals, as was just checked
        class_name=act.class_name,
        object=act.object,
        key=act.key,
        expect=act.expect,
        fields=read_fields_untrusted(act.fields),
    )
