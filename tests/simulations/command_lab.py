"""What tests of `bangpath simulate` share: a scenario that holds, one that does not, and what the command says."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner, Result

from simulations.command import simulate_command

GOOD = """servers 3
class Note text:string
1.2 mirrors 1.1
1.1 commits 3 Note
at 1s part 1 1.1 | 1.2 for 2s
at 1.5s 1.1 commits 2 Note
run 4s
expect every promise within 60s
"""
BROKEN = """servers 3
link delay 20ms
class Note text:string
class Paper text:string
1 mirrors 1.1
1.1 commits 1 Paper
1.1 commits 1 Note
1.2 commits 1 Note
run 1s
1.1 commits 1 Note
run 1s
expect 1.2 has all of 1.1 within 2s
"""


def said(*words: str) -> Result:
    return CliRunner().invoke(simulate_command, list(words), standalone_mode=False)


def code_of(result: Result) -> int:
    """What the shell sees: click's own refusals are 2."""
    if isinstance(result.exception, Exception) and hasattr(result.exception, "exit_code"):
        return int(result.exception.exit_code)
    assert result.exception is None, result.exception
    return int(result.return_value or 0)


def report_of(*words: str) -> dict[str, Any]:
    result = said(*words, "--json")
    assert len(result.stdout.splitlines()) == 1
    found: dict[str, Any] = json.loads(result.stdout)
    return found
