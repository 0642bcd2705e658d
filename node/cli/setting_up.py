"""`init`, `invite`, `join`, `run`, `mesh`: from nothing to servers that know each other.

    bangpath init 1                          here: keys, a root certificate, a configuration, in ./1
    bangpath @1 run                          in a terminal of its own
    bangpath @1 invite 1.7                   prints a ticket
    bangpath join TICKET                     there: keys, a certificate from 1, a configuration, in ./1.7
    bangpath @1.7 run

`run` says `ready` when it serves: to a person as a line, to a supervisor as a byte through `--ready-fd`; it ends with
its supervisor when `--life-fd` (the reading end of a pipe) is closed, however that one died.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from node.cli.output import json_option, node_of, print_json


def _address(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """HOST:PORT, or a list of them."""
    if isinstance(value, tuple):
        return tuple(_address(ctx, parameter, each) for each in value)
    if value is None:
        return None
    host, colon, port = str(value).rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise click.BadParameter(f"{value!r} is no HOST:PORT")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare or set(bare) & set("[]") or (":" in bare and bare == host):
        raise click.BadParameter(f"{value!r} is no HOST:PORT; an IPv6 address stands in brackets, as in [::1]:7001")
    return bare, int(port)


def _listening(function: Any) -> Any:
    for option in (
        click.option(
            "--local",
            default="",
            metavar="PATTERN",
            help="Whose loopback and private addresses may be dialled; * for a mesh on one machine or network.",
        ),
        click.option("--http", metavar="HOST:PORT", callback=_address, help="Also serve HTTP there, with the token."),
        click.option(
            "--announce", multiple=True, metavar="HOST:PORT", callback=_address, help="Where others reach this server."
        ),
        click.option(
            "--listen",
            default="0.0.0.0:0",
            show_default=True,
            metavar="HOST:PORT",
            callback=_address,
            help="The UDP address; port 0 chooses one now and keeps it.",
        ),
        click.option(
            "--encrypt",
            is_flag=True,
            help="Encrypt what it stores, with a passphrase that is asked for (or $BANGPATH_KEY_FILE).",
        ),
        click.option("--name", default="", help="What people call it."),
    ):
        function = option(function)
    return function


@click.command("init")
@click.argument("server", metavar="ID")
@_listening
@json_option
@click.pass_obj
def init_command(meant: dict[str, str | None], /, server: str, as_json: bool, encrypt: bool, **settings: Any) -> None:
    """Found a mesh: make the keys and the certificate of the root server ID, such as 1, in ./ID or -C DIR."""
    import random
    import time

    from identity.errors import Refused
    from identity.names import ServerId
    from node.cli.where import note
    from node.opening import create_root

    name = ServerId.parse(server)
    if name.parent is not None:
        raise Refused(
            f"{name} is no root: {name.parent} delegates it",
            next_step=f"bangpath @{name.parent} invite {name}, then bangpath join TICKET",
        )
    directory = Path(meant["directory"] or server)
    config = create_root(
        directory, name, key=_new_key(directory, encrypt), random=random.SystemRandom(),
        wall_ms=lambda: time.time_ns() // 1_000_000, **settings,
    )  # fmt: skip
    note(server, directory)
    _tell_made(server, directory, config, as_json)


@click.command("invite")
@click.argument("server", metavar="ID")
@click.option("--valid", "valid_s", type=click.IntRange(60, 31_536_000), default=86_400, help="Seconds it may be used.")
@json_option
@click.pass_obj
def invite_command(meant: dict[str, str | None], server: str, valid_s: int, as_json: bool) -> None:
    """Print a ticket by which the new server ID joins; the server that is asked becomes its parent."""
    with node_of(meant) as node:
        said = node.invite(server, valid_s=valid_s)
    if as_json:
        print_json(said)
    else:
        click.echo(said["ticket"])


@click.command("join")
@click.argument("ticket")
@_listening
@json_option
@click.pass_obj
def join_command(meant: dict[str, str | None], /, ticket: str, as_json: bool, encrypt: bool, **settings: Any) -> None:
    """Join a mesh with TICKET, in ./ID or -C DIR. Repeating it after a crash is safe."""
    from functools import partial

    import trio

    from identity.tickets import Ticket
    from node.cli.where import note
    from node.opening import join

    server = str(Ticket.parse(ticket).server)
    directory = Path(meant["directory"] or server)
    config = trio.run(partial(join, directory, ticket, key=_new_key(directory, encrypt), **settings))
    note(server, directory)
    _tell_made(server, directory, config, as_json)


@click.command("run")
@click.option("--ready-fd", type=int, hidden=True)
@click.option("--life-fd", type=int, hidden=True)
@click.option(
    "--blocked",
    multiple=True,
    metavar="ID[=in|out|both]",
    help="A server whose packets are dropped from the first one on, as by peers block.",
)
@click.pass_obj
def run_command(
    meant: dict[str, str | None], ready_fd: int | None, life_fd: int | None, blocked: tuple[str, ...]
) -> int:
    """Run a server until SIGTERM or Ctrl-C; a second signal ends it at once."""
    from node.blocking import read_blocked
    from node.cli.where import directory_of, note
    from node.http.serve import run_server
    from node.secrets import secret_of

    directory = directory_of(meant["directory"], meant["server"])
    server = run_server(
        directory,
        key=secret_of(directory),
        ready_fd=ready_fd,
        life_fd=life_fd,
        blocked=read_blocked(blocked),
        tell=lambda text: click.echo(text, err=True),
    )
    if server is not None:
        note(server, directory)
    return 0


@click.command("mesh")
@click.option(
    "--objects", type=click.IntRange(min=0), metavar="N", help="Import only N airports, of each owner's its share."
)
@click.option("--once", is_flag=True, help="Stop when everything stands and every mirror has caught up.")
@click.option("--plain", is_flag=True, help="Lines instead of the map with keys that a terminal gets.")
@click.option("--tour", is_flag=True, help="Break the mesh in twelve ways, explained; exit with 0 if each step held.")
@click.option("--fast", is_flag=True, help="With --tour: no pauses to read in.")
@click.option("--json", "as_json", is_flag=True, help="With --tour: print one line of JSON a step, and nothing else.")
@click.pass_obj
def mesh_command(
    meant: dict[str, str | None], objects: int | None, once: bool, plain: bool, tour: bool, fast: bool, as_json: bool
) -> int:
    """Six servers on this machine with 28 298 real airports: 1 and its owners 1.1 to 1.5, each a mirror of the next.

    Everything lives in ./mesh (or -C DIR). A second run continues where the first one was. At a terminal it
    is a map of servers and links that are killed, cut and healed by keys. q or Ctrl-C stops all six.
    """
    directory = Path(meant["directory"] or "mesh")
    if tour:
        if once:
            raise click.UsageError("--tour ends by itself; leave --once away.")
        from node.tour import run_tour

        return run_tour(directory, limit=objects, fast=fast, as_json=as_json)
    if fast or as_json:
        raise click.UsageError("--fast and --json belong to --tour, as in bangpath mesh --tour --json.")
    from node.mesh import run_mesh

    return run_mesh(directory, limit=objects, once=once, plain=plain)


def _new_key(directory: Path, encrypt: bool) -> Any:
    """What will open its store; one that was begun is asked for again."""
    from node.secrets import ask_secret, secret_of

    begun = secret_of(directory)
    return ask_secret(f"new passphrase of {directory}", twice=True) if encrypt and begun is None else begun


def _tell_made(server: str, directory: Path, config: Any, as_json: bool) -> None:
    host, port = config.listen
    if as_json:
        print_json(
            {"server": server, "directory": str(directory), "udp": f"{host}:{port}", "roots": list(config.roots)}
        )
        return
    click.echo(f"server {server} is ready in {directory}, UDP {host}:{port}")
    click.echo(f"  next: bangpath -C {directory} run")
