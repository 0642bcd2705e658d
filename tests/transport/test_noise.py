"""Noise: the published vectors, and what a forger may not do."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from identity.errors import LocalMistake, PeerMisbehaved
from transport import noise
from transport.noise import Handshake, agree_untrusted, public_key

VECTORS = Path(__file__).parents[1] / "vectors"
PUBLISHED = [
    vector
    for name in ("noise_xk.json", "noise_xx.json")
    for vector in json.loads((VECTORS / name).read_text())["vectors"]
]
PSK = b"p" * 32


def pair(pattern: str, **changed: Any) -> tuple[Handshake, Handshake]:
    """Two sides of one handshake; `initiator_...` and `responder_...` change one side's arguments."""
    dice = random.Random(1)
    keys = {"initiator": b"i" * 32, "responder": b"r" * 32}
    sides = []
    for side in ("initiator", "responder"):
        arguments: dict[str, Any] = {
            "initiator": side == "initiator",
            "prologue": b"hello",
            "static": keys[side],
            "psk": PSK if "psk" in pattern else None,
            "randbytes": dice.randbytes,
        }
        if side == "initiator" and pattern.startswith("XK"):
            arguments["remote_static"] = public_key(keys["responder"])
        arguments.update({key.removeprefix(f"{side}_"): value for key, value in changed.items() if side in key})
        sides.append(Handshake(pattern, **arguments))
    return sides[0], sides[1]


def run(left: Handshake, right: Handshake, messages: int = 3) -> None:
    for turn in range(messages):
        sender, receiver = (left, right) if turn % 2 == 0 else (right, left)
        assert receiver.read_untrusted(sender.write(b"payload")) == b"payload"


@pytest.mark.parametrize("pattern", ["XK", "XX", "XKpsk3", "XXpsk3"])
def test_three_messages_make_one_secret(pattern: str) -> None:
    left, right = pair(pattern)
    run(left, right)
    assert left.finished
    assert right.finished
    assert left.handshake_hash == right.handshake_hash
    assert left.split() == right.split()[::-1]
    assert left.split()[0] != left.split()[1]
    assert left.remote_static == public_key(b"r" * 32)
    assert right.remote_static == public_key(b"i" * 32)


@pytest.mark.parametrize("vector", PUBLISHED, ids=lambda vector: vector["protocol_name"])
def test_published_vectors(vector: dict[str, Any]) -> None:
    pattern = vector["protocol_name"].split("_")[1]
    field = {key: bytes.fromhex(value) for key, value in vector.items() if isinstance(value, str) and "_" in key[1:]
             and key != "protocol_name"}  # fmt: skip
    sides = []
    for side in ("init", "resp"):
        sides.append(
            Handshake(
                pattern,
                initiator=side == "init",
                prologue=field[f"{side}_prologue"],
                static=field[f"{side}_static"],
                remote_static=field.get(f"{side}_remote_static"),
                psk=bytes.fromhex(vector[f"{side}_psks"][0]) if f"{side}_psks" in vector else None,
                randbytes=lambda _, key=field[f"{side}_ephemeral"]: key,
            )
        )
    keys: list[tuple[bytes, bytes]] = []
    for turn, message in enumerate(vector["messages"]):
        sender, receiver = turn % 2, 1 - turn % 2
        payload, expected = bytes.fromhex(message["payload"]), bytes.fromhex(message["ciphertext"])
        if turn < 3:
            assert sides[sender].write(payload) == expected
            assert sides[receiver].read_untrusted(expected) == payload
        else:
            keys = keys or [each.split() for each in sides]
            number = sum(1 for each in range(3, turn) if each % 2 == sender)
            assert noise.open_untrusted(keys[receiver][1], number, b"", expected) == payload
            assert keys[receiver][1] == keys[sender][0]
    assert sides[0].handshake_hash == sides[1].handshake_hash == field["handshake_hash"]
    assert len(vector["messages"]) > 3


def test_the_vectors_are_those_we_speak() -> None:
    names = {vector["protocol_name"].split("_")[1] for vector in PUBLISHED}
    assert names == {"XK", "XX", "XKpsk3", "XXpsk3"}


@pytest.mark.parametrize("pattern", ["XK", "XX", "XKpsk3", "XXpsk3"])
@pytest.mark.parametrize("turn", [0, 1, 2])
def test_every_altered_byte_is_noticed_and_does_no_harm(pattern: str, turn: int) -> None:
    left, right = pair(pattern)
    run(left, right, turn)
    sender, receiver = (left, right) if turn % 2 == 0 else (right, left)
    message = sender.write(b"payload")
    clear_from_start = pattern == "XX" and turn == 0  # no key yet: the third message will fail instead
    for at in range(len(message)):
        forged = bytearray(message)
        forged[at] ^= 1
        if not clear_from_start:
            with pytest.raises(PeerMisbehaved):
                receiver.read_untrusted(bytes(forged))
    for length in range(len(message)):
        if not clear_from_start or length < 32:
            with pytest.raises(PeerMisbehaved):
                receiver.read_untrusted(message[:length])
    assert receiver.read_untrusted(message) == b"payload"
    for rest in range(turn + 1, 3):
        sender, receiver = (left, right) if rest % 2 == 0 else (right, left)
        receiver.read_untrusted(sender.write(b""))
    assert left.handshake_hash == right.handshake_hash


@pytest.mark.parametrize(
    ("changed", "pattern", "fails_at"),
    [
        ({"responder_prologue": b"other"}, "XK", 0),
        ({"responder_prologue": b"other"}, "XXpsk3", 0),
        ({"responder_prologue": b"other"}, "XX", 1),
        ({"initiator_remote_static": public_key(b"x" * 32)}, "XKpsk3", 0),
        ({"responder_psk": b"q" * 32}, "XKpsk3", 2),
        ({"responder_psk": b"q" * 32}, "XXpsk3", 2),
    ],
)
def test_what_must_be_equal(changed: dict[str, bytes], pattern: str, fails_at: int) -> None:
    left, right = pair(pattern, **changed)
    run(left, right, fails_at)
    sender, receiver = (left, right) if fails_at % 2 == 0 else (right, left)
    with pytest.raises(PeerMisbehaved):
        receiver.read_untrusted(sender.write(b""))


LOW_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]


@pytest.mark.parametrize("public", LOW_ORDER, ids=lambda key: key.hex()[:8])
def test_keys_of_low_order_are_refused(public: bytes) -> None:
    with pytest.raises(PeerMisbehaved, match="low order"):
        agree_untrusted(b"k" * 32, public)
    left, right = pair("XK")
    with pytest.raises(PeerMisbehaved, match="low order"):
        right.read_untrusted(public + bytes(16))
    run(left, right)
    left, _ = pair("XK", initiator_remote_static=public)
    with pytest.raises(PeerMisbehaved, match="low order"):
        left.write(b"")


def test_a_psk_may_come_late() -> None:
    left, right = pair("XKpsk3", responder_psk=None)
    run(left, right, 2)
    third = left.write(b"")
    right.set_psk(PSK)
    assert right.read_untrusted(third) == b""


def test_our_own_mistakes_are_named() -> None:
    left, right = pair("XKpsk3", initiator_psk=None)
    with pytest.raises(LocalMistake):
        right.write(b"")
    with pytest.raises(LocalMistake):
        left.read_untrusted(b"")
    with pytest.raises(LocalMistake):
        left.split()
    with pytest.raises(LocalMistake):
        right.remote_static  # noqa: B018
    with pytest.raises(LocalMistake):
        left.write(bytes(70_000))
    left, right = pair("XKpsk3", initiator_psk=None)
    run(left, right, 2)
    with pytest.raises(LocalMistake):
        left.write(b"")
    with pytest.raises(LocalMistake):
        pair("XK", initiator_remote_static=None)
    with pytest.raises(LocalMistake):
        pair("XX", initiator_remote_static=bytes(32))
    with pytest.raises(LocalMistake):
        public_key(b"short")
    with pytest.raises(PeerMisbehaved):
        agree_untrusted(b"k" * 32, b"short")
    left, right = pair("XK")
    run(left, right)
    with pytest.raises(LocalMistake):
        left.write(b"")
