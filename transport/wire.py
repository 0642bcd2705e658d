"""Messages between servers, to bounded CBOR and back (DESIGN N9).

    message    [type, field, field, ...]     deterministic CBOR, at most MAX_MESSAGE_BYTES

A message is an immutable Struct with a number of its own; every floor declares its messages in its vocabulary file
(`transport.wire`, `routing.probes`, `replication.messages`, `node.requests`) and `node.dispatch` holds the one table.
Unknown trailing fields are ignored, so that a newer server can say more; an unknown type is answered
REFUSE(unsupported) by the node. Numbers of types:

    1-15   session        16-31  requests       32-47  routing        48-79  replication       80-127  what is asked

What strangers sent becomes a message by `decode_untrusted`, which raises `PeerMisbehaved` and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from types import NoneType
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec

from identity.encoding import decode_value_untrusted, encode_value
from identity.errors import LocalMistake, PeerMisbehaved
from identity.names import Pattern, ServerId

MAX_MESSAGE_BYTES = (16 << 20) + (64 << 10)  # an update of the largest transaction (DESIGN L6), and its envelope


class Priority(IntEnum):
    """Who goes first when messages wait (DESIGN X3). Smaller is more urgent."""

    CONTROL = 0
    REQUEST = 1
    UPDATE = 2
    BULK = 3


class Message(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The base of all messages: fields in wire order; `TYPE`, `PRIORITY` and the most bytes on the class."""

    TYPE: ClassVar[int] = 0
    PRIORITY: ClassVar[Priority] = Priority.CONTROL
    MOST_BYTES: ClassVar[int] = MAX_MESSAGE_BYTES


class SendTo(msgspec.Struct, frozen=True, gc=False):
    """What machines above the transport put out: this message, to that server, however it is reached."""

    peer: ServerId
    message: Message
    priority: int | None = None  # None: the message type's own


# Limits that several messages share. A length here is checked before a handler sees the message.
Hash = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Text = Annotated[str, msgspec.Meta(max_length=1024)]
Body = Annotated[bytes, msgspec.Meta(max_length=MAX_MESSAGE_BYTES)]

AnyMessage = TypeVar("AnyMessage", bound=Message)


def table_of(messages: Iterable[type[Message]]) -> dict[int, type[Message]]:
    """The table by which `decode_untrusted` finds a type. Raises `LocalMistake` where two have one number."""
    table: dict[int, type[Message]] = {}
    for each in messages:
        if each.TYPE in table or each.TYPE < 1:
            raise LocalMistake(f"message type {each.TYPE} of {each.__name__} is taken or not positive")
        table[each.TYPE] = each
    return table


def encode(message: Message) -> bytes:
    """The bytes of a message of ours."""
    return encode_value([message.TYPE, *_plain_all(msgspec.structs.astuple(message))])


def decode_untrusted(data: bytes | memoryview, table: Mapping[int, type[Message]]) -> Message:
    """The message that a stranger sent. Raises `PeerMisbehaved`; of an unknown type, the subclass `UnknownType`."""
    value = decode_value_untrusted(data, max_bytes=MAX_MESSAGE_BYTES)
    if type(value) is not list or not value or type(value[0]) is not int:
        raise PeerMisbehaved("a message that is not an array beginning with its type")
    kind = table.get(value[0])
    if kind is None:
        raise UnknownType(f"a message of unknown type {value[0]}", type=value[0])
    if len(data) > kind.MOST_BYTES:
        raise PeerMisbehaved(f"a {kind.__name__} of {len(data)} bytes, {kind.MOST_BYTES} allowed")
    try:
        return msgspec.convert(value[1:], kind, dec_hook=_decode_name, builtin_types=(bytes,))
    except (msgspec.ValidationError, PeerMisbehaved) as error:
        raise PeerMisbehaved(f"a malformed {kind.__name__}: {error}") from error


class UnknownType(PeerMisbehaved):
    """A message type this server does not know: no crime, a newer server speaks; answered REFUSE(unsupported)."""


_AS_THEY_ARE = frozenset({NoneType, bool, int, float, str, bytes})


def _plain_all(values: Iterable[Any]) -> list[Any]:
    return [value if type(value) in _AS_THEY_ARE else _plain(value) for value in values]


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return _plain_all(value)
    if isinstance(value, ServerId):
        return bytes(value)
    if isinstance(value, Pattern):
        return value.text
    if isinstance(value, msgspec.Struct):
        return _plain_all(msgspec.structs.astuple(value))
    return value


def _decode_name(kind: type, value: Any) -> Any:
    """What msgspec does not know by itself: names inside messages."""
    if kind is ServerId:
        if type(value) is not bytes:
            raise PeerMisbehaved("a server id that is not a byte string")
        return ServerId.from_bytes_untrusted(value)
    if kind is Pattern:
        return Pattern.from_text_untrusted(value)
    raise LocalMistake(f"no way to read a {kind.__name__} from a message")
