"""P5: an answer says by which path it came: its owner first, who asked last, and in it who answered.

    1.3 got 1.1/4, mirrored, by 1.4, path 1.1!1!1.4!1.3      good
                             by 1.4, path 1.1!1!1.3          accused: 1.4 answered
                                     path 1.1!1.1!1.3        accused: nobody hands on to itself
                             by 1.4, path 1.1!1.3!1.4!1.3    good: 1.3 handed the update on, and has no mirror of it
                                     path 1.1!7.7!1.3        accused: there is no 7.7
                   owned,            path 1.1!1.3            accused: what is its own came by no path
                   cached, by 1.4,   path 1.4!1.3            good: how a copy came that is kept by chance nobody knows

Nobody is accused of who else stands on a path. A repair names only who sent it (`node.standpoint`), a mirror tells how
an update came, long ago, and what gateways handed it on is known to themselves alone. Where a server is or was hostile
the paths of updates, which nobody signs, are its word: then none is judged.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from node.asking import Found
from simulations.history import Outcome, Word
from simulations.promises import JudgingWords

if TYPE_CHECKING:
    from simulations.world import World


class HonestPaths(JudgingWords):
    """The path that an answer tells is one."""

    name = "honest paths"
    promise = "P5"

    def concerns(self, word: Word) -> bool:
        return word.verb in ("get", "query") and word.outcome is Outcome.DONE

    def judge(self, world: World, word: Word) -> bool:
        """Accuses, or says that nothing is left to say."""
        if not any(world.ledger.is_hostile(each.name) for each in world.servers):
            for found in (word.result,) if word.verb == "get" else word.result.rows:
                wrong = wrong_with(found, word.server, [each.name for each in world.servers])
                if wrong:
                    told = "!".join(map(str, found.path))
                    self.accuse(world, f"{word}, and was told {found.reference}, {found.kind}, by path {told}; {wrong}")
        return True


def wrong_with(found: Found, asker: str, servers: list[str]) -> str:
    """What is wrong with the path of this answer, "" when nothing is. `servers`: all that there are."""
    path, owner = [str(each) for each in found.path], str(found.reference.server)
    if not path or (path[0] != owner and found.kind != "cached"):
        return f"it begins with {owner}, who owns it"
    if path[-1] != asker:
        return f"it ends with {asker}, who asked"
    if found.kind == "owned" and path != [asker]:
        return f"it is {asker}'s own, and came by no path"
    if any(one == other for one, other in pairwise(path)):
        return "nobody hands on to itself"
    unknown = [each for each in path if each not in servers]
    if unknown:
        return f"there is no server {unknown[0]}"
    if found.by is not None and str(found.by) not in path:
        return f"{found.by} answered, and is not in it"
    return ""
