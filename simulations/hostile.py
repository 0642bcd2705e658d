"""Hostile servers: real nodes with real certificates that lie, steal, flood and forge from inside the mesh (ATTACKS).

    honest     node ---------------------- message ----------------------> endpoint --> port
    hostile    node --> trick --> trick --> other messages, or none -----> endpoint --> port
               node <-- trick <-- trick <-- what it is let to hear <------ endpoint <-- port
                          '-- and what tricks say of their own accord --------^

    liar = turn(server, "forges", "swallows")     from now on, and in each later life, until
    turn_honest(server)                           liar.counts tells what was done, server.attacks of all its times

What is promised: only the instances of one server's running node are altered, never a class, since the honest servers
live in the same process and must stay as they are. A hostile server has its own key and its own certificate, sees what
it is sent, and says what it likes; it can break no cipher. The same seed makes the same attack.

What is not asked of a hostile server: anything. Whoever checks promises leaves out what it owns, answers or claims,
also after it has turned honest (`ever_hostile`): what it signed meanwhile is signed for good.

The tricks: `tricks_feeds.py` (updates), `tricks_names.py` (certificates), `tricks_ways.py` (routes, packets, floods).
Left to others: crashes and restarts (`server.py`), the verbs of scenarios (`verbs_hostile.py`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import trio

from identity.errors import BangpathError, Exhausted, Refused
from identity.machine import Batch
from identity.names import ServerId
from node.dispatch import MESSAGES
from node.greeting import Hello
from simulations import engine
from simulations.trick import Trick
from simulations.tricks_feeds import FEED_TRICKS
from simulations.tricks_names import NAME_TRICKS
from simulations.tricks_ways import WAY_TRICKS
from transport.events import MessageReceived
from transport.wire import Message, decode_untrusted, encode

if TYPE_CHECKING:
    from simulations.server import SimulatedServer
    from simulations.world import World

TRICKS: dict[str, type[Trick]] = {trick.name: trick for trick in (*FEED_TRICKS, *NAME_TRICKS, *WAY_TRICKS)}
# Those with which honest servers keep every promise to each other, for schedules that are drawn. Whoever asks a mirror
# that misleads takes its word, and is told whose word it is (DESIGN A3): a promise kept, but no checker can tell so.
DRAWN: tuple[str, ...] = tuple(name for name in TRICKS if name != "misleads")


def turn(server: SimulatedServer, *names: str) -> Hostility:
    """Make a server hostile, by these tricks instead of any it had. Raises `Refused` for one that is none."""
    for name in names:
        if name not in TRICKS:
            raise Refused(f"no server {name}", next_step=f"a hostile one {', or '.join(TRICKS)}")
    if not names:
        raise Refused("a hostile server without a trick is an honest one", next_step=f"name one of {', '.join(TRICKS)}")
    turn_honest(server, quietly=True)
    hostility = server.hostility = Hostility(server, names)
    server.world.mark("hostile", server.name, text=", ".join(names))
    if server.node is not None:
        hostility.begin(server.node)
    return hostility


def turn_honest(server: SimulatedServer, *, quietly: bool = False) -> None:
    """Undo it: the node goes on as it is, and says again what is so."""
    hostility = server.hostility
    if hostility is None:
        return
    server.hostility = None
    server.was_hostile = True
    hostility.end()
    if not quietly:
        server.world.mark("hostile", server.name, text="honest again")


def ever_hostile(world: World) -> list[str]:
    """The names of the servers that are hostile, or once were, in their order."""
    return [each.name for each in world.servers if each.hostility is not None or each.was_hostile]


class Hostility:
    """One server's malice, over all its lives; the `Accomplice` of its tricks."""

    def __init__(self, server: SimulatedServer, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.counts: dict[str, int] = {}
        self._server = server
        self._world = server.world
        self._turns = sum(1 for mark in server.world.marks if mark.kind == "hostile")
        self._node: Any = None
        self._tricks: list[Trick] = []
        self._scopes: list[trio.CancelScope] = []
        self._send: Any = None
        self._receive: Any = None
        self._say_word: Any = None
        self._hear_word: Any = None
        self.random = self._world.generator(f"hostile/{self._server.name}")

    # -- lives

    def begin(self, node: Any) -> None:
        """Alter a node that has just begun to serve, or serves already."""
        self.random = self._world.generator(f"hostile/{self._server.name}/{self._server.lives}/{self._turns}")
        self._node = node
        self._tricks = [TRICKS[name](self) for name in self.names]
        parts = node.parts
        # Two places see every message: what leaves goes through the endpoint's `send`, what comes is carried out by
        # the node's one table of outputs. Both are altered on these instances, and those that see every word.
        self._send, self._receive = parts.endpoint.send, parts._carry[MessageReceived]
        parts.endpoint.send = self._say
        self._say_word, self._hear_word = parts.detours.say, parts.detours.hear
        parts.detours.say, parts.detours.hear = self._word_out, self._word_in
        parts._carry[MessageReceived] = self._hear
        for trick in self._tricks:
            if trick.every_s < float("inf"):
                self._world.nursery.start_soon(self._keep_acting, node, trick)

    def end(self) -> None:
        """Give the node back what was altered."""
        for scope in self._scopes:
            scope.cancel()
        for trick in self._tricks:
            trick.end()
        node, self._node = self._node, None
        self._tricks = []
        if node is not None and node is self._server.node:
            del node.parts.endpoint.send  # the instance's; the class has its own
            del node.parts.detours.say, node.parts.detours.hear
            node.parts._carry[MessageReceived] = self._receive

    async def _keep_acting(self, node: Any, trick: Trick) -> None:
        engine.actor.set(self._server.name)
        with trio.CancelScope() as scope:
            self._scopes.append(scope)
            while self._server.node is node and trick in self._tricks:  # it may have ended before this task began
                trick.act(self.now)
                node.parts.touch()
                await trio.sleep(trick.every_s * (0.75 + self.random.random() / 2))

    # -- what its tricks see and do

    @property
    def parts(self) -> Any:
        return self._node.parts

    @property
    def server(self) -> ServerId:
        return self._server.server

    @property
    def now(self) -> float:
        return self._world.now

    def sign(self, data: bytes) -> bytes:
        return self._server.keys.sign(data)

    def peers(self) -> list[ServerId]:
        found: list[ServerId] = self.parts.sessions.peers()
        return found

    def tell(self, peer: ServerId, message: Message) -> bool:
        connection = self.parts.sessions.connection(peer)
        if connection is None:
            return False
        try:
            self._send(connection, encode(message), int(message.PRIORITY), self.now)
        except (Exhausted, Refused):
            return False
        return True

    def say(self, peer: ServerId, word: Message) -> None:
        self._say_word(peer, word, self.now)

    def throw(self, source: str, target: ServerId, datagram: bytes) -> None:
        own = self.parts.port
        if source == self._server.name:
            with contextlib.suppress(trio.ClosedResourceError):  # it is going down just now
                own.send_batch(Batch(memoryview(datagram), len(datagram), (str(target), own.address[1])))
        else:
            self._world.network.send((source, own.address[1]), (str(target), own.address[1]), datagram)

    def call_again(self, peer: ServerId) -> None:
        sessions, entry = self.parts.sessions, self.parts.directory.entry(peer)
        connection = sessions.connection(peer)
        if connection is not None:
            sessions._close(connection, "it calls again", self.now)
        with contextlib.suppress(Exhausted, Refused):
            self.parts.endpoint.connect(
                (str(peer), self.parts.port.address[1]), entry.certificate.exchange_key, self.now
            )

    def count(self, what: str, number: int = 1) -> None:
        for counts in (self.counts, self._server.attacks):
            counts[what] = counts.get(what, 0) + number

    # -- in the way of messages

    def _say(self, connection: int, data: bytes, priority: int, now: float) -> None:
        message = decode_untrusted(data, MESSAGES)
        peer = self.parts.greeting.server_on(connection)
        said: list[Message] = [message]
        for trick in self._tricks:
            said = [instead for each in said for instead in self._instead(trick, peer, each)]
        for each in said:
            self._send(connection, data if each is message else encode(each), priority, now)

    def _word_out(self, peer: ServerId, message: Message, now: float) -> None:
        said: list[Message] = [message]
        for trick in self._tricks:
            said = [instead for each in said for instead in trick.say(peer, each)]
        for each in said:
            self._say_word(peer, each, now)

    def _word_in(self, peer: ServerId, message: Message, now: float) -> None:
        heard = [trick.hear(peer, message) for trick in self._tricks]
        if all(heard):
            self._hear_word(peer, message, now)

    def _instead(self, trick: Trick, peer: ServerId | None, message: Message) -> Sequence[Message]:
        """A HELLO leaves mostly as it is: who is to do harm must be let in."""
        if isinstance(message, Hello):
            return (trick.greet(message),)
        return (message,) if peer is None else trick.say(peer, message)

    def _hear(self, event: MessageReceived, now: float) -> None:
        peer = self.parts.greeting.server_on(event.connection)
        if peer is not None:
            try:
                message = decode_untrusted(event.message, MESSAGES)
            except BangpathError:
                pass  # of another hostile server, maybe: its own node knows what to make of it
            else:
                heard = [trick.hear(peer, message) for trick in self._tricks]  # each of them hears it
                if not all(heard):
                    return
        self._receive(event, now)
