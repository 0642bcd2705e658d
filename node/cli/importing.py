"""`import`: a CSV, NDJSON or CBOR file becomes objects; a bad row is named, and nothing is imported half in silence.

bangpath @1.4 import airports.csv --class Airport --key icao

exit code   0  every row stands       1  bad rows were named, nothing was imported
            3  a part stands: bad rows skipped as asked, or the node refused a later chunk (told which)
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from node.cli.output import json_option, node_of, print_json

if TYPE_CHECKING:
    from node.rows import BadRow, Reader, Row

PARTIAL = 3


@click.command("import")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--class", "class_name", required=True, metavar="CLASS", help="The class of the objects.")
@click.option("--key", metavar="FIELD", help="A unique field: rows that stand already are updated, not doubled.")
@click.option(
    "--format", "form", type=click.Choice(["csv", "ndjson", "cbor"]), help="Of the file, when its name says neither."
)
@click.option("--skip-bad", is_flag=True, help="Import the good rows although there are bad ones (exit code 3).")
@json_option
@click.pass_obj
def import_command(
    meant: dict[str, str | None],
    file: str,
    class_name: str,
    key: str | None,
    form: str | None,
    skip_bad: bool,
    as_json: bool,
) -> int:
    """Create objects of CLASS from FILE (.csv, .ndjson or .cbor; - for standard input)."""
    from identity.errors import BangpathError, Refused
    from node.importing import Import
    from node.rows import Reader

    form = form or _form_of(file)
    with node_of(meant) as node:
        reader = Reader.of(node.classes(), class_name)
        if key is not None and not reader.fields.get(key, {}).get("unique"):
            raise Refused(f"{class_name}.{key} is no unique field", next_step="name one with a unique index")
        kept = sys.stdin.buffer.read() if file == "-" else None

        def rows() -> Iterator[Row | BadRow]:
            with _opened(file, kept) as stream:
                yield from _read(form, stream, reader)

        work = Import(class_name, key=key)
        try:
            good = work.check(rows())
        except UnicodeDecodeError as error:
            raise Refused(f"{file} is not UTF-8: byte {error.start} of it", next_step="convert it first") from error
        if not skip_bad:
            work.refuse_bad_rows()
        with _progress(good, as_json) as advance:
            for chunk in work.chunks(rows()):
                try:
                    work.committed(chunk, node.transact(work.operations(chunk)))
                except BangpathError as error:
                    raise work.refused(chunk, error) from error
                advance(len(chunk))
    if as_json:
        print_json(work.report())
    else:
        click.echo(f"{work.created} created, {work.updated} updated, {work.unchanged} unchanged")
        for bad in work.bad:
            click.echo(f"  skipped {bad}", err=True)
    return PARTIAL if work.bad_count else 0


def _form_of(file: str) -> str:
    from identity.errors import Refused
    from node.exporting import FORMATS

    form = FORMATS.get(Path(file).suffix.lower())
    if form == "parquet":
        raise Refused(
            "Parquet is written and not read", next_step="convert it to CSV or NDJSON, with the program that made it"
        )
    if form is None:
        raise Refused(f"the name {file!r} does not say its format", next_step="add --format csv, ndjson or cbor")
    return form


def _read(form: str, stream: BinaryIO, reader: Reader) -> Iterator[Row | BadRow]:
    from node.cbor_sequence import read_cbor
    from node.rows import read_csv, read_ndjson

    if form == "cbor":
        return read_cbor(stream, reader)
    lines = io.TextIOWrapper(stream, encoding="utf-8", newline="")
    return (read_csv if form == "csv" else read_ndjson)(lines, reader)


@contextmanager
def _opened(file: str, kept: bytes | None) -> Iterator[BinaryIO]:
    if kept is not None:
        yield io.BytesIO(kept)
        return
    with Path(file).open("rb") as stream:
        yield stream


@contextmanager
def _progress(total: int, as_json: bool) -> Iterator[Any]:
    """A bar when a person looks, nothing otherwise."""
    if as_json or not sys.stderr.isatty():
        yield lambda _count: None
        return
    with click.progressbar(length=total, label="importing", file=sys.stderr) as bar:
        yield bar.update
