"""The shell of a federated question: one task a source, one merge, rows given on as they become certain.

    here  ---\\
    1.1   ----+-->  Merge  -->  give(rows)           each source waits when its rows pile up (HELD_ROWS);
    1.2   ---/                                       a slow taker slows them all, and nothing grows

What is decided stands in `node.federate`; this file only waits. When an owner is silent its carriers are asked, then
our cached copies are shown as what they are. When the limit is reached the rest is cancelled. A long scan of our own
tables lets others run after each SLICE rows, on the same view throughout. A server that the question names and the
directory does not know is told as unreachable; one that is known and has not the class is left out.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

from identity.errors import BangpathError, Refused, Unreachable
from identity.names import Pattern, ServerId
from node import language
from node.asking import Found, Holding, RowPart
from node.federate import Merge, Owner, completeness, plan, pushed_down, trimmer
from node.lookup import PATIENCE_S, check_consistency
from store.query import Question, check_question, compile_filter, reference_key, sort_key

if TYPE_CHECKING:
    from node.asking import Asking
    from store.database import View
    from store.records import Stored

SLICE = 512  # rows scanned between two checkpoints: some milliseconds
HELD_ROWS = 65_536  # rows of all sources that may wait for each other: some 50 MiB
MAX_ASKED = 64  # owners that have not begun to answer; further ones wait their turn

Give = Callable[[list[Found]], Awaitable[None]]


class QueryAnswer(NamedTuple):
    """All rows, and what they are worth."""

    rows: list[Found]
    completeness: dict[str, Any]


async def ask(
    asking: Asking,
    question: str | Question,
    *,
    servers: Pattern | None = None,
    consistency: str = "nearest",
    deadline: float,
) -> QueryAnswer:
    """The whole answer at once. Raises as `stream`."""
    rows: list[Found] = []

    async def give(more: list[Found]) -> None:
        rows.extend(more)

    report = await stream(asking, question, give, servers=servers, consistency=consistency, deadline=deadline)
    return QueryAnswer(rows, report)


async def stream(
    asking: Asking,
    question: str | Question,
    give: Give,
    *,
    servers: Pattern | None = None,
    consistency: str = "nearest",
    deadline: float,
) -> dict[str, Any]:
    """Give the rows in their final order as they become certain; the completeness report at the end.

    `deadline` is absolute, in the node's monotonic seconds; owners that have not answered by then are unreachable.
    Raises `Refused` for a question that makes no sense, or of a class that nobody known here has.
    """
    check_consistency(consistency)
    if isinstance(question, str):
        question, servers = language.parse(question)
    owners = asking.owners(question.class_name, servers)
    if not owners and not asking.owners(question.class_name, None):
        raise Refused(
            f"no server known here has a class {question.class_name!r}",
            next_step=f"bangpath @{asking.server} class, and bangpath @{asking.server} servers",
            **{"class": question.class_name},
        )
    work = _FanOut(asking, question, owners, consistency, deadline)
    work.note_unknown(each for each in (servers.named() if servers else ()) if not asking.knows(each))
    return await work.run(give)


class _FanOut:
    """One question under way."""

    def __init__(
        self, asking: Asking, question: Question, owners: list[ServerId], consistency: str, deadline: float
    ) -> None:
        self._asking = asking
        self._question = pushed_down(question)
        self._trim = trimmer(question)
        self._consistency = consistency
        self._deadline = deadline
        self._holdings = {owner: asking.holding(owner) for owner in owners}
        self._plan = plan(owners, own=asking.server, holdings=self._holdings, consistency=consistency)
        self._owners = {owner: Owner(owner) for owner in owners}
        self._merge = Merge(_checked_key(asking, question), limit=question.limit)
        self._news = trio.Event()  # a source has rows or has ended
        self._room = trio.Event()  # rows were taken
        self._line = trio.CapacityLimiter(MAX_ASKED)
        self._held_rows = max(SLICE, HELD_ROWS // max(1, len(owners)))
        self._refused: BangpathError | None = None

    def note_unknown(self, servers: Iterable[ServerId]) -> None:
        """Servers that were asked for by name and that nobody can ask: they may have rows, so the answer says so."""
        own = self._asking.server
        for server in servers:
            error = Unreachable(f"{server} is not known here", next_step=f"bangpath @{own} servers", server=str(server))
            self._owners[server] = Owner(server)
            self._owners[server].failed(error)

    async def run(self, give: Give) -> dict[str, Any]:
        """Start a task a source, give on what becomes certain, and end them all."""
        failed: Exception | None = None
        async with trio.open_nursery() as nursery:
            for at in range(0, len(self._plan.here), Pattern.MAX_RULES):
                chunk = self._plan.here[at : at + Pattern.MAX_RULES]
                nursery.start_soon(self._tell_here, chunk, self._merge.open())
            for owner in self._plan.asked:
                nursery.start_soon(self._tell_asked, owner, self._merge.open())
            for owner in self._plan.left:
                nursery.start_soon(self._tell_cached, owner, self._merge.open())
            while not self._merge.finished and self._refused is None:
                await self._news.wait()
                self._news = trio.Event()
                rows = self._merge.take()
                if rows:
                    self._room.set()
                    self._room = trio.Event()
                    for row in rows:
                        self._owners[row.reference.server].rows += 1
                    try:
                        await give(self._trim(rows))
                    except Exception as error:  # told outside the nursery, which would wrap it
                        failed = error
                        break
            nursery.cancel_scope.cancel()
        failed = failed or self._refused
        if failed is not None:
            raise failed
        return completeness(self._owners.values(), self._asking.registry_report())

    async def _tell_here(self, owners: tuple[ServerId, ...], source: int) -> None:
        """Our own rows and those that we mirror, in one scan."""
        told = {owner: self._worth(owner, self._holdings[owner]) for owner in owners}
        try:
            with self._asking.view() as view:
                for rows in self._scan(view, owners):
                    found = []
                    for stored in rows:
                        kind, position, age, path = told[stored.reference.server]
                        found.append(
                            Found(
                                stored.reference, stored.class_name, stored.sequence, stored.fields,
                                kind, position, age, path,
                            )
                        )  # fmt: skip
                    await self._add(source, found)
        except BangpathError as error:
            self._refuse(error)
            return
        self._end(source)

    def _worth(self, owner: ServerId, holding: Holding) -> tuple[str, Any, float | None, tuple[ServerId, ...]]:
        """What a row of this owner says of itself, equal for all of them."""
        own = owner == self._asking.server
        kind, age = ("owned", 0.0) if own else ("mirrored", holding.age)
        path = self._asking.path_to(owner)
        self._owners[owner].answered(kind, position=holding.position, age=age, path=path)
        return kind, holding.position, age, path

    def _scan(self, view: View, owners: tuple[ServerId, ...]) -> Iterator[list[Stored]]:
        pattern = Pattern(",".join(map(str, owners)))
        return view.select_batches(self._question, servers=pattern, size=SLICE)

    async def _tell_asked(self, owner: ServerId, source: int) -> None:
        """An owner's rows: from itself, else from a carrier, else what we have cached."""
        nearest = self._consistency != "owner"
        holders = self._asking.carriers(owner) if nearest else []
        if await self._ask_one(owner, source, impatient=bool(holders)):
            return
        for holder in holders:
            if await self._ask_one(owner, source, holder=holder):
                return
        if holders and await self._ask_one(owner, source):  # slow, not silent: now it has all the time there is
            return
        if nearest:
            await self._tell_cached(owner, source)
        else:
            self._end(source)

    async def _ask_one(
        self, owner: ServerId, source: int, *, holder: ServerId | None = None, impatient: bool = False
    ) -> bool:
        """Rows of `owner` from itself or from `holder`; whether the answer ended well.

        `impatient`: others could tell the same, so it has PATIENCE_S to begin.
        """
        about = self._owners[owner]
        answer = (
            self._asking.ask_rows(owner, self._question, deadline=self._deadline)
            if holder is None
            else self._asking.ask_rows(holder, self._question, owner=owner, deadline=self._deadline)
        )
        how = "owner" if holder is None else "mirrored"
        path = (owner, self._asking.server) if holder is None else (owner, holder, self._asking.server)
        ended = False
        try:
            async with aclosing(answer) as parts:
                async with self._line:  # to its first rows only: the merge moves when everybody has begun
                    part = await self._first(parts, owner, impatient=impatient)
                while part is not None:
                    self._check_continues(about, part)
                    about.answered(how, position=part.position, age=part.age, path=path)
                    await self._add(source, part.rows)
                    ended = part.last
                    part = await anext(parts, None)
            if not ended:
                raise Unreachable(f"{holder or owner} broke off its answer")
        except BangpathError as error:
            about.failed(error)
            about.broken = self._merge.forget(source) or about.broken
            about.how = "unreachable"
            if not isinstance(error, Refused) or holder is not None:
                return False
            about.how = "refused"  # the owner has spoken; nobody is asked behind its back
        self._end(source)
        return True

    def _check_continues(self, about: Owner, part: RowPart) -> None:
        """A second teller goes on after rows that have left only where each row still has its place.

        Raises `Unreachable` when it is at another position and the order is by fields: a row that changed between
        the two might come twice, or never.
        """
        if about.broken and self._question.order and part.position != about.position:
            raise Unreachable(f"{about.server} broke off, and what others hold of it is not of the same position")

    async def _first(self, parts: AsyncGenerator[RowPart, None], owner: ServerId, *, impatient: bool) -> RowPart | None:
        """The first part of an answer. Raises `Unreachable` when patience ends before it comes."""
        with trio.move_on_after(PATIENCE_S if impatient else math.inf):
            return await anext(parts, None)
        raise Unreachable(f"{owner} did not begin to answer within {PATIENCE_S:.0f} s", server=str(owner))

    async def _tell_cached(self, owner: ServerId, source: int) -> None:
        """What we happen to hold of an owner that was not reached, or not to be asked."""
        about = self._owners[owner]
        ages = []
        try:
            with self._asking.view() as view:
                for rows in self._scan(view, (owner,)):
                    found = [
                        Found(
                            each.reference, each.class_name, each.sequence, each.fields,
                            "cached", None, self._asking.age_of(each), (self._asking.server,),
                        )
                        for each in rows
                    ]  # fmt: skip
                    ages += [each.age for each in found if each.age is not None]
                    await self._add(source, found)
        except BangpathError as error:
            self._refuse(error)
            return
        if ages:
            about.answered("cached", position=None, age=max(ages), path=(self._asking.server,))
        elif self._consistency == "local":
            about.answered("not asked", position=None, age=None, path=())
        self._end(source)

    async def _add(self, source: int, rows: list[Found]) -> None:
        """Hand rows to the merge, then wait while too many of this source are waiting there."""
        self._merge.add(source, rows)
        self._news.set()
        await trio.lowlevel.checkpoint()
        while self._merge.waiting(source) > self._held_rows:
            await self._room.wait()

    def _end(self, source: int) -> None:
        self._merge.end(source)
        self._news.set()

    def _refuse(self, error: BangpathError) -> None:
        self._refused = self._refused or error
        self._news.set()


def _checked_key(asking: Asking, question: Question) -> Callable[[Found], bytes]:
    """What the merge compares: the store's own order, ties by reference. Raises `Refused` for a wrong question."""
    with asking.view() as view:
        definition = view.definition(question.class_name)
    check_question(question, definition)
    if question.where is not None:
        compile_filter(question.where, definition, lambda server: (server or asking.server, asking.incarnation))
    if not question.order:
        return lambda row: reference_key(row.reference)
    key = sort_key(definition, question.order)
    return lambda row: key(row.reference, row.fields)
