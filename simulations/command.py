"""`bangpath simulate`: a scenario from a file, or one drawn from a seed, run on a simulated mesh and judged.

    bangpath simulate                          one minute of five servers, drawn from seed 1, every promise looked at
    bangpath simulate --seed 7 --nodes 9 --topology ring --faults crash,partition --minutes 5
    bangpath simulate FILE --seed 7            a scenario of your own
    bangpath simulate FILE --seeds 100         a hundred seeds on all cores, a line each
    bangpath simulate --seed 7 --timeline 7.html

Exit codes: 0 every promise and expectation held; 1 one did not, with the line that replays it and the scenario made
small; 2 what was asked for makes no sense, the scenario cannot be read (file, line and what would be right), or there
is nowhere to tell it; 3 nothing was broken, but some run was not done within its real time and has no verdict; 130
ended by Ctrl-C. A reader that goes away (`| head`) changes no code.
`python -m simulations` is the same command.

Only what reads the command line stands here: nothing is imported until it is known that something will run.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simulations.command_numbers import MOST_SEED, MOST_SEEDS, Seeds, Time

if TYPE_CHECKING:
    from simulations.cases import Case

SMALL = 3  # kinds of failures that are made small: more at once nobody mends
MOST_BYTES = 16 * 2**20  # of a scenario
LEAST_MINUTES = 0.001
BAD_INPUT = 2
NODES, MINUTES = 5, 1.0  # of a scenario that is drawn
DRAWING = ("nodes", "topology", "faults", "minutes")  # options that only a drawn scenario has


@click.command(
    "simulate",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Everything that a scenario can say: bangpath simulate --words. How to read what it shows: "
    "docs/guide-simulation.md.",
)
@click.argument("scenario", required=False, metavar="[SCENARIO]")
@click.option("--nodes", type=click.IntRange(1, 1000), metavar="N", help=f"How many servers to draw. [{NODES}]")
@click.option(
    "--topology", metavar="SHAPE", help='ring, "tree of 3", "line, no other links", ...; without it one is drawn.'
)
@click.option("--faults", metavar="KINDS", help="Kinds separated by commas, `all` or `none`. [all]")
@click.option(
    "--minutes",
    type=Time("MINUTES", "virtual minutes", 1440, least=LEAST_MINUTES),
    metavar="M",
    help=f"Virtual minutes of work and faults. [{MINUTES:g}]",
)
@click.option("--seed", type=click.IntRange(0, MOST_SEED), metavar="N", help="Decides everything by chance. [1]")
@click.option("--seeds", type=Seeds(), metavar="N|A-B", help="Many: so many from --seed on, or those of a range.")
@click.option("--twice", is_flag=True, help="Each seed again in a fresh process; unequal traces fail.")
@click.option("--processes", type=click.IntRange(1, 1024), metavar="N", help="How many at a time. [all cores]")
@click.option("--dask", metavar="ADDRESS", help="On the machines of a Dask scheduler, such as tcp://10.0.0.1:8786.")
@click.option("--stop-after", type=click.IntRange(1), metavar="N", help="Begin no further seed after N failures.")
@click.option(
    "--limit",
    type=Time("SECONDS", "real seconds", 86400),
    metavar="SECONDS",
    help="Real seconds a run may take. [many seeds: 600 each]",
)
@click.option("--timeline", metavar="FILE", help="Draw it: FILE.html, a whole page, or FILE.svg. Of many: a failure.")
@click.option(
    "--shrink",
    type=click.IntRange(0),
    metavar="N",
    help=f"Make N kinds of failures small, each in a file here; 0: none. [{SMALL}]",
)
@click.option("--real", is_flag=True, help="On real processes, in real time; as root on real networks.")
@click.option("--plant", metavar="FILE", help="With a bug on purpose: a Python file whose plant() patches the product.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; `trace` is the hash over all events.")
@click.option("--print", "only_print", is_flag=True, help="Print the scenario and run nothing.")
@click.option("--words", is_flag=True, help="List what a scenario can say, and the kinds of faults.")
@click.option("--sweep", type=click.IntRange(0, MOST_SEEDS), hidden=True, help="An older word for --seeds.")
def simulate_command(scenario: str | None, **options: Any) -> int:
    """Run a mesh that breaks, from a seed: SCENARIO, or one drawn by chance.

    The nodes are the real ones; network, disks, clocks and randomness are simulated, and virtual time costs nothing.
    The same seed takes the same steps everywhere, so a failure is its seed.
    """
    _check_together(scenario, options)
    from identity.errors import BangpathError

    try:
        return _simulate(scenario, options)
    except BangpathError as error:
        return _tell(error, as_json=options["as_json"])


def _check_together(scenario: str | None, options: dict[str, Any]) -> None:
    """What may not be said together."""
    if options["sweep"] and options["seeds"] is None:
        options["seeds"] = (None, options["sweep"])
    for showing in ("words", "only_print"):
        beside = [name for name in ("as_json", "seeds", "twice", "timeline") if options[name]]
        if options[showing] and beside:
            what, other = (name.removeprefix("only_").removeprefix("as_") for name in (showing, beside[0]))
            raise click.UsageError(f"--{what} runs nothing: leave out --{other}.")
    if scenario is not None:
        said = [f"--{name}" for name in DRAWING if options[name] is not None]
        if said:
            raise click.UsageError(
                f"{', '.join(said)}: only for a scenario that is drawn; {scenario} says such things itself."
            )
    if options["seeds"] is None:
        for name in ("dask", "stop_after", "processes"):
            if options[name] is not None:
                raise click.UsageError(f"--{name.replace('_', '-')} is for many seeds: add --seeds 100.")
    elif options["seeds"][0] is not None and options["seed"] is not None:
        raise click.UsageError("--seed and a range of --seeds say two beginnings: leave one out.")
    for name in ("seeds", "twice", "plant"):
        if options["real"] and options[name]:
            raise click.UsageError(f"--real runs once, in real time, and replays from no seed: leave out --{name}.")
    if options["dask"] and options["processes"]:
        raise click.UsageError("--dask decides itself how many run at a time: leave out --processes.")


def _simulate(scenario: str | None, options: dict[str, Any]) -> int:
    from simulations import output

    output.ready()
    if options["words"]:
        from simulations.words import lines

        click.echo("\n".join(lines()))
        return 0
    cases, total = _cases(scenario, options)
    if options["only_print"]:
        click.echo(cases[0].text, nl=False)
        return 0
    from simulations.play import Wishes, one
    from simulations.worker import REAL_LIMIT_S

    many_of_them = options["seeds"] is not None or options["twice"]
    if not options["real"]:
        _warn(cases[0], limit_s=options["limit"] or (REAL_LIMIT_S if many_of_them else None))
    wishes = Wishes(
        as_json=options["as_json"],
        timeline=_timeline(options["timeline"]),
        small=SMALL if options["shrink"] is None else options["shrink"],
        limit_s=options["limit"],
    )
    if not many_of_them:
        return one(cases[0], wishes)
    from simulations.play_many import many

    return many(
        cases,
        total,
        wishes,
        twice=options["twice"],
        processes=options["processes"],
        dask=options["dask"] or "",
        stop_after=options["stop_after"],
    )


def _warn(case: Case, *, limit_s: float | None) -> None:
    """Say on standard error that it will take long, before it does."""
    from simulations.estimate import warning
    from simulations.report import planned_s
    from simulations.scenario import parse

    scenario = parse(case.text, name=case.name)
    told = warning(len(scenario.graph), planned_s(scenario) / 60, limit_s=limit_s)
    if told:
        click.echo(f"bangpath: {told}", err=True)


class _Cases:
    """The cases of a range of seeds, each made when it is its turn; as often as it is asked for."""

    def __init__(self, seeds: range, wanted: dict[str, Any], make: Callable[[range], Iterable[Case]]) -> None:
        self._seeds, self._wanted, self._make = seeds, wanted, make

    def __iter__(self) -> Iterator[Case]:
        return self._of(self._seeds)

    def __getitem__(self, at: int) -> Case:
        return next(self._of(self._seeds[at : at + 1]))

    def _of(self, seeds: range) -> Iterator[Case]:
        from msgspec.structs import replace

        for case in self._make(seeds):
            yield replace(case, **self._wanted)


def _cases(scenario: str | None, options: dict[str, Any]) -> tuple[_Cases, int]:
    """What is to be run, and how many. Raises `Refused` for what cannot be read or drawn, before anything runs."""
    from identity.errors import Refused
    from simulations.cases import planted as bug
    from simulations.sweep import drawn_cases, text_cases

    first, number = options["seeds"] or (None, 1)
    begin = first if first is not None else options["seed"] if options["seed"] is not None else 1
    seeds = range(begin, begin + number)
    planted = options["plant"] or ""
    if planted and not Path(planted).is_file():
        raise Refused(f"there is no file {planted} to plant", next_step="name a Python file that has plant()")
    with bug(planted):  # once now: what cannot be planted is no failure of a run
        pass
    wanted = {"planted": planted, "real": options["real"]}
    if scenario is not None:
        text = _read(scenario)
        cases = _Cases(seeds, wanted, lambda some: text_cases(some, text, name=scenario))
    else:
        drawing = _drawing(options)
        if options["real"]:
            return _drawn_real(seeds, wanted, drawing), number
        cases = _Cases(seeds, wanted, lambda some: drawn_cases(some, **drawing))
    cases[0]  # the first is read or drawn now
    return cases, number


def _drawn_real(seeds: range, wanted: dict[str, Any], drawing: dict[str, Any]) -> _Cases:
    """Drawn of what can be broken on real processes here. Raises `Refused` naming the line of what cannot."""
    from msgspec.structs import replace

    from simulations.real import adapted, possible_faults
    from simulations.sweep import drawn_cases

    drawing.setdefault("faults", possible_faults())
    return _Cases(
        seeds, wanted, lambda some: (replace(case, text=adapted(case.text)) for case in drawn_cases(some, **drawing))
    )


def _drawing(options: dict[str, Any]) -> dict[str, Any]:
    """What `schedule.draw` is told."""
    from identity.errors import Refused
    from simulations.faults import MOST_TAKEN, check_kinds

    drawing: dict[str, Any] = {"servers": options["nodes"] or NODES, "minutes": options["minutes"] or MINUTES}
    if options["topology"] is not None:
        from simulations.verbs_network import read_servers

        drawing["shape"] = options["topology"]
        try:
            read_servers(f"servers {drawing['servers']} {options['topology']}", "--topology")
        except Refused as error:
            raise Refused(error.cause, next_step=_as_options(error.next_step)) from None
    if options["faults"] not in (None, "all"):
        drawing["faults"] = _faults(options["faults"])
        check_kinds(drawing["faults"], min(drawing["servers"], MOST_TAKEN))
    return drawing


def _as_options(advice: str) -> str:
    """What a scenario's line would say, as the options that say it: `servers 9 grid 3x3` is --nodes and --topology."""

    def options(line: re.Match[str]) -> str:
        shape = f'"{line[2]}"' if " " in line[2] else line[2]
        return f"--nodes {line[1]} --topology {shape}"

    return re.sub(r"servers (\d+) (.+)", options, advice)


def _faults(said: str) -> tuple[str, ...]:
    """Names of kinds, however they are written: `Clock-Jump` is `clock jump`. Raises `Refused`."""
    from identity.errors import Refused
    from simulations.faults import kinds

    if said == "none":
        return ()

    def plain(name: str) -> str:
        return " ".join(name.lower().replace("-", " ").split())

    known = {plain(kind.name): kind.name for kind in kinds()}
    wished = [known.get(plain(each), each.strip()) for each in said.split(",") if each.strip()]
    if not wished:
        raise Refused(
            "--faults names no kind", next_step="write --faults crash,partition, or --faults none for no faults"
        )
    for alone in ("none", "all"):
        if alone in wished:
            raise Refused(
                f"--faults {alone} names no kind beside others", next_step=f"leave out {alone}, or the others"
            )
    return tuple(kind.name for kind in kinds(wished))


def _read(scenario: str) -> str:
    """The text of a scenario's file. Raises `Refused`."""
    from identity.errors import Refused
    from simulations.topologies import text_of, without_files

    path = Path(scenario)
    if scenario == "-":
        raise Refused("a scenario has a file", next_step="write it to one, so that what fails can be run again")
    if not scenario.isprintable():  # its name stands in the line that replays it, which goes to a terminal
        raise Refused(f"the name {scenario!r} has characters that do not print", next_step="rename that file")
    if path.is_dir():
        raise Refused(f"{scenario} is a directory", next_step="name a scenario's file in it")
    try:
        text = text_of(
            path, "a scenario", most=MOST_BYTES, encoding="utf-8-sig"
        )  # some editors begin a file with a mark of its encoding
    except FileNotFoundError:
        near = [str(each) for each in sorted(path.parent.glob("*.txt"))[:3]] if path.parent.is_dir() else []
        hint = f"there are {', '.join(near)}" if near else "without a file one is drawn: bangpath simulate --seed 7"
        raise Refused(f"there is no file {scenario}", next_step=hint) from None
    except (OSError, UnicodeDecodeError) as error:
        why = "it is no text in UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise Refused(f"{scenario} cannot be read: {why}", next_step="name a text file") from None
    if not text.strip():
        raise Refused(f"{scenario}:1: it is empty", next_step="begin with a line such as: servers 4")
    return without_files(text, path)


def _timeline(said: str | None) -> Path | None:
    """Where to draw to. Raises `Refused` for what could not be written in the end."""
    from identity.errors import Refused
    from simulations.output import ready_file

    if said is None:
        return None
    path = Path(said)
    if path.suffix not in (".html", ".svg"):
        either = (
            f"{path.with_suffix('.html')} or {path.with_suffix('.svg')}"
            if path.name.strip(".") not in ("", "html", "svg")
            else "run.html or run.svg"
        )
        raise Refused(f"{said} is neither a page nor a picture", next_step=f"write --timeline {either}")
    if path.is_dir() or not path.parent.is_dir():
        missing = f"{said} is a directory" if path.is_dir() else f"there is no directory {path.parent}"
        raise Refused(missing, next_step="name a file in a directory that is there")
    ready_file(path)
    return path


def _tell(error: Any, *, as_json: bool) -> int:
    """What was wrong with what was asked, on standard error."""
    if as_json:
        import json

        click.echo(json.dumps(error.as_json()), err=True)
    else:
        click.echo(f"bangpath: {error.cause}", err=True)
        if error.next_step:
            click.echo(f"  next: {error.next_step}", err=True)
    return BAD_INPUT


def main() -> None:
    """`python -m simulations`."""
    try:
        code = simulate_command.main(prog_name="python -m simulations", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except BrokenPipeError:
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)
