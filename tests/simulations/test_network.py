"""The virtual network: what its links' rules say happens to a datagram, and the same every time."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import pytest

from identity.errors import Refused
from identity.machine import Batch
from simulations import engine
from simulations.network import Link, SimulatedNetwork, SimulatedPort
from simulations.trace import Trace, first_difference


def run(story: Callable[[SimulatedNetwork], Awaitable[object]], *, link: Link | None = None, seed: int = 1) -> object:
    async def main(agenda: engine.Agenda) -> object:
        return await story(SimulatedNetwork(agenda, random.Random(seed), Trace(), default=link))

    return engine.run(main, seed=seed)


async def pair(network: SimulatedNetwork) -> tuple[SimulatedPort, SimulatedPort]:
    left = await network.host("1.1").open_datagram_port("", 7000)
    right = await network.host("1.2").open_datagram_port("", 7000)
    return left, right


def batch(*datagrams: bytes, to: SimulatedPort) -> Batch:
    return Batch(memoryview(b"".join(datagrams)), len(datagrams[0]), to.address)


async def receive_all(port: SimulatedPort, *, seconds: float) -> list[bytes]:
    import trio

    await trio.sleep(seconds)
    buffer = memoryview(bytearray(65536))
    received = []
    while (got := port.receive_into(buffer)) is not None:
        length, size, _ = got
        received += [bytes(buffer[at : min(at + size, length)]) for at in range(0, length, size)]
    return received


def test_a_batch_arrives_after_the_links_delay() -> None:
    async def story(network: SimulatedNetwork) -> None:
        left, right = await pair(network)
        left.send_batch(batch(b"one.", b"two.", b"3", to=right))
        assert await receive_all(right, seconds=0.019) == []
        assert sorted(await receive_all(right, seconds=0.01)) == [b"3", b"one.", b"two."]

    run(story, link=Link(delay=0.02, jitter=0.0))


def test_a_cut_is_one_way_and_heals() -> None:
    async def story(network: SimulatedNetwork) -> None:
        left, right = await pair(network)
        network.cut("1.1", "1.2")
        left.send_batch(batch(b"lost", to=right))
        right.send_batch(batch(b"kept", to=left))
        assert await receive_all(right, seconds=1) == []
        assert await receive_all(left, seconds=1) == [b"kept"]
        network.heal()
        left.send_batch(batch(b"here", to=right))
        assert await receive_all(right, seconds=1) == [b"here"]

    run(story)


def test_a_partition_cuts_between_groups_only() -> None:
    async def story(network: SimulatedNetwork) -> None:
        network.part(["1", "1.1"], ["1.2"])
        cut = {(a, b) for a in ("1", "1.1", "1.2") for b in ("1", "1.1", "1.2") if network.link(a, b).cut}
        assert cut == {("1", "1.2"), ("1.1", "1.2"), ("1.2", "1"), ("1.2", "1.1")}

    run(story)


def test_loss_and_duplication_come_as_often_as_was_said() -> None:
    async def story(network: SimulatedNetwork) -> int:
        left, right = await pair(network)
        for _ in range(1000):
            left.send_batch(batch(b"x", to=right))
        return len(await receive_all(right, seconds=1))

    assert 700 < int(str(run(story, link=Link(loss=0.25)))) < 800
    assert 1200 < int(str(run(story, link=Link(duplicate=0.25)))) < 1300


def test_the_same_seed_gives_the_same_trace() -> None:
    traces = []

    async def story(network: SimulatedNetwork) -> None:
        left, right = await pair(network)
        for number in range(50):
            left.send_batch(batch(bytes([number]), to=right))
        await receive_all(right, seconds=1)
        traces.append(network.trace)

    for seed in (1, 1, 2):
        run(story, link=Link(loss=0.2, jitter=0.05), seed=seed)
    assert traces[0].hash == traces[1].hash != traces[2].hash
    assert not first_difference(traces[0], traces[1])
    assert first_difference(traces[0], traces[2])


def test_a_port_in_use_and_impossible_rules_are_refused() -> None:
    async def story(network: SimulatedNetwork) -> None:
        await pair(network)
        with pytest.raises(Refused, match=r"port 7000 of 1\.1 is in use"):
            await network.host("1.1").open_datagram_port("", 7000)

    run(story)
    with pytest.raises(Refused, match="chance"):
        Link(loss=2)
