"""The promises of DESIGN section 1 as code: what a checker is, and what it says when a promise was broken.

Safety is looked at all the time (`look`), liveness once the faults have ended (`finish`). The checkers themselves
stand in files of their own, one promise each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from simulations.world import World


class PromiseBroken(AssertionError):
    """A promise was broken: which (`promise`, such as "P1"), found by which checker, when (virtual second), how."""

    def __init__(self, promise: str, checker: str, at: float, said: str) -> None:
        super().__init__(f"{promise} broken ({checker}) at {at:.3f} s: {said}")
        self.promise = promise
        self.checker = checker
        self.at = at
        self.said = said


class Checker(Protocol):
    """Watches one world from its beginning to its end."""

    name: str
    promise: str

    def begin(self, world: World) -> None:
        """The servers stand; nothing has happened yet."""

    def look(self, world: World) -> None:
        """Safety, cheap, often: raises `PromiseBroken`."""

    def finish(self, world: World) -> str:
        """Liveness, when the faults have ended: "" when it holds by now, else what is missing; may be asked again."""
