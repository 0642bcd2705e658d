"""A terminal is taken, painted where something changed, and given back as it was; who cannot be drawn on gets lines."""

from __future__ import annotations

import os
import pty
import termios
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import pytest
import trio

from node.mesh_map import ASCII, Glyphs
from node.mesh_map_terminal import ENTER, LEAVE, Terminal, glyphs_of, may_be_used


class Pty(NamedTuple):
    """The end of the person who looks and types, and the program's end."""

    person: int
    program: int

    def seen(self) -> str:
        try:
            return os.read(self.person, 1 << 16).decode()
        except (BlockingIOError, OSError):
            return ""

    def settings(self) -> list[Any]:
        return termios.tcgetattr(self.program)


@pytest.fixture
def ends() -> Iterator[Pty]:
    person, program = pty.openpty()
    os.set_blocking(person, False)
    yield Pty(person, program)
    for each in (person, program):
        with suppress(OSError):
            os.close(each)


def terminal(ends: Pty, *, coloured: bool = False) -> Terminal:
    return Terminal(coloured=coloured, keyboard=ends.program, screen=ends.program)


def test_it_is_given_back_as_it_was(ends: Pty) -> None:
    before = ends.settings()
    with terminal(ends) as taken:
        assert ends.seen() == ENTER
        assert ends.settings() != before
        local = ends.settings()[3]
        assert not local & (termios.ICANON | termios.ECHO)
        assert local & termios.ISIG  # Ctrl-C and Ctrl-Z are signals as ever
        taken.restore()
        assert ends.seen() == LEAVE
        assert ends.settings() == before
    assert ends.seen() == ""  # once is enough
    with pytest.raises(ZeroDivisionError), terminal(ends):
        1 / 0  # noqa: B018
    assert ends.settings() == before
    assert ends.seen() == ENTER + LEAVE


def test_only_what_changed_is_written(ends: Pty) -> None:
    with terminal(ends) as taken:
        ends.seen()
        taken.paint([[("one", "good")], [("two", "")]])
        assert ends.seen() == "\x1b[2J\x1b[1;1Hone\x1b[K\x1b[2;1Htwo\x1b[K"
        taken.paint([[("one", "good")], [("three", "")]])
        assert ends.seen() == "\x1b[2;1Hthree\x1b[K"
        taken.paint([[("one", "good")], [("three", "")]])
        assert ends.seen() == ""
        taken.paint([[("one", "good")]])
        assert ends.seen() == "\x1b[2;1H\x1b[K"
        taken.restore()
        ends.seen()
        taken.paint([[("late", "")]])  # it is not ours any more
        assert ends.seen() == ""


def test_colours_are_ended_where_they_begin(ends: Pty) -> None:
    with terminal(ends, coloured=True) as taken:
        ends.seen()
        taken.paint([[("a", "bad"), ("b", ""), ("c", "dim")]])
        assert ends.seen() == "\x1b[2J\x1b[1;1H\x1b[1;31ma\x1b[0mb\x1b[2mc\x1b[0m\x1b[K"


async def test_keys_come_at_once(ends: Pty) -> None:
    with terminal(ends) as taken:
        os.write(ends.person, b"k2\x1b[A")
        with trio.fail_after(5):
            assert await taken.keys() == ["k", "2"]


async def test_a_terminal_that_was_closed_ends_it(ends: Pty) -> None:
    taken = terminal(ends)
    with taken:
        os.close(ends.person)
        with trio.fail_after(5), pytest.raises(EOFError):
            await taken.keys()
        taken.paint([[("nobody looks", "")]])
        assert taken.gone


def test_who_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdin", "stdout"):
        monkeypatch.setattr(f"sys.{name}.isatty", lambda: True, raising=False)
    monkeypatch.setattr("os.isatty", lambda descriptor: True)
    assert may_be_used({"TERM": "xterm"})
    assert may_be_used({"TERM": "xterm", "NO_COLOR": "1"})  # without colours, but a map
    for environment in ({}, {"TERM": ""}, {"TERM": "dumb"}, {"TERM": "unknown"}):
        assert not may_be_used(environment)
    assert not may_be_used({"TERM": "xterm"}, plain=True)
    monkeypatch.setattr("os.isatty", lambda descriptor: descriptor != 0)
    assert not may_be_used({"TERM": "xterm"})  # bangpath mesh < /dev/null: nobody could press a key


def test_what_lines_are_drawn_with() -> None:
    assert glyphs_of("utf-8") == Glyphs()
    for encoding in ("ascii", "latin-1", None, "no such"):
        assert glyphs_of(encoding) == ASCII
