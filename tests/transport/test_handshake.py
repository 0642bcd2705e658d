"""Handshake: from stranger to proven peer, and everything a stranger may try."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.errors import LocalMistake, PeerMisbehaved
from transport import handshake
from transport.handshake import (
    FIRST_BYTES,
    MAX_PARAMETER_BYTES,
    XK,
    XX,
    ZERO_ID,
    ZERO_PSK,
    Gate,
    Initiator,
    Responder,
    ephemeral_of,
)  # fmt: skip
from transport.noise import public_key
from transport.packet import FIRST_XK, FIRST_XX, read_head_untrusted
from transport.sealing import AES_256_GCM, ALL_CIPHERS, CHACHA20_POLY1305, SessionKeys

CALLER, CALLED = b"i" * 32, b"r" * 32
TICKET, SECRET = b"t" * 16, b"s" * 32
HOME = ("10.0.0.1", 700)


def find_psk(psk_id: bytes) -> bytes | None:
    return {ZERO_ID: ZERO_PSK, TICKET: SECRET}.get(psk_id)


def initiator(**changed: Any) -> Initiator:
    arguments: dict[str, Any] = {
        "exchange_key": CALLER, "network": b"net", "peer_key": public_key(CALLED), "index": 11,
        "random": random.Random(1), "ciphers": ALL_CIPHERS, "parameters": b"ours",
    }  # fmt: skip
    return Initiator(**{**arguments, **changed})


def admit(first: bytes, **changed: Any) -> Responder:
    arguments: dict[str, Any] = {
        "exchange_key": CALLED, "network": b"net", "find_psk": find_psk, "index": 22, "random": random.Random(2),
        "ciphers": ALL_CIPHERS, "parameters": b"theirs",
    }  # fmt: skip
    return Responder.admit_untrusted(first, **{**arguments, **changed})


def gate(**changed: Any) -> Gate:
    return Gate(**{"exchange_key": CALLED, "network": b"net", "random": random.Random(3), **changed})


def complete(caller: Initiator, called: Responder) -> tuple[SessionKeys, SessionKeys]:
    left = caller.handle_second_untrusted(called.second)
    return left, called.handle_third_untrusted(caller.third)


@pytest.mark.parametrize("pattern", [XK, XX])
def test_three_packets_and_both_can_speak(pattern: str) -> None:
    caller = initiator(pattern=pattern)
    assert gate().mac1_is_right(caller.first())
    left, right = complete(caller, admit(caller.first()))

    assert (left.peer_key, right.peer_key) == (public_key(CALLED), public_key(CALLER))
    assert (left.peer_parameters, right.peer_parameters) == (b"theirs", b"ours")
    assert (left.send_index, left.receive_index) == (right.receive_index, right.send_index) == (22, 11)
    assert left.handshake_hash == right.handshake_hash
    assert left.cipher == right.cipher == AES_256_GCM
    assert (left.initiator, right.initiator) == (True, False)
    assert left.psk_id == right.psk_id == ZERO_ID
    assert left.version == right.version == 1
    for sending, receiving in ((left, right), (right, left)):
        out = memoryview(bytearray(200))
        end = sending.sealer().seal_into(out, 0, b"hello")
        assert receiving.opener().open_untrusted(out[:end]) == (0, b"hello")


def test_a_ticket_is_named_and_its_secret_needed() -> None:
    caller = initiator(psk_id=TICKET, psk=SECRET)
    left, right = complete(caller, admit(caller.first()))
    assert left.psk_id == right.psk_id == TICKET

    caller = initiator(psk_id=TICKET, psk=b"w" * 32)
    with pytest.raises(PeerMisbehaved):
        complete(caller, admit(caller.first()))
    with pytest.raises(PeerMisbehaved, match="unknown secret"):
        admit(initiator(psk_id=b"u" * 16).first())


def test_no_answer_is_larger_than_its_question() -> None:
    for pattern in (XK, XX):
        first = initiator(pattern=pattern).first()
        assert len(first) == FIRST_BYTES
        second = admit(first, parameters=bytes(MAX_PARAMETER_BYTES)).second
        assert len(second) < FIRST_BYTES / 3
        assert len(gate().cookie_reply(first, HOME, now=0.0)) < 100


def test_a_rotated_key_is_found_by_xx() -> None:
    rotated = b"n" * 32
    strange = initiator().first()
    assert not gate(exchange_key=rotated).mac1_is_right(strange)
    with pytest.raises(PeerMisbehaved):
        admit(strange, exchange_key=rotated)
    caller = initiator(pattern=XX)
    assert gate(exchange_key=rotated).mac1_is_right(caller.first())
    left, right = complete(caller, admit(caller.first(), exchange_key=rotated))
    assert left.peer_key == public_key(rotated)
    assert right.peer_key == public_key(CALLER)


@pytest.mark.parametrize(
    ("first", "standing"),
    [
        (initiator(peer_key=public_key(b"x" * 32)), {}),
        (initiator(pattern=XX, network=b"other"), {}),
        (initiator(pattern=XX), {"psk": b"m" * 32}),
    ],
)
def test_strangers_get_silence(first: Initiator, standing: dict[str, Any]) -> None:
    assert not gate(**standing).mac1_is_right(first.first())


def test_short_or_strange_packets_get_silence() -> None:
    first = initiator().first()
    for packet in (b"", b"\1", first[:-1], b"\x10" + first[1:], bytes(FIRST_BYTES)):
        assert not gate().mac1_is_right(packet)
    for packet in (b"", b"\1", first[:-1], b"\x03" + first[1:], bytes(FIRST_BYTES)):
        with pytest.raises(PeerMisbehaved):
            admit(packet)


def test_another_network_is_another_world() -> None:
    with pytest.raises(PeerMisbehaved):
        admit(initiator(network=b"other").first())


class TestCookies:
    def test_under_load_a_cookie_comes_first(self) -> None:
        door, caller = gate(), initiator()
        first = caller.first()
        assert not door.mac2_is_right(first, HOME, now=0.0)
        caller.handle_cookie_untrusted(door.cookie_reply(first, HOME, now=0.0))
        again = caller.first()
        assert again[:-16] == first[:-16]
        assert door.mac1_is_right(again)
        assert door.mac2_is_right(again, HOME, now=1.0)
        assert not door.mac2_is_right(again, ("10.0.0.2", 700), now=1.0)
        assert not door.mac2_is_right(again, ("10.0.0.1", 701), now=1.0)
        complete(caller, admit(again))

    @pytest.mark.parametrize("pattern", [XK, XX])
    def test_a_cookie_ages(self, pattern: str) -> None:
        door, caller = gate(), initiator(pattern=pattern)
        caller.handle_cookie_untrusted(door.cookie_reply(caller.first(), HOME, now=0.0))
        assert door.mac2_is_right(caller.first(), HOME, now=130.0)
        assert not door.mac2_is_right(caller.first(), HOME, now=250.0)
        caller.handle_cookie_untrusted(door.cookie_reply(caller.first(), HOME, now=250.0))
        assert not door.mac2_is_right(caller.first(), HOME, now=1e6)
        caller.handle_cookie_untrusted(door.cookie_reply(caller.first(), HOME, now=1e6))
        assert door.mac2_is_right(caller.first(), HOME, now=1e6 + 1)

    def test_a_forged_cookie_changes_nothing(self) -> None:
        door, caller = gate(), initiator()
        first = caller.first()
        cookie = door.cookie_reply(first, HOME, now=0.0)
        for at in range(len(cookie)):
            forged = bytearray(cookie)
            forged[at] ^= 1
            with pytest.raises(PeerMisbehaved):
                caller.handle_cookie_untrusted(bytes(forged))
        for length in range(len(cookie)):
            with pytest.raises(PeerMisbehaved):
                caller.handle_cookie_untrusted(cookie[:length])
        other = initiator(random=random.Random(5))
        with pytest.raises(PeerMisbehaved):
            other.handle_cookie_untrusted(cookie)
        assert caller.first() == first


class TestReplays:
    def test_a_first_packet_again_is_the_same_call(self) -> None:
        caller = initiator()
        one, two = admit(caller.first()), admit(caller.first(), random=random.Random(9), index=23)
        assert one.ephemeral == two.ephemeral == ephemeral_of(caller.first())
        left, right = complete(caller, one)
        with pytest.raises(PeerMisbehaved):
            two.handle_third_untrusted(caller.third)
        redirected = caller.third[:1] + (23).to_bytes(4, "big") + caller.third[5:]
        with pytest.raises(PeerMisbehaved):
            two.handle_third_untrusted(redirected)
        assert left.handshake_hash == right.handshake_hash

    def test_second_and_third_again(self) -> None:
        caller = initiator()
        called = admit(caller.first())
        complete(caller, called)
        with pytest.raises(PeerMisbehaved):
            caller.handle_second_untrusted(called.second)
        with pytest.raises(PeerMisbehaved):
            called.handle_third_untrusted(caller.third)

    def test_the_second_of_another_call(self) -> None:
        caller, earlier = initiator(random=random.Random(7)), initiator()
        old = admit(earlier.first())
        called = admit(caller.first())
        with pytest.raises(PeerMisbehaved):
            caller.handle_second_untrusted(old.second)
        complete(caller, called)


@pytest.mark.parametrize("pattern", [XK, XX])
def test_every_altered_byte_is_noticed_and_does_no_harm(pattern: str) -> None:
    caller = initiator(pattern=pattern)
    first = caller.first()
    door = gate()
    for at in range(FIRST_BYTES - 16):  # mac2 means nothing without load
        forged = first[:at] + bytes([first[at] ^ 1]) + first[at + 1 :]
        assert not door.mac1_is_right(forged)
        if at < FIRST_BYTES - 32 and (at < 100 or at % 50 == 0):
            with pytest.raises(PeerMisbehaved):
                admit(forged)
    called = admit(first)
    for packet, read in (
        (called.second, caller.handle_second_untrusted),
        (None, called.handle_third_untrusted),
    ):
        true = caller.third if packet is None else packet
        check_forgeries(true, read)
        read(true)


def check_forgeries(true: bytes, read: Callable[[bytes], SessionKeys]) -> None:
    for at in range(len(true)):
        with pytest.raises(PeerMisbehaved):
            read(true[:at] + bytes([true[at] ^ 0x40]) + true[at + 1 :])
        with pytest.raises(PeerMisbehaved):
            read(true[:at])


@pytest.mark.parametrize(
    ("ours", "theirs", "chosen"),
    [
        (ALL_CIPHERS, ALL_CIPHERS, AES_256_GCM),
        (ALL_CIPHERS, CHACHA20_POLY1305, CHACHA20_POLY1305),
        (CHACHA20_POLY1305, ALL_CIPHERS, CHACHA20_POLY1305),
        (0xFF, ALL_CIPHERS, AES_256_GCM),
    ],
)
def test_the_best_cipher_that_both_have(ours: int, theirs: int, chosen: int) -> None:
    caller = initiator(ciphers=ours)
    left, right = complete(caller, admit(caller.first(), ciphers=theirs))
    assert left.cipher == right.cipher == chosen


def test_nothing_in_common(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PeerMisbehaved, match="ciphers"):
        admit(initiator(ciphers=AES_256_GCM).first(), ciphers=CHACHA20_POLY1305)
    first = initiator().first()
    monkeypatch.setattr(handshake, "VERSION", 3)
    monkeypatch.setattr(handshake, "OLDEST_VERSION", 2)
    with pytest.raises(PeerMisbehaved, match="versions 1-1"):
        admit(first)


def test_what_was_not_offered_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A responder that chooses freely: authentic, and refused all the same."""
    for cipher in (AES_256_GCM, 3, 0, 4):
        caller = initiator(ciphers=CHACHA20_POLY1305)
        monkeypatch.setattr(handshake, "choose_cipher", lambda *_, chosen=cipher: chosen)
        called = admit(caller.first())
        monkeypatch.undo()
        with pytest.raises(PeerMisbehaved, match="not offered"):
            caller.handle_second_untrusted(called.second)
        with pytest.raises(PeerMisbehaved):
            caller.handle_second_untrusted(called.second)


def test_malformed_but_authentic(monkeypatch: pytest.MonkeyPatch) -> None:
    caller = initiator()
    called = admit(caller.first())
    for payload in (b"", bytes(8), handshake._CHOICE.pack(1, 1, 2, 5) + b"four"):
        caller = initiator()
        admitted = admit(caller.first())
        caller._noise.read_untrusted = lambda _, told=payload: told  # type: ignore[method-assign]
        with pytest.raises(PeerMisbehaved):
            caller.handle_second_untrusted(admitted.second)
    for payload in (b"", b"\0", b"\0\5four", b"\1\1" + bytes(257)):
        called = admit(initiator().first())
        called._noise.read_untrusted = lambda _, told=payload: told  # type: ignore[method-assign]
        with pytest.raises(PeerMisbehaved):
            called.handle_third_untrusted(b"\4" + (22).to_bytes(4, "big") + bytes(80))
    caller = initiator()
    monkeypatch.setattr(handshake.noise.Handshake, "read_untrusted", lambda *_: b"short")
    with pytest.raises(PeerMisbehaved, match="cut off"):
        admit(caller.first())


def test_xx_knows_no_tickets() -> None:
    with pytest.raises(LocalMistake):
        initiator(pattern=XX, psk_id=TICKET)


def test_the_type_tells_the_pattern_and_the_index_whom_to_answer() -> None:
    assert read_head_untrusted(initiator().first()) == (FIRST_XK, 11)
    assert read_head_untrusted(initiator(pattern=XX).first()) == (FIRST_XX, 11)


def test_a_ticket_inside_xx_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake, "ZERO_ID", TICKET)
    first = initiator(pattern=XX, psk_id=TICKET).first()
    monkeypatch.undo()
    with pytest.raises(PeerMisbehaved, match="unknown secret"):
        admit(first)


def test_our_own_mistakes_are_named() -> None:
    with pytest.raises(LocalMistake):
        initiator(parameters=bytes(MAX_PARAMETER_BYTES + 1))
    with pytest.raises(LocalMistake):
        admit(initiator().first(), parameters=bytes(MAX_PARAMETER_BYTES + 1))
    with pytest.raises(PeerMisbehaved, match="low order"):
        initiator(peer_key=bytes(32))
    assert len(Initiator(exchange_key=CALLER, network=b"", peer_key=public_key(CALLED), index=1,
                         random=random.Random(1)).first()) == FIRST_BYTES  # fmt: skip


@given(
    st.binary(max_size=1400), st.sampled_from([b"", b"\1", b"\2", b"\3\0\0\0\x0b", b"\4\0\0\0\x16", b"\5\0\0\0\x0b"])
)
def test_random_bytes_raise_nothing_else(noise: bytes, head: bytes) -> None:
    packet = head + noise
    caller = initiator()
    called = admit(caller.first())
    assert not gate().mac1_is_right(packet)
    for read in (admit, caller.handle_second_untrusted, caller.handle_cookie_untrusted, called.handle_third_untrusted):
        with pytest.raises(PeerMisbehaved):
            read(packet)
    complete(caller, called)
