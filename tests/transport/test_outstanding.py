"""Requests: outstanding until answered, asked twice and answered once, everything bounded."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from identity.errors import Exhausted, LocalMistake, OutcomeUnknown, PeerMisbehaved, Unreachable
from identity.names import ServerId
from transport import answers, questions, requests
from transport.outstanding import Outstanding
from transport.questions import DONE_DELAY_S
from transport.requests import (
    EXHAUSTED,
    FORGOTTEN,
    MAX_BODY_BYTES,
    MAX_OUTSTANDING,
    MAX_PARTS_AHEAD,
    MESSAGES,
    Answer,
    Answered,
    Asked,
    Cancel,
    Cancelled,
    Done,
    Failed,
    MaySend,
    Progress,
    Receipt,
    Refuse,
    Request,
    Taken,
    first_number,
    request_id,
)
from transport.wire import Message, Priority, SendTo, decode_untrusted, encode, table_of

ONE, TWO, THREE = ServerId.of(1), ServerId.of(1, 7), ServerId.of(1, 7, 3)
TABLE = table_of(MESSAGES)
SHORT = 0.01


class Pair:
    """Two machines and the messages between them. Connected by `connect`; what is under way is lost by `cut`."""

    def __init__(self, epoch: int = 5) -> None:
        self.now = 100.0
        self.one = Outstanding(ONE, 1000, epoch)
        self.two = Outstanding(TWO, 2000, 9)
        self.wire: list[tuple[ServerId, SendTo]] = []  # by whom
        self.told: dict[ServerId, list[Any]] = {ONE: [], TWO: []}

    def machine(self, server: ServerId) -> Outstanding:
        return self.one if server == ONE else self.two

    def connect(self) -> None:
        self.wire.clear()
        self.one.handle_connected(TWO, self.now)
        self.two.handle_connected(ONE, self.now)

    def cut(self) -> None:
        self.collect()
        self.wire.clear()
        self.one.handle_disconnected(TWO, self.now)
        self.two.handle_disconnected(ONE, self.now)

    def collect(self) -> None:
        for server in (ONE, TWO):
            for output in self.machine(server).take_outputs():
                if isinstance(output, SendTo):
                    assert output.peer in (ONE, TWO)
                    self.wire.append((server, output))
                else:
                    self.told[server].append(output)

    def deliver(self, at: int = 0) -> Message:
        """One message that is under way arrives, as bytes."""
        sender, sent = self.wire.pop(at)
        message = decode_untrusted(encode(sent.message), TABLE)
        assert message == sent.message
        self.machine(sent.peer).handle_message(sender, message, self.now)
        self.collect()
        return message

    def settle(self, seconds: float = 0.0) -> list[type[Message]]:
        """All messages arrive, and what they cause, and deadlines of so many seconds pass. Returns what was said."""
        said = []
        end = self.now + seconds
        self.collect()
        while True:
            while self.wire:
                said.append(type(self.deliver()))
            due = min(self.one.deadline(), self.two.deadline())
            if due > end:
                break
            self.now = max(self.now, due)
            self.one.handle_deadline(self.now)
            self.two.handle_deadline(self.now)
            self.collect()
        self.now = end
        return said

    def take(self, server: ServerId, kind: type | None = None) -> list[Any]:
        self.collect()
        taken = [each for each in self.told[server] if kind is None or type(each) is kind]
        self.told[server] = [each for each in self.told[server] if each not in taken]
        return taken

    def asked(self) -> Asked:
        (asked,) = self.take(TWO, Asked)
        assert isinstance(asked, Asked)
        return asked


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
    def test_outstanding_at_one_peer(self, pair: Pair) -> None:
        numbers = [pair.one.ask(TWO, b"", pair.now, deadline_s=9.0) for _ in range(MAX_OUTSTANDING)]
        with pytest.raises(Exhausted, match=r"4096 requests to 1\.7"):
            pair.one.ask(TWO, b"", pair.now, deadline_s=9.0)
        pair.one.ask(THREE, b"", pair.now, deadline_s=None)
        pair.one.cancel(numbers[7], pair.now)
        pair.one.ask(TWO, b"", pair.now, deadline_s=9.0)

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

    def test_deadlines_of_ended_questions_are_swept(self, pair: Pair) -> None:
        for _ in range(5000):
            pair.one.cancel(pair.one.ask(TWO, b"", pair.now, deadline_s=1000.0), pair.now)
        assert len(pair.one._questions._heap) <= questions.MAX_NOT_TOLD + 1


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


def test_a_deadline_after_the_end_means_nothing(pair: Pair) -> None:
    pair.one.cancel(pair.one.ask(TWO, b"question", pair.now, deadline_s=1.0), pair.now)
    pair.one.handle_deadline(pair.now + 2.0)
    assert not pair.take(ONE)


FROZEN: list[tuple[str, Message]] = [
    ("89101903e81b0000050000000000011913880100004178", Request(1000, 5 << 40, 1, 5000, 1, 0, 0, b"x")),
    ("83111903e8811b0000050000000000", Receipt(1000, (5 << 40,))),
    ("87121903e81b000005000000000000f5f54178", Answer(1000, 5 << 40, 0, True, True, b"x")),
    ("83131903e81b0000050000000000", Cancel(1000, 5 << 40)),
    ("84141903e81b000005000000000081821b00000600000000001b0000060000000001",
     Done(1000, 5 << 40, ((6 << 40, (6 << 40) + 1),))),
    ("86151903e81b000005000000000001016466756c6c", Refuse(1000, 5 << 40, 1, EXHAUSTED, "full")),
    ("84161903e81b000005000000000010", Taken(1000, 5 << 40, 16)),
]  # fmt: skip


@pytest.mark.parametrize(("frozen", "message"), FROZEN, ids=lambda each: type(each).__name__)
def test_frozen_bytes(frozen: str, message: Message) -> None:
    assert encode(message).hex() == frozen
    assert decode_untrusted(bytes.fromhex(frozen), TABLE) == message


def test_every_message_is_frozen() -> None:
    assert [type(message) for _, message in FROZEN] == list(MESSAGES)


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


def test_names_and_numbers() -> None:
    machine = Outstanding(THREE, 1000, 3)
    number = machine.ask(TWO, b"", 0.0, deadline_s=None)
    assert number == 3 << 40
    assert machine.request_id(number) == THREE.ended + bytes.fromhex(
        "00000000000003e8 0000000000000003 0000030000000000"
    )
    for epoch in (-1, 2**23):
        with pytest.raises(LocalMistake):
            Outstanding(ONE, 1, epoch)
    assert first_number(requests.MAX_EPOCH) < 2**63


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


STEPS = st.lists(
    st.sampled_from(["ask", "deliver", "deliver", "deliver last", "answer", "answer", "wait", "cut", "connect"]),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_whatever_happens_each_is_carried_out_once_and_ends_once(steps: list[str]) -> None:
    pair = Pair()
    connected = False
    numbers: list[int] = []
    carried_out: list[bytes] = []
    endings: dict[int, int] = {}

    def look() -> None:
        for output in pair.take(TWO):
            if isinstance(output, Asked):
                carried_out.append(output.request_id)
                waiting.append(output.request_id)
            else:
                raise AssertionError(output)
        for output in pair.take(ONE):
            if isinstance(output, Answered):
                assert output.body == b"reply to " + pair.one.request_id(output.number)
                endings[output.number] = endings.get(output.number, 0) + 1
            else:
                assert isinstance(output, Progress)

    def answer() -> None:
        if waiting:
            name = waiting.pop(0)
            assert pair.two.answer(ONE, name, b"reply to " + name)

    waiting: list[bytes] = []
    acts: dict[str, Callable[[], object]] = {
        "ask": lambda: numbers.append(pair.one.ask(TWO, b"q", pair.now, deadline_s=None)),
        "deliver": lambda: pair.deliver() if pair.wire else None,
        "deliver last": lambda: pair.deliver(-1) if pair.wire else None,
        "answer": answer,
        "wait": lambda: pair.settle(DONE_DELAY_S) if connected else None,
        "cut": pair.cut,
        "connect": pair.connect,
    }
    for step in steps:
        if step == "connect" and not connected:
            connected = True
            acts[step]()
        elif step == "cut" and connected:
            connected = False
            acts[step]()
        elif step not in ("connect", "cut"):
            acts[step]()
        pair.collect()
        look()
    if not connected:
        pair.connect()
    for _ in range(3):
        pair.settle(1.0)
        look()
        while waiting:
            answer()
    pair.settle(1.0)
    look()
    assert len(carried_out) == len(set(carried_out)) == len(numbers)
    assert endings == dict.fromkeys(numbers, 1)
    if numbers:
        asker = pair.two._answers._askers[ONE]
        assert (len(asker.works), asker.kept_bytes, asker.open_bytes, len(asker.held)) == (0, 0, 0, 0)
        assert len(asker.seen) == 1
    assert not pair.one._questions._questions
    assert pair.one.deadline() == pair.two.deadline() == math.inf
