"""What a route is worth, which are kept, and that who fails is used last."""

from __future__ import annotations

import pytest

from identity.names import ServerId
from routing.table import (
    BETTER,
    DISTRUST_S,
    EXPIRY_S,
    HOP_S,
    MAX_BRIDGES,
    MAX_FAILED,
    MAX_ROUTES,
    Route,
    Table,
    replaces,
)

ME, T, OTHER = (ServerId.parse(name) for name in ("1.1", "1.2", "1.3"))
G = [ServerId.of(5, number) for number in range(1, 9)]


def route(gateway: ServerId, rtt_s: float = 0.02, *, at: float = 0.0, more: tuple[ServerId, ...] = (), **fields):
    return Route((ME, gateway, *more, T), rtt_s, at, **fields)


def test_the_best_is_used_and_the_next_is_standby() -> None:
    table = Table()
    table.confirm(route(G[0], 0.031))
    table.confirm(route(G[1], 0.012))
    table.confirm(route(G[2], 0.005, more=(G[5], G[6], G[7])))  # quick, and three hops more
    assert [each.gateway for each in table.routes(T, 1.0)] == [G[1], G[0], G[2]]
    best = table.best(T, lambda gateway: gateway != G[1], 1.0)
    assert best is not None
    assert best.gateway == G[0]
    assert table.best(T, lambda gateway: False, 1.0) is None
    assert table.best(OTHER, lambda gateway: True, 1.0) is None


@pytest.mark.parametrize(("hops", "metric"), [(0, 0.02 + HOP_S), (2, 0.02 + 3 * HOP_S)])
def test_metric_is_the_round_trip_and_ten_milliseconds_for_each_server_between(hops: int, metric: float) -> None:
    assert route(G[0], 0.02, more=tuple(G[5 : 5 + hops])).metric == pytest.approx(metric)


def test_of_one_gateway_the_newest_word_counts_and_no_more_than_a_few_are_kept() -> None:
    table = Table()
    table.confirm(route(G[0], 0.001))
    table.confirm(route(G[0], 0.5, at=1.0))
    (kept,) = table.routes(T, 1.0)
    assert kept.rtt_s == 0.5
    for number, gateway in enumerate(G):
        table.confirm(route(gateway, 0.01 * (number + 1), at=1.0))
    assert [each.gateway for each in table.routes(T, 1.0)] == G[:MAX_ROUTES]


def test_what_nobody_confirmed_again_is_forgotten_and_takes_nobodys_place() -> None:
    table = Table()
    for gateway in G[:MAX_ROUTES]:
        table.confirm(route(gateway, 0.001))
    assert table.routes(T, EXPIRY_S) == []
    table.confirm(route(G[7], 0.9, at=EXPIRY_S))
    assert [each.gateway for each in table.routes(T, EXPIRY_S)] == [G[7]]


def test_who_confirms_and_fails_comes_after_every_other_for_a_while() -> None:
    table = Table()
    table.confirm(route(G[0], 0.001))
    table.fail(T, G[0], 1.0)
    assert table.routes(T, 1.0) == []
    assert table.bridges(T) == []
    again = table.confirm(route(G[0], 0.001, at=2.0))
    slow = table.confirm(route(G[1], 0.8, at=2.0))
    assert again.blame_s > 0
    assert [each.gateway for each in table.routes(T, 2.0)] == [G[1], G[0]]
    assert not replaces(again, slow)
    assert replaces(slow, again)
    assert table.confirm(route(G[0], 0.001, at=1.0 + DISTRUST_S)).blame_s == 0
    table.fail(T, G[0], 40.0)
    table.trust(T, G[0])
    assert table.confirm(route(G[0], 0.001, at=41.0)).blame_s == 0
    assert Table().confirm(Route((ME, G[0], OTHER), 0.1, 2.0)).blame_s == 0  # of that target only


def test_of_those_that_failed_the_one_longest_ago_is_tried_first() -> None:
    table = Table()
    table.fail(T, G[0], 1.0)
    table.fail(T, G[1], 5.0)
    table.confirm(route(G[1], 0.001, at=6.0))
    table.confirm(route(G[0], 0.050, at=6.0))
    assert [each.gateway for each in table.routes(T, 6.0)] == [G[0], G[1]]


def test_failures_and_bridges_are_bounded() -> None:
    table = Table()
    for number in range(1, MAX_FAILED + 50):
        table.fail(T, ServerId.of(7, number), 1.0)
    assert len(table._failed) == MAX_FAILED
    for gateway in G:
        table.confirm(route(gateway))
    assert table.bridges(T) == G[::-1][:MAX_BRIDGES]
    table.forget(T)
    assert table.routes(T, 0.0) == []
    assert len(table.bridges(T)) == MAX_BRIDGES  # who bridged is asked first the next time


def test_a_lost_gateway_takes_all_its_ways_with_it() -> None:
    table = Table()
    table.confirm(route(G[0]))
    table.confirm(route(G[1]))
    table.confirm(Route((ME, G[0], OTHER), 0.1, 0.0))
    table.drop_gateway(G[0])
    assert [each.gateway for each in table.routes(T, 0.0)] == [G[1]]
    assert table.routes(OTHER, 0.0) == []


@pytest.mark.parametrize(
    ("found", "used", "yes"),
    [
        (route(G[0], 0.02), None, True),
        (route(G[0], 0.02), route(G[1], 0.02), False),  # two alike do not take turns
        (route(G[0], BETTER * 0.03 - 0.0101), route(G[1], 0.02), True),
        (route(G[0], BETTER * 0.03 - 0.0099), route(G[1], 0.02), False),
        (route(G[1], 0.9), route(G[1], 0.02), True),  # the same gateway's newest word
        (route(G[0], 0.9), route(G[1], 0.02, provisional=True), True),  # nobody had confirmed that one
    ],
)
def test_a_better_one_replaces_when_it_is_better_by_a_fifth(found: Route, used: Route | None, yes: bool) -> None:
    assert replaces(found, used) is yes


def test_a_way_whose_links_carry_one_way_only_comes_after_one_alike_that_was_confirmed() -> None:
    assert replaces(route(G[0]), route(G[1], one_way=True))
    assert not replaces(route(G[0]), route(G[1]))
