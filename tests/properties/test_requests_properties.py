"""Requests against every order of events, and against every peer."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from identity.errors import PeerMisbehaved
from tests.transport.request_pair import ONE, THREE, TWO, Pair
from transport.questions import DONE_DELAY_S
from transport.requests import (
    Answer,
    Answered,
    Asked,
    Cancel,
    Done,
    Progress,
    Receipt,
    Refuse,
    Request,
    Taken,
)
from transport.wire import Message

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


NUMBERS = st.sampled_from([0, 1, 2, 3, 5 << 40, (5 << 40) + 1, (5 << 40) + 2, 2**63 - 1])
INCARNATIONS = st.sampled_from([999, 1000, 1001, 2**63 - 1])
STRANGE: st.SearchStrategy[Message] = st.one_of(
    st.builds(Request, INCARNATIONS, NUMBERS, st.integers(1, 3), NUMBERS.filter(lambda n: n < 2**53), st.integers(0, 3),
              NUMBERS, NUMBERS, st.binary(max_size=3)),
    st.builds(Receipt, INCARNATIONS, st.lists(NUMBERS, max_size=4).map(tuple)),
    st.builds(Answer, INCARNATIONS, NUMBERS, st.integers(0, 40), st.booleans(), st.booleans(), st.binary(max_size=3)),
    st.builds(Cancel, INCARNATIONS, NUMBERS),
    st.builds(Done, INCARNATIONS, NUMBERS, st.lists(st.tuples(NUMBERS, NUMBERS), max_size=3).map(tuple)),
    st.builds(Refuse, INCARNATIONS, NUMBERS, st.integers(0, 3), st.integers(0, 3), st.text(max_size=3)),
    st.builds(Taken, INCARNATIONS, NUMBERS, NUMBERS),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(STRANGE, max_size=30), st.lists(st.integers(0, 9), max_size=30))
def test_whatever_a_peer_says_only_misbehaviour_is_raised(said: list[Message], replies: list[int]) -> None:
    """And nobody else's requests suffer, no request is told twice, and the counts stay right."""
    pair = Pair()
    pair.connect()
    pair.one.ask(TWO, b"a", pair.now, deadline_s=None)
    pair.one.ask(TWO, b"b", pair.now, deadline_s=None)
    safe = pair.one.ask(THREE, b"c", pair.now, deadline_s=None)
    told: list[bytes] = []
    for message, reply in zip(said, replies + [0] * 30, strict=False):
        for server, other in ((ONE, TWO), (TWO, ONE)):
            with contextlib.suppress(PeerMisbehaved):
                pair.machine(server).handle_message(other, message, pair.now)
            for asked in pair.take(server, Asked):
                assert asked.request_id not in told or server == ONE
                told.append(asked.request_id)
                if reply:
                    pair.machine(server).answer(other, asked.request_id, b"", last=reply > 5)
        pair.now += 0.01
        pair.one.handle_deadline(pair.now)
        pair.two.handle_deadline(pair.now)
    assert safe in pair.one._questions._questions
    for machine in (pair.one, pair.two):
        for asker in machine._answers._askers.values():
            works = asker.works.values()
            assert asker.kept_bytes == sum(work.kept_bytes for work in works)
            assert asker.open_bytes == sum(work.question_bytes for work in works if not work.answered)
            assert set(asker.answered) == {work.number for work in works if work.answered}
            assert all(work.number in asker.held for work in works)
            assert not asker.held.difference(asker.seen)
