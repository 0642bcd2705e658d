"""A real server with a load beside it, in one process: what is measured is the mesh's delay, and no client's.

    python -m benchmarks.driver DIR          words on standard input, answers on standard output, one JSON line each

    {"do": "load", "peer": "1.3", "hz": 200}     requests to that server from now on, one each 5 ms, whatever becomes of
                                                 those before; and 100 times a second a look at the ways to it
    {"do": "end"}                                no more; when all have ended: {"requests": [[sent, delay, late,
                                                 error]], "ways": [[at, way, way_back, gateway]], "events": [{...}]}
    {"do": "bulk", "peer": "1.3", "count": 100, "size": 16384}       so many objects made at that server, one by one
    {"do": "peers"}                              what this server says of the others
    {"do": "classes"}                            the names of the classes that it knows

Times are monotonic seconds of this machine, so those of several processes compare. A request's delay counts from the
moment at which it was said; `late` is how much later that was than its turn, which is this process's own slowness and
is told beside. `ways` has one entry for each change. It ends with its standard input.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import trio

from identity.errors import BangpathError
from node.asking import Operation
from node.node import Node
from node.opening import log_to_stderr, open_node

DEADLINE_S = 20.0  # of a request; later than this it is lost


class Load:
    """Requests in an open loop, with what became of each."""

    def __init__(self, node: Node, peer: str, hz: float, look_hz: float) -> None:
        self._node = node
        self._peer = peer
        self._every_s = 1.0 / hz
        self._look_every_s = 1.0 / look_hz
        self._look_due = 0.0
        self.ending = trio.Event()
        self.ended = trio.Event()
        self.requests: list[tuple[float, float | None, float, str]] = []
        self.ways: list[tuple[float, Any, Any, Any]] = []

    async def run(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                due = trio.current_time()
                while not self.ending.is_set():
                    await trio.sleep_until(due)
                    nursery.start_soon(self._request, trio.current_time() - due)
                    if trio.current_time() >= self._look_due:
                        self._look_due = trio.current_time() + self._look_every_s
                        self.look()
                    due += self._every_s
        finally:
            self.ended.set()

    async def _request(self, late: float) -> None:
        sent, error = time.monotonic(), ""
        try:
            await self._node.ping(self._peer, deadline=DEADLINE_S)
        except BangpathError as refused:
            error = f"{type(refused).__name__}: {refused.cause}"
        delay = time.monotonic() - sent
        self.requests.append((sent, None if error else delay, late, error))

    def look(self) -> None:
        """Note the ways when they are others than before."""
        for each in self._node.peers():
            if each["server"] == self._peer:
                now = (each.get("way", each["state"]), each.get("way_back", each["state"]), each.get("gateway"))
                if not self.ways or self.ways[-1][1:] != now:
                    self.ways.append((time.monotonic(), *now))


class Driver:
    """The words."""

    def __init__(self, node: Node, events: list[dict[str, Any]], nursery: trio.Nursery) -> None:
        self._node = node
        self._events = events
        self._nursery = nursery
        self._load: Load | None = None

    async def do(self, said: dict[str, Any]) -> dict[str, Any]:
        word = said.pop("do")
        answer: dict[str, Any] = await getattr(self, f"do_{word}")(**said)
        return answer

    async def do_load(self, peer: str, hz: float = 200.0, look_hz: float = 100.0) -> dict[str, Any]:
        self._events.clear()
        self._load = Load(self._node, peer, hz, look_hz)
        self._nursery.start_soon(self._load.run)
        return {"at": time.monotonic()}

    async def do_end(self) -> dict[str, Any]:
        assert self._load is not None, "no load runs"
        self._load.ending.set()
        await self._load.ended.wait()
        return {"requests": sorted(self._load.requests), "ways": self._load.ways, "events": list(self._events)}

    async def do_bulk(self, peer: str, count: int, size: int) -> dict[str, Any]:
        begun = time.monotonic()
        for _ in range(count):
            operation = Operation(op="create", class_name="Blob", fields={"filling": os.urandom(size)})
            await self._node.transact([operation], server=self._node.server.parse(peer), deadline=DEADLINE_S)
        return {"seconds": time.monotonic() - begun}

    async def do_classes(self) -> dict[str, Any]:
        return {"classes": [each["name"] for each in self._node.classes()]}

    async def do_peers(self) -> dict[str, Any]:
        return {"peers": self._node.peers()}


async def main(directory: Path) -> None:
    events: list[dict[str, Any]] = []

    def log(event: dict[str, Any]) -> None:
        events.append({**event, "at": time.monotonic()})
        log_to_stderr(event)

    async with open_node(directory, log=log) as node, trio.open_nursery() as nursery:
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)  # as `bangpath run` does
        driver = Driver(node, events, nursery)
        say({"ready": True})
        buffer = b""
        stdin = trio.lowlevel.FdStream(os.dup(0))
        async for piece in stdin:
            *lines, buffer = (buffer + piece).split(b"\n")
            for line in lines:
                try:
                    say(await driver.do(json.loads(line)))
                except BangpathError as error:
                    say({"error": f"{type(error).__name__}: {error.cause}"})
        nursery.cancel_scope.cancel()


def say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
