"""Forged certificates: honest servers turn them away, and checkers see where one was believed."""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock

import pytest

from identity import trust
from identity.errors import PeerMisbehaved
from node.directory import Directory
from node.greeting import TurnAway
from simulations.checkers import check, only_the_signed
from simulations.hostile import turn
from simulations.network import Link
from simulations.plugin import simulate
from simulations.promises import PromiseBroken
from simulations.world import World
from simulations.world import simulate as run

CAUSES = ("is not signed by", "which it cannot certify", "is no pinned root here")


async def attacked(mesh: World) -> dict[str, int]:
    """What the last server did to the others in 40 seconds."""
    await mesh.sleep(2)
    hostility = turn(mesh.servers[-1], "impersonates")
    await mesh.sleep(40)
    return hostility.counts


@simulate(nodes=4, seeds=3, link=Link(delay=0.005))
async def test_every_forged_chain_is_turned_away_for_what_is_wrong_with_it(mesh: World) -> None:
    causes: list[str] = []
    mesh.ledger.listen(TurnAway, lambda server, output, now: causes.append(output.cause))
    counts = await attacked(mesh)
    assert counts["greetings in another's name"] > 2
    assert counts["registry entries in another's name"] > 2
    for cause in CAUSES:
        assert any(cause in each for each in causes), f"nobody said {cause!r}"
    for server in mesh.servers[:-1]:
        for entry in server.up.parts.directory.entries():
            assert entry.certificate.signing_key == mesh.server(str(entry.server)).keys.signing_public
        assert set(server.up.parts.sessions.misdeeds) <= {mesh.servers[-1].server}


@pytest.fixture
def believing() -> Iterator[None]:
    """What was proven is kept for all worlds of this process, so it is forgotten before and after."""
    trust._links_untrusted.cache_clear()
    with mock.patch.object(trust, "verify", return_value=True):
        yield
    trust._links_untrusted.cache_clear()


@pytest.mark.usefixtures("believing")
def test_a_registry_entry_that_is_believed_is_seen() -> None:
    async def story(mesh: World) -> None:
        await attacked(mesh)
        check(mesh, [only_the_signed])

    with pytest.raises(PromiseBroken, match="P2") as broken:
        run(story, servers=5, seed=1)
    assert "never signed" in broken.value.said or "for another" in broken.value.said


@pytest.mark.usefixtures("believing")
def test_a_greeting_that_is_believed_is_seen() -> None:
    async def story(mesh: World) -> None:
        only_the_signed().begin(mesh)
        await attacked(mesh)
        check(mesh, [only_the_signed])

    def introduce(*_: object) -> bytes:
        raise PeerMisbehaved("no registry entry is believed")

    with (
        mock.patch.object(Directory, "introduce_untrusted", introduce),
        pytest.raises(PromiseBroken, match=r"took who greeted it from \S+ for 1\.\d, whose key it has not"),
    ):
        run(story, servers=5, seed=2)
