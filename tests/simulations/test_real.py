"""The same scenario on real processes: on loopback everywhere, in network namespaces where the machine allows them."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from identity.errors import Refused
from simulations import real, real_ground
from simulations.real import check, run_real
from simulations.scenario import parse, run_scenario
from simulations.schedule import draw
from simulations.steps import Verb
from simulations.verbs import VERBS

pytestmark = pytest.mark.slow
GROUNDS = [
    pytest.param(True, id="loopback"),
    pytest.param(
        False,
        id="namespaces",
        marks=pytest.mark.skipif(bool(real_ground.missing()), reason=real_ground.missing() or "they are here"),
    ),
]

STORY = """
servers 4 ring
class Note text:string
1.2 mirrors 1.1
1.1 commits 10 Note
expect 1.2 has all of 1.1 within 30s
part 1 1.1 | 1.2 1.3
1.1 commits 5 Note together
run 1s
expect 1.2 lacks some of 1.1
heal
expect 1.2 has all of 1.1 within 61s
crash 1.1 for 1s
run 2s
1.3 asks Note from 1.1
1.3 gets 2 Note of 1.1
pause 1.2 for 1s
1.1 changes 3 Note
1.1 deletes 1 Note
cut 1.1 > 1.2 for 2s
expect 1.2 has all of 1.1 within 60s
"""


def step_and_answer(line: str) -> tuple[str, str]:
    """Of a line of a transcript, without its time."""
    step, _, answer = line[11:].partition("  -> ")
    return step, answer


@pytest.mark.parametrize("loopback", GROUNDS)
def test_one_text_runs_in_the_simulator_and_on_real_processes(loopback: bool) -> None:
    scenario = parse(STORY, name="story")
    simulated = run_scenario(scenario, seed=1)
    outcome = run_real(scenario, seed=1, loopback=loopback)
    answers = dict(map(step_and_answer, outcome.transcript))
    (first, *steps) = answers
    assert "4 real servers stand" in first
    assert steps == [step_and_answer(line)[0] for line in simulated.transcript]
    assert answers["1.3 asks Note from 1.1"] == "15 rows, whole"
    assert answers["1.3 gets 2 Note of 1.1"] == "2 owner"
    kinds = [mark.kind for mark in outcome.marks]
    for kind in ("start", "part", "crash", "pause", "resume", "cut", "fault"):
        assert kind in kinds
    assert kinds.count("start") == 5


@pytest.mark.skipif(bool(real_ground.missing()), reason=real_ground.missing() or "they are here")
def test_rules_of_links_are_the_simulator_s_on_real_packets() -> None:
    text = """
    servers 3
    link delay 20ms jitter 5ms loss 5% duplicate 5%
    class Note text:string
    1.2 mirrors 1.1
    1.1 commits 20 Note
    expect 1.2 has all of 1.1 within 60s
    links of 1.2 corrupt 5% for 2s
    link 1.1 <> 1.2 loss 100%
    1.1 commits 5 Note
    expect 1.2 has all of 1.1 within 60s
    """
    run_real(parse(text), seed=1)


@pytest.mark.skipif(bool(real_ground.missing()), reason=real_ground.missing() or "they are here")
def test_a_server_behind_a_nat_that_rebinds_goes_on_on_real_packets() -> None:
    text = """
    servers 2
    class Note text:string
    1.1 stands behind a NAT
    1.1 mirrors 1
    1 commits 5 Note
    expect converged within 60s
    NAT of 1.1 rebinds
    1 commits 5 Note
    expect converged within 60s
    """
    run_real(parse(text), seed=1)


def test_what_does_not_hold_names_the_line_and_keeps_the_servers_directories() -> None:
    text = "servers 2\nclass Note text:string\n1 commits 3 Note\nexpect 1.1 has all of 1 within 0.2s\n"
    with pytest.raises(AssertionError, match=r"story:4: .* 3 of 3 objects \(seed 5\)") as failed:
        run_real(parse(text, name="story"), seed=5, loopback=True)
    (note,) = failed.value.__notes__
    kept = Path(note.rpartition(": ")[2])
    assert (kept / "1.1" / "server.log").exists()
    assert not (kept / real.RUNNING).exists()  # which would have the next run remove it
    outcome: Any = failed.value
    assert any(mark.kind == "start" for mark in outcome.outcome.marks)
    for each in sorted(kept.rglob("*"), reverse=True):
        each.rmdir() if each.is_dir() else each.unlink()
    kept.rmdir()


def test_only_the_directories_of_runs_that_were_killed_are_removed(tmp_path: Path) -> None:
    running = {"killed": 2**22 + 1, "under way": os.getpid(), "kept": None}  # the first is above every process's number
    for name, process in running.items():
        place = tmp_path / f"{real.PREFIX}{name}"
        (place / "1.1").mkdir(parents=True)
        if process is not None:
            (place / real.RUNNING).write_text(str(process))
    real.remove_abandoned(tmp_path)
    assert {each.name.removeprefix(real.PREFIX) for each in tmp_path.iterdir()} == {"under way", "kept"}


def test_a_server_that_ends_by_itself_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.mkdtemp", lambda prefix: str(tmp_path))

    def suicide(run: Any) -> Any:
        async def act() -> str:
            os.kill(run.server("1.1")._child.pid, signal.SIGKILL)
            await run.world.sleep(20)
            return ""

        return act()

    scenario = parse("servers 2\nrun 1s\n")
    object.__setattr__(scenario.steps[0], "act", suicide)
    monkeypatch.setattr(real, "check", lambda *_, **__: None)
    with pytest.raises(AssertionError, match=r"1\.1: it was ended by SIGKILL .* nobody had told it to"):
        run_real(scenario, seed=1, loopback=True)


SIMULATOR_ONLY = (
    "torn write", "crash in a write", "full disk", "slow disk", "failing disk", "bit rot", "clock offset", "clock jump",
)  # fmt: skip
ON_BOTH = ("crash", "kill", "stop", "pause", "one-way cut", "isolation", "partition", "halves", "majority ring")


@pytest.mark.parametrize("verb", [each for each in VERBS if each.fault in SIMULATOR_ONLY], ids=lambda verb: verb.fault)
def test_what_only_the_simulator_can_break_is_refused_before_anything_starts(verb: Verb) -> None:
    with pytest.raises(Refused, match=rf"story:2: {verb.says}: .* only in the simulator.*without --real"):
        run_real(parse(f"servers 5\n{verb.says}\n", name="story"), seed=1)


@pytest.mark.parametrize("verb", [each for each in VERBS if each.fault in ON_BOTH], ids=lambda verb: verb.fault)
def test_what_can_be_broken_anywhere_is_not_refused(verb: Verb) -> None:
    check(parse(f"servers 5\n{verb.says}\n"), loopback=True)


def test_what_can_be_broken_depends_on_the_ground() -> None:
    anywhere = real.possible_faults(loopback=True)
    assert set(ON_BOTH) <= set(anywhere)
    assert not set(anywhere) & {"loss", "NAT", "bit rot", "torn write", "clock jump"}
    if not real_ground.missing():
        between = real.possible_faults()
        assert {"loss", "corruption", "NAT rebinding", "slow link"} <= set(between)
        guide = (Path(__file__).parents[2] / "docs" / "guide-simulation.md").read_text(encoding="utf-8")
        assert f"the {len(between)} kinds of faults that real processes can suffer, eleven of them" in guide
        assert len(anywhere) == 11


def test_what_is_drawn_for_the_simulator_is_adapted() -> None:
    for seed in range(1, 13):
        check(parse(real.adapted(draw(seed, faults=real.possible_faults(loopback=True)))))


def test_links_with_rules_and_crowds_are_refused_where_they_cannot_be() -> None:
    with pytest.raises(
        Refused, match="its links: links with rules can be made only between network namespaces; it was told"
    ):
        check(parse("servers 2\nlink loss 3%\n"), loopback=True)
    with pytest.raises(
        Refused, match=r"story:3: .*loss 3%: links with rules can be made only between network namespaces"
    ):
        check(parse("servers 2\nrun 1s\nlink 1 > 1.1 loss 3% for 2s\n", name="story"), loopback=True)
    with pytest.raises(Refused, match=r"story:2: .*: a NAT can be made only between network namespaces; it was told"):
        check(parse("servers 2\n1.1 stands behind a NAT\n", name="story"), loopback=True)
    if not real_ground.missing():
        check(parse("servers 2\n1.1 stands behind a NAT\n"))
    with pytest.raises(Refused, match="a mesh with no other links can be made only in the simulator"):
        check(parse("servers 3 line, no other links\n"))
    with pytest.raises(Refused, match="65 servers are too many for real processes; let there be 64"):
        check(parse("servers 65\n"))
