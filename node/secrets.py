"""Where what opens an encrypted store comes from: a file, the environment, a person; never the command line.

    $BANGPATH_KEY_FILE       the path of a file of 64 hexadecimal digits that is nobody else's to read
    $BANGPATH_PASSPHRASE     a passphrase; whoever may look into this process may read it, so rather a file
    a terminal               it is asked for, and not shown

What stands on a command line is seen by everybody on the machine. Only a store that is encrypted asks for anything. A
new secret, for `bangpath rekey`, comes from the same places, from variables that begin with BANGPATH_NEW_.
"""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path

from identity.errors import Refused
from store.data_key import Secret, is_encrypted

KEY_FILE, PASSPHRASE = "KEY_FILE", "PASSPHRASE"
OLD, NEW = "BANGPATH_", "BANGPATH_NEW_"


def secret_of(directory: Path) -> Secret | None:
    """What opens the store in this directory; None: it is plain. Raises `Refused` when nobody says it."""
    return ask_secret(f"passphrase of {directory}") if is_encrypted(directory) else None


def ask_secret(what: str, *, prefix: str = OLD, twice: bool = False) -> Secret:
    """From the first place that has one. `twice`: a person types a new one again. Raises `Refused`."""
    file, passphrase = os.environ.get(prefix + KEY_FILE), os.environ.get(prefix + PASSPHRASE)
    if file and passphrase:
        raise Refused(
            f"both {prefix}{KEY_FILE} and {prefix}{PASSPHRASE} are set", next_step=f"unset {prefix}{PASSPHRASE}"
        )
    if file:
        return Path(file)
    if passphrase:
        return passphrase
    if not sys.stdin.isatty():
        raise Refused(
            f"nobody is here to be asked for the {what}",
            next_step=f"set {prefix}{KEY_FILE} to the path of a key file, or {prefix}{PASSPHRASE}",
        )
    typed = getpass.getpass(f"{what}: ")
    if twice and getpass.getpass("again: ") != typed:
        raise Refused("the two are not the same", next_step="try again; nothing was changed")
    return typed
