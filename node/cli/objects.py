"""`put`, `get`, `update`, `delete`: one object at a time.

    bangpath @1.2 put Note text='Hello there' stars=5          fields by name; the class says how each is read
    bangpath @1.2 put Note '{"text": "Hello", "stars": 5}'     or one JSON object; - reads it from standard input
    bangpath @1.4 get 1.2/42 --max-age 60                      by its owner, else by a mirror that is fresh enough
    bangpath @1.4 update 1.2/42 stars=4 --expect 17            refused when it was changed since sequence 17
    bangpath @1.4 delete 1.2/42

A change of another server's object travels to its owner and is answered when the owner has committed it. Is the owner
not reached, it waits in the outbox (`bangpath outbox`), unless --now says that it must not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from node.cli.outbox import tell_queued
from node.cli.output import Seconds, cell, json_option, node_of, print_json, seconds, wanted_options

if TYPE_CHECKING:
    from node.client import Blocking


ANSWERED = {
    "owned": "owned",
    "owner": "answered by its owner {owner}",
    "mirrored": "answered by mirror {by}",
    "cached": "answered with a copy that {by} keeps by chance",
}

Function = TypeVar("Function", bound=Callable[..., Any])


def queue_options(function: Function) -> Function:
    """What a change says of the outbox."""
    now = click.option("--now", is_flag=True, help="Fail rather than wait in the outbox, if the owner is not reached.")
    expires = click.option("--expires", type=Seconds(), metavar="SECONDS", help="Do not carry it out later than that.")
    return now(expires(function))


@click.command("put")
@click.argument("class_name", metavar="CLASS")
@click.argument("fields", metavar="FIELD=VALUE...", nargs=-1)
@click.option("--server", metavar="ID", help="The owner, when it is another server.")
@queue_options
@json_option
@click.pass_obj
def put_command(
    meant: dict[str, str | None],
    class_name: str,
    fields: tuple[str, ...],
    server: str | None,
    now: bool,
    expires: float | None,
    as_json: bool,
) -> None:
    """Create an object of CLASS; `-` reads its fields as JSON from standard input."""
    with node_of(meant) as node:
        given = _fields(node, class_name, fields)
        _changed("created", node.create(class_name, given, server=server, **_how(now, expires)), as_json)


@click.command("get")
@click.argument("reference")
@wanted_options
@json_option
@click.pass_obj
def get_command(meant: dict[str, str | None], /, reference: str, as_json: bool, **wanted: Any) -> None:
    """Show the object REFERENCE, as 1.2/42, or /42 for an object of the server that is asked."""
    with node_of(meant) as node:
        found = node.get(_checked(reference), **wanted)
    if as_json:
        print_json(found)
        return
    click.echo(f"{found['class']} {found['reference']}, sequence {found['sequence']}")
    for name, value in found["fields"].items():
        click.echo(f"  {name:<16} {value if isinstance(value, str) else cell(value)}")
    click.echo(provenance(found))


@click.command("update")
@click.argument("reference")
@click.argument("fields", metavar="FIELD=VALUE...", nargs=-1, required=True)
@click.option("--expect", type=int, metavar="SEQUENCE", help="Refuse when the object is no longer at this sequence.")
@click.option("--class", "class_name", metavar="CLASS", help="Of what class it is, when nobody who has it is reached.")
@queue_options
@json_option
@click.pass_obj
def update_command(
    meant: dict[str, str | None],
    reference: str,
    fields: tuple[str, ...],
    expect: int | None,
    class_name: str | None,
    now: bool,
    expires: float | None,
    as_json: bool,
) -> None:
    """Change fields of the object REFERENCE; the others stay."""
    with node_of(meant) as node:
        if not _is_json(fields) and class_name is None:
            class_name = _class_of(node, _checked(reference))
        given = _fields(node, class_name or "", fields)
        _changed("updated", node.update(_checked(reference), given, expect=expect, **_how(now, expires)), as_json)


@click.command("delete")
@click.argument("reference")
@click.option("--expect", type=int, metavar="SEQUENCE", help="Refuse when the object is no longer at this sequence.")
@queue_options
@json_option
@click.pass_obj
def delete_command(
    meant: dict[str, str | None], reference: str, expect: int | None, now: bool, expires: float | None, as_json: bool
) -> None:
    """Delete the object REFERENCE."""
    with node_of(meant) as node:
        _changed("deleted", node.delete(_checked(reference), expect=expect, **_how(now, expires)), as_json)


def provenance(found: Mapping[str, Any]) -> str:
    """Whose word an answer is, of which age and position, by which path (DESIGN P5)."""
    path = found.get("path") or []
    owner = found["reference"].rpartition("/")[0]
    since = found.get("owner_unreachable_since")
    parts = [
        *([f"owner {owner} unreachable since {seconds(since)}"] if since is not None else []),
        ANSWERED.get(found["kind"], found["kind"]).format(by=found.get("by", ""), owner=owner),
    ]
    return (
        "; ".join(parts)
        + ", "
        + ", ".join(
            part
            for part in (
                f"age {seconds(found['age'])}" if found.get("age") is not None else "age unknown",
                f"position {found['position']}" if found.get("position") else "",
                f"path {'!'.join(path)}" if path else "",
            )
            if part
        )
    )


def _changed(what: str, said: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(said)
    elif "request" in said:
        tell_queued(said)
    else:
        at = f", position {said['position']}" if said.get("position") else ""
        click.echo(f"{what} {said['reference']}, sequence {said['sequence']}{at}")


def _class_of(node: Blocking, reference: str) -> str:
    """Its class says how fields are read that were typed. Raises `Unreachable` with what else can be done."""
    from identity.errors import Unreachable

    try:
        return str(node.get(reference)["class"])
    except Unreachable as error:
        error.next_step = "say its class, as in --class Note, and the change waits in the outbox"
        raise


def _how(now: bool, expires: float | None) -> dict[str, Any]:
    return {**({"queue": False} if now else {}), **({"expires": expires} if expires else {})}


def _checked(reference: str) -> str:
    """The reference as it was typed, once it is known to be one. Raises `Refused`."""
    from identity.names import parse_reference

    parse_reference(reference)
    return reference


def _is_json(fields: Sequence[str]) -> bool:
    return len(fields) == 1 and (fields[0] == "-" or fields[0].lstrip().startswith("{"))


def _fields(node: Blocking, class_name: str, given: Sequence[str]) -> dict[str, Any]:
    """The fields that were typed, read by the definition of their class. Raises `Refused` naming the field."""
    from identity.errors import Refused
    from node.rows import Reader

    if _is_json(given):
        import msgspec

        text = sys.stdin.read() if given[0] == "-" else given[0]
        try:
            return msgspec.json.decode(text, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise Refused(f"the fields are no JSON object: {error}") from error
    reader = Reader.of(node.classes(), class_name)
    fields: dict[str, Any] = {}
    for each in given:
        name, equals, text = each.partition("=")
        if not equals:
            raise Refused(f"{each!r} names no field", next_step="write FIELD=VALUE, as in stars=5")
        fields[name] = reader.value(name, text)
    return fields
