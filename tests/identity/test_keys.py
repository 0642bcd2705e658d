"""Whoever can read the file is the server, so nobody else may be able to."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from identity.errors import Refused
from identity.keys import Keys, read_keys, verify, write_keys


def test_what_is_written_is_read_and_signs_alike(tmp_path: Path) -> None:
    keys = Keys.generate(random.Random(1))
    write_keys(tmp_path / "keys", keys)
    again = read_keys(tmp_path / "keys")
    signature = again.sign(b"message")
    assert verify(keys.signing_public, b"message", signature)
    assert not verify(keys.signing_public, b"another", signature)
    assert not verify(b"short", b"message", signature)
    assert not verify(keys.signing_public, b"message", b"short")
    assert again.exchange_public == keys.exchange_public
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600
    assert keys.exchange_private.hex() not in repr(keys)


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    write_keys(tmp_path / "keys", Keys.generate(random.Random(1)))
    with pytest.raises(Refused, match="never overwritten"):
        write_keys(tmp_path / "keys", Keys.generate(random.Random(2)))
    assert os.listdir(tmp_path) == ["keys"]


def test_a_file_that_others_could_read_is_refused_with_what_mends_it(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    write_keys(path, Keys.generate(random.Random(1)))
    path.chmod(0o640)
    with pytest.raises(Refused, match="chmod 600"):
        read_keys(path)
    path.chmod(0o600)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(Refused, match="symbolic link"):
        read_keys(tmp_path / "link")
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(Refused, match="no plain file"):
        read_keys(tmp_path / "fifo")
    with pytest.raises(Refused, match="cannot be read"):
        read_keys(tmp_path / "none")


WRONG = [
    "",
    "bangpath keys 2\n",
    *(f"bangpath keys 1\nsigning {rest}" for rest in ("00\n", "zz\n", "00\nexchange 00\n")),
]


@pytest.mark.parametrize("text", WRONG)
def test_a_damaged_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys"
    path.touch(0o600)
    path.write_text(text)
    with pytest.raises(Refused):
        read_keys(path)
