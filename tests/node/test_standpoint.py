"""What other servers answer becomes an answer that says whose word it is; what they make up of it is not believed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from identity.errors import PeerMisbehaved
from identity.names import Incarnation, ObjectId, Position, Reference, ServerId
from node.asking import MAX_HOLDERS
from node.requests import At, Done, Object, Rows, object_leaf
from node.standpoint import Standpoint
from store.definitions import ClassDefinition, Field
from store.query import Question
from store.records import Stored

OWN, OWNER, MIRROR, GATEWAY, FAR = (ServerId.parse(text) for text in ("1.4", "1.2", "1.3", "1.5", "2.1.9"))
NOTE = ClassDefinition(name="Note", fields=(Field(name="text"),))
LEAF = object_leaf(
    Reference(OWNER, Incarnation(7), ObjectId(42)),
    sequence=3,
    fingerprint=NOTE.fingerprint,
    body=NOTE.to_body({"text": "hi"}),
)
AT = Position(OWNER, Incarnation(7), 1, 9)


class Parts:
    """What a `Standpoint` stands on: whatever was last set is what the others answer."""

    def __init__(self, *, without_mirrors: bool = False) -> None:
        self.answer: Any = None
        self.asked: list[Any] = []
        self.breaches: list[str] = []
        self.ways: dict[ServerId, tuple[ServerId, ...]] = {}
        self.silent: set[ServerId] = set()
        self.carriers: list[ServerId] = []
        self.announced: list[ServerId] = []
        self.peers: list[ServerId] = []
        entry = SimpleNamespace(definition=NOTE)
        registry = SimpleNamespace(by_fingerprint=lambda fingerprint: entry)
        self.standpoint = Standpoint(
            OWN,
            database=SimpleNamespace(incarnation=1, registry=registry),  # type: ignore[arg-type]
            directory=SimpleNamespace(entry=lambda server: None, mirrors_of=lambda owner: self.announced),  # type: ignore[arg-type]
            flood=SimpleNamespace(carriers=lambda owner, kind: self.carriers),  # type: ignore[arg-type]
            requesting=self,  # type: ignore[arg-type]
            mirrors=lambda server: False,
            silent_since=lambda server: 1.0 if server in self.silent else None,
            reached=lambda server: server in self.peers,
            peers=lambda: self.peers,
            heard_at=lambda server: None,
            path_from=lambda server: self.ways.get(server, (server, OWN)),
            without_mirrors=without_mirrors,
            wall_ms=lambda: 0,
        )

    async def ask_one(self, peer: ServerId, question: Any, expected: Any, *, deadline: float) -> Any:
        self.asked.append((peer, question))
        return self.answer

    async def ask_parts(self, peer: ServerId, question: Any, *expected: Any, deadline: float) -> AsyncIterator[Any]:
        for part in self.answer:
            yield part

    def misbehaved(self, peer: ServerId, cause: str) -> None:
        self.breaches.append(f"{peer}: {cause}")

    async def get(self, holder: ServerId | None = None, *, cached: bool = False) -> Any:
        return await self.standpoint.ask_object(OWNER, ObjectId(42), holder=holder, cached=cached, deadline=1e9)

    @property
    def copies(self) -> int:
        """How many copies wait to be kept."""
        return len(self.standpoint._copies)


def answered(at: At) -> Object:
    return Object(OWNER, 7, at, LEAF)


@asynccontextmanager
async def parts_of(standpoint: Standpoint, server: ServerId, owner: ServerId | None) -> AsyncIterator[Any]:
    answer = standpoint.ask_rows(server, Question("Note"), owner=owner, deadline=1e9)
    yield [part async for part in answer]


async def test_an_owner_answers_by_the_way_its_packets_come() -> None:
    parts = Parts()
    parts.answer = answered(At(1, 9, 0))
    found = await parts.get()
    assert (found.kind, found.position, found.age, found.path, found.by) == ("owner", AT, 0.0, (OWNER, OWN), None)
    parts.ways = {OWNER: (OWNER, GATEWAY, OWN)}
    assert (await parts.get()).path == (OWNER, GATEWAY, OWN)
    for unknown in ((), (GATEWAY, OWN), (OWNER, GATEWAY)):  # it has changed between the answer and the question
        parts.ways = {OWNER: unknown}
        assert (await parts.get()).path == (OWNER, OWN)


async def test_a_mirror_tells_how_it_got_it_and_the_way_from_it_follows() -> None:
    parts = Parts()
    parts.ways = {MIRROR: (MIRROR, GATEWAY, OWN)}
    parts.answer = answered(At(1, 9, 2500, (OWNER, FAR, MIRROR)))
    found = await parts.get(MIRROR)
    assert (found.kind, found.position, found.age, found.by) == ("mirrored", AT, 2.5, MIRROR)
    assert found.path == (OWNER, FAR, MIRROR, GATEWAY, OWN)


@pytest.mark.parametrize("told", [(), (MIRROR,), (FAR, MIRROR), (OWNER, FAR)])
async def test_a_path_that_is_none_is_not_believed(told: tuple[ServerId, ...]) -> None:
    """From the owner to the mirror, or it is left out: it may be an older server, that tells none."""
    parts = Parts()
    parts.answer = answered(At(1, 9, 0, told))
    assert (await parts.get(MIRROR)).path == (OWNER, MIRROR, OWN)


async def test_an_owner_cannot_lengthen_its_own_path() -> None:
    parts = Parts()
    parts.answer = answered(At(1, 9, 0, (OWNER, FAR, OWNER), cached=True))
    found = await parts.get()
    assert (found.kind, found.path) == ("owner", (OWNER, OWN))


async def test_a_copy_kept_by_chance_is_one_and_has_no_position() -> None:
    parts = Parts()
    parts.answer = answered(At(1, 9, 60_000, (OWNER, MIRROR), cached=True))
    found = await parts.get(MIRROR, cached=True)
    assert (found.kind, found.position, found.age, found.path, found.by) == (
        "cached", None, 60.0, (MIRROR, OWN), MIRROR,
    )  # fmt: skip
    assert parts.asked[-1][1].cached is True
    with pytest.raises(PeerMisbehaved, match="which was not asked for"):
        await parts.get(MIRROR)
    assert len(parts.breaches) == 1


async def test_only_what_its_owner_answered_is_kept() -> None:
    """A copy of a mirror's answer would say the time since it came, and so look younger than it is."""
    parts = Parts()
    parts.answer = answered(At(1, 9, 2500))
    await parts.get(MIRROR)
    await parts.get(MIRROR, cached=True)
    assert parts.copies == 0
    await parts.get()
    assert parts.copies == 1


async def test_rows_of_a_mirror_say_the_same() -> None:
    parts = Parts()
    at = At(1, 9, 2500, (OWNER, FAR, MIRROR))
    parts.answer = [Rows(7, at, 1, LEAF), Done(7, at)]
    async with parts_of(parts.standpoint, MIRROR, OWNER) as told:
        rows, done = told
    path = (OWNER, FAR, MIRROR, OWN)
    assert [(part.last, part.position, part.age, part.path, part.by) for part in (rows, done)] == [
        (False, AT, 2.5, path, MIRROR),
        (True, AT, 2.5, path, MIRROR),
    ]
    assert [(row.kind, row.path, row.by, row.fields) for row in rows.rows] == [
        ("mirrored", path, MIRROR, {"text": "hi"})
    ]


def test_neighbours_that_hold_it_come_first_and_the_silent_last() -> None:
    parts = Parts()
    parts.carriers = [OWNER, MIRROR, FAR]
    parts.announced = [GATEWAY, MIRROR]
    assert parts.standpoint.holders(OWNER) == [MIRROR, FAR, GATEWAY]
    parts.silent = {MIRROR}
    assert parts.standpoint.holders(OWNER) == [FAR, GATEWAY, MIRROR]
    parts.announced = [ServerId.of(1, number) for number in range(100, 200)]
    assert len(parts.standpoint.holders(OWNER)) == MAX_HOLDERS


def test_neighbours_are_the_nearest_first() -> None:
    parts = Parts()
    parts.peers = [FAR, GATEWAY, ServerId.parse("1")]
    assert parts.standpoint.neighbours() == [ServerId.parse("1"), GATEWAY, FAR]


def test_with_the_mirrors_switched_off_there_are_none() -> None:
    stored = Stored(Reference(OWNER, Incarnation(7), ObjectId(42)), "Note", 3, {"text": "hi"}, "mirrored")
    for without, shown, holders in ((False, True, [MIRROR]), (True, False, [])):
        parts = Parts(without_mirrors=without)
        parts.carriers = [MIRROR]
        assert parts.standpoint.shows(stored) is shown
        assert parts.standpoint.holders(OWNER) == holders
        assert parts.standpoint.shows(msgspec.structs.replace(stored, kind="cached")) is True
