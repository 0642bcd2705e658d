"""`query`: a question to the whole mesh, rows as they become certain, and at the end whose word they are.

    bangpath @1.4 query 'Airport where country = "KE" order by -elevation limit 5'
    bangpath @1.4 query 'Airport' --whole --max-age 60             no copy older than a minute; 3 if that is not all
    bangpath @1.4 query 'Airport order by elevation' --json        NDJSON: a row a line, and at the end
                                                                   {"completeness": {"whole": true, ...}}

`explain` and `complete` are about what that one server holds, and ask nobody else:

    bangpath @1.4 explain 'Airport where country = "KE"'           which index, what was expected, what it took
    bangpath @1.4 complete Airport name Nai                        Nairobi Jomo Kenyatta ..., a line each

The rows go to standard output. Without --json the completeness goes to standard error, so that a table can be piped.
With --whole an answer that is not whole ends with exit code 3; the rows are printed all the same.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click

from node.cli.output import cell, counted, json_option, node_of, print_json, print_table, seconds, wanted_options

PARTIAL = 3  # the exit code for partial or stale where whole was asked (DESIGN U2)
NAMED = 8  # owners in one line; each has a line of its own below
PARTS = (
    ("kept", "{count} from mirrors kept here ({rows})"),
    ("mirrored", "{count} did not answer, mirrors did ({rows})"),
    ("cached", "of {count} only copies kept by chance ({rows})"),
    ("stale", "of {count} only copies older than was asked for"),
    ("unreachable", "{count} not reached"),
    ("refused", "{count} refused"),
    ("not asked", "{count} not asked"),
)
_FLUSH_BYTES = 1 << 20


@click.command("query")
@click.argument("question")
@wanted_options
@click.option("--whole", is_flag=True, help="Exit with 3 unless every owner that matches was answered.")
@json_option
@click.pass_obj
def query_command(meant: dict[str, str | None], /, question: str, whole: bool, as_json: bool, **wanted: Any) -> int:
    """Ask QUESTION, as in: City where population > 5000000 from 1.7.* order by -population limit 10."""
    with node_of(meant) as node:
        if as_json:
            report = _copy_lines(node.lines(question, **wanted))
        else:
            rows = list(node.rows(question, **wanted))
            report = node.completeness or {}
            _print(rows)
            _print_completeness(len(rows), report)
    return PARTIAL if whole and not report.get("whole") else 0


@click.command("explain")
@click.argument("question")
@json_option
@click.pass_obj
def explain_command(meant: dict[str, str | None], question: str, as_json: bool) -> None:
    """Say which index of the server answers QUESTION from what it holds, and what that takes. Nobody else is asked."""
    with node_of(meant) as node:
        said = node.explain(question)
    if as_json:
        print_json(said)
        return
    for line in plan_lines(said):
        click.echo(line)


@click.command("complete")
@click.argument("class_name", metavar="CLASS")
@click.argument("field")
@click.argument("prefix", default="")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many at most.")
@json_option
@click.pass_obj
def complete_command(
    meant: dict[str, str | None], class_name: str, field: str, prefix: str, limit: int, as_json: bool
) -> None:
    """List the values of FIELD that begin with PREFIX, in order, as the server holds them. FIELD must have an index."""
    with node_of(meant) as node:
        said = node.complete(class_name, field, prefix, limit=limit)
    if as_json:
        print_json(said)
        return
    for value in said["values"]:
        click.echo(value if isinstance(value, str) else cell(value))


def plan_lines(said: Mapping[str, Any]) -> list[str]:
    """A plan for people.

    City by the index on land, size, where land = DE; rows come in order
      25 entries expected, 4 looked at, 4 objects read, 3 rows
      considered: land, size (25 entries), tags (50 entries)
    """
    bounds = " and ".join(f"{each['field']} {_compared(each)}" for each in said["bounds"])
    where = f", where {bounds}" if bounds else ""
    way = f"by the index on {said['index']}{where}" if said["index"] else "all of them, for no index fits"
    if said["access"] == "nothing":
        way = f"nothing is looked at: no value of the field is such that {bounds}"
    order = {"none": "", "index": "; rows come in order", "sorted": "; rows are collected and sorted"}[said["order"]]
    objects, rows = said["objects"], said["rows"]
    lines = [
        f"{said['class']} {way}{order}",
        f"  {counted(said['estimated'])} {'entry' if said['estimated'] == 1 else 'entries'} expected, "
        f"{counted(said['entries'])} looked at, {counted(objects)} {'object' if objects == 1 else 'objects'} read, "
        f"{counted(rows)} {_rows(rows)}",
    ]
    if said["considered"]:
        considered = (f"{each['index']} ({counted(each['estimated'])})" for each in said["considered"])
        lines.append(f"  considered, by their entries: {'; '.join(considered)}")
    return lines


def _compared(bound: Mapping[str, Any]) -> str:
    return "is null" if bound["op"] == "is null" else f"{bound['op']} {cell(bound['value'])}"


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
    for line in completeness_lines(count, report):
        click.echo(line, err=True)


def completeness_lines(count: int, report: Mapping[str, Any]) -> list[str]:
    """The report for people: a line that says it all, and one for each owner.

    28 298 rows, whole: 4 owners answered; 1 from mirrors kept here (1 842 rows): 1.4
    28 298 rows, whole: 4 owners answered; 1 did not answer, mirrors did (7 432 rows): 1.2
    12 rows, NOT whole: 4 owners answered; 1 not reached: 1.2
    """
    owners = report.get("owners", ())
    owners = sorted(owners, key=lambda each: each.get("since") is None)  # those in trouble first
    heard = sum(each["how"] in ("owned", "owner") for each in owners)
    said = [f"{counted(heard)} {'owner' if heard == 1 else 'owners'} answered"] if heard or not owners else []
    for how, sentence in PARTS:
        told = [each for each in owners if _how(each) == how]
        if told:
            rows = sum(each.get("rows", 0) for each in told)
            names = ", ".join(each["server"] for each in told[:NAMED]) + (" ..." if len(told) > NAMED else "")
            said.append(sentence.format(count=counted(len(told)), rows=f"{counted(rows)} {_rows(rows)}") + f": {names}")
    whole = "whole" if report.get("whole") else "NOT whole"
    return [f"{counted(count)} {_rows(count)}, {whole}: {'; '.join(said)}", *map(_owner_line, owners)]


def _how(owner: Mapping[str, Any]) -> str:
    """As it is counted: a mirror that is kept here is no sign of trouble."""
    here = owner["path"][-1:]  # who was asked the whole question stands last
    return "kept" if owner["how"] == "mirrored" and here == [owner.get("by")] else str(owner["how"])


def _owner_line(owner: Mapping[str, Any]) -> str:
    """What matters most comes first: lines are cut off on the right."""
    silent = owner.get("since") is not None
    parts = [owner["how"] + (f" by {owner['by']}" if owner.get("by") else "")]
    if silent and owner["how"] == "unreachable":
        parts[0] += f" since {seconds(owner['since'])}"
    elif silent:
        parts.append(f"owner unreachable since {seconds(owner['since'])}")
    if owner.get("rows"):
        parts.append(f"{counted(owner['rows'])} {_rows(owner['rows'])}")
    if owner.get("path"):
        parts.append(f"path {'!'.join(owner['path'])}")
    if owner.get("position") or owner["how"] in ("mirrored", "cached", "stale"):
        parts.append(f"age {seconds(owner['age'])}" if owner.get("age") is not None else "age unknown")
    if owner.get("position"):
        parts.append(f"position {owner['position']}")
    why = f": {owner['error']['cause']}" if owner.get("error") and not silent else ""
    return f"  {owner['server']:<8} {', '.join(parts)}{why}"


def _rows(count: int) -> str:
    return "row" if count == 1 else "rows"
