"""How good an answer must be, as its asker says: whom it may come from, how old it may be, what it must contain.

    consistency   local      only what is held here          nearest   own, mirrored, else the owner, else who holds it
                  owner      the owner alone
    max_age       seconds: a copy that was proven current longer ago, or nobody knows when, is not good enough
    after         positions, as changes are answered with (`1.2@3:17`): a copy of 1.2 that ends before is not good
                  enough; so one reads what one wrote

An owner's own word is as old as it is asked, so `max_age` is about copies; `after` binds the owner too, because it may
have come back from an older backup. A copy that was kept by chance (cached) has no position: it never passes `after`.

Pure: `Wanted` is a value, `fault` says what is missing, for people.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from identity.errors import Refused
from identity.names import Position, ServerId

CONSISTENCIES = ("local", "nearest", "owner")
MAX_AFTER = 1024  # positions in one question: as many owners as anybody changes before one question
_POSITION = re.compile(r"([0-9.]{1,1000})@(\d{1,19}):(\d{1,19})", re.ASCII)


class After(NamedTuple):
    """A position as people and programs write it, without the incarnation: `1.2@3:17`."""

    server: ServerId
    epoch: int
    number: int

    def __str__(self) -> str:
        return f"{self.server}@{self.epoch}:{self.number}"

    def is_behind(self, position: Position | None) -> bool:
        """Whether what ends at `position` may lack what this one names. Numbers grow over all epochs (DESIGN N6)."""
        return position is None or position.number < self.number or position.epoch < self.epoch


class Wanted(NamedTuple):
    """What the asker wants of an answer; `after` holds at most one position an owner."""

    consistency: str = "nearest"
    max_age: float | None = None
    after: tuple[After, ...] = ()

    def after_of(self, owner: ServerId) -> After | None:
        """What a copy of this owner must contain."""
        return next((each for each in self.after if each.server == owner), None)

    def fault(self, owner: ServerId, *, position: Position | None, age: float | None, by_owner: bool) -> str:
        """Why an answer is not good enough, as the end of a sentence that begins with who gave it; "": it is."""
        after = self.after_of(owner)
        if after is not None and after.is_behind(position):
            return (
                f"is at {position} and {after} was asked for" if position else f"has no position, {after} was asked for"
            )
        if self.max_age is None or by_owner:
            return ""
        if age is None:
            return f"is of an age that nobody knows, and at most {self.max_age:g} s was asked for"
        if age > self.max_age:
            return f"is {age:.1f} s old, and at most {self.max_age:g} s was asked for"
        return ""


NEAREST = Wanted()


def wanted(
    consistency: str = "nearest", max_age: float | None = None, after: str | Iterable[str] | None = None
) -> Wanted:
    """Checked, from what a caller said. Raises `Refused` naming the field."""
    check_consistency(consistency)
    if max_age is not None and not 0 <= max_age < float("inf"):
        raise Refused("max_age is a number of seconds, 0 or more", field="max_age")
    texts = after.split(",") if isinstance(after, str) else list(after or ())
    found: dict[ServerId, After] = {}
    for text in texts[: MAX_AFTER + 1]:
        each = read_after(text)
        before = found.get(each.server)
        if before is None or (before.epoch, before.number) < (each.epoch, each.number):
            found[each.server] = each  # whoever has the later one has the earlier one too
    if len(texts) > MAX_AFTER:
        raise Refused(f"{len(texts)} positions in after, {MAX_AFTER} allowed", field="after")
    return Wanted(consistency, max_age, tuple(found.values()))


def check_consistency(text: str) -> str:
    """The word itself. Raises `Refused` for any other."""
    if text not in CONSISTENCIES:
        raise Refused(f"{text!r} is no consistency", next_step="say local, nearest or owner", field="consistency")
    return text


def read_after(text: str) -> After:
    """A position. Raises `Refused`."""
    matched = _POSITION.fullmatch(text.strip()) if isinstance(text, str) else None
    if matched is None:
        raise Refused(
            f"{str(text)[:100]!r} is no position", next_step="write it as a change tells it: 1.2@3:17", field="after"
        )
    return After(ServerId.parse(matched[1]), int(matched[2]), int(matched[3]))
