"""Verbs of servers that are not there from the beginning: who stands above them invites them, and they join.

    servers 5                       1.4 is one of them, and not there yet: nobody has its address or a certificate of it
    at 20s 1.4 joins
        1 --- ticket --> 1.4        the nearest server above it makes one, which a person carries over
        1.4 --JOIN--> 1             by the product's own words (`node.joining`), over the links as they are then
        1.4 adopts every class      starts with the address of 1 alone, and hears of the others from there

Where nobody answers it asks again, by a new ticket, for GIVEN_UP_S: as somebody would who sits before the machine.
"""

from __future__ import annotations

from collections.abc import Sequence

from identity.errors import BangpathError
from simulations.class_lines import Values
from simulations.steps import ID, Act, Run, Step, Verb
from simulations.topologies import inviter_of

AGAIN_S = 2.0
GIVEN_UP_S = 120.0


def late_of(steps: Sequence[Step]) -> tuple[str, ...]:
    """The servers that these steps have join."""
    return tuple(dict.fromkeys(step.servers[0] for step in steps if step.verb is JOINS))


def _joins(name: str) -> Act:
    async def act(run: Run) -> str:
        world = run.simulated("a server that joins later")
        newcomer = world.server(name)
        inviter = world.server(inviter_of(name, world.graph))
        begun, tries = world.now, 1
        while True:
            try:
                await newcomer.join(inviter)
                break
            except BangpathError:
                if newcomer.joined or world.now > begun + GIVEN_UP_S:
                    raise
            await world.sleep(AGAIN_S)
            tries += 1
        for definition in Values.of(run).classes.values():
            await newcomer.define(definition)
        return f"by a ticket of {inviter.name}" + (f", after {tries} tries" if tries > 1 else "")

    return act


JOINS = Verb(rf"{ID} joins", (1,), _joins, "1.4 joins")
VERBS: tuple[Verb, ...] = (JOINS,)
