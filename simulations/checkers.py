"""All checkers, and their names: what `expect every promise` looks at, and what a test hands to `mesh.check(...)`.

    from simulations.checkers import converged, every_checker, no_loops, no_lost_commits

    mesh.check(no_loops, no_lost_commits, converged)

Each is one promise of DESIGN section 1 in a file of its own; its docstring says the promise and who is not accused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from identity.errors import Refused
from simulations.check_adopting import RestoredLearn
from simulations.check_answered import WhoAnswered
from simulations.check_answers import TrueAnswers
from simulations.check_asked import MirrorsAsAsked
from simulations.check_commits import NoLostCommits
from simulations.check_denials import OwnersDeny
from simulations.check_expiry import InTime
from simulations.check_forks import ForksAreProven
from simulations.check_linearizable import LinearizableOwners
from simulations.check_loops import NoLoops
from simulations.check_memory import BoundedMemory
from simulations.check_mirrors import Converged, MirrorsArePrefixes
from simulations.check_order import OnceInOrder
from simulations.check_outbox import NoForgottenChanges, OutboxesInOrder
from simulations.check_packets import PacketsOnce
from simulations.check_paths import HonestPaths
from simulations.check_reached import EverybodyReached
from simulations.check_signed import OnlyTheSigned
from simulations.check_traffic import SentOnce
from simulations.check_unique import UniqueValues
from simulations.promises import Checker, PromiseBroken, Wanted

if TYPE_CHECKING:
    from simulations.world import World

no_lost_commits = NoLostCommits
no_forgotten_changes = NoForgottenChanges
outboxes_in_order = OutboxesInOrder
in_time = InTime
unique_values = UniqueValues
restored_servers_learn = RestoredLearn
only_the_signed = OnlyTheSigned
forks_are_proven = ForksAreProven
packets_opened_once = PacketsOnce
once_and_in_order = OnceInOrder
sent_once = SentOnce
mirrors_are_prefixes = MirrorsArePrefixes
mirrors_as_asked = MirrorsAsAsked
linearizable_owners = LinearizableOwners
only_owners_deny = OwnersDeny
true_answers = TrueAnswers
honest_paths = HonestPaths
who_answered = WhoAnswered
no_loops = NoLoops
bounded_memory = BoundedMemory
everybody_reached = EverybodyReached
converged = Converged

KINDS: tuple[type[Checker], ...] = (
    NoLostCommits,
    NoForgottenChanges,
    OutboxesInOrder,
    InTime,
    UniqueValues,
    RestoredLearn,
    OnlyTheSigned,
    ForksAreProven,
    PacketsOnce,
    OnceInOrder,
    SentOnce,
    MirrorsArePrefixes,
    MirrorsAsAsked,
    OwnersDeny,
    LinearizableOwners,
    TrueAnswers,
    HonestPaths,
    WhoAnswered,
    NoLoops,
    BoundedMemory,
    EverybodyReached,
    Converged,
)
WATCH_EVERY_S = 0.25  # virtual seconds between two looks of the checkers
EXPECT_EVERY_S = 0.5  # and between two looks whether everything has come right
BY_NAME: dict[str, type[Checker]] = {str(kind.name): kind for kind in KINDS}


def every_checker() -> tuple[Checker, ...]:
    """A new one of each, for one world."""
    return tuple(kind() for kind in KINDS)


def check(world: World, wanted: Iterable[Wanted] = ()) -> None:
    """That these promises hold now, or all of them. Raises `PromiseBroken`.

    Of those that must be watched for a while, only what must never be is looked at; `expect` waits for the rest.
    """
    for checker in [watching(world, each) for each in tuple(wanted) or KINDS]:
        checker.look(world)
        missing = "" if getattr(checker, "takes_time", False) else checker.finish(world)
        if missing:
            raise PromiseBroken(checker.promise, checker.name, world.now, missing)


async def expect(world: World, wanted: Iterable[Wanted] = (), *, within: float) -> float:
    """That these promises, or all, come to hold within so many seconds; after how many they did.

    Raises `PromiseBroken`.
    """
    begun = world.now
    left = [watching(world, each) for each in tuple(wanted) or KINDS]
    while True:
        missing = [(checker, checker.finish(world)) for checker in left]
        left = [checker for checker, said in missing if said]
        if not left:
            return world.now - begun
        if world.now >= begun + within:
            missing.sort(key=lambda found: found[0].name != EverybodyReached.name)  # who is cut off explains the rest
            checker, said = next((each, said) for each, said in missing if said)
            when = f" within {world.now - begun:g} s" if within else ""
            raise PromiseBroken(checker.promise, checker.name, world.now, f"not{when}: {said}")
        await world.sleep(EXPECT_EVERY_S)


async def watch(world: World, checkers: Sequence[Checker]) -> None:
    """Look for ever. Raises `PromiseBroken` as soon as one of these is."""
    while True:
        for checker in checkers:
            checker.look(world)
        await world.sleep(WATCH_EVERY_S)


def watching(world: World, wanted: Wanted) -> Checker:
    """The checker that watches this world, begun now if it does not yet; of a kind, the one there is or a new one.

    Raises `Refused` for what is no checker.
    """
    if not (hasattr(wanted, "look") and hasattr(wanted, "finish")):
        known = ", ".join(BY_NAME)
        raise Refused(
            f"{wanted!r} is no promise",
            next_step=f"import one from simulations.checkers ({known}), or write a class of `promises.Watching`",
        )
    for checker in world.checkers:
        if checker is wanted or type(checker) is wanted:
            return checker
    checker = wanted() if isinstance(wanted, type) else wanted
    checker.begin(world)
    return checker
