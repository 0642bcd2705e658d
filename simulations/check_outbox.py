"""P1: a change that was said to wait in an outbox is there after any crash, until its owner has said what became of it.

    1.3 asked of 1.1: update 1.1/4  -> waits as request 7
        while 1.3 is up     request 7 is in its outbox, open or with its outcome            else accused
        committed           1.1 made that version                                           else accused
        refused, expired    1.1 made no such version (`check_commits` looks for it)
        in the end          it has an outcome, when its owner is there                      else missing

Not accused: who is excused. An outcome that was seen once may be forgotten later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from node.outcomes import Queued
from replication.entries import Entry, State
from simulations.history import Word
from simulations.promises import Watching

if TYPE_CHECKING:
    from simulations.world import World

LOOK_EVERY_S = 1.0


class NoForgottenChanges(Watching):
    """What waits, waits."""

    name = "no forgotten changes"
    promise = "P1"

    def __init__(self) -> None:
        self._words = 0
        self._at = -LOOK_EVERY_S
        self._waiting: list[tuple[Word, Queued]] = []

    def look(self, world: World) -> None:
        ended = world.history.ended
        fresh = [(word, word.result) for word in ended[self._words :] if isinstance(word.result, Queued)]
        self._words = len(ended)
        self._waiting += fresh
        if self._waiting and (fresh or world.now - self._at >= LOOK_EVERY_S):
            self._at = world.now
            world.ledger.refresh()
            self._waiting = [each for each in self._waiting if self._is_open(world, *each)]

    def finish(self, world: World) -> str:
        self._at = -LOOK_EVERY_S
        self.look(world)
        return "; ".join(
            f"request {queued.request} still waits at {word.server}: {word}"
            for word, queued in self._waiting
            if all(world.server(each).node is not None for each in (word.server, word.owner))
        )

    def _is_open(self, world: World, word: Word, queued: Queued) -> bool:
        """Whether its outcome is still to come; accuses."""
        ledger = world.ledger
        server = world.server(word.server)
        if word.server in ledger.excused or word.owner in ledger.excused:
            return False
        if server.node is None:
            return True
        entry: Entry | None = server.node.parts.delivering.outbox.find(queued.request)
        if entry is None:
            self.accuse(world, f"{word.server} forgot request {queued.request}, which it said waits: {word}")
        if entry.state is State.COMMITTED:
            if ledger.is_behind(word.owner):
                return True
            self._check_made(world, word, entry)
        return entry.open

    def _check_made(self, world: World, word: Word, entry: Entry) -> None:
        """That the owner made what it is said to have committed."""
        for result in (entry.outcome or {}).get("results", ()):
            if result["done"] == "unchanged":
                continue
            object = int(str(result["reference"]).rpartition("/")[2])
            versions = world.ledger.versions(word.owner, object)
            if versions and all(each.leaf.sequence != result["sequence"] for each in versions):
                self.accuse(
                    world,
                    f"{word.server} has it that {word.owner} committed {result['reference']} with sequence "
                    f"{result['sequence']}, which {word.owner} never made: {word}",
                )
