"""Every branch of the modules on which no answer is lost is taken by some test, and none is there for nothing (marked).

python -m pytest -m sweep tests/store/test_coverage.py          says which lines and branches are not
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
MODULES = ("log", "segments", "frames", "frame_parts", "recovery", "fold", "generations", "tables", "checking_log",
           "mending_log")  # fmt: skip
BY = (
    *(f"tests/store/test_{name}.py" for name in (
        "log", "log_damage", "log_rarely", "frames", "frame_parts", "recovery", "fold", "generations", "failing_disk",
        "foreign", "writing", "encryption", "restored", "checking", "checking_rarely", "mending_log", "scrubbing",
    )),
    "tests/contracts/test_tables.py",
    "tests/contracts/test_tables_lmdb.py",
)  # fmt: skip


@pytest.mark.sweep
def test_every_branch_of_log_recovery_and_tables_is_taken(tmp_path: Path) -> None:
    def coverage(*words: str) -> subprocess.CompletedProcess[str]:
        data = {"COVERAGE_FILE": str(tmp_path / "coverage"), "PYTHONPATH": str(REPOSITORY)}
        return subprocess.run(
            [sys.executable, "-m", "coverage", *words],
            cwd=REPOSITORY, env={**os.environ, **data}, capture_output=True, text=True, check=False,
        )  # fmt: skip

    include = ",".join(f"store/{name}.py" for name in MODULES)
    run = coverage("run", "--branch", f"--include={include}", "-m", "pytest", "-q", "-p", "no:cacheprovider",
                   "-m", "not sweep and not slow", *BY)  # fmt: skip
    assert run.returncode == 0, run.stdout[-3000:]
    told = coverage("report", "--show-missing", "--fail-under=100", "--precision=2")
    assert told.returncode == 0, told.stdout
    for name in MODULES:
        assert f"store/{name}.py" in told.stdout, "it was measured"
