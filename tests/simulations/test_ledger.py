"""The ledger has what owners made and others took; what is gone after a start, it does not forgive."""

from __future__ import annotations

from typing import Any

import pytest

from simulations.world import World, simulate
from store.definitions import ClassDefinition, Field
from store.records import DATA
from store.tables import MemoryTables

NOTE = ClassDefinition(name="Note", fields=(Field(name="text"),))


async def settled(world: World) -> None:
    """1.1 has three notes that 1.2 mirrors."""
    a, b = world.servers[1:3]
    await a.define(NOTE)
    await b.mirror(a)
    for number in range(3):
        await a.create("Note", {"text": f"note {number}"})
    await world.sleep(2)
    world.ledger.refresh()


def test_it_has_what_was_made_and_what_was_taken_of_it() -> None:
    async def story(world: World) -> None:
        await settled(world)
        ledger = world.ledger
        assert ledger.last("1.1") == 3
        assert ledger.held["1.2", "1.1", DATA] == 3
        taken = [each for each in ledger.taken if (each.holder, each.owner, each.kind) == ("1.2", "1.1", DATA)]
        assert [each.number for each in taken] == [1, 2, 3]
        assert all(each.update is None for each in taken)  # the very updates that 1.1 made
        (last,) = taken[-1].objects
        version = ledger.version("1.1", last, 3)
        assert version is not None
        assert version.number == 3
        assert ledger.version("1.1", last, 2) is None
        assert ledger.broken == []

    simulate(story, servers=3, seed=3)


def test_what_a_crash_left_in_the_log_is_learnt_at_the_next_start() -> None:
    async def story(world: World) -> None:
        await settled(world)
        a = world.servers[1]
        del world.ledger.made["1.1", DATA][3]  # as if it had crashed between the sync and the telling
        await a.crash()
        await a.restart()
        assert "1.1" in world.ledger.refresh()
        assert world.ledger.last("1.1") == 3
        assert world.ledger.broken == []

    simulate(story, servers=3, seed=3)


def lose_everything(server: Any) -> None:
    from simulations.faulty_disk import FaultyDisk

    server.disk = FaultyDisk(server.world.generator("another disk"), pause=server._pause)
    server.tables = MemoryTables()


@pytest.mark.parametrize(("which", "said"), [(1, "made update 3 of its data feed"), (2, "had update 3 of 1.1's data")])
def test_what_is_gone_after_a_start_is_a_breach(which: int, said: str) -> None:
    async def story(world: World) -> None:
        await settled(world)
        server = world.servers[which]
        await server.crash()
        lose_everything(server)
        await server.restart()
        world.ledger.refresh()
        assert any(said in each.said and each.promise == "P1" for each in world.ledger.broken)

    simulate(story, servers=3, seed=3)


def test_nobody_is_accused_of_what_an_old_backup_has_not() -> None:
    async def story(world: World) -> None:
        await settled(world)
        server = world.servers[1]
        await server.crash()
        lose_everything(server)
        world.mark("restart", server.name, backup=1)
        await server.restart()
        world.ledger.refresh()
        assert world.ledger.broken == []
        assert "1.1" in world.ledger.excused

    simulate(story, servers=3, seed=3)


def test_commits_and_their_arrivals_are_marks() -> None:
    async def story(world: World) -> None:
        await settled(world)
        kinds = [(mark.kind, mark.servers) for mark in world.marks if mark.kind in ("commit", "applied")]
        assert kinds.count(("commit", ("1.1",))) == 3
        assert kinds.count(("applied", ("1.2", "1.1"))) == 3

    simulate(story, servers=3, seed=3)
