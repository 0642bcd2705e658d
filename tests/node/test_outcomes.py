"""What an owner's answer means for a change that waits, answer by answer."""

from __future__ import annotations

import pytest

from identity.errors import (
    BangpathError,
    Conflict,
    Damaged,
    Exhausted,
    Forbidden,
    LocalMistake,
    NotFound,
    OutcomeUnknown,
    PeerMisbehaved,
    Refused,
)
from identity.names import ServerId
from node import outcomes
from node.asking import Operation
from node.outcomes import describe, entry_json, error_of, operations_json, read_answered_untrusted
from node.requests import At, ChangedAll, Modify, Outcome, Pong, act_of
from node.requests import Failed as FailedMessage
from replication.entries import Entry, Happened, State
from transport.requests import Answered, Failed
from transport.wire import encode

OWNER = ServerId.parse("1.2")


def entry(state: State = State.SENT, *, again: bool = False) -> Entry:
    made = Entry(17, OWNER, 7, "update 1.2/42 (stars)", 99, since_ms=1000, state=state, request=5)
    made.again = again
    return made


def answered(message: object, *, ok: bool = True) -> Answered:
    return Answered(5, OWNER, 0, True, ok, encode(message))  # type: ignore[arg-type]


def test_a_commit_tells_references_sequences_and_the_position() -> None:
    said = ChangedAll(7, At(3, 17, 0), (Outcome(42, 9, "updated"),))
    read = read_answered_untrusted(answered(said), entry())
    assert (read.happened, read.answer) == (Happened.COMMITTED, said)
    assert read.outcome == {
        "results": [{"reference": "1.2/42", "sequence": 9, "done": "updated"}],
        "position": "1.2@3:17",
    }


def test_of_a_large_transaction_the_first_results_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "MAX_RESULTS", 2)
    said = ChangedAll(7, At(3, 17, 0), tuple(Outcome(number, 9, "created") for number in range(5)))
    read = read_answered_untrusted(answered(said), entry())
    assert (len(read.outcome["results"]), read.outcome["further_results"]) == (2, 3)


@pytest.mark.parametrize(
    ("error", "state", "again", "happened"),
    [
        (Conflict("changed", current={"stars": 4}, sequence=9), State.SENT, False, Happened.CONFLICT),
        (Refused("no such field"), State.SENT, True, Happened.REFUSED),
        (Forbidden("no right"), State.SENT, True, Happened.REFUSED),
        (NotFound("no object"), State.SENT, True, Happened.REFUSED),
        (NotFound("another incarnation", gone=True), State.SENT, False, Happened.REFUSED),
        (NotFound("another incarnation", gone=True), State.SENT, True, Happened.LOST),
        (Exhausted("the disk is full"), State.SENT, True, Happened.PUT_BACK),
        (Damaged("the disk failed"), State.SENT, False, None),
        (OutcomeUnknown("the store stopped"), State.SENT, False, None),
        (LocalMistake("a mistake"), State.SENT, False, None),
        (Refused("not carried out", withdrawn=True), State.WITHDRAWN, True, Happened.NOT_DONE),
        (Refused("not carried out", withdrawn=True), State.LAPSED, True, Happened.NOT_DONE),
        (Refused("not carried out", withdrawn=True), State.SENT, True, Happened.REFUSED),
        (PeerMisbehaved("an operation that is not known"), State.SENT, False, Happened.REFUSED),
    ],
    ids=lambda value: getattr(value, "cause", None),
)
def test_each_error_is_an_outcome_or_none(
    error: BangpathError, state: State, again: bool, happened: Happened | None
) -> None:
    read = read_answered_untrusted(answered(FailedMessage.of(error), ok=False), entry(state, again=again))
    assert read.happened == happened
    assert read.outcome == {"error": error.as_json()}


def test_what_the_transport_gives_up() -> None:
    lost = read_answered_untrusted(Failed(5, OWNER, OutcomeUnknown("its answer is kept no more")), entry())
    assert lost.happened is Happened.LOST


@pytest.mark.parametrize(
    "said", [answered(Pong(5)), Answered(5, OWNER, 0, True, True, b"\xff"), answered(Pong(5), ok=False)]
)
def test_an_answer_that_makes_no_sense_is_its_senders_fault(said: Answered) -> None:
    with pytest.raises(PeerMisbehaved):
        read_answered_untrusted(said, entry())


def test_changes_in_words_and_in_full() -> None:
    operations = [
        Operation(op="create", class_name="Note", fields={"text": "x"}),
        Operation(op="update", object=42, fields={"stars": 1, "text": "y"}, expect=3),
        Operation(op="delete", object=43),
        Operation(op="put", class_name="Note", key="text", fields={"text": "z"}),
    ]
    assert describe(operations[1:2], OWNER) == "update 1.2/42 (stars, text)"
    assert describe(operations, OWNER) == (
        "4 operations: create Note, update 1.2/42 (stars, text), delete 1.2/43, put Note"
    )
    assert len(describe(operations * 50, OWNER)) == outcomes.MAX_TEXT
    assert operations_json(Modify(tuple(map(act_of, operations))), OWNER) == [
        {"op": "create", "class": "Note", "fields": {"text": "x"}},
        {"op": "update", "reference": "1.2/42", "expect": 3, "fields": {"stars": 1, "text": "y"}},
        {"op": "delete", "reference": "1.2/43"},
        {"op": "put", "class": "Note", "key": "text", "fields": {"text": "z"}},
    ]


def test_an_entry_as_lists_show_it_and_as_an_error() -> None:
    waits = entry(State.WAITING)
    assert entry_json(waits, ahead=2)["ahead"] == 2
    assert entry_json(waits, ahead=2)["outcome"] is None
    ended = entry(State.CONFLICT)
    ended.outcome = {"error": Conflict("changed", sequence=9).as_json()}
    assert entry_json(ended, ahead=0)["ahead"] is None
    error = error_of(ended)
    assert (type(error), error.details["sequence"]) == (Conflict, 9)
    assert type(error_of(entry(State.CANCELLED))) is OutcomeUnknown
