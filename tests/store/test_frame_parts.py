"""The parts of frames come back; cut anywhere they are damage, never another part."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.errors import Damaged
from store.frame_parts import (
    CopyChange,
    LocalChange,
    pack_copies,
    pack_local,
    pack_seals,
    unpack_copies,
    unpack_local,
    unpack_seals,
)
from store.records import Seal

numbers = st.integers(1, 2**63 - 1)
changes = st.lists(st.builds(LocalChange, st.integers(1, 2), numbers, numbers, st.binary(max_size=20)), max_size=4)
keys = st.binary(min_size=8, max_size=16)
copies = st.lists(
    st.builds(CopyChange, st.integers(1, 2), keys, numbers, numbers, numbers, st.binary(max_size=9)), max_size=4
)
seals = st.lists(
    st.builds(Seal, st.integers(0, 1), numbers, st.binary(max_size=30), st.binary(min_size=64, max_size=64)), max_size=2
)


@given(numbers, changes, copies, seals)
def test_parts_come_back(number: int, local: list[LocalChange], kept: list[CopyChange], made: list[Seal]) -> None:
    assert unpack_local(pack_local(number, local)) == (number, local)
    assert unpack_copies(pack_copies(kept)) == kept
    assert unpack_seals(pack_seals(made)) == made


def test_cut_off_is_damage() -> None:
    local = pack_local(7, [LocalChange(1, 65, 5, b"body"), LocalChange(2, 66, 5, b"")])
    kept = pack_copies([CopyChange(1, bytes(8), 70, 1, 2, b"body")])
    made = pack_seals([Seal(1, 3, b"head", bytes(64))])
    for cut in range(1, 12):
        with pytest.raises(Damaged):
            unpack_local(local[:-cut])
        with pytest.raises(Damaged):
            unpack_seals(made[:-cut])
    with pytest.raises(Damaged):
        unpack_copies(kept[:20])
    with pytest.raises(Damaged):
        unpack_local(local + b"x")


def test_frozen_bytes() -> None:
    assert pack_local(7, [LocalChange(1, 65, 5, b"body")]).hex() == (
        "0000000000000007" "00000001" "01" "0000000000000041" "0000000000000005" "00000004" "626f6479"
    )  # fmt: skip
    assert pack_copies([CopyChange(1, bytes(8), 70, 1, 2, b"b")]).hex() == (
        "00000001" "01" "08" "0000000000000000" "0000000000000046" "0000000000000001" "0000000000000002" "00000001" "62"
    )  # fmt: skip
    assert pack_seals([Seal(1, 3, b"head", bytes(64))]).hex() == "010000000000000003000468656164" + "00" * 64
