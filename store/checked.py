"""An entry of a table that is not what was written is named, never returned; LMDB itself would not notice (DESIGN T4).

    stored    value | CRC-32 u32 over key and value

Objects are left out: their records carry a checksum of their own over the same bytes (`store.records`). Not found by
it: an entry that is gone, or an older one of the same key; `bangpath check` compares the tables with each other.
"""

from __future__ import annotations

from zlib import crc32

from identity.errors import Damaged

CRC_BYTES = 4


def seal_entry(key: bytes, value: bytes) -> bytes:
    """What is stored for this value under this key."""
    return value + crc32(value, crc32(key)).to_bytes(CRC_BYTES, "big")


def open_entry(table: str, key: bytes, stored: bytes) -> bytes:
    """The value that was sealed. Raises `Damaged`, naming `table` and key."""
    value = stored[:-CRC_BYTES]
    if len(stored) < CRC_BYTES or crc32(value, crc32(key)) != int.from_bytes(stored[-CRC_BYTES:], "big"):
        raise Damaged(
            f"the entry {key.hex()} of table {table} differs from what was written",
            next_step="stop the server and run `bangpath check --repair`: the log has what was written",
            table=table.split(" ")[0],
            key=key.hex(),
        )
    return value
