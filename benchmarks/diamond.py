"""Four real servers in the laboratory's diamond, made by the ordinary words: init, invite, join, run.

    node    server    neighbours by a link
    S       1         D G1 G2         its process is the driver: a real node, with a load beside it (benchmarks.driver)
    G1      1.1       S D             the others are `bangpath run`
    G2      1.2       S D             G1 and G2 have no link: they reach each other through S or D, or not at all
    D       1.3       S G1 G2

Each listens at 0.0.0.0:7000 and announces the addresses of its links. Words are said over the Unix sockets, which all
namespaces share; so the laboratory hears every server, whatever is cut.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.netlab import Lab, LabError
from node.client import connect_blocking

SERVERS = {"S": "1", "G1": "1.1", "G2": "1.2", "D": "1.3"}
PORT = 7000
READY_S = 60.0  # on a machine that does much else
HERE = Path(__file__).resolve().parents[1]


class Diamond:
    """The servers of one laboratory, in one directory each. `without` switches abilities off, as in node.switches."""

    def __init__(self, lab: Lab, path: Path, *, without: str = "") -> None:
        self.lab = lab
        self.path = path
        self.driver: Driver | None = None
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(HERE),
            "XDG_STATE_HOME": str(path / "state"),
            "BANGPATH_TEST_WITHOUT": without,
        }
        self._processes: dict[str, subprocess.Popen[Any]] = {}

    def __enter__(self) -> Diamond:
        self.make()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.driver is not None:
            self.driver.quit()

    def make(self) -> None:
        """From nothing to four servers of which each hears its neighbours, the driver in the place of S."""
        self._bangpath("S", "init", SERVERS["S"], *self._listening("S"))
        self.start("S")
        for node in ("G1", "G2", "D"):
            ticket = self._bangpath("S", "invite", SERVERS[node]).strip()
            self._bangpath(node, "join", ticket, *self._listening(node))
            self.start(node)
        self.wait_for("S", dict.fromkeys(("G1", "G2", "D"), "direct"))
        self.stop("S")
        self.driver = Driver(self, "S")
        self.wait_for("D", dict.fromkeys(("S", "G1", "G2"), "direct"))

    # -- one server

    def directory(self, node: str) -> Path:
        return self.path / SERVERS[node]

    def start(self, node: str) -> None:
        """`bangpath run` at its node, until it is ready. Raises `LabError` with its last words."""
        ready, ready_end = os.pipe()
        with (self.directory(node) / "server.log").open("ab") as log:
            command = self._command(node, "run", "--ready-fd", str(ready_end))
            process = self.lab.start(
                node, command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(ready_end,),
                env=self._environment,
            )  # fmt: skip
        os.close(ready_end)
        try:
            found, _, _ = select.select([ready], [], [], READY_S)
            if not found or not os.read(ready, 1):
                raise LabError(f"{node} did not start: {self.last_words(node)}")
        finally:
            os.close(ready)
        self._processes[node] = process

    def stop(self, node: str) -> None:
        process = self._processes.pop(node)
        process.terminate()
        process.wait()

    def pid(self, node: str) -> int:
        return self._processes[node].pid

    def kill(self, node: str) -> float:
        """kill -9; the moment, monotonic."""
        process = self._processes.pop(node)
        process.kill()
        now = time.monotonic()
        process.wait()
        return now

    def peers(self, node: str) -> dict[str, dict[str, Any]]:
        """What that server says of the others now, by node."""
        if node == "S" and self.driver is not None:
            said = self.driver.ask(do="peers")["peers"]
        else:
            with connect_blocking(self.directory(node)) as client:
                said = client.peers()
        names = {server: name for name, server in SERVERS.items()}
        return {names[each["server"]]: each for each in said}

    def wait_for(self, node: str, states: dict[str, str], *, patience_s: float = READY_S) -> None:
        """Until that server says these states of these others. Raises `LabError` with what it says instead."""
        until = time.monotonic() + patience_s
        while True:
            said = {other: each["state"] for other, each in self.peers(node).items()}
            if all(said.get(other) == state for other, state in states.items()):
                return
            if time.monotonic() > until:
                raise LabError(f"{node} says {said}, and {states} was waited for")
            time.sleep(0.05)

    def events(self, node: str, *, since: float = 0.0) -> list[dict[str, Any]]:
        """That server's log since a moment, each event with `at`, the monotonic time of this machine (to 1 ms)."""
        offset = time.time() - time.monotonic()
        found = []
        for line in (self.directory(node) / "server.log").read_bytes().splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue  # a word to a person
            if isinstance(event, dict) and "time_ms" in event:
                event["at"] = event["time_ms"] / 1000 - offset
                if event["at"] >= since:
                    found.append(event)
        return found

    def last_words(self, node: str) -> str:
        lines = (self.directory(node) / "server.log").read_text(errors="replace").splitlines()
        return " / ".join(lines[-3:]) or "it said nothing"

    # -- helpers

    def _listening(self, node: str) -> list[str]:
        words = ["--listen", f"0.0.0.0:{PORT}", "--local", "*"]
        for address in self.lab.addresses(node):
            words += ["--announce", f"{address}:{PORT}"]
        return words

    def _command(self, node: str, *words: str) -> list[str]:
        return [sys.executable, "-m", "node.cli.main", "-C", str(self.directory(node)), *words]

    def _bangpath(self, node: str, *words: str) -> str:
        """A command at that node, to its end; what it printed."""
        command = [*self.lab.inside(node), *self._command(node, *words)]
        done = subprocess.run(command, capture_output=True, text=True, env=self._environment, check=False)
        if done.returncode:
            raise LabError(f"at {node}, bangpath {words[0]}: {done.stderr.strip()}")
        return done.stdout

    def start_driver(self, node: str) -> subprocess.Popen[str]:
        """The process that is the server S and its load."""
        with (self.directory(node) / "server.log").open("ab") as log:
            return self.lab.start(
                node, [sys.executable, "-m", "benchmarks.driver", str(self.directory(node))], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=log, text=True, bufsize=1, env=self._environment, cwd=HERE,
            )  # fmt: skip


class Driver:
    """The laboratory's end of the driver: one JSON line each way for each word."""

    def __init__(self, diamond: Diamond, node: str) -> None:
        self._diamond = diamond
        self._node = node
        self._process = diamond.start_driver(node)
        self._read()

    def ask(self, **said: Any) -> Any:
        """A word of `benchmarks.driver`, answered. Raises `LabError` when the driver is gone."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(said) + "\n")
        except OSError as error:
            raise LabError(f"the driver is gone: {self._diamond.last_words(self._node)}") from error
        return self._read()

    def quit(self) -> None:
        if self._process.poll() is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise LabError(f"the driver is gone: {self._diamond.last_words(self._node)}")
        return json.loads(line)
