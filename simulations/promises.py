"""The promises of DESIGN section 1 as code: what a checker is, and what it says when a promise was broken.

    begin(world)     the servers stand
    look(world)      safety: what must never be. Raises PromiseBroken; cheap, called all the time
    finish(world)    liveness, once the faults have ended: "" when it holds by now, else what is missing

The checkers stand in files of their own, one promise each (`checkers.py` gathers them). Whoever is accused is named,
with the object, what was expected and what was found. In doubt a checker is silent: what crashed with unknown outcome
may be there or not, and who is excused (`ledger.excused`) is not accused of its own history.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, NamedTuple, NoReturn, Protocol

if TYPE_CHECKING:
    from simulations.history import Word
    from simulations.world import World


class PromiseBroken(AssertionError):
    """A promise was broken: which (`promise`, such as "P1"), found by which checker, when (virtual second), how."""

    def __init__(self, promise: str, checker: str, at: float, said: str) -> None:
        said = _LONG.sub(_cut, said)
        super().__init__(f"{promise} broken ({checker}) at {at:.3f} s: {said}")
        self.promise = promise
        self.checker = checker
        self.at = at
        self.said = said


_LONG = re.compile(r"[^\s'\"]{120,}")  # a field of 20 kB and the like: it would push everything else off the screen


def _cut(long: re.Match[str]) -> str:
    return f"{long[0][:40]}...({len(long[0])} characters)"


class Breach(NamedTuple):
    """Something that must not be, found while looking on; a checker says it at its next look."""

    promise: str
    at: float
    said: str


class Checker(Protocol):
    """Watches one world from its beginning to its end."""

    @property
    def name(self) -> str:
        """As people say it in a scenario: no lost commits."""

    @property
    def promise(self) -> str:
        """Which promise of DESIGN section 1: P1 to P6."""

    def begin(self, world: World) -> None:
        """The servers stand; nothing has happened yet."""

    def look(self, world: World) -> None:
        """Safety, cheap, often: raises `PromiseBroken`."""

    def finish(self, world: World) -> str:
        """Liveness, when the faults have ended: "" when it holds by now, else what is missing; may be asked again."""


Wanted = type[Checker] | Checker  # a kind of checker, or one that was made with what it must know


class Watching:
    """What checkers share. A subclass has at least `look` or `finish` of its own."""

    name: ClassVar[str]
    promise: ClassVar[str]
    takes_time: ClassVar[bool] = False  # `finish` looks on for a while: it can be expected, and not be had at once

    def begin(self, world: World) -> None:
        world.checkers.append(self)

    def look(self, world: World) -> None: ...

    def finish(self, world: World) -> str:
        """Safety has no end: it holds as long as nothing was said against it."""
        return ""

    @property
    def judged(self) -> str:
        """How much it had to judge when its end was asked for, in a few words; "" when that says nothing."""
        return ""

    @property
    def unjudged(self) -> str:
        """What it could not judge and so did not accuse, in a few words; "" when that is nothing."""
        return ""

    def accuse(self, world: World, said: str, *, promise: str = "") -> NoReturn:
        raise PromiseBroken(promise or self.promise, self.name, world.now, said)


class Overhearing(Watching):
    """Hears what servers say and do while it happens, where nobody may be accused yet; does so at its next look."""

    def __init__(self) -> None:
        self._breaches: list[Breach] = []

    def note(self, world: World, said: str) -> None:
        """This must not be, and is so now."""
        self._breaches.append(Breach(self.promise, world.now, said))

    def look(self, world: World) -> None:
        if self._breaches:
            self.accuse(world, self._breaches[0].said)

    def finish(self, world: World) -> str:
        self.look(world)
        return ""


class JudgingWords(Watching, ABC):
    """Words are judged when they have ended, and again at each look until nothing is left to say of them: what the
    owner in question made last may not be known yet. A subclass has `concerns` and `judge`."""

    def __init__(self) -> None:
        self._words = 0
        self._waiting: list[Word] = []

    @abstractmethod
    def concerns(self, word: Word) -> bool:
        """Whether this word is one to be judged."""

    @abstractmethod
    def judge(self, world: World, word: Word) -> bool:
        """Accuses, or says whether nothing is left to say."""

    def look(self, world: World) -> None:
        ended = world.history.ended
        fresh = [word for word in ended[self._words :] if self.concerns(word)]
        self._words = len(ended)
        if fresh or self._waiting:
            world.ledger.refresh()
            self._waiting = [word for word in (*self._waiting, *fresh) if not self.judge(world, word)]

    def finish(self, world: World) -> str:
        self.look(world)
        return ""
