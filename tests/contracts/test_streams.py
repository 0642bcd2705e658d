"""What a byte stream must do: trio's own suite, and stories that hold on a real socket and on the virtual network."""

from __future__ import annotations

import random
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import pytest
import trio
import trio.testing

Streams = tuple[Any, Any]


class Ground(Protocol):
    """Where a story takes place: a listener, and how it is called."""

    async def listen(self) -> Any: ...
    async def connect(self, listener: Any) -> Any: ...


Story = Callable[[Ground], Awaitable[None]]


class Real:
    async def listen(self) -> Any:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        return listener

    async def connect(self, listener: Any) -> Any:
        return await trio.open_tcp_stream(*listener.socket.getsockname())


class Simulated:
    def __init__(self, network: Any) -> None:
        self.network = network

    async def listen(self) -> Any:
        return await self.network.host("right").listen(0)

    async def connect(self, listener: Any) -> Any:
        return await self.network.host("left").open_stream(*listener.address)


def simulated(story: Callable[[Simulated], Awaitable[None]], **rules: Any) -> None:
    from simulations import engine
    from simulations.network import Link, SimulatedNetwork
    from simulations.trace import Trace

    async def main(agenda: Any) -> None:
        link = Link(**{"delay": 0.01, "jitter": 0.0, **rules})
        with trio.fail_after(100_000):
            await story(Simulated(SimulatedNetwork(agenda, random.Random(1), Trace(), default=link)))

    engine.run(main, seed=1)


def real(story: Story) -> None:
    async def main() -> None:
        with trio.fail_after(20):
            await story(Real())

    trio.run(main)


LINES: dict[str, dict[str, Any]] = {
    "good": {},
    "bad": {"jitter": 0.05, "loss": 0.05, "duplicate": 0.1},
    "vile": {"loss": 0.1, "burst": 3.0, "corrupt": 0.1, "reorder": 0.2, "mtu": 1228, "rate": 1e6},
}


@pytest.fixture(params=["real", *LINES])
def run(request: pytest.FixtureRequest) -> Callable[[Story], None]:
    if request.param == "real":
        return real
    return lambda story: simulated(story, **LINES[request.param])


async def pair(ground: Ground) -> Streams:
    listener = await ground.listen()
    left = await ground.connect(listener)
    right = await listener.accept()
    await listener.aclose()
    return left, right


async def read_all(stream: Any) -> bytes:
    return b"".join([chunk async for chunk in stream])


async def is_clogged(stream: Any) -> bool:
    """Send as much as goes; whether nothing went at all: also what was lost on the way has then arrived."""
    sent = 0
    with trio.move_on_after(100):
        while True:
            await stream.wait_send_all_might_not_block()
            await stream.send_all(bytes(1000))
            sent += 1
    return not sent


@pytest.mark.parametrize("line", ["good", "bad"])  # on a vile one nobody knows when a stream is clogged for good
def test_trio_s_own_suite_of_streams_holds(line: str) -> None:
    async def story(ground: Simulated) -> None:
        async def make() -> Streams:
            return await pair(ground)

        async def make_clogged() -> Streams:
            left, right = await make()
            for stream in (left, right):
                while not await is_clogged(stream):
                    pass
            return left, right

        await trio.testing.check_half_closeable_stream(make, make_clogged)

    simulated(story, **LINES[line])


def test_bytes_arrive_in_order_and_both_ways(run: Callable[[Story], None]) -> None:
    async def story(ground: Ground) -> None:
        left, right = await pair(ground)
        chance = random.Random(1)
        there, back = chance.randbytes(300_000), chance.randbytes(100_000)
        got: dict[str, bytes] = {}

        async def send(stream: Any, data: bytes) -> None:
            await stream.send_all(data)
            await stream.send_eof()

        async def receive(name: str, stream: Any) -> None:
            got[name] = await read_all(stream)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, left, there)
            nursery.start_soon(send, right, back)
            nursery.start_soon(receive, "there", right)
            nursery.start_soon(receive, "back", left)
        assert got == {"there": there, "back": back}
        await left.aclose()
        await right.aclose()

    run(story)


def test_where_nobody_listens_the_call_is_refused(run: Callable[[Story], None]) -> None:
    async def story(ground: Ground) -> None:
        listener = await ground.listen()
        if isinstance(ground, Real):
            address = listener.socket.getsockname()
            await listener.aclose()
            with pytest.raises(OSError, match=r"127\.0\.0\.1"):
                await trio.open_tcp_stream(*address)
        else:
            await listener.aclose()
            with pytest.raises(ConnectionRefusedError, match="nobody listens"):
                await ground.connect(listener)

    run(story)


def test_who_is_closed_while_something_is_unread_resets_the_other(run: Callable[[Story], None]) -> None:
    async def story(ground: Ground) -> None:
        left, right = await pair(ground)
        await left.send_all(b"unread")
        await trio.sleep(0.1 if isinstance(ground, Real) else 60)
        await right.aclose()

        async def send_for_ever() -> None:
            while True:
                await left.send_all(bytes(10_000))
                await trio.sleep(0.01)

        with pytest.raises(trio.BrokenResourceError):
            await send_for_ever()

    run(story)


def test_a_sender_waits_for_a_receiver_that_does_not_read(run: Callable[[Story], None]) -> None:
    async def story(ground: Ground) -> None:
        left, right = await pair(ground)
        if isinstance(ground, Real):
            left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        sent = 0
        with trio.move_on_after(0.5 if isinstance(ground, Real) else 300) as scope:
            while True:
                await left.send_all(bytes(1000))
                sent += 1000
        assert scope.cancelled_caught

        async def finish() -> None:
            await left.send_all(b"end")
            await left.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(finish)
            received = await read_all(right)
        assert received.endswith(b"end")
        assert sent <= len(received) - 3 <= sent + 1000  # the last may have gone in part when it was cancelled

    run(story)


def test_a_closed_listener_says_so_and_wakes_who_waits(run: Callable[[Story], None]) -> None:
    async def story(ground: Ground) -> None:
        listener = await ground.listen()

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await listener.accept()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            await listener.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await listener.accept()

    run(story)
