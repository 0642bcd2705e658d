"""Two promises, looked at on real processes by what the servers say themselves.

    no lost commits    its owner has every object at the version that was acknowledged last, or a later one
    converged          who mirrors an owner has every object of it at its owner's version

The checkers of the simulator look into nodes, and see every update and packet; from outside these two are what can be
seen whole. Others are refused, for half a check would be believed. Asked about are the objects that the scenario made
and did not delete. A server that is down cannot be asked: it is missing, as long as it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import trio

from identity.errors import BangpathError, NotFound, Refused, Unreachable
from identity.names import Pattern, Reference
from node.client import Client
from simulations.promises import PromiseBroken
from simulations.verbs_work import Desk

if TYPE_CHECKING:
    from simulations.real_server import RealServer
    from simulations.steps import Run

EVERY_S = 0.25
ASK_S = 5.0  # for a server of this machine to answer for what it holds itself


async def expect_seen(run: Run, name: str, *, within: float) -> float:
    """That it comes to hold within so many seconds; after how many it did. Raises `PromiseBroken`, `Refused`."""
    promise, look = seen(name)
    begun = run.world.now
    while True:
        missing = await look(run)
        now = run.world.now
        if not missing:
            return now - begun
        if now >= begun + within:
            when = f" within {now - begun:.1f} s" if within else ""
            raise PromiseBroken(promise, name, now, f"not{when}: {missing}")
        await trio.sleep(EVERY_S)


def seen(name: str) -> tuple[str, Callable[[Run], Awaitable[str]]]:
    """The promise's number, and how it is looked at. Raises `Refused` for what cannot be seen from outside."""
    if name not in _SEEN:
        told = " and ".join(f"`expect {each}`" for each in _SEEN)
        raise Refused(
            f"{name!r} is looked at inside the nodes, which can be done only in the simulator",
            next_step=f"on real processes there are {told}",
        )
    return _SEEN[name]


async def _no_lost_commits(run: Run) -> str:
    acknowledged = Desk.of(run).sequences
    for owner, references in run.objects.items():
        held = await _held(run.server(owner), references)
        if isinstance(held, str):
            return held
        for reference in references:
            sequence, fields = held.get(reference, (0, None))
            if sequence < acknowledged[reference]:
                return f"{owner} has {reference} at sequence {sequence}, and acknowledged {acknowledged[reference]}"
            if sequence == acknowledged[reference] and fields != run.texts[reference]:
                return f"{owner} has {reference} as {fields}, and acknowledged {run.texts[reference]}"
    return ""


async def _converged(run: Run) -> str:
    for server in run.world.servers:
        patterns = await _mirrors(server)
        if isinstance(patterns, str):
            return patterns
        for owner, references in run.objects.items():
            there = run.server(owner)
            if there is server or not any(pattern.matches(there.server) for pattern in patterns):
                continue
            own, held = await _held(there, references), await _held(server, references)
            if isinstance(own, str) or isinstance(held, str):
                return own if isinstance(own, str) else str(held)
            different = [each for each in references if own.get(each) != held.get(each)]
            if different:
                first = different[0]
                return (
                    f"{server.name} differs from {owner} in {len(different)} objects; the first is {first}: "
                    f"{held.get(first)} for {own.get(first)}"
                )
    return ""


_SEEN: Mapping[str, tuple[str, Callable[[Run], Awaitable[str]]]] = {
    "no lost commits": ("P1", _no_lost_commits),
    "converged": ("P3", _converged),
}


async def _held(server: Any, references: list[Reference]) -> dict[Reference, tuple[int, Any]] | str:
    """Sequence and fields of what a server holds itself; or why it cannot be asked."""
    there: RealServer = server
    found = {}
    try:
        async with _asked(there) as client:
            for reference in references:
                try:
                    with trio.fail_after(ASK_S):
                        said = await client.get(str(reference), consistency="local")
                except (NotFound, Unreachable):  # it holds none; when it is not there at all, the next word says so
                    continue
                found[reference] = said["sequence"], said["fields"]
            await client.status()
    except (BangpathError, trio.TooSlowError) as error:
        return f"{there.name} cannot be asked: {error or 'it does not answer'}"
    return found


async def _mirrors(server: Any) -> list[Pattern] | str:
    there: RealServer = server
    try:
        with trio.fail_after(ASK_S):
            async with _asked(there) as client:
                return [Pattern(each["pattern"]) for each in await client.mirrors() if each["kind"] == "mirrored"]
    except (BangpathError, trio.TooSlowError) as error:
        return f"{there.name} cannot be asked: {error or 'it does not answer'}"


def _asked(server: RealServer) -> Client:
    if server.paused:
        raise Unreachable(f"{server.name} is paused")
    return server.connect()
