"""The shell of a federated question: one task a source, one merge, rows given on as they become certain.

    here  ---\\
    1.1   ----+-->  Merge  -->  give(rows)           each source waits when its rows pile up (HELD_ROWS);
    1.2   ---/                                       a slow taker slows them all, and nothing grows

What is decided stands in `node.federate`; this file only waits. Of an owner and those who mirror it, the first that
begins with rows as good as was asked for tells them (`node.racing`, as in `node.lookup`); when it breaks off, another
goes on. Then our cached copies are shown as what they are. When the limit is reached the rest is cancelled. A long scan
of our own tables lets others run after each SLICE rows, on the same view throughout. A server that the question names
and the directory does not know is told as unreachable; one that is known and has not the class is left out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

from identity.errors import BangpathError, Refused, Unreachable
from identity.names import Pattern, Position, ServerId
from node import language
from node.asking import Found, Holding, RowPart
from node.federate import Merge, Owner, completeness, plan, pushed_down, trimmer
from node.lookup import unreachable_for
from node.racing import race
from node.tellers import OWNER, Tellers, Telling
from node.wanted import NEAREST, Wanted
from store.majors import check_named, common_sort_key
from store.query import Question, reference_key

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
    wanted: Wanted = NEAREST,
    deadline: float,
) -> QueryAnswer:
    """The whole answer at once. Raises as `stream`."""
    rows: list[Found] = []

    async def give(more: list[Found]) -> None:
        rows.extend(more)

    report = await stream(asking, question, give, servers=servers, wanted=wanted, deadline=deadline)
    return QueryAnswer(rows, report)


async def explain(asking: Asking, question: str | Question) -> dict[str, Any]:
    """How what is held here answers it, carried out to its end (`store.explaining`). Raises `Refused`."""
    asked = language.parse(question) if isinstance(question, str) else language.Asked(question, None)
    rows = 0
    with asking.view() as view:
        plan = view.explain(asked.question, servers=asked.servers)
        for batch in plan.batches(SLICE):
            rows += sum(map(asking.shows, batch))
            await trio.lowlevel.checkpoint()
    return {**plan.as_json(), "rows": rows}


async def stream(
    asking: Asking,
    question: str | Question,
    give: Give,
    *,
    servers: Pattern | None = None,
    wanted: Wanted = NEAREST,
    deadline: float,
) -> dict[str, Any]:
    """Give the rows in their final order as they become certain; the completeness report at the end.

    `deadline` is absolute, in the node's monotonic seconds; owners that have not answered by then are unreachable.
    Raises `Refused` for a question that makes no sense, or of a class that nobody known here has.
    """
    if isinstance(question, str):
        question, servers = language.parse(question)
    owners = asking.owners(question.class_name, servers)
    if not owners and not asking.owners(question.class_name, None):
        raise Refused(
            f"no server known here has a class {question.class_name!r}",
            next_step=f"bangpath @{asking.server} class, and bangpath @{asking.server} servers",
            **{"class": question.class_name},
        )
    work = _FanOut(asking, question, owners, wanted, deadline)
    work.note_unknown(each for each in (servers.named() if servers else ()) if not asking.knows(each))
    return await work.run(give)


class _FanOut:
    """One question under way."""

    def __init__(
        self, asking: Asking, question: Question, owners: list[ServerId], wanted: Wanted, deadline: float
    ) -> None:
        self._asking = asking
        self._question = pushed_down(question)
        self._trim = trimmer(question)
        self._wanted = wanted
        self._deadline = deadline
        self._holdings = {owner: asking.holding(owner) for owner in owners}
        self._plan = plan(owners, own=asking.server, holdings=self._holdings, wanted=wanted)
        self._owners = {owner: Owner(owner, major=asking.major(owner, question.class_name)) for owner in owners}
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
                        worth = told[stored.reference.server]
                        row = Found(
                            stored.reference, stored.class_name, stored.sequence, stored.fields, *worth,
                            stored.fingerprint,
                        )  # fmt: skip
                        found.append(row)
                    await self._add(source, found)
        except BangpathError as error:
            self._refuse(error)
            return
        self._end(source)

    def _worth(
        self, owner: ServerId, holding: Holding
    ) -> tuple[str, Position | None, float | None, tuple[ServerId, ...], float | None, ServerId | None]:
        """What a row of this owner says of itself, equal for all of them: the rest of a `Found`."""
        asking, about = self._asking, self._owners[owner]
        own = owner == asking.server
        kind, age, by = ("owned", 0.0, None) if own else ("mirrored", holding.age, asking.server)
        path = asking.path_to(owner)
        about.since = unreachable_for(asking, owner, asked_at=None) if about.since is None and not own else about.since
        about.answered(kind, position=holding.position, age=age, path=path, by=by)
        return kind, holding.position, age, path, None, by  # of its silence the report tells, once

    def _scan(self, view: View, owners: tuple[ServerId, ...]) -> Iterator[list[Stored]]:
        pattern = Pattern(",".join(map(str, owners)))
        return view.select_batches(self._question, servers=pattern, size=SLICE)

    async def _tell_asked(self, owner: ServerId, source: int) -> None:
        """An owner's rows: from itself, else from who mirrors it, else what we have cached."""
        about, asked_at = self._owners[owner], self._asking.now()
        tellers = Tellers(self._asking, self._question, self._wanted, about, deadline=self._deadline)
        tried: set[str] = set()
        told: Telling | None = None
        try:
            while True:
                async with self._line:  # to its first rows only: the merge moves when everybody has begun
                    raced = await race(tellers.attempts(tried), deadline=self._deadline, is_final=_is_refusal)
                for error in raced.errors.values():
                    about.failed(error)
                told = raced.answer
                await tellers.close(but=told)
                if told is None or await self._tell(owner, source, told):
                    break
                tried.add(told.name)
        except Refused as error:  # the owner has spoken; nobody is asked behind its back
            about.failed(error)
            about.how = "refused"
            self._end(source)
            return
        finally:
            await tellers.close()
        if owner != self._asking.server and (told is None or told.holder is not None):
            about.since = unreachable_for(self._asking, owner, asked_at=asked_at)
        if told is None:
            await self._tell_nothing(owner, source)

    async def _tell_nothing(self, owner: ServerId, source: int) -> None:
        """Nobody told its rows, or none that are good enough."""
        about = self._owners[owner]
        if about.error is None:
            about.failed(Unreachable(f"no answer of {owner} within the deadline", server=str(owner)))
        if self._wanted.consistency == "nearest" and about.how != "stale":
            await self._tell_cached(owner, source)
        else:
            self._end(source)

    async def _tell(self, owner: ServerId, source: int, told: Telling) -> bool:
        """The rows of one teller, to their end; whether the answer ended well."""
        about, part, parts = self._owners[owner], told.first, told.parts
        if parts is None:
            self._holdings[owner] = self._asking.holding(owner)
            await self._tell_here((owner,), source)
            return True
        ended = False
        try:
            while part is not None:
                self._check_continues(about, part)
                about.answered(told.how, position=part.position, age=part.age, path=part.path, by=part.by)
                await self._add(source, part.rows)
                ended = part.last
                part = await anext(parts, None)
            if not ended:
                raise Unreachable(f"{told.holder or owner} broke off its answer")
        except BangpathError as error:
            about.failed(error)
            about.broken = self._merge.forget(source) or about.broken
            about.how = "unreachable"
            return False
        self._end(source)
        return True

    def _check_continues(self, about: Owner, part: RowPart) -> None:
        """A second teller goes on after rows that have left only where each row still has its place.

        Raises `Unreachable` when it is at another position and the order is by fields: a row that changed between
        the two might come twice, or never.
        """
        if about.broken and self._question.order and part.position != about.position:
            raise Unreachable(f"{about.server} broke off, and what others hold of it is not of the same position")

    async def _tell_cached(self, owner: ServerId, source: int) -> None:
        """What we happen to hold of an owner that was not reached, or not to be asked: only a part of its rows."""
        about, own = self._owners[owner], self._asking.server
        ages = []
        try:
            with self._asking.view() as view:
                for rows in self._scan(view, (owner,)):
                    found = [
                        Found(
                            each.reference, each.class_name, each.sequence, each.fields,
                            "cached", None, self._asking.age_of(each), (own,), None, own, each.fingerprint,
                        )
                        for each in rows if self._asking.shows(each)
                    ]  # fmt: skip
                    good = [each for each in found if not self._fault(each)]
                    ages += [each.age for each in good if each.age is not None]
                    await self._add(source, good)
        except BangpathError as error:
            self._refuse(error)
            return
        if ages:
            about.answered("cached", position=None, age=max(ages), path=(own,), by=own)
        elif self._wanted.consistency == "local":
            about.answered("not asked", position=None, age=None, path=())
        self._end(source)

    def _fault(self, row: Found) -> str:
        return self._wanted.fault(row.reference.server, position=None, age=row.age, by_owner=False)

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
        definitions = view.definitions(question.class_name)
    check_named(question, definitions, lambda server: (server or asking.server, asking.incarnation))
    if not question.order:
        return lambda row: reference_key(row.reference)
    key = common_sort_key(definitions, question.order)
    return lambda row: key(row.reference, row.fields)


def _is_refusal(name: str, error: BangpathError) -> bool:
    return name == OWNER and isinstance(error, Refused)
