"""Kill a committing process with -9, again and again; open what it left; nothing answered may be missing.

    python -m benchmarks.kill_loop --cycles 200 [--directory DIR] [--seed N]

    child    opens the store on the real disk, eight clients commit pairs, each answer is written to a pipe at once
    parent   reads; at a random moment within 500 ms of the first answer, but after at least 100, SIGKILL; reads the
             pipe to its end; opens the store; judges (`benchmarks.pairs`)

What the pipe holds was answered. Generations are small, so that kills fall into folds too. Every 20 cycles a new
directory begins, so that judging stays quick. This proves recovery from a process that died; a power cut is simulated
in `benchmarks.crash_states`, for here the page cache survives.
"""

from __future__ import annotations

import argparse
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import trio

from benchmarks.pairs import CLIENTS, HALF, Ledger, Violation, client
from identity.names import ServerId
from replication.leaves import FeedSealer
from store.database import Settings, open_database
from store.disk import RealDisk
from store.tables import LmdbTables

SERVER = ServerId.parse("1.7.3")
INCARNATION = 3
LEAST_ANSWERS = 100
WITHIN_S = 0.5
CYCLES_PER_DIRECTORY = 20
SMALL = Settings(generation_bytes=1 << 20, segment_bytes=4 << 20, step_bytes=1 << 20)
ROOT = Path(__file__).resolve().parent.parent


def open_store(directory: Path) -> Any:
    generator = random.SystemRandom()
    sealer = FeedSealer(SERVER, INCARNATION, lambda data: bytes(64), generator)
    return open_database(
        RealDisk(directory / "log"), LmdbTables(directory / "tables"), server=SERVER, incarnation=INCARNATION,
        sealer=sealer, random=generator, wall_ms=lambda: time.time_ns() // 1_000_000, settings=SMALL,
    )  # fmt: skip


def serve(directory: Path, first_pair: int) -> None:
    """The child: commit until killed. Lines: `? pair version` before, `! pair version` when answered."""

    def say(mark: str, pair: int, version: int) -> None:
        os.write(1, f"{mark} {pair} {version}\n".encode())

    async def main() -> None:
        async with open_store(directory) as database:
            await database.define(HALF)
            async with trio.open_nursery() as nursery:
                for number in range(CLIENTS):
                    nursery.start_soon(
                        client, database, number, random.Random(), lambda pair, version: say("?", pair, version),
                        lambda pair, version, _: say("!", pair, version), first_pair,
                    )  # fmt: skip

    trio.run(main)


def kill_once(directory: Path, ledger: Ledger, generator: random.Random, first_pair: int) -> int:
    """One child's life; how many answers it gave."""
    command = [sys.executable, "-m", "benchmarks.kill_loop", "--child", str(directory), "--first-pair", str(first_pair)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    assert child.stdout is not None
    descriptor = child.stdout.fileno()
    said = b""
    answers, kill_at = 0, float("inf")
    give_up = time.monotonic() + 60
    while True:
        now = time.monotonic()
        if now >= kill_at and answers >= LEAST_ANSWERS:
            child.send_signal(signal.SIGKILL)
            kill_at = float("inf")
        if now >= give_up:
            child.kill()
            raise Violation(f"{answers} answers in 60 s")
        wait = min(max(kill_at - now, 0.0), 0.05) if answers >= LEAST_ANSWERS else 0.05
        if not select.select([descriptor], [], [], wait)[0]:
            continue
        data = os.read(descriptor, 1 << 16)
        if not data:
            break
        said += data
        found = data.count(b"!")
        if found and not answers:
            kill_at = time.monotonic() + generator.uniform(0, WITHIN_S)
        answers += found
    if child.wait() != -signal.SIGKILL:
        raise Violation(f"the child ended by itself with {child.returncode}")
    child.stdout.close()
    for line in said.decode().splitlines(keepends=True):
        if line.endswith("\n"):
            mark, pair, version = line.split()
            (ledger.asked if mark == "?" else ledger.answered)[int(pair)] = int(version)
    return answers


def run_cycles(cycles: int, *, directory: Path, seed: int, tell: Any = None) -> int:
    """So many kills; the number of answers given, none of which was lost. Raises `Violation`."""
    generator = random.Random(seed)
    total = 0
    ledger, here = Ledger(), directory

    async def judge() -> int:
        async with open_store(here) as database:
            pairs = ledger.judge(database)
            ledger.settle(database)
            return pairs

    for cycle in range(cycles):
        if cycle % CYCLES_PER_DIRECTORY == 0:
            ledger, here = Ledger(), directory / f"run{cycle // CYCLES_PER_DIRECTORY}"
            here.mkdir()
        answers = kill_once(here, ledger, generator, first_pair=1 + cycle * 10_000_000)
        total += answers
        pairs = trio.run(judge)
        if tell is not None:
            tell(f"cycle {cycle + 1}: {answers} answers, {pairs} pairs whole and equal")
    return total


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kill_loop")
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument(
        "--directory", type=Path, default=None, help="on the disk to be tried; default: a temporary one"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--child", type=Path, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--first-pair", type=int, default=1, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child is not None:
        serve(chosen.child, chosen.first_pair)
        return 0
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(dir=chosen.directory) as directory:
        try:
            total = run_cycles(chosen.cycles, directory=Path(directory), seed=chosen.seed, tell=print)
        except Violation as error:
            print(f"violation: {error}")
            return 1
    print(f"{chosen.cycles} kills, {total} answers, none lost, no half pair, {time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
