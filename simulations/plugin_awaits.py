"""A forgotten `await` in a simulated test: `mesh.sleep(3)` does nothing, and a test that looked at nothing is green.

    mesh.sleep(3)  --> a coroutine that nobody awaits --> Python's warning, heard here --> the test fails, line and all

Heard is what Python warns of while the world lasts, so that it costs nothing. Only lines of the test's author count:
what is dropped while a world is torn down is no mistake of theirs. The warning is passed on as ever, but is never an
error, which would be raised where nobody hears it.
"""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def heard(counts: Callable[[str], bool]) -> Iterator[list[str]]:
    """While the block runs, the list gets a line for every coroutine that was dropped in a file that `counts`."""
    forgotten: list[str] = []
    with warnings.catch_warnings():
        pass_on: Any = warnings.showwarning

        def show(message: Any, category: Any, filename: str, lineno: int, *rest: Any) -> None:
            dropped = re.match(r"coroutine '(.*)' was never awaited", str(message))
            if dropped and counts(filename):
                forgotten.append(f"{os.path.relpath(filename)}:{lineno}: {dropped[1]} was never awaited")
            pass_on(message, category, filename, lineno, *rest)

        warnings.showwarning = show  # type: ignore[assignment]  # mypy wants the names of what is only passed on
        warnings.filterwarnings("always", r"coroutine '.*' was never awaited", RuntimeWarning)
        yield forgotten
