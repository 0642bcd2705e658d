"""Three packets from stranger to proven peer, and a cookie when there are too many strangers (DESIGN X1, version 1).

    first      | 1 XK or 2 XX | initiator's index u32 | e 32 | sealed offer, padded | mac1 16 | mac2 16 |  1200 bytes
        offer  psk id 16 | lowest version u16 | highest version u16 | ciphers u8 | zeros; what follows later is ignored
    second     | 3 | initiator's index u32 | e 32 | sealed choice |        XX: e 32, s 48, sealed choice
        choice responder's index u32 | version u16 | cipher u8 | length u16 | parameters
    third      | 4 | responder's index u32 | s 48 | sealed parameters: length u16 | parameters |
    cookie     | 5 | initiator's index u32 | nonce 24 | sealed cookie 32 |

        initiator                      responder
        first  ------------------->    mac1 wrong: silence.  Too many, and mac2 wrong:
               <-------------------    cookie; nothing is remembered
        first  ------------------->    now with mac2
               <-------------------    second
        third  ------------------->    both have SessionKeys

Noise XKpsk3, or XXpsk3 when the responder's key is not the one we knew (`transport.noise`). The prologue is the
protocol's name, the network's id and the first five bytes of the first packet, so all of these are agreed too.

- **Strangers get silence.** mac1 is keyed by the responder's public key, and for XX, where that key is just what the
  initiator does not know, by the network and the mesh's secret. Who knows neither cannot tell that anybody is here.
- **No answer is larger than what asked for it**: a first packet has 1200 bytes, second and cookie less than a third.
- **A flood costs a hash each.** Under load (the endpoint judges that) a first packet without mac2 gets a cookie: the
  MAC of its address under a secret that changes every two minutes. Mac2, keyed by it, proves that its sender receives
  at that address. Until then nobody is remembered, and no key agreement is computed.
- **Replay.** A first packet that comes again makes no second session: its sender needs the private ephemeral key of
  the first time to make a third, and the third is bound to the responder's fresh ephemeral key, so an old third fits
  no other handshake. A time stamp per peer, as WireGuard has it, is therefore not needed (there the responder is done
  after the first packet). Half-open handshakes are kept by `ephemeral_of`, so a replay does not even take a place.
- **Downgrade.** Versions and ciphers are offered and chosen inside the transcript: whoever alters either makes the
  next packet fail to open.
- **Forgeries do no harm.** A packet that does not open changes nothing; the true one is still awaited.
- **Low-order keys** are refused by `transport.noise`.

Left to `transport.endpoint`: retries and time-outs, how many half-open handshakes there may be, and when load begins.
Left to the session's first messages: who the proven key belongs to.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from hashlib import blake2s
from hmac import compare_digest
from struct import Struct
from typing import TYPE_CHECKING

import nacl.bindings
import nacl.exceptions

from identity.errors import LocalMistake, PeerMisbehaved
from transport import noise
from transport.packet import COOKIE, FIRST_XK, FIRST_XX, SECOND, THIRD, VERSION
from transport.sealing import SessionKeys, choose_cipher, preferred_ciphers

if TYPE_CHECKING:
    import random

XK, XX = "XK", "XX"
ZERO_ID = bytes(16)  # names the mesh's secret; any other psk id is a ticket's
ZERO_PSK = bytes(32)  # the secret of an open mesh

FIRST_BYTES = 1200  # what every path carries (RFC 9000, section 14)
MAX_PARAMETER_BYTES = 256
COOKIE_S = 120.0  # a cookie is good for this long to twice as long (WireGuard, section 5.4.7)
OLDEST_VERSION = VERSION

_HEAD = Struct(">BI")
_OFFER = Struct(">16sHHB")
_CHOICE = Struct(">IHBH")
_LENGTH = Struct(">H")
_MAC_BYTES = 16
_NONCE_BYTES = 24
_PROTOCOL = b"bangpath transport 1\0"


class Gate:
    """What stands before the handshake: who may make us compute anything at all. One for each endpoint."""

    def __init__(self, *, exchange_key: bytes, network: bytes, psk: bytes = ZERO_PSK, random: random.Random) -> None:
        """`psk` is the mesh's secret. The cookie secrets come from `random`."""
        self._by_type = {
            FIRST_XK: _Macs.of_key(noise.public_key(exchange_key)),
            FIRST_XX: _Macs.of_mesh(network, psk),
        }
        self._random = random
        self._secrets = (random.randbytes(32), random.randbytes(32))  # the current and the one before
        self._changes_at: float | None = None

    def mac1_is_right(self, packet: bytes | memoryview) -> bool:
        """Whether a first packet comes from somebody who knows whom they are calling. If not: silence."""
        packet = bytes(packet)
        macs = self._by_type.get(packet[0]) if len(packet) >= FIRST_BYTES else None
        if macs is None:
            return False
        body, mac1 = packet[: -2 * _MAC_BYTES], packet[-2 * _MAC_BYTES : -_MAC_BYTES]
        return compare_digest(macs.mac1(body), mac1)

    def mac2_is_right(self, packet: bytes | memoryview, address: tuple[str, int], now: float) -> bool:
        """Whether the sender of a first packet has had a cookie of ours at `address` in the last minutes."""
        packet = bytes(packet)
        self._change_secrets(now)
        body, mac2 = packet[:-_MAC_BYTES], packet[-_MAC_BYTES:]
        return any(compare_digest(_mac2(_cookie(secret, address), body), mac2) for secret in self._secrets)

    def cookie_reply(self, packet: bytes | memoryview, address: tuple[str, int], now: float) -> bytes:
        """The answer under load to a first packet whose mac1 is right. Nothing is remembered."""
        packet = bytes(packet)
        self._change_secrets(now)
        kind, index = _HEAD.unpack_from(packet)
        nonce = self._random.randbytes(_NONCE_BYTES)
        mac1 = packet[-2 * _MAC_BYTES : -_MAC_BYTES]
        sealed = nacl.bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
            _cookie(self._secrets[0], address), mac1, nonce, self._by_type[kind].cookie_key
        )
        return _HEAD.pack(COOKIE, index) + nonce + sealed

    def _change_secrets(self, now: float) -> None:
        if self._changes_at is None:
            self._changes_at = now + COOKIE_S
        while now >= self._changes_at:
            self._secrets = (self._random.randbytes(32), self._secrets[0])
            # After a long silence two changes make both secrets new; more would be the same.
            self._changes_at = max(self._changes_at + COOKIE_S, now - COOKIE_S)


class Initiator:
    """Our side of a call: `first`, perhaps a cookie, `handle_second_untrusted`, then `third`."""

    third: bytes  # there once `handle_second_untrusted` has returned

    def __init__(
        self,
        *,
        exchange_key: bytes,
        network: bytes,
        peer_key: bytes,
        psk_id: bytes = ZERO_ID,
        psk: bytes = ZERO_PSK,
        index: int,
        random: random.Random,
        ciphers: int | None = None,
        parameters: bytes = b"",
        pattern: str = XK,
    ) -> None:
        """`exchange_key` is our private key, `peer_key` the public key we expect (of XX: any will do).

        Raises `PeerMisbehaved` for a `peer_key` of low order, `LocalMistake` for arguments that make no sense.
        """
        if pattern == XX and psk_id != ZERO_ID:
            raise LocalMistake("XX is for peers of the mesh only: a ticket names the key to call")
        _check_parameters(parameters)
        self._index = index
        self._psk_id = psk_id
        self._ciphers = preferred_ciphers() if ciphers is None else ciphers
        self._parameters = parameters
        head = _HEAD.pack(FIRST_XK if pattern == XK else FIRST_XX, index)
        self._macs = _Macs.of_key(peer_key) if pattern == XK else _Macs.of_mesh(network, psk)
        self._noise = noise.Handshake(
            f"{pattern}psk3",
            initiator=True,
            prologue=_prologue(network, head),
            static=exchange_key,
            remote_static=peer_key if pattern == XK else None,
            psk=psk,
            randbytes=random.randbytes,
        )
        offer = _OFFER.pack(psk_id, OLDEST_VERSION, VERSION, self._ciphers)
        room = FIRST_BYTES - len(head) - noise.KEY_BYTES - noise.TAG_BYTES - 2 * _MAC_BYTES
        body = head + self._noise.write(offer.ljust(room, b"\0"))
        self._body = body + self._macs.mac1(body)
        self._mac2 = bytes(_MAC_BYTES)
        self._waits = True  # for the second packet

    def first(self) -> bytes:
        """The first packet: the same bytes at every call, but for mac2 once a cookie has come."""
        return self._body + self._mac2

    def handle_cookie_untrusted(self, packet: bytes | memoryview) -> None:
        """The responder is under load: `first` carries its cookie from now on. Raises `PeerMisbehaved`."""
        packet = bytes(packet)
        kind, index = _head_untrusted(packet)
        if kind != COOKIE or index != self._index or len(packet) != _HEAD.size + _NONCE_BYTES + 2 * _MAC_BYTES:
            raise PeerMisbehaved("no cookie of the length and for the call it should be")
        nonce, sealed = packet[_HEAD.size :][:_NONCE_BYTES], packet[_HEAD.size + _NONCE_BYTES :]
        mac1 = self._body[-_MAC_BYTES:]
        try:
            cookie = nacl.bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
                sealed, mac1, nonce, self._macs.cookie_key
            )
        except nacl.exceptions.CryptoError as error:
            raise PeerMisbehaved("a cookie that does not open") from error
        self._mac2 = _mac2(cookie, self._body)

    def handle_second_untrusted(self, packet: bytes | memoryview) -> SessionKeys:
        """The responder has proven its key. Send `third` now, and again until a packet of the session has opened.

        Raises `PeerMisbehaved`; the call can go on unless the packet was authentic.
        """
        packet = bytes(packet)
        kind, index = _head_untrusted(packet)
        if kind != SECOND or index != self._index or not self._waits:
            raise PeerMisbehaved("a second packet that nobody waits for")
        choice = self._noise.read_untrusted(packet[_HEAD.size :])
        self._waits = False  # whatever follows, no other second packet can fit
        if len(choice) < _CHOICE.size:
            raise PeerMisbehaved("a choice that is cut off")
        peer_index, version, cipher, length = _CHOICE.unpack_from(choice)
        if not OLDEST_VERSION <= version <= VERSION or choose_cipher(self._ciphers, cipher) != cipher:
            raise PeerMisbehaved(f"version {version} and cipher {cipher} were chosen, and not offered")
        parameters = _parameters_untrusted(choice[_CHOICE.size :], length)
        message = self._noise.write(_LENGTH.pack(len(self._parameters)) + self._parameters)
        self.third = _HEAD.pack(THIRD, peer_index) + message
        return _session(
            self._noise, send_index=peer_index, receive_index=self._index, psk_id=self._psk_id, cipher=cipher,
            version=version, initiator=True, parameters=parameters,
        )  # fmt: skip


class Responder:
    """Our side of being called: made from a first packet, gives `second`, then `handle_third_untrusted`."""

    def __init__(self, *, state: noise.Handshake, second: bytes, first: bytes, index: int, psk_id: bytes,
                 cipher: int, version: int) -> None:  # fmt: skip
        """Use `admit_untrusted`."""
        self.second = second
        self.ephemeral = ephemeral_of(first)
        self.psk_id = psk_id
        self._peer_index = _HEAD.unpack_from(first)[1]
        self._noise = state
        self._index = index
        self._cipher = cipher
        self._version = version
        self._waits = True  # for the third packet

    @classmethod
    def admit_untrusted(
        cls,
        packet: bytes | memoryview,
        *,
        exchange_key: bytes,
        network: bytes,
        find_psk: Callable[[bytes], bytes | None],
        index: int,
        random: random.Random,
        ciphers: int | None = None,
        parameters: bytes = b"",
    ) -> Responder:
        """Answer a first packet that passed the gate. `find_psk` gives the secret of a psk id, or None.

        Raises `PeerMisbehaved` when it does not open, names an unknown psk, or has no version or cipher in common.
        """
        _check_parameters(parameters)
        packet = bytes(packet)
        kind, _ = _head_untrusted(packet)
        if kind not in (FIRST_XK, FIRST_XX) or len(packet) < FIRST_BYTES:
            raise PeerMisbehaved(f"a first packet of type {kind} and {len(packet)} bytes")
        state = noise.Handshake(
            "XKpsk3" if kind == FIRST_XK else "XXpsk3",
            initiator=False,
            prologue=_prologue(network, packet[: _HEAD.size]),
            static=exchange_key,
            randbytes=random.randbytes,
        )
        offer = state.read_untrusted(packet[_HEAD.size : -2 * _MAC_BYTES])
        if len(offer) < _OFFER.size:
            raise PeerMisbehaved("an offer that is cut off")
        psk_id, lowest, highest, offered = _OFFER.unpack_from(offer)
        psk = find_psk(psk_id)
        if psk is None or (kind == FIRST_XX and psk_id != ZERO_ID):
            raise PeerMisbehaved(f"a call under the unknown secret {psk_id.hex()}")
        ours = preferred_ciphers() if ciphers is None else ciphers
        version, cipher = min(highest, VERSION), choose_cipher(ours, offered)
        if version < max(lowest, OLDEST_VERSION) or cipher is None:
            raise PeerMisbehaved(
                f"a call with versions {lowest}-{highest} and ciphers {offered}; here are versions "
                f"{OLDEST_VERSION}-{VERSION} and ciphers {ours}"
            )
        state.set_psk(psk)
        choice = _CHOICE.pack(index, version, cipher, len(parameters)) + parameters
        second = _HEAD.pack(SECOND, _HEAD.unpack_from(packet)[1]) + state.write(choice)
        return cls(state=state, second=second, first=packet, index=index, psk_id=psk_id, cipher=cipher, version=version)

    def handle_third_untrusted(self, packet: bytes | memoryview) -> SessionKeys:
        """The initiator has proven its key and the psk. Raises `PeerMisbehaved`; the true third may still come."""
        packet = bytes(packet)
        kind, index = _head_untrusted(packet)
        if kind != THIRD or index != self._index or not self._waits:
            raise PeerMisbehaved("a third packet that nobody waits for")
        told = self._noise.read_untrusted(packet[_HEAD.size :])
        self._waits = False
        if len(told) < _LENGTH.size:
            raise PeerMisbehaved("parameters that are cut off")
        parameters = _parameters_untrusted(told[_LENGTH.size :], _LENGTH.unpack_from(told)[0])
        return _session(
            self._noise, send_index=self._peer_index, receive_index=self._index, psk_id=self.psk_id,
            cipher=self._cipher, version=self._version, initiator=False, parameters=parameters,
        )  # fmt: skip


def ephemeral_of(packet: bytes | memoryview) -> bytes:
    """The ephemeral key in a first packet, which names the call: a packet sent again has the same."""
    return bytes(packet[_HEAD.size : _HEAD.size + noise.KEY_BYTES])


class _Macs:
    """The keys of mac1 and of cookies, both made from what the initiator must know beforehand."""

    def __init__(self, known: bytes) -> None:
        self._mac1_key = blake2s(known, person=b"bp mac1").digest()
        self.cookie_key = blake2s(known, person=b"bp cook").digest()

    @classmethod
    def of_key(cls, responder_key: bytes) -> _Macs:
        return cls(b"XK" + responder_key)

    @classmethod
    def of_mesh(cls, network: bytes, psk: bytes) -> _Macs:
        return cls(b"XX" + psk + network)

    def mac1(self, body: bytes) -> bytes:
        return blake2s(body, key=self._mac1_key, digest_size=_MAC_BYTES).digest()


def _mac2(cookie: bytes, body: bytes) -> bytes:
    return blake2s(body, key=cookie, digest_size=_MAC_BYTES).digest()


def _cookie(secret: bytes, address: tuple[str, int]) -> bytes:
    return blake2s(f"{address[0]} {address[1]}".encode(), key=secret, digest_size=_MAC_BYTES).digest()


def _prologue(network: bytes, head: bytes) -> bytes:
    return _PROTOCOL + _LENGTH.pack(len(network)) + network + head


def _head_untrusted(packet: bytes) -> tuple[int, int]:
    try:
        kind, index = _HEAD.unpack_from(packet)
    except struct.error as error:
        raise PeerMisbehaved(f"a handshake packet of {len(packet)} bytes") from error
    return kind, index


def _check_parameters(parameters: bytes) -> None:
    if len(parameters) > MAX_PARAMETER_BYTES:
        raise LocalMistake(f"{len(parameters)} bytes of parameters, {MAX_PARAMETER_BYTES} allowed")


def _parameters_untrusted(data: bytes, length: int) -> bytes:
    if length > min(len(data), MAX_PARAMETER_BYTES):
        raise PeerMisbehaved(f"parameters of {length} bytes, {len(data)} there, {MAX_PARAMETER_BYTES} allowed")
    return data[:length]


def _session(state: noise.Handshake, *, send_index: int, receive_index: int, psk_id: bytes, cipher: int, version: int,
             initiator: bool, parameters: bytes) -> SessionKeys:  # fmt: skip
    send, receive = state.split()
    return SessionKeys(
        send=send, receive=receive, send_index=send_index, receive_index=receive_index, peer_key=state.remote_static,
        psk_id=psk_id, handshake_hash=state.handshake_hash, cipher=cipher, version=version, initiator=initiator,
        peer_parameters=parameters,
    )  # fmt: skip
