"""An update crosses a link once, and is known then: what is not so is noticed, and nobody is accused of his links."""

from __future__ import annotations

from typing import Any

import pytest

from replication.messages import FeedId, Got
from simulations.check_traffic import SentOnce
from simulations.network import Link
from simulations.plugin import simulate
from simulations.promises import PromiseBroken
from simulations.server import SimulatedServer
from simulations.world import World
from store.records import DATA
from tests.simulations.machine_lab import begin

ACCUSED = pytest.raises(PromiseBroken)


def flood(server: SimulatedServer) -> Any:
    return server.up.parts.flood


def beat_nothing(session: Any, now: float) -> None:
    session.beat_at = now + 5.0


@simulate(nodes=4, seeds=3, link=Link(delay=0.02, jitter=0.03, loss=0.1))
async def test_a_mesh_with_bad_links_crashes_and_pauses_holds(mesh: World) -> None:
    mesh.watch(SentOnce)
    note = await begin(mesh)
    _, owner, mirror, other = mesh.servers
    await other.mirror(owner)
    for number in range(20):
        await owner.update(note, text=f"{number}")
        await mesh.sleep(0.2)
        if number == 5:
            await mirror.crash()
            await mirror.restart()
        if number == 10:
            await mirror.pause()
        if number == 15:
            await mirror.resume()
    with mesh.partition({owner}, {other, mirror}):
        await owner.update(note, text="unheard")
        await mesh.sleep(5)
    await mesh.eventually(lambda: mirror.read(note) == other.read(note) == {"text": "unheard"}, within=60)
    await mesh.sleep(2)


@simulate(nodes=3, seeds=2)
async def test_who_never_says_that_it_has_an_update_is_noticed(mesh: World) -> None:
    note = await begin(mesh)
    _, owner, mirror = mesh.servers
    checker = SentOnce()
    checker.begin(mesh)
    mesh.ledger.refresh()
    flood(mirror)._telling.tell_got = lambda *_: None
    flood(mirror)._telling._beat = beat_nothing  # which would say it, up to 5 s later
    await owner.update(note, text="not acknowledged")
    with ACCUSED as broken:
        for _ in range(8):
            await mesh.sleep(0.25)
            checker.look(mesh)
    assert "1.2 has update 2 of 1.1's data feed durably" in broken.value.said
    assert "from 1.1, and never said so" in broken.value.said


@simulate(nodes=3, seeds=2)
async def test_who_says_that_it_has_what_it_has_not_is_noticed(mesh: World) -> None:
    await begin(mesh)
    _, owner, mirror = mesh.servers
    checker = SentOnce()
    checker.begin(mesh)
    mesh.ledger.refresh()
    incarnation = owner.up.parts.database.incarnation
    got = Got(owner.server, incarnation, DATA, ((1, 9),))
    flood(mirror)._spool.send(flood(mirror)._spool.sessions[owner.server], got)
    mirror.up.parts.touch()
    await mesh.sleep(0.01)
    with ACCUSED as broken:
        checker.look(mesh)
    assert "1.2 told 1.1 that it has update 9 of 1.1's data feed, and has 1 durably" in broken.value.said


@simulate(nodes=3, seeds=2)
async def test_who_sends_again_what_nobody_asked_for_again_is_noticed(mesh: World) -> None:
    note = await begin(mesh)
    _, owner, mirror = mesh.servers
    checker = SentOnce()
    checker.begin(mesh)
    mesh.ledger.refresh()
    await owner.update(note, text="sent again")
    session = flood(owner)._spool.sessions[mirror.server]
    feed = FeedId(owner.server, owner.up.parts.database.incarnation, DATA)
    session.sent.clear()
    flood(owner)._telling.push(feed, 2, (owner.server,), None)
    owner.up.parts.touch()
    await mesh.sleep(0.01)
    with ACCUSED as broken:
        checker.look(mesh)
    assert "1.1 sent 1.2 update 2 of 1.1's data feed 2 times in one session" in broken.value.said
