"""One question about one object: an answer that says what it is, or an honest failure."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from identity.errors import BangpathError, NotFound, Refused, Unreachable
from identity.names import Incarnation, ObjectId, Position, Reference, ServerId
from node.asking import Found, Holding
from node.lookup import first_source, look_up
from store.records import Stored

OWN, A, B = (ServerId.parse(text) for text in ("1.4", "1.3", "1.2"))
POSITION = Position(A, Incarnation(1), 2, 9)


class Node:
    """What `Asking` gives, for one object 7 of server 1.3 (or of our own)."""

    server = OWN
    incarnation = 1

    def __init__(self, *, held: str = "nothing", owner: Found | BangpathError | None = None) -> None:
        self.held = held
        self.owner = owner
        self.holders: dict[ServerId, Found | BangpathError] = {}
        self.asked: list[str] = []
        self.whole = True
        self.at_last: Found | None = None  # the owner's answer when it is asked again

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
            return Holding("owned", Position(OWN, Incarnation(1), 1, 4), 0.0, whole=True)
        if self.held == "mirrored":
            return Holding("mirrored", POSITION, 1.5, whole=self.whole)
        return Holding("none", None, None, whole=False)

    def now(self) -> float:
        return 0.0

    def age_of(self, _stored: Stored) -> float:
        return 30.0

    def path_to(self, server: ServerId) -> tuple[ServerId, ...]:
        return (server, OWN)

    def carriers(self, _owner: ServerId) -> list[ServerId]:
        return list(self.holders)

    async def ask_object(
        self, server: ServerId, number: ObjectId, *, holder: ServerId | None = None, deadline: float
    ) -> Found:
        again = str(server) in self.asked and self.at_last is not None
        self.asked.append(str(holder or server))
        answer = (self.at_last if again else self.owner) if holder is None else self.holders[holder]
        if isinstance(answer, BangpathError):
            raise answer
        assert answer is not None
        return answer


def told(kind: str) -> Found:
    return Found(Reference(A, Incarnation(1), ObjectId(7)), "Note", 6, {"text": "there"}, kind, POSITION, 0.0, (A, OWN))


async def ask(node: Node, consistency: str = "nearest", server: ServerId = A) -> Found:
    return await look_up(node, server, ObjectId(7), consistency=consistency, deadline=1.0)  # type: ignore[arg-type]


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


async def test_a_silent_owner_is_replaced_by_a_carrier_then_by_our_copy() -> None:
    silent = Unreachable("1.3 is silent")
    node = Node(held="cached", owner=silent)
    node.holders = {B: told("mirrored")}
    assert (await ask(node)).kind == "mirrored"
    assert node.asked == ["1.3", "1.2"]
    node.holders = {B: Unreachable("1.2 is silent too")}
    found = await ask(node)
    assert (found.kind, found.age, found.position) == ("cached", 30.0, None)


async def test_a_mirror_that_is_not_known_to_be_whole_asks_the_owner_first() -> None:
    node = Node(held="mirrored", owner=told("owner"))
    node.whole = False
    assert (await ask(node)).kind == "owner"
    assert (await ask(node, "local")).kind == "mirrored"
    node.owner = Unreachable("1.3 is silent")
    assert (await ask(node)).kind == "mirrored"


async def test_an_owner_whose_carriers_are_silent_has_until_the_deadline() -> None:
    node = Node(owner=Unreachable("1.3 did not answer in time"))
    node.holders = {B: Unreachable("1.2 is silent too")}
    node.at_last = told("owner")
    assert (await ask(node)).kind == "owner"
    assert node.asked == ["1.3", "1.2", "1.3"]


async def test_owner_is_taken_at_its_word() -> None:
    node = Node(held="mirrored", owner=told("owner"))
    assert (await ask(node, "owner")).fields == {"text": "there"}
    node = Node(held="mirrored", owner=Unreachable("1.3 is silent"))
    with pytest.raises(Unreachable):
        await ask(node, "owner")


async def test_a_word_that_is_no_consistency() -> None:
    with pytest.raises(Refused, match="no consistency"):
        await ask(Node(), "eventual")
