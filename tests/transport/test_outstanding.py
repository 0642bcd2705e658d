"""Requests: outstanding until answered, asked twice and answered once, over whatever connections."""

from __future__ import annotations

import math

import pytest

from identity.errors import LocalMistake, OutcomeUnknown, Unreachable
from tests.transport.request_pair import ONE, SHORT, TWO, Pair
from transport.outstanding import Outstanding
from transport.questions import DONE_DELAY_S
from transport.requests import (
    Answer,
    Answered,
    Asked,
    Cancel,
    Cancelled,
    Done,
    Failed,
    Progress,
    Receipt,
    Refuse,
    Request,
    first_number,
)
from transport.wire import Priority


@pytest.fixture
def pair() -> Pair:
    pair = Pair()
    pair.connect()
    pair.settle()
    return pair


def test_asked_and_answered(pair: Pair) -> None:
    number = pair.one.ask(TWO, b"question", pair.now, deadline_s=5.0)
    assert pair.settle() == [Request]
    asked = pair.asked()
    assert asked == Asked(ONE, pair.one.request_id(number), b"question", pair.now + 5.0, Priority.REQUEST, again=False)
    assert pair.two.answer(ONE, asked.request_id, b"answer")
    assert pair.two.deadline() == math.inf  # nobody is woken for a receipt that is not needed
    assert pair.settle() == [Answer]  # its own receipt
    assert pair.take(ONE) == [Answered(number, TWO, 0, True, True, b"answer")]
    assert pair.settle(1.0) == [Done]
    assert not pair.two._answers._askers[ONE].works
    assert pair.one.deadline() == pair.two.deadline() == math.inf
    assert not pair.two.answer(ONE, asked.request_id, b"too late")


def test_a_receipt_when_the_answer_takes_its_time(pair: Pair) -> None:
    numbers = [pair.one.ask(TWO, b"slow", pair.now, deadline_s=None) for _ in range(300)]
    assert pair.settle(SHORT) == [Request] * 300 + [Receipt] * 2
    assert pair.take(ONE) == [Progress(number, TWO) for number in numbers]
    for asked in pair.take(TWO, Asked):
        assert asked.deadline is None
        pair.two.answer(ONE, asked.request_id, b"at last", ok=False)
    said = pair.settle(1.0)
    assert said.count(Answer) == 300
    assert said.count(Done) == 2
    assert [each.number for each in pair.take(ONE, Answered) if not each.ok] == numbers


def test_nobody_there_in_time_is_unreachable() -> None:
    pair = Pair()
    number = pair.one.ask(TWO, b"question", pair.now, deadline_s=3.0)
    assert pair.one.deadline() == pair.now + 3.0
    pair.settle(4.0)
    (failed,) = pair.take(ONE)
    assert (failed.number, failed.peer, type(failed.error)) == (number, TWO, Unreachable)
    assert "1.7" in str(failed.error)
    assert not pair.one._questions._peers


def test_no_answer_in_time_is_outcome_unknown(pair: Pair) -> None:
    number = pair.one.ask(TWO, b"question", pair.now, deadline_s=3.0)
    assert pair.settle(4.0) == [Request, Receipt, Cancel, Done]
    asked = pair.asked()
    (_, failed) = pair.take(ONE)
    assert (failed.number, type(failed.error)) == (number, OutcomeUnknown)
    assert pair.take(TWO) == [Cancelled(ONE, asked.request_id)]
    assert not pair.two.answer(ONE, asked.request_id, b"too late")


def test_asked_again_after_a_reconnect_and_carried_out_once(pair: Pair) -> None:
    number = pair.one.ask(TWO, b"question", pair.now, deadline_s=60.0)
    pair.settle()
    asked = pair.asked()
    pair.cut()
    pair.two.answer(ONE, asked.request_id, b"answer")
    pair.collect()
    assert not pair.wire
    pair.settle(1.0)
    pair.connect()
    assert pair.settle() == [Done, Request, Done, Answer]
    assert pair.take(ONE) == [Answered(number, TWO, 0, True, True, b"answer")]
    assert not pair.take(TWO)


def test_asked_again_while_it_is_worked_on(pair: Pair) -> None:
    number = pair.one.ask(TWO, b"question", pair.now, deadline_s=60.0)
    pair.settle()
    asked = pair.asked()
    pair.cut()
    pair.connect()
    assert pair.settle(SHORT) == [Done, Request, Done, Receipt]
    assert not pair.take(TWO)
    pair.two.answer(ONE, asked.request_id, b"answer")
    pair.settle()
    assert pair.take(ONE) == [Progress(number, TWO), Answered(number, TWO, 0, True, True, b"answer")]


def test_a_question_waits_for_the_connection() -> None:
    pair = Pair()
    pair.one.ask(TWO, b"question", pair.now, deadline_s=60.0)
    pair.settle(2.0)
    assert not pair.wire
    pair.connect()
    pair.settle()
    assert pair.asked().deadline == pytest.approx(100.0 + 60.0, abs=0.01)


def test_a_restarted_answerer_is_told_that_it_may_know_the_request(pair: Pair) -> None:
    pair.one.ask(TWO, b"question", pair.now, deadline_s=60.0)
    pair.settle()
    first = pair.asked()
    assert not first.again
    pair.cut()
    pair.two = Outstanding(TWO, 2000, 10)
    pair.connect()
    pair.settle()
    again = pair.asked()
    assert again.again
    assert again.request_id == first.request_id


def test_a_restarted_asker_is_forgotten(pair: Pair) -> None:
    pair.one.ask(TWO, b"question", pair.now, deadline_s=60.0)
    pair.settle()
    asked = pair.asked()
    pair.cut()
    pair.one = Outstanding(ONE, 1000, 6)
    pair.connect()
    pair.settle()
    assert pair.take(TWO) == [Cancelled(ONE, asked.request_id)]


def test_the_outbox_asks_again_under_the_old_number(pair: Pair) -> None:
    lost = pair.one.ask(TWO, b"lost", pair.now, deadline_s=60.0)
    kept = pair.one.ask(TWO, b"kept", pair.now, deadline_s=None)
    pair.settle()
    answered, worked_on = pair.take(TWO, Asked)
    pair.cut()
    pair.two.answer(ONE, worked_on.request_id, b"done once")
    pair.one = Outstanding(ONE, 1000, 6)
    assert pair.one.ask(TWO, b"kept", pair.now, deadline_s=None, again=kept) == kept
    with pytest.raises(LocalMistake):
        pair.one.ask(TWO, b"kept", pair.now, deadline_s=None, again=kept)
    new = pair.one.ask(TWO, b"new", pair.now, deadline_s=None)
    with pytest.raises(LocalMistake):
        pair.one.ask(TWO, b"new", pair.now, deadline_s=None, again=new + 1)
    assert lost < kept < new == first_number(6)
    pair.connect()
    pair.settle()
    assert pair.take(ONE) == [Answered(kept, TWO, 0, True, True, b"done once")]
    assert [each.body for each in pair.take(TWO, Asked)] == [b"new"]
    assert answered.request_id != worked_on.request_id

    pair.cut()
    pair.connect()
    pair.settle()
    pair.one.ask(TWO, b"kept", pair.now, deadline_s=None, again=kept)  # after it was told that this is done
    pair.settle()
    (failed,) = pair.take(ONE, Failed)
    assert type(failed.error) is OutcomeUnknown
    pair.settle(1.0)


def test_asked_again_between_the_end_and_done() -> None:
    pair = Pair()
    old = first_number(4)
    pair.one.ask(TWO, b"question", pair.now, deadline_s=None, again=old)
    pair.connect()
    pair.settle()
    asked = pair.asked()
    assert asked.again
    pair.two.answer(ONE, asked.request_id, b"done once")
    pair.settle()
    pair.one.ask(TWO, b"question", pair.now, deadline_s=None, again=old)
    assert pair.settle(DONE_DELAY_S) == [Request, Answer, Done]
    assert [each.body for each in pair.take(ONE, Answered)] == [b"done once", b"done once"]
    assert not pair.two._answers._askers[ONE].works
    pair.one.ask(TWO, b"question", pair.now, deadline_s=None, again=old + 1)
    pair.one.cancel(old + 1, pair.now)
    pair.one.ask(TWO, b"question", pair.now, deadline_s=None, again=old + 1)
    assert pair.settle(1.0) == [Request, Cancel, Request, Refuse, Refuse, Done]
    assert [type(each.error) for each in pair.take(ONE, Failed)] == [OutcomeUnknown]


def test_done_does_not_tell_what_is_outstanding_again() -> None:
    pair = Pair()
    old = first_number(4)
    pair.one.ask(TWO, b"question", pair.now, deadline_s=None, again=old)
    pair.connect()
    pair.settle()
    pair.two.answer(ONE, pair.asked().request_id, b"done once")
    pair.settle()
    pair.one.ask(TWO, b"question", pair.now, deadline_s=None, again=old)
    pair.one.handle_deadline(pair.now + DONE_DELAY_S)
    pair.settle()
    assert [each.body for each in pair.take(ONE, Answered)] == [b"done once", b"done once"]


def test_cancel(pair: Pair) -> None:
    number = pair.one.ask(TWO, b"question", pair.now, deadline_s=60.0)
    pair.settle()
    asked = pair.asked()
    assert pair.one.cancel(number, pair.now)
    assert not pair.one.cancel(number, pair.now)
    assert pair.settle(1.0) == [Cancel, Done]
    assert pair.take(TWO) == [Cancelled(ONE, asked.request_id)]
    assert not pair.take(ONE)
    pair.cut()
    pair.one.ask(TWO, b"x", pair.now, deadline_s=1.0)
    pair.one.cancel(pair.one.ask(TWO, b"never sent", pair.now, deadline_s=60.0), pair.now)
    pair.settle(2.0)
    assert [type(each) for each in pair.take(ONE)] == [Failed]


def test_a_cancel_that_overtakes_its_request(pair: Pair) -> None:
    number = pair.one.ask(TWO, b"question", pair.now, deadline_s=60.0)
    pair.one.cancel(number, pair.now)
    pair.collect()
    assert isinstance(pair.deliver(1), Cancel)
    assert isinstance(pair.deliver(0), Request)
    assert isinstance(pair.deliver(0), Refuse)
    assert not pair.take(TWO)


def test_a_cancel_lost_with_its_connection_is_made_good_by_done(pair: Pair) -> None:
    number = pair.one.ask(TWO, b"question", pair.now, deadline_s=60.0)
    pair.settle()
    asked = pair.asked()
    pair.one.cancel(number, pair.now)
    pair.cut()
    pair.connect()
    pair.settle()
    assert pair.take(TWO) == [Cancelled(ONE, asked.request_id)]
