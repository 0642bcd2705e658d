"""What may happen to a running mesh: servers die and come back, links break one way or both, halves lose each other.

    control = Control(directory)
    await control.start("1.2")                   or somebody runs it already
    await control.kill("1.2")                    SIGKILL: nothing is said, nothing is closed
    await control.revive("1.2")                  started again; returns when it serves
    await control.cut("1.1", "1.2")              no packet passes, either way
    await control.cut_one_way("1.1", "1.2")      those from 1.1 to 1.2 are lost, those from 1.2 to 1.1 arrive
    await control.part(["1", "1.1", "1.2"])      these on one side, all others on the other
    await control.heal("1.1", "1.2")             that link; heal() mends all
    control.state()                              who lives, what is cut

A cut is made at both ends' ports (`peers block`), and the servers are told nothing of it. It is remembered here, and a
server that is revived is given its cuts when it is started, so that not one packet of it passes a link that is cut.

Rules: what concerns one server is done in the order in which it was asked for (a link that is cut while its server
starts is cut when it serves); what is asked of the dead is remembered for their return. Each verb returns when it is
done, and raises `Refused` for what makes no sense (a server that is none of this mesh, to kill the dead, to revive the
living). A cut holds when one of its ends keeps it, so a server that was started by hand meanwhile, without its cuts,
is still cut off by those of the others.

Left to others: processes (`node.children`), dropping packets (`node.blocking`), when and why (`node.mesh`, the map,
the tour).
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import trio

from identity.errors import BangpathError, Exhausted, OutcomeUnknown, Refused, Unreachable
from node import children
from node.airports import PLACES
from node.client import Client

SERVERS = tuple(each.server for each in PLACES)
WORD_S = 5.0  # for a server to cut a link; it has nothing to wait for

Link = tuple[str, str]  # from, to: one direction


class State(NamedTuple):
    """Who lives, and what is cut: each direction by itself, as far as it was cut by this control."""

    living: frozenset[str]
    cuts: frozenset[Link]

    def is_cut(self, one: str, other: str) -> bool:
        """Whether no packet passes between the two, either way."""
        return (one, other) in self.cuts and (other, one) in self.cuts


class Control:
    """The servers of one mesh directory. `started(server, child)` is told of each process that begins here."""

    def __init__(
        self,
        directory: Path,
        servers: Sequence[str] = SERVERS,
        *,
        started: Callable[[str, children.Child], None] | None = None,
    ) -> None:
        self.servers = tuple(servers)
        self.children: dict[str, children.Child] = {}  # the processes that are ours and run
        self.said: Counter[tuple[str, str, str]] = Counter()  # blocks said: server, peer, direction; its logs echo them
        self._directory = directory
        self._started = started
        self._clients: dict[str, Client] = {}
        self._by_hand: set[str] = set()  # run by somebody else
        self._cuts: set[Link] = set()
        self._lines = {server: trio.Lock() for server in self.servers}

    # -- who there is

    def home(self, server: str) -> Path:
        """Its directory."""
        return self._directory / server

    def client(self, server: str) -> Client:
        """A connection to it, kept, which lives through its deaths."""
        if server not in self._clients:
            self._clients[server] = Client(self.home(server))
        return self._clients[server]

    def state(self) -> State:
        running = {server for server, child in self.children.items() if child.running}
        return State(frozenset(running | self._by_hand), frozenset(self._cuts))

    async def answers(self, server: str) -> bool:
        """Whether it serves, whoever runs it."""
        try:
            with trio.fail_after(2):
                await self.client(server).status()
        except (BangpathError, trio.TooSlowError):
            self._by_hand.discard(server)
            return False
        if server not in self.children:
            self._by_hand.add(server)
        return True

    # -- life and death

    async def start(self, server: str) -> children.Child | None:
        """Start a server with its cuts; None when somebody runs it already. Raises `Refused` with its last words."""
        async with self._turn(server):
            return await self._start(server)

    async def kill(self, server: str) -> None:
        """SIGKILL, also to one that was started by hand; returns when the process has gone."""
        async with self._turn(server):
            child = self.children.get(server)
            if child is not None and child.running:
                os.kill(child.pid, signal.SIGKILL)
                await child.wait()
                self.gone(server)
                return
            if not await self.answers(server):
                raise Refused(f"{server} does not run", next_step=f"revive {server} first")
            await self._kill_by_hand(server)

    async def revive(self, server: str) -> None:
        """Start it again, with the links cut that were; returns when it serves."""
        async with self._turn(server):
            if await self._start(server) is None:
                raise Refused(f"{server} runs already")

    def gone(self, server: str) -> None:
        """A process of ours was seen to have ended."""
        child = self.children.get(server)
        if child is not None and not child.running:
            del self.children[server]
            child.let_go()
        client = self._clients.get(server)
        if client is not None:
            client.close()

    async def stop_all(self) -> dict[str, str]:
        """End every process of ours in order; how each ended."""
        for client in self._clients.values():
            client.close()
        ended: dict[str, str] = {}

        async def stop(server: str, child: children.Child) -> None:
            ended[server] = await child.stop()

        async with trio.open_nursery() as nursery:
            for server, child in list(self.children.items()):
                nursery.start_soon(stop, server, child)
        return ended

    # -- links

    async def cut(self, one: str, other: str) -> None:
        """Both ways."""
        await self._change_cuts({(one, other), (other, one)}, make=True)

    async def cut_one_way(self, source: str, target: str) -> None:
        """What `source` sends to `target` is lost; what `target` sends arrives."""
        await self._change_cuts({(source, target)}, make=True)

    async def part(self, group: Iterable[str], others: Iterable[str] | None = None) -> None:
        """Cut every link between the two groups; `others` None: all that are not in the first."""
        left = [self._known(each) for each in group]
        right = [self._known(each) for each in others] if others is not None else [
            each for each in self.servers if each not in left
        ]  # fmt: skip
        both = sorted(set(left) & set(right))
        if both or not left or not right:
            cause = f"{', '.join(both)} cannot be on both sides" if both else "a mesh is parted in two groups"
            raise Refused(cause, next_step="name each server on one side")
        await self._change_cuts({way for a in left for b in right for way in ((a, b), (b, a))}, make=True)

    async def heal(self, one: str | None = None, other: str | None = None) -> None:
        """Mend a link, in both directions; without names all, those that were blocked by hand as well."""
        if one is not None and other is not None:
            await self._change_cuts({(one, other), (other, one)}, make=False)
        elif one is not None or other is not None:
            await self._change_cuts({way for way in self._cuts if (one or other) in way}, make=False)
        else:
            async with self._turn(*self.servers):
                self._cuts.clear()
                await self._tell_each({server: [("all", "")] for server in self.servers}, make=False)

    # -- how

    def _known(self, server: str) -> str:
        if server not in self.servers:
            raise Refused(f"{server} is no server of this mesh", next_step=f"name one of {', '.join(self.servers)}")
        return server

    @asynccontextmanager
    async def _turn(self, *servers: str) -> AsyncIterator[None]:
        """When all that was asked of these servers before is done."""
        async with AsyncExitStack() as turn:
            for server in sorted({self._known(each) for each in servers}):  # one order for all: no two wait in a ring
                await turn.enter_async_context(self._lines[server])
            yield

    def _blocked_at(self, server: str) -> dict[str, str]:
        """What this server's port has to drop, by peer."""
        blocked = {}
        for peer in self.servers:
            out, back = (server, peer) in self._cuts, (peer, server) in self._cuts
            if out or back:
                blocked[peer] = "both" if out and back else "out" if out else "in"
        return blocked

    async def _start(self, server: str) -> children.Child | None:
        if await self.answers(server):
            return None
        self.gone(server)
        blocked = self._blocked_at(server)
        words = [word for peer, way in blocked.items() for word in ("--blocked", f"{peer}={way}")]
        self.said.update((server, peer, way) for peer, way in blocked.items())
        child = await children.start(server, self.home(server), *words)
        self.children[server] = child
        if self._started is not None:
            self._started(server, child)
        return child

    async def _kill_by_hand(self, server: str) -> None:
        """It answered just now, so the process that its directory names is the one."""
        try:
            os.kill(int((self.home(server) / "pid").read_text()), signal.SIGKILL)
        except (OSError, ValueError) as error:
            raise Refused(f"{server} runs, and its process cannot be ended: {error}") from error
        with trio.move_on_after(WORD_S):
            while await self.answers(server):  # noqa: ASYNC110 - the end of a process that is not our child
                await trio.sleep(0.02)

    async def _change_cuts(self, ways: set[Link], *, make: bool) -> None:
        for source, target in ways:
            if self._known(source) == self._known(target):
                raise Refused(f"{source} has no link to itself", next_step="name two servers")
        async with self._turn(*(server for way in ways for server in way)):
            if make:
                self._cuts |= ways
            else:
                self._cuts -= ways
            told: dict[str, list[tuple[str, str]]] = {}
            for source, target in sorted(ways):
                told.setdefault(source, []).append((target, "out"))
                told.setdefault(target, []).append((source, "in"))
            await self._tell_each(told, make=make)

    async def _tell_each(self, told: dict[str, list[tuple[str, str]]], *, make: bool) -> None:
        """Say it to all that live, at the same time. Raises `Exhausted` naming those that live and did not do it."""
        failed: list[str] = []

        async def tell(server: str, links: list[tuple[str, str]]) -> None:
            try:
                async with Client(self.home(server)) as client:  # whatever the other connection waits for
                    with trio.fail_after(WORD_S):
                        for peer, direction in links:
                            if make:
                                self.said[server, peer, direction] += 1
                                await client.block(peer, direction)
                            else:
                                await client.unblock(peer, direction or None)
            except (Unreachable, OutcomeUnknown):
                self.said.subtract((server, peer, direction) for peer, direction in links[:1] if make)
                # It does not live: it is given its cuts when it does.
            except (BangpathError, trio.TooSlowError) as error:
                failed.append(f"{server}: {getattr(error, 'cause', 'it does not answer')}")

        async with trio.open_nursery() as nursery:
            for server, links in told.items():
                nursery.start_soon(tell, server, links)
        if failed:
            raise Exhausted(f"not done by every server: {'; '.join(sorted(failed))}", next_step="try it again")
