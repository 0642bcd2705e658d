"""Streams on the virtual network: what faults do to them. Their contract is tests/contracts/test_streams.py."""

from __future__ import annotations

import errno
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from identity.errors import Refused
from simulations import engine
from simulations.nat import TCP, UDP, Wall
from simulations.network import Link, SimulatedNetwork
from simulations.stream_ends import BACKLOG, CONNECT_S, GIVE_UP_S
from simulations.streams import SimulatedStream
from simulations.trace import Trace


def run(story: Callable[[SimulatedNetwork], Awaitable[object]], *, link: Link | None = None, seed: int = 1) -> Any:
    async def main(agenda: engine.Agenda) -> object:
        network = SimulatedNetwork(agenda, random.Random(seed), Trace(), default=link)
        await story(network)
        return network.trace.hash

    return engine.run(main, seed=seed)


async def pair(network: SimulatedNetwork) -> tuple[SimulatedStream, SimulatedStream]:
    listener = await network.host("1.2").listen(443)
    left = await network.host("1.1").open_stream("1.2", 443)
    return left, await listener.accept()


def test_a_stream_is_opened_in_a_round_trip_and_carries_bytes() -> None:
    async def story(network: SimulatedNetwork) -> None:
        left, right = await pair(network)
        assert network.agenda.now == pytest.approx(0.1)
        assert right.local == left.peer == ("1.2", 443)
        assert right.peer == left.local
        await left.send_all(b"hello")
        assert await right.receive_some() == b"hello"
        assert network.agenda.now == pytest.approx(0.15)

    run(story, link=Link(delay=0.05, jitter=0.0))


def test_a_cut_stalls_a_stream_and_mending_lets_it_go_on() -> None:
    async def story(network: SimulatedNetwork) -> None:
        left, right = await pair(network)
        network.cut("1.1", "1.2")
        await left.send_all(b"late")
        with trio.move_on_after(20):
            await right.receive_some()
            raise AssertionError("it came through a cut")
        network.mend("1.1", "1.2")
        assert await right.receive_some() == b"late"

    run(story)


def test_acknowledgements_go_by_the_other_direction() -> None:
    async def story(network: SimulatedNetwork) -> None:
        left, right = await pair(network)
        network.cut("1.2", "1.1")
        await left.send_all(b"once")
        assert await right.receive_some() == b"once"
        network.mend("1.2", "1.1")
        await left.send_eof()
        assert await right.receive_some() == b""  # what was sent again came once

    run(story)


def test_who_is_never_heard_breaks_after_long() -> None:
    async def story(network: SimulatedNetwork) -> None:
        left, _ = await pair(network)
        network.cut("1.1", "1.2")
        begun = network.agenda.now
        await left.send_all(b"lost")
        with pytest.raises(trio.BrokenResourceError, match="the peer was not heard"):
            await left.receive_some()
        assert GIVE_UP_S <= network.agenda.now - begun <= GIVE_UP_S + 31
        with pytest.raises(trio.BrokenResourceError):
            await left.send_all(b"more")

    run(story)


def test_a_reader_may_take_its_time_as_long_as_it_is_there() -> None:
    async def story(network: SimulatedNetwork) -> None:
        left, right = await pair(network)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(left.send_all, bytes(200_000))
            await trio.sleep(3 * GIVE_UP_S)
            received = 0
            while received < 200_000:
                received += len(await right.receive_some(10_000))
                await trio.sleep(1)

    run(story)


def test_who_reads_again_is_sent_to_at_once() -> None:
    async def story(network: SimulatedNetwork) -> None:
        left, right = await pair(network)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(left.send_all, bytes(140_000))
            await trio.sleep(500)
            begun, received = network.agenda.now, 0
            while received < 140_000:
                received += len(await right.receive_some())
            assert network.agenda.now - begun < 2  # not when the sender next asks

    run(story)


def test_whoever_closes_with_something_unread_says_that_it_was_not_read() -> None:
    async def story(network: SimulatedNetwork) -> None:
        left, right = await pair(network)
        await left.send_all(b"unread")
        await trio.sleep(1)
        await right.aclose()
        with pytest.raises(trio.BrokenResourceError, match="reset"):
            await left.receive_some()

    run(story)


def test_what_comes_again_is_not_kept() -> None:
    async def story(network: SimulatedNetwork) -> None:
        left, right = await pair(network)
        for _ in range(20):
            await left.send_all(b"once")
            assert await right.receive_some() == b"once"
        await trio.sleep(10)
        assert right._end._early == {}

    run(story, link=Link(duplicate=1.0))


def test_a_call_that_nobody_hears_times_out() -> None:
    async def story(network: SimulatedNetwork) -> None:
        network.cut("1.1", "1.2")
        with pytest.raises(TimeoutError) as caught:
            await pair(network)
        assert caught.value.errno == errno.ETIMEDOUT
        assert CONNECT_S <= network.agenda.now <= CONNECT_S + 1

    run(story)


def test_a_firewall_that_lets_only_udp_through_swallows_streams() -> None:
    async def story(network: SimulatedNetwork) -> None:
        network.build(Wall(["1.1"], mapping="none", anybody=True, passes=(UDP,)))
        with pytest.raises(TimeoutError):
            await pair(network)
        port = await network.host("1.2").open_datagram_port("", 7000)
        network.send(("1.1", 7000), ("1.2", 7000), b"passes")
        await port.wait_readable()
        assert network.leave(("1.1", 1), ("1.2", 2), "tcp") is None

    run(story)


def test_a_firewall_that_lets_only_tcp_through_swallows_datagrams_both_ways() -> None:
    """What a scenario refuses as yet: the ground is there for the day on which the transport speaks over streams."""

    async def story(network: SimulatedNetwork) -> None:
        network.build(Wall(["1.1"], mapping="none", anybody=True, passes=(TCP,)))
        left, right = await pair(network)
        await left.send_all(b"passes")
        assert await right.receive_some() == b"passes"
        for one, other in (("1.1", "1.2"), ("1.2", "1.1")):
            await network.host(other).open_datagram_port("", 7000)
            network.send((one, 7000), (other, 7000), b"vanishes")
        await trio.sleep(1)
        drops = [line.split(maxsplit=1)[1] for line in network.trace.lines() if " drop " in line]
        assert drops == ["drop 1.1 1.2 8 wall", "drop 1.2 1.1 8 wall"]
        assert network.delivered == 0

    run(story)


def test_a_nat_lets_streams_out_and_breaks_them_when_it_binds_anew() -> None:
    async def story(network: SimulatedNetwork) -> None:
        network.build(Wall(["1.1"]))
        left, right = await pair(network)
        assert right.peer != left.local
        await right.send_all(b"in")
        assert await left.receive_some() == b"in"
        network.rebind("1.1")
        await left.send_all(b"from elsewhere")
        with pytest.raises(trio.BrokenResourceError, match="reset"):
            await left.receive_some()
        with pytest.raises(OSError, match="nobody answered"):
            await network.host("1.2").open_stream("1.1", 443)

    run(story)


def test_a_host_that_loses_its_power_says_nothing_and_its_peer_learns_by_asking() -> None:
    async def story(network: SimulatedNetwork) -> None:
        left, right = await pair(network)
        network.streams.unplug("1.2")
        with trio.move_on_after(100):
            await left.receive_some()
            raise AssertionError("somebody told")
        with pytest.raises(trio.ClosedResourceError):
            await right.receive_some()
        await left.send_all(b"are you there?")
        with pytest.raises(trio.BrokenResourceError):
            await left.receive_some()

    run(story)


def test_a_listener_that_accepts_nobody_drops_the_next() -> None:
    async def story(network: SimulatedNetwork) -> None:
        listener = await network.host("1.2").listen(443)
        for _ in range(BACKLOG):
            await network.host("1.1").open_stream("1.2", 443)
        with trio.move_on_after(10):
            await network.host("1.1").open_stream("1.2", 443)
            raise AssertionError("more than its backlog")
        await listener.accept()
        await network.host("1.1").open_stream("1.2", 443)
        await listener.aclose()

    run(story)


def test_a_port_in_use_is_refused() -> None:
    async def story(network: SimulatedNetwork) -> None:
        listener = await network.host("1.2").listen(443)
        with pytest.raises(Refused, match=r"port 443 of 1\.2 is in use"):
            await network.host("1.2").listen(443)
        await network.host("1.3").listen(443)
        await listener.aclose()
        await network.host("1.2").listen(443)

    run(story)


def test_streams_replay_from_the_seed() -> None:
    async def story(network: SimulatedNetwork) -> None:
        left, right = await pair(network)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(left.send_all, bytes(100_000))
            received = 0
            while received < 100_000:
                received += len(await right.receive_some())

    bad = Link(loss=0.1, jitter=0.1, corrupt=0.05)
    assert run(story, link=bad, seed=1) == run(story, link=bad, seed=1) != run(story, link=bad, seed=2)
