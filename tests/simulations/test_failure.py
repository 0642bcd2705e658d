"""A failure made small and told: a bug that is planted here leaves the few lines that show it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from identity.errors import LocalMistake
from simulations.cases import Case, Verdict, run_case
from simulations.failure import mended_after_all, out_of_the_way, shrink_case, write_down

LONG = """
servers 4 ring
link delay 20ms jitter 10ms
class Note text:string
1.2 mirrors 1.1
1.3 mirrors 1
1.1 commits 5 Note
1 commits 4 Note
at 1s 1.3 asks Note
at 2s part 1 1.1 | 1.2 1.3 for 3s
at 2.5s 1.1 commits 3 Note
at 4s crash 1.2 for 2s
at 6.25s 1.1 changes 3 Note
at 7s 1.3 gets 1 Note of 1.1
run 12s
expect 1.3 has all of 1 within 20s
""".lstrip()

# From its second life on a server has forgotten how to get: one crash and one get of that server show it.
BUG = """
import contextlib
from simulations.server import SimulatedServer

@contextlib.contextmanager
def plant():
    before = SimulatedServer.restart
    async def restart(self):
        await before(self)
        raise ZeroDivisionError("forgot how to come back")
    SimulatedServer.restart = restart
    try:
        yield
    finally:
        SimulatedServer.restart = before
"""


@pytest.fixture
def broken(tmp_path: Path) -> tuple[Case, Verdict]:
    path = tmp_path / "bug.py"
    path.write_text(BUG)
    case = Case(seed=5, text=LONG, name="long.txt", planted=str(path))
    verdict = run_case(case)
    assert verdict.promise == "code", verdict
    return case, verdict


def test_a_failure_becomes_the_lines_that_show_it(broken: tuple[Case, Verdict], tmp_path: Path) -> None:
    case, verdict = broken
    told: list[int] = []
    found = shrink_case(case, verdict, told=lambda lines, tries: told.append(len(lines)))
    assert found.minimal
    assert found.lines <= 4
    assert found.verdict.broken == verdict.broken
    assert any("crash" in line for line in found.case.text.splitlines())
    assert told[-1] == found.lines
    path = write_down(found, tmp_path)
    assert path.name == "small-long-5.txt"
    head, command, *_ = path.read_text().splitlines()
    assert head == f"# {verdict.checker}"
    assert head.startswith("# ZeroDivisionError in ")
    assert command.startswith("# bangpath simulate small-long-5.txt --seed 5")
    again = run_case(msgspec.structs.replace(found.case, text=path.read_text()))
    assert again.broken == verdict.broken


def test_a_file_of_somebody_else_is_not_written_over(broken: tuple[Case, Verdict], tmp_path: Path) -> None:
    found = shrink_case(*broken, patience_s=0.0)
    assert out_of_the_way(found, tmp_path).case.name == "small-long-5.txt"
    write_down(found, tmp_path)
    assert out_of_the_way(found, tmp_path).case.name == "small-long-5.txt"  # which is ours
    (tmp_path / "small-long-5.txt").write_text("precious\n")
    (tmp_path / "small-long-5-2.txt").mkdir()
    moved = out_of_the_way(found, tmp_path)
    assert moved.case.name == "small-long-5-3.txt"
    assert "# bangpath simulate small-long-5-3.txt --seed 5" in write_down(moved, tmp_path).read_text()
    assert (tmp_path / "small-long-5.txt").read_text() == "precious\n"


def test_what_fails_after_the_mesh_was_mended_stays_mended_and_expected() -> None:
    text = LONG.replace("run 12s\n", "run 12s\nheal\nrun 5s\nexpect 1.3 lacks some of 1\n")
    case = Case(seed=5, text=text, name="long.txt", checked=False)
    verdict = run_case(case)
    assert verdict.promise == "expectation"
    found = shrink_case(case, verdict, tries=150)
    lines = found.case.text.splitlines()
    assert "heal" in lines
    assert lines[-1] == "expect 1.1 lacks some of 1"  # renamed, and otherwise as it was
    assert found.lines <= 4


def test_what_fails_before_the_end_needs_no_end(broken: tuple[Case, Verdict]) -> None:
    case, verdict = broken
    case = msgspec.structs.replace(case, text=case.text + "heal\nrun 30s\n")
    mended = msgspec.structs.replace(verdict, transcript=(*verdict.transcript, "   12.000  heal"))
    found = shrink_case(case, mended)
    assert "heal" not in found.case.text
    assert found.lines <= 4


def test_patience_ends_and_the_smallest_so_far_is_kept(broken: tuple[Case, Verdict]) -> None:
    case, verdict = broken
    found = shrink_case(case, verdict, patience_s=0.0)
    assert not found.minimal
    assert found.tries == 0
    assert not found.worth_telling
    assert found.verdict.broken == verdict.broken


def test_what_passed_cannot_be_made_small() -> None:
    with pytest.raises(LocalMistake, match="nothing to make small"):
        shrink_case(Case(seed=1, text=LONG), Verdict(seed=1))


def test_every_fault_begins_before_the_mesh_is_mended() -> None:
    assert mended_after_all(("servers 2", "at 3s cut 1 > 1.1", "run 5s", "heal", "expect x"))
    assert not mended_after_all(("servers 2", "at 6s cut 1 > 1.1", "run 5s", "heal", "expect x"))
    assert mended_after_all(("servers 2", "at 6s cut 1 > 1.1", "run 5s", "run 2s", "heal"))
    assert not mended_after_all(("servers 2", "at 3s cut 1 > 1.1", "run 5s"))
    assert not mended_after_all(("servers 2", "at 3s cut 1 > 1.1", "heal", "run 5s"))
