"""Entry of the command: understand who is meant, load the one family that was said, turn errors into exit codes.

    bangpath [@ID | -C DIR] COMMAND ...        `@ID` may also follow the command: bangpath query @1.4 ...

Nothing here imports a floor: click alone costs 35 ms of the 100 ms that `--help` may take, trio would cost 120 more.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any, NoReturn

import click

# Command: (file of its family, what it says in the list). The order is the order in which a newcomer meets them.
# A family with a dot in its name lives above this floor: nothing here knows it, it is loaded by name when it is said.
COMMANDS: dict[str, tuple[str, str]] = {
    "mesh": ("setting_up", "Six servers on this machine with 28 298 real airports, to try everything on."),
    "init": ("setting_up", "Found a mesh: make the keys and certificate of a root server such as 1."),
    "invite": ("setting_up", "Print a ticket by which a new server, such as 1.7, joins."),
    "join": ("setting_up", "Make the keys of a new server and obtain its certificate with a ticket."),
    "run": ("setting_up", "Run the server of a directory until it is told to stop."),
    "status": ("showing", "What a server says of itself."),
    "peers": ("showing", "Whom it hears, who hears it, by which way; cut a link."),
    "route": ("ways", "By which way each server is reached, there and back."),
    "trace": ("ways", "The path to a server and the path back, as packets go."),
    "ping": ("ways", "How long a server takes to answer."),
    "servers": ("showing", "Which servers it knows."),
    "feeds": ("showing", "Which feeds it holds and how far behind they are."),
    "class": ("shaping", "List classes, define one, adopt one, drop one."),
    "put": ("objects", "Create an object."),
    "get": ("objects", "Show an object."),
    "update": ("objects", "Change fields of an object."),
    "delete": ("objects", "Delete an object."),
    "outbox": ("outbox", "Changes that wait for their owner, and what became of others."),
    "query": ("asking", "Ask a question of the whole mesh."),
    "explain": ("asking", "Which index answers a question here, and what that takes."),
    "complete": ("asking", "The values of a field that begin so."),
    "import": ("importing", "Create objects from a CSV, NDJSON or CBOR file."),
    "export": ("exporting", "Write the answer to a question to a file."),
    "mirror": ("shaping", "List mirrors, keep a mirror of other servers, end one."),
    "check": ("upkeep", "Is everything that a store holds what was written?"),
    "backup": ("backing_up", "Keep a copy of a server elsewhere; each time only what is new."),
    "rekey": ("securing", "Change what opens an encrypted store."),
    "archive": ("backing_up", "Old segments of the log lie on another disk."),
    "restore": ("backing_up", "Make a server of its backup."),
    "simulate": ("simulations.command", "Run a mesh that breaks, from a seed, and look at every promise."),
}
INTERRUPTED = 130  # what a shell expects of a program that Ctrl-C ended


class Family(click.Group):
    """Commands that are loaded when they are said."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = COMMANDS[cmd_name][0]
        family = importlib.import_module(name if "." in name else f"node.cli.{name}")
        command: click.Command = getattr(family, f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, said) for name, (_, said) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = [name for name in COMMANDS if name.startswith(args[0][:2])]
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise click.UsageError(f"There is no command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.command(
    cls=Family,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="A server is named by @ID, as in bangpath @1.4 status, or by its directory: bangpath -C mesh/1.4 status.",
)
@click.option("-C", "directory", metavar="DIR", help="The directory of the server that is meant.")
@click.option("--at", "server", metavar="ID", help="The server of this machine that is meant; @ID for short.")
@click.option("--version", is_flag=True, help="Show the version and exit.")
@click.pass_context
def bangpath(ctx: click.Context, directory: str | None, server: str | None, version: bool) -> None:
    """A federated object database for servers that are not always connected."""
    ctx.obj = {"directory": directory, "server": server}
    if version:
        from importlib.metadata import version as version_of

        click.echo(f"bangpath {version_of('bangpath')}")
    elif ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def name_the_server(arguments: list[str]) -> list[str]:
    """`@1.4` wherever it stands alone among the words, as the group's option `--at 1.4`.

    What follows `--` is left as it is, and so is a second one (a value may begin with @ after all). Before the command
    it can only be meant as a server, so `@x` is told to be no id, and is no unknown command.
    """
    if arguments and arguments[0].startswith("@"):
        return ["--at", arguments[0][1:], *arguments[1:]]
    for place, word in enumerate(arguments):
        if word == "--":
            break
        if len(word) > 1 and word[0] == "@" and all(part.isdigit() for part in word[1:].split(".")):
            return ["--at", word[1:], *arguments[:place], *arguments[place + 1 :]]
    return arguments


def main(arguments: list[str] | None = None) -> NoReturn:
    """The command. Leaves by SystemExit with the codes of DESIGN U2."""
    given = name_the_server(list(sys.argv[1:] if arguments is None else arguments))
    sys.exit(run(given))


def run(arguments: list[str]) -> int:
    """One command line; its exit code."""
    try:
        code = bangpath.main(arguments, prog_name="bangpath", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        _leave_the_pipe()
        return 0
    except (Exception, BaseExceptionGroup) as error:  # a Ctrl-C inside trio comes as a group
        return _tell(error, as_json="--json" in arguments)
    return code if isinstance(code, int) else 0


def _tell(error: BaseException, *, as_json: bool) -> int:
    """Say what went wrong as it was meant to be read. What is not ours to explain is not hidden."""
    from identity.errors import BangpathError

    error = _unpacked(error)
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, OSError) and not isinstance(error, BangpathError):
        cause = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
        return _say({"error": "refused", "cause": cause}, as_json)
    if not isinstance(error, BangpathError):
        raise error
    _say(error.as_json(), as_json)
    return error.exit_code


def _unpacked(error: BaseException) -> Any:
    """The error inside trio's groups: of several the first that is not ours to explain, else the first."""
    from identity.errors import BangpathError

    waiting, found = [error], []
    while waiting:
        each = waiting.pop()
        if isinstance(each, BaseExceptionGroup):
            waiting.extend(reversed(each.exceptions))
        else:
            found.append(each)
    return next((each for each in found if not isinstance(each, (BangpathError, OSError, KeyboardInterrupt))), found[0])


def _say(told: dict[str, Any], as_json: bool) -> int:
    if as_json:
        import json

        click.echo(json.dumps(told), err=True)
        return 1
    click.echo(f"bangpath: {told['cause']}", err=True)
    for place in told.get("rows", ()):
        click.echo(f"  {place}", err=True)
    if told.get("next_step"):
        click.echo(f"  next: {told['next_step']}", err=True)
    return 1


def _leave_the_pipe() -> None:
    """`bangpath query ... | head`: the reader has gone; the interpreter must not complain while it closes."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
