"""The table of features says nothing that no test shows."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "store-features.md"
CITED = re.compile(r"`(test_\w+\.py)(?:::(test_\w+))?`")
HONEST = re.compile(r"not yet|^no[ :]")


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


ROWS = [each for each in rows() if each[-1] != "shown by"]


def names_in(name: str) -> set[str]:
    """The tests of every file of that name."""
    found: set[str] = set()
    for path in (ROOT / "tests").rglob(name):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found |= {each.name for each in ast.walk(tree) if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))}
    return found


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:60])
def test_a_row_names_a_test_that_is_there(row: list[str]) -> None:
    cited = CITED.findall(row[-1])
    if not cited:
        assert row[-1] == ""
        assert HONEST.search(row[1]), f"{row[0]}: neither a test nor a word that it is not there"
    for name, test in cited:
        there = names_in(name)
        assert there, f"there is no {name}"
        assert not test or test in there, f"{name} has no {test}"


def test_the_table_is_long_enough_to_be_the_notes() -> None:
    assert len(ROWS) >= 45
