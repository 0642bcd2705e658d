"""Real servers, a process each: one is killed, and what the others answer in its place says so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from identity.errors import BangpathError, NotFound, Stale, Unreachable
from identity.names import ServerId
from node import opening
from node.client import Blocking

ROOT = Path(__file__).parents[2]
READY_S = 30.0
FIELDS = [{"name": "text", "type": "string"}, {"name": "n", "type": "int"}]


class Servers:
    """Servers in directories below `path`, each a process of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, server: str, *, without: str = "") -> Blocking:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "BANGPATH_TEST_WITHOUT": without}
        words = [sys.executable, "-m", "node.cli.main", "-C", str(self.path / server), "run"]
        with (self.path / f"{server}.log").open("ab") as log:
            self._running[server] = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=log, stderr=log)
        client = Blocking(self.path / server, timeout_s=60)
        self.eventually(client.status, server)
        return client

    def join(self, inviter: Blocking, server: str) -> None:
        ticket = inviter.invite(server)["ticket"]
        trio.run(lambda: opening.join(self.path / server, ticket, local="*"))

    def kill(self, server: str) -> None:
        process = self._running.pop(server)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def eventually(self, happens: Callable[[], Any], server: str = "") -> Any:
        """Wait until it gives something that is true and raises nothing."""

        async def wait() -> Any:
            with trio.fail_after(READY_S):
                while True:
                    assert not server or self._running[server].poll() is None, (
                        self.path / f"{server}.log"
                    ).read_text()[-2000:]
                    try:
                        found = happens()
                    except BangpathError:
                        found = None
                    if found:
                        return found
                    await trio.sleep(0.02)

        return trio.run(wait)

    def close(self) -> None:
        for server in list(self._running):
            self.kill(server)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    made = Servers(tmp_path)
    opening.create_root(tmp_path / "1", ServerId.parse("1"), local="*")
    yield made
    made.close()


def told(node: Blocking, server: str) -> dict[str, Any]:
    """How a question about this owner's notes was answered."""
    report = node.query(f"Note from {server}", deadline=20)["completeness"]
    (owner,) = report["owners"]
    return {**owner, "whole": report["whole"]}


def test_an_owner_is_killed_and_a_mirror_answers_by_name_age_and_path(servers: Servers) -> None:
    root = servers.start("1")
    for each in ("1.1", "1.2"):
        servers.join(root, each)
    owner, asker = servers.start("1.1"), servers.start("1.2")
    owner.define({"name": "Note", "fields": FIELDS})
    made = owner.create("Note", {"text": "hi", "n": 1})
    root.mirror("1.1")
    found = servers.eventually(lambda: root.get(made["reference"], consistency="local", after=made["position"]))
    assert (found["kind"], found["by"], found["path"]) == ("mirrored", "1", ["1.1", "1"])
    servers.eventually(lambda: told(asker, "1.1")["how"] == "owner")
    announced = {"server": "1", "mirrors": ["1.1"]}
    servers.eventually(lambda: [each for each in asker.servers() if announced.items() <= each.items()])
    changed = asker.update(made["reference"], {"n": 2})  # read your writes, wherever: positions travel as text
    for reader in (root, asker, owner):
        assert reader.get(made["reference"], after=changed["position"])["fields"]["n"] == 2
    servers.eventually(lambda: root.get(made["reference"], consistency="local", after=changed["position"]))  # mirrored

    servers.kill("1.1")
    found = asker.get(made["reference"], deadline=20)
    assert (found["kind"], found["by"], found["path"]) == ("mirrored", "1", ["1.1", "1", "1.2"])
    assert (found["fields"]["n"], found["position"]) == (2, changed["position"])
    assert found["owner_unreachable_since"] > 0
    assert found["age"] >= 0
    owner_told = told(asker, "1.1")
    assert (owner_told["how"], owner_told["by"], owner_told["rows"], owner_told["whole"]) == ("mirrored", "1", 1, True)
    assert owner_told["since"] > 0
    with pytest.raises(Stale) as stale:
        asker.get(made["reference"], max_age=0, deadline=20)
    assert "1" in {each["server"] for each in stale.value.details["copies"]}
    with pytest.raises(Unreachable) as silence:
        asker.get("1.1/999999", deadline=20)
    assert not isinstance(silence.value, NotFound)
    words = [sys.executable, "-m", "node.cli.main", "-C", str(servers.path / "1.2")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = subprocess.run([*words, "get", made["reference"]], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    line = said.stdout.splitlines()[-1]
    assert line.startswith("owner 1.1 unreachable since ")
    assert "; answered by mirror 1, age " in line
    assert line.endswith(f"position {changed['position']}, path 1.1!1!1.2")
    question = [*words, "query", "Note", "--max-age", "0", "--deadline", "20", "--whole", "--json"]
    said = subprocess.run(question, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert said.returncode == 3
    assert json.loads(said.stdout.splitlines()[-1])["completeness"]["owners"][-1]["how"] == "stale"

    servers.kill("1")
    root = servers.start("1", without="mirrors")
    servers.kill("1.2")
    asker = servers.start("1.2")  # it knows of no copy that the mirror gave
    for reader in (root, asker):
        assert told(reader, "1.1")["how"] in ("unreachable", "cached")

    servers.start("1.1")
    servers.eventually(lambda: asker.get(made["reference"])["kind"] == "owner")
