"""`backup`, `restore`: a server's directory kept elsewhere, and made again of what is kept.

    bangpath @1.4 backup /media/usb/1.4             only what is new; of a server that runs, or of a stopped one
    bangpath backup mesh/1.4 /media/usb/1.4         the same, by its directory; a store alone, too
    bangpath backup --verify /media/usb/1.4         every byte of the backup
    bangpath restore /media/usb/1.4 mesh/1.4        whole or not at all

exit code   0  done, or whole      1  refused, or damaged: file and offset are named
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from node.cli.output import counted, json_option, print_json, size
from node.cli.upkeep import is_running, shown

DAMAGED = 1


@click.command("backup")
@click.argument("paths", metavar="[DIR] TARGET", nargs=-1, required=True)
@click.option("--verify", is_flag=True, help="Look at every byte of the backup in TARGET instead.")
@json_option
@click.pass_obj
def backup_command(meant: dict[str, str | None], paths: tuple[str, ...], verify: bool, as_json: bool) -> int:
    """Bring the backup in TARGET up to date: of the server that is meant, or of the directory DIR.

    The backup holds the server's keys: it is as secret as the server.
    """
    if len(paths) > (1 if verify else 2):
        raise click.UsageError("Name TARGET only." if verify else "Name DIR and TARGET, or TARGET alone.")
    target = Path(paths[-1])
    if verify:
        return _verify(target, as_json)
    from node.cli.where import directory_of
    from node.secrets import secret_of
    from store.backup_directories import back_up_directory

    directory = Path(paths[0]) if len(paths) == 2 else directory_of(meant["directory"], meant["server"])
    with shown("backup", as_json) as tell:
        done = back_up_directory(directory, target, durable=_durable(directory), tell=tell, secret=secret_of(directory))
    said = {
        "target": str(target), "added": done.added, "bytes": done.manifest.bytes, "server": done.manifest.server,
        "position": done.manifest.position,
    }  # fmt: skip
    if as_json:
        print_json(said)
    else:
        click.echo(f"{size(done.added)} added to the backup of {done.manifest.server}, now {size(done.manifest.bytes)}")
    return 0


@click.command("restore")
@click.argument("target", metavar="TARGET")
@click.argument("directory", metavar="DIR")
@json_option
@click.pass_obj
def restore_command(meant: dict[str, str | None], target: str, directory: str, as_json: bool) -> int:
    """Make the server's directory DIR of the backup in TARGET. DIR must not be there, or be empty.

    The server it was must not run any more. At its first start it learns from its neighbours what it had signed since
    the backup, before it serves again.
    """
    from functools import partial

    import trio

    from node.secrets import ask_secret
    from store.backup_directories import needs_key, restore_directory

    secret = ask_secret(f"passphrase of {target}") if needs_key(Path(target)) else None
    with shown("restore", as_json) as tell:
        done = trio.run(partial(restore_directory, tell=tell, secret=secret), Path(target), Path(directory))
    said = {
        "server": done.manifest.server, "directory": directory, "groups": done.groups, "time_ms": done.manifest.time_ms,
    }  # fmt: skip
    if as_json:
        print_json(said)
        return 0
    age_s = (_wall_ms() - done.manifest.time_ms) / 1000
    click.echo(f"{done.manifest.server} is restored in {directory}: {counted(done.groups)} groups, {age_s:.0f} s old")
    if (Path(directory) / "bangpath.toml").exists():
        click.echo(f"  next: bangpath -C {directory} run; it first learns what it had signed since")
    return 0


def _verify(target: Path, as_json: bool) -> int:
    from store.backup_directories import verify_directory

    with shown("verify", as_json) as tell:
        looked = verify_directory(target, tell)
    manifest = looked.manifest
    said: dict[str, Any] = looked.report.as_json()
    if manifest is not None:
        said |= {"server": manifest.server, "position": manifest.position, "time_ms": manifest.time_ms}
    if as_json:
        print_json(said)
    else:
        for each in looked.report.findings:
            click.echo(f"{each}\n  next: {each.repair}", err=True)
        of = "" if manifest is None else f" of {manifest.server}"
        click.echo(
            f"the backup{of} is {'whole' if looked.report.whole else 'damaged'}: {size(looked.report.bytes)} read"
        )
    return 0 if looked.report.whole else DAMAGED


def _durable(directory: Path) -> int | None:
    """How far the log of a server that runs is durable, by its word; None: nobody runs it."""
    if not is_running(directory):
        return None
    from node import calls
    from node.client import Blocking

    with Blocking(directory, timeout_s=60) as node:
        return int(node.call(calls.show("log"))["position"])


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
