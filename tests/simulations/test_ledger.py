"""The ledger has what owners made and others took; what is gone after a start, it does not forgive."""

from __future__ import annotations

from typing import Any

import pytest

from node.observing import Durable
from simulations.world import World, simulate
from store.definitions import ClassDefinition, Field
from store.records import DATA, Update

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


def test_nothing_is_read_of_a_disk_whose_power_was_just_cut() -> None:
    async def story(world: World) -> None:
        await settled(world)
        a = world.servers[1]
        await a.crash()
        await a.restart()
        a.disk.dark = "a write"  # its node is still there: what is told of a power cut comes a moment later
        assert "1.1" not in world.ledger.refresh()
        a.disk.dark = ""
        ended = a.crash()
        assert a.node is not None
        assert "1.1" not in world.ledger.refresh()
        await ended
        await a.restart()
        assert "1.1" in world.ledger.refresh()

    simulate(story, servers=3, seed=3)


def test_an_update_that_is_told_again_after_an_earlier_one_was_found_makes_no_second_version() -> None:
    async def story(world: World) -> None:
        await settled(world)
        ledger, a = world.ledger, world.servers[1]
        del ledger.made["1.1", DATA][2]  # as if it had crashed between that sync and the telling
        await a.crash()
        await a.restart()
        ledger.refresh()
        assert list(ledger.made["1.1", DATA]) == [1, 2, 3]
        assert [len(ledger.versions("1.1", object)) for object in ledger.objects("1.1")] == [1, 1, 1]
        assert ledger.broken == []

    simulate(story, servers=3, seed=3)


@pytest.mark.parametrize(("which", "said"), [(1, "made update 3 of its data feed"), (2, "had update 3 of 1.1's data")])
def test_what_is_gone_after_a_start_is_a_breach(which: int, said: str) -> None:
    async def story(world: World) -> None:
        server = world.servers[which]
        backup = server.back_up()
        await settled(world)
        await server.crash()
        server.disk.load(backup.disk)  # a restore that nobody knows of
        server.tables.load(backup.tables)
        await server.restart()
        world.ledger.refresh()
        assert any(said in each.said and each.promise == "P1" for each in world.ledger.broken)

    simulate(story, servers=3, seed=3)


@pytest.mark.parametrize("which", [1, 2])
def test_nobody_is_accused_of_what_an_old_backup_has_not(which: int) -> None:
    async def story(world: World) -> None:
        server = world.servers[which]
        server.back_up()
        await settled(world)
        await server.restore()
        await world.servers[1].create("Note", {"text": "after it"}) if which == 2 else None
        await world.sleep(5)
        world.ledger.refresh()
        assert world.ledger.broken == []
        assert list(world.ledger.excused) == [server.name]
        assert which == 1 or world.ledger.held["1.2", "1.1", DATA] in (0, 4)  # 0: it forgot that it is a mirror

    simulate(story, servers=3, seed=3)


@pytest.mark.parametrize(
    ("left_out", "again", "said"),
    [
        (2, 3, "applied update 3 of 1.1's data feed after update 1"),
        (None, 3, "update 3 of 1.1's data feed after update 3"),
    ],
)
def test_an_update_that_was_left_out_or_came_twice_is_a_breach(left_out: Any, again: int, said: str) -> None:
    """The ledger is told so, for the product does no such thing."""

    async def story(world: World) -> None:
        await settled(world)
        database = world.server("1.1").node.parts.database
        ledger = world.ledger
        updates = {n: Update.from_bytes_untrusted(read(database, n)) for n in (1, 2, 3)}
        observe = ledger.observer("1")
        for number in (1, 2, 3):
            if number != left_out:
                observe(Durable((), (updates[number],)), world.now)
        if left_out is None:
            observe(Durable((), (updates[again],)), world.now)
        (breach,) = ledger.broken
        assert breach.promise == "P3"
        assert said in breach.said

    simulate(story, servers=3, seed=3)


def read(database: Any, number: int) -> bytes:
    data: bytes = database.read_update(database.server, database.incarnation, DATA, number)
    return data


def test_commits_and_their_arrivals_are_marks() -> None:
    async def story(world: World) -> None:
        await settled(world)
        kinds = [(mark.kind, mark.servers) for mark in world.marks if mark.kind in ("commit", "applied")]
        assert kinds.count(("commit", ("1.1",))) == 3
        assert kinds.count(("applied", ("1.2", "1.1"))) == 3

    simulate(story, servers=3, seed=3)
