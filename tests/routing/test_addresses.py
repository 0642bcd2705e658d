"""Addresses in the order in which they are tried, and the pauses between rounds."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from identity.names import ServerId
from routing.addresses import FIRST_PAUSE_S, LONGEST_PAUSE_S, MAX_ADDRESSES, Known, pause_after

PEER = ServerId.parse("1.3")
A, B, C = (f"10.0.0.{n}" for n in (1, 2, 3))


def everything(server, address):
    return True


def known(*addresses):
    made = Known(PEER, bytes(32))
    made.tell(addresses)
    return made


def test_the_newest_first_and_what_worked_before_all():
    each = known((A, 1), (B, 1))
    each.tell([(C, 1), (B, 1)])
    assert each.in_order(everything) == [(C, 1), (B, 1), (A, 1)]
    each.worked((A, 1))
    assert each.in_order(everything) == [(A, 1), (C, 1), (B, 1)]
    each.failed((A, 1))
    assert each.in_order(everything) == [(C, 1), (B, 1), (A, 1)]


def test_an_address_it_never_told_is_not_dialled_because_it_called_from_there():
    each = known((A, 1))
    each.worked((B, 1))
    assert each.in_order(everything) == [(A, 1)]


def test_only_what_policy_allows():
    each = known((A, 1), (B, 1))
    each.worked((A, 1))
    assert each.in_order(lambda server, address: address[0] == B) == [(B, 1)]


@given(st.lists(st.lists(st.integers(1, 30), max_size=12), max_size=10))
def test_addresses_are_few_and_each_once(tellings):
    each = Known(PEER, bytes(32))
    for ports in tellings:
        each.tell([(A, port) for port in ports])
        order = each.in_order(everything)
        assert len(order) == len(set(order)) <= MAX_ADDRESSES
        assert order[: len(set(ports))][:MAX_ADDRESSES] == [(A, port) for port in dict.fromkeys(ports)][:MAX_ADDRESSES]


def test_pauses_double_up_to_a_limit_and_are_spread():
    random = Random(1)
    for rounds, longest in ((1, 1), (2, 2), (3, 4), (5, 16), (6, 20), (1000, 20)):
        pauses = [pause_after(rounds, random) for _ in range(200)]
        assert longest / 2 <= min(pauses) <= max(pauses) <= longest
        assert max(pauses) - min(pauses) > longest / 4
    assert (FIRST_PAUSE_S, LONGEST_PAUSE_S) == (1.0, 20.0)
