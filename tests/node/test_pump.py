"""The loop: what came in is seen before any deadline is judged, and what goes out leaves in batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import trio
import trio.testing

from identity.machine import Batch
from node.pump import MAX_ROUNDS, Pump
from transport.sockets import ScopeTimer

ADDRESS = ("10.0.0.1", 7)


class FakePort:
    """A port that gives what was put into it and keeps what was sent."""

    def __init__(self) -> None:
        self.waiting: list[bytes] = []
        self.sent: list[bytes] = []
        self.blocked = False
        self._readable = trio.Event()
        self._writable = trio.Event()

    def arrive(self, data: bytes) -> None:
        self.waiting.append(data)
        self._readable.set()

    def unblock(self) -> None:
        self.blocked = False
        self._writable.set()

    def receive_into(self, buffer: memoryview) -> tuple[int, int, Any] | None:
        if not self.waiting:
            self._readable = trio.Event()
            return None
        data = self.waiting.pop(0)
        buffer[: len(data)] = data
        return len(data), len(data), ADDRESS

    def send_batch(self, batch: Batch) -> bool:
        if self.blocked:
            return False
        self.sent.append(bytes(batch.buffer))
        return True

    def timer(self) -> ScopeTimer:
        return ScopeTimer()

    async def each_readable(self, act: Callable[[], None]) -> None:
        while True:
            await self._readable.wait()
            await trio.lowlevel.checkpoint()
            act()

    async def wait_writable(self) -> None:
        await self._writable.wait()


class Echo:
    """A transmitter that answers each datagram with itself, and notes the order of everything."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.due = math.inf
        self.waiting: list[bytes] = []
        self.outputs: list[Any] = []

    def handle_datagrams(self, buffer: memoryview, segment_size: int, address: Any, now: float) -> None:
        data = bytes(buffer)
        self.seen.append(f"datagram {data.decode()}")
        self.waiting.append(data)
        self.outputs.append(data)

    def transmit(self, now: float) -> Batch | None:
        return Batch(memoryview(self.waiting.pop(0)), 1, ADDRESS) if self.waiting else None

    def deadline(self) -> float:
        return self.due

    def handle_deadline(self, now: float) -> None:
        self.seen.append(f"deadline at {now:.0f}")
        self.due = math.inf

    def take_outputs(self) -> list[Any]:
        outputs, self.outputs = self.outputs, []
        return outputs


class World:
    def __init__(self, nursery: trio.Nursery, echo: Echo | None = None) -> None:
        self.port = FakePort()
        self.echo = echo or Echo()
        self.carried: list[Any] = []
        self.pump = Pump(self.port, self.echo, (), lambda output, now: self.carried.append(output))  # type: ignore[arg-type]
        nursery.start_soon(self.pump.run)


async def test_a_datagram_goes_in_and_its_answer_out(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        await trio.testing.wait_all_tasks_blocked()
        world.port.arrive(b"a")
        await trio.testing.wait_all_tasks_blocked()
        assert world.port.sent == [b"a"]
        assert world.carried == [b"a"]
        nursery.cancel_scope.cancel()


async def test_sockets_are_drained_before_deadlines_are_judged(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        world.echo.due = trio.current_time() + 5
        world.pump.touch()
        await trio.testing.wait_all_tasks_blocked()
        # The datagram came while this node was busy: nobody told the reader, and the deadline wakes it first.
        world.port.waiting.append(b"late")
        await trio.sleep(6)
        assert world.echo.seen == ["datagram late", "deadline at 5"]
        nursery.cancel_scope.cancel()


async def test_the_timer_follows_the_earliest_deadline(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        await trio.testing.wait_all_tasks_blocked()
        world.echo.due = trio.current_time() + 20
        world.pump.touch()
        await trio.sleep(1)
        world.echo.due = 7.0  # earlier than what the timer was set for
        world.pump.touch()
        await trio.sleep(9)
        assert world.echo.seen == ["deadline at 7"]
        world.echo.due = 50.0
        world.pump.touch()
        await trio.sleep(100)
        assert world.echo.seen == ["deadline at 7", "deadline at 50"]
        nursery.cancel_scope.cancel()


async def test_no_turn_is_taken_for_a_deadline_that_moved_later(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        await trio.testing.wait_all_tasks_blocked()
        world.echo.due = 10.0
        world.pump.touch()
        await trio.sleep(1)
        world.echo.due = 30.0
        world.pump.touch()
        await trio.sleep(1)
        turns = world.pump.turns
        await trio.sleep(20)
        assert world.pump.turns == turns
        await trio.sleep(20)
        assert world.echo.seen == ["deadline at 30"]
        nursery.cancel_scope.cancel()


async def test_many_touches_in_one_tick_are_one_turn(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        await trio.testing.wait_all_tasks_blocked()
        before = world.pump.turns
        for _ in range(100):
            world.pump.touch()
        await trio.testing.wait_all_tasks_blocked()
        assert world.pump.turns == before + 1
        nursery.cancel_scope.cancel()


async def test_a_port_that_blocks_keeps_the_batch_and_the_order(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        await trio.testing.wait_all_tasks_blocked()
        world.port.blocked = True
        for data in (b"a", b"b", b"c"):
            world.port.arrive(data)
        await trio.testing.wait_all_tasks_blocked()
        assert world.port.sent == []
        world.port.unblock()
        await trio.testing.wait_all_tasks_blocked()
        assert world.port.sent == [b"a", b"b", b"c"]
        nursery.cancel_scope.cancel()


async def test_an_output_that_speaks_to_a_machine_is_seen_to_in_the_same_turn(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        await trio.testing.wait_all_tasks_blocked()

        def carry_out(output: Any, now: float) -> None:
            world.carried.append(output)
            if output == b"a":
                world.echo.outputs.append("then this")
                world.echo.waiting.append(b"and this")
                world.pump.turn()  # as a word of the node's would; it must not turn inside a turn
                world.pump.touch()  # nor for its own sake after it

        world.pump._carry_out = carry_out
        before = world.pump.turns
        world.port.arrive(b"a")
        await trio.testing.wait_all_tasks_blocked()
        assert world.carried == [b"a", "then this"]
        assert world.port.sent == [b"a", b"and this"]
        assert world.pump.turns == before + 1
        nursery.cancel_scope.cancel()


async def test_what_a_datagram_makes_due_is_seen_to_at_once(autojump_clock: trio.testing.MockClock) -> None:
    class Hasty(Echo):
        def handle_datagrams(self, buffer: memoryview, segment_size: int, address: Any, now: float) -> None:
            super().handle_datagrams(buffer, segment_size, address, now)
            self.due = now

    async with trio.open_nursery() as nursery:
        world = World(nursery, Hasty())
        await trio.sleep(3)
        world.port.arrive(b"a")
        await trio.testing.wait_all_tasks_blocked()
        assert world.echo.seen == ["datagram a", "deadline at 3"]
        nursery.cancel_scope.cancel()


class Above:
    """A machine above the transmitter that counts how often it is asked for outputs."""

    def __init__(self) -> None:
        self.asked = 0
        self.due = math.inf
        self.outputs: list[Any] = []
        self.judged_at: list[float] = []

    def deadline(self) -> float:
        return self.due

    def handle_deadline(self, now: float) -> None:
        self.judged_at.append(now)
        self.due = math.inf
        self.outputs.append("late")

    def take_outputs(self) -> list[Any]:
        self.asked += 1
        outputs, self.outputs = self.outputs, []
        return outputs


class Silent(Echo):
    """A transmitter that answers datagrams, and tells nobody of them."""

    def take_outputs(self) -> list[Any]:
        return []


class Floors(World):
    """A world with a machine above the transmitter."""

    def __init__(self, nursery: trio.Nursery, echo: Echo) -> None:
        self.above = Above()
        self.port, self.echo = FakePort(), echo
        self.carried = []
        self.pump = Pump(self.port, echo, (self.above,), lambda output, now: self.carried.append(output))  # type: ignore[arg-type]
        nursery.start_soon(self.pump.run)


async def test_a_machine_that_nobody_spoke_to_is_not_asked(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        world = Floors(nursery, Silent())
        world.above.due = 5.0
        await trio.testing.wait_all_tasks_blocked()
        asked = world.above.asked
        for data in (b"a", b"b"):
            world.port.arrive(data)
            await trio.testing.wait_all_tasks_blocked()
        assert world.port.sent == [b"a", b"b"]
        assert world.above.asked == asked
        world.above.outputs.append("said")
        world.pump.touch()
        await trio.testing.wait_all_tasks_blocked()
        assert world.carried == ["said"]
        await trio.sleep(6)  # its deadline holds, though turns were taken that did not ask for it
        assert world.above.judged_at == [5.0]
        assert world.carried == ["said", "late"]
        nursery.cancel_scope.cancel()


async def test_what_was_said_goes_with_the_turn_of_a_datagram_and_has_none_for_itself(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        world = Floors(nursery, Silent())
        await trio.testing.wait_all_tasks_blocked()
        turns = world.pump.turns
        world.above.outputs.append("said")
        world.pump.touch()
        world.pump.turn()  # as the reader's, which comes before
        await trio.testing.wait_all_tasks_blocked()
        assert world.carried == ["said"]
        assert world.pump.turns == turns + 1
        nursery.cancel_scope.cancel()


async def test_what_was_said_before_the_pump_ran_is_seen_to_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        world = Floors(nursery, Silent())
        world.above.outputs.append("said")
        await trio.testing.wait_all_tasks_blocked()
        assert world.carried == ["said"]
        nursery.cancel_scope.cancel()


async def test_what_is_left_over_for_another_turn_is_seen_to_there(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        world = Floors(nursery, Silent())
        await trio.testing.wait_all_tasks_blocked()
        left = 2 * MAX_ROUNDS

        def carry_out(output: Any, now: float) -> None:
            world.carried.append(output)
            if len(world.carried) < left:
                world.above.outputs.append("again")

        world.pump._carry_out = carry_out
        world.above.outputs.append("first")
        world.pump.touch()
        await trio.testing.wait_all_tasks_blocked()
        assert len(world.carried) == left
        nursery.cancel_scope.cancel()
