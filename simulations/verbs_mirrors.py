"""Verbs of mirrors: whose objects a server keeps, of one owner or of all that a pattern matches.

    1.2 mirrors 1.1                     and: 1.2 mirrors 1.1 as backup
    1.2 mirrors 1.*                     all below 1, itself never; and: 1.2 mirrors *
    1.2 mirrors 1.* but not 1.3 1.4     and in Bangpath's own text: 1.2 mirrors 1.*,-1.3,-1.4
    1.2 stops mirroring 1.* but not 1.3 1.4

A pattern is one word to its server: who stops mirroring 1.1 still has it by 1.* where that was said too.
"""

from __future__ import annotations

import re

from identity.errors import Refused
from identity.names import Pattern
from simulations.steps import ID, Act, Run, Verb


def pattern_of(text: str, but: str | None) -> str:
    """In Bangpath's own text: `1.*` but not `1.3 1.4` is `1.*,-1.3,-1.4`. Raises `Refused` for what is none."""
    return Pattern(",".join([text, *(f"-{each}" for each in (but or "").split())])).text


def _mirrors(name: str, text: str, but: str | None, backup: str | None) -> Act:
    pattern = pattern_of(text, but)
    if pattern == name:
        raise Refused(f"{name} needs no mirror of itself", next_step="name two servers, such as: 1.2 mirrors 1.1")

    async def act(run: Run) -> str:
        await run.server(name).mirror(pattern, "backup" if backup else "mirrored")
        return ""

    return act


def _mirrors_one(name: str, other: str, backup: str | None) -> Act:
    return _mirrors(name, other, None, backup)


def _unmirrors(name: str, text: str, but: str | None = None) -> Act:
    pattern = pattern_of(text, but)

    async def act(run: Run) -> str:
        await run.server(name).unmirror(pattern)
        return ""

    return act


def asked_of(line: str) -> tuple[str, str, bool] | None:
    """Of a line of these, without its time: who, the pattern in Bangpath's own text, and whether it ends it."""
    for verb in VERBS:
        if match := re.fullmatch(verb.pattern, line):
            but = match[3] if verb.pattern.count("but not") else None
            return match[1], pattern_of(match[2], but), " stops mirroring " in line
    return None


_MANY = r"(-?(?:\d[\d.]*(?:\.\*)?|\*)(?:,-?(?:\d[\d.]*(?:\.\*)?|\*))+|\d[\d.]*\.\*|\*)"  # a wildcard, or several rules
_BUT = r"(?: but not (\d[\d. ]*?))?"

VERBS: tuple[Verb, ...] = (
    Verb(rf"{ID} mirrors {ID}( as backup)?", (1, 2), _mirrors_one, "1.2 mirrors 1.1"),
    Verb(rf"{ID} mirrors {_MANY}{_BUT}( as backup)?", (1, 3), _mirrors, "1.2 mirrors 1.* but not 1.3"),
    Verb(rf"{ID} stops mirroring {ID}", (1, 2), _unmirrors, "1.2 stops mirroring 1.1"),
    Verb(rf"{ID} stops mirroring {_MANY}{_BUT}", (1, 3), _unmirrors, "1.2 stops mirroring 1.* but not 1.3"),
)
