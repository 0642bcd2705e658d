"""Packets of others: handed on along their path by direct sessions, or LOST is said; no source is believed."""

from __future__ import annotations

from typing import Any

from identity.names import ServerId
from routing.forwarding import ASIDE_S, BACK_S, CARRIED_S, LOST_S, MAX_BACK, SMALL_BYTES, Forwarding
from routing.probes import Carry, Forward, Lost, Path
from routing.ways import Detoured, HandOn

A, G, H, B, X = (ServerId.parse(name) for name in ("1.1", "1.5", "1", "1.2", "1.9"))
PATH = (A, G, H, B)


class World:
    def __init__(self, own: ServerId, *, reached: tuple[ServerId, ...] = (), forbidden: bool = False) -> None:
        self.reached = set(reached)
        self.doubted: set[ServerId] = set()
        self.out: list[Any] = []
        self.lost: list[tuple[Path, str]] = []
        self.machine = Forwarding(
            own,
            reached=lambda server: server in self.reached,
            doubted=lambda server: server in self.doubted,
            may_forward=lambda source, target: not forbidden,
            handle_lost=lambda path, reason: self.lost.append((path, reason)),
            put=self.out.append,
        )

    def say(self, peer: ServerId, message: Forward | Lost, now: float = 0.0) -> list[Any]:
        assert self.machine.handle_message_untrusted(peer, message, now) is None
        out = self.out[:]
        self.out.clear()
        return out


def test_a_packet_travels_along_its_path_and_is_not_touched() -> None:
    packet = b"\x04sealed"
    assert World(G, reached=(A, H)).say(A, Forward(PATH, 1, packet)) == [HandOn(H, Forward(PATH, 2, packet))]
    assert World(H, reached=(G, B)).say(G, Forward(PATH, 2, packet)) == [HandOn(B, Forward(PATH, 3, packet))]
    target = World(B)
    assert target.machine.back(A, 0.0) == ()
    assert target.say(H, Forward(PATH, 3, packet), 5.0) == [Detoured(A, packet)]
    assert target.machine.back(A, 5.0 + BACK_S - 0.1) == PATH
    assert target.machine.back(A, 5.0 + BACK_S) == ()
    assert target.machine.back_at(A) == 5.0


def test_a_way_that_ends_here_is_told_back_step_by_step_to_its_source() -> None:
    gone = World(H, reached=(G,))
    (said,) = gone.say(G, Forward(PATH, 2, b"p"))
    assert said.peer == G
    assert (said.message.path, said.message.failed, said.message.at) == (PATH, 2, 1)
    assert "does not reach 1.2" in said.message.reason
    (said,) = World(G).say(H, said.message)
    assert (said.peer, said.message.at, said.message.failed) == (A, 0, 2)
    source = World(A)
    assert source.say(G, said.message) == []
    assert source.lost == [(PATH, said.message.reason)]


def test_a_step_in_doubt_takes_the_packet_and_says_so_at_once() -> None:
    world = World(G, reached=(A, H))
    world.doubted.add(H)
    lost, onward = world.say(A, Forward(PATH, 1, b"p"))
    assert isinstance(lost.message, Lost)
    assert onward == HandOn(H, Forward(PATH, 2, b"p"))


def test_who_may_not_be_forwarded_for_is_told() -> None:
    world = World(G, reached=(A, H), forbidden=True)
    (said,) = world.say(A, Forward(PATH, 1, b"p"))
    assert isinstance(said.message, Lost)
    assert "does not forward for 1.1" in said.message.reason
    assert world.machine.forwarded == 0


def test_a_flood_for_a_lost_way_is_answered_now_and_then() -> None:
    world = World(G, reached=(A,))
    said = [each for number in range(1000) for each in world.say(A, Forward(PATH, 1, b"p"), number * 0.001)]
    assert 1 <= len(said) <= 1.0 / LOST_S + 1
    assert world.machine.refused == 1000


def test_a_flood_of_forged_sources_and_paths_takes_bounded_memory() -> None:
    world = World(G, reached=(A,))
    for number in range(1, MAX_BACK + 500):
        source = ServerId.of(7, number)
        world.say(A, Forward((source, A, G), 2, b"p"))
        world.say(A, Forward((source, A, G, B), 2, b"p"))
    assert len(world.machine._back) <= MAX_BACK
    assert len(world.machine._lost_told) <= MAX_BACK
    world.say(H, Forward((B, H, G), 2, b"p"), 1.0)
    assert world.machine.back(B, 1.0) == (B, H, G)  # there is always room for the newest


def test_nonsense_is_named_and_changes_nothing() -> None:
    world = World(G, reached=(A, H, B))
    for peer, message in [
        (H, Forward(PATH, 1, b"p")),
        (A, Forward(PATH, 2, b"p")),
        (A, Forward((A, G, A), 1, b"p")),
        (A, Lost(PATH, 2, 1, "")),
        (H, Lost(PATH, 1, 1, "")),
    ]:
        assert world.machine.handle_message_untrusted(peer, message, 0.0) is not None
    assert world.out == []
    assert world.lost == []
    assert world.machine.back(A, 0.0) == ()


def test_only_the_source_itself_is_told_of_its_loss() -> None:
    """LOST of others' packets passes here, and says nothing about our ways."""
    world = World(G)
    world.say(H, Lost(PATH, 2, 1, "gone"))
    assert world.lost == []


def test_what_came_as_a_word_goes_on_as_one_and_nobody_says_lost() -> None:
    world = World(G)
    assert world.say(A, Carry(PATH, 1, b"p")) == [HandOn(H, Carry(PATH, 2, b"p"))]  # no session is needed
    assert World(G, forbidden=True).say(A, Carry(PATH, 1, b"p")) == []
    source = World(A, reached=(G,))
    source.machine.send(PATH, b"p", 1.0, one_way=True)
    source.machine.send(PATH, b"p", 1.0, one_way=False)
    assert source.out == [HandOn(G, Carry(PATH, 1, b"p")), HandOn(G, Forward(PATH, 1, b"p"))]


def test_a_link_whose_other_direction_is_carried_carries_one_way_only() -> None:
    world = World(G, reached=(A, H))
    assert world.say(X, Carry((H, X, G), 2, b"ack"), 1.0) == [Detoured(H, b"ack")]
    assert world.machine.is_carried(H, 1.0)
    assert world.say(A, Forward(PATH, 1, b"p"), 2.0) == [HandOn(H, Carry(PATH, 2, b"p"))]
    assert world.say(A, Forward(PATH, 1, b"p"), 1.0 + CARRIED_S) == [HandOn(H, Forward(PATH, 2, b"p"))]
    world.say(H, Carry((H, G), 1, b"p"), 10.0)  # directly: nobody carried it
    assert not world.machine.is_carried(H, 10.0)


def test_acknowledgements_of_forwards_are_not_forwarded_round_and_round() -> None:
    """In a ring 1.5 -> 1 -> 1.9 -> 1.5 each hop's acknowledgement would be a FORWARD over the other two."""
    world = World(G, reached=(A, H))
    small, large = bytes(SMALL_BYTES), bytes(SMALL_BYTES + 1)
    kinds = []
    for step in range(4):
        now = 1.0 + step * ASIDE_S / 2
        world.say(X, Forward((H, X, G), 2, b"ack"), now)
        kinds.append([type(world.say(A, Forward(PATH, 1, each), now)[0].message) for each in (small, large)])
    assert kinds == [[Forward, Forward], [Forward, Forward], [Carry, Forward], [Carry, Forward]]
    world.say(X, Forward((H, X, G), 2, b"ack"), 60.0)  # it begins anew
    assert type(world.say(A, Forward(PATH, 1, small), 60.0)[0].message) is Forward


def test_what_is_remembered_of_carried_sources_goes_with_their_path() -> None:
    world = World(G)
    for number in range(MAX_BACK + 5):
        source = ServerId.of(3, number + 1)
        world.say(X, Carry((source, X, G), 2, b"p"))
    assert len(world.machine._carried) == len(world.machine._aside) == MAX_BACK
