"""Scenarios are prose that runs; a typo is told with file, line and what would be right."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from identity.errors import Refused
from simulations.scenario import parse, run_scenario

SCENARIOS = Path(__file__).parents[1] / "scenarios"
FIRST_MESH = SCENARIOS / "first-mesh.txt"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "there are no servers"),
        ("1.2 mirrors 1.1", "comes before the servers"),
        ("servers 0", "are no mesh"),
        ("servers 5 donut", "is no shape of a mesh"),
        ("servers 2\nlink delay 20", "story:2: 'delay 20' cannot be read"),
        ("servers 2\n1.2 mirors 1.1", "story:2: '1.2 mirors 1.1' is nothing a scenario can do"),
        ("servers 2\n\n1.2 mirrors 1.1", "story:3: there is no server '1.2'"),
        ("servers 2\npart 1 | 1.1 1.7", "story:2: there is no server '1.7'"),
        ("servers 2\nexpect no lost comits", "write for example: expect no lost commits"),
        ("servers 2\nexpect linearisable owners", "write for example: expect linearizable owners"),
        ("servers 2\nrun 5", "write for example: run 10s"),
        ("servers ３", "story:1: '３' is a digit of another script"),  # noqa: RUF001
        ("servers 2\n1 comits 3 Note", "write for example: 1 commits 3 Note"),
        ("servers 2\n1.1 turn hostile: forges", "write for example: 1.1 turns hostile: forges"),
        ("servers 2\ncrush 1.1", "write for example: crash 1.1"),
        (
            "servers 2\nexplode 1.1",
            "'explode 1.1' is nothing a scenario can do; write for example: isolate 1.1; crash 1.1",
        ),
        ("servers 2\nat 3 crash 1.1", "story:2: '3' is no time; write for example: at 3s crash 1.1"),
        ("servers 2\nat 2.5 crash 1.1", "'2.5' is no time; write for example: at 2.5s crash 1.1"),
        ("servers 2\nat 200 ms crash 1.1", "'200 ms' is no time; write for example: at 200ms crash 1.1"),
        ("servers 2\nat -3s crash 1.1", "story:2: '-3s' is no time; write for example: at 3s crash 1.1"),
        ("servers 2\nat 1e3s crash 1.1", "story:2: '1e3s' is no time; write for example: at 3s crash 1.1"),
        ("servers 2\nat noon", "'noon' is no time; write for example: at 3s crash 1.2"),
        ("servers 2\nat 3s", "'at 3s' says when, and not what; write for example: at 3s crash 1.2"),
        ("servers 2\nat 3s explode 1.1", "'explode 1.1' is nothing a scenario can do; write for example: isolate 1.1"),
        ("servers 2\n1.1 turns hostile: frges", "story:2: 'frges' is nothing that a hostile server does; write: 1.1 t"),
        ("servers 2\n1.1 turns hostile: swallows, frges", "write: 1.1 turns hostile: forges"),
        ("servers 2\n1.1 turns hostile: xyz", "a hostile server forges, or replays"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, told: str) -> None:
    with pytest.raises(Refused) as refused:
        parse(text, name="story")
    assert told in str(refused.value)


def test_the_first_mesh_survives_bad_ground() -> None:
    outcome = run_scenario(parse(FIRST_MESH.read_text(), name=FIRST_MESH.name), seed=3)
    assert outcome.events >= 10_000
    assert outcome.transcript[-1].endswith(" s")


def test_a_way_that_takes_seconds_to_confirm_is_found() -> None:
    """Once, searches gave up after 2 s: nobody was reached over more than two gateways by satellite."""
    run_scenario(parse((SCENARIOS / "by-satellite.txt").read_text(), name="by-satellite.txt"), seed=1)


def test_an_expectation_that_fails_names_line_and_seed() -> None:
    script = "servers 2\nclass Note text:string\n1 commits 3 Note\nexpect 1.1 has all of 1 within 1s\n"
    with pytest.raises(AssertionError, match=r"story:4: .*3 of 3 objects \(seed 5\)"):
        run_scenario(parse(script, name="story"), seed=5)


def test_a_step_of_a_disk_that_never_came_is_told_at_the_end() -> None:
    """A fault that nobody suffered is none that anything held in spite of."""
    came, undone = "at 1s crash 1.2 at sync 1", "crash 1.1 at write 90000"
    never = ["crash 1.1 at write 80000", "at 1s disk of 1 fails at sync 9000"]
    lines = ["servers 3", undone, "heal", *never, came, "at 2s 1.2 mirrors 1 as backup", "run 20s"]
    transcript = run_scenario(parse("\n".join(lines)), seed=1).transcript
    told = [line.partition("  crash" if " crash " in line else "  disk") for line in transcript if " it never" in line]
    assert ["".join(each[1:]).strip() for each in told] == [
        "crash 1.1 at write 90000  -> it never happened",
        "crash 1.1 at write 80000  -> it never happened",
        "disk of 1 fails at sync 9000  -> it never happened",
    ]


def test_one_seed_is_one_trace_in_every_process() -> None:
    def trace(seed: int, hash_seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-m", "simulations", str(FIRST_MESH), "--seed", str(seed)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.rsplit("trace ", 1)[1]

    first = trace(7, "0")
    assert first == trace(7, "4711")
    assert first != trace(8, "0")
