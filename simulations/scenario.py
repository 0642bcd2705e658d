"""Scenarios: text that reads as prose, run on a simulated mesh, with a transcript and the trace's hash.

    servers 4                       the root 1 and its children 1.1 1.2 1.3; or: servers 4 ring | line | star
    link delay 20ms loss 2%         for all links: delay, jitter, loss, duplicate
    class Note text:string          every server adopts it
    1.2 mirrors 1.1
    1.1 commits 50 Note             one transaction each, one after another
    1.1 changes 20 Note             random ones of its own
    part 1 1.1 | 1.2 1.3            cut the groups from one another
    cut 1.1 > 1.2                   one way only
    heal                            mend every link
    crash 1.2                       the power fails: what was not synced is lost, torn or kept by chance
    restart 1.2
    run 10s
    expect 1.2 has all of 1.1 within 30s
    expect 1.2 lacks some of 1.1

Anything after `#` is a comment. A line that cannot be read is refused before anything runs, with file, line and what
would be right; an expectation that fails ends the run with the line and the seed.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import networkx

from identity.errors import Refused
from identity.names import Reference
from simulations.network import Link
from simulations.world import SimulatedServer, World, simulate

_TOPOLOGIES: dict[str, Callable[[int], networkx.Graph]] = {
    "full": networkx.complete_graph,
    "ring": networkx.cycle_graph,
    "line": networkx.path_graph,
    "star": lambda number: networkx.star_graph(number - 1),
}
_ID = r"(\d+(?:\.\d+)*)"
_SECONDS = r"(\d+(?:\.\d+)?)(ms|s|m)"


@dataclass(frozen=True)
class Step:
    """One line that acts: what it says, where it stands, and what it does."""

    line: int
    text: str
    act: Callable[[Run], Awaitable[str]]


@dataclass(frozen=True)
class Scenario:
    """A script that was read: the mesh it wants and what happens in it."""

    name: str
    graph: networkx.Graph
    link: Link
    steps: tuple[Step, ...]


@dataclass
class Run:
    """A scenario while it runs."""

    world: World
    objects: dict[str, list[Reference]] = field(default_factory=dict)
    texts: dict[Reference, dict[str, Any]] = field(default_factory=dict)
    count: int = 0

    def server(self, name: str) -> SimulatedServer:
        return next(server for server in self.world.servers if server.name == name)


@dataclass(frozen=True)
class Outcome:
    """What a run gives: the transcript, the hash over its events and how many there were."""

    transcript: tuple[str, ...]
    trace: str
    events: int
    seconds: float


def run_scenario(scenario: Scenario, *, seed: int) -> Outcome:
    """Run it in a new world. Raises AssertionError naming line and seed where an expectation fails."""
    transcript: list[str] = []

    async def story(world: World) -> None:
        run = Run(world)
        for step in scenario.steps:
            try:
                said = await step.act(run)
            except AssertionError as error:
                raise AssertionError(f"{scenario.name}:{step.line}: {step.text}: {error} (seed {seed})") from error
            transcript.append(f"{world.now:9.3f}  {step.text}" + (f"  -> {said}" if said else ""))

    _, world = simulate(story, servers=scenario.graph, seed=seed, link=scenario.link)
    return Outcome(tuple(transcript), world.trace.hash, world.trace.count, world.now)


def parse(text: str, *, name: str = "scenario") -> Scenario:
    """Read a script. Raises `Refused` naming the line and what would be right."""
    graph: networkx.Graph | None = None
    link = Link()
    steps: list[Step] = []
    known: set[str] = set()
    for number, raw in enumerate(text.splitlines(), start=1):
        line = " ".join(raw.partition("#")[0].split())
        if not line:
            continue
        where = f"{name}:{number}"
        if line.startswith("servers "):
            graph = _read_servers(line, where)
            known = {"1"} | {f"1.{child}" for child in range(1, graph.number_of_nodes())}
        elif line.startswith("link "):
            link = _read_link(line, where)
        elif graph is None:
            raise Refused(
                f"{where}: {line!r} comes before the servers", next_step="begin with a line such as: servers 4"
            )
        else:
            steps.append(_read_step(line, number, where, known))
    if graph is None:
        raise Refused(f"{name}: there are no servers", next_step="begin with a line such as: servers 4")
    return Scenario(name, graph, link, tuple(steps))


def _read_servers(line: str, where: str) -> networkx.Graph:
    match = re.fullmatch(r"servers (\d+)(?: (\w+))?", line)
    kind = match[2] or "full" if match else ""
    if not match or kind not in _TOPOLOGIES or not 1 <= int(match[1]) <= 1000:
        wanted = f"servers NUMBER of 1 to 1000, then one of {', '.join(_TOPOLOGIES)}"
        raise Refused(f"{where}: {line!r} is no topology", next_step=f"write: {wanted}")
    return _TOPOLOGIES[kind](int(match[1]))


def _read_link(line: str, where: str) -> Link:
    rules: dict[str, float] = {}
    words = line.split()[1:]
    for rule, value in zip(words[::2], [*words[1::2], ""], strict=False):
        seconds = re.fullmatch(_SECONDS, value)
        percent = re.fullmatch(r"(\d+(?:\.\d+)?)%", value)
        if rule in ("delay", "jitter") and seconds:
            rules[rule] = _seconds(*seconds.groups())
        elif rule in ("loss", "duplicate") and percent:
            rules[rule] = float(percent[1]) / 100
        else:
            right = "delay 20ms, jitter 5ms, loss 2% or duplicate 1%"
            raise Refused(f"{where}: {rule} {value!r} is no rule of a link", next_step=f"write for example {right}")
    return replace(Link(), **rules)  # type: ignore[arg-type]  # every rule read above is a number


def _seconds(number: str, unit: str) -> float:
    return float(number) * {"ms": 0.001, "s": 1.0, "m": 60.0}[unit]


def _read_step(line: str, number: int, where: str, known: set[str]) -> Step:
    for pattern, ids, make in _VERBS:
        match = re.fullmatch(pattern, line)
        if match is None:
            continue
        for group in ids:
            for name in match[group].replace("|", " ").split():
                if name not in known:
                    there = ", ".join(sorted(known))
                    raise Refused(f"{where}: there is no server {name!r}", next_step=f"there are {there}")
        return Step(number, line, make(*match.groups()))
    verbs = "ID mirrors ID, ID commits N CLASS, ID changes N CLASS, part IDS | IDS, cut A > B, heal, crash ID, ..."
    raise Refused(f"{where}: {line!r} is nothing a scenario can do", next_step=f"it can: {verbs}")


Act = Callable[[Run], Awaitable[str]]


def _class(name: str, fields: str) -> Act:
    async def act(run: Run) -> str:
        from store.registry import definition_from_toml

        lines = [f'name = "{name}"', "[fields]"]
        for each in fields.split():
            field_name, _, kind = each.partition(":")
            lines.append(f'{field_name} = {{ type = "{kind or "string"}" }}')
        definition = definition_from_toml("\n".join(lines))
        for server in run.world.servers:
            await server.define(definition)
        return ""

    return act


def _mirrors(name: str, other: str) -> Act:
    async def act(run: Run) -> str:
        await run.server(name).mirror(other)
        return ""

    return act


def _commits(name: str, number: str, class_name: str) -> Act:
    async def act(run: Run) -> str:
        server = run.server(name)
        for _ in range(int(number)):
            run.count += 1
            fields = {"text": f"{name} says {run.count}"}
            reference = await server.create(class_name, fields)
            run.objects.setdefault(name, []).append(reference)
            run.texts[reference] = fields
        return f"{len(run.objects[name])} objects of {name}"

    return act


def _changes(name: str, number: str, class_name: str) -> Act:
    async def act(run: Run) -> str:
        server = run.server(name)
        own = run.objects.get(name, [])
        if not own:
            raise AssertionError(f"{name} has no {class_name} to change yet")
        for _ in range(int(number)):
            run.count += 1
            reference = run.world.random.choice(own)
            fields = {"text": f"{name} changed its mind, {run.count}"}
            await server.update(reference, fields)
            run.texts[reference] = fields
        return ""

    return act


def _part(groups: str) -> Act:
    async def act(run: Run) -> str:
        run.world.network.part(*[group.split() for group in groups.split("|")])
        return ""

    return act


def _cut(source: str, target: str) -> Act:
    async def act(run: Run) -> str:
        run.world.network.cut(source, target)
        return ""

    return act


def _heal() -> Act:
    async def act(run: Run) -> str:
        run.world.heal()
        return ""

    return act


def _crash(name: str) -> Act:
    async def act(run: Run) -> str:
        await run.server(name).crash()
        return ""

    return act


def _restart(name: str) -> Act:
    async def act(run: Run) -> str:
        await run.server(name).restart()
        return ""

    return act


def _run(number: str, unit: str) -> Act:
    async def act(run: Run) -> str:
        await run.world.sleep(_seconds(number, unit))
        return ""

    return act


def _differing(run: Run, name: str, other: str) -> int:
    server = run.server(name)
    return sum(server.read(reference) != run.texts[reference] for reference in run.objects.get(other, []))


def _expect_all(name: str, other: str, number: str | None, unit: str | None) -> Act:
    async def act(run: Run) -> str:
        begun = run.world.now
        within = _seconds(number, unit) if number and unit else 0.0
        try:
            await run.world.eventually(lambda: not _differing(run, name, other), within=within)
        except AssertionError as error:
            left = _differing(run, name, other)
            raise AssertionError(
                f"{name} differs from {other} in {left} of {len(run.objects[other])} objects"
            ) from error
        return f"after {run.world.now - begun:.2f} s"

    return act


def _expect_lacks(name: str, other: str) -> Act:
    async def act(run: Run) -> str:
        differing = _differing(run, name, other)
        if not differing:
            raise AssertionError(f"{name} has all {len(run.objects.get(other, []))} objects of {other}")
        return f"{differing} missing or old"

    return act


# A line's pattern, which of its groups name servers, and what it does.
_VERBS: tuple[tuple[str, tuple[int, ...], Callable[..., Act]], ...] = (
    (r"class (\w+) ((?:\w+:\w+ ?)+)", (), _class),
    (rf"{_ID} mirrors {_ID}", (1, 2), _mirrors),
    (rf"{_ID} commits (\d+) (\w+)", (1,), _commits),
    (rf"{_ID} changes (\d+) (\w+)", (1,), _changes),
    (r"part ([\d. ]+(?:\|[\d. ]+)+)", (1,), _part),
    (rf"cut {_ID} > {_ID}", (1, 2), _cut),
    (r"heal", (), _heal),
    (rf"crash {_ID}", (1,), _crash),
    (rf"restart {_ID}", (1,), _restart),
    (rf"run {_SECONDS}", (), _run),
    (rf"expect {_ID} has all of {_ID}(?: within {_SECONDS})?", (1, 2), _expect_all),
    (rf"expect {_ID} lacks some of {_ID}", (1, 2), _expect_lacks),
)
