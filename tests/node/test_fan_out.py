"""Rows of many owners while some are slow, silent or break off: one order, none twice, and a report of who told."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import pytest
import trio
import trio.testing

from identity.errors import BangpathError, Forbidden, Refused, Unreachable
from identity.names import Incarnation, ObjectId, Pattern, Position, Reference, ServerId
from node import fan_out
from node.asking import Found, Holding, RowPart
from node.fan_out import QueryAnswer, ask
from node.lookup import PATIENCE_S, STEP_S
from node.wanted import wanted
from store.definitions import ClassDefinition, Field
from store.query import Compare, Question
from store.records import Stored

OWN, A, B, C = (ServerId.parse(text) for text in ("1", "1.1", "1.2", "1.3"))
NOTE = ClassDefinition(name="Note", fields=(Field(name="n", type="int"), Field(name="text")))


def found(server: ServerId, number: int, n: int) -> Found:
    reference = Reference(server, Incarnation(1), ObjectId(number))
    return Found(reference, "Note", 1, {"n": n}, "owner", None, 0.0, (server,))


class World:
    """What `Asking` gives, out of plain lists: the contract that `node.node` keeps."""

    server = OWN
    incarnation = 1

    def __init__(self) -> None:
        self.rows: dict[ServerId, list[Found]] = {each: [] for each in (OWN, A, B, C)}
        self.without_class: set[ServerId] = set()
        self.mirrored: set[ServerId] = set()
        self.cached: dict[ServerId, list[Found]] = {}
        self.silent: set[ServerId] = set()
        self.breaks_after: dict[ServerId, int] = {}
        self.slow: dict[ServerId, float] = {}
        self.moved: dict[ServerId, Found] = {}  # one row of an owner, as its carriers hold it
        self.positions: dict[ServerId, int] = {}
        self.mirrors_of: dict[ServerId, list[ServerId]] = {}
        self.silent_at: dict[ServerId, float] = {}
        self.hidden: set[ServerId] = set()
        self.own_number = 5  # how far our mirrors are
        self.open = 0  # answers under way
        self.cached_age = 60.0
        self.refusal: BangpathError | None = None
        self.asked: list[tuple[str, Question]] = []

    def now(self) -> float:
        return trio.current_time()

    @contextmanager
    def view(self) -> Iterator[Any]:
        yield self

    def definitions(self, _name: str) -> list[ClassDefinition]:
        return [NOTE]

    def major(self, _server: ServerId, _class_name: str) -> int | None:
        return 1

    def select_batches(self, question: Question, *, servers: Pattern, size: int) -> Iterator[list[Stored]]:
        held = {each: self.rows[each] for each in (OWN, *self.mirrored)} | self.cached
        rows = [row for server, part in held.items() if server in servers for row in part]
        ordered = _select(rows, question)
        for at in range(0, len(ordered), size):
            yield [Stored(row.reference, "Note", row.sequence, dict(row.fields)) for row in ordered[at : at + size]]

    def holding(self, server: ServerId) -> Holding:
        if server == OWN:
            return Holding("owned", Position(OWN, Incarnation(1), 1, 1), 0.0, whole=True)
        if server in self.mirrored:
            return Holding("mirrored", Position(server, Incarnation(1), 1, self.own_number), 0.25, whole=True)
        return Holding("none", None, None, whole=False)

    def age_of(self, _stored: Stored) -> float:
        return self.cached_age

    def path_to(self, server: ServerId) -> tuple[ServerId, ...]:
        return (server,) if server == OWN else (server, OWN)

    def silent_since(self, server: ServerId) -> float | None:
        return self.silent_at.get(server)

    def heard_at(self, _server: ServerId) -> float | None:
        return None

    def shows(self, stored: Stored) -> bool:
        return stored.reference.server not in self.hidden

    def owners(self, class_name: str, servers: Pattern | None) -> list[ServerId]:
        return [each for each in self.rows if class_name == "Note" and (servers is None or each in servers)]

    def knows(self, server: ServerId) -> bool:
        return server in self.rows or server in self.without_class

    def holders(self, owner: ServerId) -> list[ServerId]:
        return self.mirrors_of.get(owner, [])

    def registry_report(self) -> list[dict[str, Any]]:
        return [{"server": "1", "position": "1@1:1", "age": 0.0}]

    async def ask_object(self, *_: Any, **__: Any) -> Found:
        raise AssertionError("a query asks for rows")

    async def ask_rows(
        self, server: ServerId, question: Question, *, owner: ServerId | None = None, deadline: float
    ) -> AsyncGenerator[RowPart, None]:
        self.asked.append((str(server), question))
        self.open += 1
        try:
            async with aclosing(self._parts(server, question, owner)) as parts:
                async for part in parts:
                    yield part
        finally:
            self.open -= 1

    async def _parts(
        self, server: ServerId, question: Question, owner: ServerId | None
    ) -> AsyncGenerator[RowPart, None]:
        await trio.lowlevel.checkpoint()
        if self.refusal is not None:
            raise self.refusal
        if server in self.silent:
            raise Unreachable(f"{server} is silent")
        if server in self.slow:
            await trio.sleep(self.slow[server])
        rows = self.rows[owner or server]
        if owner in self.moved:
            moved = self.moved[owner]
            rows = [moved if row.reference == moved.reference else row for row in rows]
        rows = _select(rows, question)
        position = Position(owner or server, Incarnation(1), 1, self.positions.get(server, 7))
        worth = (position, 0.0, (server, OWN)) if owner is None else (position, 2.0, (owner, server, OWN), server)
        for at in range(0, len(rows), 3):
            if at >= self.breaks_after.get(server, 10**9):
                raise Unreachable(f"{server} fell silent")
            yield RowPart(rows[at : at + 3], False, *worth)
            await trio.lowlevel.checkpoint()
        yield RowPart([], True, *worth)


def _select(rows: list[Found], question: Question) -> list[Found]:
    where = question.where
    if isinstance(where, Compare):
        rows = [row for row in rows if row.fields["n"] > where.value]
    if question.order:
        rows = sorted(rows, key=lambda row: (row.fields["n"], row.reference))
    return rows[: question.limit]


async def asked(world: World, question: str | Question, consistency: str = "nearest", **more: Any) -> QueryAnswer:
    want = wanted(consistency, **more)
    answer = await ask(world, question, wanted=want, deadline=world.now() + 5)  # type: ignore[arg-type]
    assert world.open == 0  # nobody is kept waiting for an answer that nobody reads
    return answer


@pytest.fixture
def world() -> World:
    made = World()
    for at, server in enumerate((OWN, A, B, C)):
        made.rows[server] = [found(server, n + 1, 4 * n + at) for n in range(10)]
    made.mirrored = {A}
    return made


async def test_rows_of_all_owners_in_one_order(world: World) -> None:
    answer = await asked(world, "Note order by n")
    assert [row.fields["n"] for row in answer.rows] == list(range(40))
    assert answer.completeness["whole"] is True
    how = {each["server"]: (each["how"], each["rows"]) for each in answer.completeness["owners"]}
    assert how == {"1": ("owned", 10), "1.1": ("mirrored", 10), "1.2": ("owner", 10), "1.3": ("owner", 10)}
    assert answer.rows[1].kind == "mirrored"
    assert answer.rows[1].age == 0.25


async def test_filter_and_limit_travel(world: World) -> None:
    answer = await asked(world, "Note where n > 20 from 1.2,1.3 order by n limit 3")
    assert [row.fields["n"] for row in answer.rows] == [22, 23, 26]
    assert {server for server, _ in world.asked} == {"1.2", "1.3"}
    assert all(question.limit == 3 and question.where is not None for _, question in world.asked)
    assert answer.completeness["whole"] is True


async def test_a_silent_owner_is_told_by_a_carrier(world: World) -> None:
    world.silent = {C}
    world.mirrors_of = {C: [B]}
    answer = await asked(world, "Note order by n")
    assert len(answer.rows) == 40
    owner = answer.completeness["owners"][3]
    assert (owner["how"], owner["path"], owner["age"]) == ("mirrored", ["1.3", "1.2", "1"], 2.0)
    assert answer.completeness["whole"] is True


async def test_a_silent_owner_that_nobody_carries(world: World) -> None:
    world.silent = {C}
    answer = await asked(world, "Note order by n")
    assert len(answer.rows) == 30
    assert answer.completeness["whole"] is False
    assert answer.completeness["owners"][3]["how"] == "unreachable"
    assert "1.3 is silent" in answer.completeness["owners"][3]["error"]["cause"]


async def test_cached_rows_are_shown_as_what_they_are(world: World) -> None:
    world.silent = {C}
    world.cached = {C: world.rows[C][:2]}
    answer = await asked(world, "Note order by n")
    assert [row.kind for row in answer.rows if row.reference.server == C] == ["cached", "cached"]
    owner = answer.completeness["owners"][3]
    assert (owner["how"], owner["age"], answer.completeness["whole"]) == ("cached", 60.0, False)


async def test_the_report_says_since_when_whom_and_by_whom(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    await trio.sleep(100)
    world.silent_at = {C: world.now() - 12, A: world.now() - 3}
    world.silent = {C}
    world.mirrors_of = {C: [B]}
    report = (await asked(world, "Note order by n")).completeness
    own, mirrored, owner, silent = report["owners"]
    assert [("since" in each, "by" in each) for each in (own, owner)] == [(False, False), (False, False)]
    assert (mirrored["how"], mirrored["by"], mirrored["since"]) == ("mirrored", "1", pytest.approx(3.0, abs=0.1))
    assert (silent["how"], silent["by"], silent["since"]) == ("mirrored", "1.2", pytest.approx(12.0, abs=0.1))
    assert report["summary"] == {
        "owners": 4,
        "rows": 40,
        "by": {
            "owned": {"owners": 1, "rows": 10},
            "mirrored": {"owners": 2, "rows": 20},
            "owner": {"owners": 1, "rows": 10},
        },
        "not_reached": ["1.1", "1.3"],
        "missing": [],
    }


async def test_dead_tellers_keep_nobody_waiting(world: World, autojump_clock: trio.testing.MockClock) -> None:
    """The owner and its first mirror are dead, which nobody knows yet."""
    world.mirrors_of = {C: [B, A]}
    world.slow = {C: 100, B: 100}
    begun = world.now()
    report = (await asked(world, "Note from 1.3 order by n")).completeness
    assert world.now() - begun == pytest.approx(PATIENCE_S + STEP_S, abs=0.05)
    assert [server for server, _ in world.asked] == ["1.3", "1.2", "1.1"]
    assert (report["owners"][0]["by"], report["owners"][0]["since"]) == ("1.1", pytest.approx(0.9, abs=0.05))
    world.asked, world.silent_at = [], {C: world.now() - 1}
    begun = world.now()
    await asked(world, "Note from 1.3 order by n")
    assert world.now() - begun == pytest.approx(STEP_S, abs=0.05)


@pytest.mark.parametrize(
    ("max_age", "silent", "how"),
    [
        (None, (), ["owned", "mirrored", "owner", "owner"]),
        (0.2, (), ["owned", "owner", "owner", "owner"]),  # our mirror is 0.25 s old
        (0.2, (A,), ["owned", "stale", "owner", "owner"]),  # that of 1.2 is 2 s old
        (1.0, (A, C), ["owned", "mirrored", "owner", "stale"]),
        (2.0, (A, C), ["owned", "mirrored", "owner", "mirrored"]),
    ],
)
async def test_rows_older_than_was_asked_for_are_left_out(
    world: World, max_age: float | None, silent: tuple[ServerId, ...], how: list[str]
) -> None:
    world.silent = set(silent)
    world.mirrors_of = {A: [B], C: [B]}
    answer = await asked(world, "Note order by n", max_age=max_age)
    assert [each["how"] for each in answer.completeness["owners"]] == how
    assert len(answer.rows) == 10 * (4 - how.count("stale"))
    assert answer.completeness["whole"] is ("stale" not in how)
    for each in answer.completeness["owners"]:
        if each["how"] == "stale":
            assert each["rows"] == 0
            assert each["position"] is not None
            assert "at most" in each["error"]["cause"]
            assert each["since"] >= 0


async def test_an_owner_of_which_only_old_copies_are_reached_is_stale_and_nothing_else(world: World) -> None:
    """Rows of our own mirror are no copies kept by chance, however lately each of them came."""
    world.silent, world.cached_age = {A}, 0.1
    (told,) = (await asked(world, "Note from 1.1 order by n", max_age=0.2)).completeness["owners"]
    assert (told["how"], told["rows"], told["position"], told["age"]) == ("stale", 0, "1.1@1:5", 0.25)


async def test_a_mirror_that_breaks_off_is_not_asked_again(world: World) -> None:
    world.silent, world.mirrors_of, world.breaks_after = {C}, {C: [B]}, {B: 6}
    (told,) = (await asked(world, "Note from 1.3 order by n")).completeness["owners"]
    assert [server for server, _ in world.asked] == ["1.3", "1.2", "1.3"]  # the owner may be back
    assert (told["how"], "since" in told) == ("unreachable", True)


async def test_a_question_after_a_change_waits_for_our_mirror(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    world.silent = {A}

    async def replicate() -> None:
        await trio.sleep(1)
        world.own_number = 6

    for consistency in ("nearest", "local"):
        world.own_number = 5
        async with trio.open_nursery() as nursery:
            nursery.start_soon(replicate)
            answer = await asked(world, "Note from 1.1 order by n", consistency, after="1.1@1:6")
        (told,) = answer.completeness["owners"]
        assert (told["how"], told["position"], told["rows"], told["by"]) == ("mirrored", "1.1@1:6", 10, "1")
    answer = await asked(world, "Note from 1.1 order by n", "local", after="1.1@1:9")
    (told,) = answer.completeness["owners"]
    assert (told["how"], told["position"], told["rows"]) == ("stale", "1.1@1:6", 0)
    assert answer.completeness["whole"] is False


async def test_a_question_after_a_change_asks_the_owner_or_a_mirror_that_has_it(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    answer = await asked(world, "Note from 1.1 order by n", after="1.1@1:6")
    assert answer.completeness["owners"][0]["how"] == "owner"
    world.silent, world.mirrors_of, world.positions = {A}, {A: [B, C]}, {B: 5}
    answer = await asked(world, "Note from 1.1 order by n", after="1.1@1:6")
    assert (answer.completeness["owners"][0]["by"], len(answer.rows)) == ("1.3", 10)
    world.positions = {B: 5, C: 5}
    answer = await asked(world, "Note from 1.1 order by n", after="1.1@1:6")
    assert (answer.completeness["owners"][0]["how"], answer.rows) == ("stale", [])


async def test_copies_kept_by_chance_are_part_only_and_never_too_old(world: World) -> None:
    world.silent = {C}
    world.cached = {C: world.rows[C][:2]}  # 60 s old
    for max_age, how, rows in ((60, "cached", 2), (59, "unreachable", 0)):
        (told,) = (await asked(world, "Note from 1.3 order by n", max_age=max_age)).completeness["owners"]
        assert (told["how"], told["rows"], "since" in told) == (how, rows, True)
    (told,) = (await asked(world, "Note from 1.3", after="1.3@1:1")).completeness["owners"]
    assert (told["how"], told["rows"]) == ("unreachable", 0)
    world.hidden = {C}
    (told,) = (await asked(world, "Note from 1.3 order by n")).completeness["owners"]
    assert (told["how"], told["rows"]) == ("unreachable", 0)


async def test_an_owner_that_breaks_off_leaves_no_row_twice(world: World) -> None:
    world.breaks_after = {C: 6}
    world.mirrors_of = {C: [B]}
    answer = await asked(world, "Note order by n")
    assert [row.fields["n"] for row in answer.rows] == list(range(40))
    world.mirrors_of = {}
    answer = await asked(world, "Note order by n")
    numbers = [row.fields["n"] for row in answer.rows]
    assert numbers == sorted(set(numbers))
    assert answer.completeness["whole"] is False


async def test_an_owner_that_is_slow_and_whose_carriers_are_silent_is_asked_until_the_deadline(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    world.mirrors_of = {C: [B]}
    world.silent = {B}
    world.slow = {C: PATIENCE_S * 2}
    world.mirrored = {A, B}
    answer = await asked(world, "Note order by n")
    assert len(answer.rows) == 40
    assert answer.completeness["owners"][3]["how"] == "owner"
    assert answer.completeness["whole"] is True


async def test_rows_that_have_left_are_continued_by_a_teller_of_the_same_position_only(world: World) -> None:
    world.breaks_after = {C: 6}
    world.mirrors_of = {C: [B]}
    world.moved = {C: found(C, 1, 1000)}  # given already as 3; the carrier has it elsewhere
    world.positions = {B: 6}
    answer = await asked(world, "Note order by n")
    references = [row.reference for row in answer.rows]
    assert len(references) == len(set(references))
    assert answer.completeness["whole"] is False
    answer = await asked(world, "Note")  # by reference every row keeps its place
    assert len(answer.rows) == 40


async def test_a_limit_of_nothing_still_says_who_would_have_answered(world: World) -> None:
    answer = await asked(world, "Note order by n limit 0")
    assert answer.rows == []
    assert [each["how"] for each in answer.completeness["owners"]] == ["owned", "mirrored", "owner", "owner"]
    assert answer.completeness["whole"] is True


async def test_local_asks_nobody(world: World) -> None:
    answer = await asked(world, "Note order by n", "local")
    assert world.asked == []
    assert len(answer.rows) == 20
    assert answer.completeness["whole"] is False
    assert answer.completeness["owners"][2]["how"] == "not asked"


async def test_owner_passes_the_mirror_by(world: World) -> None:
    answer = await asked(world, "Note order by n", "owner")
    assert {server for server, _ in world.asked} == {"1.1", "1.2", "1.3"}
    assert answer.completeness["whole"] is True


@pytest.mark.parametrize("text", ["Note order by m", "Note where m = 1", "Note where n = 'x'", "Note show m"])
async def test_a_wrong_question_is_refused_here_and_nobody_is_asked(world: World, text: str) -> None:
    with pytest.raises(Refused):
        await asked(world, text)
    assert world.asked == []


async def test_an_owner_that_refuses_is_told_and_nobody_is_asked_behind_its_back(world: World) -> None:
    world.refusal = Forbidden("1 may not read from 1.3")
    world.mirrors_of = {C: [A]}
    answer = await asked(world, "Note order by n")
    assert len(answer.rows) == 20
    assert answer.completeness["whole"] is False
    assert [each["how"] for each in answer.completeness["owners"]] == ["owned", "mirrored", "refused", "refused"]
    assert sorted(server for server, _ in world.asked) == ["1.2", "1.3"]


async def test_many_owners_wait_their_turn_and_none_for_ever(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fan_out, "MAX_ASKED", 2)
    monkeypatch.setattr(fan_out, "HELD_ROWS", 10)
    monkeypatch.setattr(fan_out, "SLICE", 5)
    world.mirrored = set()
    world.rows = {ServerId.of(1, at + 1): [] for at in range(50)} | {OWN: []}
    for at, server in enumerate(world.rows):
        world.rows[server] = [found(server, n + 1, 51 * n + at) for n in range(40)]
    with trio.fail_after(10):
        answer = await asked(world, "Note order by n")
    assert [row.fields["n"] for row in answer.rows] == list(range(51 * 40))


async def test_a_class_of_nobody_and_a_word_of_nobody(world: World) -> None:
    with pytest.raises(Refused, match="no server known here has a class 'City'"):
        await asked(world, "City")
    answer = await asked(world, "Note from 2.*")
    assert answer.rows == []
    assert answer.completeness["whole"] is True


async def test_a_server_asked_for_by_name_that_nobody_knows_is_told_as_unreachable(world: World) -> None:
    answer = await asked(world, "Note from 9.9")
    assert answer.rows == []
    assert answer.completeness["whole"] is False
    (told,) = answer.completeness["owners"]
    assert (told["server"], told["how"], told["position"], told["rows"]) == ("9.9", "unreachable", None, 0)
    assert told["error"]["cause"] == "9.9 is not known here"
    assert told["error"]["next_step"] == "bangpath @1 servers"


async def test_among_servers_that_are_known_the_unknown_one_stands_in_its_place(world: World) -> None:
    world.without_class = {ServerId.parse("1.2.5")}
    answer = await asked(world, "Note from 9.9, 1.2, 1.2.5, 1.1.7, 7.*, -9.9.9 order by n", "local")
    assert [each["server"] for each in answer.completeness["owners"]] == ["1.1.7", "1.2", "9.9"]
    assert answer.completeness["whole"] is False
    answer = await asked(world, "Note from *, -9.9")
    assert "9.9" not in [each["server"] for each in answer.completeness["owners"]]
    answer = await asked(world, "Note from 1.2.5")
    assert answer.completeness["owners"] == []
    assert answer.completeness["whole"] is True


async def test_what_the_taker_raises_reaches_the_caller(world: World) -> None:
    from node.fan_out import stream

    async def give(_rows: list[Found]) -> None:
        raise Unreachable("the client hung up")

    with pytest.raises(Unreachable, match="hung up"):
        await stream(world, "Note order by n", give, deadline=world.now() + 5)  # type: ignore[arg-type]
