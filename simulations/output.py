"""Where a run is told: standard output, and the files it is drawn to. None of them may turn a verdict round.

    ready(), ready_file(path)      tried before anything runs: `Refused` for what cannot be written
    output.write(lines)            a reader that went away (`| head`) hears no more, and the run goes on to its verdict
    output.missed(what, error)     what could not be written all the same, once the run was over
    output.settled(code)           tells of it on standard error; a run that held and could not be told is 2, not 0

So an exit code of 1 always means that something was broken, and 0 that all held and was told to whoever listened.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from identity.errors import Refused

UNTOLD = 2


def ready() -> None:
    """Raises `Refused` where standard output is closed, or takes nothing."""
    if sys.stdout is None or sys.stdout.closed:
        raise Refused(
            "standard output is closed", next_step="where the exit code is all that is wanted, write > /dev/null"
        )
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):  # not a file at all: whoever put it there reads it
        return
    try:
        os.write(number, b"")  # a device that is full says so already; a pipe takes it
    except OSError as error:
        raise Refused(
            f"standard output cannot be written: {error.strerror}", next_step="send it where there is room"
        ) from None


def ready_file(path: Path) -> None:
    """Raises `Refused` where this file could not be written in the end. What is there stays as it is."""
    real = Path(os.path.realpath(path))
    try:
        there = real.exists()
        if there and not real.is_file():  # a pipe: to open it is to wait for its reader
            return
        with real.open("ab"):
            pass
        if not there:
            real.unlink()
    except OSError as error:
        raise Refused(
            f"{path} cannot be written: {error.strerror}", next_step="name a file that you may write"
        ) from None


class Output:
    """Standard output of one command."""

    def __init__(self) -> None:
        self._heard = True
        self._missed: list[str] = []

    def write(self, lines: Iterable[str]) -> None:
        """Whole lines."""
        if not self._heard:
            return
        try:
            sys.stdout.write("".join(f"{line}\n" for line in lines))
            sys.stdout.flush()
        except BrokenPipeError:
            self._leave()
        except OSError as error:
            self._leave()
            self.missed("standard output", error)

    def missed(self, what: object, error: OSError) -> None:
        """This could not be written."""
        self._missed.append(f"{what} could not be written: {error.strerror}")

    def settled(self, code: int) -> int:
        """The exit code after all was told; a verdict that is not 0 stands."""
        for each in self._missed:
            with suppress(AttributeError, OSError, ValueError):  # nobody hears of it there either
                sys.stderr.write(f"bangpath: {each}\n")
        return UNTOLD if self._missed and not code else code

    def _leave(self) -> None:
        """Write no more, not even what Python still holds and would write when it ends."""
        self._heard = False
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
