"""Lines about machines, disks and clocks: each is read, really breaks something, and is undone as an operator would."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from identity.errors import Refused
from simulations.machine import SYNC_S
from simulations.scenario import Outcome, parse, run_scenario
from simulations.server import SimulatedServer
from simulations.steps import Run, Verb
from simulations.verbs_servers import VERBS
from simulations.world import World, simulate

MESH = """
servers 4
link delay 20ms jitter 5ms
class Note text:string
1.2 mirrors 1.1
1.1 mirrors 1.2
1.3 mirrors 1.1
1.1 commits 10 Note
at 2s 1.1 commits 60 Note
at 2.1s 1.2 commits 30 Note
at 9s 1.1 commits 20 Note
at 12s 1.2 commits 20 Note
{fault}
run 20s
heal
run 2s
1.1 commits 5 Note
1.2 commits 5 Note
expect 1.2 has all of 1.1 within 60s
expect 1.1 has all of 1.2 within 60s
expect 1.3 has all of 1.1 within 60s
"""


def tell(fault: str, *, seed: int = 1) -> Outcome:
    return run_scenario(parse(MESH.format(fault=fault)), seed=seed)


def test_a_crash_is_a_line_that_ends_by_itself() -> None:
    outcome = tell("at 3s crash 1.1 with a torn write for 2s")
    happened = [(round(mark.at), mark.kind) for mark in outcome.marks if mark.kind in ("crash", "start")]
    assert happened[-2:] == [(3, "crash"), (5, "start")]


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.says)
def test_every_example_is_read_as_the_verb_it_stands_for(verb: Verb) -> None:
    *_, step = parse(f"servers 3\nat 1s crash 1.2\nat 1s pause 1.2\nat 1s back up 1.2\n{verb.says}").steps
    assert step.verb is verb


LASTING = [verb for verb in VERBS if verb.lasting]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("verb", LASTING, ids=lambda verb: verb.fault)
def test_a_mesh_survives_every_fault_and_its_end(verb: Verb, seed: int) -> None:
    tell(f"at 2.05s {verb.says.replace('1.2', '1.1')} for 5s", seed=seed)


@pytest.mark.parametrize(
    "pair",
    [
        ("disk of 1.1 rots 9 bytes", "crash 1.1"),
        ("crash 1.1", "disk of 1.1 is full"),
        ("disk of 1.1 fails at sync 3", "kill 1.1"),
        ("pause 1.1", "crash 1.1"),
        ("pause 1.1", "disk of 1.1 takes 200ms a sync"),
        ("disk of 1.1 takes 200ms a sync", "crash 1.1 with a torn write"),
        ("crash 1.1 at write 5", "stop 1.1"),
        ("clock of 1.1 jumps 60m back", "kill 1.1"),
        ("disk of 1.1 has room for 4000 bytes", "stop 1.1"),
    ],
    ids=" and ".join,
)
def test_faults_of_one_server_overlap(pair: tuple[str, str]) -> None:
    """In both orders, and however the one ends within the other."""
    for first, second in (pair, pair[::-1]):
        for inner_s in (1, 9):
            tell(f"at 2.05s {first} for 5s\nat 3s {second} for {inner_s}s")


# -- that the fault is really made: what is looked at while it lasts


def _down(server: SimulatedServer) -> bool:
    return not server.running


def _paused(server: SimulatedServer) -> bool:
    return server.paused


def _full(server: SimulatedServer) -> bool:
    return server.disk.room is not None


def _slow(server: SimulatedServer) -> bool:
    return server.sync_s > SYNC_S


def _will_break(server: SimulatedServer) -> bool:
    return server.disk.will_crash or server.disk.will_fail


def _rotten(server: SimulatedServer) -> bool:
    return server.disk.rotten > 0


def _wrong(server: SimulatedServer) -> bool:
    return server.clock_offset_ms != 0


SEEN: dict[str, Callable[[SimulatedServer], bool]] = {
    "crash": _down,
    "torn write": _down,
    "kill": _down,
    "stop": _down,
    "pause": _paused,
    "full disk": _full,
    "slow disk": _slow,
    "crash in a write": _will_break,
    "failing disk": _will_break,
    "bit rot": _rotten,
    "clock offset": _wrong,
    "clock jump": _wrong,
}


@pytest.mark.parametrize("verb", LASTING, ids=lambda verb: verb.fault)
def test_the_fault_is_there_until_it_is_healed(verb: Verb) -> None:
    seen = SEEN[verb.fault]
    scenario = parse(f"servers 3\nclass Note text:string\n1.2 commits 50 Note\n{verb.says}\n")

    async def story(world: World) -> None:
        run = Run(world)
        *before, fault = scenario.steps
        for step in before:
            await step.act(run)
        server = world.server("1.2")
        assert not seen(server)
        done = await fault.act(run)
        assert not isinstance(done, str)
        assert seen(server)
        await world.sleep(2)
        assert seen(server)
        await done.undo()
        assert not seen(server)
        assert server.running
        await done.undo()  # twice is once
        assert server.running

    simulate(story, servers=scenario.graph, seed=1)


def test_every_kind_of_fault_is_looked_for() -> None:
    assert set(SEEN) == {verb.fault for verb in LASTING}


def test_a_crash_in_a_chosen_write_happens_there_and_nowhere_else() -> None:
    outcome = tell("at 2s crash 1.1 at write 17 for 5s")
    (crash,) = [mark for mark in outcome.marks if mark.kind == "crash"]
    assert crash.text.startswith("in write ")
    before = tell("run 1s")
    assert not [mark for mark in before.marks if mark.kind == "crash"]
    quiet = run_scenario(parse("servers 2\nrun 5s\ncrash 1.1 at write 1000 for 5s\nrun 20s"), seed=1)
    assert not [mark for mark in quiet.marks if mark.kind == "crash"]


def test_a_server_comes_back_from_a_backup() -> None:
    text = """
    servers 3
    class Note text:string
    1.1 commits 3 Note
    back up 1.1
    1.1 commits 4 Note
    {}
    """
    left = {}
    for how in ("restore 1.1", "restart 1.1", "crash 1.1\nrestore 1.1"):
        scenario = parse(text.format(how if how != "restart 1.1" else "crash 1.1\nrestart 1.1"))

        async def story(world: World, scenario=scenario, how=how) -> None:  # type: ignore[no-untyped-def]
            run = Run(world)
            for step in scenario.steps:
                await step.act(run)
            server = world.server("1.1")
            left[how] = sum(server.read(each) is not None for each in run.objects["1.1"])

        simulate(story, servers=scenario.graph, seed=1)
    assert left == {"restore 1.1": 3, "restart 1.1": 7, "crash 1.1\nrestore 1.1": 3}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("crash 1.7", "there is no server '1.7'"),
        ("disk of 1.1 is fully", "nothing a scenario can do"),
        ("crash 1.1 at read 3", "nothing a scenario can do"),
        ("clock of 1.1 is 90 ahead", "nothing a scenario can do"),
        ("restart 1.1 for 3s", "does not last"),
        ("back up 1.1 for 3s", "does not last"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_runs(line: str, says: str) -> None:
    with pytest.raises(Refused, match=says):
        parse(f"servers 3\n{line}")
