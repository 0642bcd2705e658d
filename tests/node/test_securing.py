"""An encrypted server, as people make, run, back up and rekey one; no secret ever stands on a command line."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import trio

from identity.names import ServerId
from node import secrets
from node.cli.main import run
from node.http.serve import serve_http
from node.opening import create_root, open_node
from store.definitions import ClassDefinition, Field

NOTE = ClassDefinition(name="Note", fields=(Field(name="text", index=True),))
MARKER = "xyzzy-marker"


@pytest.fixture(autouse=True)
def nobody_says_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("BANGPATH_"):
            monkeypatch.delenv(name)


def key_file(path: Path, digits: str) -> str:
    path.write_text(digits * 32 + "\n")
    path.chmod(0o600)
    return str(path)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return captured.out + captured.err


async def test_a_server_that_is_encrypted_and_its_backup(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, target = tmp_path / "1", tmp_path / "backup"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("BANGPATH_KEY_FILE", key_file(tmp_path / "key", "ab"))
    assert run(["-C", str(home), "init", "1", "--encrypt"]) == 0
    async with open_node(home, log=lambda event: None, key=tmp_path / "key") as node, serve_http(node, home):
        await node.define(NOTE)
        await node.create("Note", {"text": MARKER})
        for words in (["-C", str(home), "backup", str(target)], ["-C", str(home), "check"]):
            assert await trio.to_thread.run_sync(run, words) == 0, said(capsys)
    for directory in (home, target):
        files = [path for path in directory.rglob("*") if path.is_file()]
        assert not [path for path in files if MARKER.encode() in path.read_bytes()]
    server_keys = (home / "keys").read_bytes()
    assert not [path for path in target.iterdir() if server_keys[20:80] in path.read_bytes()]
    assert run(["check", str(home), "--json"]) == 0
    shutil.rmtree(home)
    monkeypatch.delenv("BANGPATH_KEY_FILE")
    capsys.readouterr()
    words = ["restore", str(target), str(home)]
    assert await trio.to_thread.run_sync(run, words) == 1
    assert "nobody is here to be asked" in said(capsys)
    monkeypatch.setenv("BANGPATH_KEY_FILE", str(tmp_path / "key"))
    assert await trio.to_thread.run_sync(run, words) == 0, said(capsys)
    assert (home / "keys").read_bytes() == server_keys
    async with open_node(home, log=lambda event: None, key=tmp_path / "key"):
        pass
    assert run(["check", str(home)]) == 0


def test_what_opens_it_is_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "1"
    create_root(home, ServerId.parse("1"), key=bytes.fromhex("ab" * 32))
    monkeypatch.setenv("BANGPATH_KEY_FILE", key_file(tmp_path / "key", "ab"))
    monkeypatch.setenv("BANGPATH_NEW_PASSPHRASE", "another one")
    assert run(["rekey", str(home), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["changed"]
    assert run(["rekey", str(home)]) == 1
    assert "is opened by a passphrase, not by a key file" in said(capsys)
    monkeypatch.setenv("BANGPATH_PASSPHRASE", "another one")
    assert run(["rekey", str(home)]) == 1
    assert "both BANGPATH_KEY_FILE and BANGPATH_PASSPHRASE are set" in said(capsys)
    monkeypatch.delenv("BANGPATH_KEY_FILE")
    monkeypatch.delenv("BANGPATH_NEW_PASSPHRASE")
    monkeypatch.setenv("BANGPATH_NEW_KEY_FILE", str(tmp_path / "key"))
    assert run(["rekey", str(home)]) == 0
    plain = tmp_path / "2"
    create_root(plain, ServerId.parse("2"))
    assert run(["rekey", str(plain)]) == 1
    assert "is not encrypted" in said(capsys)


def test_a_person_is_asked_twice_for_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter(["one", "one", "one", "two", "only"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(typed))
    assert secrets.ask_secret("it", twice=True) == "one"
    with pytest.raises(Exception, match="are not the same"):
        secrets.ask_secret("it", twice=True)
    assert secrets.ask_secret("it") == "only"


@pytest.mark.parametrize(("text", "mode"), [("ab" * 31, 0o600), ("xy" * 32, 0o600), ("ab" * 32, 0o644)])
def test_a_key_file_that_is_none_or_that_others_may_read(
    tmp_path: Path, text: str, mode: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    path.chmod(mode)
    monkeypatch.setenv("BANGPATH_KEY_FILE", str(path))
    assert run(["-C", str(tmp_path / "1"), "init", "1", "--encrypt"]) == 1
    assert text not in said(capsys)
    assert not (tmp_path / "1" / "bangpath.toml").exists()
