"""A frame in which one bit flipped is known again for certain: its own SHA-256 says so (DESIGN L2, D1).

    CRC-32 of what is read  xor  CRC-32 that was written   =   the trace that one flipped bit leaves
                                                               of each bit there is one such trace: look for it

Most rot is a single bit, and private objects stand in no mirror, so the frame itself is asked first. The CRC finds the
bit, in a time that grows with the length; then the whole frame is read again with every check, and the SHA-256 of what
it holds decides. Two flipped bits are not found, and are never mistaken for one: that would be a collision of SHA-256.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from zlib import crc32

from identity.errors import Damaged

MAX_BYTES = 1 << 20  # some seconds; frames of single commits have hundreds of bytes
_POLYNOMIAL = 0xEDB88320  # of zlib's CRC-32


def _make_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _make_table()


def flipped_bits(length: int, trace: int) -> Iterator[int]:
    """Bits, counted from the first, whose flip leaves this trace in the CRC-32 of `length` bytes: none, or one."""
    table = _TABLE
    traces = [table[1 << bit] for bit in range(8)]
    for at in range(length - 1, -1, -1):
        if trace in traces:
            yield at * 8 + traces.index(trace)
        traces = [table[each & 0xFF] ^ each >> 8 for each in traces]


def mended(data: bytes, *, head: int, is_right: Callable[[bytes], bool], most: int = MAX_BYTES) -> bytes | None:
    """`data` with one bit flipped back such that `is_right`, which is certain; None: that is not what happened.

    The last four bytes of the first `head` are the CRC-32 over all the rest; what follows it may end in padding. More
    than `most` bytes are let be.
    """
    if len(data) > most or len(data) < head:
        return None
    for at in range(head * 8):  # the lengths may be wrong, so the CRC says nothing: each is tried
        changed = _flip(data, at)
        if _said_yes(is_right, changed):
            return changed
    written = int.from_bytes(data[head - 4 : head], "big")
    before = crc32(data[: head - 4])
    for padding in range(8):
        rest = data[head : len(data) - padding]
        for bit in flipped_bits(len(rest), crc32(rest, before) ^ written):
            changed = _flip(data, head * 8 + bit)
            if _said_yes(is_right, changed):
                return changed
    return None


def _said_yes(is_right: Callable[[bytes], bool], data: bytes) -> bool:
    try:
        return is_right(data)
    except Damaged:
        return False


def _flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
