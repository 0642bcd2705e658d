"""One value, one encoding; and what a stranger sends costs its size and raises one error."""

from __future__ import annotations

import contextlib
import json
import struct
import time
import tracemalloc
from pathlib import Path

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.encoding import (
    MAX_INTEGER,
    decode_integer_untrusted,
    decode_value_trusted,
    decode_value_untrusted,
    encode_integer,
    encode_value,
)
from identity.errors import LocalMistake, PeerMisbehaved

numbers = st.one_of(st.integers(0, MAX_INTEGER), st.integers(2**31 - 3, 2**31 + 3), st.integers(0, 300))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def test_small_numbers_take_four_bytes_and_large_ones_eight() -> None:
    assert encode_integer(7).hex() == "00000007"
    assert encode_integer(2**31 - 1).hex() == "7fffffff"
    assert encode_integer(2**31).hex() == "8000000080000000"
    assert encode_integer(MAX_INTEGER).hex() == "ffffffffffffffff"


@given(numbers)
def test_an_integer_comes_back(number: int) -> None:
    data = encode_integer(number)
    assert decode_integer_untrusted(b"xx" + data + b"yy", 2) == (number, 2 + len(data))


@given(numbers, numbers)
def test_byte_order_is_numeric_order(one: int, other: int) -> None:
    assert (encode_integer(one) < encode_integer(other)) == (one < other)


@pytest.mark.parametrize(
    "data", ["", "00", "000000", "80000000", "8000000000000001", "800000007fffffff", "ffffffffffffff"]
)
def test_integers_cut_off_or_too_long_are_refused(data: str) -> None:
    with pytest.raises(PeerMisbehaved):
        decode_integer_untrusted(bytes.fromhex(data))


@pytest.mark.parametrize("number", [-1, 2**63])
def test_numbers_outside_63_bits_are_our_mistake(number: int) -> None:
    with pytest.raises(LocalMistake):
        encode_integer(number)


@given(values)
def test_a_value_comes_back_and_has_one_encoding(value: object) -> None:
    data = encode_value(value)
    again = decode_value_untrusted(data)
    assert encode_value(again) == data
    assert decode_value_trusted(data) == again


@given(st.binary(max_size=64))
def test_whatever_a_stranger_sends_is_a_value_or_one_error(data: bytes) -> None:
    try:
        value = decode_value_untrusted(data)
    except PeerMisbehaved:
        return
    assert encode_value(value) == data


@given(values, st.data())
def test_one_changed_byte_raises_nothing_else(value: object, data: st.DataObject) -> None:
    encoded = bytearray(encode_value(value))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(PeerMisbehaved):
        decode_value_untrusted(bytes(encoded))


REFUSED = {
    "a long form of a short integer": "1800",
    "a long length": "5801ff",
    "a float that fits in fewer bytes": "fb3ff8000000000000",
    "an indefinite array": "9f01ff",
    "an indefinite byte string": "5f42010243030405ff",
    "duplicate keys": "a2616101616102",
    "unsorted keys": "a2616201616101",
    "a key that is a number": "a10102",
    "a key that is a byte string": "a1410102",
    "trailing bytes": "0102",
    "undefined": "f7",
    "a simple value": "f8ff",
    "text that is no UTF-8": "62c328",
    "nothing": "",
    "a string that is cut off": "4401",
    "an array of 2^62": "9b4000000000000000",
    "bytes of 2^40": "5b0000010000000000",
    "a map of 2^40": "bb0000010000000000",
    "a NaN with a payload": "f97e01",
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_canonical_is_refused(data: str) -> None:
    with pytest.raises(PeerMisbehaved):
        decode_value_untrusted(bytes.fromhex(data))


def test_every_tag_is_refused() -> None:
    for tag in range(1 << 16):
        if tag < 24:
            head = bytes([0xC0 | tag])
        elif tag < 256:
            head = b"\xd8" + bytes([tag])
        else:
            head = b"\xd9" + struct.pack(">H", tag)
        for content in ("01", "6161", "820102", "4101"):
            try:
                decode_value_untrusted(head + bytes.fromhex(content))
            except PeerMisbehaved:
                continue
            raise AssertionError(f"tag {tag} of {content} was accepted")


def test_depth_is_bounded_at_32() -> None:
    assert decode_value_untrusted(b"\x81" * 30 + b"\x00") is not None
    with pytest.raises(PeerMisbehaved):
        decode_value_untrusted(b"\x81" * 100_000 + b"\x00")


def test_hostile_bytes_cost_no_more_than_their_size() -> None:
    colliding = {str(number): number for number in range(20_000)}
    hostile = [
        b"\x9b" + (1 << 62).to_bytes(8, "big"),
        b"\x5b" + (1 << 62).to_bytes(8, "big"),
        b"\xa1\x00" * 100_000,
        cbor2.dumps({number * (2**61 - 1): number for number in range(10_000)}),
        encode_value(colliding),
    ]
    tracemalloc.start()
    begun = time.perf_counter()
    for data in hostile:
        with contextlib.suppress(PeerMisbehaved):
            decode_value_untrusted(data)
    assert time.perf_counter() - begun < 5
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()


def test_too_many_bytes_are_refused_before_they_are_read() -> None:
    with pytest.raises(PeerMisbehaved, match="allowed"):
        decode_value_untrusted(encode_value(b"x" * 100), max_bytes=50)


def test_what_has_no_encoding_is_our_mistake() -> None:
    with pytest.raises(LocalMistake):
        encode_value(object())


def test_the_published_examples_that_are_ours() -> None:
    """RFC 8949 Appendix A: what lies within our subset decodes and encodes back; the rest is refused."""
    path = Path(__file__).parents[1] / "vectors" / "cbor_appendix_a.json"
    ours = 0
    for example in json.loads(path.read_text(encoding="utf-8")):
        data = bytes.fromhex(example["hex"])
        try:
            value = decode_value_untrusted(data)
        except PeerMisbehaved:
            continue
        ours += 1
        assert encode_value(value) == data
        if "decoded" in example:
            assert value == example["decoded"]
    assert ours >= 40
