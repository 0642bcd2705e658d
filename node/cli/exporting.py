"""`export`: the answer to a question becomes a file, and a file that is not whole never bears its name.

bangpath @1.4 export 'Airport where country = "KE"' kenya.csv
bangpath @1.4 export Airport airports.parquet --references
bangpath @1.4 export Airport - --format ndjson | wc -l

exit code   0  the file holds all that there is      3  owners were not heard: no file, or, with --partial, what came
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import click

from node.cli.asking import PARTIAL, completeness_lines
from node.cli.output import counted, json_option, node_of, print_json, wanted_options

BATCH = 1000
STANDARD = "-"


@click.command("export")
@click.argument("question")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@click.option(
    "--format",
    "form",
    type=click.Choice(["ndjson", "csv", "cbor", "parquet"]),
    help="Of the file, when its name does not say it.",
)
@click.option("--references", is_flag=True, help="Each row's own reference as its first field.")
@click.option("--partial", is_flag=True, help="Keep what came although owners were not heard (exit code 3).")
@wanted_options
@json_option
@click.pass_obj
def export_command(
    meant: dict[str, str | None], /, question: str, file: str, form: str | None, references: bool, partial: bool,
    as_json: bool, **wanted: Any,
) -> int:  # fmt: skip
    """Write the objects that answer QUESTION to FILE (- for standard output); a FILE that is there is replaced."""
    from identity.errors import Refused
    from node.exporting import columns_of, open_rows
    from node.language import parse
    from node.rows import Reader

    form = form or _form_of(file)
    if as_json and file == STANDARD:
        raise Refused("rows and a report cannot both go to standard output", next_step="name a file, or omit --json")
    asked = parse(question).question
    with node_of(meant) as node:
        definition = Reader.of(node.classes(), asked.class_name).definition
        columns = columns_of(definition, asked.fields, references=references)
        with _written(file) as written:
            rows = open_rows(form, written.out, columns, definition)
            batch: list[dict[str, Any]] = []
            count = 0
            for row in node.rows(question, **wanted):
                batch.append({"reference": row["reference"], **row["fields"]} if references else row["fields"])
                count += 1
                if len(batch) == BATCH:
                    rows.add(batch)
                    batch = []
            rows.add(batch)
            rows.finish()
            report = node.completeness or {}
            written.keep = bool(report.get("whole")) or partial
    if as_json:
        print_json({"class": asked.class_name, "rows": count, "file": file if written.keep else None, **report})
    else:
        for line in completeness_lines(count, report):
            click.echo(line, err=True)
        if not written.keep:
            click.echo(f"bangpath: {file} was not written, for it would not be whole; --partial keeps it", err=True)
        elif file != STANDARD:
            click.echo(f"{counted(count)} {asked.class_name} in {file}")
    return 0 if report.get("whole") else PARTIAL


def _form_of(file: str) -> str:
    from identity.errors import Refused
    from node.exporting import FORMATS

    form = FORMATS.get(Path(file).suffix.lower())
    if form is None:
        raise Refused(
            f"the name {file!r} does not say its format", next_step="add --format ndjson, csv, cbor or parquet"
        )
    return form


class _Written:
    """A file under way. `keep`: it gets its name at the end."""

    def __init__(self, out: BinaryIO) -> None:
        self.out = out
        self.keep = False


@contextmanager
def _written(file: str) -> Iterator[_Written]:
    """Under another name until it is whole and synced, then in one step under its own. Raises `Refused`."""
    from identity.errors import Refused

    if file == STANDARD:
        written = _Written(sys.stdout.buffer)
        yield written
        sys.stdout.buffer.flush()
        written.keep = True
        return
    new = Path(f"{file}.new")
    try:
        with new.open("wb") as out:
            written = _Written(out)
            yield written
            out.flush()
            os.fsync(out.fileno())
        if written.keep:
            new.replace(file)
    except OSError as error:
        raise Refused(f"{file} cannot be written: {error.strerror}", next_step="choose another file") from error
    finally:
        with suppress(FileNotFoundError, NotADirectoryError):
            new.unlink()
