"""Probes of others: confirmed after a real answer of the target, and never more work than the bounds say."""

from __future__ import annotations

import math
from itertools import count

import pytest

from identity.names import ServerId
from routing.inquiring import GRACE_S, LEAST_OPEN_S, MARGIN_S, MAX_OPEN, MAX_OPEN_S, MAX_SEEN, Inquiring
from routing.probes import MAX_HOPS, Confirm, NoWay, Probe
from routing.probing import WIDTH
from routing.ways import AnswerProbe, Ask, Verify

OPEN_S = 1.5 - MARGIN_S  # who asks here waits 1.5 s
ME, ASKER, TARGET, ONE, TWO, STRANGER = (ServerId.parse(each) for each in ("1.5", "1.1", "1.2", "1", "1.4", "9.9"))


class World:
    def __init__(
        self,
        *,
        direct: tuple[ServerId, ...] = (),
        others: tuple[ServerId, ...] = (ONE, TWO),
        searching: tuple[ServerId, ...] = (),
        rtt_s: float = 0.01,
    ) -> None:
        self.direct = set(direct)
        self.others = list(others)
        self.machine = Inquiring(
            ME,
            knows=lambda server: server != STRANGER,
            direct=lambda server: server in self.direct,
            candidates=lambda target: [each for each in self.others if each != target],
            new_number=count(1).__next__,
            searches=lambda target: target in searching,
            rtt_of=lambda server: rtt_s,
        )

    def probe(
        self,
        number: int = 7,
        *,
        hops: int = 1,
        path: tuple[ServerId, ...] = (ASKER,),
        target=TARGET,
        now=0.0,
        wait_s=1.5,
    ):
        probe = Probe(target, number, path, hops)
        wrong = self.machine.handle_probe_untrusted(path[-1], 100 + number, probe, now, now + wait_s)
        return wrong, self.machine.take_outputs()


def names(count_: int, first: int = 1) -> tuple[ServerId, ...]:
    return tuple(ServerId.of(2, each) for each in range(first, first + count_))


def test_a_target_that_answers_is_confirmed_and_no_other() -> None:
    world = World(direct=(TARGET,))
    _, (verify,) = world.probe()
    assert isinstance(verify, Verify)
    assert verify.server == TARGET
    assert world.machine.handle_verified(verify.number, True, 0.03)
    assert world.machine.take_outputs() == [AnswerProbe(107, ASKER, Confirm((ME, TARGET), 30_000))]
    assert not world.machine.handle_verified(verify.number, True, 0.04)  # said once
    assert world.machine.deadline() == math.inf  # and nothing is waited for
    world.machine.handle_deadline(10.0)
    assert world.machine.take_outputs() == []


@pytest.mark.parametrize(("answered", "direct"), [(False, True), (True, False)])
def test_no_answer_or_one_that_came_otherwise_is_no_confirmation(answered: bool, direct: bool) -> None:
    """A target in doubt may have answered by a gateway: that says nothing of the way from here."""
    world = World(direct=(TARGET,))
    _, (verify,) = world.probe()
    if not direct:
        world.direct.clear()
    world.machine.handle_verified(verify.number, answered, 0.9)
    (said,) = world.machine.take_outputs()
    assert isinstance(said.answer, NoWay)


def test_hops_left_are_asked_on_one_less_with_the_path_grown() -> None:
    world = World(others=(ONE, ASKER, TARGET, TWO, *names(3)))
    _, asks = world.probe(hops=3)
    assert [each.server for each in asks] == [ONE, TWO, names(1)[0]]  # not who asked, nor the target; three
    assert len(asks) == WIDTH
    assert all(each.probe == Probe(TARGET, 7, (ASKER, ME), 2) for each in asks)
    assert world.machine.handle_answer_untrusted(asks[0].number, NoWay("no"), 0.01) == (True, None)
    assert world.machine.handle_answer_untrusted(asks[1].number, Confirm((TWO, TARGET), 5), 0.02) == (True, None)
    assert world.machine.take_outputs() == [AnswerProbe(107, ASKER, Confirm((ME, TWO, TARGET), 20_000))]
    assert world.machine.handle_answer_untrusted(asks[2].number, NoWay("no"), 0.02) == (False, None)  # too late


def test_the_last_no_is_the_answer_and_so_is_silence() -> None:
    world = World()
    _, asks = world.probe(hops=2)
    world.machine.handle_answer_untrusted(asks[0].number, NoWay("no"), 0.01)
    assert world.machine.take_outputs() == []
    world.machine.handle_answer_untrusted(asks[1].number, None, 0.01)
    (said,) = world.machine.take_outputs()
    assert isinstance(said.answer, NoWay)
    world.probe(8, hops=2, now=1.0)
    assert world.machine.deadline() <= 1.0 + OPEN_S
    world.machine.handle_deadline(1.0 + OPEN_S)
    (said,) = world.machine.take_outputs()
    assert said.token == 108
    assert isinstance(said.answer, NoWay)


@pytest.mark.parametrize(
    ("path", "target", "hops"),
    [
        ((ASKER,), TARGET, 1),  # not reached, no hop left
        ((ASKER,), ME, 8),
        ((ASKER,), STRANGER, 8),  # no server of this mesh
        ((ME, ASKER), TARGET, 8),  # it has come round
        ((TARGET, ASKER), TARGET, 8),  # the target looks for itself
        ((*names(MAX_HOPS - 1), ASKER), TARGET, 8),  # the path would be too long with whoever is asked
    ],
)
def test_what_leads_nowhere_is_said_at_once(path: tuple[ServerId, ...], target: ServerId, hops: int) -> None:
    wrong, said = World().probe(path=path, target=target, hops=hops)
    assert wrong is None
    assert [type(each) for each in said] == [AnswerProbe]
    assert isinstance(said[0].answer, NoWay)


@pytest.mark.parametrize("path", [(ONE,), (ASKER, ONE), (ONE, ASKER, ONE, ASKER), (ASKER, ASKER)])
def test_a_path_that_does_not_end_with_its_sender_or_circles_is_misbehaviour(path: tuple[ServerId, ...]) -> None:
    world = World(direct=(TARGET,))
    wrong = world.machine.handle_probe_untrusted(ASKER, 1, Probe(TARGET, 1, path, 8), 0.0)
    assert wrong is not None
    (said,) = world.machine.take_outputs()  # and whoever asked is not left waiting
    assert isinstance(said.answer, NoWay)


@pytest.mark.parametrize(
    "path",
    [
        (TWO, TARGET),  # from somebody else
        (ONE, TWO),  # to somebody else
        (ONE,),
        (ONE, TWO, ONE, TARGET),  # a circle
        (ONE, ME, TARGET),  # through here
        (ONE, ASKER, TARGET),  # through who asked
        (ONE, *names(MAX_HOPS - 1), TARGET),  # too long with asker and us
    ],
)
def test_a_false_confirmation_is_misbehaviour_and_not_passed_on(path: tuple[ServerId, ...]) -> None:
    world = World(others=(ONE,))
    _, (ask,) = world.probe(hops=8)
    ours, wrong = world.machine.handle_answer_untrusted(ask.number, Confirm(path, 1), 0.01)
    assert ours
    assert wrong is not None
    (said,) = world.machine.take_outputs()
    assert isinstance(said.answer, NoWay)


def test_the_longest_honest_path_is_believed() -> None:
    """The last but one of eight gateways hears from the eighth: nobody lied, and nothing is too long."""
    world = World(others=(ONE,))
    path = (*names(MAX_HOPS - 2), ASKER)  # the origin, and six gateways
    _, (ask,) = world.probe(hops=2, path=path)
    assert world.machine.handle_answer_untrusted(ask.number, Confirm((ONE, TARGET), 1), 0.01) == (True, None)
    (said,) = world.machine.take_outputs()
    assert said.answer == Confirm((ME, ONE, TARGET), 10_000)
    assert len((*path, *said.answer.path)) == MAX_HOPS + 2


def test_one_search_is_answered_once_whoever_brings_it() -> None:
    world = World()
    path = (names(1)[0], ASKER)
    assert len(world.probe(hops=3, path=path)[1]) == 2
    _, (said,) = world.probe(hops=3, path=(names(1)[0], TWO))
    assert said.answer == NoWay("asked here already")
    assert len(world.probe(hops=4, path=path)[1]) == 2  # farther: anew


def test_who_asks_what_others_ask_already_shares_their_questions() -> None:
    world = World(others=(ONE, TWO, ASKER))
    _, asks = world.probe(hops=3)
    assert [each.server for each in asks] == [ONE, TWO]
    _, more = world.probe(8, hops=3, path=(STRANGER,))  # another search: only who was not asked is asked
    assert [each.server for each in more] == [ASKER]
    assert world.probe(9, hops=2, path=(STRANGER,)) == (None, [])
    (farther,) = world.probe(10, hops=4, path=(STRANGER, ONE))[1][:1]
    assert (farther.server, farther.probe.hops) == (TWO, 3)  # farther than is asked already
    assert world.machine.handle_answer_untrusted(asks[1].number, NoWay(""), 0.1) == (True, None)
    assert world.machine.take_outputs() == []
    assert world.machine.handle_answer_untrusted(asks[0].number, Confirm((ONE, TARGET), 9), 0.2) == (True, None)
    said = {each.token: each.answer for each in world.machine.take_outputs()}
    assert said == {107: Confirm((ME, ONE, TARGET), 200_000), 108: said[107], 109: said[107]}


def test_a_shared_answer_that_leads_back_to_who_asked_is_none_for_him() -> None:
    world = World(others=(ONE,))
    _, (ask,) = world.probe(hops=3)
    assert world.probe(8, hops=3, path=(TWO, STRANGER)) == (None, [])
    assert world.machine.handle_answer_untrusted(ask.number, Confirm((ONE, TWO, TARGET), 9), 0.2) == (True, None)
    said = {each.token: each.answer for each in world.machine.take_outputs()}
    assert said[107] == Confirm((ME, ONE, TWO, TARGET), 200_000)
    assert isinstance(said[108], NoWay)


def test_a_server_that_searches_itself_lets_others_share_in_what_it_finds() -> None:
    world = World(searching=(TARGET,))
    assert world.probe(hops=2) == (None, [])
    assert world.probe(8, hops=2, path=(TWO, STRANGER)) == (None, [])
    _, (said,) = world.probe(9, hops=1, path=(TWO,))
    assert said.answer == NoWay("not reached from here")  # a question of one hop is about what is known now
    world.machine.handle_found((ME, TWO, TARGET), 0.5, 0.6)
    (said,) = world.machine.take_outputs()
    assert said == AnswerProbe(107, ASKER, Confirm((ME, TWO, TARGET), 500_000))
    world.machine.handle_found((ME, ONE, TARGET), 0.5, 0.6)  # the next way found is one for the other
    (said,) = world.machine.take_outputs()
    assert said == AnswerProbe(108, STRANGER, Confirm((ME, ONE, TARGET), 500_000))


def test_a_search_of_our_own_in_vain_is_told_to_those_who_share_in_it() -> None:
    world = World(searching=(TARGET,))
    world.probe(hops=2)
    world.machine.handle_failed(TARGET)
    (said,) = world.machine.take_outputs()
    assert isinstance(said.answer, NoWay)
    world.machine.handle_found((ME, ONE, TARGET), 0.5, 0.6)
    assert world.machine.take_outputs() == []


def test_nobody_spoils_a_search_by_asking_in_its_origins_name() -> None:
    world = World(direct=(TARGET,))
    for hops in range(1, 9):
        world.probe(hops=hops, path=(ASKER, STRANGER))
    _, (verify,) = world.probe(hops=1)
    assert isinstance(verify, Verify)


def test_a_doubt_of_the_target_lets_nobody_wait() -> None:
    world = World(direct=(TARGET,))
    world.probe(hops=1)
    world.machine.handle_doubted(ONE, 0.1)
    assert world.machine.deadline() == OPEN_S
    world.machine.handle_doubted(TARGET, 0.1)
    assert world.machine.deadline() == pytest.approx(0.1 + GRACE_S)
    world.machine.handle_deadline(0.1 + GRACE_S)
    (said,) = world.machine.take_outputs()
    assert isinstance(said.answer, NoWay)


def test_a_doubt_of_the_target_asks_on_where_hops_are_left_and_only_once() -> None:
    world = World(direct=(TARGET,))
    _, (verify,) = world.probe(hops=2)
    world.machine.handle_doubted(TARGET, 0.1)
    asks = world.machine.take_outputs()
    assert [type(each) for each in asks] == [Ask, Ask]
    world.machine.handle_doubted(TARGET, 0.2)
    world.machine.handle_verified(verify.number, False, 0.3)
    assert world.machine.take_outputs() == []
    for ask in asks:
        world.machine.handle_answer_untrusted(ask.number, NoWay(""), 0.4)
    (said,) = world.machine.take_outputs()
    assert isinstance(said.answer, NoWay)


def test_a_flood_of_probes_costs_a_bounded_number_of_questions() -> None:
    world = World()
    asks = answers = 0
    for number in range(3 * MAX_SEEN):
        _, said = world.probe(number, hops=8)
        asks += sum(isinstance(each, Ask) for each in said)
        answers += sum(isinstance(each, AnswerProbe) for each in said)
    assert asks == 2  # of all the searches for one server: they share the questions that are open
    assert answers == 3 * MAX_SEEN - MAX_OPEN  # the others are told at once
    assert world.probe(5, path=(STRANGER, TWO), hops=8) == (None, [])  # waits for the same answers: not refused
    _, said = world.probe(6, path=(STRANGER, TWO), hops=8, target=names(1)[0])
    assert any(isinstance(each, Ask) for each in said)  # another peer's are not touched by it
    world.machine.handle_deadline(OPEN_S)
    assert len(world.machine.take_outputs()) == MAX_OPEN + 2
    assert world.machine._open == {}
    assert world.machine._by_ask == {}
    assert len(world.machine._timers) == 0
    _, said = world.probe(1_000_000, hops=8, now=2.0)
    assert isinstance(said[0], Ask)


def test_searches_remembered_are_bounded() -> None:
    world = World(direct=(TARGET,))
    for number in range(MAX_SEEN + 10):
        _, (verify,) = world.probe(number)
        world.machine.handle_verified(verify.number, True, 0.0)
        world.machine.take_outputs()
    assert len(world.machine._seen) == MAX_SEEN


@pytest.mark.parametrize(
    ("wait_s", "rtt_s", "left_s"),
    [
        (1.5, 0.01, 1.5 - MARGIN_S),
        (6.0, 0.6, 5.4),  # by satellite: an answer that leaves later comes too late
        (0.3, 0.6, LEAST_OPEN_S),
        (math.inf, 0.01, MAX_OPEN_S),  # who would wait for ever is told after a while
    ],
)
def test_who_searches_decides_how_long_everybody_on_the_way_waits(wait_s: float, rtt_s: float, left_s: float) -> None:
    world = World(rtt_s=rtt_s)
    _, asks = world.probe(hops=3, wait_s=wait_s)
    assert [each.deadline_s for each in asks] == [pytest.approx(left_s)] * 2
    assert world.machine.deadline() == pytest.approx(left_s)
    near = World(direct=(TARGET,), rtt_s=rtt_s)
    _, (verify,) = near.probe(wait_s=wait_s)
    assert verify.deadline_s == pytest.approx(min(left_s, max(1.0, left_s / 2)))
