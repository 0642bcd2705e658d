"""P3: each update is applied once, in its owner's order, whatever came twice, late or not at all; and versions ascend.

    1.2 of 1.1   1  2  3  4        good
                 1  2  4           accused: 3 is missing before it        (`ledger.py` sees it at that very moment)
                 1  2  3  3        accused: twice

An object's sequence is higher in each later update: else a mirror that applies them in order would go back in time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulations.promises import Watching
from store.records import DATA

if TYPE_CHECKING:
    from simulations.world import World


class OnceInOrder(Watching):
    """Applied once, in order."""

    name = "once and in order"
    promise = "P3"

    def __init__(self) -> None:
        self._breaches = 0
        self._numbers: dict[str, int] = {}
        self._sequences: dict[str, dict[int, int]] = {}

    def look(self, world: World) -> None:
        ledger = world.ledger
        ledger.refresh()
        for breach in ledger.broken[self._breaches :]:
            self._breaches += 1
            if breach.promise == self.promise:
                self.accuse(world, breach.said)
        for (owner, kind), made in ledger.made.items():
            if kind != DATA or owner in ledger.excused:
                continue
            known = self._sequences.setdefault(owner, {})
            number = self._numbers.get(owner, 0) + 1
            while number in made:
                for leaf in made[number].leaves:
                    before = known.get(leaf.object, 0)
                    if leaf.sequence <= before:
                        self.accuse(
                            world,
                            f"update {number} of {owner} has {owner}/{leaf.object} with sequence {leaf.sequence}, "
                            f"after sequence {before}",
                        )
                    known[leaf.object] = leaf.sequence
                self._numbers[owner] = number
                number += 1

    def finish(self, world: World) -> str:
        self.look(world)
        return ""
