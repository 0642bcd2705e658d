"""An error says who must act, and says it again on the other side of the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.errors import KINDS, BangpathError, Conflict, NotFound, PeerMisbehaved, Refused, from_json

plain = st.none() | st.booleans() | st.integers() | st.text(max_size=5)


def test_an_error_reads_as_a_cause_and_what_comes_next() -> None:
    error = Conflict("1.7/42 has changed", next_step="read it again", current=7)
    assert str(error) == "1.7/42 has changed; read it again"
    assert str(Conflict("1.7/42 has changed")) == "1.7/42 has changed"
    assert error.as_json() == {
        "error": "conflict", "cause": "1.7/42 has changed", "next_step": "read it again", "current": 7,
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_every_kind_crosses_the_wire(kind: type[BangpathError]) -> None:
    error = from_json(kind("a cause", next_step="a step", field="x").as_json())
    assert type(error) is kind
    assert (error.cause, error.next_step, error.details) == ("a cause", "a step", {"field": "x"})


def test_kinds_are_distinct_and_an_answer_of_no_object_is_a_refusal() -> None:
    assert len({each.kind for each in KINDS.values()}) == len(KINDS)
    assert issubclass(NotFound, Refused)
    assert {each.exit_code for each in KINDS.values()} <= {1, 2, 3, 4}  # DESIGN U2
    assert all(400 <= each.http_status < 600 for each in KINDS.values())


def test_a_subclass_is_told_as_its_kind() -> None:
    class Expired(PeerMisbehaved):
        pass

    assert type(from_json(Expired("old").as_json())) is PeerMisbehaved


@given(st.dictionaries(st.sampled_from(["error", "cause", "next_step", "self", "args", "details", "x"]), plain))
def test_whatever_a_newer_or_lying_node_tells_becomes_an_error(told: dict[str, object]) -> None:
    error = from_json(told)
    assert isinstance(error, BangpathError)
    assert str(error)
    assert "self" not in told or error.details["self"] == told["self"]
