"""`bangpath backup` beside a running server, `bangpath restore`, and a first start that knows where it comes from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import trio

from identity.names import ServerId
from node.cli.main import run
from node.http.serve import serve_http
from node.opening import create_root, open_node
from store.definitions import ClassDefinition, Field
from store.recovery import RESTORED_STEP

NOTE = ClassDefinition(name="Note", fields=(Field(name="text", index=True),))


async def say(*words: str) -> int:
    return await trio.to_thread.run_sync(run, list(words))


async def test_a_server_comes_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home, target = tmp_path / "1", tmp_path / "backup"
    create_root(home, ServerId.parse("1"))
    async with open_node(home, log=lambda event: None) as node, serve_http(node, home):
        await node.define(NOTE)
        for number in range(10):
            made = await node.create("Note", {"text": f"note {number}"})
        assert await say("-C", str(home), "backup", str(target)) == 0
        assert "added to the backup of 1, now" in capsys.readouterr().out
        await node.create("Note", {"text": "late"})
        assert await say("backup", str(home), str(target), "--json") == 0
        later = json.loads(capsys.readouterr().out)
        assert 0 < later["added"] < later["bytes"]
        assert 0 < later["position"] <= node.log_end()["position"]
        await node.create("Note", {"text": "after the backup"})
    assert run(["backup", "--verify", str(target)]) == 0
    assert "the backup of 1 is whole" in capsys.readouterr().out
    shutil.rmtree(home)
    assert await say("restore", str(target), str(home), "--json") == 0
    assert json.loads(capsys.readouterr().out)["server"] == "1"
    assert (home / "keys").stat().st_mode & 0o777 == 0o600
    noted: list[dict[str, Any]] = []
    adopted = trio.Event()

    def log(event: dict[str, Any]) -> None:
        noted.append(event)
        if event["event"] == "adopted":
            adopted.set()

    async with open_node(home, log=log) as node:
        assert not (home / "restored").exists()
        with trio.fail_after(60):
            await adopted.wait()
        rows, _ = await node.query("Note")
        assert len(rows) == 11
        again = await node.create("Note", {"text": "again"})
        assert again.reference.object > made.reference.object + RESTORED_STEP - 1000
    async with open_node(home, log=noted.append) as node:
        assert node.parts.database.adopting is False, "once"


async def test_errors_that_help(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home, target = tmp_path / "1", tmp_path / "backup"
    create_root(home, ServerId.parse("1"))
    assert await say("backup", str(home), str(target)) == 1
    assert "there is no store in" in capsys.readouterr().err
    async with open_node(home, log=lambda event: None):
        pass
    assert await say("backup", str(home), str(target)) == 0
    assert await say("restore", str(target), str(home)) == 1
    assert "is there already" in capsys.readouterr().err
    data = bytearray((target / "manifest").read_bytes())
    data[60] ^= 1
    (target / "manifest").write_bytes(data)
    assert await say("restore", str(target), str(tmp_path / "new")) == 1
    assert "the manifest of the backup is not what was written" in capsys.readouterr().err
    assert await say("backup", "--verify", str(target)) == 1
    assert "manifest manifest: the manifest of the backup" in capsys.readouterr().err
    assert await say("backup", "--verify", str(home), str(target)) == 2
    assert await say("backup", "a", "b", "c") == 2
    (target / "manifest").unlink()
    assert await say("backup", "--verify", str(target)) == 1
    assert "there is no backup here" in capsys.readouterr().err
