"""All checkers, and their names: what `expect every promise` looks at, and what a test hands to `mesh.check(...)`.

    from simulations.checkers import converged, every_checker, no_loops, no_lost_commits

    mesh.check(no_loops, no_lost_commits, converged)

Each is one promise of DESIGN section 1 in a file of its own; its docstring says the promise and who is not accused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from identity.errors import Refused
from simulations.check_commits import NoLostCommits
from simulations.check_mirrors import Converged, MirrorsArePrefixes
from simulations.check_order import OnceInOrder
from simulations.check_signed import OnlyTheSigned
from simulations.promises import Checker, PromiseBroken

if TYPE_CHECKING:
    from simulations.world import World

no_lost_commits = NoLostCommits
mirrors_are_prefixes = MirrorsArePrefixes
once_and_in_order = OnceInOrder
only_the_signed = OnlyTheSigned
converged = Converged

KINDS: tuple[type[Checker], ...] = (
    NoLostCommits,
    OnlyTheSigned,
    OnceInOrder,
    MirrorsArePrefixes,
    Converged,
)
BY_NAME: dict[str, type[Checker]] = {str(kind.name): kind for kind in KINDS}


def every_checker() -> tuple[Checker, ...]:
    """A new one of each, for one world."""
    return tuple(kind() for kind in KINDS)


def check(world: World, wanted: Iterable[type[Checker]] = ()) -> None:
    """That these promises hold now, or all of them. Raises `PromiseBroken`."""
    for kind in tuple(wanted) or KINDS:
        if not isinstance(kind, type) or not (hasattr(kind, "look") and hasattr(kind, "finish")):
            known = ", ".join(BY_NAME)
            raise Refused(
                f"{kind!r} is no promise",
                next_step=f"import one from simulations.checkers ({known}), or write a class of `promises.Watching`",
            )
        checker = watching(world, kind)
        checker.look(world)
        missing = checker.finish(world)
        if missing:
            raise PromiseBroken(checker.promise, checker.name, world.now, missing)


def watching(world: World, kind: type[Checker]) -> Checker:
    """The checker of that kind which watches this world, begun now if none does yet."""
    for checker in world.checkers:
        if type(checker) is kind:
            return checker
    checker = kind()
    checker.begin(world)
    return checker
