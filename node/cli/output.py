"""What the command prints: tables for people, JSON for programs; and the options every command shares.

    with --json     one JSON value, or NDJSON (one row a line) where there are rows
    without         a table as wide as its content, cut at the terminal's edge when a person looks

Ages and sizes are rounded for people and never for programs.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from node.client import Blocking

Function = TypeVar("Function", bound=Callable[..., Any])
MAX_CELL = 40  # one long text must not push all other columns off the screen


class Seconds(click.ParamType[float]):
    """A number of seconds as it is typed; `zero`: that may be 0."""

    name = "SECONDS"

    def __init__(self, *, zero: bool = False, most: float = 1e9) -> None:
        self._zero = zero
        self._most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not (number > 0 or (self._zero and number == 0)) or number > self._most:
            least = "0 or more" if self._zero else "above 0"
            self.fail(f"{value} is no number of seconds {least}, at most {self._most:g}.", param, ctx)
        return number


def json_option(function: Function) -> Function:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON (rows as NDJSON).")(function)


def consistency_option(function: Function) -> Function:
    return click.option(
        "--consistency",
        type=click.Choice(["local", "nearest", "owner"]),
        default="nearest",
        show_default=True,
        help="local: only what is held here; nearest: own, mirrored, else the owner, else its mirrors; owner: itself.",
    )(function)


def wanted_options(function: Function) -> Function:
    """How good an answer must be, and by when it must come: `wanted_of` reads what was said."""
    options = (
        consistency_option,
        click.option("--max-age", type=Seconds(zero=True), metavar="SECONDS", help="No copy that is older than that."),
        click.option(
            "--after",
            multiple=True,
            metavar="POSITION",
            help="No copy without this change, as in 1.2@3:17; repeatable.",
        ),
        deadline_option,
    )
    for option in reversed(options):
        function = option(function)
    return function


def deadline_option(function: Function) -> Function:
    return click.option("--deadline", type=Seconds(most=3600), metavar="SECONDS", help="How long to wait for others.")(
        function
    )


def node_of(meant: Mapping[str, str | None]) -> Blocking:
    """The node that the command line means, ready to be asked."""
    from node.cli.where import directory_of
    from node.client import Blocking

    return Blocking(directory_of(meant["directory"], meant["server"]))


def print_json(value: Any) -> None:
    """One value, indented when a person looks."""
    import msgspec

    data = msgspec.json.encode(value)
    if sys.stdout.isatty():
        data = msgspec.json.format(data, indent=2)
    click.echo(data.decode())


def print_rows(rows: Iterable[Any]) -> None:
    """NDJSON."""
    import msgspec

    for row in rows:
        click.echo(msgspec.json.encode(row).decode())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str = "none") -> None:
    """Columns with their heads; numbers to the right."""
    for line in table(columns, rows, empty=empty):
        click.echo(line)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str = "none") -> list[str]:
    """The lines of a table."""
    shown = [[cell(value) for value in row] for row in rows]
    if not shown:
        return [empty]
    widths = [max(len(head), *(len(row[at]) for row in shown)) for at, head in enumerate(columns)]
    right = [all(_is_number(row[at]) for row in shown) for at in range(len(columns))]
    limit = shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 10_000
    lines = ["  ".join(_placed(head, widths[at], right[at]) for at, head in enumerate(columns))]
    lines += ["  ".join(_placed(text, widths[at], right[at]) for at, text in enumerate(row)) for row in shown]
    return [line.rstrip()[:limit] for line in lines]


def cell(value: Any) -> str:
    """One value as a person reads it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, (list, tuple)):
        text = ", ".join(cell(each) for each in value) or "-"
    elif isinstance(value, dict):
        text = " ".join(f"{key}={cell(each)}" for key, each in value.items())
    else:
        text = " ".join(str(value).split())
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"


def counted(number: int) -> str:
    """28 298"""
    return f"{number:,}".replace(",", " ")


def seconds(value: Any) -> str:
    """An age or a lag: `0.4 s`, `3 min`, `2 h`, `5 d`."""
    if not isinstance(value, (int, float)):
        return "-"
    if value < 90:
        return f"{value:.1f} s"
    for unit, size in (("min", 60), ("h", 3600)):
        if value < 90 * size:
            return f"{value / size:.0f} {unit}"
    return f"{value / 86_400:.0f} d"


def size(value: Any) -> str:
    """Bytes: `512 B`, `14.6 kB`, `2.7 MB`."""
    if not isinstance(value, int):
        return "-"
    if value < 1000:
        return f"{value} B"
    for unit, unit_bytes in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        if value < 999.95 * unit_bytes:
            return f"{value / unit_bytes:.1f} {unit}"
    return f"{value / 1e12:.1f} TB"


def _placed(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


def _is_number(text: str) -> bool:
    return text == "-" or text.replace(",", "").lstrip("-").replace(".", "", 1).isdigit()
