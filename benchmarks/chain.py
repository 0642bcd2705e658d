"""A chain of three servers: does the third get each update that it subscribed to once, and no other?

    1.2.1  --->  1  --->  1.3          1 mirrors everything; 1.3 mirrors 1.2.* and knows 1 alone
    1.2   ----'                        1.2 and 1 write too: nothing of theirs matches

    python -m benchmarks.chain [--updates 10000] [--json]

Each update is one commit of its own. A third of the way the middle server is killed (its tasks are cancelled, nothing
is closed) and started again while 1.2.1 goes on writing. At the end the third server's objects are compared with the
first's, and every UPDATE message that it received is counted: those that match, those that came twice, those that do
not match. Real sockets, disks and LMDB, in one process.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio

from identity.names import Pattern, ServerId
from node import opening
from node.config import read_config, write_config
from node.node import Node
from replication.messages import UpdateMessage
from store.records import DATA, Update
from store.registry import ClassDefinition, Field

READING = ClassDefinition(
    name="Reading", fields=(Field(name="number", type="int", required=True), Field(name="text", required=True))
)
ORIGIN, OTHER, MIDDLE, THIRD = "1.2.1", "1.2", "1", "1.3"
LINKS = {ORIGIN: MIDDLE, OTHER: MIDDLE, MIDDLE: f"{ORIGIN},{OTHER},{THIRD}", THIRD: MIDDLE}


class Running:
    """A server that can be killed and started again."""

    def __init__(self, path: Path, server: str, nursery: trio.Nursery) -> None:
        self._directory = path / server
        self._nursery = nursery
        self._scope = trio.CancelScope()
        self._gone = trio.Event()
        self.node: Node

    async def start(self) -> Node:
        self._gone = trio.Event()
        self.node = await self._nursery.start(self._run)
        return self.node

    async def _run(self, task_status: trio.TaskStatus[Node]) -> None:
        try:
            with trio.CancelScope() as self._scope:
                async with opening.open_node(self._directory, log=lambda _: None) as node:
                    task_status.started(node)
                    await trio.sleep_forever()
        finally:
            self._gone.set()

    async def kill(self) -> None:
        self._scope.cancel()
        await self._gone.wait()


async def found(path: Path) -> None:
    """The four directories, with who is neighbour of whom."""
    opening.create_root(path / MIDDLE, ServerId.parse(MIDDLE), local="*")
    async with AsyncExitStack() as stack:
        nodes = {MIDDLE: await stack.enter_async_context(opening.open_node(path / MIDDLE, log=lambda _: None))}
        for server, inviter in ((OTHER, MIDDLE), (THIRD, MIDDLE), (ORIGIN, OTHER)):
            ticket = (await nodes[inviter].invite(server))["ticket"]
            await opening.join(path / server, ticket, local="*")
            if server == OTHER:
                opened = opening.open_node(path / server, log=lambda _: None)
                nodes[server] = await stack.enter_async_context(opened)
    addresses = {server: read_config(path / server / "bangpath.toml").listen for server in LINKS}
    for server, links in LINKS.items():
        file = path / server / "bangpath.toml"
        known = {ServerId.parse(each): (addresses[each],) for each in links.split(",")}
        write_config(file, msgspec.structs.replace(read_config(file), connect=Pattern(links), addresses=known))


@asynccontextmanager
async def chain(path: Path) -> AsyncIterator[dict[str, Running]]:
    """All four running, the subscriptions made, the class adopted."""
    await found(path)
    async with trio.open_nursery() as nursery:
        servers = {server: Running(path, server, nursery) for server in LINKS}
        for server in servers.values():
            await server.start()
        for server in (MIDDLE, ORIGIN, OTHER):
            await servers[server].node.define(READING)
        await servers[MIDDLE].node.mirror("*")
        await servers[THIRD].node.mirror(f"{OTHER}.*")
        yield servers
        for server in servers.values():
            await server.kill()


def listen(node: Node, received: Counter[tuple[str, int]]) -> None:
    """Count every UPDATE of a data feed that comes in, before anything is thought about it."""
    flood = node.parts.flood
    handle = flood.handle_message

    def counting(peer: ServerId, message: Any, now: float) -> None:
        if isinstance(message, UpdateMessage):
            head = Update.from_bytes_untrusted(message.update).head
            if head.kind == DATA:
                received[str(head.server), head.number] += 1
        handle(peer, message, now)

    flood.handle_message = counting  # type: ignore[method-assign]  # the test's ear


async def run(path: Path, *, updates: int, patience_s: float = 120.0) -> dict[str, Any]:
    """The figures of one run."""
    received: Counter[tuple[str, int]] = Counter()
    async with chain(path) as servers:
        third = servers[THIRD].node
        listen(third, received)
        began = time.perf_counter()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_write, servers[ORIGIN], updates)
            nursery.start_soon(_write, servers[OTHER], updates // 10)
            await _until(lambda: _held(third) >= updates // 3, patience_s)
            await servers[MIDDLE].kill()
            killed_at = _held(third)
            await trio.sleep(0.3)
            middle = await servers[MIDDLE].start()
        await _until(lambda: _held(third) >= updates, patience_s)
        seconds = time.perf_counter() - began
        await middle.create("Reading", {"number": 0, "text": "of the middle"})
        await trio.sleep(0.5)  # what should not come has this long to come
        rows = (await third.query("Reading order by number", consistency="local")).rows
        numbers = [row.fields["number"] for row in rows]
        statistics = third.parts.flood.statistics()
    matching = {each: count for each, count in received.items() if each[0] == ORIGIN}
    return {
        "updates": updates,
        "objects_at_the_third": len(numbers),
        "complete_and_in_order": numbers == list(range(updates)),
        "killed_the_middle_at": killed_at,
        "matching_received": len(matching),
        "received_more_than_once": sum(count - 1 for count in matching.values()),
        "not_matching_received": sum(count for each, count in received.items() if each[0] != ORIGIN),
        "applied": statistics["applied"],
        "duplicates": statistics["duplicates"],
        "seconds": round(seconds, 2),
    }


async def _write(server: Running, updates: int) -> None:
    for number in range(updates):
        await server.node.create("Reading", {"number": number, "text": f"reading {number}"})


def _held(node: Node) -> int:
    return max(
        (feed["last"] for feed in node.feeds() if feed["server"] == ORIGIN and feed["kind"] == "data"), default=0
    )


async def _until(happens: Any, patience_s: float) -> None:
    with trio.fail_after(patience_s):
        while not happens():  # noqa: ASYNC110  # what is waited for tells nobody
            await trio.sleep(0.01)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chain")
    parser.add_argument("--updates", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as path:
        figures: dict[str, Any] = trio.run(lambda: run(Path(path), updates=chosen.updates))
    if chosen.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:28} {value}")
    good = figures["complete_and_in_order"] and not figures["not_matching_received"]
    return 0 if good and not figures["received_more_than_once"] else 1


if __name__ == "__main__":
    sys.exit(main())
