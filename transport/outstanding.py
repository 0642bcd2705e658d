"""A request between servers is receipted at once, outstanding until answered, asked twice and answered once (X6).

    node ---- ask ----> Questions ---- REQUEST, TAKEN, CANCEL, DONE ----> Answers ---- Asked ----> node
         <- Answered --            <---- RECEIPT, ANSWER, REFUSE -----            <--- answer ----

    machine = Outstanding(server, incarnation, epoch)
    number = machine.ask(peer, body, now, deadline_s=5.0)        connected or not: it waits
    machine.handle_connected(peer, now)                          asks all again, under the same numbers
    machine.handle_message(peer, message, now)                   a message of `transport.requests`
    for output in machine.take_outputs(): ...                    SendTo, Answered, Failed, Progress, Asked, Cancelled

The machine stands above `transport.endpoint` and is keyed by the peer's proven ServerId, so it does not care how often
connections break or by which way they go. Both halves are separate and know nothing of each other: `questions` asks,
`answers` answers; `requests` is their vocabulary and pictures the messages.

Left to others: what a body means, and finding out whether an earlier run of this server carried a request out
(`Asked.again`): a restart forgets everything here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from identity.errors import LocalMistake
from identity.names import ServerId
from transport import requests
from transport.answers import Answers
from transport.questions import Questions
from transport.requests import Answer, Cancel, Done, Receipt, Refuse, Request, Taken
from transport.wire import Message, Priority, SendTo

Output = (
    SendTo
    | requests.Answered
    | requests.Failed
    | requests.Progress
    | requests.Asked
    | requests.Cancelled
    | requests.MaySend
    | requests.Met
)


class Outstanding:
    """All requests of one server, asked and being answered."""

    def __init__(self, server: ServerId, incarnation: int, epoch: int) -> None:
        """`epoch` is the number of this run of `server`; no two runs may have the same."""
        self._server = server
        self._incarnation = incarnation
        self._outputs: list[Output] = []
        self._connected: dict[ServerId, None] = {}
        self._watched: dict[ServerId, None] = {}
        self._questions = Questions(incarnation, epoch, self._connected, self._put_out)
        self._answers = Answers(self._connected, self._put_out)
        self._handlers: dict[type[Message], Callable[[ServerId, Any, float], None]] = {
            Request: self._answers.handle_request,
            Cancel: lambda peer, message, _: self._answers.handle_cancel(peer, message),
            Done: lambda peer, message, _: self._answers.handle_done_untrusted(peer, message),
            Taken: lambda peer, message, _: self._answers.handle_taken(peer, message),
            Receipt: lambda peer, message, _: self._questions.handle_receipt(peer, message),
            Answer: self._questions.handle_answer_untrusted,
            Refuse: self._questions.handle_refuse,
        }

    # -- asking

    def ask(
        self,
        peer: ServerId,
        body: bytes,
        now: float,
        *,
        deadline_s: float | None,
        priority: int = Priority.REQUEST,
        again: int | None = None,
    ) -> int:
        """Ask `peer`, now or when it connects within `deadline_s` seconds (None: for ever). Returns the number.

        `again` is the number of a request of an earlier run, asked again under it, or one that was reserved; ask the
        former before the peer connects, since at that moment it is told what is done. Exactly one ending comes: an
        `Answered` with `last`, or `Failed`.
        Raises `Exhausted` when MAX_OUTSTANDING requests to this peer are outstanding, `LocalMistake` for a body that
        is too long.
        """
        deadline = math.inf if deadline_s is None else now + deadline_s
        return self._questions.ask(peer, body, now, deadline, priority, again)

    def request_id(self, number: int) -> bytes:
        """The name of our request in the whole mesh."""
        return requests.request_id(self._server, self._incarnation, number)

    def cancel(self, number: int, now: float) -> bool:
        """Nobody waits for this answer any more; no output comes for it. False: it had ended already."""
        return self._questions.cancel(number, now)

    def reserve(self, peer: ServerId) -> int:
        """A number for a request to `peer` that will be asked with `again`, once it is written down. It is kept."""
        return self._questions.reserve(peer)

    def keep(self, number: int) -> None:
        """The outcome of this outstanding request will be written down: until `release` it is not declared done."""
        self._questions.keep(number)

    def release(self, number: int, now: float) -> None:
        """It was written down, or is not wanted: the peer may forget a request that was kept."""
        self._questions.release(number, now)

    def was_sent(self, number: int) -> bool:
        """Whether the peer may have this request: False only while it certainly has not."""
        return self._questions.was_sent(number)

    def replace(self, number: int, body: bytes) -> None:
        """Ask this instead, should the request have to be sent again. Nothing is sent by this."""
        self._questions.replace(number, body)

    def watch(self, peer: ServerId) -> bool:
        """Tell by `Met` whenever a session with `peer` begins. Returns whether there is one now."""
        self._watched[peer] = None
        return peer in self._connected

    def taken(self, number: int, *, parts: int = 1) -> None:
        """The consumer of a stream has used up so many more parts, and the answerer may send as many."""
        self._questions.taken(number, parts)

    # -- answering

    def answer(
        self, peer: ServerId, request_id: bytes, body: bytes, *, last: bool = True, index: int = 0, ok: bool = True
    ) -> bool:
        """Part `index` of the answer, each the next; `ok` False: the body tells an error.

        Returns False when nobody waits any more. Raises `LocalMistake` for a part out of turn or too long, `Exhausted`
        for a part that `may_send` would not allow.
        """
        return self._answers.answer(peer, request_id, body, last=last, index=index, ok=ok)

    def may_send(self, peer: ServerId, request_id: bytes) -> bool:
        """Whether the next part of a stream may be given now. If not, `MaySend` will come, or `Cancelled`."""
        return self._answers.may_send(peer, request_id)

    # -- what happened

    def handle_message(self, peer: ServerId, message: Message, now: float) -> None:
        """A message of `transport.requests.MESSAGES`. Raises `PeerMisbehaved`."""
        handler = self._handlers.get(type(message))
        if handler is None:
            raise LocalMistake(f"{type(message).__name__} is no message of requests")
        handler(peer, message, now)

    def handle_connected(self, peer: ServerId, now: float) -> None:
        """A session with `peer` begins, the first or after another, which need not have been told as ended."""
        self._connected[peer] = None
        self._questions.handle_connected(peer, now)
        if peer in self._watched:
            self._put_out(requests.Met(peer))

    def handle_disconnected(self, peer: ServerId, now: float) -> None:
        """There is no session with `peer` any more. Its questions and ours stay."""
        self._connected.pop(peer, None)
        self._questions.handle_disconnected(peer)
        self._answers.handle_disconnected(peer)

    # -- the verbs of every machine

    def deadline(self) -> float:
        asked, owed = self._questions.deadline(), self._answers.deadline()
        return asked if asked < owed else owed

    def handle_deadline(self, now: float) -> None:
        self._questions.handle_deadline(now)
        self._answers.handle_deadline(now)

    def take_outputs(self) -> Sequence[Output]:
        if not self._outputs:  # mostly: it is asked in every turn
            return []
        outputs = self._outputs[:]
        self._outputs.clear()
        return outputs

    def _put_out(self, output: Output) -> None:
        self._outputs.append(output)
