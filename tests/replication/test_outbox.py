"""Changes that wait for their owners, as a table of what happens: in order, each with one outcome."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from identity.errors import Exhausted, Refused
from identity.names import ServerId
from replication.entries import ASKED, OPEN, STEPS, Entry, Forget, Happened, Limits, State, Then, Write
from replication.outbox import MAX_DOUBTS, PAUSE_S, Outbox

A, B = ServerId.parse("1.1"), ServerId.parse("1.2")


class Desk:
    """An outbox, and the disk and the wire below it: what is written down, and what was asked under which number."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.now = 100.0
        self.outbox = Outbox(limits)
        self.disk: dict[int, Any] = {}
        self.asked: list[tuple[int, int]] = []
        self.released: list[int] = []
        self.told: list[tuple[int, str]] = []
        self.requests = 1000

    @property
    def wall_ms(self) -> int:
        return int(self.now * 1000)

    def put(self, owner: ServerId, *, met: bool = False, size: int = 10, expires_s: float | None = None) -> Entry:
        entry = self.outbox.admit(
            owner, incarnation=7, text="update", size=size, met=met, wall_ms=self.wall_ms,
            expires_ms=None if expires_s is None else self.wall_ms + int(expires_s * 1000),
        )  # fmt: skip
        self.disk[entry.number] = entry.as_plain()
        self.outbox.handle_written(entry, now=self.now, wall_ms=self.wall_ms)
        self.carry_out()
        return entry

    def carry_out(self) -> None:
        """As the shell does: numbers, then the disk, then the wire."""
        outputs = self.outbox.take_outputs()
        for output in outputs:
            if isinstance(output, Forget):
                self.disk.pop(output.number, None)
                continue
            entry = self.outbox.entry(output.number)
            if output.then is Then.ASK and entry.request is None:
                self.requests += 1
                entry.request = self.requests
            self.disk[entry.number] = entry.as_plain()
        for output in outputs:
            if isinstance(output, Write):
                entry = self.outbox.entry(output.number)
                if output.then is Then.ASK:
                    assert entry.request is not None
                    self.asked.append((entry.number, entry.request))
                elif output.then in (Then.RELEASE, Then.TELL) and output.request is not None:
                    self.released.append(output.request)
                if output.then is Then.TELL:
                    self.told.append((entry.number, entry.state.value))

    def meet(self, owner: ServerId) -> None:
        self.outbox.handle_met(owner, now=self.now)
        self.carry_out()

    def end(self, entry: Entry, happened: Happened = Happened.COMMITTED) -> None:
        self.outbox.handle_outcome(entry.number, happened, {"said": 1}, now=self.now, wall_ms=self.wall_ms)
        self.carry_out()

    def cancel(self, entry: Entry, *, forget: bool = False) -> None:
        verb = self.outbox.forget if forget else self.outbox.cancel
        verb(entry.number, now=self.now, wall_ms=self.wall_ms)
        self.carry_out()

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.outbox.handle_deadline(self.now, wall_ms=self.wall_ms)
        self.carry_out()

    def restart(self) -> None:
        self.outbox = Outbox(self.outbox._limits)
        entries = [Entry.from_plain(number, said) for number, said in self.disk.items()]
        self.outbox.load(entries, 0, now=self.now, wall_ms=self.wall_ms)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_what_waits_is_asked_in_order_when_its_owner_is_met(desk: Desk) -> None:
    first, second, other = desk.put(A), desk.put(A), desk.put(B)
    assert desk.asked == []
    assert [desk.outbox.ahead(each) for each in (first, second, other)] == [0, 1, 0]
    desk.meet(A)
    assert desk.asked == [(1, 1001)]
    desk.end(first)
    assert desk.asked == [(1, 1001), (2, 1002)]
    desk.end(second, Happened.CONFLICT)
    assert desk.told == [(1, "committed"), (2, "conflict")]
    assert desk.released == [1001, 1002]
    assert other.state is State.WAITING
    assert desk.outbox.waits_for(B)
    assert not desk.outbox.waits_for(A)


def test_one_that_is_refused_does_not_stop_the_next(desk: Desk) -> None:
    first, second = desk.put(A), desk.put(A)
    desk.meet(A)
    desk.end(first, Happened.REFUSED)
    assert (first.state, second.state) == (State.REFUSED, State.SENT)
    assert first.outcome == {"said": 1}


def test_what_comes_while_its_owner_is_there_is_asked_at_once(desk: Desk) -> None:
    desk.put(A, met=True)
    desk.put(A, met=True)
    assert desk.asked == [(1, 1001)]


def test_a_number_stands_on_the_disk_before_it_is_asked(desk: Desk) -> None:
    desk.put(A)
    desk.outbox.handle_met(A, now=desk.now)
    (write,) = desk.outbox.take_outputs()
    assert write == Write(1, Then.ASK)
    assert desk.asked == []


def test_what_was_sent_before_comes_first_and_keeps_its_number(desk: Desk) -> None:
    entry = desk.outbox.admit(A, incarnation=7, text="update", size=1, met=False, wall_ms=0)
    entry.request = 77
    desk.outbox.handle_written(entry, now=desk.now, wall_ms=desk.wall_ms)
    later = desk.put(A)
    desk.meet(A)
    assert (entry.state, later.state) == (State.SENT, State.WAITING)
    assert desk.asked == []  # it is outstanding already
    desk.end(entry)
    assert desk.released == [77]
    assert desk.asked == [(2, 1001)]


def test_cancelled_before_it_was_sent(desk: Desk) -> None:
    first, second, third = desk.put(A), desk.put(A), desk.put(A)
    desk.cancel(second)
    assert desk.told == [(2, "cancelled")]
    assert desk.outbox.ahead(third) == 1
    desk.meet(A)
    desk.end(first)
    assert desk.asked == [(1, 1001), (3, 1002)]


@pytest.mark.parametrize(
    ("happened", "outcome"),
    [
        (Happened.NOT_DONE, "cancelled"),
        (Happened.PUT_BACK, "cancelled"),
        (Happened.COMMITTED, "committed"),
        (Happened.CONFLICT, "conflict"),
        (Happened.REFUSED, "refused"),
        (Happened.LOST, "unknown"),
    ],
)
def test_cancelled_after_it_was_sent_its_owner_says_what_became_of_it(
    desk: Desk, happened: Happened, outcome: str
) -> None:
    first, second = desk.put(A), desk.put(A)
    desk.meet(A)
    desk.cancel(first)
    assert first.state is State.WITHDRAWN
    assert desk.told == []
    desk.cancel(first)  # once more changes nothing
    assert second.state is State.WAITING
    desk.end(first, happened)
    assert desk.told == [(1, outcome)]
    assert second.state is State.SENT


def test_forgotten_it_is_unknown_and_the_queue_goes_on(desk: Desk) -> None:
    first, second = desk.put(A), desk.put(A)
    desk.meet(A)
    desk.cancel(first, forget=True)
    assert (first.state, second.state) == (State.UNKNOWN, State.SENT)
    desk.end(first)  # an answer that comes after all is no news
    assert desk.told == [(1, "unknown")]


def test_expiry_before_and_after_it_was_sent(desk: Desk) -> None:
    first, second = desk.put(A, expires_s=10), desk.put(A, expires_s=5)
    assert desk.outbox.deadline() == pytest.approx(105)
    desk.meet(A)
    desk.wait(6)
    assert desk.told == [(2, "expired")]
    desk.wait(5)
    assert first.state is State.LAPSED
    assert desk.outbox.deadline() == math.inf
    desk.end(first, Happened.NOT_DONE)
    assert desk.told[1:] == [(1, "expired")]
    assert second.settled_ms == 106_000


def test_what_cannot_be_done_just_now_is_asked_again_under_another_number(desk: Desk) -> None:
    first, second = desk.put(A), desk.put(A)
    desk.meet(A)
    desk.end(first, Happened.PUT_BACK)
    assert (first.state, second.state, desk.released) == (State.WAITING, State.WAITING, [1001])
    assert desk.asked == [(1, 1001)]
    assert desk.outbox.deadline() == pytest.approx(desk.now + PAUSE_S)
    desk.wait(PAUSE_S)
    assert desk.asked == [(1, 1001), (1, 1002)]
    desk.end(first, Happened.PUT_BACK)
    assert desk.outbox.deadline() == pytest.approx(desk.now + 2 * PAUSE_S)
    desk.meet(A)  # a new session is a new chance
    assert desk.asked[2:] == [(1, 1003)]


def test_an_owner_in_doubt_is_asked_under_the_same_number_in_its_next_session(desk: Desk) -> None:
    first = desk.put(A)
    desk.meet(A)
    for _ in range(MAX_DOUBTS - 1):
        desk.outbox.handle_doubt(1, {"said": 2}, now=desk.now, wall_ms=desk.wall_ms)
        desk.carry_out()
        assert first.state is State.SENT
        desk.outbox.handle_lost(A)
        desk.meet(A)
        desk.meet(A)
    assert desk.asked == [(1, 1001)] * MAX_DOUBTS
    desk.outbox.handle_doubt(1, {"said": 2}, now=desk.now, wall_ms=desk.wall_ms)
    desk.carry_out()
    assert desk.told == [(1, "unknown")]


def test_what_could_not_be_asked_keeps_its_number(desk: Desk) -> None:
    """Its owner takes no more questions now, and may have carried it out in an earlier session."""
    first, second = desk.put(A), desk.put(A)
    desk.meet(A)
    desk.outbox.handle_busy(1, now=desk.now)
    desk.wait(PAUSE_S / 2)
    assert desk.asked == [(1, 1001)]
    desk.wait(PAUSE_S / 2)
    assert desk.asked == [(1, 1001)] * 2
    desk.outbox.handle_busy(1, now=desk.now)
    desk.meet(A)
    desk.wait(60)
    assert desk.asked == [(1, 1001)] * 3
    desk.end(first)
    assert (first.state, second.state) == (State.COMMITTED, State.SENT)


def test_a_restart_goes_on_where_the_disk_says(desk: Desk) -> None:
    desk.put(A)
    desk.put(A)
    desk.put(B, expires_s=50)
    desk.meet(A)
    desk.cancel(desk.put(A))
    before = [entry.as_plain() for entry in desk.outbox]
    desk.restart()
    assert [entry.as_plain() for entry in desk.outbox] == before
    first, second, third, fourth = desk.outbox
    assert (first.state, first.request, first.again) == (State.SENT, 1001, True)
    assert desk.outbox.deadline() == pytest.approx(150)
    desk.meet(A)
    desk.meet(B)
    assert desk.asked == [(1, 1001), (3, 1002)]  # the first is asked again by whoever loads it
    desk.end(first)
    assert second.state is State.SENT
    assert (third.state, fourth.state) == (State.SENT, State.CANCELLED)
    assert desk.put(B).number == 5


@pytest.mark.parametrize(
    ("limits", "quota"),
    [
        (Limits(owner_entries=2), "2 changes for 1.1"),
        (Limits(owner_bytes=25), "25 bytes of changes for 1.1"),
        (Limits(entries=2), "2 changes in all"),
        (Limits(bytes=25), "25 bytes in all"),
    ],
)
def test_a_full_outbox_names_the_quota(limits: Limits, quota: str) -> None:
    desk = Desk(limits)
    first, _ = desk.put(A), desk.put(A)
    with pytest.raises(Exhausted, match=quota) as told:
        desk.put(A)
    assert told.value.details["quota"] == quota
    assert len(list(desk.outbox)) == 2
    desk.cancel(first)
    desk.put(A)


def test_what_could_not_be_written_down_never_was(desk: Desk) -> None:
    entry = desk.outbox.admit(A, incarnation=7, text="update", size=1, met=True, wall_ms=0)
    desk.outbox.abandon(entry)
    assert list(desk.outbox) == []
    assert not desk.outbox.waits_for(A)
    with pytest.raises(Refused, match="request 1 is not in the outbox"):
        desk.cancel(entry)


def test_settled_ones_are_remembered_by_number_and_age() -> None:
    desk = Desk(Limits(settled=3, settled_ms=60_000))
    entries = [desk.put(A, met=True) for _ in range(5)]
    for entry in entries:
        desk.end(entry)
    assert sorted(desk.disk) == [3, 4, 5]
    assert [entry.number for entry in desk.outbox] == [3, 4, 5]
    desk.now += 61
    desk.restart()
    desk.carry_out()
    assert list(desk.outbox) == []
    assert desk.disk == {}


def test_every_state_that_is_open_can_end() -> None:
    reached = {State.NEW}
    for _ in State:
        reached |= {after for (before, _), after in STEPS.items() if before in reached}
    assert reached == set(State)
    assert {before for before, _ in STEPS} == OPEN
    for state in ASKED:
        assert {STEPS[state, each] for each in (Happened.COMMITTED, Happened.LOST)} == {State.COMMITTED, State.UNKNOWN}


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_each_ends_once_and_in_order(seed: int) -> None:
    """An owner that carries out what it is asked, once by number; the sender restarts at any moment."""
    chance = random.Random(seed)
    desk = Desk()
    done: dict[int, int] = {}  # at the owner: request number -> entry
    order: list[int] = []
    count = 0
    while count < 40 or desk.outbox.waits_for(A):
        what = chance.choice(("put", "meet", "answer", "answer", "lose", "restart", "busy", "cancel"))
        asked = [entry for entry in desk.outbox if entry.state in ASKED]
        assert len(asked) <= 1
        if what == "put" and count < 40:
            desk.put(A, met=chance.random() < 0.5)
            count += 1
        elif what == "meet":
            desk.meet(A)
        elif what == "lose":
            desk.outbox.handle_lost(A)
        elif what == "restart":
            desk.restart()
        elif what == "busy" and asked and asked[0].request not in done:
            desk.end(asked[0], Happened.PUT_BACK)
            desk.wait(61)
        elif what == "cancel" and chance.random() < 0.2 and count:
            desk.cancel(desk.outbox.entry(chance.randint(1, count)))
        elif what == "answer" and asked:
            (entry,) = asked
            assert entry.request is not None
            carried_out = entry.request in done
            if not carried_out and entry.state is State.SENT:
                done[entry.request] = entry.number
                order.append(entry.number)
                carried_out = True
            if chance.random() < 0.7:  # else the answer is lost
                desk.end(entry, Happened.COMMITTED if carried_out else Happened.NOT_DONE)
    assert order == sorted(set(order))
    assert {entry.number for entry in desk.outbox if entry.state is State.COMMITTED} == set(order)
    assert all(not entry.open for entry in desk.outbox)
    assert len(set(desk.told)) == len(desk.told) == 40
