"""Six servers on one machine with real data: the supervisor of `bangpath mesh` (DESIGN U5).

    found 1 -> start it -> invite and join 1.1 .. 1.5 -> start them -> class -> mirrors (a ring) -> airports -> watch
                                                                                         Ctrl-C: stop all, in order
    every step looks first at what stands already, so that a second run continues where the first one was, however
    that one ended: a directory with a configuration is a server, an import is repeated by its key, a mirror is kept

Promised: the servers are ordinary ones, started by the ordinary command, speaking real UDP on 127.0.0.1; nothing but
their own HTTP is used to fill them. They end when this process ends, however it ends. One that dies is reported with
the command that starts it again, by hand, in any terminal; the others go on, whichever it was.

Left to others: processes and links (`node.mesh_control`), the data (`node.airports`), what is shown as lines
(`node.mesh_view`) and, when a person looks, as a map with keys (`node.mesh_map_live`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import trio

from identity.errors import BangpathError, Refused, Unreachable
from node import children
from node.airports import AIRPORT, AUTHORITY, NEXT, OWNERS, PLACES, Place, load
from node.cli.output import counted
from node.cli.where import note
from node.client import Client
from node.importing import Import
from node.mesh_control import Control
from node.mesh_map_live import Live, help_lines, person_looks
from node.mesh_map_terminal import Terminal
from node.mesh_view import Screen
from node.opening import create_root, join
from node.rows import Row

ANY_PORT = ("127.0.0.1", 0)  # chosen when a server is made, and kept in its configuration
LOOK_S = 1.0  # between two looks at the servers
SETTLE_S = 60.0  # for the mirrors to catch up, before `--once` gives up
PARTIAL, INTERRUPTED = 3, 130
_PLACE = {each.server: each for each in PLACES}
_IMPORTED = "imported"  # a file in an owner's directory: its airports stand, so many


Then = Callable[["Mesh"], Awaitable[int]]


def run_mesh(
    directory: Path,
    *,
    limit: int | None = None,
    once: bool = False,
    plain: bool = False,
    then: Then | None = None,
    screen: Screen | None = None,
) -> int:
    """Build or continue the mesh of a directory, and stay until Ctrl-C; the exit code.

    `limit` imports only so many airports; `once` ends as soon as everything stands; `plain` shows lines even to
    a person, `screen` shows it otherwise; `then(mesh)` is awaited instead of watching, and what it returns is the exit
    code. Raises `Refused` when a mesh of this directory runs already, and what kept a server from being made or
    started.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with _alone(directory):
        return trio.run(partial(Mesh(directory, limit=limit, plain=plain, screen=screen).run, once=once, then=then))


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """One supervisor a directory. Raises `Refused`."""
    with (directory / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            pid = lock.read().strip() or "unknown"
            raise Refused(
                f"a mesh runs in {directory} already, process {pid}", next_step="use it, or stop it with Ctrl-C there"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


class Mesh:
    """The supervisor: what it made, started and imported."""

    def __init__(
        self, directory: Path, *, limit: int | None = None, plain: bool = False, screen: Screen | None = None
    ) -> None:
        self.directory = directory
        self.control = Control(directory, started=self._started)
        self.screen = self._screen = screen or Screen(directory)
        self._limit = limit
        self._plain = plain
        self._live: Live | None = None  # the map, while it is shown
        self._nursery: trio.Nursery | None = None
        self._ended = trio.Event()
        self._begun = 0.0
        self._home = self.control.home
        self._client = self.control.client

    async def run(self, *, once: bool = False, then: Then | None = None) -> int:
        """All of it; 0, 3 when `once` was asked and a mirror did not catch up, 130 when ended before it stood."""
        self._begun = trio.current_time()
        code = INTERRUPTED
        async with trio.open_nursery() as listening:  # to the end: a second Ctrl-C is heard while we stop
            work = trio.CancelScope()
            await listening.start(self._listen_for_signals, work)
            with work:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    try:
                        await self._build()
                        caught_up = await self._settle()
                        self._screen.standing(trio.current_time() - self._begun, caught_up=caught_up)
                        code = PARTIAL if once and not caught_up else 0
                        if then is not None:
                            code = INTERRUPTED
                            code = await then(self)
                        elif not once:
                            await self._stay()
                    finally:
                        with trio.CancelScope(shield=True):
                            await self._stop_all()
                    nursery.cancel_scope.cancel()
            listening.cancel_scope.cancel()
        return code

    async def _listen_for_signals(
        self, scope: trio.CancelScope, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Ctrl-C ends what is done at the moment; a second one ends it at once, the children with it.

        So does a terminal that is closed, unless whoever started us (nohup) has it passed over.
        """
        wanted = {signal.SIGINT, signal.SIGTERM}
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            wanted.add(signal.SIGHUP)
        with trio.open_signal_receiver(*wanted) as signals:
            task_status.started()
            async for number in signals:
                if self._ended.is_set():
                    if self._live is not None:
                        self._live.terminal.restore()
                    os._exit(128 + number)
                self._ended.set()
                scope.cancel()

    async def _build(self) -> None:
        screen = self._screen
        home = self._home(AUTHORITY.server)
        if not (home / "bangpath.toml").exists():
            screen.say("founding the mesh: server 1, the authority")
            await trio.to_thread.run_sync(partial(_found, home, AUTHORITY))
        await self._start(AUTHORITY)
        missing = [each for each in OWNERS if not (self._home(each.server) / "bangpath.toml").exists()]
        if missing:
            screen.say(f"inviting and joining {', '.join(each.server for each in missing)}")
        async with trio.open_nursery() as joining:
            for place in OWNERS:
                joining.start_soon(self._join_and_start, place)
        async with trio.open_nursery() as shaping:
            for place in PLACES:
                shaping.start_soon(self._shape, place)
        await self._import_all()

    async def _join_and_start(self, place: Place) -> None:
        home = self._home(place.server)
        if not (home / "bangpath.toml").exists():
            said = await self._client(AUTHORITY.server).invite(place.server)
            await join(home, said["ticket"], listen=ANY_PORT, local="*", name=place.name)
        await self._start(place)

    async def _start(self, place: Place) -> None:
        """Start a server, unless somebody runs it already."""
        note(place.server, self._home(place.server))
        child = await self.control.start(place.server)
        if child is None:
            self._screen.say(f"{place.server} {place.name} runs already; it is used as it is")
        else:
            self._screen.say(f"{place.server} {place.name} runs, process {child.pid}")

    def _started(self, server: str, child: children.Child) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._report_end, _PLACE[server], child)

    async def _report_end(self, place: Place, child: children.Child) -> None:
        how = await child.wait()
        if not self._ended.is_set():
            self.control.gone(place.server)
            if self._live is not None:
                self._live.died(place.server, place.name, how)
            else:
                self._screen.died(place, how)

    async def _shape(self, place: Place) -> None:
        """Its class, where it owns airports, and its mirror of the next in the ring."""
        client = self._client(place.server)
        if place.zones and AIRPORT["name"] not in [
            each["name"] for each in await client.classes() if _own(each, place)
        ]:
            await client.define(AIRPORT)
        following = NEXT[place.server]
        if following not in [each["pattern"] for each in await client.mirrors()]:
            await client.mirror(following)

    async def _import_all(self) -> None:
        """The airports into their owners, all owners at the same time; what stands is passed over."""
        rows = load(self._limit)
        waiting = {
            each.server: rows[each.server] for each in OWNERS if not self._imported(each.server, len(rows[each.server]))
        }
        total = sum(map(len, rows.values()))
        done = total - sum(map(len, waiting.values()))
        if not waiting:
            self._screen.say(f"all {counted(total)} airports stand")
            return
        with self._screen.progress(total, done) as advance:
            async with trio.open_nursery() as nursery:
                for server, part in waiting.items():
                    nursery.start_soon(self._import_one, server, part, advance)

    async def _import_one(self, server: str, rows: list[Row], advance: Any) -> None:
        work = Import(AIRPORT["name"], key="icao")
        async with Client(self._home(server)) as client:  # its own connection: looks at the server need not wait
            for chunk in work.chunks(rows):
                try:
                    work.committed(chunk, await client.transact(work.operations(chunk)))
                except BangpathError as error:
                    raise work.refused(chunk, error) from error
                advance(len(chunk))
        (self._home(server) / _IMPORTED).write_text(f"{len(rows)}\n", encoding="utf-8")

    def _imported(self, server: str, count: int) -> bool:
        """Whether so many were imported by an earlier run, wholly. If in doubt they are put again: nothing doubles."""
        try:
            return int((self._home(server) / _IMPORTED).read_text(encoding="utf-8")) >= count
        except (OSError, ValueError):
            return False

    async def _settle(self) -> bool:
        """Until every mirror holds all that its owner has; whether it came to that in time."""
        with trio.move_on_after(SETTLE_S):
            while True:
                states = await self._look()
                if all(each.get("caught_up") for each in states.values()):
                    return True
                self._screen.show(states)
                await trio.sleep(0.2)
        return False

    async def _stay(self) -> None:
        """Until Ctrl-C, or `q` at the map."""
        commands = await self._screen.what_next(self._client("1.5"))
        self._screen.say("\n".join(commands))
        if not person_looks(plain=self._plain):
            await self._watch()
            return
        with Terminal(coloured="NO_COLOR" not in os.environ) as terminal:
            self._live = Live(self.control, terminal, help_lines=help_lines(commands))
            try:
                await self._live.run()
            finally:
                self._live = None

    async def _watch(self) -> None:
        """The live table, until Ctrl-C."""
        while not self._ended.is_set():
            self._screen.show(await self._look())
            await trio.sleep(LOOK_S)

    async def _look(self) -> dict[str, dict[str, Any]]:
        """Every server's state as it says it, all at the same time."""
        states: dict[str, dict[str, Any]] = {each.server: {"place": each} for each in PLACES}

        async def look(server: str) -> None:
            state = states[server]
            child = self.control.children.get(server)
            state["pid"] = child.pid if child else None
            try:
                with trio.fail_after(3):
                    client = self._client(server)
                    state["status"] = await client.status()
                    state["peers"] = await client.peers()
                    state["feeds"] = await client.feeds()
            except (BangpathError, trio.TooSlowError) as error:
                silent = isinstance(error, Unreachable)
                state["trouble"] = "does not run" if silent else "does not answer"

        async with trio.open_nursery() as nursery:
            for each in PLACES:
                nursery.start_soon(look, each.server)
        for each in PLACES:
            _compare(states, each.server)
        return states

    async def _stop_all(self) -> None:
        """Owners first, the authority last: each says goodbye to those that still listen."""
        self._ended.set()
        self._screen.say(f"stopping {len(self.control.children)} servers")
        ended = await self.control.stop_all()
        for server, how in sorted(ended.items()):
            if how != "it ended":
                self._screen.say(f"{server}: {how}")
        self._screen.stopped(self.directory, [each.server for each in PLACES if each.server not in ended])


def _found(home: Path, place: Place) -> None:
    import random
    import time

    from identity.names import ServerId

    create_root(
        home,
        ServerId.parse(place.server),
        listen=ANY_PORT,
        local="*",
        name=place.name,
        random=random.SystemRandom(),
        wall_ms=lambda: time.time_ns() // 1_000_000,
    )


def _own(definition: dict[str, Any], place: Place) -> bool:
    """Whether the server itself has adopted a class that it lists."""
    return place.server in definition.get("owners", [place.server])


def _compare(states: dict[str, dict[str, Any]], server: str) -> None:
    """How far a server's mirror is behind its owner: updates that the owner has and it has not."""
    state, owner = states[server], states[NEXT[server]]
    if "feeds" not in state or "status" not in owner:
        return
    position = owner["status"].get("position")
    known = int(position.rpartition(":")[2]) if position else 0
    held = next(
        (each.get("last") or 0 for each in state["feeds"] if each["server"] == NEXT[server] and each["kind"] == "data"),
        0,
    )
    state["lag"] = max(0, known - held)
    state["caught_up"] = state["lag"] == 0
