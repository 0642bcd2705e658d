"""Ways by gateways, carried out: what the transport sees goes to the router, what the router wants goes to both.

    endpoint   Doubted, Trusted, DirectAgain, CameAside --> router
               Detour (a sealed packet) ------------------> router --FORWARD--> a gateway
    router     UseGateway, UseDirect, TryDirectly --------> endpoint
               Detoured (a sealed packet for us) ---------> endpoint
               Ask, Verify -------------------------------> requests, whose answers come back to the router
               Tell (a word sealed for one server) -------> router --CARRY--> a gateway
    a peer     FORWARD, LOST, PROBE ----------------------> router
               words: CARRY, SEEK, CAME ------------------> router          without a session (`transport.words`)

Rules. A gateway whose queue holds more than `MAX_QUEUED` bytes gets no packets of others: they are lost, and the ends
of their session slow down. What a peer says about ways that makes no sense is its misdeed, like any other nonsense. A
word goes where the direct session stands, else to the addresses that may be dialled, WORD_TO of them.

Left to others: every decision (`routing`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from identity.errors import BangpathError, Exhausted, PeerMisbehaved, Refused
from identity.names import ServerId
from node.requests import Ping, Pong
from routing.probes import WORDS, Came, Carry, Confirm, Forward, Lost, NoWay, Path, Probe, Seek, Traced
from routing.ways import (
    AnswerProbe,
    Ask,
    Detoured,
    HandOn,
    Noted,
    Tell,
    TryDirectly,
    UseDirect,
    UseGateway,
    Verify,
)
from transport.events import CameAside, Detour, DirectAgain, Doubted, Said, Trusted, is_routed, routed_address
from transport.packet import WORD
from transport.requests import Asked
from transport.wire import Message, decode_untrusted, encode, table_of

if TYPE_CHECKING:
    from node.requesting import Requesting
    from node.sessions import Note
    from routing.neighbours import Address
    from routing.router import Router
    from transport.endpoint import Endpoint
    from transport.outstanding import Outstanding
    from transport.words import Words

MAX_QUEUED = 1 << 20  # bytes that wait for a gateway, before packets of others are dropped
MAX_TOKENS = 4096  # probes of others that are being answered
WORD_TO = 2  # addresses of one server to which one word goes

_WORDS = table_of(WORDS)


class Detours:
    """The wiring of routing. `connection(server)` is that of a session; `misbehaved(peer, cause)` hears of nonsense."""

    def __init__(
        self,
        router: Router,
        endpoint: Endpoint,
        outstanding: Outstanding,
        requesting: Requesting,
        words: Words,
        *,
        connection: Callable[[ServerId], int | None],
        note: Note,
        misbehaved: Callable[[ServerId, str], None],
    ) -> None:
        self.detoured = 0  # packets of ours that went by gateways
        self.dropped = 0
        self._router = router
        self._endpoint = endpoint
        self._outstanding = outstanding
        self._requesting = requesting
        self._words = words
        self._connection = connection
        self._note = note
        self._misbehaved = misbehaved
        self._tokens = 0
        self._said: Message | None = None  # the newest, and its bytes
        self._said_bytes = b""
        self._asked: dict[int, Asked] = {}
        self.outputs: dict[type, Callable[[Any, float], None]] = {
            Doubted: lambda event, now: self._doubted(event, now),
            Trusted: lambda event, now: router.handle_trusted(event.connection, now),
            DirectAgain: lambda event, now: router.handle_direct_again(event.connection, now),
            CameAside: lambda event, now: router.handle_came_aside(event.connection, now),
            Detour: self._detour,
            UseGateway: self._use_gateway,
            UseDirect: lambda output, now: endpoint.unroute(output.connection, now),
            TryDirectly: lambda output, now: endpoint.try_directly(output.connection, output.address),
            Detoured: self._detoured,
            HandOn: self._hand_on,
            Said: lambda event, now: self._open_untrusted(event.word, now),
            Tell: self._tell,
            Ask: self._ask,
            Verify: self._verify,
            AnswerProbe: self._answer,
            Noted: lambda output, now: note(output.event, **output.details),
        }

    def _doubted(self, event: Doubted, now: float) -> None:
        self._router.handle_doubted(event.connection, event.since, event.tries, now, heard_at=event.heard_at)

    # -- packets

    def _detour(self, event: Detour, now: float) -> None:
        self.detoured += 1
        self._router.detour(ServerId.parse(event.address[0][1:]), event.packet, now)

    def _detoured(self, output: Detoured, now: float) -> None:
        if output.packet[0] == WORD:
            self._open_untrusted(output.packet, now)
            return
        self._endpoint.handle_detoured(output.packet, routed_address(str(output.source)), now)

    def _hand_on(self, output: HandOn, now: float) -> None:
        """A FORWARD or LOST to a server with a session; where there is no room, it is lost. A word needs none."""
        if isinstance(output.message, WORDS):
            self.say(output.peer, output.message, now)
            return
        connection = self._connection(output.peer)
        if connection is None or self._endpoint.queued_bytes(connection) > MAX_QUEUED:
            self.dropped += 1
            return
        try:
            self._endpoint.send(connection, encode(output.message), int(output.message.PRIORITY), now)
        except (Exhausted, Refused):
            self.dropped += 1

    def handle_message(self, peer: ServerId, message: Message, now: float) -> None:
        """A FORWARD or LOST of a peer."""
        assert isinstance(message, (Forward, Lost)), "the table of node.dispatch"
        wrong = self._router.handle_forward_untrusted(peer, message, now)
        if wrong is not None:
            self._misbehaved(peer, wrong)

    # -- words

    def say(self, peer: ServerId, message: Message, now: float) -> None:
        """A word to a server that may be found at some address."""
        if message is not self._said:  # a SEEK goes to several in a row
            self._said, self._said_bytes = message, encode(message)
        word = self._words.seal(peer, self._said_bytes)
        if word is None:
            return
        for address in self._addresses(peer):
            self._endpoint.say(word, address)

    def hear(self, peer: ServerId, message: Message, now: float) -> None:
        """A word of a server, opened."""
        if isinstance(message, Came):
            wrong = self._router.handle_came_untrusted(peer, message, now)
        else:
            assert isinstance(message, (Carry, Seek)), "the table of words"
            wrong = self._router.handle_word_untrusted(peer, message, now)
        if wrong is not None:
            self._misbehaved(peer, wrong)

    def _addresses(self, peer: ServerId) -> Sequence[Address]:
        connection = self._connection(peer)
        address = None if connection is None else self._endpoint.place(connection)
        if address is not None and not is_routed(address):
            return (address,)
        return self._router.dialling.dialable(peer)[:WORD_TO]

    def _open_untrusted(self, packet: bytes, now: float) -> None:
        opened = self._words.open_untrusted(packet)
        if opened is None:
            return
        peer, said = opened
        try:
            message = decode_untrusted(said, _WORDS)
        except PeerMisbehaved as error:
            self._misbehaved(peer, error.cause)
            return
        self.hear(peer, message, now)

    def _tell(self, output: Tell, now: float) -> None:
        word = self._words.seal(output.path[-1], encode(output.message))
        if word is not None:
            self._router.carry(output.path, word, now)

    def _use_gateway(self, output: UseGateway, now: float) -> None:
        self._endpoint.route(output.connection, routed_address(str(output.server)), output.rtt_s, now)

    # -- paths

    def heard_directly_at(self, connection: int) -> float | None:
        """When the newest packet of this connection came directly."""
        statistics = self._endpoint.statistics(connection)
        return None if statistics is None else statistics.heard_directly_at

    def path_from(self, peer: ServerId, now: float) -> Path:
        """From it to here, as its packets came last."""
        connection = self._connection(peer)
        heard_at = None if connection is None else self.heard_directly_at(connection)
        return self._router.path_from(peer, now, heard_directly_at=heard_at)

    def trace(self, peer: ServerId, now: float) -> Traced:
        """How the peer's question came, and how its answer goes."""
        return Traced(self.path_from(peer, now), self._router.path_to(peer, now))

    # -- probes

    def handle_probe(self, asked: Asked, probe: Probe, now: float) -> None:
        """A peer asks for a way."""
        if len(self._asked) >= MAX_TOKENS:
            self._say(asked, NoWay("too many probes are open here"))
            return
        self._tokens += 1
        self._asked[self._tokens] = asked
        until = math.inf if asked.deadline is None else asked.deadline
        wrong = self._router.handle_probe_untrusted(asked.peer, self._tokens, probe, now, until)
        if wrong is not None:
            self._misbehaved(asked.peer, wrong)

    def _answer(self, output: AnswerProbe, now: float) -> None:
        asked = self._asked.pop(output.token, None)
        if asked is not None:
            self._say(asked, output.answer)

    def _say(self, asked: Asked, answer: Message) -> None:
        self._outstanding.answer(asked.peer, asked.request_id, encode(answer))

    def _ask(self, output: Ask, now: float) -> None:
        def then(answer: Message | BangpathError, at: float) -> None:
            said = answer if isinstance(answer, (Confirm, NoWay)) else None
            wrong = self._router.handle_answer_untrusted(output.number, said, at)
            if wrong is not None:
                self._misbehaved(output.server, wrong)

        self._requesting.ask_then(output.server, output.probe, (Confirm, NoWay), then, deadline_s=output.deadline_s)

    def _verify(self, output: Verify, now: float) -> None:
        def then(answer: Message | BangpathError, at: float) -> None:
            self._router.handle_verified(output.number, isinstance(answer, Pong), at)

        self._requesting.ask_then(output.server, Ping(), (Pong,), then, deadline_s=output.deadline_s)
