"""How good an answer must be: read from what people say, and held against what there is."""

import pytest

from identity.errors import Refused
from identity.names import Incarnation, Position, ServerId
from node.wanted import MAX_AFTER, After, Wanted, read_after, wanted

A, B = ServerId.parse("1.2"), ServerId.parse("1.3")


def at(epoch: int, number: int) -> Position:
    return Position(A, Incarnation(7), epoch, number)


def test_a_position_as_a_change_tells_it_is_read_back() -> None:
    told = Position(A, Incarnation(7), 3, 17)
    assert read_after(str(told)) == After(A, 3, 17)
    assert str(read_after(" 1.2@3:17 ")) == "1.2@3:17"


@pytest.mark.parametrize(
    "text", ["", "1.2", "1.2@3", "1.2@3:x", "1.2@3:17,", "@3:17", "1.2@-3:17", "1.2@3:\u0661", None, 17]
)
def test_what_is_no_position_is_refused_by_name(text: object) -> None:
    with pytest.raises(Refused) as refused:
        read_after(text)  # type: ignore[arg-type]
    assert refused.value.details.get("field", "after") == "after"


@pytest.mark.parametrize(
    ("position", "behind"),
    [
        (None, True),
        (at(3, 16), True),
        (at(3, 17), False),
        (at(4, 18), False),  # a restart goes on counting
        (at(4, 16), True),  # an older backup came back
        (at(2, 17), True),  # another history
    ],
)
def test_what_is_behind(position: Position | None, behind: bool) -> None:
    assert After(A, 3, 17).is_behind(position) is behind


def test_of_several_positions_of_one_owner_the_last_counts() -> None:
    assert wanted(after="1.2@3:17, 1.2@4:1,1.3@1:1,1.2@3:99").after == (After(A, 4, 1), After(B, 1, 1))
    assert wanted(after=["1.2@3:17", "1.2@3:9"]).after == (After(A, 3, 17),)
    assert wanted().after == wanted(after=[]).after == ()


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"consistency": "strong"}, "consistency"),
        ({"max_age": -1}, "max_age"),
        ({"max_age": float("nan")}, "max_age"),
        ({"max_age": float("inf")}, "max_age"),
        ({"after": "1.2"}, "after"),
        ({"after": ["1.2@1:1"] * (MAX_AFTER + 1)}, "after"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_field(said: dict[str, object], field: str) -> None:
    with pytest.raises(Refused) as refused:
        wanted(**said)  # type: ignore[arg-type]
    assert refused.value.details["field"] == field


@pytest.mark.parametrize(
    ("want", "position", "age", "by_owner", "fault"),
    [
        (Wanted(), None, None, False, ""),
        (Wanted(max_age=5), at(1, 1), 5.0, False, ""),
        (Wanted(max_age=5), at(1, 1), 5.1, False, "is 5.1 s old, and at most 5 s was asked for"),
        (Wanted(max_age=5), at(1, 1), None, False, "is of an age that nobody knows, and at most 5 s was asked for"),
        (Wanted(max_age=0), at(1, 1), None, True, ""),
        (Wanted(after=(After(A, 1, 2),)), at(1, 1), 0.0, True, "is at 1.2@1:1 and 1.2@1:2 was asked for"),
        (Wanted(after=(After(A, 1, 2),)), None, 0.0, False, "has no position, 1.2@1:2 was asked for"),
        (Wanted(after=(After(B, 1, 2),)), at(1, 1), 0.0, False, ""),
    ],
)
def test_what_is_missing(
    want: Wanted, position: Position | None, age: float | None, by_owner: bool, fault: str
) -> None:
    assert want.fault(A, position=position, age=age, by_owner=by_owner) == fault
