"""A word opens for whom it was sealed and tells from whom; everything else meets silence."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.names import ServerId
from tests.transport.conftest import Pair
from transport import noise
from transport.events import Said
from transport.packet import WORD
from transport.words import MAX_KEYS, NONCE_BYTES, Words

NETWORK = b"n" * 32
ONE, TWO, THREE = (ServerId.parse(name) for name in ("1.1", "1.7.3", "9"))
PRIVATE = {ONE: b"a" * 32, TWO: b"b" * 32, THREE: b"c" * 32}
PUBLIC = {server: noise.public_key(private) for server, private in PRIVATE.items()}


def words(own: ServerId, network: bytes = NETWORK, *, seed: int = 1, **known: bytes) -> Words:
    keys = {**PUBLIC, **{ServerId.parse(name.strip("_").replace("_", ".")): key for name, key in known.items()}}
    return Words(
        own, exchange_key=PRIVATE[own], network=network, key_of=lambda server: keys.get(server, b""),
        random=Random(seed),
    )  # fmt: skip


def test_what_one_says_the_other_hears_and_nobody_else() -> None:
    said = words(ONE).seal(TWO, b"a message")
    assert said is not None
    assert said[0] == WORD
    assert words(TWO).open_untrusted(said) == (ONE, b"a message")
    assert words(THREE).open_untrusted(said) is None
    assert words(ONE).open_untrusted(said) is None  # thrown back
    assert words(TWO, b"m" * 32).open_untrusted(said) is None  # of another mesh
    assert words(TWO, _1_1=PUBLIC[THREE]).open_untrusted(said) is None  # its key is another by now
    assert words(TWO, _1_1=b"").open_untrusted(said) is None  # nobody whom we know


def test_who_says_it_is_not_to_be_read_and_no_two_words_are_alike() -> None:
    one = words(ONE)
    said = [one.seal(TWO, b"a message") for _ in range(2)]
    assert said[0] != said[1]
    assert all(each is not None and bytes(ONE) not in each and b"a message" not in each for each in said)


@given(st.binary(max_size=1500))
def test_whatever_is_sealed_opens(message: bytes) -> None:
    said = words(ONE).seal(TWO, message)
    assert said is not None
    assert words(TWO).open_untrusted(said) == (ONE, message)


def test_a_word_that_was_altered_or_cut_anywhere_is_none() -> None:
    said = words(ONE).seal(TWO, b"a message")
    assert said is not None
    two = words(TWO)
    for place in range(1, len(said)):  # by the first byte it would be no word at all
        assert two.open_untrusted(said[:place] + bytes([said[place] ^ 1]) + said[place + 1 :]) is None
        assert two.open_untrusted(said[:place]) is None


@given(st.binary(max_size=200))
def test_noise_is_no_word(data: bytes) -> None:
    assert words(TWO).open_untrusted(bytes([WORD]) + data) is None


@pytest.mark.parametrize("key", [bytes(32), b"short", b""])
def test_to_a_key_that_is_none_nothing_is_said(key: bytes) -> None:
    assert words(ONE, _1_7_3=key).seal(TWO, b"a message") is None


def test_the_bytes_are_what_they_were() -> None:
    said = words(ONE).seal(TWO, b"a message")
    assert said is not None
    assert said.hex() == (
        "06f5b165224a58b791df6af1d8303e61cdc4bb86c3d1c42710082a53db1d03aea9daca678c17f101d8258d95ab3bd5dcc1eaf651b9b1265e5f"
        "93b3"
    )


def test_agreed_secrets_are_few() -> None:
    one = words(ONE)
    one._secrets = {number.to_bytes(4, "big"): b"" for number in range(MAX_KEYS)}
    one.seal(TWO, b"a message")
    assert len(one._secrets) == MAX_KEYS


def test_an_endpoint_tells_what_came_and_sends_what_is_said_and_answers_nothing() -> None:
    pair = Pair()
    word = bytes([WORD]) + bytes(NONCE_BYTES + 40)
    pair.a.endpoint.say(word, pair.b.address)
    pair.run(1)
    assert [each for each in pair.b.events if isinstance(each, Said)] == [Said(word)]
    assert pair.a.events == []
