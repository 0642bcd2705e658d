"""`outbox`: changes of other servers' objects that wait here for their owner, and what became of the others.

    bangpath @1.1 outbox                  what waits and what was settled, in the order in which it came
    bangpath @1.1 outbox --waiting        only what waits
    bangpath @1.1 outbox show 17          one of them: what it is to do, or its outcome
    bangpath @1.1 outbox wait 17          the same, as soon as it has its outcome; exit code 4 if it has none in time
    bangpath @1.1 outbox cancel 17        take it back; what was sent is withdrawn, and its owner has the last word
    bangpath @1.1 outbox cancel 17 --forget   do not wait for that word any longer

Times are UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from node.cli.output import Seconds, cell, json_option, node_of, print_json, print_rows, print_table

OPEN = ("new", "waiting", "sent", "withdrawn", "lapsed")
UNREACHED = 4


@click.group("outbox", invoke_without_command=True)
@click.option("--waiting", is_flag=True, help="Only what waits.")
@json_option
@click.pass_context
def outbox_command(ctx: click.Context, waiting: bool, as_json: bool) -> None:
    """List the changes that wait for their owner, and the outcomes of the others."""
    if ctx.invoked_subcommand is not None:
        return
    with node_of(ctx.obj) as node:
        said = [each for each in node.outbox() if not waiting or each["state"] in OPEN]
    if as_json:
        print_rows(said)
        return
    print_table(
        ("request", "server", "operation", "since", "state", "outcome"),
        (
            (
                each["request"],
                each["server"],
                each["operation"],
                _time(each["since_ms"]),
                each["state"],
                _outcome(each) or None,
            )
            for each in said
        ),
        empty="nothing waits in the outbox",
    )


@outbox_command.command("show")
@click.argument("request", type=int)
@json_option
@click.pass_obj
def show_command(meant: dict[str, str | None], request: int, as_json: bool) -> None:
    """What the change REQUEST is to do, or what became of it."""
    with node_of(meant) as node:
        said = node.outbox_entry(request)
    _show(said, as_json)


@outbox_command.command("wait")
@click.argument("request", type=int)
@click.option(
    "--deadline", type=Seconds(most=3600), default=30.0, show_default=True, metavar="SECONDS", help="How long."
)
@json_option
@click.pass_obj
def wait_command(meant: dict[str, str | None], request: int, deadline: float, as_json: bool) -> int:
    """Wait until the change REQUEST has its outcome."""
    with node_of(meant) as node:
        said = node.outbox_entry(request, wait=deadline)
    _show(said, as_json)
    if said["state"] in OPEN:
        click.echo(f"request {request} has no outcome yet, after {deadline:g} s: {said['state']}", err=True)
    return UNREACHED if said["state"] in OPEN else 0 if said["state"] == "committed" else 1


@outbox_command.command("cancel")
@click.argument("request", type=int)
@click.option("--forget", is_flag=True, help="Even if its owner has not said whether it carried it out.")
@json_option
@click.pass_obj
def cancel_command(meant: dict[str, str | None], request: int, forget: bool, as_json: bool) -> int:
    """Take the change REQUEST back."""
    with node_of(meant) as node:
        said = node.cancel_change(request, forget=forget)
    cancelled = said["state"] in ("cancelled", "withdrawn")
    if as_json:
        print_json(said)
    elif said["state"] == "withdrawn":
        click.echo(
            f"request {request} was sent to {said['server']} and is withdrawn: whether it had been carried out stands "
            f"in bangpath outbox show {request}, once {said['server']} has said so"
        )
    elif said["state"] == "unknown":
        click.echo(f"request {request} is forgotten; whether {said['server']} carried it out is unknown")
    elif cancelled:
        click.echo(f"cancelled request {request}: {said['operation']}")
    else:
        click.echo(f"request {request} is {said['state']} already")
    return 0 if cancelled or said["state"] == "unknown" else 1


def tell_queued(said: Mapping[str, Any]) -> None:
    """One line for a change that waits."""
    behind = f", behind {said['ahead']} others" if said["ahead"] else ""
    sent = "; it was sent, and its answer did not come" if said["state"] == "sent" else ""
    click.echo(f"waits in the outbox as request {said['request']}{behind}: {said['server']} is not reached{sent}")


def _show(said: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(said)
        return
    click.echo(f"request {said['request']} for {said['server']}, {said['state']}: {said['operation']}")
    click.echo(f"  since {_time(said['since_ms'])}" + (f", {said['ahead']} ahead of it" if said["ahead"] else ""))
    if said["expires_ms"] is not None:
        click.echo(f"  expires {_time(said['expires_ms'])}")
    for each in said.get("operations") or ():
        expect = f" --expect {each['expect']}" if "expect" in each else ""
        fields = " ".join(f"{name}={cell(value)}" for name, value in each.get("fields", {}).items())
        click.echo(f"  {each['op']} {each.get('reference') or each.get('class')} {fields}{expect}".rstrip())
    if said["settled_ms"] is not None:
        click.echo(f"  settled {_time(said['settled_ms'])}: {_outcome(said) or said['state']}")


def _outcome(said: Mapping[str, Any]) -> str:
    outcome = said.get("outcome") or {}
    error = outcome.get("error")
    if isinstance(error, Mapping):
        return str(error.get("cause", ""))
    results: list[Any] = outcome.get("results") or []
    if len(results) == 1:
        return f"{results[0]['done']} {results[0]['reference']}, sequence {results[0]['sequence']}"
    return f"{len(results) + outcome.get('further_results', 0)} done" if results else ""


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
