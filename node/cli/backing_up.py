"""`backup`, `restore`, `archive`: a server's directory kept elsewhere, and made again of what is kept.

    bangpath @1.4 backup /media/usb/1.4             only what is new; of a server that runs, or of a stopped one
    bangpath backup mesh/1.4 /media/usb/1.4         the same, by its directory; a store alone, too
    bangpath backup --verify /media/usb/1.4         every byte of the backup
    bangpath restore /media/usb/1.4 mesh/1.4        whole or not at all
    bangpath archive mesh/1.4 --to /media/big/1.4   old segments of its log lie there from now on

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
        done = back_up_directory(directory, target, durable=_durable(directory), tell=tell, key=secret_of(directory))
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
        done = trio.run(partial(restore_directory, tell=tell, key=secret), Path(target), Path(directory))
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


@click.command("archive")
@click.argument("path", metavar="[DIR]", required=False)
@click.option("--to", "target", metavar="PATH", help="Where old segments go: a directory of this store alone.")
@click.option(
    "--keep",
    type=click.IntRange(1, 1_000_000),
    default=4,
    show_default=True,
    help="So many of the newest segments, of 64 MiB each, stay.",
)
@json_option
@click.pass_obj
def archive_command(
    meant: dict[str, str | None], path: str | None, target: str | None, keep: int, as_json: bool
) -> None:
    """Move old segments of the log to another disk, now and from now on; without --to, say where they go.

    They are read from there as before: nothing is thrown away, and the disk must be there for a check or a backup. A
    server that runs does so from its next start on.
    """
    import trio

    from identity.errors import Refused
    from node.cli.where import directory_of
    from store.archive import LOG, Policy, TieredDisk, log_disk, move_old, read_policy, write_policy

    directory = Path(path) if path is not None else directory_of(meant["directory"], meant["server"])
    if not (directory / LOG).is_dir():
        raise Refused(f"there is no store in {directory}", next_step="name the directory of a server")
    if target is not None:
        write_policy(directory, Policy(Path(target), keep))
    policy = read_policy(directory)
    moved = 0
    if target is not None and not is_running(directory):
        disk = log_disk(directory, whole=True)
        assert isinstance(disk, TieredDisk)
        try:
            due = len(disk.due())
            trouble = trio.run(move_old, disk)
            moved = due - len(disk.due())
        finally:
            disk.close()
        if trouble is not None:
            raise trouble
    if as_json:
        where = None if policy is None else str(policy.path)
        print_json({"archive": where, "keep": None if policy is None else policy.keep, "moved": moved})
    elif policy is None:
        click.echo("all segments of its log stay in its directory")
    else:
        click.echo(f"all but the newest {policy.keep} segments go to {policy.path}: {moved} moved")


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
