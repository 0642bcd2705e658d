"""Who must be reached: whoever a chain of links joins that is no longer than a path may be, and nobody else."""

from __future__ import annotations

from pathlib import Path

import networkx
import pytest

from routing.probes import MAX_HOPS
from simulations.check_reached import EverybodyReached, joined
from simulations.checkers import every_checker
from simulations.plugin import simulate
from simulations.promises import PromiseBroken
from simulations.scenario import parse, run_scenario
from simulations.world import World
from simulations.world import simulate as run_world


async def pairs(world: World) -> set[tuple[str, str]]:
    return set(joined(world))


def test_a_chain_has_at_most_so_many_servers_between_its_ends() -> None:
    for servers in (MAX_HOPS + 2, MAX_HOPS + 3):
        found, world = run_world(pairs, servers=networkx.path_graph(servers), no_other_links=True)
        every = {(a.name, b.name) for a in world.servers for b in world.servers if a is not b}
        ends = {("1", f"1.{servers - 1}"), (f"1.{servers - 1}", "1")}
        assert every - found == (ends if servers > MAX_HOPS + 2 else set())


@simulate(nodes=networkx.path_graph(4), no_other_links=True)
async def test_a_line_is_parted_by_a_cut_in_its_middle(mesh: World) -> None:
    a, b, c, d = mesh.nodes
    assert len(joined(mesh)) == 12
    mesh.cut(b >> c)
    assert set(joined(mesh)) == {(a.name, b.name), (b.name, a.name), (c.name, d.name), (d.name, c.name)}
    mesh.heal()
    await mesh.expect(EverybodyReached, within=30)
    mesh.cut(b >> c)
    mesh.cut(c >> b)
    with pytest.raises(Exception, match=r"no way|unreachable|no answer|deadline"):
        await a.node.ping(d.name, deadline=5)


@pytest.mark.parametrize("servers", [5, MAX_HOPS + 2])
def test_everybody_is_reached_over_a_line_that_is_all_the_links(servers: int) -> None:
    text = f"servers {servers} line, no other links\nlink delay 5ms\nexpect everybody reached within 60s\n"
    assert run_scenario(parse(text), seed=1, checkers=every_checker()).broken is None


def test_nobody_is_reached_over_others_where_gateways_do_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    from routing.router import Router

    begin = Router.__init__
    monkeypatch.setattr(
        Router, "__init__", lambda self, *said, **more: begin(self, *said, **{**more, "gateways": False})
    )
    text = "servers 4 line{}\nlink delay 5ms\nexpect everybody reached within 60s\n"
    assert run_scenario(parse(text.format("")), seed=1, checkers=every_checker()).broken is None
    broken = run_scenario(parse(text.format(", no other links")), seed=1, checkers=every_checker()).broken
    assert isinstance(broken, PromiseBroken)
    assert "does not reach" in broken.said


def test_how_many_pairs_were_asked_is_told_and_links_of_one_direction_join_where_they_lead_both_ways() -> None:
    text = "servers 3\nlink delay 5ms\nrun 10s\n{}expect everybody reached within 30s\n"
    ring = "cut 1 > 1.1\ncut 1.1 > 1.2\ncut 1.2 > 1\n"
    for more, said in (
        ("", "6 of 6 pairs"),
        ("isolate 1\n", "2 of 6 pairs"),
        (ring, "6 of 6 pairs"),
        (ring + "cut 1 > 1.2\n", "no pair could be asked"),
    ):
        outcome = run_scenario(parse(text.format(more)), seed=1, checkers=every_checker())
        assert dict(outcome.judged)["everybody reached"] == said


async def ring_of_three(mesh: World) -> None:
    """1 -> 1.1 -> 1.2 -> 1."""
    a, b, c = mesh.nodes
    for one, other in ((b, a), (c, b), (a, c)):
        mesh.cut(one >> other)


@simulate(nodes=3, seeds=2)
async def test_a_ring_of_links_that_carry_one_way_reaches_also_who_has_forgotten_all_sessions(mesh: World) -> None:
    await mesh.sleep(10)
    await ring_of_three(mesh)
    assert len(joined(mesh)) == 6
    await mesh.expect(EverybodyReached, within=30)
    for server in mesh.servers:
        await server.crash()
        await server.restart()
        await mesh.expect(EverybodyReached, within=60)
    assert len(joined(mesh)) == 6


@simulate(nodes=3, seeds=1)
async def test_who_does_not_know_the_keys_of_another_cannot_say_a_word_to_it(mesh: World) -> None:
    await ring_of_three(mesh)  # before anybody has met
    await mesh.sleep(20)
    assert joined(mesh) == []


@pytest.mark.parametrize("broken", ["routing.seeking.Seeking.handle_deadline", "routing.seeking.Seeking._arrive"])
def test_servers_that_do_not_seek_or_do_not_say_that_they_are_sought_are_accused(
    broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgets(self: object, *said: object) -> None:
        if hasattr(self, "_wanted"):
            self._wanted.clear()

    monkeypatch.setattr(broken, forgets)

    async def story(mesh: World) -> None:
        await mesh.sleep(10)
        await ring_of_three(mesh)
        await mesh.sleep(10)
        with pytest.raises(PromiseBroken, match="does not reach"):
            await mesh.expect(EverybodyReached, within=30)

    run_world(story, servers=3)


@pytest.mark.parametrize("seed", [1, 2])
def test_one_way_links_of_a_scenario_that_reads_as_prose(seed: int) -> None:
    text = (Path(__file__).parents[1] / "scenarios" / "one-way.txt").read_text(encoding="utf-8")
    outcome = run_scenario(parse(text, name="one-way.txt"), seed=seed, checkers=every_checker())
    assert outcome.broken is None
    gets = [line for line in outcome.transcript if " gets " in line]
    assert len(gets) == 11
    assert all(line.endswith("1 owner") for line in gets)
    assert dict(outcome.judged)["everybody reached"] == "20 of 20 pairs"


@simulate(nodes=3, seeds=1)
async def test_who_came_back_from_a_backup_is_asked_when_it_answers_again(mesh: World) -> None:
    _, restored, away = mesh.servers
    await mesh.sleep(2)
    restored.back_up()
    await away.crash()
    await restored.crash()
    await restored.restore()
    await mesh.sleep(20)
    assert joined(mesh) == []  # the root alone may be asked
    await away.restart()
    await mesh.sleep(20)
    assert len(joined(mesh)) == 6
