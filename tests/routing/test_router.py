"""The parts together: a session in doubt, a gateway, back to direct; LOST; a server that only gateways reach."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from identity.machine import Machine
from identity.names import ServerId
from routing.probes import Came, Carry, Confirm, Forward, Lost, NoWay, Probe, Seek
from routing.router import Router
from routing.ways import (
    AnswerProbe,
    Ask,
    Detoured,
    Dial,
    Direct,
    Drop,
    Gateway,
    HandOn,
    Nowhere,
    Tell,
    TryDirectly,
    Unreachable,
    UseDirect,
    UseGateway,
)
from transport.events import routed_address

ME, T, G, H = (ServerId.parse(name) for name in ("1.1", "1.2", "1.5", "1"))
KEY = b"k" * 32
AT = ("10.0.0.2", 7000)


def made(*reached: ServerId, **more: Any) -> Router:
    router = Router(ME, may_dial=lambda server, address: True, random=Random(1), **more)
    for number, server in enumerate(reached, 1):
        router.know(server, KEY, [AT], 0.0)
        router.handle_connected(number, server, True, AT, 0.0)
    router.take_outputs()
    return router


def of(kind: type, outputs: Any) -> list[Any]:
    return [each for each in outputs if isinstance(each, kind)]


def confirm(router: Router, now: float) -> Any:
    """The first that is asked says yes."""
    ask = of(Ask, router.take_outputs())[0]
    router.handle_answer_untrusted(ask.number, Confirm((ask.server, T), 5000), now)
    return ask.server


def routed(now: float = 1.06) -> tuple[Router, ServerId]:
    router = made(T, G, H)
    router.handle_doubted(1, 1.0, 1, 1.04)
    gateway = confirm(router, now)
    return router, gateway


def test_a_doubt_a_gateway_and_back() -> None:
    router = made(T, G, H)
    assert isinstance(router, Machine)
    assert router.route(T, 1.0) == Direct(1)
    router.handle_doubted(1, 1.0, 1, 1.04)
    gateway = confirm(router, 1.06)
    outputs = router.take_outputs()
    way = router.route(T, 1.06)
    assert isinstance(way, Gateway)
    assert way.path == (ME, gateway, T)
    assert router.path_to(T, 1.06) == (ME, gateway, T)
    assert {each.event for each in outputs if hasattr(each, "event")} == {"way found"}
    router.detour(T, b"sealed", 1.07)
    assert router.take_outputs() == [HandOn(gateway, Forward((ME, gateway, T), 1, b"sealed"))]
    router.handle_direct_again(1, 2.0)
    assert of(UseDirect, router.take_outputs()) == [UseDirect(1)]
    assert router.route(T, 2.0) == Direct(1)


def test_of_two_gateways_the_one_by_which_packets_come_is_used_until_ours_has_brought_an_answer() -> None:
    router, gateway = routed()
    other = G if gateway == H else H
    router.take_outputs()
    router.handle_forward_untrusted(gateway, Forward((T, gateway, ME), 2, b"sealed"), 1.07)
    router.handle_came_aside(1, 1.07)
    assert of(UseGateway, router.take_outputs()) == []  # it is ours already
    router.handle_forward_untrusted(other, Forward((T, other, ME), 2, b"sealed"), 1.08)
    router.handle_came_aside(1, 1.08)
    assert len(of(UseGateway, router.take_outputs())) == 1
    assert router.path_to(T, 1.08) == (ME, other, T)


def test_a_gateway_by_which_there_was_no_answer_is_not_used_because_packets_come_by_it() -> None:
    """It hands on to us, and swallows what is ours."""
    router = made(T, G, H)
    router.handle_doubted(1, 1.0, 1, 1.04)
    first, second, *_ = of(Ask, router.take_outputs())
    assert {first.server, second.server} == {G, H}
    for ask, at in ((first, 1.05), (second, 1.06)):
        router.handle_answer_untrusted(ask.number, Confirm((ask.server, T), 5000), at)
    assert router.path_to(T, 1.1) == (ME, first.server, T)
    router.handle_doubted(1, 1.06, 1, 1.2)
    assert router.path_to(T, 1.2) == (ME, second.server, T)
    router.handle_forward_untrusted(first.server, Forward((T, first.server, ME), 2, b"sealed"), 1.23)
    router.handle_came_aside(1, 1.23)
    assert router.path_to(T, 1.23) == (ME, second.server, T)


def test_who_is_doubted_twice_is_no_gateway_though_a_guess_leads_to_it() -> None:
    router, gateway = routed()
    (number,) = [each.connection for each in router.neighbours(1.1) if each.server == gateway]
    router.handle_doubted(number, 1.1, 1, 1.14)
    router.handle_doubted(number, 1.1, 2, 1.3)
    assert router.path_to(T, 1.3)[1:2] != (gateway,)


def test_lost_of_the_way_in_use_moves_to_the_standby_at_once() -> None:
    router = made(T, G, H)
    router.handle_doubted(1, 1.0, 1, 1.04)
    for ask in of(Ask, router.take_outputs()):
        router.handle_answer_untrusted(ask.number, Confirm((ask.server, T), 5000), 1.06)
    router.take_outputs()
    used = router.route(T, 1.06).path[1]
    other = H if used == G else G
    assert router.handle_forward_untrusted(other, Lost((ME, other, used, T), 1, 0, "another path"), 1.1) is None
    assert router.route(T, 1.1).path[1] == used
    assert router.handle_forward_untrusted(used, Lost((ME, used, T), 1, 0, "gone"), 1.1) is None
    # the standby was lost too, by the first LOST: it stays in use or is sought, and never is the one that failed
    asked = of(Ask, router.take_outputs())
    assert asked or router.route(T, 1.1).path[1] != used


def test_nobody_knows_a_way_is_told_two_seconds_after_the_doubt_and_not_before() -> None:
    router = made(T, G, H)
    router.handle_doubted(1, 1.0, 1, 1.04)
    told: list[tuple[float, Unreachable]] = []
    now = 1.04
    while now < 6.0 and not told:
        outputs = router.take_outputs()
        for ask in of(Ask, outputs):
            router.handle_answer_untrusted(ask.number, NoWay(""), now)
        told += [(now, each) for each in of(Unreachable, outputs)]
        now = max(router.deadline(), now + 0.001)
        router.handle_deadline(now)
    assert told
    assert 3.0 <= told[0][0] < 4.0
    assert told[0][1].server == T
    assert isinstance(router.route(T, 4.0), Nowhere)


def test_ways_that_are_found_and_never_work_are_no_excuse() -> None:
    router = made(T, G, H)
    now, tries, drops = 1.04, 1, []
    while now < 10.0 and not drops:
        router.handle_doubted(1, 1.0, tries, now)
        outputs = router.take_outputs()
        for ask in of(Ask, outputs):
            router.handle_answer_untrusted(ask.number, Confirm((ask.server, T), 1), now)
        outputs += router.take_outputs()
        drops += [(now, each) for each in of(Drop, outputs)]
        now += 0.05
        router.handle_deadline(now)
    assert drops
    assert 3.9 <= drops[0][0] < 4.2


def test_a_server_without_a_session_is_called_by_gateways_and_by_the_next_when_one_is_silent() -> None:
    router = made(G, H)
    router.know(T, KEY, [], 0.0)
    router.want(T, 1.0, keep=False)
    asks = of(Ask, router.take_outputs())
    assert {each.server for each in asks} == {G, H}
    for ask in asks:
        router.handle_answer_untrusted(ask.number, Confirm((ask.server, T), 1), 1.01)
    assert of(Dial, router.take_outputs()) == [Dial(T, routed_address(str(T)), KEY)]
    router.detour(T, b"first", 1.01)
    (first,) = of(HandOn, router.take_outputs())
    while router.deadline() < 2.5:
        router.handle_deadline(router.deadline())
    router.take_outputs()
    router.detour(T, b"first", 2.5)
    (again,) = of(HandOn, router.take_outputs())
    assert {first.peer, again.peer} == {G, H}  # a liar that confirms is not asked to carry it twice
    router.handle_connected(9, T, True, routed_address(str(T)), 2.6)
    router.take_outputs()
    assert isinstance(router.route(T, 2.6), Gateway)


def test_lost_of_a_handshake_searches_another_way() -> None:
    router = made(G, H)
    router.know(T, KEY, [], 0.0)
    router.handle_forward_untrusted(G, Forward((T, H, G, ME), 3, b"first"), 1.0)
    assert of(Detoured, router.take_outputs()) == [Detoured(T, b"first")]
    router.detour(T, b"second", 1.0)
    assert router.take_outputs() == [HandOn(G, Forward((ME, G, H, T), 1, b"second"))]  # the way it came
    router.handle_forward_untrusted(G, Lost((ME, G, H, T), 2, 0, "1 does not reach 1.2"), 1.1)
    assert of(Ask, router.take_outputs())
    router.detour(T, b"second", 1.1)
    assert of(HandOn, router.take_outputs()) == []  # not by that way again


def test_a_used_route_is_looked_after_by_one_timer_however_often_it_changed() -> None:
    router, _ = routed()
    router.take_outputs()
    for number in range(50):
        router.handle_direct_again(1, 2.0 + number)
        router.handle_doubted(1, 2.2 + number, 1, 2.3 + number)
        confirm(router, 2.31 + number)
    assert len(router._timers) <= 3
    while router.deadline() < 60.0:
        router.handle_deadline(router.deadline())
    outputs = router.take_outputs()
    assert len(of(Ask, outputs)) <= 12
    assert of(TryDirectly, outputs)


@pytest.mark.parametrize("more", [{"gateways": False}, {"may_forward": lambda source, target: False}])
def test_without_the_ability_or_the_right_nobody_is_helped(more: dict[str, Any]) -> None:
    router = made(T, G, **more)
    router.handle_probe_untrusted(G, 5, Probe(T, 1, (G,), 8), 1.0)
    (said,) = of(AnswerProbe, router.take_outputs())
    assert isinstance(said.answer, NoWay)
    router.handle_forward_untrusted(G, Forward((G, ME, T), 1, b"p"), 1.0)
    (lost,) = of(HandOn, router.take_outputs())
    assert isinstance(lost.message, Lost)


def test_numbers_of_searches_are_not_those_of_the_run_before() -> None:
    """Others remember which searches they answered: a server that restarts must not repeat their numbers."""
    numbers = set()
    for seed in range(5):
        router = Router(ME, may_dial=lambda server, address: True, random=Random(seed))
        for number, server in enumerate((T, G), 1):
            router.handle_connected(number, server, True, AT, 0.0)
        router.take_outputs()
        router.handle_doubted(1, 1.0, 1, 1.04)
        numbers.add(of(Ask, router.take_outputs())[0].probe.number)
    assert len(numbers) == 5


def test_what_was_changed_by_gateways_is_told_to_the_transport_once() -> None:
    router, gateway = routed()
    outputs = router.take_outputs()
    assert len(of(UseGateway, outputs)) <= 1
    assert router.path_from(T, 1.1, heard_directly_at=None) == ()
    router.handle_forward_untrusted(gateway, Forward((T, gateway, ME), 2, b"p"), 1.1)
    assert router.path_from(T, 1.1, heard_directly_at=1.0) == (T, gateway, ME)
    assert router.path_from(T, 1.2, heard_directly_at=1.15) == (T, ME)
    (status,) = [each for each in router.routes(1.2, heard_directly_at=lambda connection: 1.15) if each.server == T]
    assert (status.way, status.way_back, status.path) == ("gateway", "direct", (ME, gateway, T))


# -- links that carry one way only


def sought(router: Router, until: float = 1.5) -> Seek:
    """All are in doubt, so nobody can be asked."""
    for number in (1, 2, 3):
        router.handle_doubted(number, 1.0, 1, 1.04)
    while router.deadline() <= until:
        router.handle_deadline(router.deadline())
    said = [each.message for each in of(HandOn, router.take_outputs()) if isinstance(each.message, Seek)]
    assert set(said[0].targets) == {T, G, H}
    return said[0]


def test_a_target_that_a_seek_came_to_is_reached_by_that_path_though_its_gateway_is_in_doubt() -> None:
    router = made(T, G, H)
    seek = sought(router)
    assert router.handle_came_untrusted(T, Came(seek.number, (ME, G, H, T)), 1.55) is None
    assert len(of(UseGateway, router.take_outputs())) == 1
    assert router.path_to(T, 1.55) == (ME, G, H, T)
    router.detour(T, b"sealed", 1.56)
    assert router.take_outputs() == [HandOn(G, Carry((ME, G, H, T), 1, b"sealed"))]
    router.handle_doubted(2, 1.0, 2, 1.6)  # its gateway is doubted again, and kept: answers go astray, not our words
    router.handle_doubted(1, 1.56, 1, 1.65)  # nor is an answer there at once: it too must find its way
    router.detour(T, b"sealed", 1.66)
    assert HandOn(G, Carry((ME, G, H, T), 1, b"sealed")) in router.take_outputs()
    router.handle_trusted(1, 1.7)
    assert router.path_to(T, 1.7) == (ME, G, H, T)
    router.handle_direct_again(1, 2.0)
    assert router.route(T, 2.0) == Direct(1)


def test_who_says_that_our_seeks_come_is_not_given_up_and_who_falls_silent_is() -> None:
    router = made(T, G, H)
    sought(router)
    drops: list[Drop] = []
    numbers: list[int] = []
    now = 1.5
    while now < 20.0 and not drops:
        now += 0.1
        router.handle_doubted(1, 1.0, 9, now)
        router.handle_deadline(now)
        outputs = router.take_outputs()
        drops = [each for each in of(Drop, outputs) if each.connection == 1]
        numbers += [each.message.number for each in of(HandOn, outputs) if isinstance(each.message, Seek)]
        if numbers and now < 12.0:  # longer than any other doubt may last
            router.handle_came_untrusted(T, Came(numbers[-1], (ME, G, T)), now)
    assert drops
    assert 13.5 < now < 15.5


def test_who_hands_on_a_lie_about_a_path_is_left_when_nothing_comes_of_it() -> None:
    router = made(T, G, H)
    sought(router)
    assert router.handle_word_untrusted(G, Seek(5, (T, G), (ME,), ((ME, G, T),)), 1.55) is None
    router.take_outputs()
    assert router.path_to(T, 1.55) == (ME, G, T)
    drops, now = [], 1.6
    while now < 9.0 and not drops:
        router.handle_word_untrusted(G, Seek(round(now * 1000), (T, G), (ME,), ((ME, G, T),)), now)
        router.handle_doubted(1, 1.55, 1, now)
        drops = [each for each in of(Drop, router.take_outputs()) if each.connection == 1]
        now += 0.1
        router.handle_deadline(now)
    assert drops
    assert now < 5.0


def test_without_a_session_a_server_is_called_along_the_way_that_a_seek_found_and_answered_along_its_own() -> None:
    router = made(G)
    router.know(T, KEY, [AT], 0.0)
    router.want(T, 1.0)
    said: list[Seek] = []
    while not said:
        router.handle_deadline(router.deadline())
        outputs = router.take_outputs()
        said = [each.message for each in of(HandOn, outputs) if isinstance(each.message, Seek)]
    now = 5.0
    router.handle_came_untrusted(T, Came(said[0].number, (ME, G, T)), now)
    (dial,) = of(Dial, router.take_outputs())
    assert dial.address == routed_address("1.2")
    router.detour(T, b"first", now)
    assert of(HandOn, router.take_outputs()) == [HandOn(G, Carry((ME, G, T), 1, b"first"))]
    router.handle_connected(7, T, True, routed_address("1.2"), now)
    assert len(of(UseGateway, router.take_outputs())) == 1
    assert router.path_to(T, now) == (ME, G, T)

    other = made(G)  # who is sought, and learns of its way from what it is told
    other.know(T, KEY, [], 0.0)
    other.handle_word_untrusted(G, Seek(5, (T, H, G), (ME,), ((ME, G, T),)), 1.0)
    told = of(Tell, other.take_outputs())
    assert Tell((ME, G, T), Came(5, (T, H, G, ME))) in told
    other.carry((ME, G, T), b"word", 1.0)
    other.handle_word_untrusted(G, Carry((T, H, G, ME), 3, b"first"), 1.0)
    other.detour(T, b"second", 1.0)
    outputs = other.take_outputs()
    assert of(Detoured, outputs) == [Detoured(T, b"first")]
    assert of(HandOn, outputs) == [HandOn(G, Carry((ME, G, T), 1, each)) for each in (b"word", b"second")]


def test_without_gateways_nobody_seeks_or_hands_on() -> None:
    router = made(T, G, H, gateways=False)
    router.handle_doubted(1, 1.0, 1, 1.04)
    for now in (1.1, 1.5, 3.0, 9.0):
        router.handle_deadline(now)
    router.handle_word_untrusted(G, Seek(5, (G,), (H,), ((),)), 9.0)
    assert [each for each in of(HandOn, router.take_outputs()) if isinstance(each.message, Seek)] == []
