"""Verbs of hostile servers: which tricks a server plays from now on (`simulations.hostile` says what each does).

1.3 turns hostile: forges, swallows        until `1.3 turns honest`, `heal`, or the end of `for 10s`
1.3 turns honest
expect 1.3 has attacked                    it did something, now or before it turned honest: an attack that never took
                                           place proves nothing
"""

from __future__ import annotations

import difflib

from identity.errors import Refused
from simulations.hostile import TRICKS, turn, turn_honest
from simulations.steps import ID, Act, Lasting, Run, Verb


def _turns_hostile(name: str, tricks: str) -> Act:
    names = [each.strip() for each in tricks.split(",")]
    for each in names:
        if each not in TRICKS:
            near = difflib.get_close_matches(each, TRICKS, n=1)
            right = f"write: {name} turns hostile: {near[0]}" if near else f"a hostile server {', or '.join(TRICKS)}"
            raise Refused(f"{each!r} is nothing that a hostile server does", next_step=right)

    async def act(run: Run) -> Lasting:
        run.simulated("a hostile server")
        server = run.server(name)
        hostility = turn(server, *names)

        async def undo() -> None:
            if server.hostility is hostility:
                turn_honest(server)

        return Lasting("", undo)

    return act


def _turns_honest(name: str) -> Act:
    async def act(run: Run) -> str:
        run.simulated("a hostile server")
        hostility = run.server(name).hostility
        turn_honest(run.server(name))
        return "" if hostility is None else f"after {sum(hostility.counts.values())} attacks"

    return act


def _has_attacked(name: str) -> Act:
    async def act(run: Run) -> str:
        run.simulated("a hostile server")
        attacks = run.server(name).attacks
        if not attacks:
            raise AssertionError(f"{name} has done no harm, so nothing was shown")
        return ", ".join(f"{number} {what}" for what, number in sorted(attacks.items()))

    return act


VERBS: tuple[Verb, ...] = (
    Verb(
        rf"{ID} turns hostile: ([a-z ]+(?:, [a-z ]+)*)", (1,), _turns_hostile,
        "1.3 turns hostile: forges, swallows", lasting=True, fault="hostile",
    ),
    Verb(rf"{ID} turns honest", (1,), _turns_honest, "1.3 turns honest"),
    Verb(rf"expect {ID} has attacked", (1,), _has_attacked, "expect 1.3 has attacked"),
)  # fmt: skip
