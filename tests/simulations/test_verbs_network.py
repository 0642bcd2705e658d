"""Lines about the network: each does to the links what it says, ends as it should, and can be drawn as a fault."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from identity.errors import Refused
from simulations.links import Flap, Link, LongTail, Spike
from simulations.network import SimulatedNetwork
from simulations.scenario import parse, run_scenario
from simulations.steps import Run
from simulations.verbs import VERBS
from simulations.verbs_network import VERBS as NETWORK
from simulations.verbs_network import ring_cuts
from simulations.verbs_walls import VERBS as WALLS
from simulations.world import World, simulate

Names = tuple[str, ...]
NAMES = ("1", "1.1", "1.2", "1.3", "1.4")


def played(*lines: str, servers: str = "5", link: str = "delay 20ms", seed: int = 1) -> tuple[World, list[str]]:
    """A world after these steps, and what they said."""
    scenario = parse("\n".join([f"servers {servers}", f"link {link}", *lines]))

    async def story(world: World) -> list[str]:
        run = Run(world)
        said = []
        for step in scenario.steps:
            done = await step.act(run)
            said.append(done if isinstance(done, str) else done.said)
            if not isinstance(done, str):
                run.lasting.append(done.undo)
        return said

    told, world = simulate(story, servers=scenario.graph, seed=seed, link=scenario.link)
    return world, told


def cuts(network: SimulatedNetwork) -> set[tuple[str, str]]:
    return {(one, other) for one in NAMES for other in NAMES if one != other and network.link(one, other).cut}


def both(*pairs: tuple[str, str]) -> set[tuple[str, str]]:
    return {*pairs, *((other, one) for one, other in pairs)}


def test_the_line_about_all_links_says_how_they_are() -> None:
    scenario = parse("servers 2\nlink delay 20ms jitter 10ms, loss 30% in bursts of 5 and mtu 1280\n")
    assert scenario.link == Link(delay=0.02, jitter=0.01, loss=0.3, burst=5.0, mtu=1280)


@pytest.mark.parametrize(
    ("rules", "link"),
    [
        ("delay 300ms", Link(delay=0.3)),
        ("delay 20ms with a long tail up to 3s", Link(delay=LongTail(0.02, 3))),
        ("jitter 200ms", Link(jitter=0.2)),
        ("loss 30%", Link(loss=0.3)),
        ("loss 20% in bursts of 8", Link(loss=0.2, burst=8)),
        ("duplicate 20%", Link(duplicate=0.2)),
        ("reorder 20% by 150ms", Link(reorder=0.2, reorder_by=0.15)),
        ("corrupt 5%", Link(corrupt=0.05)),
        ("rate 400kbit/s queue 300ms", Link(rate=4e5, queue=0.3)),
        ("400 kbit/s, mtu 1300", Link(rate=4e5, mtu=1300)),
        ("mtu 1280", Link(mtu=1280)),
        ("flap 3s up 1s down", Link(flap=Flap(3, 1))),
        ("spike to 800ms every 4s lasting 1s", Link(spike=Spike(0.8, 4, 1))),
        ("cut", Link(cut=True)),
    ],
)
def test_a_step_sets_rules_of_one_direction_of_both_of_one_server_or_of_all(rules: str, link: Link) -> None:
    network = played(f"link 1.1 > 1.2 {rules}")[0].network
    assert {way: network.link(*way) for way in both(("1.1", "1.2"))} == {("1.1", "1.2"): link, ("1.2", "1.1"): Link()}
    network = played(f"link 1.1 <> 1.2 {rules}")[0].network
    assert network.link("1.1", "1.2") == network.link("1.2", "1.1") == link
    assert network.link("1.1", "1.3") == Link()
    network = played(f"links of 1.2 {rules}")[0].network
    assert all((network.link(a, b) == link) == ("1.2" in (a, b)) for a in NAMES for b in NAMES if a != b)
    network = played("run 1s", f"link {rules}")[0].network  # behind a step it is a step
    assert all(network.link(a, b) == link for a in NAMES for b in NAMES if a != b)


def test_a_mesh_may_have_no_other_links_and_healing_adds_none() -> None:
    apart = both(*((one, other) for at, one in enumerate(NAMES) for other in NAMES[at + 2 :]))
    for line in ("run 1s", "heal"):
        network = played(line, servers="5 line, no other links")[0].network
        assert cuts(network) == apart
        network.mend("1", "1.2")  # a scenario that says so is refused when it is read (test_sense)
        network.change_link("1", "1.2", {"delay": 0.005})
        assert cuts(network) == apart
        assert not cuts(played(line, servers="5 line")[0].network)


def test_healing_ends_all_that_lasts_and_what_was_set_stays() -> None:
    world, _ = played(
        "link 1.1 > 1.2 loss 30%", "links of 1.2 corrupt 2%", "part 1 1.1 | 1.2 1.3", "cut 1.1 > 1.2", "isolate 1.4",
        "1.3 stands behind a NAT", "heal", link="delay 50ms",
    )  # fmt: skip
    assert all(world.network.link(a, b) == Link(delay=0.05) for a in NAMES for b in NAMES if a != b)
    assert world.network.wall("1.3") is None


def test_what_is_always_so_is_left_by_healing_and_faults_lie_over_it() -> None:
    world, _ = played(
        "link 1.1 <> 1.2 always delay 300ms, loss 1%", "links of 1.4 always rate 1Mbit/s",
        "1.3 always stands behind a symmetric NAT that forgets after 30s", "link 1.1 > 1.2 loss 50%",
        "link 1.1 > 1.2 always delay 400ms",
    )  # fmt: skip
    assert world.network.link("1.1", "1.2") == Link(delay=0.4, loss=0.5)
    world.heal()
    assert world.network.link("1.1", "1.2") == Link(delay=0.4, loss=0.01)
    assert world.network.link("1.2", "1.1") == Link(delay=0.3, loss=0.01)
    assert world.network.link("1", "1.4") == world.network.link("1.4", "1") == Link(rate=1e6)
    assert world.network.link("1", "1.1") == Link()
    world, _ = played("1.3 always stands behind a NAT", "link of 1.1 1.2 always loss 5%", "heal")
    assert world.network.wall("1.3") is not None
    assert world.network.link("1.1", "1.2").loss == 0.05  # between them, too


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cut 1.1 > 1.2", {("1.1", "1.2")}),
        ("cut 1.1 <> 1.2", both(("1.1", "1.2"))),
        ("part 1 1.1 | 1.2", both(("1", "1.2"), ("1.1", "1.2"))),
        ("part 1 | 1.1 | 1.2", both(("1", "1.1"), ("1", "1.2"), ("1.1", "1.2"))),
        ("part one way 1 1.1 > 1.2 1.3", {("1", "1.2"), ("1", "1.3"), ("1.1", "1.2"), ("1.1", "1.3")}),
        ("isolate 1.2", both(*[("1.2", name) for name in NAMES if name != "1.2"])),
        ("isolate 1.2 1.3", both(*[(a, b) for a in ("1.2", "1.3") for b in NAMES if a != b])),
    ],
)
def test_cuts_and_partitions_cut_what_they_say_and_no_more(line: str, expected: set[tuple[str, str]]) -> None:
    assert cuts(played(line)[0].network) == expected
    assert not cuts(played(line, "heal")[0].network)


def test_mending_ends_cuts_of_one_direction() -> None:
    world, _ = played("part 1 1.1 | 1.2", "cut 1.1 > 1.2", "mend 1.1 > 1.2")
    assert cuts(world.network) == {*both(("1", "1.2")), ("1.2", "1.1")}
    world, _ = played("cut 1.1 <> 1.2", "mend 1.1 <> 1.2")
    assert not cuts(world.network)


@pytest.mark.parametrize("seed", range(1, 6))
def test_halves_are_drawn_and_said(seed: int) -> None:
    world, (said,) = played("part into halves", seed=seed)
    halves = [half.split() for half in said.split(" | ")]
    assert sorted(map(len, halves)) == [2, 3]
    assert sorted(halves[0] + halves[1]) == sorted(NAMES)
    assert cuts(world.network) == both(*[(one, other) for one in halves[0] for other in halves[1]])


@pytest.mark.parametrize("line", ["part into halves with a bridge", "part into halves with a bridge 1.2"])
def test_a_bridge_sees_both_halves(line: str) -> None:
    world, (said,) = played(line)
    halves, _, bridge = said.removesuffix(" sees both").partition(", and ")
    one, other = (half.split() for half in halves.split(" | "))
    assert len(one) == len(other) == 2
    assert line[-1] == "e" or bridge == "1.2"
    assert cuts(world.network) == both(*[(a, b) for a in one for b in other])


def test_in_a_majority_ring_everybody_sees_a_majority_and_no_two_the_same() -> None:
    for number in range(4, 12):
        ring = [str(each) for each in range(number)]
        lost = set(ring_cuts(ring))
        seen = {a: frozenset(b for b in ring if (a, b) not in lost) for a in ring}
        assert all(len(each) * 2 > number for each in seen.values())
        assert len(set(seen.values())) == number or number == 4
        assert all((b, a) in lost for a, b in lost)
        assert lost
    world, (said,) = played("part into a majority ring")
    assert cuts(world.network) == set(ring_cuts(said.removeprefix("in the order ").split()))


def test_what_too_few_servers_cannot_do_is_refused_before_anything_runs() -> None:
    for line, servers, cause in (
        ("part into a majority ring", "3", "3 servers are too few for a ring"),
        ("part into halves with a bridge", "2", "2 servers are too few for two halves and a bridge"),
        ("part into halves", "1", "1 server is too few for two halves"),
        ("isolate 1", "1", "1 server is too few for somebody to be isolated from"),
    ):
        for timed in (line, f"at 1s {line} for 2s"):
            with pytest.raises(Refused) as caught:
                parse(f"servers {servers}\n{timed}", name="story")
            assert caught.value.cause.startswith(f"story:2: {timed!r}: {cause}")
            parse(caught.value.next_step.removeprefix("begin with: ") + f"\n{timed}")


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("link 1.1 > 1.2 dely 3ms", "story:3: 'dely' is no rule of a link; did you mean: delay 20ms"),
        ("link 1.1 > 1.9 loss 3%", "story:3: there is no server '1.9'"),
        ("links of 1.9 loss 3%", "there is no server '1.9'"),
        ("link 1.1 > 1.1 loss 3%", "1.1 has no link to itself; name two servers"),
        ("cut 1.1 > 1.1", "1.1 has no link to itself"),
        ("link delay 30ms", "story:3: 'link delay 30ms' contradicts line 2; say all rules of every link in one line"),
        ("servers 3", "story:3: 'servers 3' is a second mesh"),
        ("link 1.1 > 1.2 cut, loss 3%", "a link that is cut has no 'loss 3%'"),
        ("link 1.1 > 1.2 loss 130%", "a chance of 0 to 1, not 1.3"),
        ("link 1.1 > 1.2 mtu 500", "no session ever begins"),
        ("link 1.1 loss 3%", "1.1 is one server, and a link is between two"),
        ("part 1 1.1 | 1.1 1.2", "1.1 stands on both sides; name each server once"),
        ("part 1 |", "a group of '1 |' is empty"),
        ("part one way 1 > 1", "1 stands on both sides"),
        ("part into thirds", "write for example: part into halves"),
        ("mend 1.1 > 1.2 for 3s", "'mend 1.1 > 1.2' does not last"),
        ("1.3 always stands behind a wall", "'a wall' is nothing to stand behind"),
        ("1.3 always stands behind a NAT for 3s", "does not last"),
        ("link 1.1 > 1.2 always dely 3s", "'dely' is no rule of a link"),
        ("1.3 stands behind a wall", "'a wall' is nothing to stand behind; there is a firewall"),
        ("1.3 stands behind a symetric NAT", "there is a symmetric NAT"),
        ("1.3 stands behind a NAT that forgets after 0s", "lets nothing in"),
        ("1.3 stands behind a firewall that lets only TCP through", "the transport speaks over UDP alone"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_line_before_anything_runs(line: str, cause: str) -> None:
    with pytest.raises(Refused) as caught:
        parse(f"servers 5\nlink delay 20ms\n{line}\n", name="story")
    assert cause in str(caught.value)


def test_every_line_is_one_verb_s_and_every_example_can_be_read() -> None:
    for verb in (*NETWORK, *WALLS):
        assert [each for each in VERBS if re.fullmatch(each.pattern, verb.says)] == [verb] or not verb.fault
        parse(f"servers 5\nrun 1s\ncut 1.1 > 1.2\n{verb.says}\n")
        if verb.lasting:
            assert parse(f"servers 5\nat 1s {verb.says} for 3s\n").steps[0].for_s == 3


def test_every_line_of_the_guide_s_section_on_links_can_be_read() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guide-simulation.md").read_text(encoding="utf-8")
    section = guide.partition("## Links that break\n")[2].partition("\n## ")[0]
    rules, cuts, walls = re.split(r"\n\n\| line \|", section)
    said = {
        **{said: f"link 1.1 > 1.2 {said}" for said in first_cells(rules)},
        **{said: said.replace("...", "part into halves") for said in first_cells(cuts) + first_cells(walls)},
    }
    assert len(said) > 25
    for line in said.values():
        line = line.replace("> 1.2 queue", "> 1.2 rate 1Mbit/s queue").replace("\\|", "|")
        parse(f"servers 5\nrun 1s\ncut 1.1 > 1.2\n{line}\n")
    for mesh in re.findall(r"`(?:servers )?((?:\d+|linked) [^`]*)`", walls.partition("Shapes of meshes")[2]):
        parse(f"servers {mesh}\n")


def first_cells(table: str) -> list[str]:
    cells = re.findall(r"^\| (`.*?)(?<!\\) \| ", table, re.MULTILINE)
    return [said for cell in cells for said in re.findall(r"`([^`]+)`", cell)]


def test_a_fault_ends_after_its_time_and_others_stay() -> None:
    text = """
        servers 3
        at 1s link 1 > 1.1 loss 100% for 4s
        at 2s links of 1 delay 500ms for 10s
        run 3s
    """
    scenario = parse(text)
    assert [step.for_s for step in scenario.steps] == [4.0, 10.0, None]
    outcome = run_scenario(scenario, seed=1)
    told = [(mark.kind, mark.servers, mark.text) for mark in outcome.marks if mark.kind in ("link", "mend")]
    assert told == [
        ("link", ("1", "1.1"), "loss 100%"),
        ("link", ("1", "1.1", "1.2"), "delay 500ms"),
        ("mend", ("1", "1.1"), "loss 100%"),
        ("mend", ("1", "1.1", "1.2"), "delay 500ms"),
    ]


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("1.3 stands behind a NAT", lambda wall: wall.mapping == "cone" and wall.hosts == {"1.3"}),
        ("1.3 1.4 stand behind one NAT", lambda wall: wall.hosts == {"1.3", "1.4"}),
        ("1.3 stands behind a symmetric NAT", lambda wall: wall.mapping == "symmetric"),
        ("1.3 stands behind a NAT that forgets after 30s", lambda wall: wall.forgets_s == 30),
        (
            "1.3 stands behind a symmetric NAT that forgets after 30s and rebinds every 5s",
            lambda wall: (wall.mapping, wall.forgets_s, wall.rebinds_s) == ("symmetric", 30, 5),
        ),
        ("1.3 stands behind a firewall", lambda wall: wall.mapping == "none" and wall.passes == {"udp", "tcp"}),
        ("1.3 stands behind a firewall that lets only UDP through", lambda wall: wall.passes == {"udp"}),
    ],
)
def test_walls_are_built_as_they_are_said(line: str, wanted: Callable[[object], bool]) -> None:
    world, _ = played(line)
    assert wanted(world.network.wall("1.3"))
    assert wanted(played(line, "1 stands behind a NAT")[0].network.wall("1.3"))


def test_a_nat_can_be_bound_anew_by_a_line() -> None:
    world, _ = played("1.3 stands behind a NAT", "NAT of 1.3 rebinds")
    assert [(mark.servers, mark.text) for mark in world.marks if mark.kind == "nat"] == [
        (("1.3",), "a NAT"),
        (("1.3",), "rebinds"),
    ]
    with pytest.raises(Refused, match=r"1\.3 stands behind no NAT"):
        played("NAT of 1.3 rebinds")


def test_a_mesh_gets_through_all_of_it() -> None:
    text = """
        servers 6 small world
        link delay 20ms jitter 5ms loss 1%
        class Note text:string
        1.1 mirrors 1.5
        1.3 mirrors 1.5
        1.3 stands behind a NAT that rebinds every 3s
        at 1s links of 1.5 loss 20% in bursts of 4 for 10s
        at 2s link 1.5 > 1.1 corrupt 10%, duplicate 10%, reorder 10% for 10s
        at 3s link delay 20ms with a long tail up to 1s for 6s
        at 4s links of 1.1 mtu 1300, rate 500kbit/s for 8s
        at 5s link 1.3 <> 1.5 flap 1s up 500ms down for 8s
        at 6s part into halves for 5s
        at 12s part into a majority ring for 5s
        1.5 commits 40 Note
        run 8s
        1.5 changes 20 Note
        run 12s
        expect 1.1 has all of 1.5 within 120s
        expect 1.3 has all of 1.5 within 120s
    """
    first = run_scenario(parse(text), seed=3)
    assert run_scenario(parse(text), seed=3).trace == first.trace
    assert run_scenario(parse(text), seed=4).trace != first.trace
