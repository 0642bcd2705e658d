"""Real nodes on bad ground, by seed: what was answered is there after any crash, and mirrors come to say the same."""

from __future__ import annotations

from typing import Any

import networkx
import pytest
import trio

from identity.errors import BangpathError, LocalMistake, NotFound, OutcomeUnknown, Refused, Unreachable
from identity.names import ObjectId, Reference
from node.requests import Get, Object
from simulations.faulty_disk import PowerCut
from simulations.network import Link
from simulations.plugin import simulate
from simulations.world import World
from simulations.world import simulate as run_world
from store.registry import definition_from_toml

NOTE = definition_from_toml('name = "Note"\n[fields]\ntext = { type = "string" }\n')


@simulate(nodes=3, seeds=3)
async def test_a_mirror_catches_up_whatever_was_cut(mesh: World) -> None:
    a, b, c = mesh.nodes
    for server in mesh.nodes:
        await server.define(NOTE)
    note = await a.create("Note", {"text": "hi"})
    await c.mirror(a)
    await mesh.eventually(lambda: c.read(note) == {"text": "hi"}, within=30)
    mesh.cut(a >> c)
    with mesh.partition({a, b}, {c}):
        await a.update(note, {"text": "bye"})
        await b.crash()
        await mesh.sleep(5)
        assert c.read(note) == {"text": "hi"}
        await b.restart()
    mesh.mend(a >> c)
    await mesh.eventually(lambda: c.read(note) == {"text": "bye"}, within=60)


@simulate(nodes=2, seeds=20, link=Link(delay=0.01, jitter=0.01, loss=0.05, duplicate=0.02))
async def test_what_was_answered_is_there_after_any_crash(mesh: World) -> None:
    owner, mirror = mesh.nodes
    for server in mesh.nodes:
        await server.define(NOTE)
    await mirror.mirror(owner)
    answered: dict[Reference, str] = {}
    asked: dict[Reference, set[str]] = {}

    async def write(writer: int) -> None:
        for number in range(1000):
            text = f"{writer}.{mesh.now:.6f}.{number}"
            try:
                if number % 3 and answered:
                    reference = mesh.random.choice(sorted(answered))
                    if reference in busy:
                        continue
                    busy.add(reference)
                    asked[reference].add(text)
                    await owner.update(reference, {"text": text})
                    busy.discard(reference)
                else:
                    reference = await owner.create("Note", {"text": text})
                    asked[reference] = {text}
            except (BangpathError, PowerCut, trio.Cancelled):
                return
            answered[reference] = text
            asked[reference] = {text}

    for life in range(4):
        busy: set[Reference] = set()
        async with trio.open_nursery() as nursery:
            for writer in range(4):
                nursery.start_soon(write, writer)
            await mesh.sleep(0.02 + 0.2 * mesh.random.random())
            await (owner if life != 2 else mirror).crash()
            nursery.cancel_scope.cancel()
        await (owner if life != 2 else mirror).restart()
        for reference, text in answered.items():
            found = owner.read(reference)
            assert found is not None, f"{reference} was answered and is gone"
            assert found["text"] == text or found["text"] in asked[reference]
            answered[reference] = found["text"]
    await mesh.eventually(lambda: all(mirror.read(each) == owner.read(each) for each in answered), within=60)
    assert len(answered) > 20


def test_a_graph_says_who_is_whose_neighbour(simulation: Any) -> None:
    """A line: the last server hears of the first only through those between."""

    async def story(mesh: World) -> None:
        first, *_, last = mesh.servers
        for server in mesh.servers:
            await server.define(NOTE)
        note = await first.create("Note", {"text": "passed on"})
        for server in mesh.servers[1:]:
            await server.mirror(first)
        await mesh.eventually(lambda: last.read(note) == {"text": "passed on"}, within=60)
        found = await last.get(note)
        assert found.kind == "mirrored"
        assert found.path[0] == first.server
        assert found.path[-1] == last.server

    simulation(story, servers=networkx.path_graph(5), seed=3)


def test_one_seed_one_trace(simulation: Any) -> None:
    async def story(mesh: World) -> None:
        a, b = mesh.servers
        for server in mesh.servers:
            await server.define(NOTE)
        note = await a.create("Note", {"text": "x"})
        await b.mirror(a)
        await mesh.eventually(lambda: b.read(note) is not None, within=30)

    hashes = [simulation(story, servers=2, seed=seed).trace.hash for seed in (7, 7, 8)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_failure_names_its_seed() -> None:
    async def story(mesh: World) -> None:
        await mesh.eventually(lambda: False, within=1)

    with pytest.raises(AssertionError) as failed:
        run_world(story, servers=1, seed=42)
    assert "seed 42" in str(failed.value)
    assert any("seed=42" in note for note in failed.value.__notes__)


def test_what_cannot_be_asked_yet_has_not_happened_yet() -> None:
    async def story(mesh: World) -> None:
        told: dict[str, Any] = {}
        mesh.nursery.start_soon(tell, mesh, told)
        await mesh.eventually(lambda: told["note"].startswith("h"), within=10)
        assert 2 <= mesh.now < 3
        with pytest.raises(AssertionError, match=r"not within 1 virtual seconds, at .*: 'other'") as failed:
            await mesh.eventually(lambda: told["other"], within=1)
        assert isinstance(failed.value.__cause__, KeyError)
        with pytest.raises(ZeroDivisionError):
            await mesh.eventually(lambda: 1 / 0, within=1)

    async def tell(mesh: World, told: dict[str, Any]) -> None:
        await mesh.sleep(1)
        told["note"] = None
        await mesh.sleep(1)
        told["note"] = "hi"

    run_world(story, servers=1, seed=1)


def test_what_makes_no_sense_is_refused() -> None:
    async def story(mesh: World) -> None:
        (only,) = mesh.servers
        with pytest.raises(LocalMistake, match="1 is up already"):
            await only.start()
        await only.stop()
        with pytest.raises(Refused, match="1 is down"):
            await only.create("Note", {})
        with pytest.raises(LocalMistake, match="1 is down already"):
            await only.crash()

    run_world(story, servers=1, seed=1)
    with pytest.raises(Refused, match="without servers"):
        run_world(story, servers=0, seed=1)


@simulate(nodes=3, seeds=2)
async def test_an_age_that_nobody_knows_is_told_as_unknown(mesh: World) -> None:
    """A mirror that restarted while its owner was gone knows how far it is, and not how long ago that was all."""
    other, owner, mirror = mesh.nodes
    await owner.define(NOTE)
    note = await owner.create("Note", {"text": "hi"})
    await mirror.mirror(owner)
    await mesh.eventually(lambda: mirror.read(note) is not None, within=30)
    await mesh.sleep(5)
    answer = await mirror.query("Note")
    assert answer.completeness["owners"][0]["age"] < 30  # proven current by what its owner said, pushed or asked for
    await owner.crash()
    await mirror.crash()
    await mirror.restart()
    await mesh.sleep(20)
    for asked in (mirror, other):
        answer = await asked.query("Note")
        (told,) = answer.completeness["owners"]
        assert (told["how"], told["age"], told["rows"]) == ("mirrored", None, 1)
        assert [row.age for row in answer.rows] == [None]


@simulate(nodes=2, seeds=20)
async def test_who_crashed_in_the_middle_of_calling_is_back_within_seconds(mesh: World) -> None:
    other, crashed = mesh.nodes
    await crashed.define(NOTE)
    await mesh.sleep(0.1 * mesh.random.random())  # at any step of two handshakes that cross
    await crashed.crash()
    await crashed.restart()
    await mesh.eventually(lambda: other.up.classes(), within=5)


@simulate(nodes=3, seeds=3, link=Link(delay=0.05))
async def test_a_mirror_that_is_back_asks_its_owner_until_it_is_proven_current(mesh: World) -> None:
    """It was whole before, and reaches its owner: what it holds is of an age that nobody knows."""
    _, owner, mirror = mesh.nodes
    await owner.define(NOTE)
    note = await owner.create("Note", {"text": "hi"})
    await mirror.mirror(owner)
    standpoint = mirror.up.parts.standpoint
    await mesh.eventually(lambda: standpoint.holding(owner.server).whole, within=30)
    await mirror.stop()  # where it is written down that it was whole
    await owner.update(note, {"text": "bye"})
    await mirror.restart()
    parts = mirror.up.parts
    assert parts.standpoint.holding(owner.server).whole  # nobody better is reached yet
    await mesh.eventually(lambda: parts.sessions.connection(owner.server) is not None, within=30, every=0.001)
    holding = parts.standpoint.holding(owner.server)
    assert (holding.kind, holding.age, holding.whole) == ("mirrored", None, False)
    assert mirror.read(note) == {"text": "hi"}
    found = await mirror.get(note)
    assert (found.kind, found.fields["text"]) == ("owner", "bye")
    await mesh.eventually(lambda: parts.standpoint.holding(owner.server).whole, within=30)
    assert mirror.read(note) == {"text": "bye"}


@simulate(nodes=3, seeds=2)
async def test_a_mirror_never_says_that_there_is_no_such_object(mesh: World) -> None:
    """Only an owner may (DESIGN P5): the object may have been born since."""
    other, owner, mirror = mesh.nodes
    await owner.define(NOTE)
    note = await owner.create("Note", {"text": "hi"})
    await mirror.mirror(owner)
    await mesh.eventually(lambda: mirror.up.parts.standpoint.holding(owner.server).whole, within=30)
    await mesh.eventually(lambda: other.up.parts.standpoint.carriers(owner.server) == [mirror.server], within=60)
    missing = ObjectId(note.object + 1000)
    with pytest.raises(NotFound, match=f"says its owner {owner.name}; .*bangpath @{owner.name} class"):
        await other.up.get((owner.server, missing))
    with pytest.raises(NotFound, match=f"says its owner {owner.name}"):
        await other.up.update(Reference(owner.server, note.incarnation, missing), {"text": "x"})
    await owner.crash()
    requesting = other.up.parts.requesting
    for holder, number, says in ((mirror, missing, "holds no copy"), (mirror, ObjectId(0), "holds no copy")):
        with pytest.raises(Refused, match=says) as refused:
            await requesting.ask_one(holder.server, Get(owner.server, number), Object, deadline=mesh.now + 5)
        assert not isinstance(refused.value, NotFound)
    with pytest.raises(Refused, match="does not mirror") as refused:
        await mirror.up.parts.requesting.ask_one(
            other.server, Get(owner.server, note.object), Object, deadline=mesh.now + 5
        )
    assert not isinstance(refused.value, NotFound)
    for asker in (other, mirror):
        for consistency in ("nearest", "local", "owner"):
            with pytest.raises((Unreachable, OutcomeUnknown)):
                await asker.up.get((owner.server, missing), consistency=consistency, deadline=20)
    assert (await other.get(note)).kind == "mirrored"


@simulate(nodes=3, seeds=2)
async def test_every_age_that_is_told_is_in_whole_milliseconds(mesh: World) -> None:
    asker, owner, _ = mesh.nodes
    await owner.define(NOTE)
    await owner.create("Note", {"text": "hi"})
    await asker.mirror(owner)
    await mesh.eventually(lambda: asker.up.parts.standpoint.holding(owner.server).whole, within=30)
    await mesh.sleep(mesh.random.random())
    report = (await asker.query("Note")).completeness
    ages = [each["age"] for each in (*report["owners"], *report["directory"])]
    with pytest.raises(Unreachable) as silence:
        await asker.up.get((owner.server, ObjectId(999)), consistency="local")
    ages.append(silence.value.details["age"])
    known = [age for age in ages if age is not None]
    assert any(age > 0 for age in known)
    assert known == [round(age, 3) for age in known]


@simulate(nodes=2, seeds=1)
async def test_a_server_that_was_named_and_is_not_known_makes_an_answer_not_whole(mesh: World) -> None:
    asker, other = mesh.nodes
    await asker.define(NOTE)
    await asker.create("Note", {"text": "hi"})
    await mesh.eventually(lambda: asker.up.parts.standpoint.knows(other.server), within=10)
    answer = await asker.query(f"Note from {asker.name}, {other.name}, 9.9")
    assert len(answer.rows) == 1
    assert [(each["server"], each["how"]) for each in answer.completeness["owners"]] == [
        (asker.name, "owned"),
        ("9.9", "unreachable"),
    ]
    assert answer.completeness["whole"] is False


@simulate(nodes=3)
async def test_rules_of_a_link_hold_while_a_block_runs(mesh: World) -> None:
    a, b, _ = mesh.nodes
    before = mesh.network.link("1", "1.1")
    with mesh.link(a >> b, "loss 30% in bursts of 5"), mesh.link(None, "delay 300ms"):
        assert mesh.network.link("1", "1.1") == before.changed({"loss": 0.3, "burst": 5.0, "delay": 0.3})
        assert mesh.network.link("1.1", "1") == before.changed({"delay": 0.3})
    assert mesh.network.link("1", "1.1") == mesh.network.link("1.1", "1") == before
    with pytest.raises(Refused, match="did you mean: loss 2%"), mesh.link(a >> b, "los 30%"):
        pass


@simulate(nodes=3)
async def test_what_cuts_nothing_is_told(mesh: World) -> None:
    a, b, c = mesh.nodes
    wrong: list[tuple[tuple[Any, ...], str]] = [
        ((a, b), "<server 1> is no group of servers; write mesh.partition"),
        (({a}, {"1.1"}), "is no group of servers; write mesh.partition"),
        (({a, b, c},), "two sides or more"),
        (({a, b}, {b, c}), "1.1 cannot be on two sides"),
    ]
    for groups, told in wrong:
        with pytest.raises(Refused, match=told), mesh.partition(*groups):
            pass
    directions: list[Any] = [a, "1 > 1.1", a >> a]
    for direction in directions:
        with pytest.raises(Refused, match=r"is no direction; write mesh\.cut"):
            mesh.cut(direction)
    with mesh.partition([a], (each for each in (b, c))):
        assert mesh.network.link("1", "1.1").cut
        assert not mesh.network.link("1.1", "1.2").cut
    assert not mesh.network.link("1", "1.1").cut


@simulate(nodes=1)
async def test_what_is_waited_for_may_be_async_and_must_come_true(mesh: World) -> None:
    async def older(than: float) -> bool:
        await trio.lowlevel.checkpoint()
        return mesh.now > than

    end = mesh.now + 2
    await mesh.eventually(lambda: older(end), within=5)
    assert end < mesh.now < end + 1
    with pytest.raises(AssertionError, match=r"not within 1 virtual seconds, at .*: it was False \(seed"):
        await mesh.eventually(lambda: older(3600), within=1)
    with pytest.raises(Refused, match="within=-1 s"):
        await mesh.eventually(lambda: True, within=-1)


def test_what_is_no_class_of_stored_objects_is_told_how_it_becomes_one() -> None:
    async def story(world: World) -> None:
        with pytest.raises(Refused, match="<class 'int'> is no class of stored objects") as refused:
            await world.servers[0].create(int, text="x")
        assert "@bangpath.stored" in refused.value.next_step

    run_world(story, servers=1, seed=1)
