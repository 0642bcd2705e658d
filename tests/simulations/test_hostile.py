"""Hostile servers among honest ones: what honest servers owe each other holds all the while, and the attack took place.

1 1.1 1.2 1.4 are honest, all mirror all; 1.3 plays its tricks while everybody writes, a link is cut and one crashes
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networkx
import pytest
import trio

from identity.errors import BangpathError, OutcomeUnknown, Refused, Unreachable
from identity.names import Reference
from routing.seeking import ALL_PER_S
from simulations.hostile import DRAWN, TRICKS, ever_hostile, turn, turn_honest
from simulations.network import Link
from simulations.plugin import simulate
from simulations.scenario import parse, run_scenario
from simulations.server import SimulatedServer
from simulations.world import World
from store.registry import definition_from_toml

NOTE = definition_from_toml('name = "Note"\n[fields]\ntext = { type = "string" }\nn = { type = "int" }\n')
NEAR = Link(delay=0.005, jitter=0.002)
SLOWEST_S = 5.0  # of a request between two honest servers, whatever a third one does
FEED_BYTES = 1 << 20  # of updates that a peer makes us keep


class Honesty:
    """What honest servers wrote, and whether that is all that anybody of them believes."""

    def __init__(self, mesh: World, liar: SimulatedServer) -> None:
        self.mesh = mesh
        self.honest = [each for each in mesh.servers if each is not liar]
        self.written: dict[Reference, list[int]] = {}
        self.seen: dict[tuple[str, Reference], int] = {}
        self.slowest = 0.0
        self.asked = 0

    async def write(self, server: SimulatedServer) -> None:
        own: list[Reference] = []
        random = self.mesh.generator(f"writes/{server.name}")
        while True:
            await trio.sleep(0.2 + 0.3 * random.random())
            if server.node is None:
                continue
            begun = self.mesh.now
            try:
                if own and random.random() < 0.6:
                    note = random.choice(own)
                    self.written[note].append(self.written[note][-1] + 1)
                    await server.update(note, n=self.written[note][-1])
                else:
                    note = await server.create("Note", text=f"of {server.name}", n=0)
                    own.append(note)
                    self.written[note] = [0]
            except BangpathError:
                if server.node is not None:
                    raise
            assert self.mesh.now - begun < 1.0, "a hostile neighbour held up a local commit"

    def look(self) -> None:
        """Nobody honest believes what an honest owner did not write, nor goes back behind what it had (P2, P3)."""
        for server in self.honest:
            for note, values in self.written.items():
                fields = server.read(note)
                if fields is None:
                    assert (server.name, note) not in self.seen or server.node is None, f"{server.name} lost {note}"
                    continue
                assert fields.text == f"of {note.server}", f"{server.name} believes {fields} of {note}"
                assert fields.n in values, f"{server.name} believes {fields} of {note}"
                assert fields.n >= self.seen.get((server.name, note), 0), f"{server.name} went back in {note}"
                self.seen[server.name, note] = fields.n
            if server.node is None:
                continue
            parts = server.node.parts
            for peer in parts.sessions.misdeeds:
                assert peer not in {each.server for each in self.honest}, f"{server.name} accuses the honest {peer}"
            assert parts.flood.statistics()["held_bytes"] < FEED_BYTES

    async def watch(self) -> None:
        while True:
            self.look()
            await trio.sleep(0.25)

    async def ask(self, asker: SimulatedServer, other: SimulatedServer) -> None:
        """Every pair of them gets through, and hears the truth from the owner (P4, P5)."""
        random = self.mesh.generator(f"questions/{asker.name}")
        while True:
            await trio.sleep(0.3 + 0.3 * random.random())
            if asker.node is None or other.node is None:
                continue
            lives, begun = asker.lives + other.lives, self.mesh.now
            try:
                notes = {note: list(values) for note, values in self.written.items() if note.server == other.server}
                answer = await asker.query(f"Note from {other.name}", consistency="owner", deadline=20)
                rows = {row.reference: row.fields for row in answer.rows}
                self.asked += 1
            except BangpathError:
                if lives == asker.lives + other.lives and other.node is not None and asker.node is not None:
                    raise
                continue
            if lives == asker.lives + other.lives and answer.completeness["whole"]:
                for note, values in notes.items():
                    assert note in rows or values == [0], f"{other.name}'s own answer lacks {note}"
                self.slowest = max(self.slowest, self.mesh.now - begun)
            for note, fields in rows.items():
                assert fields["n"] in self.written.get(note, [0]), f"{asker.name} was told {fields} of {note}"

    def current(self) -> bool:
        """Every honest server has all that every honest one wrote."""
        found = [(server.read(note), values) for server in self.honest for note, values in self.written.items()]
        return all(fields is not None and fields.n == values[-1] for fields, values in found)


@pytest.mark.parametrize("trick", DRAWN)
@simulate(nodes=5, link=NEAR)
async def test_among_honest_servers_every_promise_holds_whatever_one_of_the_others_does(
    mesh: World, trick: str
) -> None:
    root, one, two, liar, four = mesh.servers
    for server in mesh.servers:
        await server.define(NOTE)
        await server.mirror("*")
    for _ in range(5):
        await liar.create("Note", text="of the liar", n=1)
    await mesh.sleep(3)
    honesty = Honesty(mesh, liar)
    async with trio.open_nursery() as nursery:
        hostility = turn(liar, trick)
        nursery.start_soon(honesty.watch)
        for server in honesty.honest:
            nursery.start_soon(honesty.write, server)
        for asker, other in ((one, two), (two, one), (four, root), (one, four)):
            nursery.start_soon(honesty.ask, asker, other)
        await mesh.sleep(2)
        for n in range(5):
            await liar.create("Note", text="of the liar", n=n)
        mesh.cut(one >> two)  # the liar is one of three who may help
        await mesh.sleep(3)
        mesh.cut(two >> one)
        await four.crash()
        await mesh.sleep(1)
        await four.restart()
        await mesh.sleep(3)
        mesh.heal()
        await mesh.sleep(1)
        nursery.cancel_scope.cancel()
    assert sum(hostility.counts.values()) >= 5, f"nothing was shown: {hostility.counts}"
    await mesh.eventually(honesty.current, within=20)  # while it goes on
    honesty.look()
    assert honesty.asked > 40
    assert honesty.slowest < SLOWEST_S
    assert ever_hostile(mesh) == [liar.name]


@pytest.mark.parametrize(("tricks", "liars"), [(("swallows",), 1), (("swallows",), 2), (("lies", "swallows"), 2)])
@simulate(nodes=5, seeds=4, link=NEAR)
async def test_black_holes_are_left_for_the_one_gateway_that_hands_on(
    mesh: World, tricks: tuple[str, ...], liars: int
) -> None:
    """Of three gateways one, then two, swallow; each end finds the third by itself (ATTACKS 16)."""
    asker, other, *gateways = mesh.servers
    await mesh.sleep(3)
    for gateway in gateways[:liars]:
        turn(gateway, *tricks)
    delays: list[float] = []

    async def ask() -> None:
        begun = mesh.now
        await asker.up.ping(other.name, deadline=20)
        delays.append(mesh.now - begun)

    async with trio.open_nursery() as nursery:
        for number in range(150):
            if number == 25:
                mesh.cut(asker >> other)
                mesh.cut(other >> asker)
            nursery.start_soon(ask)
            await mesh.sleep(0.02)
    assert len(delays) == 150
    assert max(delays) < 0.3  # of a round trip of 0.024 by a gateway; it was 0.5 while both ends could swap gateways


# -- what cannot be kept with such a peer is told


def events(mesh: World, server: SimulatedServer) -> list[str]:
    """What the log of a server named, in order."""
    start = f"log {server.name} "
    return [line.split(" ", 1)[1].removeprefix(start) for line in mesh.trace.lines() if f" {start}" in line]


async def line(mesh: World) -> tuple[SimulatedServer, SimulatedServer, SimulatedServer]:
    """Two ends that hear each other over one in the middle only; each mirrors the first."""
    end, middle, other = mesh.servers
    mesh.cut(end >> other)
    mesh.cut(other >> end)
    for server in mesh.servers:
        await server.define(NOTE)
        if server is not end:
            await server.mirror(end)
    await mesh.eventually(lambda: other.node.parts.sessions.connection(middle.server) is not None, within=10)
    await other.up.ping(end.name, deadline=20)
    return end, middle, other


@simulate(nodes=networkx.path_graph(3), seeds=2, link=NEAR)
async def test_a_pair_whose_only_way_is_a_black_hole_is_told_so_and_meets_again_when_it_is_mended(mesh: World) -> None:
    end, middle, other = await line(mesh)
    hostility = turn(middle, "swallows")
    for _ in range(2):
        begun = mesh.now
        with pytest.raises((Unreachable, OutcomeUnknown)) as told:
            await other.up.ping(end.name, deadline=20)
        assert mesh.now - begun < 20.5
        assert end.name in str(told.value)
        await other.up.ping(middle.name, deadline=2)  # who does answer is heard
    assert hostility.counts["packets swallowed"] > 3
    turn_honest(middle)
    await other.up.ping(end.name, deadline=60)


@simulate(nodes=networkx.path_graph(3), seeds=4, link=NEAR)
async def test_a_mirror_whose_only_source_withholds_says_that_it_is_behind(mesh: World) -> None:
    end, middle, other = await line(mesh)
    note = await end.create("Note", text="of the end", n=1)
    await mesh.eventually(lambda: other.read(note) is not None, within=20)

    def age() -> float | None:
        """How long ago the mirror was proven current; None: never, and then it claims nothing either."""
        (found,) = [each for each in other.up.feeds() if each["server"] == end.name and each["kind"] == "data"]
        return found["age"]  # type: ignore[no-any-return]  # JSON

    await mesh.eventually(lambda: age() is not None, within=20)
    hostility = turn(middle, "withholds", "swallows")
    for n in range(2, 8):
        await end.update(note, n=n)
        await mesh.sleep(4)
    assert hostility.counts["updates withheld"] > 0
    (feed,) = [each for each in other.up.feeds() if each["server"] == end.name and each["kind"] == "data"]
    assert feed["lag"] > 0
    assert "withheld" in events(mesh, other)
    found = await other.up.get(note, consistency="local")
    assert found.fields["n"] == 1
    assert found.age is None or found.age > 10  # and not as if it were of now
    assert (await other.up.get(note, max_age=5, deadline=10)).by == middle.server  # whom it asks, and who still answers
    turn_honest(middle)
    await mesh.eventually(lambda: other.read(note).n == 7, within=60)


@simulate(nodes=4, link=NEAR)
async def test_a_gateway_that_falsifies_paths_changes_nothing_in_what_the_two_ends_say(mesh: World) -> None:
    asker, other, liar, slandered = mesh.servers
    await mesh.sleep(3)
    for one, two in ((asker, other), (asker, slandered), (other, slandered)):
        mesh.cut(one >> two)
        mesh.cut(two >> one)
    await asker.up.ping(other.name, deadline=10)
    hostility = turn(liar, "lies")
    await mesh.sleep(2)
    said = await asker.up.trace(other.name, deadline=10)
    assert said["there"] == [asker.name, liar.name, other.name]
    assert said["back"] == [other.name, liar.name, asker.name]
    assert hostility.counts["paths falsified"] > 0
    assert any(slandered.name in path for path in said["came"].values())  # what it wrote on them is told as well
    turn_honest(liar)
    await mesh.sleep(25)
    assert (await asker.up.trace(other.name, deadline=10))["came"] == {}


@simulate(nodes=4, seeds=2, link=NEAR)
async def test_who_tells_two_stories_is_proven_to_and_what_it_said_before_stays(mesh: World) -> None:
    liar, *honest = mesh.servers
    await liar.define(NOTE)
    for server in honest:
        await server.mirror(liar)
    before = await liar.create("Note", text="before", n=1)
    await mesh.eventually(lambda: all(each.read(before) for each in honest), within=20)
    turn(liar, "tells two stories")
    for n in range(2, 6):
        await liar.update(before, n=n)
        await mesh.sleep(1)
    await mesh.eventually(lambda: all("forked" in events(mesh, each) for each in honest), within=20)
    turn_honest(liar)
    await liar.update(before, n=99)
    await mesh.sleep(10)
    for server in honest:
        (feed,) = [each for each in server.up.feeds() if each["server"] == liar.name and each["kind"] == "data"]
        assert feed["state"] == "quarantined"
        assert "signed two different updates" in feed["reason"]
        assert server.read(before).n < 99
        await server.crash()
        await server.restart()
        assert liar.name in {str(each.server) for each in server.up.parts.flood.proofs()}  # it is remembered


@simulate(nodes=4, link=NEAR)
async def test_a_feed_that_is_rolled_back_is_reported_and_goes_on_where_it_was(mesh: World) -> None:
    liar, *honest = mesh.servers
    await liar.define(NOTE)
    for server in honest:
        await server.mirror(liar)
    notes = [await liar.create("Note", text="of the liar", n=n) for n in range(6)]
    await mesh.eventually(lambda: all(each.read(notes[-1]) for each in honest), within=20)
    hostility = turn(liar, "rolls back")
    await mesh.sleep(10)
    assert hostility.counts["updates of another run"] > 5
    assert all("rolled_back" in events(mesh, each) for each in honest)
    turn_honest(liar)
    late = await liar.create("Note", text="of the liar", n=7)
    await mesh.eventually(lambda: all(each.read(late) for each in honest), within=30)
    for server in honest:
        assert [server.read(each).n for each in notes] == list(range(6))


@simulate(nodes=3, link=NEAR)
async def test_whose_word_an_answer_is_stands_in_it_and_the_owner_s_own_is_to_be_had(mesh: World) -> None:
    asker, owner, liar = mesh.servers
    await owner.define(NOTE)
    note = await owner.create("Note", text="true", n=1)
    await liar.mirror(owner)
    await mesh.eventually(lambda: liar.read(note) is not None, within=20)
    await mesh.sleep(2)
    hostility = turn(liar, "misleads")
    await owner.crash()
    await mesh.sleep(10)
    found = await asker.get(note)
    assert hostility.counts["answers falsified"] > 0
    assert found.fields["text"] != "true"
    assert (found.kind, found.by) == ("mirrored", liar.server)
    rows = await asker.query("Note")
    assert rows.completeness["owners"][0]["by"] == liar.name
    assert asker.read(note) is None  # nothing of it is kept
    await owner.restart()
    await mesh.sleep(10)
    assert (await asker.get(note, consistency="owner")).fields["text"] == "true"
    assert liar.read(note).text == "true"  # it lies to others, not to itself


@simulate(nodes=2, link=NEAR)
async def test_who_never_answers_makes_nobody_wait_for_ever(mesh: World) -> None:
    asker, liar = mesh.servers
    await mesh.sleep(2)
    hostility = turn(liar, "acknowledges nothing")
    begun = mesh.now
    with pytest.raises((OutcomeUnknown, Unreachable)):
        await asker.up.ping(liar.name, deadline=5)
    assert mesh.now - begun < 5.5
    assert hostility.counts["Answer withheld"] > 0
    turn_honest(liar)
    await asker.up.ping(liar.name, deadline=10)


# -- the instrument itself


def test_only_the_instance_is_altered_and_it_is_given_back() -> None:
    async def story(mesh: World) -> None:
        liar, honest = mesh.servers
        send = type(liar.up.parts.endpoint).send
        turn(liar, *DRAWN)
        assert "send" in liar.up.parts.endpoint.__dict__
        assert "send" not in honest.up.parts.endpoint.__dict__
        assert type(liar.up.parts.endpoint).send is send
        await mesh.sleep(1)
        turn_honest(liar)
        parts = liar.up.parts
        assert "send" not in parts.endpoint.__dict__
        assert "send_batch" not in parts.port.__dict__
        assert parts._carry == {**parts._carry, **parts.sessions.outputs}
        before = dict(mesh.servers[0].up.parts.endpoint.__dict__)
        await mesh.sleep(5)
        assert set(before) == set(liar.up.parts.endpoint.__dict__)

    from simulations.world import simulate as run

    run(story, servers=2, seed=1)


@simulate(nodes=4, seeds=2, link=NEAR)
async def test_whoever_floods_with_words_makes_others_say_no_more_than_their_allowance(mesh: World) -> None:
    *honest, liar = mesh.servers
    await mesh.sleep(3)
    said = dict.fromkeys([each.name for each in honest], 0)

    def counted(server: SimulatedServer) -> None:
        detours = server.up.parts.detours
        say = detours.say

        def counting(*what: Any) -> None:
            said[server.name] += 1
            say(*what)

        detours.say = counting

    for server in honest:
        counted(server)
    hostility = turn(liar, "floods")
    await mesh.sleep(10)
    assert hostility.counts["words"] > 1000
    assert all(0 < count <= 12 * ALL_PER_S for count in said.values()), said
    mesh.cut(honest[0] >> honest[1])
    await honest[0].up.ping(honest[1].name, deadline=5)


@simulate(nodes=3, link=NEAR)
async def test_it_is_hostile_in_its_next_life_too(mesh: World) -> None:
    _, other, liar = mesh.servers
    hostility = turn(liar, "floods")
    await mesh.sleep(2)
    await liar.crash()
    before = dict(hostility.counts)
    await mesh.sleep(2)
    assert hostility.counts == before
    await liar.restart()
    await mesh.sleep(5)
    assert hostility.counts["Request messages"] > before["Request messages"]
    await other.up.ping("1", deadline=5)


@simulate(nodes=3, seeds=1)
async def test_who_turns_honest_at_once_has_done_nothing(mesh: World) -> None:
    """Its acting tasks had not begun when it ended; one of them acted on a node that was not its own any more."""
    turn(mesh.servers[1], "floods")
    turn_honest(mesh.servers[1])
    await mesh.sleep(3)
    assert not any(mesh.servers[1].attacks.values())


def test_one_seed_makes_one_attack() -> None:
    def trace(seed: int) -> str:
        async def story(mesh: World) -> None:
            await mesh.servers[0].define(NOTE)
            for server in mesh.servers:
                await server.mirror("*")
            turn(mesh.servers[1], *TRICKS)
            for n in range(10):
                await mesh.servers[0].create("Note", text="hi", n=n)
            await mesh.sleep(5)

        from simulations.world import simulate as run

        return run(story, servers=4, seed=seed)[1].trace.hash

    assert trace(1) == trace(1)
    assert trace(1) != trace(2)


def test_the_guide_tells_every_trick() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guide-simulation.md").read_text(encoding="utf-8")
    for name, trick in TRICKS.items():
        assert f"| `{name}` | {trick.says} |" in guide


SCENARIO = """
servers 4
class Note text:string
1.1 mirrors 1.2
1.2 commits 3 Note
1.3 turns hostile: forges, floods for 5s
at 1s 1.2 commits 5 Note
run 4s
expect 1.3 has attacked
run 2s
1.3 turns hostile: lies
1.3 turns honest
expect 1.1 has all of 1.2 within 10s
"""


def test_hostility_in_prose() -> None:
    outcome = run_scenario(parse(SCENARIO), seed=1)
    told = [(mark.servers, mark.text) for mark in outcome.marks if mark.kind == "hostile"]
    assert told == [
        (("1.3",), "forges, floods"),
        (("1.3",), "honest again"),
        (("1.3",), "lies"),
        (("1.3",), "honest again"),
    ]
    (attacked,) = [each for each in outcome.transcript if "has attacked" in each]
    assert "false proofs" in attacked or "made up" in attacked
    assert "packets of noise" in attacked
    with pytest.raises(AssertionError, match=r"story:4: .*has done no harm"):
        run_scenario(
            parse("servers 2\nrun 1s\n1.1 turns hostile: swallows\nexpect 1.1 has attacked", name="story"), seed=1
        )
    with pytest.raises(Refused, match="'steals'") as refused:
        parse("servers 2\n1.1 turns hostile: steals")
    assert "forges" in str(refused.value)
