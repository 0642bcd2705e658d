"""Letters and digits become commands; a question stands while one is not complete, and Esc takes it back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.mesh_map_keys import ENTER, ESCAPE, HINTS, Command, Keys, keys_of

SERVERS = ("1", "1.1", "1.2", "1.3", "1.4", "1.5")


def pressed(text: str, *, dead: tuple[str, ...] = ()) -> list[Command]:
    keys = Keys(SERVERS)
    living = set(SERVERS) - set(dead)
    commands = [keys.handle(key, living) for key in keys_of(text.encode())]
    return [each for each in commands if each is not None]


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("k2", [("k", ("1.2",))]),
        ("k0", [("k", ("1",))]),
        ("r2", [("r", ("1.2",))]),
        ("c12", [("c", ("1.1", "1.2"))]),
        ("c112", [("c", ("1.1", "1.2"))]),  # a server twice is once
        ("o21", [("o", ("1.2", "1.1"))]),
        ("h\r", [("h", ())]),
        ("hh", [("h", ())]),
        ("h34", [("h", ("1.3", "1.4"))]),
        ("h3\r4", [("h", ("1.3", "1.4"))]),  # a link has two ends
        ("p\r", [("p", ("1", "1.1", "1.2"))]),
        ("p23\n", [("p", ("1", "1.1", "1.3"))]),
        ("p012\r", []),  # nobody on one side
        ("p012345\r", [("p", ("1.3", "1.4", "1.5"))]),
        ("q", [("q", ())]),
        ("?", [("?", ())]),
        ("k\x1b2", []),
        ("c1\x1b2", []),
        ("c1k2", [("k", ("1.2",))]),  # another letter begins anew
        ("kq", [("q", ())]),
        ("k9x²2", [("k", ("1.2",))]),
        ("12z\r \x1b[A\x1b[15~\x1bOP", []),
        ("k\x1b[A2", [("k", ("1.2",))]),
        ("k2c12", [("k", ("1.2",)), ("c", ("1.1", "1.2"))]),
    ],
)
def test_what_is_typed_and_what_is_meant(text: str, commands: list[tuple[str, tuple[str, ...]]]) -> None:
    assert pressed(text) == [Command(*each) for each in commands]


def test_the_only_dead_one_is_meant() -> None:
    assert pressed("r", dead=("1.4",)) == [Command("r", ("1.4",))]
    assert pressed("r4", dead=("1.4", "1.5")) == [Command("r", ("1.4",))]


def test_the_question_that_stands_open() -> None:
    keys = Keys(SERVERS)
    living = set(SERVERS) - {"1.5"}
    assert keys.asking(living) == ""
    questions = {
        "k": "kill which server? Press the digit before it.",
        "c": "cut which link? The digits of its two ends.",
        "c1": "cut 1.1 off from which? Its digit.",
        "o": "lose what which server sends? Press its digit, then whom it sends to.",
        "o1": "what 1.1 sends to which server is lost? Its digit.",
        "h": "heal: Enter for every link, or the digits of the two ends of one.",
        "h5": "heal the link of 1.5 and which? Its digit.",
        "p": "part: 1 1.1 1.2 | 1.3 1.4 1.5   a digit moves a server, Enter parts.",
        "p15": "part: 1 1.2 1.5 | 1.1 1.3 1.4   a digit moves a server, Enter parts.",
    }
    assert all(len(question) < 80 for question in questions.values())
    for typed, question in questions.items():
        for key in (ESCAPE, *typed):
            keys.handle(key, living)
        assert keys.asking(living) == question
    keys.handle(ESCAPE, living)
    assert keys.asking(living) == ""
    keys.handle("r", set(SERVERS))
    assert keys.asking(set(SERVERS)) == "all servers run."
    assert keys.asking(set(SERVERS) - {"1.1", "1.4"}) == "revive which server? Press 1 for 1.1, 4 for 1.4."


@given(st.binary(max_size=60), st.sets(st.sampled_from(SERVERS)))
def test_nothing_that_is_typed_breaks_it(data: bytes, living: set[str]) -> None:
    keys = Keys(SERVERS)
    for key in keys_of(data):
        command = keys.handle(key, living)
        assert command is None or set(command.servers) <= set(SERVERS)
        assert keys.asking(living).isprintable()


@given(st.text("krcoph?q0123456789\r\x1b²", max_size=40))
def test_every_command_is_whole(text: str) -> None:
    for verb, servers in pressed(text):
        wanted = {"k": (1,), "r": (1,), "c": (2,), "o": (2,), "h": (0, 2), "p": (1, 2, 3, 4, 5), "q": (0,), "?": (0,)}
        assert len(servers) in wanted[verb]
        assert len(set(servers)) == len(servers)


def test_bytes_as_keys() -> None:
    assert keys_of(b"k\r\x1b") == ["k", ENTER, ESCAPE]
    assert keys_of(b"\x1b[A\x1b[1;5Cx\x1bOP\x1b[") == ["x"]
    assert keys_of(b"\xff\x00\x07") == ["\ufffd"]
    assert max(map(len, HINTS)) < 80
