"""Over links that carry one way only: a SEEK goes round, and its target says how it came."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import networkx
import pytest

from identity.machine import Machine
from identity.names import ServerId
from routing.probes import MAX_HOPS, MAX_SOUGHT, Came, Path, Seek
from routing.seeking import (
    AGAIN_S,
    ALL_PER_S,
    ANSWER_S,
    BACK_FOR_S,
    BACK_S,
    FAN_OUT,
    FIRST_S,
    FRESH_S,
    LONGEST_LOST_S,
    LOST_FOR_S,
    LOST_S,
    MAX_SEEN,
    NEXT_S,
    PEER_PER_S,
    Seeking,
    Sought,
)
from routing.ways import HandOn, Tell
from simulations.core_sessions import Core
from simulations.cores import KEY
from tests.routing.lab import Lab

A, B, C, D, X = (ServerId.parse(name) for name in ("1.1", "1.2", "1.3", "1.4", "1.9"))


def made(
    own: ServerId, *sessions: ServerId, others: Any = (), doubted: Any = (), direct: Any = (), knows: Any = None,
    may: bool = True, ways: Any = None,
) -> Seeking:  # fmt: skip
    numbers = iter(range(100, 10**9))
    return Seeking(
        own, sessions=lambda: sessions, others=lambda: others, doubted=lambda server: server in doubted,
        direct=lambda server: server in direct, knows=lambda server: knows is None or server in knows,
        may_forward=lambda source, target: may, ways_to=lambda server, now: (ways or {}).get(server, []),
        new_number=numbers.__next__,
    )  # fmt: skip


def seeks(machine: Seeking) -> dict[ServerId, Seek]:
    found = [each for each in machine.take_outputs() if isinstance(each, HandOn)]
    assert len({each.peer for each in found}) == len(found)
    return {each.peer: each.message for each in found if isinstance(each.message, Seek)}


def ring(servers: int, tail: int = 0, *, before: Any = None, seed: int = 3) -> tuple[Lab, list[ServerId]]:
    """A ring, 1 -> 1.1 -> .. -> 1, and a line of links that carry both ways from 1; `before` its links are cut."""
    lab = Lab(seed)
    graph = networkx.cycle_graph(servers)
    networkx.add_path(graph, [0, *range(servers, servers + tail)])
    names = lab.build(graph)
    lab.run(5)
    if before is not None:
        before(lab, names)
    for place in range(servers):
        lab.cut(names[(place + 1) % servers], names[place], both=False)
    lab.all_know()
    return lab, names


def missing(lab: Lab, names: list[ServerId], seconds: float) -> list[tuple[ServerId, ServerId]]:
    """Who does not get an answer from whom in that time."""
    pings = {(a, b): lab.ping(a, b) for a in names for b in names if a != b}
    lab.run(seconds)
    return [pair for pair, number in pings.items() if lab.answered(pair[0], number) is None]


def restart(lab: Lab, server: ServerId) -> None:
    """It has forgotten all sessions; whom it knew it knows."""
    lab.servers[server] = Core(lab, server)
    for other in lab.servers:
        if other != server:
            lab.servers[server].router.know(other, KEY, [(str(other), 7000)], lab.now)
            lab.connect(server, other)


# -- meshes


@pytest.mark.parametrize(("servers", "tail"), [(3, 0), (5, 0), (9, 0), (3, 2), (4, 3)])
def test_everybody_in_and_behind_a_ring_of_one_way_links_reaches_everybody(servers: int, tail: int) -> None:
    lab, names = ring(servers, tail)
    assert missing(lab, names, 25) == []
    assert lab.wrongs == []


def test_neighbours_in_a_ring_hear_of_each_other_in_a_second_and_then_it_is_quiet() -> None:
    lab, names = ring(3)
    assert missing(lab, names, 1) == []
    assert not any(each.unreachable for each in lab.servers.values())
    lab.run(3)
    before = lab.forwards, lab.sought
    lab.run(2)  # each acknowledgement that goes round is carried by words which nobody acknowledges
    assert lab.forwards - before[0] < 60
    assert lab.sought == before[1]


@pytest.mark.parametrize("servers", [3, 6])
def test_who_forgot_all_sessions_begins_new_ones_over_one_way_links_alone(servers: int) -> None:
    lab, names = ring(servers)
    lab.run(5)
    restart(lab, names[0])
    assert missing(lab, names, 25) == []
    for each in names:
        restart(lab, each)
    assert missing(lab, names, 25) == []
    assert lab.wrongs == []


def test_a_ring_is_found_by_those_who_had_lost_each_other_for_good() -> None:
    def alone(lab: Lab, names: list[ServerId]) -> None:
        saved, lab.links = lab.links, set()
        for each in names:
            lab.ping(each, next(other for other in names if (each, other) in saved))
        lab.run(60)
        assert all(each.unreachable for each in lab.servers.values())
        lab.links = saved

    lab, names = ring(4, before=alone)
    assert missing(lab, names, 25) == []


def test_a_ring_that_opens_is_a_line_over_which_nobody_pretends_to_reach_anybody() -> None:
    lab, names = ring(3)
    lab.run(1)
    lab.cut(names[0], names[1])
    number = lab.ping(names[1], names[0])
    lab.run(12)
    assert lab.answered(names[1], number) is None
    assert lab.servers[names[1]].unreachable


def test_nobody_seeks_in_a_mesh_that_is_well_or_has_a_way_round_by_both_ways() -> None:
    lab = Lab(5)
    names = lab.build(networkx.random_regular_graph(4, 20, seed=5))
    lab.run(20)
    assert lab.sought == 0
    one, other = names[0], next(each for each in names if (names[0], each) in lab.links)
    lab.cut(one, other, both=False)
    number = lab.ping(one, other)
    lab.run(10)
    assert lab.answered(one, number) is not None
    assert lab.sought == 0


def test_a_mesh_that_falls_in_two_says_no_more_than_its_allowance_and_ever_less() -> None:
    lab = Lab(7)
    names = lab.build(networkx.random_regular_graph(4, 40, seed=7))
    lab.run(5)
    left = set(names[:20])
    for a, b in [(a, b) for a, b in sorted(lab.links) if (a in left) != (b in left)]:
        lab.cut(a, b, both=False)
        lab.ping(a, b)
    for _ in range(4):
        before = lab.sought
        lab.run(1)
        assert lab.sought - before <= 2 * ALL_PER_S * len(names)
    lab.run(120)
    before = lab.sought
    lab.run(60)
    assert lab.sought - before < 60 * len(names) * 10


# -- one server


def test_who_is_in_doubt_is_sought_after_a_while_and_again_until_it_answers() -> None:
    doubted = {B, D}
    machine = made(A, B, C, D, doubted=doubted)
    assert isinstance(machine, Machine)
    machine.want_doubted(B, 0.1, 1.0)
    machine.want_doubted(D, 0.1, 1.0)
    machine.want_doubted(B, 0.1, 1.05)  # the same doubt, told again
    first = 1.0 + FIRST_S + 0.2
    assert machine.deadline() == pytest.approx(first)
    machine.handle_deadline(first)
    said = seeks(machine)
    assert set(said) == {B, C, D}
    assert said[C] == Seek(100, (A,), (B, D), ((), ()))
    machine.forget(D)
    assert machine.deadline() == pytest.approx(first + AGAIN_S)
    machine.handle_deadline(machine.deadline())
    assert seeks(machine)[C].targets == (B,)
    doubted.clear()
    machine.handle_deadline(machine.deadline())
    assert machine.take_outputs() == []
    assert machine.deadline() > 1e9


def test_who_is_lost_is_sought_ever_more_rarely_sooner_when_asked_and_forgotten_with_time() -> None:
    machine = made(A, C, others=[B, C, D])
    machine.want_lost(B, 1.0)
    assert machine.deadline() == 1.0 + LOST_S
    at = []
    while machine.deadline() < 1e9:
        at.append(machine.deadline())
        machine.handle_deadline(at[-1])
        said = seeks(machine)
        assert set(said) in ({B, C, D}, set())
    assert at[-1] >= 1.0 + LOST_FOR_S
    pauses = [after - before for before, after in pairwise(at)]
    assert pauses == sorted(pauses)
    assert LONGEST_LOST_S / 2 <= pauses[-1] <= LONGEST_LOST_S
    machine.want_lost(B, 200.0)
    while machine.deadline() < 220:
        machine.handle_deadline(machine.deadline())
    later = machine.deadline()
    machine.want_lost(B, 220.0)
    assert machine.deadline() == later
    machine.want_lost(B, 220.0, asked=True)
    assert machine.deadline() == 220.0 + LOST_S


def test_more_than_one_word_holds_are_sought_by_several() -> None:
    many = [ServerId.of(7, each) for each in range(1, MAX_SOUGHT + 3)]
    machine = made(A, B, C, doubted=many)
    for each in many:
        machine.want_doubted(each, 0.0, 1.0)
    machine.handle_deadline(1.0 + FIRST_S)
    assert seeks(machine)[C].targets == tuple(many[:MAX_SOUGHT])
    machine.handle_deadline(1.0 + FIRST_S + NEXT_S)
    assert seeks(machine)[C].targets == tuple(many[MAX_SOUGHT:])


def test_a_seek_is_handed_on_once_to_others_than_those_it_came_by_or_to_its_target_alone() -> None:
    machine = made(C, A, B, D, X, others=[A, B, D, X])
    said = Seek(7, (A, B), (X,), ((),))
    assert machine.handle_seek_untrusted(B, said, 1.0) is None
    assert seeks(machine) == dict.fromkeys((X, D), Seek(7, (A, B, C), (X,), ((),)))
    assert machine.handle_seek_untrusted(D, Seek(7, (A, D), (X,), ((),)), 1.0) is None
    assert machine.take_outputs() == []
    near = made(C, A, B, D, X, direct={X})
    near.handle_seek_untrusted(B, said, 1.0)
    assert set(seeks(near)) == {X}


@pytest.mark.parametrize("more", [{"may": False}, {"knows": {A, B}}, {"knows": {B, X}}])
def test_nobody_is_helped_whom_we_do_not_know_or_forward_for(more: Any) -> None:
    machine = made(C, A, B, D, X, **more)
    machine.handle_seek_untrusted(B, Seek(7, (A, B), (X,), ((),)), 1.0)
    assert machine.take_outputs() == []


def test_no_path_grows_longer_than_a_packet_may_go() -> None:
    far = tuple(ServerId.of(7, each) for each in range(1, MAX_HOPS + 1))
    machine = made(C, X, far[-1])
    machine.handle_seek_untrusted(far[-1], Seek(7, (A, *far), (X,), ((),)), 1.0)
    assert machine.take_outputs() == []
    machine.handle_seek_untrusted(far[-2], Seek(8, (A, *far[:-1]), (X,), ((),)), 1.0)
    assert X in seeks(machine)  # eight between the ends


def test_a_target_says_how_it_came_by_the_way_that_it_is_told_and_does_not_seek() -> None:
    machine = made(C, A, B, doubted={A})
    assert machine.handle_seek_untrusted(B, Seek(7, (A, B), (C,), ((C, X, A),)), 1.0) is None
    came = Came(7, (A, B, C))
    assert machine.take_outputs() == [Sought(A, (C, X, A), proven=False), Tell((C, A), came), Tell((C, X, A), came)]
    assert machine.deadline() > 1e9


@pytest.mark.parametrize("sessions", [(), (A,)])
def test_who_knows_no_way_back_seeks_too_and_tells_the_path(sessions: tuple[ServerId, ...]) -> None:
    machine = made(C, *sessions, others=[A, B], doubted=set(sessions), ways={A: [(C, D, A)]})
    machine.handle_seek_untrusted(B, Seek(7, (A, B), (C,), ((),)), 1.0)
    came = Came(7, (A, B, C))
    assert machine.take_outputs() == [Tell((C, A), came), Tell((C, D, A), came)]
    assert machine.deadline() == 1.0 + BACK_S
    machine.handle_deadline(1.0 + BACK_S)
    assert seeks(machine)[B] == Seek(100, (C,), (A,), ((A, B, C),))
    machine.handle_deadline(1.0 + FRESH_S)
    assert seeks(machine)[B].came == ((),)
    if not sessions:
        while machine.deadline() < 1e9:
            last = machine.deadline()
            machine.handle_deadline(last)
        assert last < 1.0 + BACK_S + 3 * BACK_FOR_S


def test_who_is_reached_directly_is_told_directly_and_else_when_it_seeks_on() -> None:
    machine = made(C, A, B, direct={A})
    machine.handle_seek_untrusted(B, Seek(7, (A, B), (C,), ((),)), 1.0)
    assert machine.take_outputs() == [Tell((C, A), Came(7, (A, B, C)))]
    assert machine.deadline() > 1e9
    machine.handle_seek_untrusted(B, Seek(8, (A, B), (C,), ((),)), 2.0)  # it did not hear that
    machine.handle_deadline(2.0 + BACK_S)
    assert C not in (said := seeks(machine))
    assert said[B].targets == (A,)


def test_who_asks_all_the_time_gets_few_answers() -> None:
    machine = made(C, A, B)
    for number in range(100):
        machine.handle_seek_untrusted(B, Seek(number, (A, B), (C,), ((),)), 1.0 + number / 1000)
    assert len(machine.take_outputs()) <= 1 + 0.1 / ANSWER_S


def test_an_answer_is_believed_for_what_was_just_sought() -> None:
    machine = made(A, B, C, doubted={B})
    machine.want_doubted(B, 0.0, 1.0)
    machine.handle_deadline(1.0 + FIRST_S)
    machine.take_outputs()
    came = Came(100, (A, C, B))
    assert machine.handle_came_untrusted(B, Came(99, (A, C, B)), 1.4) is None  # a number of nobody's
    assert machine.take_outputs() == []
    assert machine.handle_came_untrusted(B, came, 1.4) is None
    assert machine.take_outputs() == [Sought(B, (A, C, B), proven=True)]
    assert machine.handle_came_untrusted(B, came, 1.0 + FIRST_S + FRESH_S) is None
    assert machine.take_outputs() == []


@pytest.mark.parametrize("path", [(A, C), (C, B), (A, C, A, B), (B,)])
def test_an_answer_of_a_path_that_is_none_is_a_misdeed(path: Path) -> None:
    assert made(A, B, C).handle_came_untrusted(B, Came(100, path), 1.0)


@pytest.mark.parametrize(
    ("peer", "seek"),
    [
        (B, Seek(7, (A,), (X,), ((),))),  # not from whom it comes
        (B, Seek(7, (A, C, B), (X,), ((),))),  # it passed here
        (B, Seek(7, (B, A, B), (X,), ((),))),
        (B, Seek(7, (A, B), (X, X), ((), ()))),
        (B, Seek(7, (A, B), (X,), ((), ()))),
        (B, Seek(7, (A, B), (A,), ((),))),
        (B, Seek(7, (A, B), (X,), ((X, B),))),  # a path that leads elsewhere
        (B, Seek(7, (A, B), (X,), ((X, D, D, A),))),
    ],
)
def test_a_word_that_makes_no_sense_is_a_misdeed(peer: ServerId, seek: Seek) -> None:
    machine = made(C, A, B, X)
    assert machine.handle_seek_untrusted(peer, seek, 1.0)
    assert machine.take_outputs() == []


def test_who_floods_makes_a_server_say_no_more_than_its_allowance_and_others_are_heard() -> None:
    others = [ServerId.of(8, each) for each in range(1, 30)]
    machine = made(C, A, B, *others)
    said = 0
    for number in range(2000):
        machine.handle_seek_untrusted(A, Seek(number, (A,), (X,), ((),)), 1.0 + number / 1000)
        now = seeks(machine)
        assert len(now) <= FAN_OUT
        said += len(now)
    assert said <= 3 * PEER_PER_S
    machine.handle_seek_untrusted(B, Seek(1, (B,), (X,), ((),)), 3.0)
    assert seeks(machine)


def test_who_makes_up_others_that_seek_us_gets_no_more_answers_than_its_allowance() -> None:
    machine = made(C, B)
    told = 0
    for number in range(3000):
        origin = ServerId.of(8, 1 + number % 300)
        machine.handle_seek_untrusted(B, Seek(number, (origin, B), (C,), ((C, X, origin),)), 1.0 + number / 3000)
        told += sum(isinstance(each, Tell) for each in machine.take_outputs())
    assert told <= 2 * PEER_PER_S


def test_what_is_remembered_is_bounded() -> None:
    machine = made(C, A, B, X)
    for number in range(MAX_SEEN + 10):
        machine.handle_seek_untrusted(A, Seek(number, (A,), (C,), ((),)), number * 1.0)
        machine.want_lost(ServerId.of(9, number + 1), 1.0)
        machine.take_outputs()
    assert len(machine._seen) == len(machine._wanted) == MAX_SEEN
