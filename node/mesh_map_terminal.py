"""The terminal while a map is drawn on it: taken over, painted, read key by key, and given back whatever happens.

    with Terminal() as terminal:         alternate screen, no cursor, no echo, keys at once; Ctrl-C is still a signal
        terminal.paint(lines)            only the lines that changed are written
        keys = await terminal.keys()

Given back at the end of the block: by an exception, by Ctrl-C, SIGTERM and SIGHUP, which cancel the block; before a
second Ctrl-C ends the process at once (`restore`); and for as long as Ctrl-Z keeps it stopped. Nothing can be done
after SIGKILL: `reset` in the shell helps.

Left to others: what is painted (`node.mesh_map`), what keys mean (`node.mesh_map_keys`).
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import termios
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

import trio

from node.mesh_map import ASCII, Glyphs, Line
from node.mesh_map_keys import keys_of

ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"  # alternate screen, no cursor, no wrapping, cleared
LEAVE = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
STYLES = {"dim": "\x1b[2m", "bold": "\x1b[1m", "good": "\x1b[32m", "warn": "\x1b[33m", "bad": "\x1b[1;31m"}
SIGNALS = (signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT)
_LOCAL, _INPUT, _CONTROL = 3, 0, 6  # places in what tcgetattr gives


def may_be_used(environment: Mapping[str, str], *, plain: bool = False) -> bool:
    """Whether a person looks at a terminal that can be drawn on, and can press keys."""
    if plain or environment.get("TERM", "dumb") in ("dumb", "unknown", ""):
        return False
    try:
        return sys.stdout.isatty() and sys.stdin.isatty() and os.isatty(0) and os.isatty(1)
    except ValueError:  # closed
        return False


def glyphs_of(encoding: str | None) -> Glyphs:
    """Lines where the terminal's encoding has them, else ASCII."""
    try:
        "".join(Glyphs()).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return Glyphs()


class Terminal:
    """Standard input and output. `coloured` False: styles are left out (NO_COLOR)."""

    def __init__(self, *, coloured: bool = True, keyboard: int = 0, screen: int = 1) -> None:
        self._keyboard, self._screen = keyboard, screen
        self.glyphs = glyphs_of(sys.stdout.encoding)
        self.gone = False  # whoever looked has closed it
        self._coloured = coloured
        self._before: list[Any] | None = None
        self._painted: list[str] = []
        self._size = (0, 0)

    def __enter__(self) -> Terminal:
        self._take()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.restore()

    def restore(self) -> None:
        """Give it back; a second time does nothing."""
        before, self._before = self._before, None
        if before is not None:
            self._write(LEAVE)
            with suppress(termios.error, OSError):
                termios.tcsetattr(self._keyboard, termios.TCSANOW if self.gone else termios.TCSADRAIN, before)

    async def follow_signals(self) -> None:
        """Ctrl-Z, `fg` and another size, until cancelled."""
        with trio.open_signal_receiver(*SIGNALS) as signals:
            async for number in signals:
                if number == signal.SIGTSTP:
                    self.restore()
                    os.kill(os.getpid(), signal.SIGSTOP)  # the children, in sessions of their own, go on
                    self._take()
                elif number == signal.SIGCONT and self._before is None:
                    self._take()
                self._painted = []

    async def keys(self) -> list[str]:
        """What was typed. Raises `EOFError` when nobody can type any more."""
        await trio.lowlevel.wait_readable(self._keyboard)
        try:
            data = os.read(self._keyboard, 1024)
        except OSError:
            data = b""
        if not data:
            self.gone = True
            raise EOFError("the terminal was closed")
        return keys_of(data)

    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        try:
            size = os.get_terminal_size(self._screen)
        except OSError:
            size = shutil.get_terminal_size((80, 24))
        return (size.columns or 80, size.lines or 24)

    def paint(self, lines: Sequence[Line]) -> None:
        """Show these lines, of which those that stand already are not written again."""
        if self._before is None:
            return
        texts = [self._text(line) for line in lines]
        size = self.size()
        out = []
        if size != self._size or not self._painted:
            self._size, self._painted = size, []
            out.append("\x1b[2J")
        for at, text in enumerate(texts):
            if at >= len(self._painted) or self._painted[at] != text:
                out.append(f"\x1b[{at + 1};1H{text}\x1b[K")
        out += [f"\x1b[{at + 1};1H\x1b[K" for at in range(len(texts), len(self._painted))]
        self._painted = texts
        if out:
            self._write("".join(out))

    def _text(self, line: Line) -> str:
        if not self._coloured:
            return "".join(text for text, _ in line).rstrip()
        return "".join(f"{STYLES[style]}{text}\x1b[0m" if style in STYLES else text for text, style in line)

    def _take(self) -> None:
        try:
            self._before = termios.tcgetattr(self._keyboard)
            mine = termios.tcgetattr(self._keyboard)
            mine[_LOCAL] &= ~(termios.ICANON | termios.ECHO)
            mine[_INPUT] &= ~termios.IXON  # Ctrl-S would stop the supervisor in the middle of a line
            mine[_CONTROL][termios.VMIN] = 1
            mine[_CONTROL][termios.VTIME] = 0
            mine[_CONTROL][termios.VQUIT] = b"\0"  # Ctrl-\ would end us without giving the terminal back
            termios.tcsetattr(self._keyboard, termios.TCSADRAIN, mine)
        except termios.error:
            self.gone = True
        self._painted = []
        self._write(ENTER)

    def _write(self, text: str) -> None:
        data = text.encode(sys.stdout.encoding or "utf-8", errors="replace")
        try:
            while data:
                data = data[os.write(self._screen, data) :]
        except OSError:
            self.gone = True
