"""Records, leaves and updates: frozen bytes, everything comes back, nothing damaged or forged goes unnoticed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.errors import Damaged, LocalMistake, PeerMisbehaved
from identity.names import ServerId
from store.records import (
    DATA,
    DELETE,
    OWNED,
    PUT,
    Head,
    Leaf,
    Update,
    head_hash,
    pack_leaf,
    pack_record,
    read_leaves_untrusted,
    read_own_leaves,
    unpack_record,
)

KEY = bytes.fromhex("0000000000000041")
HEAD = Head(ServerId.parse("1.7"), 5, DATA, 2, bytes(range(16)), 3, bytes(32), b"r" * 32, 1)
LEAF = Leaf(
    object=65, sequence=9, fingerprint=b"12345678", operation=PUT, request=b"req", salt=b"s" * 16, body=b"\x81\x01"
)

leaves = st.builds(
    lambda number, sequence, request, salt, body: Leaf(
        number, sequence, b"fingerpr", PUT if body else DELETE, request, salt, body
    ),
    st.integers(1, 2**63 - 1),
    st.integers(1, 2**63 - 1),
    st.binary(max_size=255),
    st.binary(min_size=16, max_size=16),
    st.binary(max_size=40),
)


def test_a_record_is_verified_with_its_key() -> None:
    data = pack_record(KEY, 70, 1, 12, OWNED, 4, b"\x81\x01")
    assert data.hex() == "00000027000000000000004600000001000000000000000c010000000000000004f36f39458101"
    record = unpack_record(KEY, data)
    assert (record.class_number, record.definition, record.sequence, record.number) == (70, 1, 12, 4)
    assert not record.deleted
    assert unpack_record(KEY, pack_record(KEY, 70, 1, 12, OWNED, 4, b"")).deleted
    with pytest.raises(Damaged, match="0000000000000042"):
        unpack_record(bytes.fromhex("0000000000000042"), data)


def test_every_flipped_bit_of_a_record_is_found() -> None:
    data = pack_record(KEY, 70, 1, 12, OWNED, 4, b"body of it")
    for at in range(len(data) * 8):
        spoiled = bytearray(data)
        spoiled[at // 8] ^= 1 << at % 8
        with pytest.raises(Damaged):
            unpack_record(KEY, bytes(spoiled))
    for length in range(len(data)):
        with pytest.raises(Damaged):
            unpack_record(KEY, data[:length])


def test_a_leaf_has_these_bytes() -> None:
    assert pack_leaf(LEAF).hex() == (
        "01" "0000000000000041" "0000000000000009" "3132333435363738" + "73" * 16 + "03" "00000002" "726571" "8101"
    )  # fmt: skip
    with pytest.raises(LocalMistake, match="256"):
        pack_leaf(Leaf(1, 1, b"12345678", PUT, bytes(256), bytes(16), b"x"))


@given(st.lists(leaves, max_size=5))
def test_leaves_come_back(packed: list[Leaf]) -> None:
    data = b"".join(map(pack_leaf, packed))
    assert read_leaves_untrusted(data, len(packed)) == packed
    assert read_own_leaves(data) == packed
    for count in (len(packed) + 1, len(packed) - 1, 2**40):
        if count >= 0:
            with pytest.raises(PeerMisbehaved):
                read_leaves_untrusted(data, count)
    if data:
        with pytest.raises(PeerMisbehaved):
            read_leaves_untrusted(data[:-1], len(packed))


@pytest.mark.parametrize(
    "changes",
    [{"operation": 3}, {"operation": DELETE}, {"body": b""}, {"object": 0}, {"object": 2**63}, {"sequence": 0}],
)
def test_a_leaf_that_makes_no_sense(changes: dict[str, Any]) -> None:
    import msgspec

    with pytest.raises(PeerMisbehaved):
        read_leaves_untrusted(pack_leaf(msgspec.structs.replace(LEAF, **changes)), 1)


def test_an_update_has_these_bytes() -> None:
    update = Update(HEAD, b"g" * 64, pack_leaf(LEAF))
    data = update.to_bytes()
    assert data.startswith(
        bytes.fromhex(
            "01" "00000001" "00000007" "00000000" "0000000000000005" "01" "0000000000000002"
            "000102030405060708090a0b0c0d0e0f" "0000000000000003"
        )
    )  # fmt: skip
    assert data[len(HEAD.to_bytes()) :] == b"g" * 64 + len(update.leaves).to_bytes(4, "big") + update.leaves
    assert head_hash(HEAD.to_bytes()).hex() == "404aed5e439e96c97bd4ac053dfe8960c635eb2b6f59e8edc3b1c5b7eeab8ff6"


@given(
    st.lists(st.integers(1, 2**62), min_size=1, max_size=4),
    st.integers(0, 2**62),
    st.integers(1, 2**62),
    st.binary(max_size=50),
)
def test_updates_come_back(parts: list[int], epoch: int, number: int, body: bytes) -> None:
    head = Head(ServerId.of(*parts), 9, DATA, epoch, bytes(16), number, bytes(32), bytes(32), 7)
    update = Update(head, bytes(64), body)
    assert Update.from_bytes_untrusted(update.to_bytes()) == update
    assert Head.from_bytes_untrusted(head.to_bytes()) == head


@given(st.integers(0, 300), st.binary(max_size=3))
def test_what_strangers_send_is_an_update_or_misbehaved(cut: int, more: bytes) -> None:
    data = Update(HEAD, b"g" * 64, pack_leaf(LEAF)).to_bytes()
    spoiled = data[:cut] + more
    if len(spoiled) != len(data):  # what lies inside leaves is looked at by `read_leaves_untrusted`
        with pytest.raises(PeerMisbehaved):
            Update.from_bytes_untrusted(spoiled)


@pytest.mark.parametrize(
    "changes", [{"kind": 2}, {"number": 0}, {"number": 2**63}, {"incarnation": 2**63}, {"epoch": 2**63}, {"count": 0}]
)
def test_heads_that_make_no_sense(changes: dict[str, Any]) -> None:
    import msgspec

    with pytest.raises(PeerMisbehaved):
        Head.from_bytes_untrusted(msgspec.structs.replace(HEAD, **changes).to_bytes())
    with pytest.raises(PeerMisbehaved, match="version 2"):
        Head.from_bytes_untrusted(b"\2" + HEAD.to_bytes()[1:])
