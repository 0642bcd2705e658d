"""Packets that are opened twice are noticed; links and liars that say them twice accuse nobody."""

from __future__ import annotations

from typing import Any

import pytest

from simulations.check_packets import PacketsOnce
from simulations.hostile import turn
from simulations.links import Link
from simulations.plugin import simulate
from simulations.promises import PromiseBroken
from simulations.world import World
from tests.simulations.machine_lab import begin
from transport.ranges import Ranges
from transport.sealing import Opener


@simulate(nodes=4, seeds=3, link=Link(delay=0.02, jitter=0.03, loss=0.05, duplicate=0.3))
async def test_links_that_say_packets_twice_accuse_nobody(mesh: World) -> None:
    mesh.watch(PacketsOnce)
    note = await begin(mesh)
    _, owner, mirror, liar = mesh.servers
    turn(liar, "replays")
    for number in range(20):
        await owner.update(note, text=f"{number}")
        await mesh.sleep(0.5)
    connections = [each for server in (owner, mirror) for each in server.up.parts.endpoint._connections.values()]
    assert sum(each._opener.replayed for each in connections) > 0  # there was something to see
    mesh.check(PacketsOnce)


@simulate(nodes=3, seeds=1, link=Link(delay=0.02, duplicate=0.2))
async def test_who_opens_a_packet_again_is_accused(mesh: World, monkeypatch: pytest.MonkeyPatch) -> None:
    checker = PacketsOnce()
    checker.begin(mesh)
    opens = Opener.open_untrusted

    def open_again(self: Any, packet: memoryview) -> Any:
        known, self.received = self.received, Ranges()
        try:
            return opens(self, packet)
        finally:
            for first, last in self.received:
                known.add(first, last)
            self.received = known

    monkeypatch.setattr(Opener, "open_untrusted", open_again)
    await mesh.sleep(10)
    with pytest.raises(PromiseBroken, match=r"opened \d+ packets of a connection with 1.*, of \d+ different numbers"):
        checker.look(mesh)
