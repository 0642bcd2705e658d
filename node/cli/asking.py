"""`query`: a question to the whole mesh, rows as they become certain, and at the end whose word they are.

    bangpath @1.4 query 'Airport where country = "KE" order by -elevation limit 5'
    bangpath @1.4 query 'Airport order by elevation' --json        NDJSON: a row a line, and at the end
                                                                   {"completeness": {"whole": true, ...}}

The rows go to standard output. Without --json the completeness goes to standard error, so that a table can be piped.
With --whole an answer that is not whole ends with exit code 3; the rows are printed all the same.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click

from node.cli.output import consistency_option, counted, deadline_option, json_option, node_of, print_table, seconds

PARTIAL = 3  # the exit code for partial where whole was asked (DESIGN U2)
_FLUSH_BYTES = 1 << 20


@click.command("query")
@click.argument("question")
@consistency_option
@deadline_option
@click.option("--whole", is_flag=True, help="Exit with 3 unless every owner that matches was answered.")
@json_option
@click.pass_obj
def query_command(
    meant: dict[str, str | None], question: str, consistency: str, deadline: float | None, whole: bool, as_json: bool
) -> int:
    """Ask QUESTION, as in: City where population > 5000000 from 1.7.* order by -population limit 10."""
    with node_of(meant) as node:
        if as_json:
            report = _copy_lines(node.lines(question, consistency=consistency, deadline=deadline))
        else:
            rows = list(node.rows(question, consistency=consistency, deadline=deadline))
            report = node.completeness or {}
            _print(rows)
            _print_completeness(len(rows), report)
    return PARTIAL if whole and not report.get("whole") else 0


def _copy_lines(lines: Any) -> Mapping[str, Any]:
    """NDJSON from the node to standard output, unread but for the last line. Returns the completeness."""
    from node.calls import read_rows

    out = sys.stdout.buffer
    waiting: list[bytes] = []
    size = 0
    last = b""
    for line in lines:
        if last:
            waiting.append(last)
            size += len(last)
            if size > _FLUSH_BYTES:
                out.write(b"\n".join(waiting) + b"\n")
                waiting, size = [], 0
        last = line
    if waiting:
        out.write(b"\n".join(waiting) + b"\n")
    out.flush()
    for kind, said in read_rows([last] if last else []):  # raises what the node told instead of an end
        out.write(last + b"\n")
        out.flush()
        return said if kind == "completeness" else {}
    return {}


def _print(rows: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row["fields"]))
    print_table(
        ("reference", *names, "kind"),
        ((row["reference"], *(row["fields"].get(name) for name in names), row["kind"]) for row in rows),
        empty="no rows",
    )


def _print_completeness(count: int, report: Mapping[str, Any]) -> None:
    whole = "whole" if report.get("whole") else "NOT whole"
    click.echo(f"{counted(count)} {'row' if count == 1 else 'rows'}, {whole}", err=True)
    for owner in report.get("owners", ()):
        path = "!".join(owner.get("path") or ())
        why = f": {owner['error']['cause']}" if owner.get("error") else ""
        at = f" at {owner['position']}, age {seconds(owner.get('age'))}" if owner.get("position") else ""
        click.echo(f"  {owner['server']:<8} {owner['how']}{at}{f', by {path}' if path else ''}{why}", err=True)
