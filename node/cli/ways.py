"""`route`, `trace`, `ping`: by which ways other servers are reached."""

from __future__ import annotations

from typing import Any

import click

from node.cli.output import deadline_option, json_option, node_of, print_json, print_rows, print_table, seconds

NOT_REACHED = 4


@click.command("route")
@click.argument("server", required=False)
@json_option
@click.pass_obj
def route_command(meant: dict[str, str | None], server: str | None, as_json: bool) -> int:
    """By which way each server is reached, or one of them: the two directions are told apart.

    Exit code 4 when SERVER is not reached.
    """
    with node_of(meant) as node:
        said = node.routes(server)
    code = NOT_REACHED if server is not None and said[0]["way"] == "none" else 0
    if as_json:
        print_rows(said)
        return code
    print_table(
        ("server", "way there", "way back", "standby", "round trip", "since", "doubted", "why"),
        (
            (
                each["server"],
                path_text(each["path"]) or each["way"],
                path_text(each["path_back"]) or each["way_back"],
                path_text(each["standby"]),
                milliseconds(each["rtt_ms"]),
                seconds(each["since_s"]),
                seconds(each["doubted_s"]),
                each["reason"],
            )
            for each in said
        ),
        empty="no other server is known",
    )
    return code


@click.command("trace")
@click.argument("server")
@deadline_option
@json_option
@click.pass_obj
def trace_command(meant: dict[str, str | None], server: str, deadline: float | None, as_json: bool) -> None:
    """The path to another server and the path back, as each end says that it sends."""
    with node_of(meant) as node:
        said = node.trace(server, deadline=deadline)
    if as_json:
        print_json(said)
        return
    click.echo(f"there  {path_text(said['there'])}")
    click.echo(f"back   {path_text(said['back'])}")
    for way, path in said.get("came", {}).items():
        click.echo(f"{way:6} it came marked {path_text(path)}: the way has just changed, or a gateway on it lies")
    click.echo(f"{said['server']} answers in {milliseconds(said['rtt_ms'])}")
    for hop in said["hops"]:
        took = milliseconds(hop["rtt_ms"]) if hop["rtt_ms"] is not None else f"no answer: {hop['cause']}"
        click.echo(f"  by {hop['server']}, which answers in {took}")


@click.command("ping")
@click.argument("server")
@click.option("--count", default=3, show_default=True, type=click.IntRange(1, 1000), metavar="N", help="How often.")
@deadline_option
@json_option
@click.pass_obj
def ping_command(meant: dict[str, str | None], server: str, count: int, deadline: float | None, as_json: bool) -> None:
    """How long another server takes to answer, whichever way it is reached."""
    with node_of(meant) as node:
        for _ in range(count):
            said = node.ping(server, deadline=deadline)
            if as_json:
                print_json(said)
            else:
                click.echo(f"{said['server']} answered in {milliseconds(1000 * said['seconds'])}"
                           f" by {path_text(said['path'])}")  # fmt: skip


def path_text(path: list[str]) -> str:
    """`1.1!1.5!1.2`."""
    return "!".join(path)


def milliseconds(value: Any) -> str:
    return f"{value:.1f} ms" if isinstance(value, (int, float)) else "-"
