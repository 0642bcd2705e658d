"""A packet that came before is opened, and acted on again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from cryptography.exceptions import InvalidTag

from transport.packet import HEADER_BYTES
from transport.sealing import KEY_PACKETS_BITS, Opener

PROMISE = "P2"
SAYS = "a packet that came before is opened again: nobody looks whether its number is known"
DRAWING = {"faults": ("duplication", "hostile", "partition")}
BLIND = True


@contextlib.contextmanager
def plant() -> Iterator[None]:
    def opened(self: Any, packet: memoryview) -> tuple[int, bytes] | None:
        header = bytes(packet[:HEADER_BYTES])
        if header[:5] != self._head:
            self.forged += 1
            return None
        number = int.from_bytes(header[5:], "big")
        generation = number >> KEY_PACKETS_BITS
        salt, decrypt = self._keys.get(generation) or self._key_of(generation)
        try:
            plaintext = decrypt(salt + header[5:], packet[HEADER_BYTES:], header)
        except InvalidTag:
            self.forged += 1
            return None
        self._remember(number, generation)
        return number, plaintext

    with mock.patch.object(Opener, "open_untrusted", opened):
        yield
