"""P1: a change that is of use for a while only is not asked for when that is over, and what is told of its time is so.

    1.3 asked of 1.1: update 1.1/4, expires 10    -> waits as request 7
        in the outbox        its time is ten seconds after it was asked                                  else accused
        later than that      1.3 does not let it wait for its turn, or stand as sent, for LATE_S         else accused
        sent, then its time  withdrawn: under that number nothing is asked any more but what became of it  else accused
        expired              its time was over; and 1.1 made nothing of it (`no forgotten changes`)      else accused

What the product promises is no more than that: a change that was sent in time may be carried out later, for its owner
may have it and not be heard, and then it is told as committed. The same goes for changes that were cancelled.

Not accused: who is excused; whose wall clock was set since; who is paused, or waits for its disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from node.requests import Withdraw
from replication.entries import ASKED, Entry, State
from simulations.check_outbox import Following, Waiting
from simulations.founding import BIRTH_MS
from simulations.promises import Breach
from transport.requests import Request
from transport.wire import SendTo, encode

if TYPE_CHECKING:
    from simulations.world import World

LATE_S = 1.0  # virtual seconds; it is seen at two looks, and its server ran all the time between them
ROUNDED_S = 0.01  # a wall clock counts milliseconds
WITHDRAW = encode(Withdraw())


class InTime(Following):
    """Nothing is asked for after its time, and nothing is told as expired before."""

    name = "in time or not at all"
    promise = "P1"

    def __init__(self) -> None:
        super().__init__()
        self._overdue: dict[tuple[Waiting, int], float] = {}  # in which life, since when it was seen so
        self._breaches: list[Breach] = []

    def begin(self, world: World) -> None:
        super().begin(world)

        def sent(server: str, output: SendTo, now: float) -> None:
            if isinstance(output.message, Request):
                self._asked(world, server, output.message)

        world.ledger.listen(SendTo, sent)

    def look(self, world: World) -> None:
        for breach in self._breaches:
            self.accuse(world, breach.said)
        super().look(world)

    def waits(self, world: World, waiting: Waiting, entry: Entry) -> None:
        word, server = waiting.word, world.server(waiting.word.server)
        due_s = self._due_s(world, waiting, entry)
        key = (waiting, server.lives)
        if (
            due_s is None
            or entry.state not in (State.WAITING, State.SENT)
            or world.now <= due_s
            or server.paused
            or _is_writing(server.node.parts.delivering)
        ):
            self._overdue.pop(key, None)
        elif world.now - self._overdue.setdefault(key, world.now) >= LATE_S:
            self.accuse(
                world,
                f"{word.server} has {waiting} as {entry.state.value}, whose time was over at {due_s:.3f} s: {word}",
            )

    def settled(self, world: World, waiting: Waiting, entry: Entry) -> None:
        due_s = self._due_s(world, waiting, entry)
        if entry.state is not State.EXPIRED:
            return
        told = f"{waiting.word.server} has it that {waiting} is expired"
        if waiting.word.options.get("expires") is None:
            self.accuse(world, f"{told}, which was to wait for ever: {waiting.word}")
        if due_s is not None and world.now < due_s - ROUNDED_S:
            self.accuse(world, f"{told}, whose time is over at {due_s:.3f} s: {waiting.word}")

    def _due_s(self, world: World, waiting: Waiting, entry: Entry) -> float | None:
        """The second at which its time is over; None: it has none, or its server's wall clock was set."""
        word, expires = waiting.word, waiting.word.options.get("expires")
        if expires is None or any(each.kind == "clock" and word.server in each.servers for each in world.marks):
            return None
        offset_ms = BIRTH_MS + world.server(word.server).clock_offset_ms
        due_s = -1.0 if entry.expires_ms is None else (entry.expires_ms - offset_ms) / 1000
        if not word.begin_s - ROUNDED_S <= due_s - expires <= word.end_s + ROUNDED_S:
            told = "never" if entry.expires_ms is None else f"at {due_s:.3f} s"
            self.accuse(
                world, f"{word.server} has {waiting}, of use for {expires:g} s, as one that expires {told}: {word}"
            )
        return due_s

    def _asked(self, world: World, server: str, message: Request) -> None:
        """That of a change which is durably taken back only its end is asked."""
        node = world.server(server).node
        if node is None or world.ledger.is_hostile(server):
            return
        delivering = node.parts.delivering
        entry = delivering.outbox.find(delivering._requests.get(message.number, 0))
        if entry is None or entry.state not in ASKED or entry.state is State.SENT or _is_writing(delivering):
            return
        if message.body != WITHDRAW:
            said = f"{server} asked {entry.owner} again for request {entry.number}, which is {entry.state.value}"
            self._breaches.append(Breach(self.promise, world.now, f"{said}: {entry.text}"))


def _is_writing(delivering: Any) -> bool:
    """Whether what it knows of its outbox is not durable yet."""
    return bool(delivering._carrying_out or delivering._news.is_set())
