"""P5: only an owner may say "no such object"; failing to reach it is not the same.

    1.3 got 1.1/4: NotFound     1.1 was up meanwhile, and had no such object at one moment at least    good
                                1.1 was down, or paused, all the while                                 accused
                                1.1 had it all the while                                               accused

Only objects of distributed classes are known to the ledger; of others nothing is said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from identity.errors import NotFound
from simulations.history import Word
from simulations.promises import JudgingWords
from store.records import DATA

if TYPE_CHECKING:
    from simulations.ledger import Ledger
    from simulations.world import World

_UP, _DOWN = ("start", "resume"), ("stop", "crash", "died", "pause")


class OwnersDeny(JudgingWords):
    """Whoever says that there is none, is its owner, and right."""

    name = "only owners deny"
    promise = "P5"

    def concerns(self, word: Word) -> bool:
        return word.verb == "get" and isinstance(word.error, NotFound)

    def judge(self, world: World, word: Word) -> bool:
        """Accuses, or says whether nothing is left to say; not while what the owner has in its log is not known."""
        ledger = world.ledger
        assert isinstance(word.error, NotFound)
        if any(each in ledger.excused for each in (word.owner, word.server)) or word.error.details.get("gone"):
            return True
        if word.error.details.get("owner") != word.owner:
            self.accuse(world, f"{word}; that is not the word of {word.owner}")
        if not was_up(world, word.owner, word.begin_s, word.end_s):
            self.accuse(world, f"{word}; but {word.owner} was not there to say so")
        if ledger.is_behind(word.owner):
            return False
        object = int(str(word.target).rpartition("/")[2])
        there = was_there(ledger, word, object)
        if there is not None:
            self.accuse(world, f"{word}; but {word.owner}/{object} was there all the while, since update {there}")
        return True


def was_there(ledger: Ledger, word: Word, object: int) -> int | None:
    """By which update the object had been made and was not deleted from the word's begin to its end, for certain."""
    there = None
    for version in ledger.versions(word.owner, object):
        made = ledger.made.get((word.owner, DATA), {}).get(version.number)
        if made is None:
            return None
        if version.leaf.body:
            if there is None and made.tick < word.begin:
                there = version.number
        elif made.tick <= word.begin:
            there = None
        elif made.since < word.end:
            return None
    return there


def was_up(world: World, server: str, begin: float, end: float) -> bool:
    """Whether a server ran at one moment of this time at least."""
    up = True  # all are, when the marks begin
    for mark in world.marks:
        if mark.at > end:
            break
        if server not in mark.servers[:1]:
            continue
        if mark.kind in _DOWN:
            if up and mark.at >= begin:
                return True
            up = False
        elif mark.kind in _UP:
            up = True
    return up
