"""`status`, `peers`, `servers`, `feeds`: what a node says of itself and of those it knows; links cut and mended.

Each list is one GET; the columns are the operator's questions (who is heard, by whom are we heard, how far behind).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from node.cli.output import cell, json_option, node_of, print_json, print_rows, print_table, seconds, size


@click.command("status")
@json_option
@click.pass_obj
def status_command(meant: dict[str, str | None], as_json: bool) -> None:
    """What a server says of itself: position, objects, peers, mirrors."""
    with node_of(meant) as node:
        said = node.status()
    if as_json:
        print_json(said)
        return
    for name, value in said.items():
        if value in (None, "") or name == "started_ms":
            continue
        for label, shown in _lines_of(name, value):
            click.echo(f"{label:<24} {shown}")


@click.group("peers", invoke_without_command=True)
@json_option
@click.pass_context
def peers_command(ctx: click.Context, as_json: bool) -> None:
    """Whom it hears, and who hears it: the two directions are told apart. Or cut a link, and mend it."""
    if ctx.invoked_subcommand is not None:
        return
    with node_of(ctx.obj) as node:
        said = node.peers()
    if as_json:
        print_rows(said)
        return
    print_table(
        (
            "server",
            "state",
            "there",
            "back",
            "blocked",
            "address",
            "heard",
            "hears us",
            "round trip",
            "sent",
            "received",
            "why",
        ),
        (
            (
                each["server"],
                each["state"],
                way_there(each),
                way_back(each),
                each.get("blocked"),
                each.get("address"),
                seconds(each.get("heard_s")),
                seconds(each.get("hears_us_s")),
                _milliseconds(each.get("rtt_ms")),
                size(each.get("sent_bytes")),
                size(each.get("received_bytes")),
                each.get("reason"),
            )
            for each in said
        ),
        empty="no peers",
    )


@peers_command.command("block")
@click.argument("server", metavar="ID")
@click.option("--in", "inward", is_flag=True, help="Only what the other server sends to this one.")
@click.option("--out", "outward", is_flag=True, help="Only what this server sends to the other.")
@json_option
@click.pass_obj
def block_command(meant: dict[str, str | None], server: str, inward: bool, outward: bool, as_json: bool) -> None:
    """Cut the link to the server ID at this server's port; the node is not told, and a restart forgets it."""
    with node_of(meant) as node:
        _tell_block(node.block(server, _direction(inward, outward) or "both"), as_json)


@peers_command.command("unblock")
@click.argument("server", metavar="ID", required=False)
@click.option("--in", "inward", is_flag=True, help="Only what the other server sends to this one.")
@click.option("--out", "outward", is_flag=True, help="Only what this server sends to the other.")
@click.option("--all", "every", is_flag=True, help="Every link of this server.")
@json_option
@click.pass_obj
def unblock_command(
    meant: dict[str, str | None], server: str | None, inward: bool, outward: bool, every: bool, as_json: bool
) -> None:
    """Mend the link to the server ID, or with --all every one."""
    direction = _direction(inward, outward)
    if every == bool(server) or (every and direction):
        raise click.UsageError("Name one server, as in peers unblock 1.2, or say peers unblock --all.")
    with node_of(meant) as node:
        if server:
            _tell_block(node.unblock(server, direction), as_json)
            return
        opened = node.unblock("all")
    if as_json:
        print_rows(opened)
    elif not opened:
        click.echo("no link was blocked")
    else:
        for each in opened:
            _tell_block(each, as_json)


def _direction(inward: bool, outward: bool) -> str | None:
    """What was said: one direction, both by name, or neither."""
    return ("both" if outward else "in") if inward else "out" if outward else None


def way_there(peer: Mapping[str, Any]) -> str:
    """How our packets go to a peer: `direct`, `by 1.5`, `by 1.5!1.3`, `none`; `?` where that is not told."""
    return _way(peer.get("way"), peer.get("path"))


def way_back(peer: Mapping[str, Any]) -> str:
    """How its packets come to us, in the same words."""
    return _way(peer.get("way_back"), peer.get("path_back"))


def _way(way: str | None, path: Any) -> str:
    if way != "gateway":
        return str(way or "?")
    return f"by {'!'.join(map(str, list(path or ())[1:-1])) or '?'}"


def _tell_block(said: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(said)
        return
    what = {"in": "what it sends to us is dropped", "out": "what we send to it is dropped", "both": "both directions"}
    blocked = said["blocked"]
    click.echo(f"{said['server']} is blocked: {what[blocked]}" if blocked else f"{said['server']} is not blocked")


@click.command("servers")
@json_option
@click.pass_obj
def servers_command(meant: dict[str, str | None], as_json: bool) -> None:
    """Which servers it knows, from their certificates and registry feeds."""
    with node_of(meant) as node:
        said = node.servers()
    if as_json:
        print_rows(said)
        return
    print_table(
        ("server", "name", "addresses", "classes", "issuer", "registry", "age", "reachable"),
        (
            (
                each["server"],
                each.get("name"),
                each.get("addresses"),
                each.get("classes"),
                each.get("issuer"),
                each.get("registry_position"),
                seconds(each.get("age")),
                each.get("reachable"),
            )
            for each in said
        ),
    )


@click.command("feeds")
@json_option
@click.pass_obj
def feeds_command(meant: dict[str, str | None], as_json: bool) -> None:
    """Which feeds it holds, up to which number, and how far they are behind what it has heard of."""
    with node_of(meant) as node:
        said = node.feeds()
    if as_json:
        print_rows(said)
        return
    print_table(
        ("server", "kind", "first", "last", "known", "lag", "age", "state", "why"),
        (
            (
                each["server"],
                each["kind"],
                each.get("first"),
                each.get("last"),
                each.get("known"),
                each.get("lag"),
                seconds(each.get("age")),
                each.get("state"),
                each.get("reason"),
            )
            for each in said
        ),
        empty="no feeds",
    )


def _lines_of(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """A field of a status, of which some hold fields of their own."""
    if isinstance(value, dict):
        for inner, each in value.items():
            yield from _lines_of(f"{name} {inner}", each)
    else:
        label = name.removesuffix("_s").replace("_", " ")
        yield label, seconds(value) if name.endswith("_s") else cell(value)


def _milliseconds(value: Any) -> str:
    return f"{value:.1f} ms" if isinstance(value, (int, float)) else "-"


def one_line(status: Mapping[str, Any]) -> str:
    """A status in one line, for lists of servers."""
    return f"{status['server']} at {status.get('position') or 'no position'}, {cell(status.get('objects'))}"
