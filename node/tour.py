"""The tour: the mesh is broken in twelve ways, and what it promises is looked at each time (`bangpath mesh --tour`).

    the mesh stands --> step 1 --> step 2 --> ... --> step 12 --> all twelve held: exit code 0
                          |
                          each: say what it is about; do it; wait until it holds, by its own deadline; say how long
                          not in time --> FAILED: expected, got, try; what all servers say is kept; exit code 1

Rules. Every command that is shown is carried out as it stands there, in a process of its own, from the directory the
reader stands in. Nothing sleeps for a time that was guessed: a step asks until what it waits for is so. A step begins
where the one before ended, so the first that fails ends the tour. Whatever happens, the servers are stopped in order,
and no cut outlives them. Only servers that the tour started itself are killed.

Left to others: the steps (`node.tour_steps`), how they are played (`node.tour_acts`), what must hold
(`node.tour_checks`), what is shown (`node.tour_view`), servers and links (`node.mesh_control`).
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
import trio

from identity.errors import BangpathError, Refused
from node import children
from node.airports import OWNERS
from node.cli.output import counted
from node.client import Client
from node.mesh import Mesh, run_mesh
from node.mesh_control import Control
from node.tour_checks import Unmet, require
from node.tour_view import TourScreen

AGAIN_S = 0.1  # between two looks at what is waited for
ANSWER_S = 20.0  # for one command, and for one answer
COMMAND_S = 60.0
LONDON = "EGLL"
TABLES = ("query", "peers", "feeds", "outbox")  # commands that print one
EVIDENCE = "tour-failed.json"
FAILED = 1
T = TypeVar("T")


class Airport(NamedTuple):
    """One that the tour changes."""

    reference: str
    icao: str
    name: str
    elevation: float

    @property
    def owner(self) -> str:
        return self.reference.rpartition("/")[0]


class Stage:
    """What the steps play on: the servers, what they hold, and the screen."""

    def __init__(
        self, directory: Path, control: Control, screen: TourScreen, airports: Mapping[str, Sequence[Airport]]
    ) -> None:
        self.control = control
        self.directory = directory
        self.counts = {owner: len(each) for owner, each in airports.items()}
        self.chosen = {owner: _chosen(each) for owner, each in airports.items()}
        self.changed: dict[str, Airport] = {}  # as they were, by reference: the tour puts them back
        self.expects = ""  # of the step that is played, in words
        self.request = 0  # of the change that waits in the outbox
        self.elevation = 0.0  # that it gives
        self.number = 0  # of the last update of Europe before it
        self._screen = screen

    def client(self, server: str) -> Client:
        return self.control.client(server)

    def now(self) -> float:
        return trio.current_time()

    def of(self, server: str, *words: str) -> str:
        """A command on a server, as a person types it here."""
        return " ".join((self._screen.of(server), *map(shlex.quote, words)))

    def did(self, *commands: str, remark: str = "") -> None:
        """What a person would type for what the tour does by itself."""
        for each in commands:
            self._screen.types(each)
        if remark:
            self._screen.remark(remark)

    async def until(self, look: Callable[[], Awaitable[T]], *, within: float) -> T:
        """Look until it holds; what the look gives. Raises `Unmet` with the last look."""
        last: Unmet | None = None
        with trio.move_on_after(within):
            while True:
                try:
                    with trio.fail_after(ANSWER_S):
                        return await look()
                except Unmet as unmet:
                    last = unmet
                except BangpathError as error:
                    last = Unmet(self.expects, f"{_kind(error)}: {error.cause}")
                except trio.TooSlowError:
                    last = Unmet(self.expects, f"no answer within {ANSWER_S:.0f} s")
                await trio.sleep(AGAIN_S)
        raise last or Unmet(self.expects, f"no answer within {within:.0f} s")

    async def show(
        self,
        server: str,
        *words: str,
        when: Callable[[], Awaitable[T]] | None = None,
        within: float = ANSWER_S,
        code: int = 0,
    ) -> Any:
        """A command, as soon as what it is to show is so; what `when` gave. Raises `Unmet` for another exit code."""
        text = self.of(server, *words)
        self._screen.types(text)
        given = await self.until(when, within=within) if when is not None else None
        with trio.move_on_after(COMMAND_S) as late:
            done = await trio.run_process(
                shlex.split(text), capture_stdout=True, capture_stderr=True, check=False, env=children.environment(),
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        require(not late.cancelled_caught, f"{text} to end", f"nothing after {COMMAND_S:.0f} s")
        out, said = done.stdout.decode().splitlines(), done.stderr.decode().splitlines()
        self._screen.output(out, cut=words[0] in TABLES)
        self._screen.output(said)
        last = (said or out or ["nothing said"])[-1].strip()
        require(
            done.returncode == code, f"{self.expects}, and exit code {code} of {text}", f"{done.returncode}: {last}"
        )
        return given

    async def at_all(self, servers: Sequence[str], look: Callable[[str], Awaitable[T]]) -> dict[str, T]:
        """One look at each of these, at the same time. Raises the first that does not hold."""
        found: dict[str, T] = {}
        unmet: list[Exception] = []

        async def one(server: str) -> None:
            try:
                found[server] = await look(server)
            except (Unmet, BangpathError) as error:
                unmet.append(error)

        async with trio.open_nursery() as nursery:
            for server in servers:
                nursery.start_soon(one, server)
        if unmet:
            raise unmet[0]
        return found

    async def evidence(self) -> dict[str, Any]:
        """What every server says of itself, as far as it does."""
        said: dict[str, Any] = {}

        async def ask(server: str) -> None:
            said[server] = {}
            async with Client(self.control.home(server)) as client:
                for what in ("status", "peers", "routes", "feeds", "mirrors", "outbox"):
                    try:
                        with trio.fail_after(3):
                            said[server][what] = await getattr(client, what)()
                    except (BangpathError, trio.TooSlowError, AttributeError) as error:
                        said[server][what] = str(error)

        async with trio.open_nursery() as nursery:
            for server in self.control.servers:
                nursery.start_soon(ask, server)
        return {"cuts": sorted(self.control.state().cuts), "servers": said}


class Step(NamedTuple):
    """One step: what it is about, and how it is played; `play` returns what was seen.

    `expects` is told where it fails without an answer that could be looked at; `tries` are server and words.
    """

    title: str
    about: str
    expects: str
    play: Callable[[Stage], Awaitable[str]]
    tries: tuple[tuple[str, ...], ...] = ()


def run_tour(directory: Path, *, limit: int | None = None, fast: bool = False, as_json: bool = False) -> int:
    """Build or continue the mesh of a directory and play the tour on it: 0 when every step held, 1 when one failed.

    130 when it was interrupted. Raises `Refused` when a mesh of this directory runs already.
    """
    screen = TourScreen(directory, fast=fast, as_json=as_json)
    return run_mesh(directory, limit=limit, then=partial(_play, screen=screen), screen=screen)


async def _play(mesh: Mesh, *, screen: TourScreen) -> int:
    from node.tour_steps import STEPS

    by_hand = [server for server in mesh.control.servers if server not in mesh.control.children]
    if by_hand:
        raise Refused(
            f"{', '.join(by_hand)} of the mesh in {mesh.directory} runs already, by hand, and the tour would kill it",
            next_step="stop it, or play the tour in another directory",
        )
    evidence = mesh.directory / EVIDENCE
    evidence.unlink(missing_ok=True)
    begun = trio.current_time()
    screen.sum_up(f"The tour: {len(STEPS)} steps. Each breaks or mends something, asks, and looks at what is answered.")
    stage = Stage(mesh.directory, mesh.control, screen, await _airports(mesh))
    for number, step in enumerate(STEPS, 1):
        if not await _step(stage, screen, number, step):
            evidence.write_bytes(msgspec.json.format(msgspec.json.encode(await stage.evidence()), indent=1))
            screen.sum_up(f"the tour failed at step {number} of {len(STEPS)}. What each server said then: {evidence}")
            screen.say(f"{screen.command} mesh starts the servers again, to try it by hand")
            return FAILED
    seconds = trio.current_time() - begun
    screen.sum_up(f"all {len(STEPS)} steps held, in {seconds:.1f} s; the mesh is whole again")
    return 0


async def _step(stage: Stage, screen: TourScreen, number: int, step: Step) -> bool:
    """Play one; whether it held."""
    london = stage.chosen["1.2"]
    fill = {"icao": london.icao, "name": london.name, "reference": london.reference}
    fill["total"] = counted(sum(stage.counts.values()))
    await screen.begin(number, step.title, step.about.format_map(fill))
    stage.expects = step.expects.format_map(fill)
    begun = trio.current_time()
    line: dict[str, Any] = {"step": number, "title": step.title}
    try:
        told = await step.play(stage)
    except (Unmet, BangpathError) as error:
        unmet = error if isinstance(error, Unmet) else Unmet(stage.expects, f"{_kind(error)}: {error.cause}")
        tries = [stage.of(each[0], *(word.format_map(fill) for word in each[1:])) for each in step.tries]
        rest = {"held": False, "expected": unmet.expected, "got": unmet.got, "try": tries}
    else:
        rest = {"held": True, "told": told}
    screen.told({**line, "seconds": round(trio.current_time() - begun, 2), **rest})
    return bool(rest["held"])


async def _airports(mesh: Mesh) -> dict[str, list[Airport]]:
    """What each owner holds, as it says itself: what all others must be able to tell. Raises `Refused`."""
    found: dict[str, list[Airport]] = {}
    for place in OWNERS:
        question = f"Airport from {place.server} order by icao show icao, name, elevation"
        answer = await mesh.control.client(place.server).query(question, consistency="local")
        found[place.server] = [
            Airport(row["reference"], said["icao"], said["name"], said["elevation"] or 0.0)
            for row in answer["rows"]
            for said in (row["fields"],)
        ]
        if not found[place.server]:
            raise Refused(f"{place.server} {place.name} has no airports", next_step="say a larger number of --objects")
    return found


def _kind(error: BangpathError) -> str:
    """unreachable, outcome unknown ..."""
    return error.kind.replace("_", " ")


def _chosen(airports: Sequence[Airport]) -> Airport:
    """The one that the tour changes: London's, or the first."""
    return next((each for each in airports if each.icao == LONDON), airports[0])
