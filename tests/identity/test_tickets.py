"""A ticket is one line; a slip of the pen is told from a wrong ticket."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.errors import Refused
from identity.names import ServerId
from identity.tickets import Ticket

TICKET = Ticket(
    server=ServerId.parse("1.7"),
    inviter=ServerId.parse("1"),
    inviter_key=bytes(range(32)),
    root="1#abc",
    id=b"i" * 16,
    secret=b"s" * 32,
    expires_ms=1_800_000_000_000,
    addresses=(("127.0.0.1", 7001), ("::1", 7001)),
)


def test_a_ticket_survives_being_written_down() -> None:
    text = TICKET.to_text()
    assert Ticket.parse(text) == TICKET
    assert Ticket.parse(f"  {text[:50]}\n{text[50:].upper()}\n") == TICKET


@given(st.integers(0, len(TICKET.to_text()) - 1), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567-"))
def test_a_slip_is_noticed(at: int, letter: str) -> None:
    text = TICKET.to_text()
    wrong = text[:at] + letter + text[at + 1 :]
    if wrong != text:
        with pytest.raises(Refused):
            Ticket.parse(wrong)


@pytest.mark.parametrize("text", ["", "hello", "bangpath-ticket1-aa-aa", "bangpath-ticket1--", TICKET.to_text()[:-9]])
def test_what_is_no_ticket_says_what_to_do(text: str) -> None:
    with pytest.raises(Refused) as caught:
        Ticket.parse(text)
    assert caught.value.next_step
