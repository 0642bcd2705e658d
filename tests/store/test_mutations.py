"""Every mistake of `mutations` is noticed by whom the table names, and the table names all of them.

Slow (marked): each is planted in a copy of the repository, and who is to notice runs there (`mutation_lab`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store import mutation_lab
from tests.store.mutation_lab import REPOSITORY, Scratch, row, scratch, start_of_row
from tests.store.mutations import MUTATIONS, Mutation

TABLE = REPOSITORY / "docs" / "store-mutations.md"
WATCHERS = sorted({each.by for each in MUTATIONS})


@pytest.fixture(scope="module")
def here() -> Iterator[Scratch]:
    with scratch() as made:
        yield made


@pytest.mark.sweep
@pytest.mark.parametrize("by", WATCHERS, ids=lambda by: by or "lab")
def test_without_a_mistake_nobody_complains(here: Scratch, by: str) -> None:
    assert here.noticed(by) == ""


@pytest.mark.sweep
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.name)
def test_it_is_noticed(here: Scratch, mutation: Mutation) -> None:
    with here.planted(mutation):
        assert here.noticed(mutation.by)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.name)
def test_it_can_be_planted_and_the_table_tells_it(mutation: Mutation) -> None:
    text = (REPOSITORY / "store" / mutation.file).read_text(encoding="utf-8")
    assert text.count(mutation.old) == 1, "the code is another one: plant it there anew"
    compile(text.replace(mutation.old, mutation.new), mutation.file, "exec")
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith(start_of_row(mutation))]
    assert len(lines) == 1, f"docs/store-mutations.md lacks: {start_of_row(mutation)}"
    assert (mutation.by or "crash lab") in lines[0]


def test_the_table_names_nothing_else_and_no_test_that_is_gone() -> None:
    text = TABLE.read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == [each.name for each in MUTATIONS]
    for file, test in set(re.findall(r"`(tests/\S+)::(\w+)`", text)):
        assert f"def {test}(" in (REPOSITORY / file).read_text(encoding="utf-8"), f"{file} has no {test}"


def test_what_the_lab_says(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    first, second = MUTATIONS[0], MUTATIONS[2]

    class Fake(Scratch):
        def __init__(self, directory: Path) -> None:
            self.path = tmp_path
            (tmp_path / "store").mkdir()
            (tmp_path / "store" / first.file).write_text((REPOSITORY / "store" / first.file).read_text())

        def noticed(self, by: str) -> str:
            text = (self.path / "store" / first.file).read_text()
            assert (first.old in text) != (second.old in text), "one of them is planted"
            return f"`{by}::test`, test 1" if by else ""

    monkeypatch.setattr(mutation_lab, "Scratch", Fake)
    assert mutation_lab.main([first.name, second.name]) == 1
    assert capsys.readouterr().out.splitlines() == [row(first, "NOBODY"), row(second, f"`{second.by}::test`, test 1")]
    assert mutation_lab.main(["nobody"]) == 2
