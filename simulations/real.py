"""A scenario on real processes: the same text, the same verbs, `bangpath run`, real time.

    scenario --verbs--> RealStage --+-- real_server.py    a directory and a process for each: kill -9, SIGSTOP, words
                                    '-- real_ground.py    namespaces under the simulator's rules, or loopback

What it is for: to see that what holds in the simulator holds on a kernel, with real files and real sockets. What only
the simulator can break (disks, clocks, a power failure, hostile servers) is refused with that reason, and with the
line. Expectations of objects are looked at through the servers' own words; the checkers of the promises look into the
nodes of a simulated world, and are not here. Nothing replays to the bit: the seed decides what the scenario draws by
chance, and what the network does by chance to whatever packet comes.

The servers' directories, with their logs, are removed when everything held, and kept and named when it did not. Those
of a run that was killed are removed by the next one, with its namespaces.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import networkx
import trio

from identity.errors import BangpathError, Refused
from identity.names import Pattern, ServerId
from node.client import Client
from node.config import Config
from node.opening import found_already
from simulations import real_ground
from simulations.founding import INCARNATION, Founded, found
from simulations.links import Link
from simulations.marks import Mark
from simulations.nat import Wall
from simulations.real_network import NoTrace
from simulations.real_promises import expect_seen, seen
from simulations.real_server import RealServer
from simulations.stage import Undo, Way
from simulations.topologies import NO_OTHERS

PREFIX = "bangpath-real-"
RUNNING = "running"  # a file in the directory of a run under way: the number of its process
MOST_SERVERS = 64  # processes of about 60 MiB each
TELL_S = 5.0  # for a server to cut a link; it has nothing to wait for
KNOWN_S = 10.0  # for it to have heard of the server at the other end


class RealClock(trio.abc.Clock):
    """Seconds since the run began, so that a scenario's times are trio's."""

    def start_clock(self) -> None:
        self._begun = time.monotonic()

    def current_time(self) -> float:
        return time.monotonic() - self._begun

    def deadline_to_sleep_time(self, deadline: float) -> float:
        return deadline - self.current_time()


class RealStage:
    """Servers, ground and time of one run on real processes (`stage.Stage`)."""

    def __init__(self, *, seed: int, directory: Path) -> None:
        self.seed = seed
        self.directory = directory
        self.random = self.generator("faults")
        self.trace = NoTrace()
        self.marks: list[Mark] = []
        self.servers: list[RealServer] = []
        self.graph = networkx.Graph()
        self._ground: real_ground.Ground | None = None
        self._nursery: trio.Nursery | None = None

    # -- ground

    @property
    def now(self) -> float:
        return trio.current_time()

    @property
    def ground(self) -> real_ground.Ground:
        assert self._ground is not None
        return self._ground

    @property
    def nursery(self) -> trio.Nursery:
        assert self._nursery is not None
        return self._nursery

    def generator(self, what: str) -> random.Random:
        return random.Random(f"bangpath/{self.seed}/{what}")

    def server(self, name: str) -> RealServer:
        for server in self.servers:
            if server.name == name:
                return server
        raise Refused(f"there is no server {name!r}", next_step=f"there are {', '.join(s.name for s in self.servers)}")

    def mark(self, kind: str, *servers: str, text: str = "", **details: Any) -> None:
        self.marks.append(Mark(self.now, kind, servers, text, details))

    @asynccontextmanager
    async def life(self, graph: networkx.Graph, link: Link, *, loopback: bool = False) -> AsyncIterator[RealStage]:
        """Found the servers, start them all, and end them in the end, however that comes.

        `loopback`: without namespaces, also where there could be some.
        """
        _check_size(graph)
        founded = found(graph, self.generator)
        self.graph = founded.graph
        names = [str(member.server) for member in founded.members]
        self._ground = self._choose_ground(names, link, loopback=loopback)
        try:
            self._make_directories(founded)
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                try:
                    async with trio.open_nursery() as starting:
                        for server in self.servers:
                            starting.start_soon(server.start)
                    yield self
                finally:
                    with trio.CancelScope(shield=True):
                        async with trio.open_nursery() as ending:
                            for server in self.servers:
                                ending.start_soon(server.end)
                    nursery.cancel_scope.cancel()
        finally:
            self._ground.close()

    def _choose_ground(self, names: Sequence[str], link: Link, *, loopback: bool) -> real_ground.Ground:
        why = why_loopback(loopback)
        if why:
            return real_ground.Loopback(names, link, self.mark, self._tell, why)
        return real_ground.Namespaces(names, self.generator("network"), link, self.mark)

    def _make_directories(self, founded: Founded) -> None:
        for member in founded.members:
            name = str(member.server)
            peers = sorted(founded.graph.neighbors(name))
            config = Config(
                server=member.server,
                roots=(founded.root,),
                listen=self.ground.listen(name),
                local=Pattern("*"),
                connect=Pattern(",".join(peers) if peers else "*"),
                addresses={ServerId.parse(peer): (self.ground.listen(peer),) for peer in peers},
            )
            home = self.directory / name
            found_already(home, config, member.keys, member.chain)
            self.servers.append(RealServer(self, member.server, home, INCARNATION))

    async def expect_named(self, run: Any, name: str, *, within: float) -> float:
        return await expect_seen(run, name, within=within)

    # -- faults

    async def cut_ways(self, ways: Iterable[Way]) -> Undo:
        chosen = list(ways)
        return await self.lay_ways(chosen, {"cut": True}, kind="cut" if len(chosen) == 1 else "part")

    async def lay_ways(
        self, ways: Iterable[Way] | None, fields: Mapping[str, Any], *, kind: str = "link", text: str = ""
    ) -> Undo:
        return await self.ground.lay(ways, fields, kind=kind, text=text)

    async def wall_in(self, wall: Wall, *, text: str = "") -> Undo:
        return await self.ground.wall_in(wall, text=text)

    async def rebind(self, name: str) -> None:
        await self.ground.rebind(name)

    async def mend_ways(self, ways: Iterable[Way]) -> None:
        await self.ground.mend(ways)

    def heal(self) -> None:
        self.nursery.start_soon(self.ground.heal)

    async def _tell(self, server: str, peer: str, direction: str, block: bool) -> None:
        """To a server that is down nothing: it is given its cuts when it starts. A paused one hears it when it can."""
        there = self.server(server)
        if not there.running or there.paused:
            return
        known_by = self.now + KNOWN_S
        async with Client(there.home) as client:
            while True:
                try:
                    with trio.fail_after(TELL_S):
                        await (client.block(peer, direction) if block else client.unblock(peer, direction))
                except Refused:  # it has just started, and the word of who else there is has not come yet
                    if self.now >= known_by:
                        raise
                else:
                    return
                await trio.sleep(0.1)

    # -- time

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    async def eventually(self, happens: Callable[[], Any], *, within: float, every: float = 0.2) -> None:
        end = self.now + within
        while not happens():
            if self.now >= end:
                raise AssertionError(f"not within {within} seconds, at {self.now:.3f}")
            await trio.sleep(every)


# -- what cannot be, before anything is started


class _Enough(Exception):
    """An act got as far as asking its stage for something: it is not one that only the simulator can make."""


class _PaperServer:
    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, name: str) -> Any:
        raise _Enough


class _Paper:
    """A run on paper: it has servers with names, says what only the simulator can make, and lets nothing happen."""

    def __init__(self, names: Sequence[str], no_namespaces: str) -> None:
        self.world = self
        self.servers = [_PaperServer(name) for name in names]
        self._no_namespaces = no_namespaces

    def __getattr__(self, name: str) -> Any:
        raise _Enough

    def simulated(self, what: str) -> Any:
        raise Refused(f"{what} can be made only in the simulator", next_step="run this scenario without --real")

    async def expect_named(self, run: Any, name: str, **_: Any) -> Any:
        seen(name)
        raise _Enough

    async def lay_ways(self, ways: Any, fields: Mapping[str, Any], *, text: str = "", **_: Any) -> Any:
        if self._no_namespaces:
            real_ground.check_rules(fields, text, self._no_namespaces)
        raise _Enough

    async def wall_in(self, wall: Any, *, text: str = "") -> Any:
        if self._no_namespaces:
            raise real_ground.needs_namespaces(text, self._no_namespaces)
        raise _Enough


def check(scenario: Any, *, loopback: bool = False) -> None:
    """That all of it can be made on real processes here. Raises `Refused` naming the line and the reason."""
    _check_size(scenario.graph)
    if scenario.graph.graph.get(NO_OTHERS):
        raise Refused(
            f"a mesh with {NO_OTHERS} can be made only in the simulator", next_step="run this scenario without --real"
        )
    why = why_loopback(loopback)
    if why and scenario.link != Link():
        real_ground.check_rules(scenario.link.differences(), "its links", why)
    names = [str(member.server) for member in found(scenario.graph, random.Random).members]
    for step in scenario.steps:
        act = step.act(_Paper(names, why))
        try:
            act.send(None)
        except Refused as refused:
            where = f"{scenario.name}:{step.line}: {step.text}"
            raise Refused(f"{where}: {refused.cause}", next_step=refused.next_step) from None
        except (_Enough, StopIteration):
            pass
        finally:
            act.close()


def possible_faults(*, loopback: bool = False) -> tuple[str, ...]:
    """The kinds of faults that can be made on real processes here, by name."""
    from simulations.faults import kinds
    from simulations.scenario import parse

    def can_be(says: str) -> bool:
        try:
            check(parse(f"servers 6\n{says}\n"), loopback=loopback)
        except Refused:
            return False
        return True

    return tuple(kind.name for kind in kinds() if all(can_be(verb.says) for verb in kind.verbs))


def adapted(text: str) -> str:
    """A drawn scenario for real processes: in the end it expects the promises that can be seen from outside.

    What they cannot do goes: meshes with no other links, cuts of which is asked who is reached, and servers that join
    later, which are there from the beginning.
    """
    text = re.sub(r"(?m)(?:^cut .*\n)+expect everybody reached .*\n|^at \S+ \S+ joins\n", "", text)
    text = text.replace(f", {NO_OTHERS}\n", "\n")
    return re.sub(r"(?m)^expect every promise (.*)$", r"expect converged \1\nexpect no lost commits \1", text)


def _check_size(graph: networkx.Graph) -> None:
    if graph.number_of_nodes() > MOST_SERVERS:
        cause = f"{graph.number_of_nodes()} servers are too many for real processes"
        raise Refused(cause, next_step=f"let there be {MOST_SERVERS} at most, or run it without --real")


def why_loopback(wanted: bool = False) -> str:
    """Why there are no namespaces; "" where there are."""
    return "it was told to be on loopback" if wanted else real_ground.missing()


def remove_abandoned(where: Path) -> None:
    """Remove the directories of runs that were killed; those that a run kept are somebody's to look at."""
    for running in where.glob(f"{PREFIX}*/{RUNNING}"):
        with suppress(OSError, ValueError):  # another's, or gone meanwhile
            if real_ground.is_gone(int(running.read_text(encoding="ascii"))):
                shutil.rmtree(running.parent, ignore_errors=True)


def run_real(scenario: Any, *, seed: int, checkers: Sequence[Any] = (), loopback: bool = False) -> Any:
    """Run a scenario (`steps.Scenario`) on real processes; its `scenario.Outcome`, without a trace.

    Raises AssertionError naming the line where an expectation fails, `Refused` where only the simulator can.
    `checkers` are such as look at nothing but time and marks (a display). Where it raises, the servers' directories
    are kept, and a note of the error says where.
    """
    from simulations.scenario import Outcome, first_error, tell
    from simulations.steps import Run

    check(scenario, loopback=loopback)
    remove_abandoned(Path(tempfile.gettempdir()))
    directory = Path(tempfile.mkdtemp(prefix=PREFIX))
    (directory / RUNNING).write_text(str(os.getpid()), encoding="ascii")
    stage = RealStage(seed=seed, directory=directory)
    transcript: list[str] = []

    async def main() -> None:
        async with stage.life(scenario.graph, scenario.link, loopback=loopback):
            transcript.append(f"{stage.now:9.3f}  {len(stage.servers)} real servers stand, on {stage.ground.name}")
            run: Any = Run(stage, checkers)  # type: ignore[arg-type]  # a stage that is no World
            await tell(run, scenario, seed, transcript)
        ended.append(stage.now)

    ended: list[float] = []
    begun = time.monotonic()
    try:
        trio.run(main, clock=RealClock())
    except BaseException as error:
        told = first_error(error)
        seconds = time.monotonic() - begun
        told.outcome = Outcome(tuple(transcript), "", 0, seconds, tuple(stage.marks))  # type: ignore[attr-defined]
        (directory / RUNNING).unlink(missing_ok=True)
        if isinstance(told, (AssertionError, BangpathError)) and any(directory.iterdir()):
            told.add_note(f"the servers' directories are kept, with their logs: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
        raise told from None
    shutil.rmtree(directory, ignore_errors=True)
    return Outcome(tuple(transcript), "", 0, ended[0], tuple(stage.marks))
