"""The newcomer's side of joining: a port for a moment, one handshake with the ticket's secret, JOIN, the answer.

    ask_to_join:  port -> endpoint.connect(each address of the ticket, inviter's key, psk) -> JOIN -> JOINED | REFUSED

Every address of the ticket is called at once; the first that answers is told JOIN, and the others are left. The inviter
proves by the handshake that it holds the key in the ticket, so what it answers is believed as much as the ticket is.

Left to others: what is written down (`node.opening`), the inviter's side (`node.inviting`).
"""

from __future__ import annotations

from random import Random
from typing import Any

import trio

from identity.errors import BangpathError, PeerMisbehaved, Refused, Unreachable
from identity.keys import Keys
from identity.tickets import Ticket
from identity.trust import network_id
from node.config import address_text
from node.joining import Join, Joined, NotJoined, proof_bytes
from node.pump import Pump
from transport.endpoint import Endpoint
from transport.events import Closed, Connected, MessageReceived
from transport.ports import Network
from transport.wire import decode_untrusted, encode, table_of

JOIN_S = 20.0  # the handshake gives up after 15 s by itself
LATE_MS = 60_000  # a clock that is so far off may be ours

_ANSWERS = table_of((Joined, NotJoined))


async def ask_to_join(
    ticket: Ticket, keys: Keys, *, network: Network, host: str, random: Random, now_ms: int
) -> Joined:
    """The inviter's JOINED. `host` is where our port is opened, for this moment only.

    Raises the inviter's refusal, or `Unreachable` when nobody answered.
    """
    port = await network.open_datagram_port(host, 0)
    try:
        newcomer = _Newcomer(ticket, keys, port, random)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(newcomer.pump.run)
            newcomer.call()
            with trio.move_on_after(JOIN_S):
                await newcomer.ended.wait()
            newcomer.leave()
            nursery.cancel_scope.cancel()
    finally:
        port.close()
    if newcomer.joined is not None:
        return newcomer.joined
    raise newcomer.error or _nobody(ticket, now_ms, newcomer.reasons)


class _Newcomer:
    """One attempt."""

    def __init__(self, ticket: Ticket, keys: Keys, port: Any, random: Random) -> None:
        self.ended = trio.Event()
        self.joined: Joined | None = None
        self.error: BangpathError | None = None
        self.reasons: list[str] = []
        self._ticket = ticket
        self._keys = keys
        self._endpoint = Endpoint(
            keys.exchange_private, network_id((ticket.root,)), lambda _: None, random, None, trio.current_time()
        )
        self._calls: dict[int, str] = {}
        self._asked: int | None = None
        self.pump = Pump(port, self._endpoint, (), self._carry_out)

    def call(self) -> None:
        """Call every address of the ticket."""
        now = trio.current_time()
        for address in self._ticket.addresses:
            try:
                number = self._endpoint.connect(
                    address, self._ticket.inviter_key, now, psk_id=self._ticket.id, psk=self._ticket.secret
                )
            except Refused as error:
                self.reasons.append(f"{address_text(address)}: {error.cause}")
                continue
            self._calls[number] = address_text(address)
        if not self._calls:
            self.ended.set()
        self.pump.touch()

    def leave(self) -> None:
        """Say that we go."""
        if self._asked is not None:
            self._endpoint.close(self._asked, "joined" if self.joined else "not joined", trio.current_time())
            self.pump.turn()

    def _carry_out(self, output: Any, now: float) -> None:
        if isinstance(output, Connected) and self._asked is None:
            self._asked = output.connection
            self._endpoint.send(output.connection, encode(self._join()), Join.PRIORITY, now)
        elif isinstance(output, MessageReceived):
            self._answered(output.message)
        elif isinstance(output, Closed):
            self._closed(output)

    def _join(self) -> Join:
        keys = self._keys
        proof = proof_bytes(self._ticket.id, self._ticket.server, keys.signing_public, keys.exchange_public)
        return Join(self._ticket.server, keys.signing_public, keys.exchange_public, keys.sign(proof))

    def _answered(self, message: bytes) -> None:
        try:
            answer = decode_untrusted(message, _ANSWERS)
        except PeerMisbehaved as error:
            self.error = error
        else:
            if isinstance(answer, Joined):
                self.joined = answer
            elif isinstance(answer, NotJoined):
                self.error = answer.as_error()
        self.ended.set()

    def _closed(self, output: Closed) -> None:
        where = self._calls.pop(output.connection, "")
        self.reasons.append(f"{where}: {output.reason}")
        if output.connection == self._asked or not self._calls:
            self.ended.set()


def _nobody(ticket: Ticket, now_ms: int, reasons: list[str]) -> Unreachable:
    said = "; ".join(reasons) or "no answer"
    cause = f"{ticket.inviter} did not let {ticket.server} in ({said})"
    if now_ms > ticket.expires_ms + LATE_MS:
        return Unreachable(
            f"{cause}; by the clock here the ticket expired {(now_ms - ticket.expires_ms) // 1000} s ago",
            next_step=f"ask for a new one: bangpath invite {ticket.server}",
        )
    return Unreachable(
        cause, next_step=f"see that {ticket.inviter} runs and gave out this ticket: bangpath @{ticket.inviter} status"
    )
