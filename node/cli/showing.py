"""`status`, `peers`, `servers`, `feeds`: what a node says of itself and of those it knows.

Each is one GET; the columns are the operator's questions (who is heard, by whom are we heard, how far behind).
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


@click.command("peers")
@json_option
@click.pass_obj
def peers_command(meant: dict[str, str | None], as_json: bool) -> None:
    """Whom it hears, and who hears it: the two directions are told apart."""
    with node_of(meant) as node:
        said = node.peers()
    if as_json:
        print_rows(said)
        return
    print_table(
        ("server", "state", "address", "heard", "hears us", "round trip", "sent", "received", "why"),
        (
            (
                each["server"],
                each["state"],
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
