"""Plants each of `mutations` in a copy of the store, and says which test or how many crash states notice it.

    python -m tests.store.mutation_lab [NAME ...]        the rows of docs/store-mutations.md, or of some only

A copy of the repository lies in a temporary directory, one file of it is changed at a time, and whoever is to notice
runs there in a process of its own: it must end with a failure, and without the mistake with success.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.store.mutations import MUTATIONS, Mutation

REPOSITORY = Path(__file__).parents[2]
LAB_STATES = 20_000
TIMEOUT_S = 300
LEFT_OUT = shutil.ignore_patterns("__pycache__", ".*", "mesh", "docs", "*.egg-info", "build", "dist")


class Scratch:
    """A copy of the repository in which mistakes are planted."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "repository"
        shutil.copytree(REPOSITORY, self.path, ignore=LEFT_OUT, symlinks=True)

    @contextmanager
    def planted(self, mutation: Mutation) -> Iterator[None]:
        """The mistake is there while the block lasts."""
        file = self.path / "store" / mutation.file
        text = file.read_text(encoding="utf-8")
        assert text.count(mutation.old) == 1, f"{mutation.name}: its text does not stand once in {mutation.file}"
        file.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
        try:
            yield
        finally:
            file.write_text(text, encoding="utf-8")

    def noticed(self, by: str) -> str:
        """Who noticed, and how soon; empty: nobody."""
        chosen = ["-m", "benchmarks.crash_states", "--jobs", "1", "--states", str(LAB_STATES)]
        if by:
            chosen = ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not sweep", *by.split()]
        try:
            run = subprocess.run(
                [sys.executable, "-B", *chosen], cwd=self.path, env={**os.environ, "PYTHONPATH": str(self.path)},
                capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"{by or 'crash lab'}: it hangs"
        if run.returncode == 0:
            return ""
        if by:
            found = re.search(r"^(?:FAILED|ERROR) (\S+)", run.stdout, re.MULTILINE)
            assert found is not None, run.stdout[-2000:] + run.stderr[-2000:]
            passed = re.search(r"(\d+) passed", run.stdout)
            return f"`{found[1].split('[')[0]}`, test {int(passed[1]) + 1 if passed else 1}"
        found = re.search(r"violation after (\d+) states, seed \d+, state (\d+)", run.stdout)
        assert found is not None, run.stdout[-2000:] + run.stderr[-2000:]
        return f"crash lab, state {int(found[1]) + int(found[2])}"


@contextmanager
def scratch() -> Iterator[Scratch]:
    with tempfile.TemporaryDirectory(prefix="bangpath-mutations-") as directory:
        yield Scratch(Path(directory))


def row(mutation: Mutation, noticed: str) -> str:
    """Its line of the table."""
    return f"{start_of_row(mutation)} {noticed} |"


def start_of_row(mutation: Mutation) -> str:
    return f"| `{mutation.name}` | `{mutation.file}` | {mutation.kind} | {mutation.says} |"


def main(names: list[str]) -> int:
    """Print the rows; the exit code is 1 where a mistake is noticed by nobody, 2 for a name of none."""
    strange = sorted(set(names) - {each.name for each in MUTATIONS})
    if strange:
        print(f"no mistake is called {', '.join(strange)}; see tests/store/mutations.py", file=sys.stderr)
        return 2
    missed = 0
    with scratch() as here:
        for mutation in MUTATIONS:
            if names and mutation.name not in names:
                continue
            with here.planted(mutation):
                noticed = here.noticed(mutation.by)
            missed += not noticed
            print(row(mutation, noticed or "NOBODY"), flush=True)
    return min(missed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
