"""Whether LMDB can walk its own pages without dying of them; asked of another process, which may die.

    probe_tables(path)  -->  python -m store.probing PATH  -->  every entry of every table, by walking and by key
          ""            <--  exit 0
          what happened <--  exit 1 and a sentence, or a signal: a flipped page number leads beyond the file (SIGBUS)

LMDB trusts what it reads (DESIGN T4). Of flipped bits in a file of pages some kill whoever follows them, and a check
that is killed tells nobody anything. What the entries say is none of its business (`store.checking_tables`).
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import lmdb

from store.tables import MAP_BYTES, MAX_TABLES

PATIENCE_S = 3600.0  # a walk reads some hundred MB in a second; pages that lead in a circle must end some time


def probe_tables(path: str) -> str:
    """What a reader of these tables meets, as half a sentence; empty: nothing."""
    house = str(Path(__file__).parents[1])
    command = f"import sys; sys.path.insert(0, {house!r}); from store.probing import walk; sys.exit(walk({path!r}))"
    try:
        done = subprocess.run(  # noqa: S603  # our own interpreter and our own words
            [sys.executable, "-c", command], capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"reading them came to no end within {PATIENCE_S:.0f} s"
    if done.returncode == 0:
        return ""
    if done.returncode < 0:
        return f"reading them kills the reader ({signal.Signals(-done.returncode).name})"
    return (done.stderr.strip().splitlines() or ["reading them failed"])[-1]


def walk(path: str) -> str | None:
    """For `sys.exit`: None, or what went wrong."""
    try:
        environment = lmdb.open(path, readonly=True, lock=False, map_size=MAP_BYTES, max_dbs=MAX_TABLES)
        with environment.begin() as transaction:
            names = [bytes(key) for key in transaction.cursor().iternext(keys=True, values=False)]
        for name in names:
            handle = environment.open_db(name, create=False)
            with environment.begin() as transaction:
                for key, value in transaction.cursor(db=handle).iternext():
                    if transaction.get(key, db=handle) != value:
                        return f"key {key.hex()} of table {name.decode(errors='replace')} is not found where it stands"
    except (lmdb.Error, OSError, ValueError) as error:
        return f"LMDB says: {error}"
    return None
