"""What a datagram port must do, checked on every implementation (`transport.ports`)."""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from identity.errors import Refused
from identity.machine import Batch
from identity.names import ServerId
from node.blocking import Blocking
from transport.ports import MAX_READ_BYTES, DatagramPort, Network, Timer
from transport.sockets import UdpNetwork

Story = Callable[["Ground"], Awaitable[None]]


class Ground:
    """Where a story takes place: one network for each of two hosts, and their names."""

    def __init__(self, networks: tuple[Network, Network], hosts: tuple[str, str]) -> None:
        self.networks = networks
        self.hosts = hosts

    async def pair(self) -> tuple[DatagramPort, DatagramPort]:
        left = await self.networks[0].open_datagram_port(self.hosts[0], 0)
        right = await self.networks[1].open_datagram_port(self.hosts[1], 0)
        return left, right


class BlockingNetwork:
    """A network whose ports can be blocked, and block a server that is not concerned (`node.blocking`)."""

    def __init__(self, network: Network) -> None:
        self._network = network

    async def open_datagram_port(self, host: str, port: int) -> DatagramPort:
        opened = await self._network.open_datagram_port(host, port)
        return Blocking(opened, lambda server, address: False, {ServerId.parse("1.9"): "both"})


def run_real(story: Story, *, plain: bool, blocking: bool = False) -> None:
    network: Network = UdpNetwork(plain=plain)
    if blocking:
        network = BlockingNetwork(network)

    async def main() -> None:
        with trio.fail_after(10):
            await story(Ground((network, network), ("127.0.0.1", "127.0.0.1")))

    trio.run(main)


def run_simulated(story: Story, *, blocking: bool = False) -> None:
    from simulations import engine
    from simulations.network import Link, SimulatedNetwork
    from simulations.trace import Trace

    async def main(agenda: Any) -> None:
        network = SimulatedNetwork(agenda, random.Random(1), Trace(), default=Link(delay=0.01, jitter=0.0))
        with trio.fail_after(10):
            hosts: list[Network] = [network.host("left"), network.host("right")]
            left, right = map(BlockingNetwork, hosts) if blocking else hosts
            await story(Ground((left, right), ("left", "right")))

    engine.run(main, seed=1)


@pytest.fixture(params=["real", "plain", "simulated", "blocking real", "blocking plain", "blocking simulated"])
def run(request: pytest.FixtureRequest) -> Callable[[Story], None]:
    blocking = request.param.startswith("blocking")
    if request.param.endswith("simulated"):
        return lambda story: run_simulated(story, blocking=blocking)
    return lambda story: run_real(story, plain=request.param.endswith("plain"), blocking=blocking)


def batch(*datagrams: bytes, to: DatagramPort) -> Batch:
    return Batch(memoryview(b"".join(datagrams)), len(datagrams[0]), to.address)


async def receive(port: DatagramPort, count: int) -> list[tuple[bytes, tuple[str, int]]]:
    """The next `count` datagrams, each with its sender."""
    buffer = memoryview(bytearray(MAX_READ_BYTES))
    received: list[tuple[bytes, tuple[str, int]]] = []
    while len(received) < count:
        got = port.receive_into(buffer)
        if got is None:
            await port.wait_readable()
            continue
        length, size, sender = got
        assert 0 < size <= length
        received += [(bytes(buffer[at : min(at + size, length)]), sender) for at in range(0, length, size)]
    return received


def test_a_datagram_arrives_with_its_sender(run: Callable[[Story], None]) -> None:
    async def story(ground: Ground) -> None:
        left, right = await ground.pair()
        assert left.receive_into(memoryview(bytearray(MAX_READ_BYTES))) is None
        assert left.send_batch(batch(b"hello", to=right))
        assert await receive(right, 1) == [(b"hello", left.address)]
        assert right.send_batch(batch(b"and back", to=left))
        assert await receive(left, 1) == [(b"and back", right.address)]

    run(story)


@pytest.mark.parametrize(("count", "size", "last"), [(1, 1400, 1400), (46, 1400, 30), (64, 1000, 1000), (3, 16384, 1)])
def test_a_batch_arrives_as_its_datagrams(run: Callable[[Story], None], count: int, size: int, last: int) -> None:
    async def story(ground: Ground) -> None:
        left, right = await ground.pair()
        chance = random.Random(3)
        sent = [chance.randbytes(size) for _ in range(count - 1)] + [chance.randbytes(last)]
        assert left.send_batch(Batch(memoryview(b"".join(sent)), size, right.address))
        came = await receive(right, count)
        assert sorted(data for data, _ in came) == sorted(sent)

    run(story)


def test_a_port_that_nobody_opened_harms_nobody(run: Callable[[Story], None]) -> None:
    async def story(ground: Ground) -> None:
        left, right = await ground.pair()
        gone = right.address
        right.close()
        for _ in range(5):
            assert left.send_batch(Batch(memoryview(b"anybody?"), 8, gone))
            await trio.sleep(0.01)
            assert left.receive_into(memoryview(bytearray(MAX_READ_BYTES))) is None
        other = await ground.networks[1].open_datagram_port(ground.hosts[1], 0)
        other.send_batch(batch(b"still here", to=left))
        assert (await receive(left, 1))[0][0] == b"still here"

    run(story)


def test_a_port_in_use_is_refused_with_its_number_and_what_to_do(run: Callable[[Story], None]) -> None:
    async def story(ground: Ground) -> None:
        left, _ = await ground.pair()
        with pytest.raises(Refused) as caught:
            await ground.networks[0].open_datagram_port(*left.address)
        assert str(left.address[1]) in caught.value.cause
        assert caught.value.next_step
        left.close()
        again = await ground.networks[0].open_datagram_port(*left.address)
        assert again.address == left.address

    run(story)


def test_a_closed_port_says_so_and_wakes_who_waits(run: Callable[[Story], None]) -> None:
    async def story(ground: Ground) -> None:
        left, right = await ground.pair()

        async def read_for_ever() -> None:
            while True:
                await left.wait_readable()
                left.receive_into(memoryview(bytearray(MAX_READ_BYTES)))

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await read_for_ever()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            left.close()
        left.close()
        with pytest.raises(trio.ClosedResourceError):
            left.receive_into(memoryview(bytearray(MAX_READ_BYTES)))
        with pytest.raises(trio.ClosedResourceError):
            left.send_batch(batch(b"x", to=right))

    run(story)


def test_waiting_to_write_ends(run: Callable[[Story], None]) -> None:
    async def story(ground: Ground) -> None:
        left, _ = await ground.pair()
        await left.wait_writable()

    run(story)


# -- timers: in real time, so what is waited for is short, and nothing is said of how late it is


async def come_due(timer: Timer, *deadlines: float) -> list[float]:
    """When the timer called, which was set to one after the other."""
    came: list[float] = []
    waiting = list(deadlines)
    timer.deadline = waiting.pop(0)
    with trio.CancelScope() as scope:

        def act() -> None:
            came.append(trio.current_time())
            if waiting:
                timer.deadline = waiting.pop(0)
            else:
                timer.deadline = math.inf
                scope.cancel()

        await timer.each_due(act)
    return came


def test_a_timer_calls_at_each_deadline_and_at_once_when_that_has_passed(run: Callable[[Story], None]) -> None:
    async def story(ground: Ground) -> None:
        left, right = await ground.pair()
        timer, other = left.timer(), right.timer()
        at = trio.current_time() + 0.02
        first, passed, later = await come_due(timer, at, at - 1.0, at + 0.02)
        assert at <= first <= passed
        assert later >= at + 0.02
        again = trio.current_time() + 0.01
        (one,) = await come_due(other, again)
        assert one >= again

    run(story)


@pytest.mark.parametrize("moves", [(9.0, 0.02), (0.02, 0.05), (9.0, 0.05, 0.02), (0.02, 9.0, 0.05), (9.0, 8.0, 0.02)])
def test_a_timer_may_be_moved_while_it_is_waited_for(run: Callable[[Story], None], moves: tuple[float, ...]) -> None:
    async def story(ground: Ground) -> None:
        left, _ = await ground.pair()
        timer = left.timer()
        begun = trio.current_time()
        came: list[float] = []

        async def wait() -> None:
            came.extend(await come_due(timer, begun + moves[0]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            for move in moves[1:]:
                await trio.testing.wait_all_tasks_blocked()
                timer.deadline = begun + move
        assert moves[-1] <= came[0] - begun < 5.0

    run(story)


def test_a_timer_without_a_deadline_waits_until_it_is_cancelled_and_can_be_waited_for_again(
    run: Callable[[Story], None],
) -> None:
    async def story(ground: Ground) -> None:
        left, _ = await ground.pair()
        timer = left.timer()
        assert timer.deadline == math.inf
        with trio.move_on_after(0.02) as scope:
            await timer.each_due(lambda: pytest.fail("nothing was due"))
        assert scope.cancelled_caught
        at = trio.current_time() + 0.02
        assert (await come_due(timer, at))[0] >= at

    run(story)


def test_what_a_timer_or_a_port_calls_may_raise_and_whoever_waits_gets_it(run: Callable[[Story], None]) -> None:
    async def story(ground: Ground) -> None:
        left, right = await ground.pair()

        def fail() -> None:
            raise ZeroDivisionError

        timer = left.timer()
        timer.deadline = trio.current_time() + 0.01
        with pytest.raises(ZeroDivisionError):
            await timer.each_due(fail)
        assert left.send_batch(batch(b"hello", to=right))
        with pytest.raises(ZeroDivisionError):
            await right.each_readable(fail)
        assert await receive(right, 1) == [(b"hello", left.address)]

    run(story)


def test_a_port_calls_whenever_something_came_also_when_not_all_was_taken(run: Callable[[Story], None]) -> None:
    async def story(ground: Ground) -> None:
        left, right = await ground.pair()
        buffer = memoryview(bytearray(MAX_READ_BYTES))
        came: list[bytes] = []
        others = 0

        def take_one() -> None:
            got = right.receive_into(buffer)
            if got is not None:
                came.append(bytes(buffer[: got[0]]))
            if len(came) == 3:
                scope.cancel()

        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(right.each_readable, take_one)
                await trio.testing.wait_all_tasks_blocked()
                for data in (b"a", b"longer than the one before"):  # two sizes: one buffer never takes both
                    assert left.send_batch(batch(data, to=right))
                while len(came) < 2:
                    others += 1
                    await trio.sleep(0.001)
                assert left.send_batch(batch(b"and later", to=right))
        assert sorted(came) == [b"a", b"and later", b"longer than the one before"]
        assert others

    run(story)


def test_who_waits_at_a_port_that_is_closed_is_told(run: Callable[[Story], None]) -> None:
    async def story(ground: Ground) -> None:
        left, _ = await ground.pair()
        buffer = memoryview(bytearray(MAX_READ_BYTES))

        def take() -> None:
            left.receive_into(buffer)

        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await left.each_readable(take)

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            left.close()
        with pytest.raises(trio.ClosedResourceError):
            await left.each_readable(lambda: None)

    run(story)
