"""Every bit of an entry that flips is noticed."""

import pytest

from identity.errors import Damaged
from store.checked import open_entry, seal_entry


@pytest.mark.parametrize("value", [b"", b"\0", b"some value" * 10])
def test_what_is_sealed_opens_and_with_any_bit_flipped_does_not(value: bytes) -> None:
    stored = seal_entry(b"key", value)
    assert open_entry("t", b"key", stored) == value
    for at in range(len(stored) * 8):
        flipped = bytearray(stored)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises(Damaged, match="the entry 6b6579 of table t differs"):
            open_entry("t", b"key", bytes(flipped))
    with pytest.raises(Damaged):
        open_entry("t", b"kez", stored)
    for length in range(len(stored)):
        with pytest.raises(Damaged):
            open_entry("t", b"key", stored[:length])


def test_frozen_bytes() -> None:
    assert seal_entry(b"key", b"value").hex() == "76616c7565" + "c655f3e6"
