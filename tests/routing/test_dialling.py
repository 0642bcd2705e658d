"""Whom the router dials and when, and how soon it says that somebody is not reached."""

from __future__ import annotations

import math
from itertools import pairwise
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from identity.errors import LocalMistake
from identity.machine import Machine
from identity.names import ServerId
from routing.dialling import DIAL_S, EARLY_S, LASTING_S, MAX_DIALS, STAGGER_S, UNTOLD_S, Dialling
from routing.neighbours import QUIET_S, State
from routing.ways import Dial, Direct, Drop, Nowhere, Reached, Stuck, Unreachable

ME, PEER, OTHER = (ServerId.parse(name) for name in ("1.2", "1.3", "1.1"))
KEY = b"k" * 32
A, B = ("10.0.0.1", 7000), ("10.0.0.2", 7000)


def router(*, allowed=lambda server, address: True):
    return Dialling(ME, may_dial=allowed, random=Random(1))


def known(*addresses):
    made = router()
    made.know(PEER, KEY, addresses or [A], 0.0)
    return made


def run(machine, until):
    """Everything it wants until then, with the time at which it wanted it."""
    said = [(0.0, each) for each in machine.take_outputs()]
    while machine.deadline() <= until:
        at = machine.deadline()
        machine.handle_deadline(at)
        said += [(at, each) for each in machine.take_outputs()]
    return said


def test_a_neighbour_is_dialled_and_reached():
    each = known()
    each.want(PEER, 1.0)
    assert each.take_outputs() == [Dial(PEER, A, KEY)]
    way = each.route(PEER, 1.1)
    assert isinstance(way, Nowhere)
    assert way.calling
    each.handle_connected(5, PEER, True, A, 1.2)
    assert each.take_outputs() == [Reached(PEER, 5)]
    assert each.route(PEER, 1.3) == Direct(5)
    assert isinstance(each, Machine)


def test_addresses_are_tried_one_after_another_and_then_it_is_said_at_once():
    each = known(A, B)
    each.want(PEER, 1.0)
    assert each.take_outputs() == [Dial(PEER, A, KEY)]
    each.handle_dial_failed(PEER, A, "refused", 1.1)
    assert each.take_outputs() == [Dial(PEER, B, KEY)]
    each.handle_dial_failed(PEER, B, "no answer", 1.2)
    stuck, told = each.take_outputs()
    assert stuck == Stuck(PEER)
    assert isinstance(told, Unreachable)
    assert told.server == PEER
    assert told.since <= 1.2
    assert told.reason == "10.0.0.2:7000: no answer"
    way = each.route(PEER, 1.3)
    assert isinstance(way, Nowhere)
    assert not way.calling
    assert "no answer" in way.reason


def test_without_an_address_it_is_said_at_once():
    each = router()
    each.want(PEER, 3.0)
    assert each.take_outputs() == [Stuck(PEER), Unreachable(PEER, 3.0, "no address is known")]
    each = router(allowed=lambda server, address: False)
    each.know(PEER, KEY, [A], 0.0)
    each.want(PEER, 3.0)
    assert each.take_outputs() == [
        Stuck(PEER),
        Unreachable(PEER, 0.0, "no address that may be dialled is known"),
    ]
    assert each.deadline() < math.inf  # a gateway may know it later
    assert isinstance(each.route(OTHER, 3.0), Nowhere)


def test_an_address_learned_later_is_dialled_at_once():
    each = router()
    each.want(PEER, 3.0)
    each.take_outputs()
    each.know(PEER, KEY, [A], 4.0)
    assert each.take_outputs() == [Dial(PEER, A, KEY)]


def test_pauses_grow_and_are_told_once():
    each = known()
    each.want(PEER, 0.0)
    dials, told = [], 0
    now = 0.0
    for _ in range(400):
        for output in each.take_outputs():
            if isinstance(output, Dial):
                dials.append(now)
                each.handle_dial_failed(PEER, A, "refused", now)
            elif isinstance(output, Unreachable):
                told += 1
        if each.deadline() > 600:
            break
        now = max(now, each.deadline())
        each.handle_deadline(now)
    gaps = [after - before for before, after in pairwise(dials)]
    assert told == 1
    assert 0.5 <= gaps[0] <= 1
    assert 2 <= gaps[2] <= 4
    assert all(10 <= gap <= 20 for gap in gaps[6:])
    assert len(dials) > 30


def test_a_dial_without_any_word_ends():
    each = known(A, B)
    each.want(PEER, 0.0)
    said = run(each, STAGGER_S + DIAL_S + 0.1)
    assert [(at, type(output)) for at, output in said] == [
        (0.0, Dial), (STAGGER_S, Dial), (EARLY_S, Stuck), (UNTOLD_S, Unreachable), (STAGGER_S + DIAL_S, Stuck),
    ]  # fmt: skip


def test_a_sign_of_life_ends_the_pause():
    each = known()
    each.want(PEER, 0.0)
    for at in (0.0, 1.0, 3.0, 7.0, 15.0):
        each.handle_deadline(at)
        each.take_outputs()
        each.handle_dial_failed(PEER, A, "refused", at + 0.1)
    each.take_outputs()
    each.handle_deadline(16.9)
    assert each.take_outputs() == []  # the fifth pause is 8 s or more
    each.handle_restarted(PEER, 17.0)
    assert each.take_outputs() == [Dial(PEER, A, KEY)]
    each.handle_restarted(PEER, 17.1)  # already under way
    each.handle_restarted(OTHER, 17.1)  # nobody wants it
    assert each.take_outputs() == []


def test_on_demand_is_one_round_and_an_answer_each_time():
    each = known()
    each.want(PEER, 0.0, keep=False)
    assert each.take_outputs() == [Dial(PEER, A, KEY)]
    each.want(PEER, 0.1, keep=False)
    assert each.take_outputs() == []
    each.handle_dial_failed(PEER, A, "refused", 0.2)
    assert [type(output) for output in each.take_outputs()] == [Stuck, Unreachable]
    each.want(PEER, 0.3, keep=False)  # just tried: told at once, not dialled again
    assert [type(output) for output in each.take_outputs()] == [Unreachable]
    each.want(PEER, 5.0, keep=False)
    assert each.take_outputs() == [Dial(PEER, A, KEY)]
    each.handle_dial_failed(PEER, A, "refused", 5.1)
    each.take_outputs()
    assert run(each, 1000) == []  # nobody keeps it


def test_a_lost_neighbour_is_told_at_once_since_it_was_last_heard_and_dialled_again():
    each = known()
    each.want(PEER, 0.0)
    each.handle_connected(5, PEER, True, A, 0.1)
    each.take_outputs()
    each.handle_heard(PEER, 20.0)
    each.handle_closed(5, "silence", 30.0)
    assert each.take_outputs() == [Unreachable(PEER, 20.0, "silence"), Dial(PEER, A, KEY)]
    way = each.route(PEER, 30.1)
    assert isinstance(way, Nowhere)
    assert (way.since, way.calling) == (20.0, True)
    each.handle_dial_failed(PEER, A, "refused", 30.2)
    assert each.take_outputs() == [Stuck(PEER)]  # told already, and a way by gateways is welcome
    each.handle_connected(6, PEER, False, A, 31.0)  # it found us
    assert each.take_outputs() == [Reached(PEER, 6)]


def test_who_greets_and_hangs_up_is_not_hammered():
    each = known()
    each.want(PEER, 0.0)
    now, dials = 0.0, 0
    for connection in range(1000):
        dials += sum(isinstance(output, Dial) for output in each.take_outputs())
        each.handle_connected(connection, PEER, True, A, now)
        each.take_outputs()
        each.handle_closed(connection, "shunned", now + 0.01)
        while not any(isinstance(output, Dial) for output in each.take_outputs()):
            now = each.deadline()
            each.handle_deadline(now)
        dials += 1
        if now > 300:
            break
    assert dials < 30
    assert LASTING_S > 0


def test_of_two_that_crossed_the_one_of_the_lesser_id_survives():
    for mine_first in (True, False):
        each = known()
        each.want(PEER, 0.0)
        each.take_outputs()
        first, second = (1, 2) if mine_first else (2, 1)  # connection 1 is ours, 2 is theirs
        each.handle_connected(first, PEER, first == 1, A, 0.1)
        each.handle_connected(second, PEER, second == 1, A, 0.15)
        outputs = each.take_outputs()
        assert each.route(PEER, 0.2) == Direct(1)  # 1.2 is less than 1.3
        dropped = [output.connection for output in outputs if isinstance(output, Drop)]
        assert dropped == [2]
        each.handle_closed(2, "dropped", 0.3)  # its end is no news
        assert each.route(PEER, 0.3) == Direct(1)


def test_a_restarted_peer_replaces_the_connection_of_its_earlier_run():
    each = known()
    each.want(PEER, 0.0)
    each.handle_connected(1, PEER, True, A, 0.1, epoch=4)
    each.take_outputs()
    each.handle_connected(2, PEER, False, A, 0.5, epoch=5)
    assert each.take_outputs() == [Drop(1, "a newer connection to 1.3 is kept"), Reached(PEER, 2)]


def test_both_directions_are_kept_apart():
    each = known()
    each.handle_connected(5, PEER, True, A, 0.0)
    each.handle_heard(PEER, 3.0)
    each.handle_heard_us(PEER, 2.0, 3.0)
    each.handle_heard_us(PEER, 1.0, 3.0)  # an older word
    each.handle_heard_us(PEER, 99.0, 3.0)  # from the future
    each.handle_srtt(PEER, 0.02)
    (status,) = each.neighbours(5.0)
    assert (status.heard_s, status.hears_us_s, status.srtt_s, status.state) == (2.0, 3.0, 0.02, "heard")


def test_a_quiet_neighbour_is_doubted_and_believed_again():
    each = known()
    each.handle_connected(5, PEER, True, A, 0.0)
    each.handle_heard(PEER, 10.0)
    run(each, 10.0 + QUIET_S - 0.1)
    assert each.neighbours(20.0)[0].state == State.HEARD.value
    run(each, 10.0 + QUIET_S + 0.1)
    assert each.neighbours(26.0)[0].state == State.DOUBTED.value
    assert each.route(PEER, 26.0) == Direct(5)
    each.handle_heard(PEER, 27.0)
    assert each.neighbours(27.0)[0].state == State.HEARD.value
    assert each.deadline() == 27.0 + QUIET_S


def test_one_timer_watches_a_neighbour_however_often_it_was_dialled():
    each = known()
    each.want(PEER, 0.0)
    for number in range(10):
        each.handle_connected(number, PEER, True, A, float(number))
        run(each, number + 0.5)
        each.handle_closed(number, "cut", number + 0.5)
    each.handle_connected(10, PEER, True, A, 20.0)
    looks = 0
    for second in range(21, 321):
        each.handle_heard(PEER, float(second))
        while each.deadline() <= second:
            each.handle_deadline(float(second))
            looks += 1
    assert looks <= 300 / QUIET_S + 5  # what the dials had set is over soon
    assert each.deadline() <= 320 + QUIET_S


def test_few_dials_are_under_way_at_once():
    each = router()
    servers = [ServerId.of(1, n) for n in range(10, 10 + 3 * MAX_DIALS)]
    for server in servers:
        each.know(server, KEY, [A], 0.0)
        each.want(server, 0.0)
    dials = [output for output in each.take_outputs() if isinstance(output, Dial)]
    assert len(dials) == MAX_DIALS
    each.handle_connected(1, dials[0].server, True, A, 0.1)
    assert sum(isinstance(output, Dial) for output in each.take_outputs()) == 1
    each.handle_dial_failed(dials[1].server, A, "refused", 0.1)
    assert sum(isinstance(output, Dial) for output in each.take_outputs()) == 1
    each.forget(dials[2].server, 0.1)
    assert sum(isinstance(output, Dial) for output in each.take_outputs()) == 1
    assert isinstance(each.route(servers[-1], 0.2), Nowhere)
    run(each, 100)


def test_forgetting_keeps_the_connection_and_dials_no_more():
    each = known()
    each.want(PEER, 0.0)
    each.handle_connected(5, PEER, True, A, 0.1)
    each.take_outputs()
    each.forget(PEER, 1.0)
    assert each.route(PEER, 1.0) == Direct(5)
    each.handle_closed(5, "gone", 20.0)
    assert [type(output) for output in each.take_outputs()] == [Unreachable]
    assert run(each, 1000) == []
    assert each.neighbours(21.0)[0].state == "unknown"


def test_released_is_not_dialled_again():
    each = known()
    each.want(PEER, 0.0)
    each.take_outputs()
    each.handle_dial_failed(PEER, A, "refused", 0.1)
    each.release(PEER, 0.2)
    each.release(OTHER, 0.2)
    assert [output for at, output in run(each, 1000) if isinstance(output, Dial)] == []


def test_no_way_to_oneself():
    with pytest.raises(LocalMistake):
        router().want(ME, 0.0)
    each = router()
    each.know(ME, KEY, [A], 0.0)
    assert each.neighbours(0.0) == []


class Weather(RuleBasedStateMachine):
    """Any order of events: the router never errs, never dials who is there, and always says who is not."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.made = Dialling(ME, may_dial=lambda server, address: True, random=Random(2))
        self.connections: dict[int, ServerId] = {}
        self.dialled: list[Dial] = []
        self.count = 0
        self.reached: dict[ServerId, int] = {}
        self.wanted: set[ServerId] = set()

    servers = st.sampled_from([PEER, OTHER, ServerId.parse("1.2.1")])

    def look(self):
        for output in self.made.take_outputs():
            if isinstance(output, Dial):
                assert output.server not in self.reached
                self.dialled.append(output)
            elif isinstance(output, Reached):
                self.reached[output.server] = output.connection
            elif isinstance(output, Unreachable):
                assert output.server not in self.reached
                assert output.since <= self.now
            elif isinstance(output, Drop):
                assert self.connections.pop(output.connection, None)

    @rule(server=servers, port=st.integers(1, 3))
    def know(self, server, port):
        self.made.know(server, KEY, [("h", port)], self.now)
        self.look()

    @rule(server=servers, keep=st.booleans())
    def want(self, server, keep):
        self.made.want(server, self.now, keep=keep)
        self.look()

    @rule(server=servers)
    def forget(self, server):
        self.made.forget(server, self.now)
        self.look()

    @rule(server=servers)
    def restarted(self, server):
        self.made.handle_restarted(server, self.now)
        self.look()

    @rule(server=servers)
    def heard(self, server):
        self.made.handle_heard(server, self.now)

    @rule(server=servers, epoch=st.integers(0, 2))
    def found_us(self, server, epoch):
        self.count += 1
        self.connections[self.count] = server
        self.made.handle_connected(self.count, server, False, ("h", 1), self.now, epoch=epoch)
        self.look()

    @precondition(lambda self: self.dialled)
    @rule(works=st.booleans(), which=st.integers(0, 5))
    def dial_ends(self, works, which):
        dial = self.dialled.pop(which % len(self.dialled))
        if works:
            self.count += 1
            self.connections[self.count] = dial.server
            self.made.handle_connected(self.count, dial.server, True, dial.address, self.now)
        else:
            self.made.handle_dial_failed(dial.server, dial.address, "refused", self.now)
        self.look()

    @precondition(lambda self: self.connections)
    @rule(which=st.integers(0, 5))
    def closes(self, which):
        connection = list(self.connections)[which % len(self.connections)]
        server = self.connections.pop(connection)
        if self.reached.get(server) == connection:
            del self.reached[server]
        self.made.handle_closed(connection, "lost", self.now)
        self.look()

    @rule(seconds=st.sampled_from([0.01, 1.0, 20.0, 100.0]))
    def wait(self, seconds):
        until = self.now + seconds
        while self.made.deadline() <= until:
            self.now = max(self.now, self.made.deadline())
            self.made.handle_deadline(self.now)
            self.look()
        self.now = until

    @invariant()
    def routes_are_true(self):
        for server in (PEER, OTHER):
            way = self.made.route(server, self.now)
            if isinstance(way, Direct):
                assert self.reached[server] == way.connection
                assert self.connections[way.connection] == server
            else:
                assert server not in self.reached
        assert len(self.made._by_connection) == len(self.reached)


TestWeather = Weather.TestCase
TestWeather.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
