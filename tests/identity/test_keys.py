"""Whoever can read the file is the server, so nobody else may be able to."""

from __future__ import annotations

import os
import random
import shlex
import socket
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.errors import LocalMistake, PeerMisbehaved, Refused
from identity.keys import Keys, read_keys, read_private_file, verify, verify_untrusted, write_keys

KEYS = Keys.generate(random.Random(1))
BASE_X25519 = bytes([9]) + bytes(31)


def test_what_is_written_is_read_and_signs_alike(tmp_path: Path) -> None:
    write_keys(tmp_path / "keys", KEYS)
    again = read_keys(tmp_path / "keys")
    signature = again.sign(b"message")
    assert signature == KEYS.sign(b"message")
    assert verify(KEYS.signing_public, b"message", signature)
    assert again.exchange_public == KEYS.exchange_public
    assert again.exchange_private == KEYS.exchange_private
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600


FROZEN = (
    "bangpath keys 1\n"
    "signing f5b165224a58b791df6af1d8303e61cdc4bb86c3d1c427103c344c4189eb2f1e\n"
    "exchange 7bd5d47e446fcec2a3d811736110e5781bcccea696762e6116c6e9c92d99bf35\n"
)


def test_the_text_of_a_key_file_is_frozen() -> None:
    assert KEYS.to_text() == FROZEN
    assert Keys.from_text(FROZEN).signing_public == KEYS.signing_public


def test_keys_are_the_generators_and_published_ones() -> None:
    assert Keys.generate(random.Random(1)).to_text() == KEYS.to_text()
    assert Keys.generate(random.Random(2)).signing_public != KEYS.signing_public
    # RFC 8032 7.1 test 1, and RFC 7748 6.1 Alice.
    published = Keys(
        signing_seed=bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"),
        exchange_private=bytes.fromhex("77076d0a7318a57d3c16c17251b26645db1e54fbb2e5d0d2b3bd1c5c2b2b2f6b"),
    )
    assert published.signing_public.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert published.sign(b"").hex().startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155")


@given(st.binary(max_size=64), st.integers(0, 63), st.integers(1, 255))
def test_only_the_very_bytes_and_the_very_key_verify(message: bytes, at: int, change: int) -> None:
    signature = bytearray(KEYS.sign(message))
    verify_untrusted(KEYS.signing_public, message, bytes(signature))
    signature[at] ^= change
    for public, said, signed in (
        (KEYS.signing_public, message, bytes(signature)),
        (KEYS.signing_public, message + b"x", KEYS.sign(message)),
        (KEYS.exchange_public, message, KEYS.sign(message)),
        (bytes(32), message, KEYS.sign(message)),
        (bytes(32), message, bytes(64)),
        (b"short", message, KEYS.sign(message)),
        (KEYS.signing_public, message, b"short"),
    ):
        assert not verify(public, said, signed)
        with pytest.raises(PeerMisbehaved):
            verify_untrusted(public, said, signed)


def test_private_keys_stand_in_no_report(tmp_path: Path) -> None:
    seed = KEYS.to_text().split()[4]
    assert KEYS.exchange_private.hex() not in repr(KEYS)
    assert seed not in repr(KEYS)
    path = private(tmp_path / "keys", KEYS.to_text().replace("signing", "sinning"))
    with pytest.raises(Refused) as caught:
        read_keys(path)
    assert seed not in str(caught.value)


def test_keys_of_another_length_are_our_mistake() -> None:
    with pytest.raises(LocalMistake):
        Keys(signing_seed=b"short", exchange_private=bytes(32))


def test_keys_are_never_overwritten_and_leave_nothing_beside_them(tmp_path: Path) -> None:
    write_keys(tmp_path / "keys", KEYS)
    with pytest.raises(Refused, match="never overwritten"):
        write_keys(tmp_path / "keys", Keys.generate(random.Random(2)))
    assert os.listdir(tmp_path) == ["keys"]
    assert read_keys(tmp_path / "keys").signing_public == KEYS.signing_public


def test_what_a_crash_or_an_enemy_left_beside_them_is_neither_followed_nor_kept(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("precious")
    (tmp_path / "keys.new").symlink_to(tmp_path / "elsewhere")
    write_keys(tmp_path / "keys", KEYS)
    assert (tmp_path / "elsewhere").read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "keys"]


def test_a_link_where_keys_shall_be_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "keys").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match="never overwritten"):
        write_keys(tmp_path / "keys", KEYS)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("umask", [0, 0o777])
def test_the_umask_makes_them_neither_looser_nor_useless(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_keys(tmp_path / "keys", KEYS)
    finally:
        os.umask(before)
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be written"):
        write_keys(tmp_path / "nowhere" / "keys", KEYS)


def private(path: Path, text: str) -> Path:
    path.touch(0o600)
    path.write_text(text)
    return path


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o610, 0o666, 0o777])
def test_what_others_could_touch_is_refused_with_the_command_that_mends_it(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "keys"
    write_keys(path, KEYS)
    path.chmod(mode)
    with pytest.raises(Refused, match=f"mode {mode:o}") as caught:
        read_keys(path)
    assert caught.value.next_step == f"chmod 600 {path}"
    subprocess.run(shlex.split(caught.value.next_step), check=True)
    assert read_keys(path).signing_public == KEYS.signing_public


def test_a_link_is_refused_and_the_command_makes_it_a_file(tmp_path: Path) -> None:
    write_keys(tmp_path / "real", KEYS)
    (tmp_path / "keys").symlink_to(tmp_path / "real")
    with pytest.raises(Refused, match="symbolic link") as caught:
        read_keys(tmp_path / "keys")
    subprocess.run(["/bin/sh", "-c", caught.value.next_step], check=True)
    assert read_keys(tmp_path / "keys").signing_public == KEYS.signing_public


def test_what_is_no_plain_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "folder").mkdir(0o700)
    with pytest.raises(Refused, match="no plain file"):
        read_keys(tmp_path / "fifo")
    with pytest.raises(Refused, match="no plain file"):
        read_keys(tmp_path / "folder")
    with pytest.raises(Refused, match="cannot be read: No such file"):
        read_keys(tmp_path / "none")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(tmp_path / "socket"))
        with pytest.raises(Refused, match="cannot be read"):
            read_keys(tmp_path / "socket")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_the_file_of_another_user_is_refused_with_the_command_that_mends_it(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    write_keys(path, KEYS)
    os.chown(path, 12345, -1)
    with pytest.raises(Refused, match="belongs to user 12345") as caught:
        read_keys(path)
    assert caught.value.next_step == f"chown {os.geteuid()} {path}"


def test_a_file_that_is_too_long_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="11 allowed"):
        read_private_file(private(tmp_path / "long", "x" * 12), max_bytes=11)
    assert read_private_file(private(tmp_path / "right", "x" * 11), max_bytes=11) == "x" * 11
    binary = private(tmp_path / "binary", "")
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(Refused, match="not text"):
        read_keys(binary)


RIGHT = KEYS.to_text()
WRONG = {
    "empty": "",
    "of a later version": RIGHT.replace("keys 1", "keys 2"),
    "without keys": "bangpath keys 1\n",
    "cut": RIGHT[:-2],
    "without its end": RIGHT[:-1],
    "with a line more": RIGHT + "signing 00\n",
    "with a key in capitals": RIGHT.upper(),
    "with a digit that is none": RIGHT[:30] + "g" + RIGHT[31:],
    "with spaces": RIGHT.replace("signing ", "signing  "),
    "with its lines swapped": "\n".join([(lines := RIGHT.split("\n"))[0], lines[2], lines[1], ""]),
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG.keys())
def test_a_damaged_file_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(Refused, match="keys") as caught:
        read_keys(private(tmp_path / "keys", text))
    assert "backup" in caught.value.next_step
