"""The messages about ways: their bytes, their bounds, and the rules of a path."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from identity.errors import PeerMisbehaved
from identity.names import ServerId
from node.dispatch import MESSAGES
from node.requests import read_answer_untrusted
from routing.probes import (
    MAX_HOPS,
    MAX_PATH,
    WORDS,
    Came,
    Carry,
    Confirm,
    Forward,
    Lost,
    NoWay,
    Probe,
    Seek,
    Trace,
    Traced,
    check_forward_untrusted,
)
from transport.wire import Message, decode_untrusted, encode, table_of

VECTORS = Path(__file__).parents[1] / "vectors" / "routing.txt"

A, G, H, B, X = (ServerId.parse(name) for name in ("1.1", "1.5", "1", "1.2", "9"))
ALL = table_of([Forward, Lost, Carry, Seek, Came, Probe, Confirm, NoWay, Trace, Traced])

FROZEN: dict[str, Message] = {
    "forward": Forward((A, G, B), 1, b"\x04sealed"),
    "lost": Lost((A, G, B), 1, 0, "1.5 does not reach 1.2"),
    "carry": Carry((A, G, B), 1, b"\x04sealed"),
    "seek": Seek(77, (A, G), (B, H), ((B, X, A), ())),
    "came": Came(77, (A, G, B)),
    "probe": Probe(B, 77, (A, G), 4),
    "confirm": Confirm((G, B), 12_345),
    "noway": NoWay("not reached from here"),
    "trace": Trace(),
    "traced": Traced((B, G, A), (A, B)),
}


def frozen() -> dict[str, bytes]:
    text = re.sub(r"#[^\n]*", "", VECTORS.read_text())
    return {name: bytes.fromhex(data) for name, data in re.findall(r"\[(.+?)\]([0-9a-f\s]+)", text)}


@pytest.mark.parametrize("name", FROZEN)
def test_bytes_are_what_they_were(name: str) -> None:
    assert encode(FROZEN[name]).hex() == frozen()[name].hex()
    assert decode_untrusted(frozen()[name], ALL) == FROZEN[name]


def test_no_vector_is_left_over_and_every_message_has_one() -> None:
    assert set(frozen()) == set(FROZEN)
    assert {type(each) for each in FROZEN.values()} == set(ALL.values())


def test_what_travels_by_itself_stands_in_the_nodes_table_and_the_rest_are_requests() -> None:
    assert MESSAGES[6] is Forward
    assert MESSAGES[7] is Lost
    for number in (*(each.TYPE for each in WORDS), 90, 91, 92, 95, 96):  # words come by no session
        assert number not in MESSAGES
    assert read_answer_untrusted(encode(FROZEN["confirm"]), Confirm, NoWay) == FROZEN["confirm"]


LONG = tuple(ServerId.of(1, each) for each in range(1, MAX_PATH + 2))


@pytest.mark.parametrize(
    "message",
    [
        Forward(LONG, 1, b"p"),
        Forward((), 0, b"p"),
        Forward((A, G, B), MAX_PATH, b"p"),
        Forward((A, G, B), -1, b"p"),
        Forward((A, G, B), 1, b""),
        Forward((A, G, B), 1, bytes(65_508)),
        Lost(LONG, 1, 0, ""),
        Lost((A, G, B), MAX_PATH, 0, ""),
        Probe(B, -1, (A,), 1),
        Probe(B, 2**63, (A,), 1),
        Probe(B, 1, (), 1),
        Probe(B, 1, LONG, 1),
        Probe(B, 1, (A,), 0),
        Probe(B, 1, (A,), MAX_HOPS + 1),
        Confirm((), 1),
        Confirm(LONG, 1),
        Confirm((G, B), -1),
        Confirm((G, B), 2**32 + 1),
        Traced(LONG, ()),
        Traced((), LONG),
    ],
)
def test_what_is_out_of_bounds_is_refused(message: Message) -> None:
    with pytest.raises(PeerMisbehaved):
        decode_untrusted(encode(message), ALL)


def test_the_longest_path_passes() -> None:
    for message in (Forward(LONG[:-1], 9, b"p"), Probe(B, 0, LONG[:-1], MAX_HOPS), Confirm(LONG[:-1], 2**32)):
        assert decode_untrusted(encode(message), ALL) == message


@pytest.mark.parametrize(
    ("message", "own", "peer", "good"),
    [
        (Forward((A, G, B), 1, b"p"), G, A, True),
        (Forward((A, G, B), 2, b"p"), B, G, True),
        (Carry((A, G, B), 1, b"p"), G, A, True),
        (Carry((A, G, B), 1, b"p"), G, B, False),
        (Carry((A, B), 1, b"p"), B, A, True),  # the one link that is needed carries one way only
        (Forward((A, G, H, B), 2, b"p"), H, G, True),
        (Forward((A, G, B), 1, b"p"), G, B, False),  # from whom it does not come
        (Forward((A, G, B), 1, b"p"), H, A, False),  # not its place
        (Forward((A, G, B), 0, b"p"), A, G, False),  # back at its source
        (Forward((A, G, B), 3, b"p"), B, G, False),  # beyond the end
        (Forward((A, B), 1, b"p"), B, A, False),  # nobody between
        (Forward((A,), 0, b"p"), A, A, False),
        (Forward((A, G, A), 2, b"p"), A, G, False),  # a circle
        (Forward((A, G, H, G, B), 3, b"p"), G, H, False),
        (Lost((A, G, B), 1, 0, ""), A, G, True),
        (Lost((A, G, H, B), 2, 1, ""), G, H, True),
        (Lost((A, G, H, B), 2, 0, ""), A, G, True),
        (Lost((A, G, B), 1, 0, ""), A, B, False),  # not from the next on the path
        (Lost((A, G, B), 0, 0, ""), A, G, False),  # we ourselves are said to have failed
        (Lost((A, G, B), 2, 1, ""), G, B, False),  # the target cannot lose it
        (Lost((A, G, B), 2, 2, ""), B, G, False),
        (Lost((A, G, B), 1, 9, ""), A, G, False),
        (Lost((A, G, G), 1, 0, ""), A, G, False),
    ],
)
def test_a_packet_comes_along_its_path_and_lost_goes_back_along_it(
    message: Forward | Lost, own: ServerId, peer: ServerId, good: bool
) -> None:
    wrong = check_forward_untrusted(message, own, peer)
    assert (wrong is None) is good
