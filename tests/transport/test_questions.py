"""The asker's half: one ending for each question, bounds, and what answerers may not do."""

from __future__ import annotations

import pytest

from identity.errors import Exhausted, LocalMistake, OutcomeUnknown
from tests.transport.request_pair import ONE, THREE, TWO, Pair
from transport import questions
from transport.requests import (
    EXHAUSTED,
    MAX_OUTSTANDING,
    Answer,
    Answered,
    Asked,
    Done,
    Failed,
    Met,
    Refuse,
    Request,
)


@pytest.fixture
def pair() -> Pair:
    pair = Pair()
    pair.connect()
    pair.settle()
    return pair


def test_outstanding_at_one_peer(pair: Pair) -> None:
    numbers = [pair.one.ask(TWO, b"", pair.now, deadline_s=9.0) for _ in range(MAX_OUTSTANDING)]
    with pytest.raises(Exhausted, match=r"4096 requests to 1\.7"):
        pair.one.ask(TWO, b"", pair.now, deadline_s=9.0)
    pair.one.ask(THREE, b"", pair.now, deadline_s=None)
    pair.one.cancel(numbers[7], pair.now)
    pair.one.ask(TWO, b"", pair.now, deadline_s=9.0)


def test_deadlines_of_ended_questions_are_swept(pair: Pair) -> None:
    for _ in range(5000):
        pair.one.cancel(pair.one.ask(TWO, b"", pair.now, deadline_s=1000.0), pair.now)
    assert len(pair.one._questions._heap) <= questions.MAX_NOT_TOLD + 1


def test_a_deadline_after_the_end_means_nothing(pair: Pair) -> None:
    pair.one.cancel(pair.one.ask(TWO, b"question", pair.now, deadline_s=1.0), pair.now)
    pair.one.handle_deadline(pair.now + 2.0)
    assert not pair.take(ONE)


def test_a_refusal_of_an_earlier_attempt_means_nothing(pair: Pair) -> None:
    number = pair.one.ask(TWO, b"question", pair.now, deadline_s=None)
    pair.cut()
    pair.connect()
    pair.collect()
    pair.one.handle_message(TWO, Refuse(1000, number, 1, EXHAUSTED, "full"), pair.now)
    assert not pair.take(ONE)
    pair.one.handle_message(TWO, Refuse(1000, number, 2, EXHAUSTED, "full"), pair.now)
    (failed,) = pair.take(ONE)
    assert type(failed.error) is Exhausted


def test_refused_after_a_part_had_come_is_unknown(pair: Pair) -> None:
    number = pair.one.ask(TWO, b"rows", pair.now, deadline_s=None)
    pair.one.handle_message(TWO, Answer(1000, number, 0, False, True, b"part"), pair.now)
    pair.one.handle_message(TWO, Refuse(1000, number, 1, EXHAUSTED, "full"), pair.now)
    (failed,) = pair.take(ONE, Failed)
    assert type(failed.error) is OutcomeUnknown


def test_part_out_of_turn_is_our_mistake(pair: Pair) -> None:
    pair.one.ask(TWO, b"question", pair.now, deadline_s=None)
    pair.settle()
    name = pair.asked().request_id
    with pytest.raises(LocalMistake):
        pair.two.answer(ONE, name, b"", index=1)
    pair.two.answer(ONE, name, b"")
    with pytest.raises(LocalMistake):
        pair.two.answer(ONE, name, b"", index=1)


def test_done_tells_numbers_that_went_to_others(pair: Pair) -> None:
    """Every second number goes to somebody else; the answerer's set of seen numbers stays one interval."""
    rest = []
    for _ in range(200):
        rest.append(pair.one.ask(TWO, b"here", pair.now, deadline_s=None))
        pair.one.ask(THREE, b"there", pair.now, deadline_s=None)
    pair.settle()
    asked = pair.take(TWO, Asked)
    asker = pair.two._answers._askers[ONE]
    assert len(asker.seen) == 200
    for each in asked[1:]:
        pair.two.answer(ONE, each.request_id, b"")
    pair.settle(1.0)
    assert asker.seen.as_list() == [(0, rest[0]), (rest[0] + 1, rest[-1] + 1)] or len(asker.seen) == 1
    assert asker.held.as_list() == [(rest[0], rest[0])]


# -- numbers that are kept, for what must outlive a restart


def declared(pair: Pair, number: int) -> bool:
    """Whether a DONE that leaves now says that this request will not be asked again."""
    pair.collect()
    told = [sent.message for sender, sent in pair.wire if sender == ONE and isinstance(sent.message, Done)]
    return any(number < done.floor or any(first <= number <= last for first, last in done.ranges) for done in told)


def answer(pair: Pair) -> None:
    """All arrives, the one question is answered, and the moment for DONE passes."""
    pair.settle()
    asked = pair.asked()
    pair.two.answer(ONE, asked.request_id, b"answer")
    while pair.wire or not pair.take(ONE, Answered):
        pair.collect()
        pair.deliver()
    pair.now += questions.DONE_DELAY_S * 2
    pair.one.handle_deadline(pair.now)


def test_a_reserved_number_is_not_done_before_it_is_released(pair: Pair) -> None:
    number = pair.one.reserve(TWO)
    pair.one.cancel(pair.one.ask(TWO, b"another", pair.now, deadline_s=None), pair.now)
    pair.now += questions.DONE_DELAY_S * 2
    pair.one.handle_deadline(pair.now)
    assert not declared(pair, number)
    pair.connect()
    assert not declared(pair, number)
    pair.settle()
    pair.take(TWO)
    assert pair.one.ask(TWO, b"question", pair.now, deadline_s=None, again=number) == number
    answer(pair)
    assert not declared(pair, number)
    pair.connect()
    assert not declared(pair, number)
    pair.one.release(number, pair.now)
    pair.now += questions.DONE_DELAY_S * 2
    pair.one.handle_deadline(pair.now)
    assert declared(pair, number)


def test_an_outstanding_question_that_is_kept_is_not_done_when_it_ends(pair: Pair) -> None:
    number = pair.one.ask(TWO, b"question", pair.now, deadline_s=None)
    pair.one.keep(number)
    answer(pair)
    assert not declared(pair, number)
    pair.cut()
    pair.connect()
    assert not declared(pair, number)
    pair.cut()
    pair.one.release(number, pair.now)
    pair.connect()
    assert declared(pair, number)


def test_a_kept_number_of_an_earlier_run_survives_the_next_sessions() -> None:
    pair = Pair(epoch=6)
    pair.one.ask(TWO, b"question", pair.now, deadline_s=None, again=5 << 40)
    pair.one.keep(5 << 40)
    pair.connect()
    assert not declared(pair, 5 << 40)
    answer(pair)
    pair.connect()
    assert not declared(pair, 5 << 40)
    pair.one.release(5 << 40, pair.now)
    pair.connect()
    assert declared(pair, 5 << 40)


def test_only_reserved_numbers_of_this_run_are_asked_again(pair: Pair) -> None:
    number = pair.one.reserve(TWO)
    with pytest.raises(LocalMistake, match="nor reserved"):
        pair.one.ask(THREE, b"", pair.now, deadline_s=None, again=number)
    with pytest.raises(LocalMistake, match="nor reserved"):
        pair.one.ask(TWO, b"", pair.now, deadline_s=None, again=number + 1)


def test_whether_a_question_was_sent_and_what_is_asked_instead(pair: Pair) -> None:
    pair.cut()
    number = pair.one.ask(TWO, b"do it", pair.now, deadline_s=None)
    assert not pair.one.was_sent(number)
    pair.connect()
    assert pair.one.was_sent(number)
    pair.cut()
    pair.one.replace(number, b"what became of it?")
    pair.connect()
    pair.settle()
    asked = pair.asked()
    assert (asked.body, asked.again) == (b"what became of it?", True)


def test_what_was_reserved_is_asked_for_the_first_time_once(pair: Pair) -> None:
    number = pair.one.reserve(TWO)
    for again in (False, True):
        pair.one.ask(TWO, b"question", pair.now, deadline_s=None, again=number)
        pair.settle()
        if not again:
            assert not pair.asked().again
            pair.one.handle_message(TWO, Refuse(1000, number, 1, EXHAUSTED, "full"), pair.now)
            pair.two = type(pair.two)(TWO, 2000, 10)  # another run, which knows nothing of it
            pair.connect()
            pair.take(ONE)
    assert pair.asked().again


def test_a_watched_peer_is_told_of_at_each_session(pair: Pair) -> None:
    assert pair.one.watch(TWO)
    assert not pair.one.watch(THREE)
    pair.connect()
    pair.cut()
    assert pair.take(ONE, Met) == [Met(TWO)]
    pair.one.handle_connected(THREE, pair.now)
    assert Met(THREE) in pair.one.take_outputs()


# -- when what is done is told


def said_by_one(pair: Pair) -> list[type]:
    pair.collect()
    said = [type(sent.message) for sender, sent in pair.wire if sender == ONE]
    pair.wire = [each for each in pair.wire if each[0] != ONE]
    return said


def ask_and_hear(pair: Pair, body: bytes = b"answer") -> None:
    pair.one.ask(TWO, b"question", pair.now, deadline_s=None)
    pair.settle()
    pair.two.answer(ONE, pair.asked().request_id, body)
    pair.settle()
    assert len(pair.take(ONE, Answered)) == 1


def test_done_goes_beside_the_next_question_and_alone_after_a_while(pair: Pair) -> None:
    ask_and_hear(pair)
    pair.now += questions.DONE_ASIDE_S / 2
    pair.one.ask(TWO, b"at once", pair.now, deadline_s=None)
    assert said_by_one(pair) == [Request]
    pair.now += questions.DONE_ASIDE_S
    pair.one.ask(TWO, b"later", pair.now, deadline_s=None)
    assert said_by_one(pair) == [Done, Request]
    pair.one.ask(TWO, b"later still", pair.now + questions.DONE_ASIDE_S, deadline_s=None)
    assert said_by_one(pair) == [Request]


def test_done_of_the_last_question_is_told_by_itself(pair: Pair) -> None:
    ask_and_hear(pair)
    assert pair.settle(questions.DONE_DELAY_S * 0.9) == []
    assert pair.settle(questions.DONE_DELAY_S * 0.2) == [Done]
    assert not pair.two._answers._askers[ONE].works


def test_large_answers_are_done_at_once(pair: Pair) -> None:
    half = bytes(questions.MAX_NOT_TOLD_BYTES // 2)
    ask_and_hear(pair, half)
    assert pair.two._answers._askers[ONE].kept_bytes >= len(half)
    ask_and_hear(pair, half)
    assert pair.two._answers._askers[ONE].kept_bytes == 0
    ask_and_hear(pair, half)  # counted anew
    assert pair.two._answers._askers[ONE].kept_bytes >= len(half)
