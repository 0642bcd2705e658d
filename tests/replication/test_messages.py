"""The bytes of replication's messages are frozen, and strangers' variations of them are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from identity.encoding import decode_value_trusted, encode_value
from identity.errors import Exhausted, PeerMisbehaved
from identity.names import Pattern, ServerId
from replication.leaves import UPDATE_DOMAIN, leaf_hash, leaf_prefix, verify_update_untrusted
from replication.messages import (
    MAX_FEED_BYTES,
    MAX_PATH,
    MAX_SUBSCRIPTIONS,
    MESSAGES,
    Branch,
    Digest,
    Entry,
    Feed,
    FeedId,
    FeedOk,
    Fork,
    Got,
    HeldRange,
    Lazy,
    Mode,
    Refuse,
    SendMe,
    Subscription,
    UpdateMessage,
    Vector,
)
from store.records import DATA, PUT, Head, Leaf, Update, join_update, pack_leaf
from tests.replication.lab import Lab
from transport.wire import MAX_MESSAGE_BYTES, decode_untrusted, encode

VECTORS = Path(__file__).parents[1] / "vectors" / "replication.txt"
KEY = SigningKey(bytes(range(32)))
OWNER, MIRROR = ServerId.parse("1.7.3"), ServerId.parse("1.2")
INCARNATION = 1_700_000_000_123


def frozen_update() -> bytes:
    leaves = [
        pack_leaf(Leaf(42, 17, b"airports", PUT, b"", bytes(range(16)), encode_value(["EDDF", 111.0]))),
        pack_leaf(Leaf(43, 17, b"airports", 2, b"asked", bytes(16), b"")),
    ]
    prefix = leaf_prefix(OWNER, INCARNATION)
    from replication.leaves import merkle_root

    root = merkle_root([leaf_hash(prefix, each) for each in leaves])
    head = Head(OWNER, INCARNATION, DATA, 7, bytes(range(16, 32)), 1, bytes(32), root, 2).to_bytes()
    return join_update(head, KEY.sign(UPDATE_DOMAIN + head).signature, b"".join(leaves))


def examples() -> dict[str, object]:
    wish = Subscription(DATA, Pattern("1.7.*,-1.7.9"), b"", MAX_PATH, bytes([1]) * 32)
    entry = Entry(OWNER, INCARNATION, DATA, 1, (HeldRange(1, 17, bytes([2]) * 32),), 1500)
    update = Update.from_bytes_untrusted(frozen_update())
    head = update.head.to_bytes()
    return {
        "feed": Feed((wish,), 4 << 20),
        "feedok": FeedOk((wish,)),
        "digest": Digest(
            DATA, Pattern("*"), OWNER, bytes([3]) * 32, (Branch(OWNER.ended, bytes([4]) * 32),), asked=False
        ),
        "vector": Vector((entry,), whole=True),
        "vector of a feed of unknown age": Vector((Entry(OWNER, INCARNATION, DATA, 1, (), None),), whole=False),
        "sendme": SendMe(OWNER, INCARNATION, DATA, ((5, 9), (12, 12)), Mode.GRAFT, 1 << 20),
        "update": UpdateMessage((OWNER, MIRROR), live=True, update=frozen_update()),
        "lazy": Lazy(OWNER),
        "got": Got(OWNER, INCARNATION, DATA, ((1, 17),)),
        "refuse": Refuse(OWNER, INCARNATION, DATA, ((5, 9),), "not held here"),
        "fork": Fork(head, update.signature, head, update.signature),
    }


def read_vectors() -> dict[str, bytes]:
    found: dict[str, str] = {}
    name = ""
    for line in VECTORS.read_text().splitlines():
        content = line.partition("#")[0].strip()
        if content.startswith("["):
            name = content.strip("[]")
            found[name] = ""
        elif name:
            found[name] += content.replace(" ", "")
    return {name: bytes.fromhex(text) for name, text in found.items()}


def test_every_message_has_the_bytes_it_always_had():
    vectors = read_vectors()
    assert set(vectors) == {*examples(), "one update"}
    for name, message in examples().items():
        assert encode(message).hex() == vectors[name].hex(), name
        assert decode_untrusted(vectors[name], MESSAGES) == message
    assert {type(each) for each in examples().values()} == set(MESSAGES.values())


def test_one_update_has_the_bytes_it_always_had():
    data = read_vectors()["one update"]
    assert data == frozen_update()
    update = Update.from_bytes_untrusted(data)
    verify_update_untrusted(update, bytes(KEY.verify_key))
    assert update.to_bytes() == data


@pytest.mark.parametrize("name", list(examples()))
def test_unknown_trailing_fields_are_ignored_and_missing_ones_refused(name):
    message = examples()[name]
    fields = decode_value_trusted(encode(message))
    assert decode_untrusted(encode_value([*fields, "from the future"]), MESSAGES) == message
    for length in range(1, len(fields)):
        with pytest.raises(PeerMisbehaved):
            decode_untrusted(encode_value(fields[:length]), MESSAGES)


@given(st.data())
def test_a_field_of_another_kind_is_refused_or_read_as_a_message(data):
    name = data.draw(st.sampled_from(list(examples())))
    fields = decode_value_trusted(encode(examples()[name]))
    at = data.draw(st.integers(1, len(fields) - 1))
    fields[at] = data.draw(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5) | st.binary(max_size=40)
        | st.lists(st.integers(0, 300), max_size=3) | st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=3)
    )  # fmt: skip
    try:
        decode_untrusted(encode_value(fields), MESSAGES)
    except PeerMisbehaved:
        return


@pytest.mark.parametrize(
    "message",
    [
        [53, [], True, b""],  # no Path
        [53, [bytes(OWNER)] * (MAX_PATH + 1), True, b""],
        [53, [b"\0\0\0\0"], True, b""],  # no name
        [53, [b"\0\0\0\1\0"], True, b""],
        [52, bytes(OWNER), 1, 2, [], 0, 0],  # no such kind of feed
        [52, bytes(OWNER), 1, 1, [], 7, 0],  # no such mode
        [52, bytes(OWNER), 1, 1, [[1, 2]] * 65, 0, 0],
        [52, bytes(OWNER), 1, 1, [[-1, 2]], 0, 0],
        [52, bytes(OWNER), 2**63, 1, [], 0, 0],
        [48, [[1, "1.7", b"filter", 8, bytes(32)]], 0],  # a coverage that is not known yet
        [48, [[1, "1.07", b"", 8, bytes(32)]], 0],  # a pattern that is not canonical
        [48, [[1, "1.7", b"", 0, bytes(32)]], 0],
        [48, [[1, "1.7", b"", 8, bytes(31)]], 0],
        [48, [[1, "1.7", b"", 8, bytes(32)]] * 257, 0],
        [51, [[bytes(OWNER), 1, 1, 1, [[1, 2, bytes(31)]], None]], True],
        [57, bytes(1025), bytes(64), b"", bytes(64)],
    ],
)
def test_what_is_out_of_bounds_is_refused(message):
    with pytest.raises(PeerMisbehaved):
        decode_untrusted(encode_value(message), MESSAGES)


def test_a_feed_that_costs_its_reader_much_is_refused_by_its_size():
    def feed(patterns, rules):
        text = ",".join(f"1.{each}" for each in range(1, rules + 1))
        return encode_value([48, [[1, text, b"", 8, bytes(32)]] * patterns, 0])

    assert len(decode_untrusted(feed(16, 256), MESSAGES).subscriptions) == 16
    with pytest.raises(PeerMisbehaved, match="a Feed of"):
        decode_untrusted(feed(256, 256), MESSAGES)


def test_what_may_be_wished_for_fits_into_a_feed():
    wide = ",".join(f"1.{each}" for each in range(10_000, 10_255))
    size = _wish_until_there_is_no_room([f"{wide},1.{number + 1}" for number in range(MAX_SUBSCRIPTIONS)])
    assert 0.9 * MAX_FEED_BYTES < size <= MAX_FEED_BYTES
    assert _wish_until_there_is_no_room([f"1.2.{number + 1}" for number in range(MAX_SUBSCRIPTIONS)]) < MAX_FEED_BYTES


def _wish_until_there_is_no_room(patterns: list[str]) -> int:
    """The bytes of the FEED before it."""
    flood = Lab(1).servers("1.1")[0].flood
    for pattern in patterns:
        feed = encode(Feed(flood._spool.subscriptions(), 0))
        try:
            flood.subscribe(DATA, Pattern(pattern), 0.0)
        except Exhausted:
            assert len(decode_untrusted(feed, MESSAGES).subscriptions) == len(flood._spool.subscriptions())
            return len(feed)
    raise AssertionError("there was room for all")


def test_a_feed_prints_as_people_say_it():
    assert str(FeedId(OWNER, 1, DATA)) == "1.7.3/data"
    assert str(FeedId(OWNER, 1, 0)) == "1.7.3/registry"


def test_the_longest_path_fits_beside_the_largest_update():
    from replication.spool import MAX_CARRIED_BYTES

    longest = ServerId.of(*[2**62] * 16)
    path = (*(ServerId.of(*[2**62] * 15, n + 2**62) for n in range(MAX_PATH - 1)), longest)
    assert len(encode(UpdateMessage(path, True, bytes(MAX_CARRIED_BYTES)))) <= MAX_MESSAGE_BYTES
