"""What is sealed opens, once, and only for whom it was sealed (DESIGN X2).

    secret 0 --> secret 1 --> secret 2 ...         BLAKE2s, one way: what was deleted does not come back
       |            |            |
    key 0, salt 0   key 1 ...                      32 and 4 bytes; one key for 2^22 packets

    packet number n:   key n >> 22,   nonce = salt | n as u64,   data = the 13 bytes of header

    received     0-4090  4093  4095-8191          `Opener.received`: the next ACK; what is missing, the next NAK
                 ^ floor: everything below counts as received

Rules:

- A number is sealed once and never again; each direction has keys of its own; so no nonce comes twice.
- Keys change by packet number alone: the sender begins key k at packet k * 2^22, and the number in the header, which
  is authenticated, says which key opens it. There is no bit to misread and nothing to agree on (RFC 9001, section 6.6:
  AES-GCM wants a new key before 2^23 packets). The opener follows one key at a time and only after a packet opened
  with it, and keeps the key before for what was overtaken.
- A session ends at 2^48 packets (`Exhausted`) and is meant to end after `RENEW_AFTER_S`: the connection says CLOSE
  and shakes hands again, since only a new key agreement heals a session whose secret was stolen.
- Replay: a number in `received` or below `floor` is dropped. The set keeps at least the 8192 newest numbers, whatever
  was lost among them; an older packet that comes at last was long sent again.
- What does not open is dropped in silence: anybody can send it. It changes nothing but a counter.

This file agrees on nothing (`transport.handshake`) and reads no frame (`transport.packet`).
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2s

import msgspec
import nacl.bindings
import nacl.exceptions
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from identity.errors import Exhausted, LocalMistake
from transport.packet import HEADER, HEADER_BYTES, OVERHEAD_BYTES, SEALED, TAG_BYTES
from transport.ranges import Ranges

# The bits of a cipher list; the highest that both sides have is taken.
CHACHA20_POLY1305 = 1
AES_256_GCM = 2
ALL_CIPHERS = CHACHA20_POLY1305 | AES_256_GCM

KEY_PACKETS_BITS = 22  # half of what RFC 9001 allows AES-GCM
MAX_PACKETS = 2**48
MAX_FORGED = 2**36  # RFC 9001, section 6.6, for ChaCha20-Poly1305, which is the weaker one here
RENEW_AFTER_S = 24 * 3600.0
MAX_INTERVALS = 4096  # each but the last has a gap behind it: at least 8192 numbers wide


def preferred_ciphers() -> int:
    """What this machine should offer: AES-256-GCM only where the processor has instructions for it."""
    try:
        nacl.bindings.crypto_aead_aes256gcm_encrypt(b"", None, bytes(12), bytes(32))
    except nacl.exceptions.UnavailableError:
        return CHACHA20_POLY1305
    return ALL_CIPHERS


def choose_cipher(ours: int, theirs: int) -> int | None:
    """The best cipher that both have, or None. Unknown bits of a newer peer are left alone."""
    both = ours & theirs & ALL_CIPHERS
    return 1 << (both.bit_length() - 1) if both else None


class SessionKeys(msgspec.Struct, frozen=True, gc=False):
    """What a finished handshake gives."""

    send: bytes  # 32 bytes, the first secret of each direction
    receive: bytes
    send_index: int  # the peer's number for the session, in the header of what we send
    receive_index: int  # ours
    peer_key: bytes  # the peer's proven X25519 key
    psk_id: bytes
    handshake_hash: bytes  # 32 bytes, the same on both sides and in no other session
    cipher: int
    version: int
    initiator: bool
    peer_parameters: bytes

    def sealer(self) -> Sealer:
        return Sealer(self.send, self.cipher, self.send_index)

    def opener(self) -> Opener:
        return Opener(self.receive, self.cipher, self.receive_index)


class Sealer:
    """One direction's sending half: numbers packets and seals each."""

    __slots__ = ("_cipher", "_encrypt_into", "_index", "_salt", "_secret", "_turn", "next_number")

    def __init__(self, secret: bytes, cipher: int, receiver_index: int) -> None:
        self.next_number = 0
        self._index = receiver_index
        self._cipher = cipher
        self._secret = secret  # of the key after the current one
        self._turn = 0  # the first packet number that the current key may not seal
        self._turn_key(0)

    def seal_into(self, out: memoryview, at: int, plaintext: bytes | memoryview) -> int:
        """Write the next packet at `at` and return where it ends: OVERHEAD_BYTES longer than the plaintext.

        `plaintext` must not lie in that place. Raises `Exhausted` when the session's numbers are used up, and
        `LocalMistake` when there is no room; its number is used up all the same, so that no nonce comes twice.
        """
        number = self.next_number
        if number >= self._turn:
            self._turn_key(number)
        self.next_number = number + 1
        header = HEADER.pack(SEALED, self._index, number)
        body = at + HEADER_BYTES
        end = body + len(plaintext) + TAG_BYTES
        try:
            out[at:body] = header
            self._encrypt_into(self._salt + header[5:], plaintext, header, out[body:end])
        except ValueError as error:
            raise LocalMistake(f"a packet of {end - at} bytes does not fit at {at} of {len(out)}") from error
        return end

    def skip(self, count: int) -> None:
        """Leave `count` numbers out: an ACK of one of them tells that the peer acknowledges what never came."""
        self.next_number += count

    def _turn_key(self, number: int) -> None:
        if number >= MAX_PACKETS:
            raise Exhausted("this session has numbered all its packets", next_step="close it and shake hands again")
        while number >= self._turn:
            self._secret, aead, self._salt = _derive(self._secret, self._cipher)
            self._encrypt_into: Callable[..., int] = aead.encrypt_into
            self._turn += 1 << KEY_PACKETS_BITS


class Opener:
    """One direction's receiving half: opens each packet once, and remembers which came."""

    __slots__ = (
        "_cipher", "_generation", "_head", "_keys", "_secret", "_top", "floor", "forged", "received", "replayed",
    )  # fmt: skip

    # Invariant: received has numbers from floor on only, in at most MAX_INTERVALS intervals.

    def __init__(self, secret: bytes, cipher: int, receiver_index: int) -> None:
        self.received = Ranges()  # for others to read, never to write
        self.floor = 0
        self.replayed = 0  # packets that had come before, or are older than the window
        self.forged = 0  # packets that did not open
        self._top = -1  # the highest number received
        self._head = HEADER.pack(SEALED, receiver_index, 0)[:5]
        self._cipher = cipher
        self._generation = 0  # the key that opened the highest packet
        self._keys: dict[int, tuple[bytes, Callable[..., bytes]]] = {}
        self._secret, aead, salt = _derive(secret, cipher)  # the secret of the newest key derived, plus one
        self._keys[0] = salt, aead.decrypt

    def open_untrusted(self, packet: memoryview) -> tuple[int, bytes] | None:
        """The packet's number and plaintext, or None for what is no packet of ours, a replay, or forged. Never raises.

        `packet` is a memoryview, so that its body is not copied before it is known to be good.
        """
        header = bytes(packet[:HEADER_BYTES])
        if len(packet) < OVERHEAD_BYTES or header[:5] != self._head or self.forged > MAX_FORGED:
            self.forged += 1
            return None
        number = int.from_bytes(header[5:], "big")
        if number <= self._top and (number < self.floor or number in self.received):
            self.replayed += 1
            return None
        generation = number >> KEY_PACKETS_BITS
        salt, decrypt = self._keys.get(generation) or self._key_of(generation)
        try:
            plaintext = decrypt(salt + header[5:], packet[HEADER_BYTES:], header)
        except InvalidTag:
            self.forged += 1
            return None
        self._remember(number, generation)
        return number, plaintext

    def open_all_untrusted(self, buffer: memoryview, size: int) -> list[tuple[int, bytes]]:
        """Every packet of `size` bytes in `buffer` (the last may be shorter) that opens, in order. Never raises.

        The same as `open_untrusted` for each. A run of numbers one after another, which bulk is, takes a loop of its
        own, in two thirds of the time: its headers are foretold, and its numbers are remembered together.
        """
        opened: list[tuple[int, bytes]] = []
        at, length, head = 0, len(buffer), self._head
        while at < length and self.forged <= MAX_FORGED:
            number = self._top
            salt, decrypt = self._keys[self._generation]
            last = ((self._generation + 1) << KEY_PACKETS_BITS) - 1
            while number < last and length - at >= OVERHEAD_BYTES:
                tail = (number + 1).to_bytes(8, "big")
                header = head + tail
                if bytes(buffer[at : at + HEADER_BYTES]) != header:
                    break
                try:
                    plaintext = decrypt(salt + tail, buffer[at + HEADER_BYTES : at + size], header)
                except InvalidTag:
                    break  # `open_untrusted` will count it
                number += 1
                at += size
                opened.append((number, plaintext))
            if number > self._top:
                self.received.add(self._top + 1, number)
                self._top = number
            if at < length:
                one = self.open_untrusted(buffer[at : at + size])
                at += size
                if one is not None:
                    opened.append(one)
        return opened

    def check_untrusted(self, packet: memoryview) -> int | None:
        """The number of a packet that came before, if it is authentic; its content is not given again. Never raises."""
        header = bytes(packet[:HEADER_BYTES])
        if len(packet) < OVERHEAD_BYTES or header[:5] != self._head or self.forged > MAX_FORGED:
            return None
        number = int.from_bytes(header[5:], "big")
        keys = self._keys.get(number >> KEY_PACKETS_BITS)
        if keys is None or number > self._top:
            return None
        try:
            keys[1](keys[0] + header[5:], packet[HEADER_BYTES:], header)
        except InvalidTag:
            self.forged += 1
            return None
        return number

    def forget_below(self, number: int) -> None:
        """Everything below `number` counts as received from now on. Forgetting less than before changes nothing."""
        if number > self.floor:
            self.floor = number
            self._top = max(self._top, number - 1)
            self.received.forget_below(number)

    def _remember(self, number: int, generation: int) -> None:
        self.received.add(number)
        if number > self._top:
            self._top = number
        if len(self.received) > MAX_INTERVALS:
            self.floor = self.received.keep_newest(MAX_INTERVALS)
        if generation > self._generation:
            self._generation = generation
            for old in [each for each in self._keys if each < generation - 1]:
                del self._keys[old]

    def _key_of(self, generation: int) -> tuple[bytes, Callable[..., bytes]]:
        """The key of a generation that has none yet: the next one's is derived, any other opens nothing."""
        if generation != self._generation + 1 or generation << KEY_PACKETS_BITS >= MAX_PACKETS:
            return b"", _refuse
        self._secret, aead, salt = _derive(self._secret, self._cipher)
        self._keys[generation] = salt, aead.decrypt
        return self._keys[generation]


def _refuse(*_: object) -> bytes:
    raise InvalidTag


def _derive(secret: bytes, cipher: int) -> tuple[bytes, AESGCM | ChaCha20Poly1305, bytes]:
    """The secret after this one, and this one's cipher with its key, and salt."""
    key = blake2s(bytes([cipher]), key=secret, person=b"bp key").digest()
    salt = blake2s(bytes([cipher]), key=secret, person=b"bp salt").digest()[:4]
    following = blake2s(bytes([cipher]), key=secret, person=b"bp next").digest()
    return following, (AESGCM(key) if cipher == AES_256_GCM else ChaCha20Poly1305(key)), salt
