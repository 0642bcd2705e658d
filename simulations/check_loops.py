"""P4: no packet circles, no update is pushed back to where it has been, no search asks who is searching already.

    FORWARD [1.1 1.5 1.2] handed on by 1.5      once: good        again and again: it circles
            [1.1 1.5 1.1 ...]                   accused at once
    UPDATE  Path 1.1!1.2 pushed to 1.1          accused at once
    PROBE   path [1.1 1.3], asked of 1.1        accused at once

A packet is known by its bytes: it is sealed, so no two are alike but the first of a handshake, which its source sends
again and again. A hop repeats what was not acknowledged, so a server may meet a packet a few times for each time that
its source sent it; in a circle it meets it for ever. Hostile servers may hand on what they like, and what passed one of
them is nobody else's fault.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from replication.messages import UpdateMessage
from routing.probes import Forward
from routing.ways import Ask, HandOn
from simulations.promises import Overhearing
from transport.wire import SendTo

if TYPE_CHECKING:
    from collections.abc import Iterable

    from identity.names import ServerId
    from simulations.world import World

OFTEN = 4  # times that one server hands on a packet which its source sent once: two ways, each repeated once
KEPT = 4096  # packets remembered, those first that were met last: one that circles is met all the time


class NoLoops(Overhearing):
    """Nothing passes a server again."""

    name = "no loops"
    promise = "P4"

    def __init__(self) -> None:
        super().__init__()
        self._met: dict[bytes, dict[str, int]] = {}  # packet -> how often each server handed it on

    def begin(self, world: World) -> None:
        super().begin(world)

        def handed_on(server: str, output: HandOn, now: float) -> None:
            if isinstance(output.message, Forward):
                self._forward(world, server, output.message)

        def sent(server: str, output: SendTo, now: float) -> None:
            message = output.message
            if isinstance(message, UpdateMessage) and output.peer in message.path and not _is_hostile(world, [server]):
                self.note(world, f"{server} sent {output.peer} an update that came by {_path(message.path)}")

        def asked(server: str, output: Ask, now: float) -> None:
            if output.server in output.probe.path and not _is_hostile(world, [server]):
                way = _path(output.probe.path)
                self.note(
                    world, f"{server} asked {output.server} for a way to {output.probe.target}, a search of {way}"
                )

        world.ledger.listen(HandOn, handed_on)
        world.ledger.listen(SendTo, sent)
        world.ledger.listen(Ask, asked)

    def _forward(self, world: World, server: str, message: Forward) -> None:
        passed = [str(each) for each in message.path]
        if _is_hostile(world, [server, *passed]):
            return
        if len(set(passed)) != len(passed):
            self.note(world, f"{server} handed on a packet along {_path(message.path)}, which passes a server twice")
        packet = blake2b(message.packet, digest_size=16).digest()
        met = self._met[packet] = self._met.pop(packet, {})  # the newest is last
        met[server] = met.get(server, 0) + 1
        if (
            server != passed[0] and met[server] > OFTEN * met.get(passed[0], 0) > 0
        ):  # 0: sent so long ago that nobody knows
            self.note(world, f"{server} handed on one packet {met[server]} times, at last along {_path(message.path)}")
        if len(self._met) > KEPT:
            del self._met[next(iter(self._met))]


def _is_hostile(world: World, servers: Iterable[str]) -> bool:
    return world.ledger.has_hostile and any(world.ledger.is_hostile(each) for each in servers)


def _path(path: Iterable[ServerId]) -> str:
    return "!".join(map(str, path))
