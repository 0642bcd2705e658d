"""One child process: one server, started, awaited, watched and stopped (DESIGN U5).

    start ---> ready            it wrote a byte into its readiness pipe
          \\--> failed           it ended before: the last words of its log are the reason
    ready ---> ended            by itself, by kill -9, by us

A child is in a session of its own, so that Ctrl-C in the terminal reaches the supervisor alone, which then stops them
in order. It holds the reading end of a pipe whose writing end only the supervisor has: however the supervisor dies,
the pipe ends, and the child stops cleanly. No signal, no process group and no parent's id can be missed or mistaken.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import trio

from identity.errors import Refused

READY_S = 30.0  # to open a store after a crash, replay included, on a slow machine
STOP_S = 6.0  # a server has 5 s (DESIGN U5)
LOG = "server.log"  # what a child writes to standard error, in its directory
_LAST_WORDS = 800


class Child:
    """One server's process."""

    def __init__(self, server: str, directory: Path, process: trio.Process, life: int) -> None:
        self.server = server
        self.directory = directory
        self._process = process
        self._life = life  # the end of the pipe that keeps it alive

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    async def wait(self) -> str:
        """Until it ends; how it did, in words."""
        return ending(await self._process.wait())

    async def stop(self) -> str:
        """Ask it to end, insist after 6 s; how it ended."""
        if self.running:
            with suppress(ProcessLookupError):
                self._process.terminate()
            with trio.move_on_after(STOP_S):
                await self._process.wait()
            if self.running:
                self._process.kill()
                await self._process.wait()
        self.let_go()
        return ending(self._process.returncode or 0)

    def let_go(self) -> None:
        """Close our end of its pipe: it stops by itself if it still runs."""
        if self._life >= 0:
            os.close(self._life)
            self._life = -1


async def start(server: str, directory: Path, *words: str, inside: Sequence[str] = ()) -> Child:
    """Start the server of a directory and wait until it serves; `words` are more of `run`'s options.

    `inside`: the words before the command that put it somewhere else, as into a network namespace; they must become
    the process itself (exec). Raises `Refused` with its last words.
    """
    life_end, life = os.pipe()
    ready, ready_end = os.pipe()
    log = (directory / LOG).open("ab")
    log_size = log.tell()
    try:
        process = await trio.lowlevel.open_process(
            [*inside, *command(directory, "run", "--ready-fd", str(ready_end), "--life-fd", str(life_end), *words)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(ready_end, life_end),
            start_new_session=True,
            env=environment(),
        )
    except BaseException:
        os.close(life)
        os.close(ready)
        raise
    finally:
        os.close(ready_end)
        os.close(life_end)
        log.close()
    child = Child(server, directory, process, life)
    said = b""
    try:
        async with trio.lowlevel.FdStream(ready) as pipe:
            with trio.move_on_after(READY_S):
                said = bytes(await pipe.receive_some(1))
    except BaseException:  # Ctrl-C while it starts
        with trio.CancelScope(shield=True):
            await child.stop()
        raise
    if not said:
        how = await child.stop()
        raise Refused(
            f"server {server} did not start ({how}): {last_words(directory / LOG, log_size)}",
            next_step=f"bangpath -C {directory} run",
            server=server,
        )
    return child


def command(directory: Path, *words: str) -> Sequence[str]:
    """The command on a directory, by this very interpreter, whatever PATH says."""
    return (sys.executable, "-m", "node.cli.main", "-C", str(directory), *words)


def environment() -> dict[str, str]:
    """Ours, with the place where these packages lie, so that a child finds the same ones from any directory."""
    here = str(Path(__file__).resolve().parent.parent)
    others = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{others}" if others else here}


def ending(code: int) -> str:
    """A process's return code, in words."""
    if code >= 0:
        return "it ended" if code == 0 else f"it ended with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "a signal"
    return f"it was ended by {name} ({-code})"


def last_words(log: Path, begin: int) -> str:
    """The end of what a child wrote since `begin`, in one line."""
    try:
        with log.open("rb") as file:
            file.seek(max(begin, log.stat().st_size - _LAST_WORDS))
            text = file.read().decode(errors="replace")
    except OSError:
        return "it left no log"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-3:]) or "it said nothing"
