"""What the tour shows: each step as a newcomer reads it, or as one line of JSON.

     3  A neighbour speaks for Europe
        Africa is asked for London Heathrow. Its owner does not answer; America, which mirrors Europe, does.
        $ bangpath @1.4 get 1.2/1001
          Airport 1.2/1001, sequence 30
          ...
        held after 0.4 s: 1.1 told it, 2.1 s old, along 1.2!1.1!1.4

What is shown as a command is one that a person can type. Of its output the middle is left out where it is long; tables
end at the screen's edge, sentences go on below. Only a terminal gets pauses, in which to read. With JSON standard
output has one line a step and nothing else; how the mesh was built goes to standard error.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import trio

from node.airports import Place
from node.mesh_view import Screen

READ_S = 2.0  # to read what a step is about, before it begins
WHOLE = 16  # an output of so many lines is shown whole
HEAD, TAIL = 4, 1  # of a longer one
WIDTH = 110  # where nobody looks, and at most
INDENT = "    "


class TourScreen(Screen):
    """Standard output while the tour is played."""

    def __init__(self, directory: Path, *, fast: bool = False, as_json: bool = False) -> None:
        super().__init__(directory)
        self._json = as_json
        self._reads = self._live and not fast and not as_json
        self._width = min(shutil.get_terminal_size((WIDTH, 24)).columns, WIDTH) if self._live else WIDTH
        if as_json:
            self._live = False

    # -- the mesh beneath it

    def died(self, place: Place, how: str) -> None:
        """The tour says itself whom it kills."""

    def show(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        """No table: the steps show what matters."""

    # -- a step

    async def begin(self, number: int, title: str, about: str) -> None:
        if self._json:
            return
        self._text("")
        self._text(f"{number:>2}  {self._bold(title)}")
        for line in textwrap.wrap(about, self._width - len(INDENT)):
            self._text(INDENT + line)
        if self._reads:
            await trio.sleep(READ_S)

    def types(self, text: str) -> None:
        """A command that is carried out now."""
        if not self._json:
            self._text(f"{INDENT}$ {text}")

    def output(self, lines: Sequence[str], *, cut: bool = False) -> None:
        """What it said, shortened; `cut`: a table, whose lines are cut where others are wrapped."""
        if self._json:
            return
        first = INDENT + "  "
        for line in shortened(lines):
            text = (first + line).rstrip()
            if len(text) < self._width:
                self._text(text)
            elif cut:
                self._text(text[: self._width - 2] + "…")
            else:
                deeper = first + " " * (len(line) - len(line.lstrip()) + 4)
                for each in textwrap.wrap(text, self._width - 1, subsequent_indent=deeper):
                    self._text(each)

    def remark(self, text: str) -> None:
        if not self._json:
            self._text(f"{INDENT}  ({text})")

    def told(self, line: Mapping[str, Any]) -> None:
        """How a step ended."""
        if self._json:
            self._out(msgspec.json.encode(line).decode())
            return
        took = f"{line['seconds']:.1f} s"
        if line["held"]:
            self._text(f"{INDENT}{self._bold('held')} after {took}: {line['told']}")
            return
        lines = [f"FAILED after {took}: expected {line['expected']},", f"  got {line['got']},"]
        lines.append(f"  try: {line['try'][0]}")
        lines += [f"       {each}" for each in line["try"][1:]]
        for each in lines:
            for part in textwrap.wrap(INDENT + each, self._width - 1, subsequent_indent=INDENT + "    "):
                self._text(part)

    def sum_up(self, text: str) -> None:
        """About the tour as a whole."""
        if not self._json:
            self._text("")
            self._text(text)

    # -- how

    def _bold(self, text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if self._live else text

    def _text(self, text: str) -> None:
        self._out(text)

    def _out(self, text: str) -> None:
        with suppress(BrokenPipeError):
            print(text, flush=True)

    def _print(self, text: str, *, end: str = "\n") -> None:
        if self._json:
            print(text, end=end, flush=True, file=sys.stderr)
        else:
            super()._print(text, end=end)


def shortened(lines: Sequence[str]) -> list[str]:
    """The first lines and the last, and how many were left out between them."""
    if len(lines) <= WHOLE:
        return list(lines)
    left = f"{len(lines) - HEAD - TAIL:,}".replace(",", " ")
    return [*lines[:HEAD], f"... {left} more lines ...", *lines[-TAIL:]]
