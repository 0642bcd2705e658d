"""The map on a terminal over six real servers: keys are pressed, the screen is read, the terminal is given back."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.client import Blocking
from node.mesh_map_live import Log

ROOT = Path(__file__).parents[2]
SEQUENCE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])")


class Screen:
    """What the few control sequences that the map writes make of a screen."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.rows = [[" "] * width for _ in range(height)]
        self.row = self.column = 0
        self.alternate = False
        self.cursor = True
        self.first = ""  # the ordinary screen, as text

    def feed(self, text: str) -> None:
        at = 0
        while at < len(text):
            found = SEQUENCE.match(text, at)
            if found is not None:
                self._do(found.group(1), found.group(2))
                at = found.end()
                continue
            if not self.alternate:
                self.first += text[at]
            elif self.column < self.width:
                self.rows[self.row][self.column] = text[at]
                self.column += 1
            at += 1

    def _do(self, said: str, letter: str) -> None:
        if said == "?1049":
            self.alternate = letter == "h"
        elif said == "?25":
            self.cursor = letter == "h"
        elif letter == "J":
            self.rows = [[" "] * self.width for _ in range(self.height)]
        elif letter == "H":
            row, _, column = said.partition(";")
            self.row, self.column = int(row) - 1, int(column) - 1
        elif letter == "K":
            self.rows[self.row][self.column :] = [" "] * (self.width - self.column)

    @property
    def text(self) -> str:
        return "\n".join("".join(row).rstrip() for row in self.rows)

    def line_of(self, server: str) -> str:
        """The row of a server in the table."""
        return next((line for line in self.text.splitlines() if re.match(rf" \d {re.escape(server)} ", line)), "")

    def way(self, source: str, target: str) -> str:
        """What stands where the row of one meets the column of another."""
        head = next((line for line in self.text.splitlines() if line.startswith("   server")), "")
        found = re.search(rf"(?<![\d.]){re.escape(target)}(?![\d.])", head)
        if found is None:
            return "?"
        at = found.start() - (3 if target == "1" else 0)  # "to 1"
        return self.line_of(source)[at : at + 6].strip()


def _take_terminal() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs these tests under nohup has it ignored, and so had we
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """`bangpath mesh` on a pty."""

    def __init__(self, folder: Path, *, words: tuple[str, ...] = (), **environment: str) -> None:
        width, height = 80, 24
        self.folder = folder
        self.screen = Screen(width, height)
        self.coloured = False
        self.main, second = pty.openpty()
        self.resize(width, height)
        self.before = termios.tcgetattr(self.main)
        self.second = os.dup(second)
        environment = {**{name: value for name, value in os.environ.items() if name != "NO_COLOR"}, **environment}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "node.cli.main", "mesh", "--objects", "600", *words],
            cwd=folder,
            env={**environment, "TERM": "xterm", "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(folder / "state")},
            stdin=second,
            stdout=second,
            stderr=second,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(second)
        os.set_blocking(self.main, False)
        self._rest = b""

    def resize(self, width: int, height: int) -> None:
        fcntl.ioctl(self.main, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        if self.screen.width != width or self.screen.height != height:
            first = self.screen.first
            self.screen = Screen(width, height)
            self.screen.first, self.screen.alternate = first, True

    def read(self) -> None:
        try:
            while data := os.read(self.main, 1 << 16):
                self._rest += data
        except BlockingIOError:
            pass
        except OSError:
            return
        text, self._rest = self._rest.decode(errors="ignore"), b""
        whole, escape, rest = text.rpartition("\x1b")
        if escape and SEQUENCE.match(escape + rest) is None:  # the last sequence has not come whole
            text, self._rest = whole, (escape + rest).encode()
        self.coloured = self.coloured or "\x1b[32m" in text
        self.screen.feed(text)

    def press(self, keys: str) -> None:
        os.write(self.main, keys.encode())

    def wait(self, happens, what: str, *, seconds: float = 60.0) -> None:  # type: ignore[no-untyped-def]
        deadline = time.monotonic() + seconds
        while True:
            self.read()
            if happens():
                return
            assert time.monotonic() < deadline, f"{what}\n{self.screen.first[-2000:]}\n{self.screen.text}"
            assert self.process.poll() is None, f"it ended: {self.screen.first[-2000:]}"
            time.sleep(0.05)

    def wait_for(self, text: str, *, seconds: float = 60.0) -> None:
        self.wait(lambda: text in " ".join(self.screen.text.split()), text, seconds=seconds)

    def end(self) -> int:
        deadline = time.monotonic() + 20
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read()
            time.sleep(0.02)
        self.read()
        return self.process.wait(1)

    def is_given_back(self) -> bool:
        return not self.screen.alternate and self.screen.cursor and termios.tcgetattr(self.main) == self.before

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.main)
        os.close(self.second)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(tmp_path)
    try:
        yield made
    finally:
        made.close()


def all_direct(screen: Screen) -> bool:
    return "6 of 6 servers run, every link is direct" in screen.text


def test_a_log_is_read_from_its_end_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.write_text('{"event": "old"}\n')
    log = Log(path)
    assert log.read() == []
    with path.open("ab") as file:
        file.write(b'{"event": "one", "peer": "1.2"}\nTraceback (most recent\n[1]\n{"no": 1}\n\xff\n{"event": "tw')
        file.flush()
        assert [each["event"] for each in log.read()] == ["one"]
        file.write(b'o"}\n')
        file.flush()
        assert [each["event"] for each in log.read()] == ["two"]
    path.write_text('{"event": "anew"}\n')  # somebody emptied it
    assert [each["event"] for each in log.read()] == ["anew"]
    path.unlink()
    assert log.read() == []
    assert Log(path).read() == []


@pytest.mark.slow
def test_a_person_breaks_and_heals_the_mesh(terminal: Terminal) -> None:
    screen = terminal.screen
    terminal.wait(lambda: all_direct(screen), "everything stands", seconds=120)
    assert screen.alternate
    assert not screen.cursor
    assert terminal.coloured
    assert screen.text.splitlines()[-1].startswith(" k kill")

    terminal.press("k")
    terminal.wait_for("kill which server? Press the digit before it.")
    terminal.press("2")
    terminal.wait_for("You killed 1.2 Europe (kill -9).")
    terminal.wait(lambda: "killed" in screen.line_of("1.2"), "1.2 is shown as killed")
    terminal.wait_for("5 of 6 servers run")
    terminal.press("r")  # the only one that is dead
    terminal.wait_for("You revive 1.2 Europe.")
    terminal.wait(lambda: all_direct(screen), "1.2 is back")
    terminal.wait_for("1.2 serves")

    terminal.press("c12")
    terminal.wait_for("You cut the link of 1.1 and 1.2, both ways.")
    terminal.wait(lambda: "×" in screen.way("1.1", "1.2") and "×" in screen.way("1.2", "1.1"), "the link is cut")  # noqa: RUF001
    terminal.press("h\r")
    terminal.wait_for("You heal every link.")
    terminal.wait(lambda: all_direct(screen), "direct again")
    terminal.press("o34")
    terminal.wait(lambda: "×" in screen.way("1.3", "1.4"), "one way is cut")  # noqa: RUF001
    assert screen.way("1.4", "1.3") == "━━━━"
    terminal.press("h34")
    terminal.wait(lambda: all_direct(screen), "direct again")
    terminal.press("p\r")
    terminal.wait_for("You part the mesh: 1, 1.1 and 1.2 on one side, 1.3, 1.4 and 1.5 on the other.")
    terminal.wait(lambda: "×" in screen.way("1.5", "1"), "the mesh is parted")  # noqa: RUF001
    assert "×" not in screen.way("1.4", "1.5")  # noqa: RUF001
    terminal.press("hh")
    terminal.wait(lambda: all_direct(screen), "whole again")

    with Blocking(terminal.folder / "mesh" / "1.1") as node:  # by hand, in another terminal
        terminal.wait(lambda: not any(each["blocked"] for each in node.peers()), "every link is mended")
        node.block("1.3", "out")
    terminal.wait_for("somebody cut 1.1 off from 1.3, direction out")
    terminal.wait(lambda: "×" in screen.way("1.1", "1.3"), "what was cut by hand is shown")  # noqa: RUF001
    terminal.press("h\r")
    terminal.wait(lambda: all_direct(screen), "and mended with the rest")
    os.kill(int((terminal.folder / "mesh" / "1.4" / "pid").read_text()), signal.SIGKILL)
    terminal.wait_for("1.4 Africa is gone: it was ended by SIGKILL (9). The others go on.")
    terminal.press("k4")
    terminal.wait_for("Not done: 1.4 does not run")

    terminal.press("?")
    terminal.wait_for("any key: back to the map")
    assert "query 'Airport where country" in screen.text
    terminal.press(" ")
    terminal.wait_for("5 of 6 servers run")
    terminal.press("q")
    assert terminal.end() == 0
    assert terminal.is_given_back()
    assert "stopping 5 servers" in screen.first
    assert "all stopped" in screen.first
    assert "Traceback" not in screen.first


@pytest.mark.slow
def test_whatever_happens_the_terminal_is_given_back(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    try:
        terminal.wait(lambda: all_direct(terminal.screen), "everything stands", seconds=120)
        for width, height, shown in (
            (60, 14, "k r c o p h"),
            (30, 5, "This window is 30x5"),
            (80, 24, "of 6 servers run"),
        ):
            terminal.resize(width, height)
            terminal.wait_for(shown)
        terminal.process.send_signal(signal.SIGTSTP)
        terminal.wait(terminal.is_given_back, "given back while it is stopped")
        terminal.process.send_signal(signal.SIGCONT)
        terminal.wait(lambda: terminal.screen.alternate and all_direct(terminal.screen), "taken again")
        terminal.press("\x03")  # Ctrl-C
        assert terminal.end() == 0
        assert terminal.is_given_back()
        assert "all stopped" in terminal.screen.first
    finally:
        terminal.close()
    for number in (signal.SIGTERM, signal.SIGHUP):
        terminal = Terminal(tmp_path)
        try:
            terminal.wait(lambda: all_direct(terminal.screen), "everything stands", seconds=120)  # noqa: B023
            terminal.process.send_signal(number)
            assert terminal.end() == 0
            assert terminal.is_given_back()
            assert "all stopped" in terminal.screen.first
        finally:
            terminal.close()


@pytest.mark.slow
def test_a_terminal_that_wants_lines_gets_lines(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, words=("--plain",))
    try:
        terminal.wait(lambda: "what to try next" in terminal.screen.first, "everything stands", seconds=120)
        terminal.press("\x03")
        assert terminal.end() == 0
        assert terminal.is_given_back()
        assert not terminal.coloured
    finally:
        terminal.close()
    terminal = Terminal(tmp_path, NO_COLOR="1")
    try:
        terminal.wait(lambda: all_direct(terminal.screen), "everything stands", seconds=120)
        assert not terminal.coloured
        terminal.press("q")
        assert terminal.end() == 0
    finally:
        terminal.close()


@pytest.mark.slow
def test_a_terminal_that_is_closed_ends_the_servers(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    terminal.wait(lambda: all_direct(terminal.screen), "everything stands", seconds=120)
    pids = [int((tmp_path / "mesh" / server / "pid").read_text()) for server in ("1", "1.1", "1.5")]
    os.close(terminal.main)
    os.close(terminal.second)
    terminal.process.wait(20)
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)
