"""A server that is not there yet joins by the product's own words, over links as they are, and belongs to the mesh."""

from __future__ import annotations

import networkx
import pytest

from identity.errors import Refused
from simulations.plugin import simulate
from simulations.scenario import parse, run_scenario
from simulations.world import World
from simulations.world import simulate as run_story
from store.definitions import ClassDefinition, Field

NOTE = ClassDefinition(name="Note", fields=(Field(name="text"),))
STORY = """servers 5 ring
link delay 20ms loss 1%
class Note text:string
1 commits 3 Note
1.2 mirrors 1
at 5s 1.4 joins
at 9s 1.4 commits 2 Note
at 9s 1.4 mirrors 1
at 10s 1.2 mirrors 1.4
at 10s 1.1 changes 1 Note of 1.4
at 12s crash 1.4 for 2s
run 20s
expect 1.4 has all of 1 within 10s
expect 1.2 has all of 1.4 within 10s
expect every promise within 60s
"""


def test_who_joins_gets_what_was_there_and_is_heard_of() -> None:
    outcome = run_scenario(parse(STORY), seed=1)
    assert any("1.4 joins  -> by a ticket of 1" in line for line in outcome.transcript)
    assert outcome.trace == run_scenario(parse(STORY), seed=1).trace


def test_who_cannot_be_let_in_asks_again_until_it_is() -> None:
    text = "servers 3\nisolate 1\nat 1s 1.2 joins\nrun 30s\nheal\nexpect everybody reached within 60s\n"
    outcome = run_scenario(parse(text), seed=2)
    (joined,) = [line for line in outcome.transcript if " joins " in line]
    assert "after 2 tries" in joined or "after 3 tries" in joined


def test_who_is_never_let_in_is_told_why_and_is_no_failure_of_a_timed_line() -> None:
    outcome = run_scenario(parse("servers 3\nisolate 1\nat 1s 1.2 joins\nrun 200s\n"), seed=2)
    assert any("1.2 joins  -> 1 did not let 1.2 in" in line for line in outcome.transcript)


def test_before_it_has_joined_it_cannot_be_started_or_asked() -> None:
    async def story(world: World) -> None:
        late = world.server("1.2")
        assert not late.joined
        for word in (late.restart, late.restore, late.outbox):
            with pytest.raises(Refused, match=r"1\.2 has not joined yet"):
                await word()
        await late.join(world.server("1"))
        assert late.running
        with pytest.raises(Refused, match=r"1\.2 has joined already"):
            await late.join(world.server("1"))

    run_story(story, servers=3, seed=1, late=("1.2",))


@pytest.mark.parametrize(
    ("late", "cause"),
    [(["1.9"], "there is no server '1.9'"), (["1"], "1 is the root"), (["1.3", "1.1"], "1.1 stands between")],
)
def test_who_cannot_be_late_is_refused(late: list[str], cause: str) -> None:
    with pytest.raises(Refused, match=cause):
        run_story(_nothing, servers=networkx.path_graph(4), seed=1, late=late)


async def _nothing(world: World) -> None: ...


@simulate(nodes=3, seeds=1, late=["1.2"])
async def test_a_test_of_an_application_says_it_in_words(mesh: World) -> None:
    a, b, c = mesh.servers
    assert [server.joined for server in mesh.servers] == [True, True, False]
    await c.join(a)
    await c.define(NOTE)
    await b.define(NOTE)
    note = await c.create("Note", text="new")
    await b.mirror(c)
    await mesh.eventually(lambda: b.read(note) == {"text": "new"}, within=30)
