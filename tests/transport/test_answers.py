"""The answerer's half: streams held back by their asker, bounds for everything, and strangers."""

from __future__ import annotations

import pytest

from identity.errors import Exhausted, LocalMistake, OutcomeUnknown, PeerMisbehaved
from tests.transport.request_pair import ONE, THREE, TWO, Pair
from transport import answers
from transport.outstanding import Outstanding
from transport.requests import (
    EXHAUSTED,
    FORGOTTEN,
    MAX_BODY_BYTES,
    MAX_OUTSTANDING,
    MAX_PARTS_AHEAD,
    Answer,
    Answered,
    Asked,
    Cancel,
    Cancelled,
    Done,
    Failed,
    MaySend,
    Receipt,
    Refuse,
    Request,
    Taken,
    first_number,
    request_id,
)
from transport.wire import Message, Priority, SendTo


@pytest.fixture
def pair() -> Pair:
    pair = Pair()
    pair.connect()
    pair.settle()
    return pair


class TestStreams:
    def test_parts_are_told_in_order_whatever_order_they_come_in(self, pair: Pair) -> None:
        number = pair.one.ask(TWO, b"rows", pair.now, deadline_s=60.0, priority=Priority.BULK)
        pair.settle()
        asked = pair.asked()
        assert asked.priority == Priority.BULK
        for index in range(5):
            pair.two.answer(ONE, asked.request_id, bytes([index]), index=index, last=index == 4)
        pair.collect()
        assert {sent.priority for _, sent in pair.wire} == {Priority.BULK}
        for at in (3, 1, 0, 1, 0):
            pair.deliver(at)
        assert [(part.index, part.last, part.body) for part in pair.take(ONE, Answered)] == [
            (index, index == 4, bytes([index])) for index in range(5)
        ]
        pair.one.taken(number, parts=5)  # too late to matter
        assert pair.settle(1.0) == [Done]

    def test_a_slow_asker_holds_the_answerer_back(self, pair: Pair) -> None:
        number = pair.one.ask(TWO, b"rows", pair.now, deadline_s=None)
        pair.settle()
        name = pair.asked().request_id
        given = 0
        while pair.two.may_send(ONE, name):
            assert pair.two.answer(ONE, name, b"part", index=given, last=False)
            given += 1
        assert given == MAX_PARTS_AHEAD
        with pytest.raises(Exhausted):
            pair.two.answer(ONE, name, b"part", index=given, last=False)
        pair.settle(1.0)
        assert len(pair.take(ONE, Answered)) == given
        assert not pair.take(TWO)
        pair.one.taken(number, parts=MAX_PARTS_AHEAD // 2 - 1)
        assert pair.settle() == []
        pair.one.taken(number)
        assert pair.settle() == [Taken]
        assert pair.take(TWO) == [MaySend(ONE, name)]
        assert pair.two.may_send(ONE, name)
        for index in range(given, given + MAX_PARTS_AHEAD // 2):
            pair.two.answer(ONE, name, b"part", index=index, last=False)
        assert not pair.two.may_send(ONE, name)
        pair.settle()
        assert len(pair.take(ONE, Answered)) == MAX_PARTS_AHEAD // 2
        with pytest.raises(LocalMistake):
            pair.one.taken(number, parts=MAX_PARTS_AHEAD + 1)

    def test_a_stream_goes_on_after_a_reconnect(self, pair: Pair) -> None:
        number = pair.one.ask(TWO, b"rows", pair.now, deadline_s=None)
        pair.settle()
        name = pair.asked().request_id
        for index in range(20):
            pair.two.answer(ONE, name, bytes([index]), index=index, last=False)
        pair.collect()
        for _ in range(10):
            pair.deliver()
        pair.one.taken(number, parts=7)
        pair.cut()
        pair.one.taken(number, parts=1)
        pair.two.answer(ONE, name, bytes([20]), index=20, last=False)
        pair.connect()
        said = pair.settle()
        assert said.count(Answer) == 11  # 10 to 20: what had come is not sent again
        assert [part.index for part in pair.take(ONE, Answered)] == list(range(21))
        assert sorted(pair.two._answers._askers[ONE].works[number].parts) == list(range(8, 21))
        pair.two.answer(ONE, name, b"", index=21)
        pair.settle(1.0)
        assert pair.take(ONE, Answered)[0].last
        assert pair.two._answers._askers[ONE].kept_bytes == 0

    def test_a_stream_that_began_in_an_earlier_run_is_not_begun_anew(self, pair: Pair) -> None:
        number = pair.one.ask(TWO, b"rows", pair.now, deadline_s=None)
        pair.settle()
        pair.two.answer(ONE, pair.asked().request_id, b"first", last=False)
        pair.settle()
        pair.cut()
        pair.two = Outstanding(TWO, 2000, 10)
        pair.connect()
        pair.settle()
        assert not pair.take(TWO)
        (failed,) = pair.take(ONE, Failed)
        assert (failed.number, type(failed.error)) == (number, OutcomeUnknown)

    def test_parts_beyond_credit_are_misbehaviour(self, pair: Pair) -> None:
        number = pair.one.ask(TWO, b"rows", pair.now, deadline_s=None)
        pair.settle()
        with pytest.raises(PeerMisbehaved, match="part 32"):
            pair.one.handle_message(TWO, Answer(1000, number, MAX_PARTS_AHEAD, False, True, b""), pair.now)
        part = Answer(1000, number, MAX_PARTS_AHEAD - 1, False, True, bytes(MAX_BODY_BYTES))
        pair.one.handle_message(TWO, part, pair.now)
        pair.one.handle_message(TWO, part, pair.now)  # twice the same holds no more
        pair.one.handle_message(TWO, Answer(1000, number, 2, False, True, b""), pair.now)
        with pytest.raises(PeerMisbehaved, match="holds back"):
            pair.one.handle_message(TWO, Answer(1000, number, 3, False, True, bytes(MAX_BODY_BYTES)), pair.now)
        pair.one.cancel(number, pair.now)
        assert pair.one._questions._peers[TWO].early_bytes == 0


class TestBounds:
    def test_an_asker_that_asks_for_more_is_refused(self, pair: Pair) -> None:
        for count in range(MAX_OUTSTANDING + 1):
            pair.two.handle_message(ONE, Request(1000, first_number(5) + count, 1, 0, 1, 0, 0, b""), pair.now)
        *_, last = pair.two.take_outputs()
        assert isinstance(last, SendTo)
        assert isinstance(last.message, Refuse)
        assert (last.message.number, last.message.code) == (first_number(5) + MAX_OUTSTANDING, EXHAUSTED)

    def test_questions_take_bounded_memory(self, pair: Pair) -> None:
        numbers = [pair.one.ask(TWO, bytes(MAX_BODY_BYTES), pair.now, deadline_s=None) for _ in range(3)]
        pair.settle()
        first, _ = pair.take(TWO, Asked)
        (failed,) = pair.take(ONE, Failed)
        assert (failed.number, type(failed.error)) == (numbers[2], Exhausted)
        pair.two.answer(ONE, first.request_id, b"")
        pair.one.ask(TWO, b"next", pair.now, deadline_s=None)
        pair.settle()
        assert pair.asked().body == b"next"
        with pytest.raises(LocalMistake):
            pair.one.ask(TWO, bytes(MAX_BODY_BYTES + 1), pair.now, deadline_s=None)

    def test_kept_answers_take_bounded_memory(self, pair: Pair) -> None:
        """Answers that nobody declares done: the oldest are kept no more, and nothing is carried out twice."""
        asked = []
        for _ in range(60):
            pair.one.ask(TWO, b"question", pair.now, deadline_s=None)
        pair.settle()
        asked = pair.take(TWO, Asked)
        for each in asked:
            pair.two.answer(ONE, each.request_id, bytes(1 << 20))
        asker = pair.two._answers._askers[ONE]
        assert asker.kept_bytes <= answers.MAX_KEPT_BYTES
        assert len(asker.works) == 7
        pair.cut()
        pair.connect()
        said = pair.settle()
        assert (said.count(Answer), said.count(Refuse)) == (7, 53)
        assert not pair.take(TWO)
        assert [type(each.error) for each in pair.take(ONE, Failed)] == [OutcomeUnknown] * 53

    def test_a_huge_answer_is_sent_and_not_kept(self, pair: Pair) -> None:
        small, huge = (pair.one.ask(TWO, b"question", pair.now, deadline_s=None) for _ in range(2))
        pair.settle()
        first, second = pair.take(TWO, Asked)
        pair.two.answer(ONE, first.request_id, b"small")
        pair.two.answer(ONE, second.request_id, bytes(MAX_BODY_BYTES))
        assert list(pair.two._answers._askers[ONE].works) == [small]
        pair.settle(1.0)
        assert [part.number for part in pair.take(ONE, Answered)] == [small, huge]
        with pytest.raises(LocalMistake):
            pair.two.answer(ONE, second.request_id, bytes(MAX_BODY_BYTES + 1))

    def test_streams_share_the_memory(self, pair: Pair) -> None:
        """Where all of it is taken, a stream goes part by part, so that no two wait for each other."""
        for _ in range(20):
            pair.one.ask(TWO, b"rows", pair.now, deadline_s=None)
        pair.settle()
        streams = pair.take(TWO, Asked)
        given = dict.fromkeys((each.request_id for each in streams), 0)
        for name in given:
            while pair.two.may_send(ONE, name):
                pair.two.answer(ONE, name, bytes(1 << 20), index=given[name], last=False)
                given[name] += 1
        assert list(given.values()) == [8] + [1] * 19
        assert 8 << 20 < pair.two._answers._askers[ONE].kept_bytes <= answers.MAX_STREAM_BYTES
        pair.cut()
        pair.connect()
        said = pair.settle()
        assert said.count(Refuse) > 0
        assert not pair.take(TWO)
        assert pair.two._answers._askers[ONE].kept_bytes <= answers.MAX_STREAM_BYTES
        pair.settle(1.0)

    def test_shreds(self, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(answers, "MAX_SEEN_RANGES", 20)
        pair.cut()  # a fresh asker, who has declared nothing done
        for number in range(0, 100, 2):
            pair.two.handle_message(ONE, Cancel(1000, number), pair.now)
        asker = pair.two._answers._askers[ONE]
        assert len(asker.seen) == 21
        pair.two.handle_message(ONE, Request(1000, 200, 1, 0, 1, 0, 0, b""), pair.now)
        (refusal,) = pair.two.take_outputs()
        assert isinstance(refusal, SendTo)
        assert isinstance(refusal.message, Refuse)
        with pytest.raises(PeerMisbehaved, match="shreds"):
            pair.two.handle_message(ONE, Done(1000, 0, tuple((n, n) for n in range(1, 99, 2))), pair.now)


class TestStrangers:
    @pytest.mark.parametrize("ranges", [((5, 4),), ((6, 7),), ((9, 9), (8, 8)), ((9, 10), (11, 12))])
    def test_done_that_makes_no_sense(self, pair: Pair, ranges: tuple[tuple[int, int], ...]) -> None:
        with pytest.raises(PeerMisbehaved):
            pair.two.handle_message(ONE, Done(1000, 6, ranges), pair.now)

    def test_what_names_nothing_is_ignored(self, pair: Pair) -> None:
        number = pair.one.ask(TWO, b"", pair.now, deadline_s=None)
        pair.settle()
        pair.take(TWO)
        for message in (
            Receipt(1000, (number + 1,)),
            Receipt(999, (number,)),
            Answer(1000, number + 1, 0, True, True, b""),
            Answer(1001, number, 0, True, True, b""),
            Refuse(1000, number, 7, EXHAUSTED, ""),
            Refuse(1000, number + 1, 1, EXHAUSTED, ""),
            Taken(1000, number + 99, 1),
        ):
            pair.one.handle_message(TWO, message, pair.now)
            pair.two.handle_message(ONE, message, pair.now) if type(message) is Taken else None
        pair.one.handle_message(THREE, Answer(1000, number, 0, True, True, b""), pair.now)
        assert pair.one.take_outputs() == []
        pair.two.handle_message(ONE, Taken(1000, number, 10**9), pair.now)  # of no parts: nothing

    def test_one_peer_cannot_answer_for_another(self, pair: Pair) -> None:
        asked = pair.one.ask(TWO, b"", pair.now, deadline_s=None)
        pair.settle()
        name = pair.asked().request_id
        assert not pair.two.answer(THREE, name, b"")
        assert not pair.two.answer(ONE, request_id(ONE, 999, asked), b"")
        assert pair.two.may_send(THREE, name)

    def test_a_newer_incarnation_succeeds(self, pair: Pair) -> None:
        pair.one.ask(TWO, b"old", pair.now, deadline_s=None)
        pair.settle()
        old = pair.asked()
        pair.two.handle_message(ONE, Request(1001, 1, 1, 0, 1, 0, 0, b"new"), pair.now)
        cancelled, asked = pair.take(TWO)
        assert cancelled == Cancelled(ONE, old.request_id)
        assert asked.request_id == request_id(ONE, 1001, 1)
        assert not pair.two.answer(ONE, old.request_id, b"")
        pair.wire.clear()
        for message in (
            Request(1000, 2, 1, 0, 1, 0, 0, b"old"),
            Done(1000, 99, ()),
            Cancel(1000, 5),
            Taken(1000, 5, 5),
        ):
            pair.two.handle_message(ONE, message, pair.now)
        pair.collect()
        assert [sent.message for _, sent in pair.wire] == [
            Refuse(1000, 2, 1, FORGOTTEN, "this incarnation was succeeded")
        ]

    def test_an_asker_that_came_back_in_time_is_heard(self, pair: Pair) -> None:
        """Restored from a backup it begins with a lower epoch than the one it had given numbers of, and some of those
        are still worked on. Its new ones were never asked."""
        pair.one, early = Outstanding(ONE, 1000, 40), pair.one
        pair.connect()
        pair.one.ask(TWO, b"kept", pair.now, deadline_s=None)
        pair.settle()
        kept = pair.asked()
        pair.cut()
        pair.one = early
        pair.connect()
        number = pair.one.ask(TWO, b"here again", pair.now, deadline_s=None)
        pair.settle()
        asked = pair.asked()
        assert asked.request_id == request_id(ONE, 1000, number)
        assert pair.two.answer(ONE, asked.request_id, b"heard")
        assert pair.two.answer(ONE, kept.request_id, b"too late, and harmless")
        pair.settle()
        assert [each.body for each in pair.take(ONE, Answered)] == [b"heard"]

    def test_who_says_an_old_done_again_has_nothing_carried_out_twice(self, pair: Pair) -> None:
        """A hostile asker seems to come back in time, and repeats what it asked."""
        pair.connect()
        pair.settle()
        numbers = [pair.one.ask(TWO, b"again", pair.now, deadline_s=None) for _ in range(3)]
        pair.settle()
        first, second, third = pair.take(TWO, Asked)
        pair.two.answer(ONE, first.request_id, b"answer")
        pair.two.handle_message(ONE, Cancel(1000, numbers[1]), pair.now)
        pair.two.handle_message(ONE, Done(1000, 0, (), 4 << 40), pair.now)
        for number in numbers:
            pair.two.handle_message(ONE, Request(1000, number, 1, 0, 1, 0, 0, b"again"), pair.now)
        assert not pair.take(TWO, Asked)
        assert pair.two.answer(ONE, third.request_id, b"answer")
        assert not pair.two.answer(ONE, second.request_id, b"answer")

    def test_what_is_held_stays_known_although_nothing_is_kept_of_it(self, pair: Pair) -> None:
        number = pair.one.ask(TWO, b"rows", pair.now, deadline_s=None)
        pair.connect()
        pair.settle()
        name = pair.asked().request_id
        pair.two.answer(ONE, name, bytes(answers.MAX_KEPT_BYTES))
        pair.cut()
        pair.one = Outstanding(ONE, 1000, 40)
        pair.two.handle_message(ONE, Request(1000, 40 << 40, 1, 0, 1, 0, 0, b"of a later epoch"), pair.now)
        pair.take(TWO)
        pair.two.handle_message(ONE, Done(1000, 0, (), 4 << 40), pair.now)
        pair.two.handle_message(ONE, Request(1000, number, 1, 0, 1, 0, 0, b"rows"), pair.now)
        assert not pair.take(TWO, Asked)

    def test_a_late_done_of_the_same_run_forgets_nothing(self, pair: Pair) -> None:
        pair.connect()
        pair.collect()
        (late,) = [sent.message for by, sent in pair.wire if by == ONE and isinstance(sent.message, Done)]
        pair.settle()
        pair.one.ask(TWO, b"rows", pair.now, deadline_s=None)
        pair.settle()
        name = pair.asked().request_id
        pair.two.handle_message(ONE, late, pair.now)
        assert not pair.take(TWO)
        assert pair.two.answer(ONE, name, b"answer")

    def test_done_and_taken_of_what_is_kept_no_more(self, pair: Pair) -> None:
        number = pair.one.ask(TWO, b"rows", pair.now, deadline_s=None)
        pair.settle()
        name = pair.asked().request_id
        pair.two.answer(ONE, name, bytes(answers.MAX_KEPT_BYTES), last=False)
        pair.two.answer(ONE, name, b"more", index=1, last=False)
        pair.two.handle_message(ONE, Taken(1000, number, 2), pair.now)
        asker = pair.two._answers._askers[ONE]
        assert asker.kept_bytes == 0
        pair.two.handle_message(ONE, Done(1000, 0, ((number, number),)), pair.now)
        assert pair.take(TWO, Cancelled)
        assert not asker.held

    def test_only_messages_of_requests(self, pair: Pair) -> None:
        with pytest.raises(LocalMistake):
            pair.one.handle_message(TWO, Message(), pair.now)
