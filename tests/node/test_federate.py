"""However rows arrive, they leave in one order, none twice; and the report says whose word they are."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.errors import Unreachable
from identity.names import Incarnation, ObjectId, Position, Reference, ServerId
from node.asking import Found, Holding
from node.federate import Merge, Owner, completeness, plan, pushed_down, trimmer
from node.wanted import wanted
from store.definitions import ClassDefinition, Field
from store.query import Question

OWN, A, B, C = (ServerId.parse(text) for text in ("1", "1.1", "1.2", "1.3"))
NOTE = ClassDefinition(name="Note", fields=(Field(name="n", type="int"), Field(name="text")))


def found(server: ServerId, number: int, n: int) -> Found:
    reference = Reference(server, Incarnation(1), ObjectId(number))
    return Found(reference, "Note", 1, {"n": n}, "owner", None, 0.0, (server,))


def key(row: Found) -> bytes:
    return int(row.fields["n"]).to_bytes(4, "big") + row.reference.to_bytes()


def test_a_row_leaves_when_no_source_can_send_a_smaller_one() -> None:
    merge = Merge(key)
    a, b = merge.open(), merge.open()
    merge.add(a, [found(A, 1, 1), found(A, 2, 4), found(A, 3, 7)])
    assert merge.take() == []
    merge.add(b, [found(B, 1, 2), found(B, 2, 9)])
    assert [row.fields["n"] for row in merge.take()] == [1, 2, 4, 7]
    merge.end(a)
    assert [row.fields["n"] for row in merge.take()] == [9]
    merge.end(b)
    assert merge.take() == []
    assert merge.finished


@given(
    st.lists(st.lists(st.integers(0, 20), max_size=30).map(sorted), min_size=1, max_size=4),
    st.none() | st.integers(0, 40),
    st.data(),
)
def test_merging_is_sorting(streams: list[list[int]], limit: int | None, data: st.DataObject) -> None:
    servers = [ServerId.of(1, at + 1) for at in range(len(streams))]
    rows = [
        [found(server, at + 1, n) for at, n in enumerate(part)] for server, part in zip(servers, streams, strict=True)
    ]
    merge = Merge(key, limit=limit)
    sources = [merge.open() for _ in rows]
    left = [list(part) for part in rows]
    taken: list[Found] = []
    while not merge.finished:
        open_sources = [at for at in sources if left[at] is not None]
        at = data.draw(st.sampled_from(open_sources)) if open_sources else 0
        if left[at]:
            count = data.draw(st.integers(1, len(left[at])))
            merge.add(at, left[at][:count])
            del left[at][:count]
        else:
            merge.end(at)
            left[at] = None  # type: ignore[call-overload]
        taken += merge.take()
    assert taken == sorted((row for part in rows for row in part), key=key)[:limit]


def test_a_second_teller_never_doubles_a_row() -> None:
    merge = Merge(key)
    a, b = merge.open(), merge.open()
    merge.add(a, [found(A, n, n) for n in range(1, 6)])
    merge.add(b, [found(B, 1, 3)])
    assert [row.fields["n"] for row in merge.take()] == [1, 2, 3, 3]
    assert merge.forget(a)  # it fell silent; its mirror tells all of it again
    merge.end(b)
    merge.add(a, [found(A, n, n) for n in range(1, 9)])
    merge.end(a)
    assert [row.fields["n"] for row in merge.take()] == [4, 5, 6, 7, 8]


MIRRORED = Holding("mirrored", Position(B, Incarnation(1), 1, 9), 0.5, whole=True)
HALF = Holding("mirrored", Position(C, Incarnation(1), 1, 3), 0.5, whole=False)


@pytest.mark.parametrize(
    ("consistency", "here", "asked", "left"),
    [
        ("nearest", (OWN, B), (A, C), ()),
        ("local", (OWN, B), (), (A, C)),
        ("owner", (OWN,), (A, B, C), ()),
    ],
)
def test_the_plan(consistency: str, here: Any, asked: Any, left: Any) -> None:
    holdings = {B: MIRRORED, C: HALF}
    assert plan([OWN, A, B, C], own=OWN, holdings=holdings, wanted=wanted(consistency)) == (here, asked, left)


def test_the_merge_gets_the_fields_it_orders_by_and_the_caller_does_not() -> None:
    question = Question("Note", order=(("n", False),), fields=("text",))
    assert pushed_down(question).fields == ("text", "n")
    row = found(A, 1, 1)._replace(fields={"text": "x", "n": 1})
    assert trimmer(question)([row])[0].fields == {"text": "x"}
    unordered = Question("Note", fields=("text",))  # an owner answers with a place for every field
    assert trimmer(unordered)([row])[0].fields == {"text": "x"}


def test_whole_is_every_owner_by_itself_or_by_a_whole_mirror() -> None:
    a, b = Owner(A), Owner(B)
    a.answered("owner", position=Position(A, Incarnation(1), 2, 3), age=0.0, path=(A, OWN))
    b.failed(Unreachable("1.2 is silent"))
    report = completeness([a, b], [])
    assert report["whole"] is False
    assert report["owners"][0]["position"] == "1.1@2:3"
    assert report["owners"][1]["how"] == "unreachable"
    assert report["owners"][1]["error"]["cause"] == "1.2 is silent"
    b.answered("mirrored", position=None, age=1.0, path=(B, A, OWN))
    assert completeness([a, b], [])["whole"] is True
    b.broken = True
    assert completeness([a, b], [])["whole"] is False


def test_mapping_is_what_rows_hold() -> None:
    assert isinstance(found(A, 1, 1).fields, Mapping)
