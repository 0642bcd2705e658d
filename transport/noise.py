"""The Noise Protocol Framework, revision 34, as far as Bangpath speaks it: 25519, ChaChaPoly, BLAKE2s.

    XK      <- s               the initiator knows the responder's key
            ...
            -> e, es           three messages; a payload rides in each, sealed ever better
            <- e, ee
            -> s, se (, psk)

    XX      -> e               neither knows the other's key
            <- e, ee, s, es
            -> s, se (, psk)

    XKpsk3, XXpsk3             the same with a shared secret mixed in at the end of message 3

What is promised: both sides that finish hold the same `handshake_hash` and two secrets that nobody else has; a message
that was altered, or made with another key, prologue or psk, raises `PeerMisbehaved` and leaves the state as it was, so
that a forgery does not end the handshake it meddles with. Keys of low order, which would make a shared secret that
everybody knows, are refused (an all-zero result of X25519: RFC 7748, section 6.1).

Written from the specification on PyNaCl's X25519 and AEAD and hashlib's BLAKE2s; proven by the published vectors of
cacophony (tests/vectors/noise_*.json). Names are the specification's (`mix_key`, `split`), so that the two can be read
side by side. When to speak and what the payloads mean is for `transport.handshake`.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2s
from hmac import digest as hmac_digest

import nacl.bindings as sodium
import nacl.exceptions

from identity.errors import LocalMistake, PeerMisbehaved

KEY_BYTES = 32
TAG_BYTES = 16
MAX_MESSAGE_BYTES = 65_535  # section 3

# Tokens of each message; before them, whether the initiator knows the responder's static key from the start.
_PATTERNS: dict[str, tuple[bool, tuple[tuple[str, ...], ...]]] = {
    "XK": (True, (("e", "es"), ("e", "ee"), ("s", "se"))),
    "XX": (False, (("e",), ("e", "ee", "s", "es"), ("s", "se"))),
    "XKpsk3": (True, (("e", "es"), ("e", "ee"), ("s", "se", "psk"))),
    "XXpsk3": (False, (("e",), ("e", "ee", "s", "es"), ("s", "se", "psk"))),
}


def public_key(private: bytes) -> bytes:
    """The X25519 public key of 32 private bytes."""
    if len(private) != KEY_BYTES:
        raise LocalMistake(f"a private key of {len(private)} bytes")
    return sodium.crypto_scalarmult_base(private)


def agree_untrusted(private: bytes, public: bytes) -> bytes:
    """The secret that `private` shares with a stranger's `public`. Raises `PeerMisbehaved` for one of low order."""
    if len(public) != KEY_BYTES:
        raise PeerMisbehaved(f"a public key of {len(public)} bytes")
    try:
        return sodium.crypto_scalarmult(private, public)
    except nacl.exceptions.RuntimeError as error:  # libsodium's only failure is the all-zero result
        raise PeerMisbehaved("a public key of low order") from error


class _Symmetric:
    """Section 5.2, with the cipher state of 5.1 inside it: chaining key, hash, key, nonce."""

    __slots__ = ("chaining_key", "hash", "key", "nonce")

    def __init__(self, protocol_name: bytes) -> None:
        self.hash = protocol_name.ljust(32, b"\0") if len(protocol_name) <= 32 else blake2s(protocol_name).digest()
        self.chaining_key = self.hash
        self.key: bytes | None = None
        self.nonce = 0

    def copy(self) -> _Symmetric:
        same = object.__new__(_Symmetric)
        same.chaining_key, same.hash, same.key, same.nonce = self.chaining_key, self.hash, self.key, self.nonce
        return same

    def mix_hash(self, data: bytes) -> None:
        self.hash = blake2s(self.hash + data).digest()

    def mix_key(self, secret: bytes) -> None:
        self.chaining_key, self.key = _hkdf(self.chaining_key, secret, 2)
        self.nonce = 0

    def mix_key_and_hash(self, secret: bytes) -> None:
        self.chaining_key, for_hash, self.key = _hkdf(self.chaining_key, secret, 3)
        self.mix_hash(for_hash)
        self.nonce = 0

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        ciphertext = plaintext
        if self.key is not None:
            ciphertext = sodium.crypto_aead_chacha20poly1305_ietf_encrypt(
                plaintext, self.hash, _nonce(self.nonce), self.key
            )
            self.nonce += 1
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash_untrusted(self, ciphertext: bytes) -> bytes:
        plaintext = ciphertext
        if self.key is not None:
            plaintext = open_untrusted(self.key, self.nonce, self.hash, ciphertext)
            self.nonce += 1
        self.mix_hash(ciphertext)
        return plaintext


class Handshake:
    """One side of one handshake (section 5.3): `write` and `read_untrusted` by turns, then `split`."""

    def __init__(
        self,
        pattern: str,
        *,
        initiator: bool,
        prologue: bytes,
        static: bytes,
        remote_static: bytes | None = None,
        psk: bytes | None = None,
        randbytes: Callable[[int], bytes],
    ) -> None:
        """`static` is our private key; `remote_static` the responder's public key, for an initiator of XK only.

        `psk` may come later by `set_psk`, before message 3 is read. Raises `LocalMistake` for keys that do not fit.
        """
        responder_known, messages = _PATTERNS[pattern]
        self._messages = messages
        self._turn = 0
        self._initiator = initiator
        self._static = static
        self._static_public = public_key(static)
        self._remote_static = remote_static
        self._ephemeral = b""
        self._remote_ephemeral = b""
        self._with_psk = "psk" in pattern
        self._psk = psk
        self._randbytes = randbytes
        self._symmetric = _Symmetric(f"Noise_{pattern}_25519_ChaChaPoly_BLAKE2s".encode())
        self._symmetric.mix_hash(prologue)
        if (remote_static is not None) != (initiator and responder_known):
            raise LocalMistake(f"the initiator of XK, and nobody else, begins with the other's key ({pattern})")
        if responder_known:
            self._symmetric.mix_hash(remote_static if remote_static is not None else self._static_public)

    def set_psk(self, psk: bytes) -> None:
        self._psk = psk

    @property
    def finished(self) -> bool:
        return self._turn == len(self._messages)

    @property
    def handshake_hash(self) -> bytes:
        """32 bytes that name this session; the same on both sides once it is finished."""
        return self._symmetric.hash

    @property
    def remote_static(self) -> bytes:
        """The other's public key. Proven only when the handshake is finished."""
        if self._remote_static is None:
            raise LocalMistake("the other side has not told its key yet")
        return self._remote_static

    def write(self, payload: bytes) -> bytes:
        """The next message, which must be ours to send.

        Raises `PeerMisbehaved` when the other's key, told before, turns out to be of low order.
        """
        tokens = self._take_turn(writing=True)
        message = b""
        for token in tokens:
            if token == "e":  # noqa: S105 - a token of Noise, no secret
                self._ephemeral = self._randbytes(KEY_BYTES)
                public = public_key(self._ephemeral)
                message += public
                self._mix_ephemeral(public)
            elif token == "s":  # noqa: S105
                message += self._symmetric.encrypt_and_hash(self._static_public)
            else:
                self._mix_token(token)
        message += self._symmetric.encrypt_and_hash(payload)
        if len(message) > MAX_MESSAGE_BYTES:
            raise LocalMistake(f"a Noise message of {len(message)} bytes")
        self._turn += 1
        return message

    def read_untrusted(self, message: bytes) -> bytes:
        """The payload of the other's next message. Raises `PeerMisbehaved`, and then nothing has changed."""
        tokens = self._take_turn(writing=False)
        before = self._symmetric.copy(), self._remote_static, self._remote_ephemeral
        try:
            payload = self._read_untrusted(tokens, message)
        except PeerMisbehaved:
            self._symmetric, self._remote_static, self._remote_ephemeral = before
            raise
        self._turn += 1
        return payload

    def _read_untrusted(self, tokens: tuple[str, ...], message: bytes) -> bytes:
        at = 0
        for token in tokens:
            if token == "e":  # noqa: S105
                self._remote_ephemeral = message[at : at + KEY_BYTES]
                at += KEY_BYTES
                if at > len(message):
                    raise PeerMisbehaved("a handshake message that is cut off")
                self._mix_ephemeral(self._remote_ephemeral)
            elif token == "s":  # noqa: S105
                length = KEY_BYTES + TAG_BYTES  # never in the clear in these patterns
                self._remote_static = self._symmetric.decrypt_and_hash_untrusted(message[at : at + length])
                at += length
            else:
                self._mix_token(token)
        return self._symmetric.decrypt_and_hash_untrusted(message[at:])

    def split(self) -> tuple[bytes, bytes]:
        """Our sending and receiving secret, 32 bytes each. Raises `LocalMistake` before the end."""
        if not self.finished:
            raise LocalMistake("the handshake is not finished")
        first, second = _hkdf(self._symmetric.chaining_key, b"", 2)
        return (first, second) if self._initiator else (second, first)

    def _take_turn(self, *, writing: bool) -> tuple[str, ...]:
        if self.finished or (self._turn % 2 == 0) != (self._initiator == writing):
            raise LocalMistake("it is not this side's turn in the handshake")
        return self._messages[self._turn]

    def _mix_ephemeral(self, public: bytes) -> None:
        self._symmetric.mix_hash(public)
        if self._with_psk:  # section 9.2
            self._symmetric.mix_key(public)

    def _mix_token(self, token: str) -> None:
        """The tokens that send nothing: two letters name the initiator's and the responder's key of an agreement."""
        if token == "psk":  # noqa: S105
            if self._psk is None or len(self._psk) != KEY_BYTES:
                raise LocalMistake("a pre-shared key of 32 bytes is needed by now")
            self._symmetric.mix_key_and_hash(self._psk)
            return
        ours, theirs = (token[0], token[1]) if self._initiator else (token[1], token[0])
        private = self._ephemeral if ours == "e" else self._static
        public = self._remote_ephemeral if theirs == "e" else self._remote_static
        assert public is not None, "every pattern names a key before it is used"
        self._symmetric.mix_key(agree_untrusted(private, public))


def open_untrusted(key: bytes, nonce: int, data: bytes, ciphertext: bytes) -> bytes:
    """What ChaCha20-Poly1305 sealed under a Noise nonce. Raises `PeerMisbehaved`."""
    if len(ciphertext) < TAG_BYTES:
        raise PeerMisbehaved("a handshake message that is cut off")
    try:
        return sodium.crypto_aead_chacha20poly1305_ietf_decrypt(ciphertext, data, _nonce(nonce), key)
    except nacl.exceptions.CryptoError as error:
        raise PeerMisbehaved("a handshake message that does not open") from error


def _nonce(number: int) -> bytes:
    return bytes(4) + number.to_bytes(8, "little")


def _hkdf(chaining_key: bytes, secret: bytes, outputs: int) -> tuple[bytes, ...]:
    """Section 4.3: two or three keys of 32 bytes."""
    temporary = _hmac(chaining_key, secret)
    keys = []
    previous = b""
    for number in range(1, outputs + 1):
        previous = _hmac(temporary, previous + bytes([number]))
        keys.append(previous)
    return tuple(keys)


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac_digest(key, data, blake2s)
