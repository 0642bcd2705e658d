"""Byte streams on the virtual network: what TCP is to nodes, with the contract of trio's own streams.

    stream = await host.open_stream("1.2", 443)          OSError, as `trio.open_tcp_stream` raises it
    listener = await host.listen(443)
    async with await listener.accept() as stream:        bytes, in order, or an error of trio's

Checked by trio's own suite (`trio.testing.check_half_closeable_stream`) in tests/contracts/test_streams.py. They take
the links that datagrams take, faults included, and walls know the two apart (`nat.py`): a firewall that lets only UDP
through swallows every segment. Nodes do not use streams yet (DESIGN section 5): this is the ground on which those will
be built and tested, and what an application may use that stands beside its node.
"""

from __future__ import annotations

import operator

import trio

from simulations.stream_ends import WINDOW_BYTES, Address, End, Listening, Streams


class SimulatedStream(trio.abc.HalfCloseableStream):
    """What programs hold of an end; errors are those of trio's own streams."""

    def __init__(self, end: End) -> None:
        self._end = end
        self._sending = False
        self._receiving = False

    @property
    def local(self) -> Address:
        return self._end.local

    @property
    def peer(self) -> Address:
        """Where the other end is, as it is seen from here."""
        return self._end.remote

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._begin_sending()
        try:
            self._check_sendable()
            await trio.lowlevel.checkpoint()
            rest = memoryview(data).cast("B")
            while rest:
                await self._wait_for_room()
                room = self._end.room
                self._end.send(bytes(rest[:room]))
                rest = rest[room:]
            self._check_sendable()
        finally:
            self._sending = False

    async def wait_send_all_might_not_block(self) -> None:
        self._begin_sending()
        try:
            self._check_sendable()
            await trio.lowlevel.checkpoint()
            await self._wait_for_room()
        finally:
            self._sending = False

    async def send_eof(self) -> None:
        self._begin_sending()
        try:
            self._check_open()
            self._end.end()
            await trio.lowlevel.checkpoint()
        finally:
            self._sending = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if max_bytes is not None and operator.index(max_bytes) < 1:
            raise ValueError("max_bytes must be 1 or more")
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving from this stream")
        self._receiving = True
        try:
            self._check_open()
            await trio.lowlevel.checkpoint()
            while not (self._end.closed or self._end.received or self._end.over or self._end.error):
                await self._end.changed.park()
            self._check_open()
            if not (self._end.received or self._end.over) and self._end.error is not None:
                raise trio.BrokenResourceError(str(self._end.error)) from self._end.error
            return self._end.take(max_bytes or WINDOW_BYTES)
        finally:
            self._receiving = False

    async def aclose(self) -> None:
        self._end.close()
        await trio.lowlevel.checkpoint()

    async def _wait_for_room(self) -> None:
        while not self._end.room and not self._end.closed and self._end.error is None:
            await self._end.changed.park()
        self._check_sendable()

    def _begin_sending(self) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending to this stream")
        self._sending = True

    def _check_open(self) -> None:
        if self._end.closed:
            raise trio.ClosedResourceError("this stream is closed")

    def _check_sendable(self) -> None:
        self._check_open()
        if self._end.ended:
            raise trio.ClosedResourceError("this stream's sending side is closed")
        if self._end.error is not None:
            raise trio.BrokenResourceError(str(self._end.error)) from self._end.error


class SimulatedListener(trio.abc.Listener[SimulatedStream]):
    """Where streams arrive at one port."""

    def __init__(self, listening: Listening) -> None:
        self._listening = listening

    @property
    def address(self) -> Address:
        return self._listening.address

    async def accept(self) -> SimulatedStream:
        await trio.lowlevel.checkpoint()
        while not self._listening.offered and not self._listening.closed:
            await self._listening.changed.park()
        if self._listening.closed:
            raise trio.ClosedResourceError("this listener is closed")
        return SimulatedStream(self._listening.offered.popleft())

    async def aclose(self) -> None:
        self._listening.close()
        await trio.lowlevel.checkpoint()


async def open_stream(streams: Streams, host: str, target: Address) -> SimulatedStream:
    """Raises OSError, as `trio.open_tcp_stream` does: refused where nobody listens, timed out where nobody is heard."""
    end = streams.begin(host, target)
    try:
        await trio.lowlevel.checkpoint()
        while not end.opened and end.error is None:
            await end.changed.park()
    except trio.Cancelled:
        end.close()
        raise
    if end.error is not None:
        raise end.error
    return SimulatedStream(end)
