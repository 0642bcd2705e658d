"""The owner's side of requests: what another server asks, answered once, by right and within bounds.

    Asked --> read --> right? --> PING, GET      answered in the same tick, which is its own receipt
                                  QUERY          a task: rows in parts, as fast as the asker takes them
                                  MODIFY         a task: one transaction, its answer recorded beside it
                    WITHDRAW       the record of that MODIFY, or that it will not be carried out

Rules. Any server of the mesh may read what is distributed, if `[rights] query` matches it; to change something it must
match `[rights] modify`. Private classes never leave. Only for own objects is *no such object* said. A MODIFY that comes
again, even after a restart of this server, finds its recorded answer and is not carried out twice (`node.recorded`).
Nobody's question holds up the loop: a scan yields after each batch, on one view throughout, and a peer that does not
take its rows makes its own scan wait.

Bounds: `MAX_WORKING` tasks for one peer; those of `transport.answers` for what is kept.

Left to others: whether the asker is who it says (`node.sessions`), the transaction's checks (`node.changing`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import trio

from identity.encoding import decode_value_untrusted
from identity.errors import BangpathError, Exhausted, Forbidden, LocalMistake, NotFound, PeerMisbehaved, Refused
from identity.names import ObjectId, Pattern, ServerId
from node.asking import Holding
from node.config import Config
from node.detours import Detours
from node.owning import Owner
from node.reporting import place_of
from node.requests import (
    MAX_QUESTION_BYTES,
    At,
    Done,
    Failed,
    Get,
    Modify,
    Object,
    PartWriter,
    Ping,
    Pong,
    Query,
    Withdraw,
    at_of,
    matches,
    object_leaf,
    read_request_untrusted,
)
from node.standpoint import Standpoint
from routing.probes import Probe, Trace
from store.definitions import ClassDefinition
from store.query import Question
from store.records import Stored
from transport.outstanding import Outstanding
from transport.requests import Asked, Cancelled, MaySend
from transport.wire import Message, encode

MAX_WORKING = 256  # tasks for one peer: a mesh page open in many windows; 2 KiB each
MISTAKE = LocalMistake("the server made a mistake over this request", next_step="its log says which")
BATCH_ROWS = 256  # rows between two checkpoints, some milliseconds


class _Work:
    """One request that a task works on."""

    __slots__ = ("may_send", "scope")

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.may_send = trio.Event()


class Serving:
    """Answers what peers ask.

    `misbehaved(peer, cause)` is told of what makes no sense; `idle()` when the last task ended; `touch()` wakes the
    pump.
    """

    def __init__(
        self,
        config: Config,
        owner: Owner,
        standpoint: Standpoint,
        outstanding: Outstanding,
        detours: Detours,
        *,
        wall_ms: Callable[[], int],
        note: Callable[..., None],
        idle: Callable[[], None],
        misbehaved: Callable[[ServerId, str], None],
        touch: Callable[[], None],
    ) -> None:
        self.working = 0
        self._config = config
        self._server = config.server
        self._owner = owner
        self._standpoint = standpoint
        self._wall_ms = wall_ms
        self._note = note
        self._idle = idle
        self._outstanding = outstanding
        self._detours = detours
        self._misbehaved = misbehaved
        self._touch = touch
        self._nursery: trio.Nursery | None = None
        self._works: dict[tuple[ServerId, bytes], _Work] = {}
        self._count: dict[ServerId, int] = {}
        self._refusing = ""
        self._waiting = ""
        self._held: dict[tuple[ServerId, bytes], Asked] = {}
        self.outputs: dict[type, Callable[[Any, float], None]] = {
            Asked: self._asked,
            Cancelled: self._cancelled,
            MaySend: self._room,
        }

    def start(self, nursery: trio.Nursery) -> None:
        """Tasks run here from now on."""
        self._nursery = nursery

    def refuse(self, reason: str) -> None:
        """Begin nothing new: this server goes."""
        self._refusing = reason

    def wait(self, reason: str) -> None:
        """Answer nothing about objects for now; empty: from now on as ever.

        Changes that may have been carried out before wait unanswered until then, for a refusal would say that they
        were not; `transport.answers` bounds them.
        """
        self._waiting = reason
        held, self._held = self._held, {}
        for asked in held.values():
            self._asked(asked, trio.current_time())

    # -- outputs of the machine

    def _asked(self, asked: Asked, now: float) -> None:
        try:
            question = read_request_untrusted(asked.body)
            if isinstance(question, Withdraw) or (asked.again and isinstance(question, Modify)):
                again = question if isinstance(question, Modify) else None
                known = self._owner.answered(asked.request_id, again)  # before any refusal: it would say that it is not
                if known is not None:
                    self._answer(asked, known)
                    return
                if self._waiting:  # what this server had carried out is only just being learnt
                    self._held[asked.peer, asked.request_id] = asked
                    return
            if isinstance(question, Withdraw):
                raise Refused(f"{self._server} has not carried it out, and will not", withdrawn=True)
            if self._refusing:
                raise Exhausted(self._refusing, next_step="ask again when it is back")
            if isinstance(question, Probe):
                self._detours.handle_probe(asked, question, now)
                return
            if isinstance(question, Trace):
                self._answer(asked, self._detours.trace(asked.peer, now))
                return
            if isinstance(question, Ping):
                self._answer(asked, Pong(self._wall_ms()))
                return
            if self._waiting:
                raise Exhausted(self._waiting, next_step="ask again in a minute")
            self._check_right(asked.peer, question)
            if isinstance(question, Get):
                self._answer(asked, self._get(question))
                return
        except PeerMisbehaved as error:
            self._answer(asked, Failed.of(error))
            self._misbehaved(asked.peer, error.cause)
            return
        except BangpathError as error:
            self._answer(asked, Failed.of(error))
            return
        self._begin(asked, question)

    def _cancelled(self, output: Cancelled, now: float) -> None:
        self._held.pop((output.peer, output.request_id), None)
        work = self._works.get((output.peer, output.request_id))
        if work is not None:
            work.scope.cancel()

    def _room(self, output: MaySend, now: float) -> None:
        work = self._works.get((output.peer, output.request_id))
        if work is not None:
            work.may_send.set()

    # -- rights

    def _check_right(self, peer: ServerId, question: Message) -> None:
        changes = isinstance(question, Modify)
        if not matches(self._config.modify if changes else self._config.query, peer):
            what = "change objects of" if changes else "read from"
            raise Forbidden(
                f"{peer} may not {what} {self._server}",
                next_step=f"{self._server}'s operator decides: [rights] {'modify' if changes else 'query'}",
            )

    def _check_classes(self, definitions: Iterable[ClassDefinition]) -> None:
        """Raises `Forbidden` when one of these classes may not leave this server."""
        for each in definitions:
            if each.privacy == "private":
                raise Forbidden(f"class {each.name} of {self._server} is private", **{"class": each.name})

    # -- GET

    def _get(self, question: Get) -> Object:
        standpoint, text = self._standpoint, f"{question.server}/{question.object}"
        with standpoint.view() as view:
            stored = view.get((question.server, ObjectId(question.object))) if question.object else None
            own = question.server == self._server
            holding = standpoint.holding(question.server) if own else self._holding(question.server, question.cached)
            if stored is None or not (own or standpoint.shows(stored)):
                if own:
                    raise NotFound.by_owner(self._server, text)
                raise Refused(f"{self._server} holds no copy of {text}", reference=text)
            definition = view.class_of(stored)
            self._check_classes([definition])
            leaf = _leaf(definition, stored)
        if own or (holding.whole and stored.kind == "mirrored"):
            at = self._at(question.server, holding)
        elif question.cached:
            at = at_of(None, standpoint.age_of(stored), cached=True)
        else:
            raise Refused(f"{self._server} keeps a copy of {text} by chance, and no mirror of it", reference=text)
        return Object(stored.reference.server, stored.reference.incarnation, at, leaf)

    def _holding(self, server: ServerId, cached: bool = False) -> Holding:
        """How a server's objects are held here. Raises `Refused` when they are neither owned nor mirrored.

        `cached`: what is kept of it by chance will do.
        """
        holding = self._standpoint.holding(server)
        if not cached and not holding.whole:
            raise Refused(f"{self._server} does not mirror {server}", server=str(server))
        return holding

    def _at(self, server: ServerId, holding: Holding) -> At:
        """How far what is held of a server reaches, and by whom it came here."""
        path = self._standpoint.path_to(server) if server != self._server else ()
        return at_of(holding.position, holding.age, path=path)

    # -- tasks

    def _begin(self, asked: Asked, question: Message) -> None:
        peer = asked.peer
        if self._count.get(peer, 0) >= MAX_WORKING or self._nursery is None:
            error = Exhausted(f"{self._server} works on {MAX_WORKING} requests of {peer} already")
            self._answer(asked, Failed.of(error))
            return
        work = _Work()
        if asked.deadline is not None:
            work.scope.deadline = asked.deadline
        self._works[peer, asked.request_id] = work
        self._count[peer] = self._count.get(peer, 0) + 1
        self.working += 1
        self._nursery.start_soon(self._work, asked, question, work)

    async def _work(self, asked: Asked, question: Message, work: _Work) -> None:
        try:
            with work.scope:
                if isinstance(question, Modify):
                    await self._modify(asked, question)
                elif isinstance(question, Query):
                    await self._query(asked, question, work)
        except Exception as error:  # our own mistake over one question: its asker is told, the others are served
            self._note("mistake", peer=str(asked.peer), cause=repr(error), place=place_of(error))
            self._outstanding.answer(asked.peer, asked.request_id, encode(Failed.of(MISTAKE)), ok=False)
        finally:
            self.working -= 1
            del self._works[asked.peer, asked.request_id]
            self._count[asked.peer] -= 1
            if not self._count[asked.peer]:
                del self._count[asked.peer]
            if not self.working:
                self._idle()
            self._touch()

    async def _modify(self, asked: Asked, question: Modify) -> None:
        try:
            answer: Message = await self._owner.modify_for(asked.peer, asked.request_id, question)
        except PeerMisbehaved as error:
            self._answer(asked, Failed.of(error))
            self._misbehaved(asked.peer, error.cause)
        except BangpathError as error:
            self._answer(asked, Failed.of(error))
        else:
            self._answer(asked, answer)

    async def _query(self, asked: Asked, query: Query, work: _Work) -> None:
        index = 0
        try:
            question = _question_untrusted(query.question)
            holding = self._holding(query.owner)
            with self._standpoint.view() as view:
                self._check_classes(view.definitions(question.class_name))
                incarnation = view.incarnation_of(query.owner) or 0
                at = self._at(query.owner, holding)
                writer = PartWriter(incarnation, at)
                own = Pattern(str(query.owner))
                for batch in view.select_batches(question, servers=own, size=BATCH_ROWS):
                    for stored in batch:
                        part = writer.add(_leaf(view.class_of(stored), stored))
                        if part is not None:
                            if not await self._part(asked, work, part, index):
                                return
                            index += 1
                    await trio.lowlevel.checkpoint()
            rest = writer.take()
            if rest is not None:
                if not await self._part(asked, work, rest, index):
                    return
                index += 1
            await self._part(asked, work, Done(incarnation, at), index, last=True)
        except PeerMisbehaved as error:
            await self._part(asked, work, Failed.of(error), index, last=True)
            self._misbehaved(asked.peer, error.cause)
        except BangpathError as error:
            await self._part(asked, work, Failed.of(error), index, last=True)

    async def _part(self, asked: Asked, work: _Work, part: Message, index: int, *, last: bool = False) -> bool:
        """Send one part when the asker has room for it; False when nobody waits any more."""
        while index and not self._outstanding.may_send(asked.peer, asked.request_id):
            await work.may_send.wait()
            work.may_send = trio.Event()
        waited_for = self._outstanding.answer(
            asked.peer, asked.request_id, encode(part), last=last, index=index, ok=not isinstance(part, Failed)
        )
        self._touch()
        return waited_for

    def _answer(self, asked: Asked, answer: Message) -> None:
        """The whole answer."""
        self._outstanding.answer(asked.peer, asked.request_id, encode(answer), ok=not isinstance(answer, Failed))
        self._touch()


def _question_untrusted(data: bytes) -> Question:
    return Question.from_plain_untrusted(decode_value_untrusted(data, max_bytes=MAX_QUESTION_BYTES))


def _leaf(definition: ClassDefinition, stored: Stored) -> bytes:
    return object_leaf(
        stored.reference,
        sequence=stored.sequence,
        fingerprint=definition.fingerprint,
        body=definition.to_body(stored.fields),
    )
