"""Keys pressed at the map, and what is meant: one letter says what to do, digits say with whom.

    k 2            kill 1.2                          the digit of a server stands before its row
    r 2            revive 1.2                        (the only one that is dead is meant without a digit)
    c 1 2          cut the link of 1.1 and 1.2, both ways
    o 1 2          cut it one way: what 1.1 sends to 1.2 is lost
    p [digits] Enter   part the mesh in two halves; a digit moves its server to the other side
    h Enter        heal every link          h 1 2    that one
    ?              help                     q        quit         Esc   nothing of all this

Pure: keys in, one `Command` out when it is complete; `asking()` is the question that stands open.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

ESCAPE, ENTER = "esc", "enter"
LETTERS, DIGITS = "krcophq?", "0123456789"
HOW_MANY = {"k": 1, "r": 1, "c": 2, "o": 2, "h": 2}
HINTS = (
    "k kill  r revive  c cut  o cut one way  p part in two  h heal  ? help  q quit",
    "k kill  r revive  c cut  o one way  p part  h heal  ? help  q quit",
    "k r c o p h, ? says what they do, q quits",
)


class Command(NamedTuple):
    """`verb`: the letter; `servers`: whom it is about, for `p` one half."""

    verb: str
    servers: tuple[str, ...] = ()


def keys_of(data: bytes) -> list[str]:
    """What was typed: characters, `enter`, `esc`. Arrows and the like, which begin as Esc does, mean nothing."""
    keys: list[str] = []
    text = data.decode("utf-8", errors="replace")
    at = 0
    while at < len(text):
        character = text[at]
        at += 1
        if character == "\x1b":
            if at < len(text) and text[at] in "[O":
                at += 1
                while at < len(text) and not text[at].isalpha() and text[at] != "~":
                    at += 1
                at += 1
            else:
                keys.append(ESCAPE)
        elif character in "\r\n":
            keys.append(ENTER)
        elif character.isprintable():
            keys.append(character)
    return keys


class Keys:
    """`living` is asked at each key: who can be killed, who revived."""

    def __init__(self, servers: Sequence[str]) -> None:
        self._servers = tuple(servers)
        self._verb = ""
        self._chosen: list[str] = []

    def handle(self, key: str, living: Collection[str]) -> Command | None:
        """A key; the command that it completes."""
        if not self._verb:
            return self._begin(key, living)
        if key == ESCAPE or (key in LETTERS and key != self._verb):
            self._forget()
            return None if key == ESCAPE else self._begin(key, living)
        if key in (ENTER, self._verb):
            return self._enter()
        if key not in DIGITS or int(key) >= len(self._servers):
            return None
        server = self._servers[int(key)]
        if self._verb == "p":
            self._chosen = [each for each in self._servers if (each in self._chosen) != (each == server)]
        elif server not in self._chosen:
            self._chosen.append(server)
        if len(self._chosen) == HOW_MANY.get(self._verb):
            return self._complete()
        return None

    def asking(self, living: Collection[str]) -> str:
        """The question that stands open; empty when none does."""
        first = self._chosen[0] if self._chosen else ""
        others = [each for each in self._servers if each not in self._chosen]
        dead = [f"{at} for {each}" for at, each in enumerate(self._servers) if each not in living]
        return {
            "": "",
            "k": "kill which server? Press the digit before it.",
            "r": f"revive which server? Press {', '.join(dead)}." if dead else "all servers run.",
            "c": f"cut {first} off from which? Its digit." if first else "cut which link? The digits of its two ends.",
            "o": f"what {first} sends to which server is lost? Its digit." if first else (
                "lose what which server sends? Press its digit, then whom it sends to."
            ),
            "h": f"heal the link of {first} and which? Its digit." if first else (
                "heal: Enter for every link, or the digits of the two ends of one."
            ),
            "p": f"part: {' '.join(self._chosen)} | {' '.join(others)}   a digit moves a server, Enter parts.",
        }[self._verb]  # fmt: skip

    def _begin(self, key: str, living: Collection[str]) -> Command | None:
        if key in ("q", "?"):
            return Command(key)
        if key not in LETTERS:
            return None
        self._verb = key
        dead = [each for each in self._servers if each not in living]
        if key == "r" and len(dead) == 1:
            self._chosen = dead
            return self._complete()
        if key == "p":
            self._chosen = list(self._servers[: (len(self._servers) + 1) // 2])
        return None

    def _enter(self) -> Command | None:
        """The end of what has no fixed number of servers; else a first letter again, which is nothing new."""
        if self._verb == "h" and not self._chosen:
            return self._complete()
        if self._verb == "p" and 0 < len(self._chosen) < len(self._servers):
            return self._complete()
        return None

    def _complete(self) -> Command:
        command = Command(self._verb, tuple(self._chosen))
        self._forget()
        return command

    def _forget(self) -> None:
        self._verb = ""
        self._chosen = []
