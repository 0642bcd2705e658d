"""The vocabulary of requests: frozen bytes of every message, names and numbers."""

from __future__ import annotations

import pytest

from identity.errors import LocalMistake
from tests.transport.request_pair import ONE, TABLE, THREE, TWO
from transport import requests
from transport.outstanding import Outstanding
from transport.requests import (
    EXHAUSTED,
    MESSAGES,
    Answer,
    Cancel,
    Done,
    Receipt,
    Refuse,
    Request,
    Taken,
    first_number,
)
from transport.wire import Message, decode_untrusted, encode

FROZEN: list[tuple[str, Message]] = [
    ("89101903e81b0000050000000000011913880100004178", Request(1000, 5 << 40, 1, 5000, 1, 0, 0, b"x")),
    ("83111903e8811b0000050000000000", Receipt(1000, (5 << 40,))),
    ("87121903e81b000005000000000000f5f54178", Answer(1000, 5 << 40, 0, True, True, b"x")),
    ("83131903e81b0000050000000000", Cancel(1000, 5 << 40)),
    ("85141903e81b000005000000000081821b00000600000000001b00000600000000011b0000060000000007",
     Done(1000, 5 << 40, ((6 << 40, (6 << 40) + 1),), (6 << 40) + 7)),
    ("86151903e81b000005000000000001016466756c6c", Refuse(1000, 5 << 40, 1, EXHAUSTED, "full")),
    ("84161903e81b000005000000000010", Taken(1000, 5 << 40, 16)),
]  # fmt: skip


@pytest.mark.parametrize(("frozen", "message"), FROZEN, ids=lambda each: type(each).__name__)
def test_frozen_bytes(frozen: str, message: Message) -> None:
    assert encode(message).hex() == frozen
    assert decode_untrusted(bytes.fromhex(frozen), TABLE) == message


def test_a_done_without_the_number_that_comes_next_is_read() -> None:
    """As it was before that was told."""
    assert decode_untrusted(bytes.fromhex("84141903e80580"), TABLE) == Done(1000, 5, ())


def test_every_message_is_frozen() -> None:
    assert [type(message) for _, message in FROZEN] == list(MESSAGES)


def test_names_and_numbers() -> None:
    machine = Outstanding(THREE, 1000, 3)
    number = machine.ask(TWO, b"", 0.0, deadline_s=None)
    assert number == 3 << 40
    assert machine.request_id(number) == THREE.ended + bytes.fromhex(
        "00000000000003e8 0000000000000003 0000030000000000"
    )
    for epoch in (-1, 2**23):
        with pytest.raises(LocalMistake):
            Outstanding(ONE, 1, epoch)
    assert first_number(requests.MAX_EPOCH) < 2**63
