"""`check`: is everything that a store holds what was written?

    bangpath check mesh/1.4          a store that nobody has open, by its directory
    bangpath @1.4 check              the server's own; one that runs looks at itself while it serves

    bangpath check mesh/1.4 --repair --from BACKUP     what can be proven is put back, and what was done is told

exit code   0  nothing was found, or nothing is left      1  something is: each is named, with what repairs it
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from node.cli.output import counted, json_option, print_json, size

if TYPE_CHECKING:
    from store.findings import Progress

FOUND = 1


@click.command("check")
@click.argument("path", metavar="[DIR]", required=False)
@click.option("--repair", is_flag=True, help="Put back what can be proven to be what was written.")
@click.option(
    "--from", "backups", multiple=True, metavar="BACKUP", help="With --repair, of a stopped one: a backup; repeatable."
)
@json_option
@click.pass_obj
def check_command(
    meant: dict[str, str | None], path: str | None, repair: bool, backups: tuple[str, ...], as_json: bool
) -> int:
    """Look at everything in a store: each frame, record, index entry, reference and update, and how they agree.

    DIR is the directory of a server, or of a store alone; else the server that is meant. One that runs does it itself,
    beside its work.
    """
    from node.cli.where import directory_of
    from node.secrets import secret_of
    from store.upkeep import check_directory

    directory = Path(path) if path is not None else directory_of(meant["directory"], meant["server"])
    if backups and not repair:
        raise click.UsageError("--from belongs to --repair.")
    with shown("checking", as_json) as tell:
        if not backups and is_running(directory):
            report = _ask(directory, tell, repair=repair)
        elif repair:
            report = _repair(directory, backups, tell)
        else:
            report = check_directory(directory, tell, key=secret_of(directory)).as_json()
    if as_json:
        print_json(report)
    else:
        _print_report(report)
    return 0 if report["whole"] else FOUND


def _repair(directory: Path, backups: tuple[str, ...], tell: Callable[[Progress], None]) -> dict[str, Any]:
    from functools import partial

    import trio

    from node.secrets import secret_of
    from store.repair import repair_directory

    others = [Path(each) for each in backups]
    work = partial(repair_directory, backups=others, tell=tell, key=secret_of(directory))
    return trio.run(work, directory).as_json()


def is_running(directory: Path) -> bool:
    """Whether a server of this directory answers; what holds the lock and does not is named by the lock."""
    from identity.errors import Unreachable
    from node.client import Blocking

    if not (directory / "socket").exists():
        return False
    try:
        with Blocking(directory, timeout_s=10) as node:
            node.status()
    except Unreachable:
        return False
    return True


def _ask(directory: Path, tell: Callable[[Progress], None], *, repair: bool) -> dict[str, Any]:
    from identity.errors import Unreachable
    from node import calls
    from node.client import Blocking
    from store.findings import Progress

    with Blocking(directory, timeout_s=3600) as node:
        for said in node.told(calls.check(repair=repair)):
            if "progress" in said:
                tell(Progress(**said["progress"]))
            else:
                return calls.read_report(said)
    raise Unreachable("the server closed the connection before its report", next_step="look at its log, and ask again")


@contextmanager
def shown(label: str, as_json: bool) -> Iterator[Callable[[Progress], None]]:
    """One line that says how far it is, when a person looks; nothing otherwise."""
    if as_json or not sys.stderr.isatty():
        yield lambda progress: None
        return
    shown = ""

    def tell(progress: Progress) -> None:
        nonlocal shown
        part, done, total = progress
        text = f"{label} {part}: " + (f"{size(done)} of {size(total)}" if part == "log" else counted(done))
        if text != shown:
            click.echo(f"\r{text:<60}", nl=False, err=True)
            shown = text

    yield tell
    click.echo("\r" + " " * 60 + "\r", nl=False, err=True)


def _print_report(report: Mapping[str, Any]) -> None:
    for name, number in report["counts"].items():
        click.echo(f"{counted(number):>12} {name}")
    for each in report.get("mended", ()):
        done = f"mended from {each['mended_from']}" if each["mended_from"] else "cannot be mended"
        kept = f"; what stood there is in {each['evidence']}" if each["evidence"] else ""
        click.echo(f"{each['what']} {each['where']}: {done}{kept}")
    if report.get("tables"):
        click.echo(f"the tables were made anew from the log; the old ones are in {report['tables']}")
    for each in report["findings"]:
        click.echo(f"{each['what']} {each['where']}: {each['cause']}", err=True)
        if each["repair"]:
            click.echo(f"  next: {each['repair']}", err=True)
    rest = report["found"] - len(report["findings"])
    if rest:
        click.echo(f"and {counted(rest)} more", err=True)
    click.echo("everything is as it was written" if report["whole"] else f"{counted(report['found'])} found")
