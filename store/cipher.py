"""What is sealed says nothing without the store's data key, and opens only in the place that it was sealed for.

    sealed     nonce 24 | XChaCha20-Poly1305(plain, associated data: its place) | tag 16         40 bytes more

    data key   32 random bytes of one store, for ever; `store.data_key` keeps them wrapped
      '- BLAKE2b, one key each:  frames   pages   files   beside   evidence   names   hashes   id

    nonce = BLAKE2b-192(24 random bytes | place | plain), keyed

Why no nonce repeats. It is drawn at random from 2^192, and depends on nothing that a restore, a recycled segment, a
torn write or a copy of the directory brings back: no counter, no position, no epoch. And where the random bytes
themselves come again, as in two copies of one virtual machine, the nonce is the same only if place and plain bytes
are: then the same bytes are sealed, which tells nothing new (the reasoning of SIV, RFC 5297 1.3).

What is moved, into another file or to another place of one, does not open. An older version of the same place does:
that is found by what refers to it, a hash or a page number (`store.sealed_frames`, `sealed_tables`, `sealed_files`).
Left to others: what a place is; telling damage from a wrong key, by checksums over what is sealed and by the `id`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import blake2b

import nacl.bindings as sodium
import nacl.exceptions

Buffer = bytes | bytearray | memoryview

KEY_BYTES = 32
ID_BYTES = 16
NONCE_BYTES = 24
TAG_BYTES = 16
OVERHEAD = NONCE_BYTES + TAG_BYTES


class DoesNotOpen(Exception):
    """Not what was sealed with this key for this place."""


class Box:
    """Seals with one key. `random` gives bytes nobody can guess."""

    __slots__ = ("_key", "_nonces", "_random")

    def __init__(self, key: bytes, random: Callable[[int], bytes] = os.urandom) -> None:
        self._key = _derive(key, b"seal")
        self._nonces = blake2b(digest_size=NONCE_BYTES, key=_derive(key, b"nonces"))
        self._random = random

    def seal(self, plain: Buffer, place: bytes) -> bytes:
        """`OVERHEAD` bytes more than `plain`."""
        nonces = self._nonces.copy()
        nonces.update(b"".join((self._random(NONCE_BYTES), len(place).to_bytes(8, "big"), place)))
        nonces.update(plain)
        nonce = nonces.digest()
        sealed: bytes = sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(bytes(plain), place, nonce, self._key)
        return nonce + sealed

    def open(self, sealed: Buffer, place: bytes) -> bytes:
        """What was sealed for this place. Raises `DoesNotOpen`."""
        if len(sealed) < OVERHEAD:
            raise DoesNotOpen
        nonce, rest = bytes(sealed[:NONCE_BYTES]), bytes(sealed[NONCE_BYTES:])
        try:
            plain: bytes = sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(rest, place, nonce, self._key)
        except nacl.exceptions.CryptoError:
            raise DoesNotOpen from None
        return plain


class Cipher:
    """All that is made of one store's data key."""

    def __init__(self, data_key: bytes, random: Callable[[int], bytes] = os.urandom) -> None:
        assert len(data_key) == KEY_BYTES
        self._data_key = data_key
        self._random = random
        self.id = _derive(data_key, b"id")[:ID_BYTES]  # public: it says which key opens, and nothing of the key
        self.frames = self._box(b"frames")
        self.pages = self._box(b"pages")
        self.beside = Box(_derive(data_key, b"beside"), bytes)  # zeros: equal files are equal when sealed, as in SIV
        self.evidence = self._box(b"evidence")
        self._names = _derive(data_key, b"names")
        self._name_tags = _derive(data_key, b"name tags")
        self._hashes = _derive(data_key, b"hashes")

    def _box(self, purpose: bytes) -> Box:
        return Box(_derive(self._data_key, purpose), self._random)

    def file_box(self, salt: bytes) -> Box:
        """For one file, which begins with this salt."""
        return Box(blake2b(salt, digest_size=KEY_BYTES, key=_derive(self._data_key, b"files")).digest(), self._random)

    def new_salt(self) -> bytes:
        """Bytes that no other file has."""
        return self._random(KEY_BYTES)

    def hash(self, digest: bytes) -> bytes:
        """What stands for a hash: whoever guesses what was written cannot see from it that it was."""
        return blake2b(digest, digest_size=32, key=self._hashes).digest()

    def seal_name(self, name: bytes) -> bytes:
        """Always the same for one name (32 bytes), and 16 bytes longer: a synthetic nonce, which proves it as well."""
        tag = blake2b(name, digest_size=TAG_BYTES, key=self._name_tags).digest()
        return tag + self._mask(tag, name)

    def open_name(self, sealed: bytes) -> bytes:
        """Raises `DoesNotOpen`."""
        if len(sealed) != TAG_BYTES + KEY_BYTES:
            raise DoesNotOpen
        name = self._mask(sealed[:TAG_BYTES], sealed[TAG_BYTES:])
        if self.seal_name(name) != sealed:
            raise DoesNotOpen
        return name

    def _mask(self, tag: bytes, name: bytes) -> bytes:
        mask = blake2b(tag, digest_size=KEY_BYTES, key=self._names).digest()
        return bytes(one ^ other for one, other in zip(name, mask, strict=True))

    def __repr__(self) -> str:
        return f"<cipher {self.id.hex()}>"  # never the key: this ends in logs


def _derive(key: bytes, purpose: bytes) -> bytes:
    return blake2b(purpose, digest_size=KEY_BYTES, key=key, person=b"bangpath store").digest()
