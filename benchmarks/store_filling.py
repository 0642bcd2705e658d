"""What the store's benchmarks store, and where: objects like people's texts, on a real disk."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

BODY_BYTES = 1000


class Run(NamedTuple):
    """One half of a round: how many a second, of how many, and how many syncs paid for them."""

    per_s: float
    syncs: int
    count: int


class Filling:
    """Words, so that compression has something to do and not everything. Without end, each one another."""

    def __init__(self) -> None:
        generator = random.Random(1)
        words = [generator.randbytes(4).hex()[: generator.randrange(3, 9)] for _ in range(500)]
        self.texts = [" ".join(generator.choices(words, k=300))[:BODY_BYTES] for _ in range(256)]
        self.bodies = [text.encode() for text in self.texts]
        self.cities = words[:200]
        self._next = 0

    def blob(self) -> dict[str, Any]:
        """One field of bytes."""
        self._next += 1
        return {"body": self.bodies[self._next & 255]}

    def note(self) -> dict[str, Any]:
        """Four typed fields: one unique, two ordered."""
        self._next = number = self._next + 1
        return {
            "key": f"key {number * 7919 % 1_000_003} {number}",
            "number": number * 31 % 100_003,
            "city": self.cities[number % 200],
            "text": self.texts[number & 255],
        }


@contextmanager
def fresh_directory() -> Iterator[Path]:
    """A new directory on a disk, removed afterwards."""
    with tempfile.TemporaryDirectory(dir=real_directory(), prefix="bangpath-bench-") as directory:
        yield Path(directory)


def real_directory() -> Path:
    """A directory on a disk: the temporary one unless that lives in memory; BANGPATH_BENCH_DIR chooses."""
    chosen = os.environ.get("BANGPATH_BENCH_DIR")
    if chosen:
        return Path(chosen)
    for directory in (Path(tempfile.gettempdir()), Path.cwd()):
        if _file_system(directory) != "tmpfs":
            return directory
    return Path.cwd()


def _file_system(directory: Path) -> str:
    """Its kind, by the longest mount point above it; "" where the system does not say."""
    found, kind = -1, ""
    try:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return ""
    for line in mounts:
        _, point, this, *_ = line.split()
        if directory.resolve().is_relative_to(point) and len(point) > found:
            found, kind = len(point), this
    return kind
