"""A packet that circles is noticed, and one that its source repeats is not, however much is handed on meanwhile."""

from __future__ import annotations

import pytest

from identity.names import ServerId
from routing.probes import Forward
from routing.ways import HandOn
from simulations.check_loops import KEPT, OFTEN, NoLoops
from simulations.plugin import simulate
from simulations.promises import PromiseBroken
from simulations.world import World

PATH = tuple(ServerId.parse(name) for name in ("1.1", "1", "1.2"))


def hand_on(mesh: World, server: str, packet: bytes, *, times: int = 1) -> None:
    for _ in range(times):
        mesh.ledger.observer(server)(HandOn(PATH[2], Forward(PATH, 1, packet)), mesh.now)


@simulate(nodes=3, seeds=1)
async def test_who_hands_one_packet_on_again_and_again_is_accused(mesh: World) -> None:
    checker = NoLoops()
    checker.begin(mesh)
    hand_on(mesh, "1.1", b"once")
    hand_on(mesh, "1", b"once", times=OFTEN)
    checker.look(mesh)
    hand_on(mesh, "1", b"once")
    with pytest.raises(PromiseBroken, match=r"1 handed on one packet 5 times, at last along 1\.1!1!1\.2"):
        checker.look(mesh)


@simulate(nodes=3, seeds=1)
async def test_what_its_source_repeats_is_good_in_a_busy_mesh_too(mesh: World) -> None:
    """A hundred servers handed on more than was remembered between the source's repeats and a far hop's."""
    checker = NoLoops()
    checker.begin(mesh)
    hand_on(mesh, "1.1", b"repeated", times=OFTEN + 1)
    for number in range(KEPT + 1):
        hand_on(mesh, "1.1", b"%d" % number)
    hand_on(mesh, "1", b"repeated", times=OFTEN + 1)
    checker.look(mesh)
