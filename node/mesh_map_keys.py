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
LETTERS = "krcophq?"
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
        if not key.isdigit() or int(key) >= len(self._servers):
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
        offered = "  ".join(f"{at} {each}" for at, each in enumerate(self._servers) if each not in self._chosen)
        if self._verb == "k":
            return "kill which server?   " + self._offer(set(living))
        if self._verb == "r":
            return "revive which server?   " + self._offer(set(self._servers) - set(living))
        if self._verb == "c":
            return f"cut {self._chosen[0]} off from?   {offered}" if self._chosen else f"cut which link?   {offered}"
        if self._verb == "o":
            source = self._chosen[0] if self._chosen else ""
            return (
                f"what {source} sends to whom is lost?   {offered}" if source else f"lose what who sends?   {offered}"
            )
        if self._verb == "h":
            return f"heal the link of {self._chosen[0]} and?   {offered}" if self._chosen else (
                f"heal: Enter for every link, or one:   {offered}"
            )  # fmt: skip
        if self._verb == "p":
            others = [each for each in self._servers if each not in self._chosen]
            return f"part: {' '.join(self._chosen)} | {' '.join(others)}   a digit moves a server, Enter parts"
        return ""

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

    def _offer(self, servers: Collection[str]) -> str:
        return "  ".join(f"{at} {each}" for at, each in enumerate(self._servers) if each in servers) or "none (Esc)"
