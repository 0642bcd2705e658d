"""Four nodes that write at one another while servers crash and links break: nothing answered is lost or done twice.

Each seed is another story; `BANGPATH_CHAOS=200 pytest tests/node/test_chaos.py` tells two hundred.
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
import trio

from identity.errors import Exhausted, OutcomeUnknown, Unreachable
from identity.names import Pattern, Reference
from simulations.world import SimulatedServer, World, simulate
from store.query import Question
from store.registry import ClassDefinition, Field

NOTE = ClassDefinition(name="Note", fields=(Field(name="text", required=True), Field(name="key", unique=True)))
SEEDS = range(1, 1 + int(os.environ.get("BANGPATH_CHAOS", "3")))
CLIENTS, CREATES, FAULTS = 2, 20, 7


class Story:
    """What was answered, so that it can be asked for in the end."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.servers = world.servers
        self.answered: dict[str, dict[str, Reference]] = {server.name: {} for server in self.servers}

    def next_of(self, server: SimulatedServer) -> SimulatedServer:
        return self.servers[(self.servers.index(server) + 1) % len(self.servers)]

    async def write(self, server: SimulatedServer, client: int) -> None:
        """Create objects at random owners, through one server."""
        for number in range(CREATES):
            await trio.sleep(self.random.random())
            if server.node is None:
                continue
            owner = self.random.choice(self.servers)
            key = f"{server.name} {client} {number}"
            try:
                changed = await server.up.create(
                    "Note", {"text": key, "key": key}, server=owner.server, deadline=5, queue=False
                )
            except (Unreachable, OutcomeUnknown, Exhausted):
                continue
            self.answered[owner.name][key] = changed.reference

    async def break_things(self) -> None:
        for _ in range(FAULTS):
            await trio.sleep(self.random.random() * 3)
            what = self.random.choice(("crash", "part", "cut"))
            one, other = self.random.sample(self.servers, 2)
            if what == "crash" and one.node is not None:
                await one.crash()
                await trio.sleep(self.random.random() * 4)
                await one.restart()
            elif what == "part":
                rest = {each for each in self.servers if each not in (one, other)}
                with self.world.partition({one, other}, rest):
                    await trio.sleep(self.random.random() * 15)
            elif what == "cut":
                self.world.cut(one >> other)
                await trio.sleep(self.random.random() * 15)
                self.world.mend(one >> other)

    def rows(self, holder: SimulatedServer, owner: SimulatedServer) -> list[Any]:
        """What `holder` holds of the owner's notes."""
        with holder.up.view() as view:
            question = Question("Note", order=(("key", False),))
            found = view.select(question, servers=Pattern(owner.name))
            return [(row.reference, row.sequence, row.fields) for row in found]

    def agrees(self) -> bool:
        """Every mirror holds what its owner holds, and all that was answered is there."""
        for server in self.servers:
            owner = self.next_of(server)
            rows = self.rows(owner, owner)
            held = {fields["key"]: reference for reference, _, fields in rows}
            if any(held.get(key) != reference for key, reference in self.answered[owner.name].items()):
                raise AssertionError(f"{owner.name} lost something that it had answered")
            if rows != self.rows(server, owner):
                return False
        return True


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_answered_is_lost_or_done_twice(seed: int) -> None:
    async def tell(world: World) -> None:
        story = Story(world, seed)
        for server in story.servers:
            await server.define(NOTE)
            await server.mirror(story.next_of(server))
        async with trio.open_nursery() as nursery:
            for server in story.servers:
                for client in range(CLIENTS):
                    nursery.start_soon(story.write, server, client)
            nursery.start_soon(story.break_things)
        world.heal()
        await world.sleep(15)  # what was cut is noticed within 10 s
        await world.eventually(
            lambda: all(len(server.up.parts.sessions.peers()) == 3 for server in story.servers), within=120
        )
        await world.eventually(story.agrees, within=120)
        answers = []
        for server in story.servers:
            answer = await server.query("Note order by key", consistency="owner")
            assert answer.completeness["whole"]
            answers.append([(row.reference, row.fields["key"]) for row in answer.rows])
        keys = [key for _, key in answers[0]]
        assert all(each == answers[0] for each in answers)
        assert len(keys) == len(set(keys))  # nothing was done twice
        assert len(keys) >= sum(map(len, story.answered.values())) > 40

    simulate(tell, servers=4, seed=seed, limit_s=2000)
