"""The table of states, walked through, illegal steps included; and which of two connections is kept."""

from __future__ import annotations

from itertools import product

import pytest

from identity.errors import LocalMistake
from identity.names import ServerId
from routing.neighbours import CROSSING_S, IMPOSSIBLE, NEXT, QUIET_S, Happened, Neighbour, State, keep_newer

ME, PEER = ServerId.parse("1.2"), ServerId.parse("1.3")


def test_every_pair_of_state_and_event_is_in_the_table_or_impossible():
    for pair in product(State, Happened):
        assert (pair in NEXT) != (pair in IMPOSSIBLE), pair


@pytest.mark.parametrize(("state", "happened"), sorted(IMPOSSIBLE, key=str))
def test_an_impossible_step_is_a_mistake_with_a_name(state, happened):
    neighbour = Neighbour(PEER, 0.0)
    neighbour.state = state
    with pytest.raises(LocalMistake, match=rf"1\.3 is {state.value} and cannot be {happened.value}"):
        neighbour.become(happened, 1.0)


def test_every_state_is_reached_and_left():
    reached = {State.UNKNOWN}
    for _ in State:
        reached |= {after for (before, _), after in NEXT.items() if before in reached}
    assert reached == set(State)
    for state in State:
        assert any(before is state and after is not state for (before, _), after in NEXT.items())


def test_a_life():
    neighbour = Neighbour(PEER, 0.0)
    for happened, state in (
        (Happened.LEARNED, State.SILENT),
        (Happened.DIALLED, State.CALLING),
        (Happened.DIALLED, State.CALLING),
        (Happened.FAILED, State.SILENT),
        (Happened.DIALLED, State.CALLING),
        (Happened.GREETED, State.HEARD),
        (Happened.QUIET, State.DOUBTED),
        (Happened.HEARD, State.HEARD),
        (Happened.FORGOTTEN, State.HEARD),
        (Happened.LOST, State.SILENT),
        (Happened.FORGOTTEN, State.UNKNOWN),
        (Happened.GREETED, State.HEARD),
    ):
        neighbour.become(happened, 1.0)
        assert neighbour.state is state
        assert neighbour.connected == (state in (State.HEARD, State.DOUBTED))


def test_losing_a_connection_clears_what_belonged_to_it_and_keeps_when_it_was_heard():
    neighbour = Neighbour(PEER, 0.0)
    neighbour.become(Happened.GREETED, 1.0)
    neighbour.connection, neighbour.srtt_s, neighbour.heard_at, neighbour.hears_us_at = 9, 0.1, 5.0, 6.0
    assert neighbour.quiet_at() == 5.0 + QUIET_S
    neighbour.become(Happened.LOST, 7.0, "silence")
    assert (neighbour.connection, neighbour.srtt_s, neighbour.address) == (None, None, None)
    assert (neighbour.heard_at, neighbour.hears_us_at, neighbour.since, neighbour.reason) == (5.0, 6.0, 7.0, "silence")


@pytest.mark.parametrize("apart_s", [0.0, 1.0, CROSSING_S])
def test_both_ends_keep_the_same_of_two_connections_that_crossed(apart_s):
    """Each end may see the two in either order; both must name the one that the lesser id began."""
    for first_by_me, seen_here, seen_there in product((True, False), repeat=3):
        del first_by_me

        def kept(mine, theirs, mine_first):
            # True: the connection that `mine` began. It was seen first or second.
            newer = keep_newer(
                mine=mine, theirs=theirs, old_initiator=mine_first, new_initiator=not mine_first,
                apart_s=apart_s, restarted=False,
            )  # fmt: skip
            return newer != mine_first

        here = ME if kept(ME, PEER, seen_here) else PEER
        there = PEER if kept(PEER, ME, seen_there) else ME
        assert here == there == ME


def test_a_later_connection_or_one_after_a_restart_is_kept():
    for old, new in product((True, False), repeat=2):
        assert keep_newer(
            mine=ME, theirs=PEER, old_initiator=old, new_initiator=new, apart_s=CROSSING_S + 0.1, restarted=False
        )
        assert keep_newer(mine=ME, theirs=PEER, old_initiator=old, new_initiator=new, apart_s=0, restarted=True)
    assert keep_newer(mine=ME, theirs=PEER, old_initiator=False, new_initiator=False, apart_s=0, restarted=False)
