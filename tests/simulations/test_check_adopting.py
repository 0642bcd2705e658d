"""Who comes back from a backup learns what its neighbours hold: who does not is noticed, and nobody else is accused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from node import adopting
from simulations.check_adopting import RestoredLearn
from simulations.check_mirrors import Converged
from simulations.plugin import simulate
from simulations.promises import PromiseBroken
from simulations.server import SimulatedServer
from simulations.world import World
from tests.simulations.machine_lab import begin


async def signs_at_once(parts: Any, *, note: Callable[..., Any]) -> None:
    parts.flood.adopt(False)
    await parts.delivering.written()
    await parts.database.end_adoption()
    parts.serving.wait("")


async def restored(mesh: World, *, told: bool = True) -> SimulatedServer:
    """An owner that came back, whose mirror has later updates of its."""
    note = await begin(mesh)
    _, owner, mirror = mesh.servers
    owner.back_up()
    for number in range(5):
        await owner.update(note, text=f"{number}")
    await mesh.eventually(lambda: mirror.read(note) == {"text": "4"}, within=30)
    await owner.restore(told=told)
    return owner


@simulate(nodes=3, seeds=3)
async def test_who_learns_what_its_mirror_has_is_not_accused(mesh: World) -> None:
    mesh.watch(RestoredLearn)
    owner = await restored(mesh)
    await mesh.sleep(1)
    await owner.crash()
    await owner.restart()
    await mesh.eventually(lambda: owner.node is not None and not owner.up.parts.database.adopting, within=60)
    await mesh.sleep(1)
    await owner.create("Note", {"text": "again"})
    mesh.check(RestoredLearn)


@simulate(nodes=3, seeds=2)
async def test_who_signs_at_once_is_accused(mesh: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adopting, "adopt", signs_at_once)
    checker = RestoredLearn()
    checker.begin(mesh)
    await restored(mesh)
    await mesh.sleep(1)
    with pytest.raises(
        PromiseBroken, match=r"1\.1, restored .* signs again after update .* its neighbour 1\.2 has held"
    ):
        checker.look(mesh)


@pytest.mark.parametrize("excuse", ["set back behind its back", "a rotten neighbour", "nobody had them", "slow links"])
@simulate(nodes=3, seeds=1)
async def test_what_cannot_be_promised_accuses_nobody(
    mesh: World, monkeypatch: pytest.MonkeyPatch, excuse: str
) -> None:
    monkeypatch.setattr(adopting, "adopt", signs_at_once)
    mesh.watch(RestoredLearn)
    _, owner, mirror = mesh.servers
    if excuse == "nobody had them":
        note = await begin(mesh)
        owner.back_up()
        with mesh.partition({owner}, {mesh.servers[0], mirror}):
            await owner.update(note, text="unheard")
            await owner.restore()
            await mesh.sleep(5)
        return
    if excuse == "slow links":
        with mesh.link(None, "delay 30ms"):
            await mesh.sleep(1)
    if excuse == "a rotten neighbour":
        mesh.mark("disk", mirror.name, text="rot")
    await restored(mesh, told=excuse != "set back behind its back")
    await mesh.sleep(5)


@simulate(nodes=3, seeds=2)
async def test_a_mirror_of_a_restored_owner_is_to_have_all_of_it(mesh: World) -> None:
    checker = Converged()
    checker.begin(mesh)
    owner = await restored(mesh)
    assert checker.finish(mesh) == ""  # it learns, and may have any of its branches yet
    await mesh.eventually(lambda: not owner.up.parts.database.adopting, within=60)
    assert checker.finish(mesh) == ""
    mirror = mesh.servers[2]
    with mesh.partition({mirror}, {owner, mesh.servers[0]}):
        await owner.create("Note", {"text": "again"})
        await mesh.sleep(5)
        assert "1.2 has " in checker.finish(mesh)
        assert "updates of 1.1's data feed" in checker.finish(mesh)
    await mesh.eventually(lambda: checker.finish(mesh) == "", within=60)
    assert checker.unjudged == ""


@simulate(nodes=3, seeds=1)
async def test_a_mirror_that_keeps_to_another_branch_is_named(mesh: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adopting, "adopt", signs_at_once)
    checker = Converged()
    checker.begin(mesh)
    owner = await restored(mesh)
    await mesh.sleep(1)
    for _ in range(10):
        await owner.create("Note", {"text": "another"})
    await mesh.sleep(10)
    assert checker.finish(mesh) == ""
    assert checker.unjudged == "not judged: 1.2 has another history of 1.1's data feed"
