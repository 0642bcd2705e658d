"""Messages: to bounded CBOR and back, and nothing but `PeerMisbehaved` for what strangers send."""

from __future__ import annotations

from typing import Annotated, ClassVar

import cbor2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.encoding import encode_value
from identity.errors import LocalMistake, PeerMisbehaved
from identity.names import Pattern, ServerId
from transport.wire import (
    MAX_MESSAGE_BYTES,
    Body,
    Hash,
    Message,
    Number,
    Priority,
    Text,
    UnknownType,
    decode_untrusted,
    encode,
    table_of,
)


class Span(msgspec.Struct, frozen=True, gc=False, array_like=True):
    first: Number
    last: Number


class Letter(Message, frozen=True, gc=False):
    """A message with a field of every kind."""

    TYPE: ClassVar[int] = 120
    PRIORITY: ClassVar[Priority] = Priority.REQUEST

    sender: ServerId
    pattern: Pattern
    number: Number
    text: Text
    fingerprint: Hash
    spans: Annotated[tuple[Span, ...], msgspec.Meta(max_length=4)]
    body: Body
    live: bool
    after: ServerId | None = None


class Bare(Message, frozen=True, gc=False):
    TYPE: ClassVar[int] = 121


TABLE = table_of([Letter, Bare])
LETTER = Letter(
    ServerId.of(1, 7, 3),
    Pattern("1.7.*,-1.7.3"),
    2**40,
    "hällo",
    b"h" * 32,
    (Span(1, 2), Span(4, 9)),
    b"body",
    True,
)


def fields() -> list[object]:
    value = cbor2.loads(encode(LETTER))
    assert isinstance(value, list)
    return value


def test_a_message_arrives_as_it_was() -> None:
    assert decode_untrusted(encode(LETTER), TABLE) == LETTER
    assert decode_untrusted(encode(Bare()), TABLE) == Bare()
    assert decode_untrusted(memoryview(encode(LETTER)), TABLE) == LETTER


def test_frozen_bytes() -> None:
    assert encode(Bare()).hex() == "811879"
    assert encode(LETTER).hex() == (
        "8a18784c0000000100000007000000036c312e372e2a2c2d312e372e331b00000100000000006668c3a46c6c6f"
        "5820" + "68" * 32 + "828201028204094"
        "4626f6479f5f6"
    )


def test_a_newer_server_may_say_more() -> None:
    assert decode_untrusted(encode_value([*fields(), "more", [1, 2]]), TABLE) == LETTER


def test_an_older_server_may_say_less_where_there_is_a_default() -> None:
    assert decode_untrusted(encode_value(fields()[:-1]), TABLE) == LETTER
    with pytest.raises(PeerMisbehaved):
        decode_untrusted(encode_value(fields()[:-2]), TABLE)


def test_an_unknown_type_is_no_crime() -> None:
    with pytest.raises(UnknownType) as caught:
        decode_untrusted(encode_value([9, 1]), TABLE)
    assert caught.value.details == {"type": 9}


@pytest.mark.parametrize("value", [None, 1, [], {}, "x", ["120"], [1.0], [True], [None], [[120]]])
def test_no_message_at_all(value: object) -> None:
    with pytest.raises(PeerMisbehaved) as caught:
        decode_untrusted(encode_value(value), TABLE)
    assert not isinstance(caught.value, UnknownType)


@pytest.mark.parametrize(
    ("at", "wrong"),
    [
        (1, b""), (1, b"\0\0\0\1\0\0\0\0"), (1, "1.7.3"), (1, 17), (1, b"\0\0\0\1\xff"),
        (2, b"1"), (2, "1..2"), (2, 3), (2, ""),
        (3, -1), (3, 2**63), (3, "1"), (3, 1.0), (3, True), (3, None),
        (4, "x" * 1025), (4, b"x"),
        (5, b"h" * 31), (5, b"h" * 33), (5, "h" * 32),
        (6, [[1, 2]] * 5), (6, [[1]]), (6, [[1, -2]]), (6, [1]), (6, {"first": 1}),
        (7, "text"), (7, None),
        (8, 1), (8, None),
        (9, "1.7"), (9, False),
    ],
)  # fmt: skip
def test_each_field_is_checked(at: int, wrong: object) -> None:
    value = fields()
    value[at] = wrong
    with pytest.raises(PeerMisbehaved):
        decode_untrusted(encode_value(value), TABLE)


def test_size_is_bounded_before_anything_is_decoded() -> None:
    with pytest.raises(PeerMisbehaved, match="allowed"):
        decode_untrusted(bytes(MAX_MESSAGE_BYTES + 1), TABLE)


@given(st.binary(max_size=200))
def test_random_bytes(noise: bytes) -> None:
    with pytest.raises(PeerMisbehaved):
        decode_untrusted(noise, TABLE)


@given(st.integers(0, 1000), st.integers(0, 255))
def test_altered_bytes(at: int, value: int) -> None:
    data = bytearray(encode(LETTER))
    data[at % len(data)] = value
    try:
        again = decode_untrusted(bytes(data), TABLE)
    except PeerMisbehaved:
        return
    assert encode(again) == bytes(data)


def test_each_number_is_one_type() -> None:
    class Taken(Message, frozen=True, gc=False):
        TYPE: ClassVar[int] = 120

    class Nameless(Message, frozen=True, gc=False):
        pass

    for messages in ([Letter, Taken], [Nameless]):
        with pytest.raises(LocalMistake):
            table_of(messages)


def test_a_field_that_no_message_may_have() -> None:
    class Odd(Message, frozen=True, gc=False):
        TYPE: ClassVar[int] = 122

        when: complex

    with pytest.raises(LocalMistake):
        decode_untrusted(encode_value([122, 5]), table_of([Odd]))
