"""Calls and admission: handshakes through loss, two calls at once, restarts, floods; silence for everything else."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from identity.errors import Exhausted, LocalMistake, Refused
from transport import noise
from transport.endpoint import Endpoint
from transport.events import Closed, Connected, Said
from transport.handshake import FIRST_BYTES, Initiator
from transport.packet import COOKIE, FIRST_XK, SEALED, SECOND, THIRD
from transport.settings import Settings

Pair = Any  # tests/transport/conftest.py
CONTROL, REQUEST, UPDATE, BULK = range(4)
STRANGER = ("10.3.3.3", 3)


def kinds(pair: Pair) -> list[int]:
    return [datagram[0] for _, datagram in pair.sent]


def first_packet(pair: Pair, seed: int = 5) -> bytes:
    chance = random.Random(seed)
    return Initiator(
        exchange_key=chance.randbytes(32), network=b"test mesh", peer_key=pair.b.key, index=seed + 1, random=chance
    ).first()


def answers(pair: Pair) -> list[bytes]:
    """What `b` wants to send now."""
    made = []
    while (batch := pair.b.endpoint.transmit(pair.now)) is not None:
        made.append(bytes(batch.buffer))
    return made


def test_a_call_is_answered(make_pair: Pair) -> None:
    pair = make_pair()
    pair.record = True
    number, other = pair.connect()
    (ours,), (theirs,) = pair.a.connected(), pair.b.connected()
    assert ours == Connected(number, pair.b.key, pair.b.address, bytes(16), True)
    assert theirs == Connected(other, pair.a.key, pair.a.address, bytes(16), False)
    assert kinds(pair)[:3] == [FIRST_XK, SECOND, THIRD]
    assert pair.a.endpoint.connections() == [number]
    pair.run(1.0)
    assert pair.a.endpoint.statistics(number).peer_key == pair.b.key
    assert pair.a.endpoint.statistics(99) is None
    assert pair.a.endpoint.queued_bytes(99) == 0


def test_what_is_sent_before_the_answer_leaves_with_the_third_packet(make_pair: Pair) -> None:
    pair = make_pair()
    number = pair.call()
    pair.a.endpoint.send(number, b"early", REQUEST, pair.now)
    assert pair.a.endpoint.queued_bytes(number) == 5
    began = pair.now
    pair.run(1.0, until=lambda: pair.b.messages() == [b"early"])
    assert pair.now - began == pytest.approx(0.03)  # one and a half round trips


@pytest.mark.parametrize(("loss", "seeds"), [(0.3, range(100)), (0.4, range(100, 150))])
def test_handshakes_through_heavy_loss(make_pair: Pair, loss: float, seeds: range) -> None:
    for seed in seeds:
        pair = make_pair(seed)
        pair.set_links(loss=loss, jitter=0.02, duplicate=0.05)
        number = pair.call()
        assert pair.run(15.1, until=lambda pair=pair: bool(pair.a.connected() and pair.b.connected())), seed
        pair.a.endpoint.send(number, b"and it works", REQUEST, pair.now)
        assert pair.run(30.0, until=lambda pair=pair: pair.b.messages() == [b"and it works"]), seed
        assert len(pair.a.connected()) == len(pair.b.connected()) == 1


def test_nobody_there_is_said_after_the_promised_time(make_pair: Pair) -> None:
    pair = make_pair()
    pair.set_links(loss=1.0)
    began = pair.now
    number = pair.call()
    assert pair.run(30.0, until=lambda: bool(pair.a.closed()))
    (closed,) = pair.a.closed()
    assert (closed.connection, closed.established, closed.peer_key) == (number, False, pair.b.key)
    assert "no answer from 10.0.0.2:2 in 15 s" in closed.reason
    assert pair.now - began == pytest.approx(15.0)
    assert pair.links[pair.a.address].count < 25
    with pytest.raises(Refused):
        pair.a.endpoint.send(number, b"x", REQUEST, pair.now)


def test_a_call_can_be_given_up(make_pair: Pair) -> None:
    pair = make_pair()
    number = pair.call()
    pair.a.endpoint.close(number, "changed my mind", pair.now)
    pair.run(20.0)
    assert not pair.a.events
    assert not pair.b.events


def test_a_key_that_was_rotated_is_found_after_three_silent_tries(make_pair: Pair) -> None:
    pair = make_pair()
    old = noise.public_key(random.Random(77).randbytes(32))
    pair.a.endpoint.connect(pair.b.address, old, pair.now)
    assert pair.run(5.0, until=lambda: bool(pair.a.connected()))
    assert pair.a.connected()[0].peer_key == pair.b.key


def test_another_mesh_or_secret_is_met_with_silence(make_pair: Pair) -> None:
    pair = make_pair()
    pair.a.endpoint = Endpoint(pair.a.private, b"another mesh", pair.psks.get, pair.random, None, pair.now)
    pair.call()
    pair.run(20.0)
    assert pair.links[pair.b.address].count == 0
    pair = make_pair()
    pair.a.endpoint.connect(pair.b.address, pair.b.key, pair.now, psk=b"\7" * 32)
    pair.run(20.0)
    assert not pair.b.connected()
    assert not pair.a.connected()
    assert "may not accept the secret" in pair.a.closed()[0].reason
    assert not pair.a.closed()[0].established


def test_a_ticket_is_a_secret_of_its_own(make_pair: Pair) -> None:
    pair = make_pair(psk=b"m" * 32)
    ticket = b"t" * 16
    pair.psks[ticket] = b"s" * 32
    pair.a.endpoint.connect(pair.b.address, pair.b.key, pair.now, psk_id=ticket, psk=b"s" * 32)
    assert pair.run(5.0, until=lambda: bool(pair.a.connected() and pair.b.connected()))
    assert pair.b.connected()[0].psk_id == ticket
    del pair.psks[ticket]
    with pytest.raises(LocalMistake):
        pair.a.endpoint.connect(pair.b.address, pair.b.key, pair.now, psk_id=ticket)


def test_calls_that_make_no_sense_are_refused(make_pair: Pair) -> None:
    pair = make_pair(settings=Settings(max_connections=1))
    with pytest.raises(Refused):
        pair.a.endpoint.connect(pair.b.address, pair.a.key, pair.now)
    with pytest.raises(Refused):
        pair.a.endpoint.connect(pair.b.address, bytes(32), pair.now)
    pair.call()
    with pytest.raises(Exhausted):
        pair.call()


# -- one session with each peer


@pytest.mark.parametrize("swap_keys", [False, True])
@pytest.mark.parametrize("seed", range(30))
def test_both_call_at_once_and_one_session_is_left(make_pair: Pair, swap_keys: bool, seed: int) -> None:
    """The same one on both sides, at any delay, loss and difference in time; and messages pass on it."""
    pair = make_pair(seed, swap_keys=swap_keys)
    chance = random.Random(seed)
    pair.set_links(jitter=chance.choice([0.0, 0.02]), loss=chance.choice([0.0, 0.0, 0.2]))
    number = pair.call()
    pair.run(chance.choice([0.0, 0.001, 0.009, 0.011, 0.02, 0.029, 0.031]))
    if not pair.b.connected():
        pair.b.endpoint.connect(pair.a.address, pair.a.key, pair.now)
    pair.run(18.0)
    (ours,), (theirs,) = pair.a.endpoint.connections(), pair.b.endpoint.connections()
    for side in (pair.a, pair.b):  # what was told adds up to one open connection
        opened = [each.connection for each in side.events if isinstance(each, Connected)]
        ended = [each.connection for each in side.events if isinstance(each, Closed) and each.established]
        assert [each for each in opened if each not in ended] == side.endpoint.connections()
        assert not [each for each in side.events if isinstance(each, Closed) and not each.established]
    assert number >= 1
    pair.a.endpoint.send(ours, b"to b", REQUEST, pair.now)
    pair.b.endpoint.send(theirs, b"to a", REQUEST, pair.now)
    assert pair.run(5.0, until=lambda: pair.b.messages() == [b"to b"] and pair.a.messages() == [b"to a"])


@pytest.mark.parametrize("swap_keys", [False, True])
def test_a_call_keeps_its_number_when_the_peers_session_comes_first(make_pair: Pair, swap_keys: bool) -> None:
    pair = make_pair(swap_keys=swap_keys)
    pair.links[pair.a.address].drop = lambda datagram: datagram[0] == FIRST_XK  # ours are lost, theirs arrive
    number = pair.call()
    pair.a.endpoint.send(number, b"kept", REQUEST, pair.now)
    pair.b.endpoint.connect(pair.a.address, pair.a.key, pair.now)
    assert pair.run(3.0, until=lambda: pair.b.messages() == [b"kept"])
    assert pair.a.connected()[0].connection == number
    assert not pair.a.connected()[0].initiator


def test_a_session_that_takes_over_a_number_is_not_dropped_with_the_other(make_pair: Pair) -> None:
    """Both stand and neither was heard; ours has something to send just when the peer's takes its place."""
    pair = make_pair(swap_keys=True)  # the peer's key is the smaller
    pair.b.endpoint.connect(pair.a.address, pair.a.key, pair.now)
    pair._flush()
    number = pair.call()
    third: list[bytes] = []

    def hold(datagram: bytes) -> bool:
        if datagram[0] == THIRD:
            third.append(datagram)
        return datagram[0] in (THIRD, SEALED)

    pair.set_links(drop=hold)
    pair.run(0.1, until=lambda: len(third) >= 2)
    pair.a.endpoint.send(number, b"kept", REQUEST, pair.now)
    for datagram in third:
        pair.inject(pair.a, datagram)
    pair.set_links(drop=None)
    assert pair.run(3.0, until=lambda: pair.b.messages() == [b"kept"])
    assert pair.a.endpoint.connections() == [number]
    assert [each.connection for each in pair.a.connected()] == [number]


@pytest.mark.parametrize("swap_keys", [False, True])
@pytest.mark.parametrize("after", [0.3, 5.0, 60.0])
@pytest.mark.parametrize("caller", ["a", "b"])
def test_a_peer_that_restarted_is_welcome_at_once(make_pair: Pair, swap_keys: bool, after: float, caller: str) -> None:
    """It calls again while we believe in the old session: the new one replaces it, whoever is smaller."""
    pair = make_pair(swap_keys=swap_keys)
    if caller == "a":
        old = pair.call()
    else:
        pair.b.endpoint.connect(pair.a.address, pair.a.key, pair.now)
    pair.run(after)
    (old,) = pair.a.endpoint.connections()
    pair.restart(pair.b)
    pair.a.events.clear()
    pair.b.endpoint.connect(pair.a.address, pair.a.key, pair.now)
    assert pair.run(1.0, until=lambda: bool(pair.b.connected() and pair.a.connected()))
    closed, connected = pair.a.events
    assert isinstance(closed, Closed)
    assert (closed.connection, closed.established) == (old, True)
    assert "newer session" in closed.reason
    assert isinstance(connected, Connected)
    pair.run(5.0)
    assert pair.a.endpoint.connections() == [connected.connection]
    assert len(pair.b.endpoint.connections()) == 1
    pair.a.endpoint.send(connected.connection, b"welcome", REQUEST, pair.now)
    assert pair.run(1.0, until=lambda: pair.b.messages() == [b"welcome"])


def test_who_calls_twice_has_one_session(make_pair: Pair) -> None:
    pair = make_pair()
    first, _ = pair.connect()
    pair.run(1.0)
    second = pair.call()
    pair.run(2.0)
    assert pair.a.endpoint.connections() == [second]
    assert len(pair.b.endpoint.connections()) == 1
    assert [each.connection for each in pair.a.closed()] == [first]


# -- strangers (ATTACKS 1 to 5)


@settings(deadline=None, max_examples=200)
@given(garbage=st.binary(max_size=1500), size=st.integers(0, 1600))
def test_garbage_meets_silence(make_pair: Pair, garbage: bytes, size: int) -> None:
    pair = make_pair()
    pair.b.endpoint.handle_datagrams(memoryview(garbage), size, STRANGER, pair.now)
    assert answers(pair) == []
    # What looks like a word is handed on unopened: `transport.words` tells whether it is one, in silence.
    assert all(isinstance(each, Said) for each in pair.b.endpoint.take_outputs())


def test_garbage_of_each_type_and_length_meets_silence(make_pair: Pair) -> None:
    pair = make_pair()
    _, _ = pair.connect()
    pair.run(1.0)
    chance = random.Random(4)
    indexes = [*pair.b.endpoint._sessions, 0, 2**32 - 1]
    before = pair.links[pair.b.address].count
    for kind in range(256):
        for length in (0, 1, 4, 5, 13, 28, 29, 100, 1199, 1200, 1300):
            for index in indexes:
                datagram = bytes([kind]) + index.to_bytes(4, "big") + chance.randbytes(max(length - 5, 0))
                pair.inject(pair.b, datagram[:length], STRANGER)
    pair.run(1.0)
    assert pair.links[pair.b.address].count == before
    assert len(pair.b.endpoint.connections()) == 1
    assert not pair.b.closed()


def test_short_first_packets_meet_silence(make_pair: Pair) -> None:
    pair = make_pair()
    first = first_packet(pair)
    for length in (10, 500, FIRST_BYTES - 1):
        pair.inject(pair.b, first[:length], STRANGER)
    assert answers(pair) == []


def test_a_replayed_handshake_makes_no_second_session(make_pair: Pair) -> None:
    pair = make_pair()
    pair.record = True
    number, other = pair.connect()
    pair.run(1.0)
    for _ in range(2):
        for sender, datagram in list(pair.sent):
            pair.inject(pair.b if sender == pair.a.address else pair.a, datagram, STRANGER)
            pair.inject(pair.b if sender == pair.a.address else pair.a, datagram)
        pair.run(1.0)
    assert pair.b.endpoint.connections() == [other]
    assert len(pair.a.connected()) == len(pair.b.connected()) == 1
    pair.a.endpoint.send(number, b"unharmed", REQUEST, pair.now)
    assert pair.run(1.0, until=lambda: pair.b.messages() == [b"unharmed"])


def test_never_more_out_than_in_to_an_unproven_address(make_pair: Pair) -> None:
    pair = make_pair()
    for seed in range(200):
        first = first_packet(pair, seed)
        for _ in range(3):
            pair.inject(pair.b, first, (f"10.7.{seed // 20}.1", seed + 1))
            assert sum(len(each) for each in answers(pair)) < len(first) / 2


def test_a_first_packet_that_comes_again_is_answered_where_it_came_from_first(make_pair: Pair) -> None:
    """A copy of it with a victim's address sends the victim nothing."""
    pair = make_pair()
    first = first_packet(pair)
    pair.inject(pair.b, first, STRANGER)
    (second,) = answers(pair)
    pair.inject(pair.b, first, ("10.4.4.4", 4))
    assert answers(pair) == []
    pair.inject(pair.b, first, STRANGER)
    assert answers(pair) == [second]
    assert len(pair.b.endpoint._admission) == 1


def test_a_flood_meets_cookies_and_the_honest_come_through(make_pair: Pair) -> None:
    pair = make_pair(settings=Settings(loaded_half_open=20, max_half_open=50))
    made = [0, 0]
    for seed in range(400):
        pair.inject(pair.b, first_packet(pair, seed), (f"10.{seed // 100}.{seed % 100}.1", 1000 + seed))
        for answer in answers(pair):
            made[answer[0] == COOKIE] += 1
    assert made == [20, 380]
    assert len(pair.b.endpoint._admission) == 20
    pair.record = True
    pair.connect()
    assert COOKIE in kinds(pair)
    pair.run(20.0)
    assert len(pair.b.endpoint.connections()) == 1


def test_one_host_cannot_take_all_places(make_pair: Pair) -> None:
    pair = make_pair(settings=Settings(max_half_open_per_host=5))
    for seed in range(40):
        pair.inject(pair.b, first_packet(pair, seed), ("10.5.5.5", 1000 + seed))
    assert len(pair.b.endpoint._admission) == 5
    pair.connect()


def test_half_open_handshakes_expire(make_pair: Pair) -> None:
    pair = make_pair()
    for seed in range(20):
        pair.inject(pair.b, first_packet(pair, seed), (f"10.5.5.{seed}", 1))
    pair.run(16.0)
    pair.connect()
    assert len(pair.b.endpoint._admission) == 0


def test_a_full_house_is_silent(make_pair: Pair) -> None:
    pair = make_pair(settings=Settings(max_connections=1))
    pair.connect()
    pair.run(1.0)
    pair.inject(pair.b, first_packet(pair), STRANGER)
    assert answers(pair) == []


def test_a_packet_for_a_session_we_never_had_meets_silence(make_pair: Pair) -> None:
    pair = make_pair()
    number, _ = pair.connect()
    pair.run(1.0)
    pair.restart(pair.b)
    before = pair.links[pair.b.address].count
    pair.a.endpoint.send(number, b"are you there?", REQUEST, pair.now)
    assert pair.run(30.0, until=lambda: bool(pair.a.closed()))
    assert pair.links[pair.b.address].count == before
    assert SEALED not in kinds(pair)


def test_many_connections_take_turns(make_pair: Pair) -> None:
    """One that has much to send does not keep the others from sending."""
    pair = make_pair()
    hub = pair.b
    guests = []
    for each in range(5):
        private = random.Random(each).randbytes(32)
        address = (f"127.0.0.{each + 10}", 1)  # no pace within one machine, and room for many batches
        guest = pair._side(private, address, None)
        pair.sides[address] = guest
        pair.links[address] = type(pair.links[pair.a.address])()
        guest.endpoint.connect(hub.address, hub.key, pair.now)
        guests.append(guest)
    assert pair.run(5.0, until=lambda: len(hub.connected()) == 5)
    for connected in hub.connected():
        hub.endpoint.send(connected.connection, bytes(1_000_000), BULK, pair.now)
    targets = []
    for _ in range(5):
        batch = hub.endpoint.transmit(pair.now)
        assert batch is not None
        targets.append(batch.address)
    assert len(set(targets)) == 5
    assert pair.run(20.0, until=lambda: all(len(guest.messages()) == 1 for guest in guests))
