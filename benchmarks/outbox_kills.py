"""A thousand changes for an owner that is down, kill -9 of either side in between: each carried out once, in order.

    python -m benchmarks.outbox_kills [--changes 1000] [--kills 5] [--seed N] [--directory DIR]

    1, the sender      a process; a client says one change after the other to it, over its Unix socket
    1.1, the owner     a process; killed while it is being written to, and away until all is said

    queueing           --kills times the sender is killed with -9 at a random moment and started again
    delivering         the owner comes back; --kills times each side is killed with -9 while the changes reach it
    judged             in the end, by what both say: every change has its one outcome, and the right one

Of ten changes seven create a note with their number, one updates a counter, one updates it on the basis of an old
sequence (a conflict, which tells the counter of that moment), one updates what does not exist (refused). The notes'
object ids show the order and that none was made twice; what the conflicts tell shows the order among the others. A
client whose sender dies before it has answered looks into the outbox, as a careful program does, and goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from identity.errors import BangpathError, OutcomeUnknown, Unreachable
from identity.names import ServerId
from node import children, opening
from node.client import Client, connect

SENDER, OWNER = "1", "1.1"
NOTE = {"name": "Note", "fields": [{"name": "number", "type": "int"}, {"name": "text"}]}
MISSING = 999_999_999
SETTLED_S = 300.0  # by when all must have their outcome after the last kill
OPEN = ("new", "waiting", "sent", "withdrawn", "lapsed")


class Violation(Exception):
    """A promise was broken."""


class Process:
    """One server, killed and started again."""

    def __init__(self, server: str, directory: Path) -> None:
        self.server = server
        self.directory = directory
        self.kills = 0
        self.child: children.Child | None = None
        self.client = connect(directory)
        self.up = trio.Event()

    async def start(self) -> None:
        self.child = await children.start(self.server, self.directory)
        self.client = connect(self.directory)
        self.up.set()

    async def kill(self) -> None:
        assert self.child is not None
        self.up = trio.Event()
        os.kill(self.child.pid, signal.SIGKILL)
        await self.child.wait()
        self.child.let_go()
        self.kills += 1

    async def stop(self) -> None:
        if self.child is not None:
            await self.child.stop()


class Trial:
    """One run: what was said, and what is to come of it."""

    def __init__(self, directory: Path, *, changes: int, kills: int, seed: int, tell: Callable[[str], None]) -> None:
        self.sender = Process(SENDER, directory / SENDER)
        self.owner = Process(OWNER, directory / OWNER)
        self.changes = changes
        self.kills = kills
        self.random = random.Random(seed)
        self.tell = tell
        self.said = 0
        self.direct: dict[int, str] = {}  # changes that were answered at once, and how
        self.requests: dict[int, int] = {}  # request of the outbox: change
        self.lost_answers = 0
        self.counter = ""

    async def run(self) -> dict[str, Any]:
        await self._found()
        try:
            await self.sender.start()
            await self.owner.start()
            await self._prepare()
            begun = time.monotonic()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._say_all)
                await self._kill_while_queueing()
            queued = time.monotonic()
            self.tell(f"{len(self.requests)} changes wait, {self.sender.kills} kills of the sender while they came")
            await self.owner.start()
            await self._kill_while_delivering()
            await self._until_settled()
            return {**await self._judge(), "queueing_s": queued - begun, "delivering_s": time.monotonic() - queued}
        finally:
            with trio.CancelScope(shield=True):
                await self.sender.stop()
                await self.owner.stop()

    # -- before

    async def _found(self) -> None:
        ports = _free_ports(2)
        opening.create_root(self.sender.directory, ServerId.parse(SENDER), listen=("127.0.0.1", ports[0]), local="*")
        async with opening.open_node(self.sender.directory, log=lambda event: None) as node:
            ticket = (await node.invite(OWNER))["ticket"]
            await opening.join(self.owner.directory, ticket, listen=("127.0.0.1", ports[1]), local="*")

    async def _prepare(self) -> None:
        await self.sender.client.define(NOTE)
        with trio.fail_after(30):
            while not any(each["name"] == "Note" for each in await self.owner.client.classes()):  # noqa: ASYNC110
                await trio.sleep(0.05)
        await self.owner.client.adopt("Note")
        made = await self.owner.client.create("Note", {"number": -1, "text": "counter"})
        self.counter = made["reference"]
        await self.owner.client.update(self.counter, {"text": "the counter"})

    # -- queueing

    async def _say_all(self) -> None:
        while self.said < self.changes:
            await self.sender.up.wait()
            number = self.said
            try:
                answer = await self._say(self.sender.client, number)
            except (OutcomeUnknown, Unreachable) as error:
                if error.details.get("server"):
                    raise Violation(f"change {number} was not queued: {error}") from error
                await self._look(number)
                continue
            except BangpathError as error:
                self.direct[number] = error.kind
            else:
                if "request" in answer:
                    self._note(answer["request"], number)
                else:
                    self.direct[number] = "committed"
            self.said = number + 1

    async def _say(self, client: Client, number: int) -> Any:
        what = number % 10
        if what == 3:
            return await client.update(f"{OWNER}/{MISSING}", {"number": number})
        if what == 6:
            return await client.update(self.counter, {"text": "never"}, expect=1)
        if what == 9:
            return await client.update(self.counter, {"number": number})
        return await client.create("Note", {"number": number, "text": f"change {number}"}, server=OWNER)

    async def _look(self, number: int) -> None:
        """The sender died over this change: whether it waits says the outbox."""
        self.lost_answers += 1
        await self.sender.up.wait()
        newest = max((each["request"] for each in await self.sender.client.outbox()), default=0)
        if newest > max(self.requests, default=0):
            self._note(newest, number)
            self.said = number + 1

    def _note(self, request: int, number: int) -> None:
        if request in self.requests:
            raise Violation(f"request {request} was given to changes {self.requests[request]} and {number}")
        self.requests[request] = number

    async def _kill_while_queueing(self) -> None:
        await self._said(self.changes // 50)
        await self.owner.kill()
        moments = sorted(self.random.randrange(self.changes // 20, self.changes) for _ in range(self.kills))
        for moment in moments:
            await self._said(moment)
            await trio.sleep(self.random.random() * 0.01)
            await self.sender.kill()
            await self.sender.start()
        await self._said(self.changes)

    async def _said(self, count: int) -> None:
        while self.said < count:  # noqa: ASYNC110 - what is waited for tells nobody
            await trio.sleep(0.001)

    # -- delivering

    async def _kill_while_delivering(self) -> None:
        open_before = await self._open()
        moments = sorted(self.random.random() for _ in range(2 * self.kills))
        sides = [self.sender, self.owner] * self.kills
        self.random.shuffle(sides)
        for moment, side in zip(moments, sides, strict=True):
            with trio.fail_after(SETTLED_S):
                while await self._open() > open_before * (1 - moment):  # noqa: ASYNC110
                    await trio.sleep(0.01)
            await trio.sleep(self.random.random() * 0.02)
            await side.kill()
            if self.random.random() < 0.3:
                await trio.sleep(self.random.random())
            await side.start()

    async def _open(self) -> int:
        return sum(each["state"] in OPEN for each in await self.sender.client.outbox())

    async def _until_settled(self) -> None:
        with trio.fail_after(SETTLED_S):
            while await self._open():  # noqa: ASYNC110
                await trio.sleep(0.05)

    # -- judging

    async def _judge(self) -> dict[str, Any]:
        entries = {each["request"]: each for each in await self.sender.client.outbox()}
        if set(entries) != set(self.requests):
            raise Violation(
                f"requests {sorted(set(entries) ^ set(self.requests))} are in one of outbox and client alone"
            )
        outcomes = dict(self.direct)
        last = -1
        for request in sorted(entries):
            number, entry = self.requests[request], entries[request]
            outcomes[number] = entry["state"]
            if number < last:
                raise Violation(f"change {number} got request {request}, behind change {last}")
            last = number
            self._judge_one(number, entry)
        wanted = {3: ("refused", "not_found"), 6: ("conflict",)}
        for number in range(self.changes):
            if outcomes.get(number) not in wanted.get(number % 10, ("committed",)):
                raise Violation(f"change {number} ended as {outcomes.get(number)}")
        rows = [row async for row in self.owner.client.rows(f"Note from {OWNER}")]
        notes = {int(row["reference"].rpartition("/")[2]): row["fields"] for row in rows}
        counter = notes.pop(int(self.counter.rpartition("/")[2]))
        numbers = [notes[place]["number"] for place in sorted(notes)]
        made = [number for number in range(self.changes) if number % 10 not in (3, 6, 9)]
        if numbers != made:
            twice = [number for number, count in Counter(numbers).items() if count > 1]
            missing = sorted(set(made) - set(numbers))
            raise Violation(f"notes twice {twice}, missing {missing}, or out of order")
        if counter["number"] != max(number for number in range(self.changes) if number % 10 == 9):
            raise Violation(f"the counter stands at {counter['number']}")
        await self._until_forgotten()
        return {
            "changes": self.changes,
            "queued": len(self.requests),
            "sender_kills": self.sender.kills,
            "owner_kills": self.owner.kills,
            "lost_answers": self.lost_answers,
            "outcomes": dict(Counter(outcomes.values())),
        }

    def _judge_one(self, number: int, entry: dict[str, Any]) -> None:
        outcome = entry["outcome"]
        if entry["state"] == "conflict":
            current = outcome["error"]["current"]["number"]
            if current != (number - 7 if number > 6 else -1):
                raise Violation(f"change {number} met the counter at {current}")
        elif entry["state"] == "committed":
            (result,) = outcome["results"]
            if not result["reference"] or not outcome["position"]:
                raise Violation(f"change {number} is committed without reference and position: {outcome}")

    async def _until_forgotten(self) -> None:
        """The owner keeps no answer that the sender has."""
        with trio.fail_after(60):
            while (await self.owner.client.status())["answers_kept"]:  # noqa: ASYNC110
                await trio.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(count)]
        for each in found:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in found]


def run_trial(
    directory: Path, *, changes: int, kills: int, seed: int, tell: Callable[[str], None] = print
) -> dict[str, Any]:
    """One trial; its figures. Raises `Violation`."""
    trial = Trial(directory, changes=changes, kills=kills, seed=seed, tell=tell)
    return trio.run(trial.run)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outbox_kills")
    parser.add_argument("--changes", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=5, help="of the sender while queueing, of each while delivering")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--directory", type=Path, default=None, help="default: a temporary one")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.directory) as directory:
        try:
            told = run_trial(Path(directory), changes=chosen.changes, kills=chosen.kills, seed=chosen.seed)
        except Violation as error:
            print(f"violation: {error} (seed {chosen.seed})")
            return 1
    print(
        f"{told['changes']} changes, {told['queued']} of them queued; kill -9 of the sender {told['sender_kills']} "
        f"times, of the owner {told['owner_kills']} times, {told['lost_answers']} answers lost with it\n"
        f"each carried out once and in order; outcomes {told['outcomes']}\n"
        f"queueing {told['queueing_s']:.1f} s, delivering {told['delivering_s']:.1f} s, kills and starts included"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
