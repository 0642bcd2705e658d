"""Words: datagrams that need no session, for links that carry one way only (docs/decisions/0051).

    word   | 6 | nonce 24 | length u8 | who says it, masked | sealed message |          48 to 192 bytes more than that

A handshake goes both ways, so over a link of one direction no session begins, and one that stands gets no
acknowledgement by it. What is said there is sealed under the secret that the two servers' exchange keys share, which
both knew before: it comes from whom it says, or does not open, and nobody answers it.

- **Once.** Nothing is numbered, acknowledged or repeated. A copy of an old word opens again; what it is good for then
  is its message's business, and nobody's belief may hang on it.
- **Strangers meet silence.** Who says it is masked by the receiver's public key, as mac1 of a handshake is keyed by it;
  for a name that is not known here, no key is agreed and nothing is opened. A key is agreed once for each peer.
- **No forward secrecy**: who steals an exchange key later reads its old words. What they carry is sealed end to end
  again, or says only who is sought.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2s, shake_128
from typing import TYPE_CHECKING

import nacl.bindings as sodium
import nacl.exceptions

from identity.errors import PeerMisbehaved
from identity.names import ServerId
from transport import noise
from transport.packet import WORD

if TYPE_CHECKING:
    import random

NONCE_BYTES = 24
NAME_AT = 1 + NONCE_BYTES
MAX_KEYS = 4096  # secrets remembered; agreeing on one again costs 50 us


class Words:
    """The words of one server. `key_of(server)`: its exchange key, b"" when it is not known."""

    def __init__(
        self,
        own: ServerId,
        *,
        exchange_key: bytes,
        network: bytes,
        key_of: Callable[[ServerId], bytes],
        random: random.Random,
    ) -> None:
        self._own = own
        self._exchange_key = exchange_key
        self._public_key = noise.public_key(exchange_key)
        self._network = network
        self._key_of = key_of
        self._random = random
        self._secrets: dict[bytes, bytes] = {}

    def seal(self, peer: ServerId, message: bytes) -> bytes | None:
        """The datagram that says it to `peer`; None when its key is not known."""
        key = self._key_of(peer)
        secret = self._secret(key)
        if secret is None:
            return None
        nonce = self._random.randbytes(NONCE_BYTES)
        head = bytes([WORD]) + nonce + bytes([len(self._own)]) + _mask(bytes(self._own), nonce, key)
        return head + sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(message, head + key, nonce, secret)

    def open_untrusted(self, packet: bytes) -> tuple[ServerId, bytes] | None:
        """Who says what; None for whatever is no word of anybody known to us."""
        nonce, end = packet[1:NAME_AT], NAME_AT + 1 + int.from_bytes(packet[NAME_AT : NAME_AT + 1], "big")
        if len(packet) < end + sodium.crypto_aead_xchacha20poly1305_ietf_ABYTES:
            return None
        try:
            peer = ServerId.from_bytes_untrusted(_mask(packet[NAME_AT + 1 : end], nonce, self._public_key))
            secret = self._secret(self._key_of(peer))
            if secret is None:
                return None
            head = packet[:end]
            return peer, sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(
                packet[end:], head + self._public_key, nonce, secret
            )
        except (PeerMisbehaved, nacl.exceptions.CryptoError):
            return None

    def _secret(self, key: bytes) -> bytes | None:
        """What we share with the holder of this key, in this mesh."""
        if not key:
            return None
        secret = self._secrets.get(key)
        if secret is None:
            try:
                agreed = noise.agree_untrusted(self._exchange_key, key)
            except PeerMisbehaved:
                return None
            if len(self._secrets) >= MAX_KEYS:
                del self._secrets[next(iter(self._secrets))]
            secret = self._secrets[key] = blake2s(agreed + self._network, person=b"word").digest()
        return secret


def _mask(name: bytes, nonce: bytes, receiver_key: bytes) -> bytes:
    """Masked, or unmasked again."""
    stream = shake_128(nonce + receiver_key).digest(len(name))
    return (int.from_bytes(name, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(name), "big")
