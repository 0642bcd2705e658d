"""One question about one object: an answer that says what it is, or an honest failure."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio

from identity.errors import BangpathError, Forbidden, NotFound, Refused, Stale, Unreachable
from identity.names import Incarnation, ObjectId, Position, Reference, ServerId
from node.asking import Found, Holding
from node.lookup import PATIENCE_S, SPARE_S, STEP_S, first_source, look_up
from node.wanted import wanted
from store.records import Stored

OWN, A, B, C, D = (ServerId.parse(text) for text in ("1.4", "1.3", "1.2", "1.5", "1.6"))
POSITION = Position(A, Incarnation(1), 2, 9)


class Node:
    """What `Asking` gives, for one object 7 of server 1.3 (or of our own). A server that is `slow` takes so long."""

    server = OWN
    incarnation = 1

    def __init__(self, *, held: str = "nothing", owner: Found | BangpathError | None = None) -> None:
        self.held = held
        self.owner = owner
        self.mirrors: dict[ServerId, Found | BangpathError] = {}
        self.caches: dict[ServerId, Found | BangpathError] = {}
        self.asked: list[str] = []
        self.asked_at: list[float] = []
        self.whole = True
        self.number = 9  # how far our mirror is
        self.shown = True
        self.slow: dict[ServerId, float] = {}
        self.silent: float | None = None  # since when the router knows the owner to be
        self.heard: float | None = None  # when the owner was last heard

    @contextmanager
    def view(self) -> Iterator[Any]:
        yield self

    def get(self, key: tuple[ServerId, ObjectId]) -> Stored | None:
        if self.held == "nothing":
            return None
        kind = "mirrored" if self.held == "mirrored" else "owned" if key[0] == OWN else "cached"
        return Stored(Reference(key[0], Incarnation(1), key[1]), "Note", 5, {"text": "here"}, kind)

    def holding(self, server: ServerId) -> Holding:
        if server == OWN:
            return Holding("owned", Position(OWN, Incarnation(1), 1, self.number), 0.0, whole=True)
        if self.held == "mirrored":
            return Holding("mirrored", POSITION._replace(number=self.number), 1.5, whole=self.whole)
        return Holding("none", None, None, whole=False)

    def now(self) -> float:
        return trio.current_time()

    def shows(self, _stored: Stored) -> bool:
        return self.shown

    def age_of(self, _stored: Stored) -> float:
        return 30.0

    def path_to(self, server: ServerId) -> tuple[ServerId, ...]:
        return (server, OWN)

    def silent_since(self, server: ServerId) -> float | None:
        return self.silent if server == A else None

    def heard_at(self, _server: ServerId) -> float | None:
        return self.heard

    def holders(self, _owner: ServerId) -> list[ServerId]:
        return list(self.mirrors)

    def neighbours(self) -> list[ServerId]:
        return list(self.caches)

    async def ask_object(
        self,
        server: ServerId,
        number: ObjectId,
        *,
        holder: ServerId | None = None,
        cached: bool = False,
        deadline: float,
    ) -> Found:
        self.asked.append(str(holder or server))
        self.asked_at.append(round(self.now(), 3))
        if (holder or server) in self.slow:
            await trio.sleep(self.slow[holder or server])
        answer = (self.caches if cached else self.mirrors)[holder] if holder else self.owner
        if isinstance(answer, BangpathError):
            raise answer
        assert answer is not None
        return answer


SILENT = Unreachable("1.3 is silent")
SLOW = PATIENCE_S * 100


def told(kind: str, *, by: ServerId | None = None, number: int = 9, age: float = 0.0) -> Found:
    position = None if kind == "cached" else POSITION._replace(number=number)
    reference = Reference(A, Incarnation(1), ObjectId(7))
    return Found(reference, "Note", 6, {"text": "there"}, kind, position, age, (A, OWN), None, by)


async def ask(node: Node, consistency: str = "nearest", server: ServerId = A, **more: Any) -> Found:
    deadline = node.now() + more.pop("deadline", 30.0)
    return await look_up(
        node,  # type: ignore[arg-type]
        server,
        ObjectId(7),
        wanted=wanted(consistency, **more),
        deadline=deadline,
    )


async def test_a_mirror_answers_at_once_and_says_so() -> None:
    node = Node(held="mirrored")
    found = await ask(node)
    assert (found.kind, found.position, found.age, found.path) == ("mirrored", POSITION, 1.5, (A, OWN))
    assert node.asked == []


@pytest.mark.parametrize("held", ["nothing", "mirrored", "cached", "owned"])
@pytest.mark.parametrize("consistency", ["local", "nearest", "owner"])
@pytest.mark.parametrize("own", [True, False])
def test_who_is_asked_first(held: str, consistency: str, own: bool) -> None:
    first = first_source(own=own, held=held, consistency=consistency)
    if own:
        assert first == "here"
    elif consistency == "owner":
        assert first == "owner"
    elif held == "mirrored":
        assert first == "here"
    elif consistency == "nearest":
        assert first == "owner"
    else:
        assert first == ("here" if held == "cached" else "nobody")


async def test_only_the_owner_says_that_there_is_none() -> None:
    with pytest.raises(NotFound, match=r"there is no object 1\.4/7, says its owner 1\.4") as none:
        await ask(Node(), server=OWN)
    assert none.value.details == {"reference": "1.4/7", "owner": "1.4"}
    assert "bangpath @1.4 class" in none.value.next_step
    with pytest.raises(NotFound):
        await ask(Node(owner=NotFound("there is no object 1.3/7")))
    with pytest.raises(Unreachable) as silence:
        await ask(Node(owner=Unreachable("1.3 is silent since 4 s")))
    assert "1.3 is silent since 4 s" in silence.value.cause
    with pytest.raises(Unreachable, match=r"only 1\.3 may say that there is none"):
        await ask(Node(), "local")


async def test_a_silent_owner_is_replaced_by_a_mirror_then_by_our_copy() -> None:
    node = Node(held="cached", owner=SILENT)
    node.mirrors = {B: told("mirrored", by=B)}
    found = await ask(node)
    assert (found.kind, found.by) == ("mirrored", B)
    assert node.asked == ["1.3", "1.2"]
    node.mirrors = {B: Unreachable("1.2 is silent too")}
    found = await ask(node)
    assert (found.kind, found.age, found.position, found.by) == ("cached", 30.0, None, OWN)


async def test_a_mirror_that_is_not_known_to_be_whole_asks_the_owner_first() -> None:
    node = Node(held="mirrored", owner=told("owner"))
    node.whole = False
    assert (await ask(node)).kind == "owner"
    assert (await ask(node, "local")).kind == "mirrored"
    node.owner = SILENT
    assert (await ask(node)).kind == "mirrored"


async def test_an_owner_whose_mirrors_are_silent_has_until_the_deadline(autojump_clock: Any) -> None:
    node = Node(owner=told("owner"))
    node.mirrors = {B: Unreachable("1.2 is silent too")}
    node.slow = {A: 20.0}
    assert (await ask(node)).kind == "owner"
    assert node.asked == ["1.3", "1.2"]


async def test_others_are_asked_one_after_another_and_never_waited_for(autojump_clock: Any) -> None:
    """The owner and two mirrors are dead and nobody knows it yet; the third mirror answers within a second or so."""
    node = Node(owner=SILENT)
    node.mirrors = {B: SILENT, C: SILENT, D: told("mirrored", by=D, age=14.0)}
    node.slow = dict.fromkeys((A, B, C), SLOW)
    begun = node.now()
    found = await ask(node)
    assert (found.by, found.age) == (D, 14.0)
    assert node.asked == ["1.3", "1.2", "1.5", "1.6"]
    steps = [0.0, PATIENCE_S, PATIENCE_S + STEP_S, PATIENCE_S + 2 * STEP_S]
    assert node.asked_at == pytest.approx([begun + step for step in steps], abs=0.01)
    assert found.owner_unreachable_since == pytest.approx(steps[-1], abs=0.01)  # nobody knew it: since it was asked


async def test_an_owner_known_to_be_silent_keeps_nobody_waiting(autojump_clock: Any) -> None:
    node = Node(owner=SILENT)
    node.slow = {A: SLOW}
    node.mirrors = {B: told("mirrored", by=B)}
    node.silent = node.now() - 12.0
    begun = node.now()
    found = await ask(node)
    assert node.now() - begun < STEP_S
    assert found.owner_unreachable_since == pytest.approx(12.0, abs=0.01)


async def test_an_owner_is_unreachable_since_it_was_last_heard_and_not_when_it_is_only_slow(
    autojump_clock: Any,
) -> None:
    node = Node(owner=SILENT)
    node.slow = {A: SLOW}
    node.mirrors = {B: told("mirrored", by=B)}
    await trio.sleep(100)
    node.heard = node.now() - 4.0
    assert (await ask(node)).owner_unreachable_since == pytest.approx(4.0 + PATIENCE_S, abs=0.01)
    node.heard = node.now() + PATIENCE_S / 2  # it has acknowledged the question
    found = await ask(node)
    assert (found.by, found.owner_unreachable_since) == (B, None)


async def test_our_own_mirror_says_since_when_its_owner_is_silent() -> None:
    node = Node(held="mirrored")
    assert (await ask(node)).owner_unreachable_since is None
    node.silent = node.now() - 3.0
    assert (await ask(node)).owner_unreachable_since == pytest.approx(3.0, abs=0.1)
    assert node.asked == []


async def test_copies_kept_by_chance_come_last(autojump_clock: Any) -> None:
    node = Node(owner=SILENT)
    node.mirrors = {B: told("mirrored", by=B)}
    node.caches = {C: told("cached", by=C, age=60.0), D: Refused("1.6 holds no copy")}
    node.slow = {B: SPARE_S / 2}
    assert (await ask(node)).by == B  # slower than a neighbour, and better
    node.slow = {B: SPARE_S * 2}
    found = await ask(node)
    assert (found.kind, found.by, found.age, found.position) == ("cached", C, 60.0, None)
    assert found.owner_unreachable_since is not None
    node.held = "cached"
    assert (await ask(node)).by == OWN  # ours is as good as any


async def test_a_copy_kept_by_chance_never_overtakes_an_owner_that_is_only_slow(autojump_clock: Any) -> None:
    node = Node(owner=told("owner"))
    node.slow = {A: 10.0}
    node.caches = {C: told("cached", by=C)}
    assert (await ask(node)).kind == "owner"
    assert node.asked == ["1.3"]


async def test_what_the_owner_refuses_nobody_is_asked_behind_its_back() -> None:
    node = Node(owner=Forbidden("1.4 may not read from 1.3"))
    node.mirrors = {B: told("mirrored", by=B)}
    with pytest.raises(Forbidden):
        await ask(node)
    assert node.asked == ["1.3"]


async def test_a_mistake_of_ours_is_not_taken_for_silence() -> None:
    node = Node()  # no answer at all: the fake itself fails
    with pytest.raises(AssertionError):
        await ask(node)


@pytest.mark.parametrize(
    ("max_age", "mirror_age", "answered_by"),
    [(None, 50.0, "here"), (2.0, 50.0, "here"), (1.0, 0.5, "1.2"), (1.0, 50.0, None), (0.0, 0.0, "1.2")],
)
async def test_a_copy_that_is_too_old_is_no_answer(
    max_age: float | None, mirror_age: float, answered_by: str | None
) -> None:
    """Our own mirror is 1.5 s old, the owner silent."""
    node = Node(held="mirrored", owner=SILENT)
    node.mirrors = {B: told("mirrored", by=B, age=mirror_age)}
    if answered_by is not None:
        found = await ask(node, max_age=max_age)
        assert str(found.by) == {"here": "1.4"}.get(answered_by, answered_by)
        return
    with pytest.raises(Stale) as stale:
        await ask(node, max_age=max_age)
    assert stale.value.exit_code == 3
    assert stale.value.http_status == 504
    assert "1.4 is 1.5 s old, and at most 1 s was asked for" in stale.value.cause
    assert "1.2 is 50.0 s old" in stale.value.cause
    assert "bangpath @1.4 peers" in stale.value.next_step
    known = [(each["server"], each["kind"], each["age"], each["position"]) for each in stale.value.details["copies"]]
    assert known == [("1.4", "mirrored", 1.5, "1.3@2:9"), ("1.2", "mirrored", 50.0, "1.3@2:9")]
    assert stale.value.details["owner_unreachable_since"] >= 0
    assert (await ask(Node(held="mirrored", owner=told("owner")), max_age=1.0)).kind == "owner"


async def test_a_copy_of_unknown_age_is_too_old_for_any_age() -> None:
    node = Node(held="nothing", owner=SILENT)
    node.mirrors = {B: told("mirrored", by=B)._replace(age=None)}
    with pytest.raises(Stale, match="an age that nobody knows"):
        await ask(node, max_age=1e9)
    assert (await ask(node)).by == B


@pytest.mark.parametrize("consistency", ["local", "nearest"])
async def test_one_reads_what_one_wrote_by_waiting_for_our_own_mirror(consistency: str, autojump_clock: Any) -> None:
    node = Node(held="mirrored", owner=SILENT)
    node.slow = {A: SLOW}

    async def replicate() -> None:
        await trio.sleep(0.5)
        node.number = 10

    async with trio.open_nursery() as nursery:
        nursery.start_soon(replicate)
        found = await ask(node, consistency, after="1.3@2:10")
    assert found.position == POSITION._replace(number=10)
    assert node.asked == ([] if consistency == "local" else ["1.3"])


async def test_a_mirror_that_is_behind_is_asked_again_until_the_deadline(autojump_clock: Any) -> None:
    node = Node(held="cached", owner=SILENT)
    node.mirrors = {B: told("mirrored", by=B, number=9), C: told("mirrored", by=C, number=8)}
    begun = node.now()
    with pytest.raises(Stale, match=r"the copy of 1\.2 is at 1\.3@2:9 and 1\.3@2:10 was asked for") as stale:
        await ask(node, after="1.3@2:10", deadline=5.0)
    assert node.now() - begun == pytest.approx(5.0, abs=0.2)
    assert [each["server"] for each in stale.value.details["copies"]] == ["1.2", "1.5", "1.4"]
    node.mirrors[C] = told("mirrored", by=C, number=10)
    assert (await ask(node, after="1.3@2:10", deadline=5.0)).by == C
    assert (await ask(node, after="1.9@7:1000", deadline=5.0)).by == B  # of another owner: no matter here


async def test_our_own_object_after_a_position_that_never_comes(autojump_clock: Any) -> None:
    node = Node(held="cached")
    with pytest.raises(Stale, match=r"1\.4 is at 1\.4@1:9 and 1\.4@1:10 was asked for"):
        await ask(node, server=OWN, after="1.4@1:10", deadline=1.0)
    assert (await ask(node, server=OWN, after="1.4@1:9")).kind == "owned"
    assert node.asked == []


async def test_an_owner_that_came_back_from_an_older_backup_is_behind_too(autojump_clock: Any) -> None:
    node = Node(owner=told("owner", number=5))
    with pytest.raises(Stale, match=r"the copy of 1\.3 is at 1\.3@2:5 and 1\.3@2:9 was asked for"):
        await ask(node, after="1.3@2:9", deadline=2.0)


async def test_mirrored_copies_that_are_not_shown_are_not_there() -> None:
    node = Node(held="cached", owner=SILENT)
    node.shown = False
    with pytest.raises(Unreachable, match="nobody who was reached holds a copy") as silence:
        await ask(node)
    assert not isinstance(silence.value, Stale)
    assert silence.value.exit_code == 4


async def test_owner_is_taken_at_its_word() -> None:
    node = Node(held="mirrored", owner=told("owner"))
    assert (await ask(node, "owner")).fields == {"text": "there"}
    node = Node(held="mirrored", owner=SILENT)
    node.mirrors = {B: told("mirrored", by=B)}
    with pytest.raises(Unreachable):
        await ask(node, "owner")
    assert node.asked == ["1.3"]
