"""What is sent arrives once and whole over a link that loses, reorders, doubles and alters; or the connection ends."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from identity.errors import Exhausted
from transport.events import Closed, Drained
from transport.packet import CLOSE_DONE, write_ack, write_close, write_nak, write_piece, write_ping
from transport.settings import Settings
from transport.states import NEXT, Happening, State

Pair = Any  # tests/transport/conftest.py
CONTROL, REQUEST, UPDATE, BULK = range(4)


def data(size: int, seed: int = 3) -> bytes:
    return random.Random(seed).randbytes(size)


def frames(write: Any, **values: object) -> bytes:
    out = bytearray(2000)
    return bytes(out[: write(memoryview(out), 0, **values)])


def test_a_message_arrives_and_is_acknowledged(make_pair: Pair) -> None:
    pair = make_pair()
    number, other = pair.connect()
    pair.a.endpoint.send(number, b"hello", REQUEST, pair.now)
    assert pair.a.endpoint.queued_bytes(number) == 5
    assert pair.run(1.0, until=lambda: pair.b.messages() == [b"hello"])
    assert pair.run(1.0, until=lambda: pair.a.endpoint.queued_bytes(number) == 0)
    pair.b.endpoint.send(other, b"", CONTROL, pair.now)
    assert pair.run(1.0, until=lambda: pair.a.messages() == [b""])


@pytest.mark.parametrize("loss", [0.0, 0.01, 0.05, 0.1, 0.2, 0.3])
def test_byte_for_byte_at_any_loss(make_pair: Pair, loss: float) -> None:
    pair = make_pair(7)
    number, other = pair.connect()
    pair.set_links(loss=loss, jitter=0.004, duplicate=0.02, corrupt=0.01, rate=5e6, queue_bytes=200e3)
    there = [data(size, size) for size in (300_000, 1, 1352, 0, 70_000, 5000)]
    back = [data(size, size) for size in (100_000, 20, 1351)]
    for message in there:
        pair.a.endpoint.send(number, message, BULK, pair.now)
    for message in back:
        pair.b.endpoint.send(other, message, UPDATE, pair.now)
    assert pair.run(
        120.0, until=lambda: len(pair.b.messages()) >= len(there) and len(pair.a.messages()) >= len(back)
    ), pair.a.endpoint.statistics(number)
    pair.run(20.0)
    assert sorted(pair.b.messages()) == sorted(there)
    assert sorted(pair.a.messages()) == sorted(back)
    assert pair.a.endpoint.queued_bytes(number) == 0
    assert not pair.a.closed()
    assert not pair.b.closed()


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    loss=st.sampled_from([0.0, 0.02, 0.1, 0.25]),
    jitter=st.sampled_from([0.0, 0.001, 0.03]),
    duplicate=st.sampled_from([0.0, 0.3]),
    sizes=st.lists(st.tuples(st.integers(0, 30_000), st.integers(0, 3)), min_size=1, max_size=12),
)
def test_every_message_once_whatever_the_link_does(
    make_pair: Pair, seed: int, loss: float, jitter: float, duplicate: float, sizes: list[tuple[int, int]]
) -> None:
    pair = make_pair(seed)
    number, _ = pair.connect()
    pair.set_links(loss=loss, jitter=jitter, duplicate=duplicate)
    sent = []
    for at, (size, priority) in enumerate(sizes):
        sent.append(struct.pack(">I", at) + data(size, at))
        pair.a.endpoint.send(number, sent[-1], priority, pair.now)
        pair.run(0.003)
    assert pair.run(60.0, until=lambda: len(pair.b.messages()) >= len(sent))
    pair.run(5.0)
    assert sorted(pair.b.messages()) == sent


def test_the_longest_message_and_its_neighbours(make_pair: Pair) -> None:
    from transport.wire import MAX_MESSAGE_BYTES

    pair = make_pair()
    number, _ = pair.connect()
    pair.set_links(rate=50e6)
    long = bytes(MAX_MESSAGE_BYTES)
    pair.a.endpoint.send(number, long, BULK, pair.now)
    pair.a.endpoint.send(number, long, BULK, pair.now)
    pair.run(0.1)
    pair.a.endpoint.send(number, b"urgent", CONTROL, pair.now)
    assert pair.run(0.1, until=lambda: pair.b.messages() == [b"urgent"])  # waits for nobody
    assert pair.run(20.0, until=lambda: len(pair.b.messages()) == 3)
    assert pair.b.messages()[1] == long


def test_small_messages_of_one_tick_leave_together(make_pair: Pair) -> None:
    pair = make_pair()
    number, other = pair.connect()
    pair.run(1.0)
    pair.links[pair.a.address].count = pair.links[pair.b.address].count = 0
    for each in range(64):
        pair.a.endpoint.send(number, data(100, each), REQUEST, pair.now)
    pair.run(0.01, until=lambda: len(pair.b.messages()) == 64)
    assert len(pair.b.messages()) == 64
    assert pair.links[pair.a.address].count <= 6  # 64 * 120 bytes in packets of 1400
    for message in pair.b.messages():
        pair.b.endpoint.send(other, message, REQUEST, pair.now)
    pair.run(0.02, until=lambda: len(pair.a.messages()) == 64)
    assert pair.links[pair.b.address].count <= 6  # the answers carry the ACK


def test_small_talk_does_not_make_bulk_slow(make_pair: Pair) -> None:
    """A minute of requests says nothing about how much the path carries."""
    pair = make_pair()
    number, _ = pair.connect()
    pair.set_links(rate=12.5e6, delay=0.025, queue_bytes=400e3)
    for _ in range(300):
        pair.a.endpoint.send(number, bytes(100), REQUEST, pair.now)
        pair.run(0.2)
    began = pair.now
    pair.a.endpoint.send(number, bytes(6_000_000), BULK, pair.now)
    assert pair.run(10.0, until=lambda: len(pair.b.messages()) == 301)
    assert pair.now - began < 1.1  # half a second is what the link takes


def test_few_acks_for_bulk(make_pair: Pair) -> None:
    pair = make_pair()
    number, _ = pair.connect()
    pair.set_links(rate=20e6)
    pair.a.endpoint.send(number, bytes(3_000_000), BULK, pair.now)
    pair.run(5.0, until=lambda: len(pair.b.messages()) == 1)
    assert pair.links[pair.b.address].count < pair.links[pair.a.address].count / 8


def test_few_needless_repetitions(make_pair: Pair) -> None:
    for loss, jitter in ((0.01, 0.0), (0.05, 0.0), (0.02, 0.01)):
        pair = make_pair()
        number, _ = pair.connect()
        pair.set_links(loss=loss, jitter=jitter, rate=10e6, delay=0.02)
        pair.a.endpoint.send(number, bytes(6_000_000), BULK, pair.now)
        assert pair.run(30.0, until=lambda pair=pair: len(pair.b.messages()) == 1)
        figures = pair.a.endpoint.statistics(number)
        assert figures.resent_bytes < 6_000_000 * (loss / (1 - loss) * 1.4 + 0.05), (loss, jitter)


def test_a_replayed_packet_is_taken_once(make_pair: Pair) -> None:
    pair = make_pair()
    number, _ = pair.connect()
    pair.record = True
    pair.a.endpoint.send(number, b"once", REQUEST, pair.now)
    pair.run(1.0)
    for _ in range(3):
        for sender, datagram in pair.sent:
            pair.inject(pair.b if sender == pair.a.address else pair.a, datagram)
    pair.run(1.0)
    assert pair.b.messages() == [b"once"]
    assert not pair.b.closed()


def test_altered_packets_change_nothing(make_pair: Pair) -> None:
    pair = make_pair()
    number, _ = pair.connect()
    pair.record = True
    pair.a.endpoint.send(number, b"untouched", REQUEST, pair.now)
    pair.set_links(loss=1.0)
    pair.run(0.1)
    chance = random.Random(1)
    for _, datagram in list(pair.sent):
        for _ in range(200):
            at = chance.randrange(len(datagram))
            altered = datagram[:at] + bytes([datagram[at] ^ 1 << chance.randrange(8)]) + datagram[at + 1 :]
            pair.inject(pair.b, altered)
    pair.set_links(loss=0.0)
    assert pair.run(5.0, until=lambda: pair.b.messages() == [b"untouched"])


# -- the end of a connection


def test_close_tells_the_other_side_why(make_pair: Pair) -> None:
    pair = make_pair()
    number, other = pair.connect()
    pair.a.endpoint.close(number, "going home", pair.now)
    pair.run(1.0)
    assert [(each.connection, each.reason, each.established) for each in pair.b.closed()] == [
        (other, "going home", True)
    ]
    assert not pair.a.closed()  # we asked for it
    assert pair.a.endpoint.connections() == pair.b.endpoint.connections() == []


def test_a_lost_close_is_said_again_to_who_goes_on(make_pair: Pair) -> None:
    pair = make_pair()
    number, _ = pair.connect()
    pair.run(1.0)
    pair.set_links(loss=1.0)
    pair.a.endpoint.close(number, "going home", pair.now)
    pair.run(0.1)
    pair.set_links(loss=0.0)
    assert pair.run(6.0, until=lambda: [each.reason for each in pair.b.closed()] == ["going home"])  # its keep-alive


def test_a_silent_peer_is_given_up_and_not_sooner_than_promised(make_pair: Pair) -> None:
    pair = make_pair()
    number, _ = pair.connect()
    pair.run(1.0)
    pair.set_links(loss=1.0)
    began = pair.now
    pair.a.endpoint.send(number, b"anybody?", REQUEST, pair.now)
    assert pair.run(30.0, until=lambda: bool(pair.a.closed()))
    assert 10.0 <= pair.now - began <= 13.0
    assert "nothing heard from 10.0.0.2:2" in pair.a.closed()[0].reason
    assert pair.run(30.0, until=lambda: bool(pair.b.closed()))  # by its own keep-alive


def test_one_direction_is_not_enough(make_pair: Pair) -> None:
    """They hear us and we do not hear them: we must not go on believing in them."""
    pair = make_pair()
    pair.connect()
    pair.run(1.0)
    pair.links[pair.b.address].loss = 1.0
    assert pair.run(30.0, until=lambda: bool(pair.a.closed()))


def test_a_break_shorter_than_silence_is_survived(make_pair: Pair) -> None:
    pair = make_pair()
    number, _ = pair.connect()
    pair.a.endpoint.send(number, data(500_000), BULK, pair.now)
    pair.set_links(rate=1e6)
    pair.run(0.1)
    pair.set_links(loss=1.0)
    pair.run(8.0)
    pair.set_links(loss=0.0)
    assert pair.run(5.0, until=lambda: len(pair.b.messages()) == 1)
    assert not pair.a.closed()


def test_our_own_lag_is_no_silence_of_the_peer(make_pair: Pair) -> None:
    """Five seconds of a broken link, then our process is stopped for a minute: that minute says nothing of the peer."""
    pair = make_pair()
    number, _ = pair.connect()
    pair.run(1.0)
    pair.set_links(loss=1.0)
    pair.a.endpoint.send(number, b"x", REQUEST, pair.now)
    pair.run(5.0)
    assert pair.a.endpoint._connections[number]._tries >= 4
    pair.now += 60.0  # nothing is read, no deadline judged
    pair.set_links(loss=0.0)
    pair.b.endpoint._connections.clear()  # its timers are not what this is about
    pair.a.endpoint.take_outputs()  # doubts, rightly told while the link was broken
    pair.a.endpoint.handle_deadline(pair.now)
    assert not pair.a.endpoint.take_outputs()
    assert pair.run(3.0, until=lambda: pair.b.messages() == [b"x"])
    pair.run(1.0)
    assert pair.a.endpoint.connections() == [number]


def test_a_process_that_only_slept_first_asks(make_pair: Pair) -> None:
    """Idle, then stopped for a minute with one packet unanswered: a few probes come before the verdict."""
    pair = make_pair(settings=Settings(silence_s=0.05))
    number, _ = pair.connect()
    pair.run(1.0)
    pair.a.endpoint.send(number, b"x", REQUEST, pair.now)
    pair.set_links(loss=1.0)
    pair.run(0.3)
    assert not pair.a.closed()  # much longer than silence_s, and only two probes
    pair.set_links(loss=0.0)
    assert pair.run(1.0, until=lambda: pair.b.messages() == [b"x"])


def test_a_window_that_was_lost_is_granted_again(make_pair: Pair) -> None:
    pair = make_pair()
    number, other = pair.connect()
    pair.run(1.0)
    receiver, sender = pair.b.endpoint._connections[other], pair.a.endpoint._connections[number]
    receiver._incoming.take(size=6 << 20, messages=1)
    receiver.take()
    pair.b.endpoint._touch(receiver)
    pair.set_links(loss=1.0)
    pair.run(0.2)
    assert receiver._incoming.max_bytes > sender.outgoing.max_bytes
    pair.set_links(loss=0.0)
    pair.a.endpoint.send(number, b"x", REQUEST, pair.now)  # its ACK, and then what overtook the lost packet
    pair.run(0.1)
    pair.b.endpoint.send(other, b"y", REQUEST, pair.now)
    assert pair.run(5.0, until=lambda: sender.outgoing.max_bytes == receiver._incoming.max_bytes)


def test_keep_alive_holds_an_idle_connection(make_pair: Pair) -> None:
    pair = make_pair()
    number, _ = pair.connect()
    pair.run(1.0)
    before = sum(link.count for link in pair.links.values())
    pair.run(100.0)
    packets = sum(link.count for link in pair.links.values()) - before
    assert pair.a.endpoint.connections() == [number]
    assert 20 <= packets <= 100


def test_the_states_are_what_the_table_says() -> None:
    assert {state for state, _ in NEXT} == {State.UNHEARD, State.OPEN, State.CLOSING}
    assert all((State.OVER, happening) not in NEXT for happening in Happening)
    assert all((state, Happening.END) in NEXT for state in (State.UNHEARD, State.OPEN))


# -- peers that have proven their key and misbehave all the same (ATTACKS 10, 11)


@pytest.mark.parametrize(
    ("plaintext", "words"),
    [
        (frames(write_ack, ranges=[(0, 10**6)], delay_us=0, direct_age_us=None, direct_number=0), "an ACK of packet"),
        (frames(write_nak, ranges=[(10**6, 10**6)]), "a NAK of packet"),
        (b"\xff\x00", "unknown type"),
        (b"\x01\x00", "cut off"),
        (frames(write_piece, priority=0, message=10**9, offset=0, total=1, data=b"x"), "granted"),
        (frames(write_piece, priority=0, message=0, offset=0, total=16 << 20, data=b"x") * 2, None),
    ],
)
def test_who_breaks_the_protocol_is_told_and_dropped(make_pair: Pair, plaintext: bytes, words: str | None) -> None:
    pair = make_pair()
    _, other = pair.connect()
    pair.run(1.0)
    pair.inject(pair.b, pair.forge(pair.a, plaintext))
    pair.run(1.0)
    if words is None:
        assert not pair.b.closed()
        return
    assert len(pair.b.closed()) == 1
    assert pair.b.closed()[0].connection == other
    assert words in pair.b.closed()[0].reason
    assert words in pair.a.closed()[0].reason


def test_an_ack_of_a_number_left_out_on_purpose_is_a_lie(make_pair: Pair) -> None:
    pair = make_pair()
    number, _ = pair.connect()
    pair.run(1.0)
    connection = pair.a.endpoint._connections[number]
    connection._filler._skip()
    skipped = connection._sealer.next_number - 1
    pair.a.endpoint.send(number, b"x", REQUEST, pair.now)
    pair.run(1.0)
    assert not pair.a.closed()  # an honest receiver's ACK leaves it out, and its NAK of it is ignored
    forged = frames(write_ack, ranges=[(0, skipped)], delay_us=0, direct_age_us=None, direct_number=0)
    pair.inject(pair.a, pair.forge(pair.b, forged))
    pair.run(1.0)
    assert "which was never sent" in pair.a.closed()[0].reason


def test_a_storm_of_naks_ends_it(make_pair: Pair) -> None:
    pair = make_pair()
    number, _ = pair.connect()
    pair.run(1.0)
    connection = pair.a.endpoint._connections[number]
    pair.links[pair.a.address].loss = 1.0
    pair.set_links(delay=0.0001)
    pair.a.endpoint.send(number, bytes(16 << 20), BULK, pair.now)
    for _ in range(20_000):
        pair._flush()
        if pair.a.closed():
            break
        flights = connection._flights
        lows = flights.settled.missing(flights.floor, flights.next_number - 1)[:32]
        if lows:
            pair.inject(pair.a, pair.forge(pair.b, frames(write_nak, ranges=lows)))
        pair.now += 0.001
    assert "storm of NAKs" in pair.a.closed()[0].reason


def test_messages_never_finished_are_bounded_and_expire(make_pair: Pair) -> None:
    pair = make_pair(settings=Settings(unfinished_s=60.0))
    _, other = pair.connect()
    pair.run(1.0)
    for number in range(2000):
        piece = frames(write_piece, priority=3, message=number, offset=0, total=8000, data=bytes(300))
        pair.inject(pair.b, pair.forge(pair.a, piece))
    incoming = pair.b.endpoint._connections[other]._incoming
    assert incoming.held_bytes < 2 << 20
    assert pair.run(120.0, until=lambda: bool(pair.b.closed()))
    assert "unfinished" in pair.b.closed()[0].reason


def test_frames_after_close_are_not_read(make_pair: Pair) -> None:
    pair = make_pair()
    pair.connect()
    pair.run(1.0)
    late = frames(write_piece, priority=0, message=0, offset=0, total=1, data=b"x")
    close = frames(write_close, code=CLOSE_DONE, reason="bye")
    pair.inject(pair.b, pair.forge(pair.a, close + close + late))
    pair.run(1.0)
    assert [each.reason for each in pair.b.closed()] == ["bye"]
    assert pair.b.messages() == []


# -- queues, addresses, figures


def test_a_full_queue_refuses_and_says_when_it_has_drained(make_pair: Pair) -> None:
    pair = make_pair(settings=Settings(queue_bytes=100_000))
    number, _ = pair.connect()
    pair.a.endpoint.send(number, bytes(60_000), BULK, pair.now)
    with pytest.raises(Exhausted):
        pair.a.endpoint.send(number, bytes(60_000), BULK, pair.now)
    assert pair.run(5.0, until=lambda: Drained(number) in pair.a.events)
    pair.a.endpoint.send(number, bytes(60_000), BULK, pair.now)


def test_a_peer_that_moves_is_followed_once_it_has_proven_where_it_is(make_pair: Pair) -> None:
    pair = make_pair()
    number, other = pair.connect()
    pair.run(1.0)
    moved = ("10.9.9.9", 99)
    side = pair.sides.pop(pair.a.address)
    pair.links[moved] = pair.links[pair.a.address]
    side.address = moved
    pair.sides[moved] = side
    side.endpoint.send(number, b"from elsewhere", REQUEST, pair.now)
    assert pair.run(3.0, until=lambda: pair.b.messages() == [b"from elsewhere"])
    assert pair.run(3.0, until=lambda: pair.b.endpoint.statistics(other).address == moved)
    pair.b.endpoint.send(other, b"found you", REQUEST, pair.now)
    assert pair.run(3.0, until=lambda: pair.a.messages() == [b"found you"])


def test_who_copies_packets_from_elsewhere_draws_nothing_to_himself(make_pair: Pair) -> None:
    pair = make_pair()
    number, other = pair.connect()
    pair.run(1.0)
    thief = ("10.6.6.6", 6)
    pair.record = True
    pair.links[pair.a.address].drop = lambda _: True
    pair.a.endpoint.send(number, b"caught", REQUEST, pair.now)
    pair._flush()
    ours = [datagram for sender, datagram in pair.sent if sender == pair.a.address]
    pair.sent.clear()
    for datagram in ours:
        pair.inject(pair.b, datagram, thief)
    pair.links[pair.a.address].drop = None
    pair.b.endpoint.send(other, bytes(20_000), BULK, pair.now)
    pair.run(3.0)
    assert pair.b.endpoint.statistics(other).address == pair.a.address
    assert len(pair.a.messages()) == 1


def test_both_directions_of_the_link_are_known(make_pair: Pair) -> None:
    """DESIGN G1: each side knows how long ago the other heard it."""
    pair = make_pair()
    number, _ = pair.connect()
    pair.a.endpoint.send(number, b"x", REQUEST, pair.now)
    pair.run(1.0)
    figures = pair.a.endpoint.statistics(number)
    assert figures.heard_at is not None
    assert figures.heard_us_at is not None
    assert pair.now - figures.heard_us_at < 1.1
    assert figures.minimum_rtt_s == pytest.approx(0.02, rel=0.01)
    assert figures.received_packets > 0


def test_what_vanishes_by_its_size_goes_on_in_smaller_packets(make_pair: Pair) -> None:
    pair = make_pair()
    number, _ = pair.connect()
    pair.run(1.0)
    pair.links[pair.a.address].drop = lambda datagram: len(datagram) > 1300
    pair.a.endpoint.send(number, data(100_000), BULK, pair.now)
    assert pair.run(20.0, until=lambda: len(pair.b.messages()) == 1)
    assert not [each for each in pair.a.events if isinstance(each, Closed)]


def test_what_vanishes_by_its_size_is_noticed_though_small_packets_pass(make_pair: Pair) -> None:
    """There is never silence: small messages are acknowledged all the time."""
    pair = make_pair()
    number, _ = pair.connect()
    pair.run(1.0)
    pair.links[pair.a.address].drop = lambda datagram: len(datagram) > 1300
    large = data(5000)
    pair.a.endpoint.send(number, large, BULK, pair.now)
    for _ in range(50):
        pair.a.endpoint.send(number, b"small", CONTROL, pair.now)
        pair.run(0.02)
    assert large in pair.b.messages()
    assert pair.a.endpoint.statistics(number).resent_bytes < 4 * len(large)


@pytest.mark.parametrize("seed", range(1, 6))
def test_a_path_that_loses_any_packet_is_not_taken_for_a_narrow_one(make_pair: Pair, seed: int) -> None:
    pair = make_pair(seed)
    number, _ = pair.connect()
    pair.set_links(loss=0.3, jitter=0.01, rate=5e6, queue_bytes=200e3)
    connection = pair.a.endpoint._connections[number]
    narrow = 0
    for turn in range(60):
        pair.a.endpoint.send(number, data(20_000, turn), BULK, pair.now)
        pair.a.endpoint.send(number, b"small", CONTROL, pair.now)
        pair.run(0.2)
        narrow += connection._filler.packet_bytes == 1200
    assert not narrow


def test_a_peer_that_slept_is_sent_large_packets_again(make_pair: Pair) -> None:
    pair = make_pair()
    number, _ = pair.connect()
    pair.run(1.0)
    connection = pair.a.endpoint._connections[number]
    pair.set_links(delay=0.9)  # a pause of all that is on the way, longer than three probes
    pair.a.endpoint.send(number, data(5000), BULK, pair.now)
    pair.run(1.0)
    assert connection._filler.packet_bytes == 1200
    pair.set_links(delay=0.01)
    assert pair.run(5.0, until=lambda: pair.a.endpoint.queued_bytes(number) == 0)
    assert connection._filler.packet_bytes == 1400


def test_a_ping_is_answered(make_pair: Pair) -> None:
    pair = make_pair()
    pair.connect()
    pair.run(1.0)
    before = pair.links[pair.b.address].count
    pair.inject(pair.b, pair.forge(pair.a, frames(write_ping)))
    pair.run(0.1)
    assert pair.links[pair.b.address].count == before + 1
