"""The store beside SQLite, LMDB and ZODB: one real disk, real syncs, rounds in turn, objects of 1 KB.

    commitsN_vs_PEER    N committers, one object of 1 KB a transaction, a class with a single bytes field, no index
    typed64_vs_sqlite   four typed fields, one unique and two ordered indexes, checks; SQLite: a STRICT table with those
    read_vs_PEER        point reads through a view, verified and decoded; SQLite gives bytes, ZODB loads a ghost
    bulk_vs_PEER        objects of the typed kind, 1 000 a transaction, until all of it is in the tables
    replay_vs_commit    the log read back after a crash, over the rate at which 512 committers wrote it
    crash_states_per_s  states that may follow a power cut, opened by the shipped recovery and judged; crash_violations

Ours is the public API with everything it does for a server (`benchmarks.store_ours`); theirs are as their users would
have them (`benchmarks.store_peers`). `commits_per_sync` tells how many commits one sync paid for. What a peer is not
installed for is left out, and said. `BANGPATH_BENCH_OBJECTS` is how many objects a bulk load has: a million.

    python -m benchmarks store [--json] [--rounds N]
    python -c 'from benchmarks.store import only; only("commits64_vs_sqlite")'        one row
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import crash_states, store_ours, store_peers
from benchmarks.pairs import Violation
from benchmarks.store_filling import Filling, Run, fresh_directory
from benchmarks.store_ours import BLOB, NOTE
from benchmarks.store_peers import SQLITE_BLOB, SQLITE_NOTE

SECONDS = 2.0  # of each half of a round
READ_OBJECTS, READS = 20_000, 100_000
BULK_OBJECTS = int(os.environ.get("BANGPATH_BENCH_OBJECTS", "1000000"))
CRASH_STATES = 20_000

Half = Callable[[Path], Run]


class Pair(NamedTuple):
    """A row: two halves of each round, and what both are counted in."""

    ours: Half
    theirs: Half
    measured_in: str = "commits/s"
    zodb: bool = False


def pairs() -> dict[str, Pair]:
    """Every row that is a ratio of two."""
    filling = Filling()
    blob, note = filling.blob, filling.note
    rows: dict[str, Pair] = {}
    for committers in (1, 64, 512):
        ours = store_ours.commits(BLOB, blob, committers, SECONDS)
        sqlite = store_peers.sqlite_commits(SQLITE_BLOB, "blob", blob, SECONDS)
        zodb = store_peers.zodb_commits(blob, committers, SECONDS)
        rows[f"commits{committers}_vs_sqlite"] = Pair(ours, sqlite)
        rows[f"commits{committers}_vs_zodb"] = Pair(ours, zodb, zodb=True)
    rows["commits64_vs_lmdb"] = Pair(rows["commits64_vs_sqlite"].ours, store_peers.lmdb_commits(blob, SECONDS))
    grouped = store_peers.grouped_sqlite_commits(blob, 512, SECONDS)
    rows["commits512_vs_grouped_sqlite"] = Pair(rows["commits512_vs_sqlite"].ours, grouped)
    typed = store_peers.sqlite_commits(SQLITE_NOTE, "note", note, SECONDS)
    rows["typed64_vs_sqlite"] = Pair(store_ours.commits(NOTE, note, 64, SECONDS), typed)
    reads = store_ours.reads(filling, READ_OBJECTS, READS)
    rows["read_vs_sqlite"] = Pair(reads, store_peers.sqlite_reads(filling, READ_OBJECTS, READS), "reads/s")
    rows["read_vs_zodb"] = Pair(reads, store_peers.zodb_reads(filling, READ_OBJECTS, READS), "reads/s", zodb=True)
    bulk = store_ours.bulk(filling, BULK_OBJECTS)
    rows["bulk_vs_sqlite"] = Pair(bulk, store_peers.sqlite_bulk(filling, BULK_OBJECTS), "objects/s")
    rows["bulk_vs_zodb"] = Pair(bulk, store_peers.zodb_bulk(filling, BULK_OBJECTS), "objects/s", zodb=True)
    return rows


def measure(*, rounds: int = 3) -> dict[str, dict[str, Any]]:
    """The rows of this area."""
    lacking = store_peers.missing()
    if lacking:
        print(f"without the rows of ZODB: {lacking}", file=sys.stderr)
    rows = {name: _measured(pair, rounds) for name, pair in pairs().items() if not (pair.zodb and lacking)}
    return {**rows, "replay_vs_commit": _replay(rounds), **_crash_states()}


def only(name: str, *, rounds: int = 3) -> None:
    """Measure one row, and print it."""
    if name == "replay_vs_commit":
        row = _replay(rounds)
    elif name.startswith("crash_"):
        row = _crash_states()[name]
    else:
        row = _measured(pairs()[name], rounds)
    print(json.dumps({name: row}))


def _measured(pair: Pair, rounds: int) -> dict[str, Any]:
    mine, other = [], []
    for _ in range(rounds):
        with fresh_directory() as directory:
            mine.append(pair.ours(directory))
        with fresh_directory() as directory:
            other.append(pair.theirs(directory))
    return _row(mine, other, pair.measured_in)


def _row(mine: list[Run], other: list[Run], measured_in: str) -> dict[str, Any]:
    ours = statistics.median(each.per_s for each in mine)
    theirs = statistics.median(each.per_s for each in other)
    row = {
        "value": round(ours / theirs, 2), "unit": "x", "ours": round(ours), "theirs": round(theirs),
        "rounds": len(mine), "measured_in": measured_in,
    }  # fmt: skip
    syncs = sum(each.syncs for each in mine)
    if syncs:
        count = sum(each.count for each in mine)
        row |= {"count": count, "syncs": syncs, "commits_per_sync": round(count / syncs, 1)}
    return row


def _replay(rounds: int) -> dict[str, Any]:
    run = store_ours.replay(Filling(), SECONDS)
    read, written = [], []
    for _ in range(rounds):
        with fresh_directory() as directory:
            mine, other = run(directory)
        read.append(mine)
        written.append(other)
    return _row(read, [each._replace(syncs=0) for each in written], "objects/s")


def _crash_states() -> dict[str, dict[str, Any]]:
    begun = time.perf_counter()
    violations = 0
    try:
        judged = crash_states.sweep(states=CRASH_STATES, seed=1, jobs=os.cpu_count() or 1)
    except Violation as error:
        print(error, file=sys.stderr)
        judged, violations = CRASH_STATES, 1
    rate = round(judged / (time.perf_counter() - begun))
    about = {"theirs": None, "rounds": 1, "states": judged}
    return {
        "crash_states_per_s": {"value": rate, "unit": "states/s", "ours": rate, **about},
        "crash_violations": {"value": violations, "unit": "violations", "ours": violations, **about},
    }
