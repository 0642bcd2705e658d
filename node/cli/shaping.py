"""`class` and `mirror`: what objects look like, and whose objects this server keeps a copy of.

bangpath @1.2 class                                              the classes
bangpath @1.2 class define Note text:string! stars:int --index stars --unique text
bangpath @1.2 class define Room house:string! number:int! --unique house,number
bangpath @1.3 class adopt Note                                   as another server defined it
bangpath @1.2 class drop Note --objects                          no own ones any more; those there are deleted first
bangpath @1.2 mirror                                             the mirrors
bangpath @1.2 mirror 1.3.*                                       keep one; --end stops it
bangpath @1.2 mirror --backup 1.4                                keep it for 1.4, and show nothing of it
"""

from __future__ import annotations

from typing import Any

import click

from node.cli.output import json_option, node_of, print_json, print_rows, print_table, seconds


@click.group("class", invoke_without_command=True)
@json_option
@click.pass_context
def class_command(ctx: click.Context, as_json: bool) -> None:
    """List the classes, or define or adopt one."""
    if ctx.invoked_subcommand is not None:
        return
    with node_of(ctx.obj) as node:
        said = node.classes()
    if as_json:
        print_rows(said)
        return
    print_table(
        ("class", "version", "fields", "indexes", "fingerprint", "adopted by"),
        (
            (
                each["name"],
                each["version"],
                _fields_text(each["fields"]),
                _indexes_text(each),
                each["fingerprint"],
                each.get("owners"),
            )
            for each in said
        ),
        empty="no classes; define one with bangpath class define NAME FIELD:TYPE ...",
    )


@class_command.command("define")
@click.argument("name")
@click.argument("fields", nargs=-1, required=True, metavar="FIELD:TYPE...")
@click.option(
    "--index", "indexed", multiple=True, metavar="FIELD", help="An ordered index on this field, or on several: a,b."
)
@click.option("--unique", multiple=True, metavar="FIELD", help="A unique index on this field, or on several: a,b.")
@click.option("--version", default="1.0", show_default=True, help="With another major the fields may be others.")
@json_option
@click.pass_obj
def define_command(
    meant: dict[str, str | None],
    name: str,
    fields: tuple[str, ...],
    indexed: tuple[str, ...],
    unique: tuple[str, ...],
    version: str,
    as_json: bool,
) -> None:
    """Define the class NAME. A ! after the type makes a field required: icao:string!"""
    with node_of(meant) as node:
        said = node.define({**definition_of(name, fields, indexed=indexed, unique=unique), "version": version})
    if as_json:
        print_json(said)
    else:
        click.echo(f"defined {said['name']}, fingerprint {said['fingerprint']}")


@class_command.command("adopt")
@click.argument("name")
@json_option
@click.pass_obj
def adopt_command(meant: dict[str, str | None], name: str, as_json: bool) -> None:
    """Adopt the class NAME as another server of the mesh defined it."""
    with node_of(meant) as node:
        said = node.adopt(name)
    if as_json:
        print_json(said)
    else:
        click.echo(f"adopted {said['name']}, fingerprint {said['fingerprint']}")


@class_command.command("drop")
@click.argument("name")
@click.option("--objects", is_flag=True, help="Delete the server's own objects of it first.")
@json_option
@click.pass_obj
def drop_command(meant: dict[str, str | None], name: str, objects: bool, as_json: bool) -> None:
    """Make no own objects of the class NAME any more. What others own stays."""
    with node_of(meant) as node:
        said = node.drop(name, objects=objects)
    if as_json:
        print_json(said)
    else:
        click.echo(f"dropped {said['class']}")


@click.command("mirror")
@click.argument("pattern", required=False)
@click.option("--end", is_flag=True, help="Stop mirroring PATTERN.")
@click.option("--backup", is_flag=True, help="Keep it for its owners; no query or get shows it.")
@json_option
@click.pass_obj
def mirror_command(meant: dict[str, str | None], pattern: str | None, end: bool, backup: bool, as_json: bool) -> None:
    """Keep a mirror of the servers of PATTERN (1.3, 1.3.*, *), or list the mirrors."""
    if (backup and end) or (pattern is None and (backup or end)):
        raise click.UsageError("Say mirror PATTERN, mirror --backup PATTERN, mirror --end PATTERN, or mirror alone.")
    with node_of(meant) as node:
        if pattern is None:
            said = node.mirrors()
        else:
            said = node.unmirror(pattern) if end else node.mirror(pattern, "backup" if backup else "mirrored")
    if pattern is None and not as_json:
        print_table(
            ("pattern", "kept as", "servers", "lag", "age"),
            ((each["pattern"], each["kind"], each["servers"], each["lag"], seconds(each["age"])) for each in said),
            empty="no mirrors; begin one with bangpath mirror PATTERN",
        )
    elif pattern is None:
        print_rows(said)
    elif as_json:
        print_json(said)
    else:
        click.echo(f"{'no longer mirrors' if end else 'keeps a backup of' if backup else 'mirrors'} {pattern}")


def definition_of(
    name: str, fields: tuple[str, ...], *, indexed: tuple[str, ...] = (), unique: tuple[str, ...] = ()
) -> dict[str, Any]:
    """A class's definition, as JSON, from what was typed. Raises `Refused` naming what is wrong."""
    from identity.errors import Refused

    several = [(each, False) for each in indexed if "," in each] + [(each, True) for each in unique if "," in each]
    indexed, unique = (tuple(each for each in named if "," not in each) for named in (indexed, unique))
    made: list[dict[str, Any]] = []
    for each in fields:
        field, colon, kind = each.partition(":")
        if not colon or not field or not kind.rstrip("!"):
            raise Refused(f"{each!r} is no field", next_step="write FIELD:TYPE, as in stars:int, or text:string!")
        made.append(
            {
                "name": field,
                "type": kind.removesuffix("!"),
                "required": kind.endswith("!"),
                "index": field in indexed or field in unique,
                "unique": field in unique,
            }
        )
    names = [each["name"] for each in made]
    for field in (*indexed, *unique):
        if field not in names:
            raise Refused(f"the index on {field!r} names no field of {name}", field=field)
    indexes = [{"fields": [each.strip() for each in text.split(",")], "unique": only} for text, only in several]
    return {"name": name, "fields": made, "indexes": indexes}


def _indexes_text(definition: dict[str, Any]) -> str:
    """`stars; text!; house,number!`: a ! for a unique one."""
    alone = [(each["name"], each.get("unique")) for each in definition["fields"] if each.get("index")]
    several = [(",".join(each["fields"]), each["unique"]) for each in definition.get("indexes", ())]
    said = "; ".join(f"{name}{'!' if unique else ''}" for name, unique in (*alone, *several))
    under_way = definition.get("building")
    if not under_way:
        return said
    if under_way["state"] == "upgrading":
        why = f"; {under_way['reason']}" if under_way["reason"] else ""
        return f"{said} (upgrading to {under_way['version']}: {under_way['done']}{why})"
    names = "; ".join(under_way["indexes"])
    return f"{said} ({under_way['state']} {names}: {under_way['done']})"


def _fields_text(fields: list[dict[str, Any]]) -> str:
    return " ".join(f"{each['name']}:{each['type']}{'!' if each.get('required') else ''}" for each in fields)
