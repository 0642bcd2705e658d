"""Verbs of servers: what a machine can suffer.

crash 1.2                       the power fails: what was not synced is lost, torn or kept by chance
restart 1.2
"""

from __future__ import annotations

from simulations.steps import ID, Act, Lasting, Run, Verb


def _crash(name: str) -> Act:
    async def act(run: Run) -> Lasting:
        server = run.server(name)
        await server.crash()

        async def undo() -> None:
            if server.node is None:
                await server.restart()

        return Lasting("", undo)

    return act


def _restart(name: str) -> Act:
    async def act(run: Run) -> str:
        await run.server(name).restart()
        return ""

    return act


VERBS: tuple[Verb, ...] = (
    Verb(rf"crash {ID}", (1,), _crash, "crash 1.2", lasting=True, fault="crash"),
    Verb(rf"restart {ID}", (1,), _restart, "restart 1.2"),
)
