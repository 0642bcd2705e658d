"""What is cut is put together again, whatever the order; what does not fit the window is not begun."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from identity.errors import Exhausted, LocalMistake, PeerMisbehaved
from transport.fragments import PIECE_COST_BYTES, Incoming, Outgoing
from transport.packet import PIECE_HEAD_BYTES, Piece, write_piece
from transport.settings import LEAST_WINDOW_BYTES, RESERVED_BYTES
from transport.wire import MAX_MESSAGE_BYTES

CONTROL, REQUEST, UPDATE, BULK = range(4)
WINDOW = LEAST_WINDOW_BYTES + (2 << 20)


def outgoing(*, queue_bytes: int = 64 << 20, max_bytes: int = WINDOW, max_messages: int = 8192) -> Outgoing:
    made = Outgoing(queue_bytes=queue_bytes)
    made.widen(max_bytes=max_bytes, max_messages=max_messages)
    return made


def incoming(*, window_bytes: int = WINDOW, window_messages: int = 8192) -> Incoming:
    return Incoming(window_bytes=window_bytes, window_messages=window_messages)


def pieces(sender: Outgoing, most: int) -> list[Piece]:
    """Everything that may be sent now, in pieces of at most `most` bytes."""
    made = []
    while (following := sender.peek()) is not None:
        message, offset, last, again = following
        end = min(last, offset + most)
        made.append(Piece(message.priority, message.number, offset, message.total, bytes(message.data[offset:end])))
        sender.take(message, end, again=again)
    return made


def piece(number: int, data: bytes, *, offset: int = 0, total: int | None = None, priority: int = BULK) -> Piece:
    return Piece(priority, number, offset, len(data) if total is None else total, data)


def test_a_message_is_cut_and_whole_again() -> None:
    sender, receiver = outgoing(), incoming()
    sender.push(b"many are called", UPDATE)
    cut = pieces(sender, 4)
    assert [each.data for each in cut] == [b"many", b" are", b" cal", b"led"]
    assert [receiver.handle_piece_untrusted(each, 0.0) for each in cut] == [None, None, None, b"many are called"]


def test_an_empty_message_is_one_empty_piece() -> None:
    sender, receiver = outgoing(), incoming()
    sender.push(b"", CONTROL)
    (only,) = pieces(sender, 100)
    assert receiver.handle_piece_untrusted(only, 0.0) == b""
    assert receiver.handle_piece_untrusted(only, 0.0) is None


@settings(deadline=None, max_examples=150)
@given(
    messages=st.lists(st.tuples(st.binary(max_size=400), st.integers(0, 3)), max_size=12),
    seed=st.integers(0, 2**32),
    small=st.integers(1, 120),
    large=st.integers(1, 120),
)
def test_whatever_the_order_each_message_is_given_once(
    messages: list[tuple[bytes, int]], seed: int, small: int, large: int
) -> None:
    """Pieces come doubled, shuffled, and cut another way the second time."""
    chance = random.Random(seed)
    sender, receiver = outgoing(), incoming()
    for data, priority in messages:
        sender.push(data, priority)
    sent: list[Piece] = []
    parts = []
    while (following := sender.peek()) is not None:
        message, offset, last, again = following
        end = min(last, offset + small)
        sent.append(Piece(message.priority, message.number, offset, message.total, bytes(message.data[offset:end])))
        sender.take(message, end, again=again)
        parts.append((message, offset, end))
    for part in parts:  # lost, all of them, or so it seemed
        sender.repeat(*part)
    again_sent = pieces(sender, large)
    chance.shuffle(sent)
    chance.shuffle(again_sent)
    given_up = [each for each in sent if chance.random() < 0.5]
    order = given_up + again_sent + sent
    came = [whole for each in order if (whole := receiver.handle_piece_untrusted(each, 0.0)) is not None]
    assert sorted(came) == sorted(data for data, _ in messages)
    assert receiver.unfinished == 0
    assert receiver.held_bytes == 0


def test_urgent_first_and_each_priority_in_order() -> None:
    sender = outgoing()
    sender.push(b"bulk" * 10, BULK)
    following = sender.peek()
    assert following is not None
    sender.take(following[0], 8, again=False)
    for priority in (UPDATE, REQUEST, CONTROL, CONTROL):
        sender.push(bytes([priority]), priority)
    assert [each.priority for each in pieces(sender, 100)] == [CONTROL, CONTROL, REQUEST, UPDATE, BULK]


def test_what_was_lost_goes_before_what_is_new() -> None:
    sender = outgoing()
    sender.push(b"old" * 10, UPDATE)
    following = sender.peek()
    assert following is not None
    old = following[0]
    sender.take(old, 30, again=False)
    sender.push(b"new", UPDATE)
    sender.repeat(old, 3, 9)
    sender.push(b"urgent", REQUEST)
    assert [each.data for each in pieces(sender, 4)] == [b"urge", b"nt", b"oldo", b"ld", b"new"]
    assert sender.repeated_bytes == 6


def test_only_what_is_missing_is_repeated() -> None:
    sender = outgoing()
    sender.push(bytes(range(100)), UPDATE)
    following = sender.peek()
    assert following is not None
    message = following[0]
    sender.take(message, 100, again=False)
    sender.repeat(message, 0, 60)
    sender.arrived(message, 10, 20)
    sender.arrived(message, 30, 40)
    assert [(each.offset, len(each.data)) for each in pieces(sender, 100)] == [(0, 10), (20, 10), (40, 20)]
    sender.repeat(message, 0, 100)
    sender.arrived(message, 0, 100)
    assert pieces(sender, 100) == []
    assert sender.queued_bytes == 0


def test_the_queue_is_bounded_and_says_when_it_has_drained() -> None:
    sender = outgoing(queue_bytes=1000)
    sender.push(bytes(600), BULK)
    with pytest.raises(Exhausted):
        sender.push(bytes(600), BULK)
    assert not sender.drained
    following = sender.peek()
    assert following is not None
    sender.take(following[0], 600, again=False)
    sender.arrived(following[0], 0, 300)
    assert not sender.drained
    sender.arrived(following[0], 300, 600)
    assert sender.drained


def test_too_long_or_no_priority_is_our_mistake() -> None:
    with pytest.raises(LocalMistake):
        outgoing().push(bytes(MAX_MESSAGE_BYTES + 1), BULK)
    with pytest.raises(LocalMistake):
        outgoing().push(b"x", 4)


def test_a_message_is_begun_only_when_all_of_it_fits_the_window() -> None:
    sender = outgoing(max_bytes=LEAST_WINDOW_BYTES)
    sender.push(bytes(MAX_MESSAGE_BYTES), BULK)
    sender.push(bytes(1000), BULK)
    sender.push(bytes(RESERVED_BYTES // 2), REQUEST)
    sent = pieces(sender, 1 << 20)
    assert {each.priority for each in sent} == {REQUEST}  # the longest message no longer fits beside it
    sender.widen(max_bytes=LEAST_WINDOW_BYTES + RESERVED_BYTES // 2, max_messages=8192)
    assert sum(len(each.data) for each in pieces(sender, 1 << 20)) == MAX_MESSAGE_BYTES
    sender.widen(max_bytes=0, max_messages=0)  # an old grant, overtaken
    assert sender.peek() is None
    sender.widen(max_bytes=2 * LEAST_WINDOW_BYTES, max_messages=8192)
    assert [each.total for each in pieces(sender, 1 << 20)] == [1000]


def test_two_ends_never_wait_for_each_other() -> None:
    """The longest messages, one after another: the window moves on before the sender runs dry for good."""
    sender, receiver = outgoing(queue_bytes=1 << 40, max_bytes=20 << 20), incoming(window_bytes=20 << 20)
    size = MAX_MESSAGE_BYTES - 7
    for _ in range(4):
        sender.push(bytes(size), BULK)
    came = 0
    for _ in range(100):
        for each in pieces(sender, 1 << 20):
            whole = receiver.handle_piece_untrusted(each, 0.0)
            if whole is not None:
                came += 1
                receiver.take(size=len(whole), messages=1)
        if receiver.grant():
            sender.widen(max_bytes=receiver.max_bytes, max_messages=receiver.max_messages)
    assert came == 4


def test_more_than_was_granted_ends_it() -> None:
    receiver = incoming(window_messages=512)
    with pytest.raises(PeerMisbehaved):
        receiver.handle_piece_untrusted(piece(512, b"x"), 0.0)
    receiver = incoming()
    receiver.handle_piece_untrusted(piece(0, b"x", total=MAX_MESSAGE_BYTES), 0.0)
    with pytest.raises(PeerMisbehaved):
        receiver.handle_piece_untrusted(piece(1, b"x", total=MAX_MESSAGE_BYTES), 0.0)


@pytest.mark.parametrize(
    "second",
    [
        piece(0, b"abc", offset=3, total=99),
        piece(0, b"abc", offset=3, total=100, priority=CONTROL),
    ],
)
def test_a_message_that_changes_its_mind_ends_it(second: Piece) -> None:
    receiver = incoming()
    receiver.handle_piece_untrusted(piece(0, b"abc", total=100), 0.0)
    with pytest.raises(PeerMisbehaved):
        receiver.handle_piece_untrusted(second, 0.0)


def test_two_different_pieces_at_one_place_end_it() -> None:
    receiver = incoming()
    receiver.handle_piece_untrusted(piece(0, b"abc", offset=50, total=100), 0.0)
    receiver.handle_piece_untrusted(piece(0, b"abcd", offset=50, total=100), 0.0)
    with pytest.raises(PeerMisbehaved):
        receiver.handle_piece_untrusted(piece(0, b"abX", offset=50, total=100), 0.0)


def test_tiny_pieces_are_not_worth_a_window_of_them() -> None:
    receiver = incoming()

    def flood() -> None:
        for number in range(1 << 20):
            receiver.handle_piece_untrusted(piece(0, b"ab", offset=4 + 4 * number, total=MAX_MESSAGE_BYTES), 0.0)

    with pytest.raises(PeerMisbehaved):
        flood()
    assert receiver.held_bytes < 2 * WINDOW


def test_tiny_pieces_in_a_row_are_joined() -> None:
    receiver = incoming()
    for at in range(0, 100_000, 2):
        receiver.handle_piece_untrusted(piece(0, b"ab", offset=at, total=1 << 20), 0.0)
    assert receiver.held_bytes < 100_000 + 2000 * PIECE_COST_BYTES


def test_messages_that_are_never_finished_are_noticed() -> None:
    receiver = incoming()
    assert receiver.oldest_change() is None
    receiver.handle_piece_untrusted(piece(0, b"ab", total=9), 5.0)
    receiver.handle_piece_untrusted(piece(1, b"ab", total=9), 7.0)
    assert receiver.oldest_change() == 5.0
    receiver.handle_piece_untrusted(piece(0, b"cd", offset=2, total=9), 8.0)
    assert receiver.oldest_change() == 7.0


def plaintext(each: Piece) -> bytes:
    out = bytearray(2000)
    end = write_piece(
        memoryview(out), 0, priority=each.priority, message=each.message, offset=each.offset, total=each.total,
        data=each.data,
    )  # fmt: skip
    return bytes(out[:end])


def test_the_way_of_bulk_takes_only_what_goes_on_and_never_the_end() -> None:
    receiver = incoming()
    data = random.Random(1).randbytes(3000)
    one, two, three = (piece(7, data[at : at + 1000], offset=at, total=3000) for at in (0, 1000, 2000))
    assert not receiver.continue_untrusted(plaintext(one), 0.0)  # nothing has begun
    assert receiver.handle_piece_untrusted(one, 0.0) is None
    other = piece(8, data[1000:2000], offset=1000, total=3000)
    assert not receiver.continue_untrusted(plaintext(other), 0.0)
    assert not receiver.continue_untrusted(plaintext(three), 0.0)  # a hole before it
    assert not receiver.continue_untrusted(plaintext(two) + b"\x05", 0.0)  # something behind it
    assert not receiver.continue_untrusted(plaintext(two)[:-1], 0.0)
    assert not receiver.continue_untrusted(plaintext(two)[: PIECE_HEAD_BYTES - 3], 0.0)
    assert receiver.continue_untrusted(plaintext(two), 0.0)
    assert not receiver.continue_untrusted(plaintext(two), 0.0)  # again
    assert not receiver.continue_untrusted(plaintext(three), 0.0)
    assert receiver.handle_piece_untrusted(three, 0.0) == data
    assert receiver.held_bytes == 0
