"""`rekey`: another passphrase, or a key file, opens an encrypted store from now on.

    bangpath init 1 --encrypt            asks for a passphrase, twice; or takes the file in $BANGPATH_KEY_FILE
    bangpath rekey 1                     asks for the passphrase, and for the new one

The data key stays, so nothing but the small file `encryption` is written, and a server that runs need not stop. An old
copy of that file, in an old backup, is opened by what opened it then. No passphrase stands on a command line.
"""

from __future__ import annotations

from pathlib import Path

import click

from node.cli.output import json_option, print_json


@click.command("rekey")
@click.argument("path", metavar="[DIR]", required=False)
@json_option
@click.pass_obj
def rekey_command(meant: dict[str, str | None], path: str | None, as_json: bool) -> None:
    """Change what opens the store in DIR, or of the server that is meant.

    What opens it now comes from BANGPATH_KEY_FILE or BANGPATH_PASSPHRASE, what shall open it from BANGPATH_NEW_KEY_FILE
    or BANGPATH_NEW_PASSPHRASE; what is in neither is asked for.
    """
    from identity.errors import Refused
    from node.cli.where import directory_of
    from node.secrets import NEW, ask_secret, secret_of
    from store.data_key import change_key

    directory = Path(path) if path is not None else directory_of(meant["directory"], meant["server"])
    secret = secret_of(directory)
    if secret is None:
        raise Refused(
            f"{directory} is not encrypted",
            next_step="a server is encrypted when it is made: bangpath init --encrypt, bangpath join --encrypt",
        )
    change_key(directory, secret, ask_secret(f"new passphrase of {directory}", prefix=NEW, twice=True))
    if as_json:
        print_json({"directory": str(directory), "changed": True})
    else:
        click.echo(f"{directory} is opened by the new secret; old backups by what opened them when they were made")
