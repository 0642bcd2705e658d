"""Scenarios: text that reads as prose, read whole before anything runs, then run with a transcript.

    servers 5 ring                  the root 1 and its children 1.1 1.2 1.3 1.4, and who is whose neighbour
    link delay 20ms loss 2%         for all links
    class Note text:string          every server adopts it
    1.2 mirrors 1.1                 one step after another: the next line waits for this one
    1.1 commits 50 Note
    at 12.5s crash 1.2 for 4s       timed: begins at that second, beside whatever else goes on
    part 1 1.1 | 1.2 1.3 for 8s     a fault that lasts may be given its end; `heal` ends all that last
    run 10s
    heal
    expect 1.2 has all of 1.1 within 30s

A line is a verb's (`verbs.py` gathers them: work, network, servers, hostile peers, expectations). Anything after `#`
is a comment. A line that cannot be read is refused before anything runs, with file, line and what would be right; an
expectation that fails ends the run with the line and the seed. A timed operation that its server refuses (it is down,
say) is told in the transcript: schedules drawn from a seed ask much of servers that are broken.

Left to others: what the verbs do; drawing scenarios from seeds (`schedule.py`); shrinking them (`shrink.py`).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import networkx
import trio

from identity.errors import BangpathError, Refused
from simulations.faulty_disk import PowerCut
from simulations.marks import Mark
from simulations.misread import find_verb, no_time, nothing_like
from simulations.network import Link
from simulations.patience import in_time, paused
from simulations.promises import Checker, PromiseBroken
from simulations.sense import check
from simulations.steps import FOR, SECONDS, Lasting, Run, Scenario, Step, lapse
from simulations.verbs_joining import late_of
from simulations.verbs_network import read_link, read_servers
from simulations.verbs_servers import never_came
from simulations.world import World, simulate

LOOK_EVERY_S = 0.25  # virtual seconds between two looks of the checkers

_AT = re.compile(rf"at {SECONDS} (.+)")


@dataclass(frozen=True)
class Outcome:
    """What a run gives: the transcript, the hash over its events and how many there were, and its marks."""

    transcript: tuple[str, ...]
    trace: str
    events: int
    seconds: float
    marks: tuple[Mark, ...] = ()
    broken: PromiseBroken | None = None
    lines: tuple[str, ...] = ()  # the trace's last events, as many as were kept
    unjudged: tuple[tuple[str, str], ...] = ()  # checkers that could not judge all, and what they say of it
    judged: tuple[tuple[str, str], ...] = ()  # checkers that say how much they had to judge
    stands: tuple[str, ...] = ()  # the lines that were under way when the run was ended, with their places
    paused: str = ""  # who was paused then, and what to write where that is why


def run_scenario(
    scenario: Scenario, *, seed: int, checkers: Sequence[Checker] = (), keep: int | None = 10_000
) -> Outcome:
    """Run it in a new world. Raises AssertionError naming line and seed where an expectation fails.

    With `checkers` a broken promise does not raise: it ends the run and stands in the outcome. `keep`: how many of the
    trace's last events, None for all.
    """
    transcript: list[str] = []
    broken: list[PromiseBroken] = []
    worlds: list[World] = []
    runs: list[Run] = []

    async def story(world: World) -> None:
        worlds.append(world)
        run = Run(world, checkers)
        runs.append(run)
        try:
            await tell(run, scenario, seed, transcript)
        except BaseExceptionGroup as group:
            error = first_error(group)
            if isinstance(error, PromiseBroken) and checkers:
                broken.append(error)
                world.mark("broken", text=str(error), promise=error.promise, checker=error.checker)
                return
            raise error from None

    def outcome(world: World) -> Outcome:
        first = broken[0] if broken else None
        trace = world.trace
        unjudged = tuple((each.name, said) for each in checkers if (said := getattr(each, "unjudged", "")))
        judged = tuple((each.name, said) for each in checkers if (said := getattr(each, "judged", "")))
        under_way = tuple(runs[0].under_way.values()) if runs else ()
        return Outcome(
            tuple(transcript), trace.hash, trace.count, world.now, tuple(world.marks), first, tuple(trace.lines()),
            unjudged, judged, under_way, "; ".join(paused(world)) if under_way else "",
        )  # fmt: skip

    try:
        world = simulate(
            story, servers=scenario.graph, seed=seed, link=scenario.link, keep=keep, late=scenario.late
        )[1]  # fmt: skip
        return outcome(world)
    except BaseException as error:
        if worlds:
            error.outcome = outcome(worlds[0])  # type: ignore[attr-defined]  # what `known_of` reads
        raise


def known_of(error: BaseException) -> Outcome | None:
    """What was known of the run that raised this: its transcript, marks and trace up to there."""
    known = getattr(error, "outcome", None)
    return known if isinstance(known, Outcome) else None


async def tell(run: Run, scenario: Scenario, seed: int, transcript: list[str]) -> None:
    """Every step on the stage of `run`, with its checkers looking on."""
    for checker in run.checkers:
        checker.begin(run.world)
    async with trio.open_nursery() as nursery:
        if run.checkers:
            nursery.start_soon(_look, run)
        begun = run.world.now
        async with trio.open_nursery() as timed:
            for step in scenario.steps:
                if step.at_s is not None:
                    timed.start_soon(_timed, run, scenario, step, begun + step.at_s, seed, transcript)
            for step in scenario.steps:
                if step.at_s is None:
                    await _take(run, scenario, step, seed, transcript, timed)
        nursery.cancel_scope.cancel()
    for checker in run.checkers:
        checker.look(run.world)
    transcript += [f"{run.world.now:9.3f}  {text}  -> it never happened" for text in never_came(run)]


async def _look(run: Run) -> None:
    while True:
        for checker in run.checkers:
            checker.look(run.world)
        await trio.sleep(LOOK_EVERY_S)


async def _timed(run: Run, scenario: Scenario, step: Step, when: float, seed: int, transcript: list[str]) -> None:
    await trio.sleep_until(when)
    async with trio.open_nursery() as nursery:
        try:
            await _take(run, scenario, step, seed, transcript, nursery)
        except (BangpathError, PowerCut) as error:
            transcript.append(f"{run.world.now:9.3f}  {step.text}  -> {error}")


async def _take(
    run: Run, scenario: Scenario, step: Step, seed: int, transcript: list[str], nursery: trio.Nursery
) -> None:
    begun = run.world.now
    stands = f"{scenario.name}:{step.line}: {step.text}"
    run.under_way[step.line] = stands
    try:
        done = await in_time(run, scenario, step)
    except PromiseBroken:
        raise
    except AssertionError as error:
        raise AssertionError(f"{stands}: {error} (seed {seed})") from error
    except BangpathError as error:
        error.details["step"] = stands
        del run.under_way[step.line]
        raise
    del run.under_way[step.line]
    said = done
    if isinstance(done, Lasting):
        said, undo = _marked(run, step, done)
        run.lasting.append(undo)
        if step.for_s is not None:
            nursery.start_soon(_undo_later, run, undo, step.for_s)
    if step.verb.fault:
        details = {"fault": step.verb.fault, "since": begun, "lasting": isinstance(done, Lasting)}
        run.world.mark("fault", *step.servers, text=step.does, **details)
    transcript.append(f"{run.world.now:9.3f}  {step.text}" + (f"  -> {said}" if said else ""))


def _marked(run: Run, step: Step, done: Lasting) -> Lasting:
    """The same, with its end marked for the timeline."""

    async def undo() -> None:
        await done.undo()
        if step.verb.fault:
            run.world.mark("fault", *step.servers, text=step.does, fault=step.verb.fault, ended=True)

    return Lasting(done.said, undo)


async def _undo_later(run: Run, undo: Callable[[], Awaitable[None]], after_s: float) -> None:
    await trio.sleep(after_s)
    if undo in run.lasting:  # else `heal` was quicker
        run.lasting.remove(undo)
        await undo()


def first_error(error: BaseException) -> BaseException:
    """The error a person wants to read of a group: a broken promise before anything else."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    alone = [first_error(each) for each in error.exceptions]
    for kind in (PromiseBroken, AssertionError):
        for each in alone:
            if isinstance(each, kind):
                return each
    return alone[0]


# -- reading


def parse(text: str, *, name: str = "scenario") -> Scenario:
    """Read a script. Raises `Refused` naming the line and what would be right."""
    graph: networkx.Graph | None = None
    link = Link()
    linked = 0
    steps: list[Step] = []
    known: set[str] = set()
    for number, raw in enumerate(text.splitlines(), start=1):
        line = " ".join(raw.partition("#")[0].split())
        if not line:
            continue
        where = f"{name}:{number}"
        for digit in filter(lambda each: each.isdecimal() and not each.isascii(), line):
            raise Refused(f"{where}: {digit!r} is a digit of another script", next_step=f"write {int(digit)}")
        if line.startswith("servers "):
            if graph is not None:
                raise Refused(f"{where}: {line!r} is a second mesh", next_step="leave one line of `servers`")
            graph, names = read_servers(line, where)
            known = set(names)
        elif re.match(r"links? (?!of |\d\S* <?>)", line) and graph is not None and not steps and " for " not in line:
            link = read_link(line, where)
            if linked:
                raise Refused(
                    f"{where}: {line!r} contradicts line {linked}", next_step="say all rules of every link in one line"
                )
            linked = number
        elif graph is None:
            raise Refused(
                f"{where}: {line!r} comes before the servers", next_step="begin with a line such as: servers 4"
            )
        else:
            steps.append(_read_step(line, number, where, known))
    if graph is None:
        raise Refused(f"{name}: there are no servers", next_step="begin with a line such as: servers 4")
    check(name, steps, graph)
    return Scenario(name, text, graph, link, tuple(steps), late_of(steps))


def _read_step(line: str, number: int, where: str, known: set[str]) -> Step:
    at_s = for_s = None
    rest = line
    timed = _AT.fullmatch(line)
    if timed is None and line.startswith("at "):
        raise no_time(line, where)
    if timed:
        at_s, rest = _lapse(timed, 1, where), timed[3]
    found = find_verb(rest)
    if found is None and (limited := FOR.fullmatch(rest)):
        found = find_verb(limited[1])
        for_s = _lapse(limited, 2, where)
        if found is not None and not found[0].lasting:
            raise Refused(f"{where}: {limited[1]!r} does not last", next_step="leave out the `for`")
    if found is None:
        raise nothing_like(rest, where)
    verb, match = found
    named = [name for group in verb.names for name in (match[group] or "").replace("|", " ").split()]
    for name in named:
        if name not in known:
            there = ", ".join(sorted(known))
            raise Refused(f"{where}: there is no server {name!r}", next_step=f"there are {there}")
    for long in filter(re.compile(r"\d{16,}").match, filter(None, match.groups())):
        raise Refused(f"{where}: {long[:16]}... is too large a number", next_step="write at most 15 digits")
    try:
        act = verb.make(*match.groups())
    except Refused as refused:  # a verb that knows at once that it makes no sense
        raise Refused(f"{where}: {refused.cause}", next_step=refused.next_step) from None
    return Step(number, line, act, verb, at_s, for_s, match[0], tuple(named))


def _lapse(match: re.Match[str], group: int, where: str) -> float:
    """The time that stands in these two groups. Raises `Refused`."""
    try:
        return lapse(match[group], match[group + 1])
    except Refused as refused:
        raise Refused(f"{where}: {refused.cause}", next_step=refused.next_step) from None
