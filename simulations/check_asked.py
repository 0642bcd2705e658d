"""P3: a server keeps the objects of those whom it was asked to mirror, all of them, and of nobody else.

    1.2 mirrors 1.* but not 1.3     1.2 takes updates of 1.1, 1.4, ...; one of 1.3 or 1 is accused
    1.2 crashes, and is back        its patterns stand as they were said; in the end one that is lost is missing

Whom a pattern asks for is read here once more (`asks_for`), so that the product's own reading is not believed. It is
asked when an update comes, so a server that nobody had heard of when the pattern was said counts.

Not accused: who is hostile; an update of an owner that was asked for once, also where that is over, for what is on its
way still comes. Of a server that came back from a backup nobody says which patterns it has, nor where the word of one
failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulations.history import Outcome
from simulations.promises import Watching
from store.records import DATA

if TYPE_CHECKING:
    from simulations.world import World


def asks_for(pattern: str, owner: str) -> bool:
    """Whether a pattern in Bangpath's text asks for this owner: the last of its rules that fits decides."""
    asked = False
    for rule in pattern.split(","):
        base = rule.removeprefix("-")
        if base in ("*", owner) or (base.endswith(".*") and owner.startswith(base[:-1])):
            asked = base == rule
    return asked


def patterns_told(world: World, name: str) -> list[str]:
    """The patterns that a server said it mirrors, or keeps as a backup, and of which nothing else was said since."""
    if any(mark.kind == "restore" and name in mark.servers for mark in world.marks):
        return []
    last: dict[str, bool] = {}
    open_until: dict[str, float] = {}
    for word in world.history.decisions:
        if word.server != name or word.verb not in ("mirror", "unmirror") or word.outcome is Outcome.REFUSED:
            continue
        pattern = str(word.target)
        sure = word.outcome is Outcome.DONE and word.begin > open_until.get(pattern, 0)  # else they went side by side
        last[pattern] = sure and word.verb == "mirror"
        open_until[pattern] = max(open_until.get(pattern, 0), word.end)
    return [pattern for pattern, mirrored in last.items() if mirrored]


class MirrorsAsAsked(Watching):
    """Who mirrors whom is what was said, exclusions too."""

    name = "mirrors as asked"
    promise = "P3"

    def __init__(self) -> None:
        self._taken = 0
        self._decisions = 0
        self._asked: dict[str, list[str]] = {}  # server -> every pattern that it was ever asked to mirror
        self._known: set[tuple[str, str]] = set()  # mirrors and owners that were looked at

    def look(self, world: World) -> None:
        world.ledger.refresh()
        decisions, taken = world.history.decisions, world.ledger.taken
        for word in decisions[self._decisions :]:
            if word.verb == "mirror":
                self._asked.setdefault(word.server, []).append(str(word.target))
        fresh, self._taken, self._decisions = taken[self._taken :], len(taken), len(decisions)
        for each in fresh:
            if each.kind != DATA or each.holder == each.owner or (each.holder, each.owner) in self._known:
                continue
            if world.ledger.is_hostile(each.holder):
                continue
            if not any(asks_for(pattern, each.owner) for pattern in self._asked.get(each.holder, ())):
                said = "; ".join(self._asked.get(each.holder, ())) or "nobody"
                self.accuse(
                    world,
                    f"{each.holder} took update {each.number} of {each.owner}, whom it was never asked to mirror: it "
                    f"was asked for {said}",
                )
            self._known.add((each.holder, each.owner))

    def finish(self, world: World) -> str:
        self.look(world)
        missing = []
        for server in world.servers:
            if server.node is None or server.name in world.ledger.excused:
                continue
            mirroring = server.node.parts.mirroring
            there = {pattern.text for pattern, _ in (*mirroring.patterns(), *mirroring.backups())}
            for pattern in patterns_told(world, server.name):
                for owner in world.servers:
                    if owner is server or not asks_for(pattern, owner.name):
                        continue
                    if pattern not in there or not mirroring.keeps(owner.server):
                        missing.append(f"{server.name} does not mirror {owner.name} any more, asked for by {pattern}")
        return "; ".join(missing)
