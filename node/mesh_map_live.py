"""The map, alive: looks at every server, reads their logs, draws, and does what the keys say (`bangpath mesh`).

    a task a server      status, peers, feeds by HTTP, every LOOK_S: one that hangs delays no other
    one for the logs     DIR/server.log, from where it ended when the map began, to sentences (`mesh_map_story`)
    one for the keys     a `Command` at a time to `node.mesh_control`, each in a task of its own
    one that draws       when something changed, and for the clock

Promised: whatever ends it, the terminal is given back first (`mesh_map_terminal`). A command that fails is told among
the sentences and ends nothing.

Left to others: how it looks (`node.mesh_map`), starting and stopping the six (`node.mesh`).
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import trio

from identity.errors import BangpathError, Unreachable
from node.airports import NEXT, PLACES
from node.children import LOG
from node.mesh_control import Control
from node.mesh_map import BAD, BOLD, DIM, WARN, Line, Scene, draw, is_dead, ways_of
from node.mesh_map_keys import HINTS, Command, Keys
from node.mesh_map_story import Story, Told, names
from node.mesh_map_terminal import Terminal, may_be_used

LOOK_S = 0.5
ANSWER_S = 3.0  # a server that takes longer is shown as deaf
READ_S = 0.15  # between two looks into the logs
DRAW_S = 0.1  # at most so often
READ_BYTES = 256 << 10  # of one log at a time
STORY = 500  # sentences kept
ECHO_S = 3.0  # in which servers tell of the cuts that we made ourselves


def person_looks(environment: Mapping[str, str] = os.environ, *, plain: bool = False) -> bool:
    """Whether the map is to be shown."""
    return may_be_used(environment, plain=plain)


def help_lines(commands: Sequence[str]) -> list[str]:
    """What `?` shows: what the picture means, the keys, and commands for another terminal."""
    return [
        "A row is a server. Under each other server stands how its packets go there:",
        "  a line   directly          1.5      by the gateway 1.5, unreadable to it",
        "  none     no way is known   a cross  this direction is cut",
        "lag: how many updates of its neighbour a mirror has yet to get.",
        "",
        "  k 2      kill 1.2, by kill -9      c 1 2    cut the link of 1.1 and 1.2",
        "  r 2      revive it                 o 1 2    lose what 1.1 sends to 1.2",
        "  p Enter  part the mesh in halves   h Enter  heal every link;  h 1 2  that one",
        "  q        stop all six; everything is kept, and the next run continues here",
        *(line for line in commands if not line.startswith("Ctrl-C")),
    ]


class Log:
    """The end of a server's log, as events."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = path.stat().st_size if path.exists() else 0
        self._rest = b""

    def read(self) -> list[dict[str, Any]]:
        """The events written since the last time. What is no event is passed over."""
        try:
            with self._path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < self._at:  # somebody emptied it
                    self._at, self._rest = 0, b""
                file.seek(self._at)
                data = file.read(READ_BYTES)
        except OSError:
            return []
        self._at += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        events = []
        for line in lines:
            try:
                event = msgspec.json.decode(line)
            except (msgspec.DecodeError, UnicodeError):
                continue
            if isinstance(event, dict) and "event" in event:
                events.append(event)
        return events


class Live:
    """One map over one mesh. `help_lines` are shown by `?`."""

    def __init__(self, control: Control, terminal: Terminal, *, help_lines: list[str]) -> None:
        self.terminal = terminal
        self._control = control
        self._help_lines = help_lines
        self._helping = False
        self._keys = Keys(control.servers)
        self._states: dict[str, dict[str, Any]] = {
            each.server: {"place": each, "trouble": "?"} for each in PLACES if each.server in control.servers
        }
        self._acting: dict[str, str] = {}  # servers that are being killed or started
        self._killed: set[str] = set()  # by a key, and not seen alive since
        self._told: deque[Told] = deque(maxlen=STORY)
        self._story = Story()
        self._logs = {server: Log(control.home(server) / LOG) for server in control.servers}
        self._changed = trio.Event()
        self._ours_until = 0.0
        self._work: trio.Nursery | None = None

    async def run(self) -> None:
        """Until `q`, or until the terminal is closed."""
        self.say("Everything stands. Break something: the keys are below.")
        async with trio.open_nursery() as nursery:
            self._work = nursery
            nursery.start_soon(self.terminal.follow_signals)
            for server in self._control.servers:
                nursery.start_soon(self._look_at, server)
            nursery.start_soon(self._read_logs)
            nursery.start_soon(self._draw)
            await self._listen()
            nursery.cancel_scope.cancel()

    def say(self, text: str, style: str = BOLD) -> None:
        """A sentence of our own, now."""
        self._told.append(Told(time.time_ns() // 1_000_000, text, style))
        self._changed.set()

    def died(self, server: str, name: str, how: str) -> None:
        """A process of ours ended. That it was killed by a key was told already."""
        if server not in self._killed:
            self.say(f"{server} {name} is gone: {how}. The others go on.", BAD)
        self._become_dead(server)

    # -- what is seen

    async def _look_at(self, server: str) -> None:
        client = self._control.client(server)
        while True:
            state: dict[str, Any] = {}
            try:
                with trio.fail_after(ANSWER_S):
                    state["status"] = await client.status()
                    state["peers"] = await client.peers()
                    state["feeds"] = await client.feeds()
                self._killed.discard(server)
            except Unreachable:
                state = {"trouble": "killed" if server in self._killed else "dead"}
            except (BangpathError, trio.TooSlowError) as error:
                state = {"trouble": "deaf" if isinstance(error, trio.TooSlowError) else "ill"}
            child = self._control.children.get(server)
            self._states[server] = {
                "place": self._states[server]["place"], "pid": child.pid if child else None, **state
            }  # fmt: skip
            self._changed.set()
            await trio.sleep(LOOK_S)

    def _become_dead(self, server: str) -> None:
        trouble = "killed" if server in self._killed else "dead"
        self._states[server] = {"place": self._states[server]["place"], "trouble": trouble}
        self._changed.set()

    async def _read_logs(self) -> None:
        while True:
            now = trio.current_time()
            for log in self._logs.values():
                for event in log.read():
                    if not self._is_echo(event, now):
                        self._story.handle(event, now)
            for told in self._story.take(now):
                self._told.append(told)
                self._changed.set()
            await trio.sleep(READ_S)

    def _is_echo(self, event: Mapping[str, Any], now: float) -> bool:
        """Whether a server tells of what we did to its links, which was told when the key was pressed."""
        if event["event"] == "blocked":
            said = str(event.get("server")), str(event.get("peer")), str(event.get("direction"))
            if self._control.said[said] > 0:
                self._control.said[said] -= 1
                return True
        return event["event"] == "unblocked" and now < self._ours_until

    # -- what is shown

    async def _draw(self) -> None:
        while True:
            with trio.move_on_after(1.0):  # for the clock
                await self._changed.wait()
            self._changed = trio.Event()
            width, height = self.terminal.size()
            self.terminal.paint(self._help(width, height) if self._helping else draw(self._scene(), width, height))
            if self.terminal.gone and self._work is not None:
                self._work.cancel_scope.cancel()
            await trio.sleep(DRAW_S)

    def _scene(self) -> Scene:
        states: dict[str, Mapping[str, Any]] = {}
        for server, state in self._states.items():
            lag = _lag(state, self._states.get(NEXT[server], {}), NEXT[server])
            states[server] = {**state, "lag": lag, "acting": self._acting.get(server)}
        living = self._living()
        return Scene(
            states=states,
            ways=ways_of(states, self._control.state().cuts),
            story=sorted(self._told, key=lambda told: told.time_ms),  # what was gathered comes late
            asking=self._keys.asking(living),
            hints=HINTS,
            clock=time.strftime("%H:%M:%S"),
            glyphs=self.terminal.glyphs,
            local_time=lambda ms: time.strftime("%H:%M:%S", time.localtime(ms / 1000)),
        )

    def _help(self, width: int, height: int) -> list[Line]:
        whole = [f" {line}" for line in self._help_lines]
        lines: list[Line] = [[(line if len(line) <= width else f"{line[: width - 1]}>", "")] for line in whole]
        return [*lines[: height - 1], [(" any key: back to the map"[:width], DIM)]]

    def _living(self) -> set[str]:
        return {server for server, state in self._states.items() if not is_dead(state)}

    # -- what is done

    async def _listen(self) -> None:
        while True:
            try:
                keys = await self.terminal.keys()
            except EOFError:
                return
            for key in keys:
                if self._helping:
                    self._helping = False
                    continue
                command = self._keys.handle(key, self._living())
                if command is not None and command.verb == "q":
                    return
                if command is not None:
                    self._do(command)
            self._changed.set()

    def _do(self, command: Command) -> None:
        if command.verb == "?":
            self._helping = True
            return
        verbs: dict[str, Callable[..., Awaitable[None]]] = {
            "k": self._kill,
            "r": self._revive,
            "c": self._cut,
            "o": self._cut_one_way,
            "p": self._part,
            "h": self._heal,
        }
        if self._work is not None:
            self._work.start_soon(self._try, partial(verbs[command.verb], *command.servers))

    async def _try(self, act: Callable[[], Awaitable[None]]) -> None:
        try:
            await act()
        except BangpathError as error:
            self.say(f"Not done: {error.cause}", WARN)
        self._ours_until = trio.current_time() + ECHO_S
        self._changed.set()

    async def _kill(self, server: str) -> None:
        self._killed.add(server)
        try:
            await self._control.kill(server)
        except BangpathError:
            self._killed.discard(server)
            raise
        self._become_dead(server)
        self.say(f"You killed {self._called(server)} (kill -9).")

    async def _revive(self, server: str) -> None:
        self._acting[server] = "starts"
        self.say(f"You revive {self._called(server)}.")
        try:
            await self._quietly(self._control.revive(server))
        finally:
            del self._acting[server]

    async def _cut(self, one: str, other: str) -> None:
        self.say(f"You cut the link of {one} and {other}, both ways.")
        await self._quietly(self._control.cut(one, other))

    async def _cut_one_way(self, source: str, target: str) -> None:
        self.say(f"You cut the way from {source} to {target}: its packets are lost, those of {target} arrive.")
        await self._quietly(self._control.cut_one_way(source, target))

    async def _part(self, *group: str) -> None:
        others = [each for each in self._control.servers if each not in group]
        self.say(f"You part the mesh: {names(group)} on one side, {names(others)} on the other.")
        await self._quietly(self._control.part(group, others))

    async def _heal(self, *link: str) -> None:
        self.say(f"You heal the link of {names(link)}." if link else "You heal every link.")
        await self._quietly(self._control.heal(*link))

    async def _quietly(self, change: Awaitable[None]) -> None:
        """The servers tell of what we do to their links; it was told already."""
        self._ours_until = math.inf  # until it is done, and a while longer
        await change

    def _called(self, server: str) -> str:
        return f"{server} {self._states[server]['place'].name}"


def _lag(state: Mapping[str, Any], owner: Mapping[str, Any], server: str) -> int | None:
    """How many updates of its owner a mirror has yet to get; None when the owner cannot say."""
    if "feeds" not in state or "status" not in owner:
        return None
    position = owner["status"].get("position")
    known = int(position.rpartition(":")[2]) if position else 0
    held = [each.get("last") or 0 for each in state["feeds"] if (each["server"], each["kind"]) == (server, "data")]
    return max(0, known - max(held, default=0))
