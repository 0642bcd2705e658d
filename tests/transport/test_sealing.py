"""Sealing: what is sealed opens, once, and only for whom it was sealed."""

from __future__ import annotations

import json
import random
from pathlib import Path

import nacl.bindings
import nacl.exceptions
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.errors import Exhausted, LocalMistake
from transport import sealing
from transport.packet import HEADER_BYTES, OVERHEAD_BYTES
from transport.ranges import Ranges
from transport.sealing import (
    AES_256_GCM,
    ALL_CIPHERS,
    CHACHA20_POLY1305,
    MAX_INTERVALS,
    MAX_PACKETS,
    Opener,
    Sealer,
    choose_cipher,
    preferred_ciphers,
)

FROZEN = json.loads((Path(__file__).parents[1] / "vectors" / "packets.json").read_text())
SECRET = bytes(range(32))
BOTH = pytest.mark.parametrize("cipher", [CHACHA20_POLY1305, AES_256_GCM])


def pair(cipher: int = AES_256_GCM) -> tuple[Sealer, Opener]:
    return Sealer(SECRET, cipher, 7), Opener(SECRET, cipher, 7)


def seal(sealer: Sealer, plaintext: bytes = b"frames") -> memoryview:
    out = memoryview(bytearray(len(plaintext) + OVERHEAD_BYTES))
    assert sealer.seal_into(out, 0, plaintext) == len(out)
    return out


@BOTH
def test_what_is_sealed_opens_once(cipher: int) -> None:
    sealer, opener = pair(cipher)
    one, two = seal(sealer, b"one"), seal(sealer, b"two")
    assert opener.open_untrusted(two) == (1, b"two")
    assert opener.open_untrusted(one) == (0, b"one")
    assert opener.open_untrusted(one) is None
    assert opener.open_untrusted(two) is None
    assert opener.received == Ranges([(0, 1)])
    assert (opener.replayed, opener.forged) == (2, 0)


@BOTH
def test_packets_follow_one_another_in_a_batch(cipher: int) -> None:
    sealer, opener = pair(cipher)
    out = memoryview(bytearray(3 * 100))
    at = 0
    for _ in range(3):
        at = sealer.seal_into(out, at, memoryview(bytes(100 - OVERHEAD_BYTES)))
    assert at == 300
    assert [opener.open_untrusted(out[place : place + 100])[0] for place in (0, 100, 200)] == [0, 1, 2]  # type: ignore[index]


@BOTH
def test_every_altered_byte_is_noticed_and_does_no_harm(cipher: int) -> None:
    sealer, opener = pair(cipher)
    true = bytes(seal(sealer))
    for at in range(len(true)):
        assert opener.open_untrusted(memoryview(true[:at] + bytes([true[at] ^ 1]) + true[at + 1 :])) is None
        assert opener.open_untrusted(memoryview(true[:at])) is None
    assert opener.forged == 2 * len(true)
    assert not opener.received
    assert opener.open_untrusted(memoryview(true)) == (0, b"frames")


def test_only_for_whom_it_was_sealed() -> None:
    sealer, _ = pair()
    packet = seal(sealer)
    for stranger in (
        Opener(b"x" * 32, AES_256_GCM, 7),
        Opener(SECRET, CHACHA20_POLY1305, 7),
        Opener(SECRET, AES_256_GCM, 8),
    ):
        assert stranger.open_untrusted(packet) is None


@given(st.binary(max_size=100), st.booleans())
def test_random_bytes_never_raise(noise: bytes, with_head: bool) -> None:
    _, opener = pair()
    assert opener.open_untrusted(memoryview((b"\x10\0\0\0\7" if with_head else b"") + noise)) is None


@given(st.lists(st.integers(0, 30), max_size=80))
def test_whatever_the_order_each_number_opens_once(order: list[int]) -> None:
    sealer, opener = pair()
    packets = [seal(sealer) for _ in range(31)]
    opened = [number for number in order if opener.open_untrusted(packets[number]) is not None]
    assert opened == list(dict.fromkeys(order))
    assert opener.received == Ranges((number, number) for number in order)


def test_forgetting_raises_the_floor() -> None:
    sealer, opener = pair()
    packets = [seal(sealer) for _ in range(10)]
    for number in (0, 5):
        opener.open_untrusted(packets[number])
    opener.forget_below(5)
    opener.forget_below(2)
    assert opener.floor == 5
    assert opener.received == Ranges([(5, 5)])
    assert opener.open_untrusted(packets[3]) is None
    opener.forget_below(8)
    assert not opener.received
    assert opener.open_untrusted(packets[6]) is None
    assert opener.open_untrusted(packets[8]) == (8, b"frames")


def test_the_window_is_wide_and_bounded() -> None:
    sealer, opener = pair()
    packets = []
    for _ in range(2 * MAX_INTERVALS + 10):
        packets.append(seal(sealer, b""))
        sealer.skip(1)
    for packet in packets:
        assert opener.open_untrusted(packet) is not None
    assert len(opener.received) == MAX_INTERVALS
    top = opener.received.highest or 0
    assert 0 < opener.floor <= top - 8190
    for packet in packets:
        assert opener.open_untrusted(packet) is None
    assert opener.replayed == len(packets)


@BOTH
def test_keys_change_by_packet_number(cipher: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "KEY_PACKETS_BITS", 2)
    sealer, opener = pair(cipher)
    packets = [seal(sealer, bytes([number])) for number in range(40)]
    order = random.Random(1)
    shuffled = sorted(range(40), key=lambda number: number + order.uniform(0, 4))  # overtaking, within a key or two
    assert [opener.open_untrusted(packets[number]) for number in shuffled] == [
        (number, bytes([number])) for number in shuffled
    ]
    assert opener.received == Ranges([(0, 39)])
    assert len(opener._keys) <= 3


def test_one_key_ahead_and_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "KEY_PACKETS_BITS", 2)
    sealer, opener = pair()
    packets = [seal(sealer) for _ in range(20)]
    assert opener.open_untrusted(packets[8]) is None  # a jump over a whole key: nobody sends so
    forged = bytearray(packets[4])
    forged[-1] ^= 1
    assert opener.open_untrusted(memoryview(bytes(forged))) is None
    assert opener.open_untrusted(packets[0]) is not None  # a forgery does not move the key on
    assert opener.open_untrusted(packets[5]) is not None
    assert opener.open_untrusted(packets[1]) is not None  # overtaken: the key before is kept
    assert opener.open_untrusted(packets[9]) is not None
    assert opener.open_untrusted(packets[2]) is None  # two keys ago: forgotten for good
    assert opener.open_untrusted(packets[4]) is not None


def test_keys_and_salts_all_differ() -> None:
    seen = set()
    for cipher in (CHACHA20_POLY1305, AES_256_GCM):
        secret = SECRET
        for _ in range(5):
            following, aead, salt = sealing._derive(secret, cipher)
            out = memoryview(bytearray(16))
            aead.encrypt_into(bytes(12), b"", b"", out)
            seen |= {secret if secret != SECRET else bytes([cipher]), salt, bytes(out)}
            secret = following
    assert len(seen) == 30


def test_a_session_has_an_end() -> None:
    sealer, opener = pair()
    sealer.next_number = MAX_PACKETS
    with pytest.raises(Exhausted, match="shake hands again"):
        seal(sealer)
    opener._generation = (MAX_PACKETS >> sealing.KEY_PACKETS_BITS) - 1
    beyond = b"\x10\0\0\0\7" + MAX_PACKETS.to_bytes(8, "big") + bytes(16)
    assert opener.open_untrusted(memoryview(beyond)) is None
    _, opener = pair()
    opener.forged = sealing.MAX_FORGED + 1
    sealer, _ = pair()
    assert opener.open_untrusted(seal(sealer)) is None


def test_a_number_is_used_up_even_when_there_was_no_room() -> None:
    sealer, opener = pair()
    for room in (0, 10, HEADER_BYTES, OVERHEAD_BYTES):
        with pytest.raises(LocalMistake, match="does not fit"):
            sealer.seal_into(memoryview(bytearray(room)), 0, b"frames")
    assert sealer.next_number == 4
    assert opener.open_untrusted(seal(sealer)) == (4, b"frames")


def test_skipping_leaves_a_gap() -> None:
    sealer, opener = pair()
    seal(sealer)
    sealer.skip(2)
    assert opener.open_untrusted(seal(sealer)) == (3, b"frames")


def test_choosing_a_cipher(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_cipher(ALL_CIPHERS, ALL_CIPHERS) == AES_256_GCM
    assert choose_cipher(ALL_CIPHERS, CHACHA20_POLY1305) == CHACHA20_POLY1305
    assert choose_cipher(0xFF, 0xFC) is None
    assert choose_cipher(AES_256_GCM, CHACHA20_POLY1305) is None
    assert preferred_ciphers() & CHACHA20_POLY1305

    def unavailable(*_: object) -> bytes:
        raise nacl.exceptions.UnavailableError

    monkeypatch.setattr(nacl.bindings, "crypto_aead_aes256gcm_encrypt", unavailable)
    assert preferred_ciphers() == CHACHA20_POLY1305
    monkeypatch.setattr(nacl.bindings, "crypto_aead_aes256gcm_encrypt", lambda *_: b"")
    assert preferred_ciphers() == ALL_CIPHERS


@pytest.mark.parametrize("name", ["sealed ChaCha20-Poly1305", "sealed AES-256-GCM"])
def test_frozen_bytes(name: str) -> None:
    cipher = CHACHA20_POLY1305 if "ChaCha" in name else AES_256_GCM
    for number, key in ((0, "number 0"), (2**22, "number 2^22")):
        sealer = Sealer(SECRET, cipher, 7)
        sealer.skip(number)
        assert seal(sealer, b"\x05").hex() == FROZEN["packets"][name][key]


def test_a_whole_buffer_opens_as_each_packet_alone() -> None:
    """Runs, gaps, replays, forgeries and short packets, in any mixture: the same result, the same memory of it."""
    for seed in range(60):
        chance = random.Random(seed)
        secret, out = chance.randbytes(32), memoryview(bytearray(64_000))
        sealer = Sealer(secret, AES_256_GCM, 7)
        packets = []
        for _ in range(40):
            end = sealer.seal_into(out, 0, chance.randbytes(100))
            packets.append(bytes(out[:end]))
        if chance.random() < 0.5:
            del packets[chance.randrange(40)]
        if chance.random() < 0.5:
            packets.insert(chance.randrange(len(packets)), packets[chance.randrange(len(packets))])
        for _ in range(chance.randrange(3)):
            at = chance.randrange(len(packets))
            packets[at] = packets[at][:60] + bytes([packets[at][60] ^ 1]) + packets[at][61:]
        if chance.random() < 0.3:
            chance.shuffle(packets)
        if chance.random() < 0.5:
            packets[-1] = packets[-1][: chance.randrange(len(packets[-1]))]
        whole, single = Opener(secret, AES_256_GCM, 7), Opener(secret, AES_256_GCM, 7)
        buffer = memoryview(b"".join(packets))
        expected = [one for each in packets if (one := single.open_untrusted(memoryview(each))) is not None]
        assert whole.open_all_untrusted(buffer, len(packets[0])) == expected
        assert whole.received == single.received
        assert whole.replayed == single.replayed
