"""What leaves, in turn and by which way, with connections that are scripted: nothing of a cipher is needed."""

from __future__ import annotations

from typing import Any

from identity.machine import Batch
from transport.departures import MAX_REPLIES, Departures
from transport.events import Detour, routed_address
from transport.farewells import Farewells
from transport.states import State
from transport.turns import Turns

HERE, THERE, ASIDE = ("10.0.0.1", 1), ("10.0.0.2", 2), routed_address("1.2")


class Ways:
    def __init__(self, *, routed: bool = False, direct: Any = HERE, copies: tuple[bool, bool] = (False, False)) -> None:
        self.routed, self.direct, self.detour, self.said = routed, direct, ASIDE, copies

    def copies(self, now: float) -> tuple[bool, bool]:
        return self.said


class Scripted:
    """Gives these batches, one a turn; `more` after each but the last."""

    def __init__(self, number: int, *batches: bytes, ways: Ways, size: int = 2, address: Any = HERE) -> None:
        self.number, self.batches, self.ways, self.size, self.address = number, list(batches), ways, size, address
        self.ready = self.third_due = self.exhausted = False
        self.third = b""
        self.state = State.OPEN

    def fill(self, out: memoryview, now: float) -> tuple[int, int, Any] | None:
        if not self.batches:
            return None
        data = self.batches.pop(0)
        out[: len(data)] = data
        self.exhausted = not self.batches
        return len(data), self.size, self.address

    def deadline(self) -> float:
        return 1.0


def made(*connections: Scripted, copies: bool = True) -> tuple[Departures, list[Any]]:
    told: list[Any] = []
    departures = Departures(
        turns=Turns(), farewells=Farewells(), drop=lambda each: None, tell=told.append, copies=copies
    )
    for each in connections:
        departures.touch(each)  # type: ignore[arg-type]
    return departures, told


def everything(departures: Departures) -> list[tuple[bytes, int, Any]]:
    out = []
    while (batch := departures.transmit(0.0)) is not None:
        assert isinstance(batch, Batch)
        out.append((bytes(batch.buffer), batch.segment_size, batch.address))
    return out


def test_a_direct_connection_gives_batches_and_tells_nothing() -> None:
    departures, told = made(Scripted(1, b"aabbc", ways=Ways()))
    assert everything(departures) == [(b"aabbc", 2, HERE)]
    assert told == []


def test_a_routed_one_tells_each_packet_and_copies_all_the_last_or_none() -> None:
    packets = [Detour(ASIDE, b"aa"), Detour(ASIDE, b"bb"), Detour(ASIDE, b"c")]
    for copies, left in (
        ((True, True), [(b"aabbc", 2, HERE)]),
        ((False, True), [(b"c", 1, HERE)]),
        ((False, False), []),
    ):
        departures, told = made(Scripted(1, b"aabbc", ways=Ways(routed=True, copies=copies)))
        assert everything(departures) == left
        assert told == packets


def test_the_last_of_a_full_batch_is_a_whole_packet() -> None:
    departures, _ = made(Scripted(1, b"aabb", ways=Ways(routed=True, copies=(False, True))))
    assert everything(departures) == [(b"bb", 2, HERE)]


def test_without_a_direct_address_or_by_a_tests_wish_nothing_is_copied() -> None:
    departures, told = made(Scripted(1, b"aa", ways=Ways(routed=True, direct=None, copies=(True, True))))
    assert everything(departures) == []
    assert len(told) == 1
    departures, told = made(Scripted(1, b"aa", ways=Ways(routed=True, copies=(True, True))), copies=False)
    assert everything(departures) == []
    assert len(told) == 1


def test_a_challenge_for_another_address_goes_there_whatever_the_way() -> None:
    each = Scripted(1, b"aa", ways=Ways(routed=True), address=HERE)
    each.fill, fill = lambda out, now: (*got[:2], THERE) if (got := fill(out, now)) else None, each.fill  # type: ignore[method-assign]
    departures, told = made(each)
    assert everything(departures) == [(b"aa", 2, THERE)]
    assert told == []


def test_what_is_for_a_routed_address_never_reaches_a_port() -> None:
    departures, told = made(Scripted(1, b"aa", ways=Ways(routed=False), address=ASIDE))
    assert everything(departures) == []
    assert told == [Detour(ASIDE, b"aa")]
    departures.reply(b"second", ASIDE)
    assert everything(departures) == []
    assert told[1:] == [Detour(ASIDE, b"second")]


def test_those_with_much_to_say_take_turns_and_a_routed_one_stops_nobody() -> None:
    one, two = Scripted(1, b"1", b"1", b"1", ways=Ways()), Scripted(2, b"2", b"2", ways=Ways())
    aside = Scripted(3, b"3", b"3", ways=Ways(routed=True))
    departures, told = made(one, aside, two)
    assert [data for data, _, _ in everything(departures)] == [b"1", b"2", b"1", b"2", b"1"]
    assert len(told) == 2


def test_replies_are_first_and_bounded() -> None:
    departures, _ = made(Scripted(1, b"aa", ways=Ways()))
    for _ in range(MAX_REPLIES + 10):
        departures.reply(b"reply", THERE)
    sent = everything(departures)
    assert len(sent) == MAX_REPLIES + 1
    assert sent[0] == (b"reply", 5, THERE)
    assert sent[-1] == (b"aa", 2, HERE)


def test_the_third_packet_of_a_handshake_takes_the_way_of_its_call() -> None:
    each = Scripted(1, b"aa", ways=Ways(routed=True))
    each.third_due, each.third = True, b"third"
    departures, told = made(each)
    assert everything(departures) == []
    assert told == [Detour(ASIDE, b"third"), Detour(ASIDE, b"aa")]
