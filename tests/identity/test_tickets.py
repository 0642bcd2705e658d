"""A ticket is one line; a slip of the pen is told from a wrong ticket."""

from __future__ import annotations

import msgspec
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
    root="1#" + "k3vw" * 8,
    id=b"i" * 16,
    secret=b"s" * 32,
    expires_ms=1_800_000_000_000,
    addresses=(("127.0.0.1", 7001), ("::1", 7001)),
)


def test_a_ticket_survives_being_written_down() -> None:
    text = TICKET.to_text()
    assert Ticket.parse(text) == TICKET
    assert Ticket.parse(f"  {text[:50]}\n{text[50:].upper()}\n") == TICKET


FROZEN = (
    "bangpath-ticket1-reauqaaaaaaqaaaaa5caaaaaafmcaaabaibqibiga4eascqlbqgq4dyqcejbgfavcylrqgi2dmob2hq"
    "7pardci3lgn3ho2ztoz3wwm3wo5vtg5txnmzxm53lgn3ho2ztoz3wwm3wo5igs2ljnfuws2ljnfuws2ljnfuwswbaonzxg43"
    "tonzxg43tonzxg43tonzxg43tonzxg43tonzxg43tonzrwaaaagrrqxcqacbie2jrgi3s4mbogaxdcgi3lgbggor2gemrwwi"
    "-tgpqj5nr"
)  # a change here is a new PREFIX and VERSION


def test_the_text_of_a_ticket_is_frozen() -> None:
    assert TICKET.to_text() == FROZEN


@given(st.integers(0, len(TICKET.to_text()) - 1), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567-"))
def test_a_slip_is_noticed(at: int, letter: str) -> None:
    text = TICKET.to_text()
    wrong = text[:at] + letter + text[at + 1 :]
    if wrong != text:
        with pytest.raises(Refused):
            Ticket.parse(wrong)


def test_a_last_letter_whose_spare_bits_are_set_is_a_slip_too() -> None:
    for addresses in ((("a" * length, 1),) for length in range(1, 6)):  # one of five lengths leaves no spare bits
        head, content, check = msgspec.structs.replace(TICKET, addresses=addresses).to_text().rsplit("-", 2)
        letters = "abcdefghijklmnopqrstuvwxyz234567"
        for letter in letters.replace(content[-1], ""):
            with pytest.raises(Refused):
                Ticket.parse(f"{head}-{content[:-1]}{letter}-{check}")


@pytest.mark.parametrize("text", ["", "hello", "bangpath-ticket1-aa-aa", "bangpath-ticket1--", TICKET.to_text()[:-9]])
def test_what_is_no_ticket_says_what_to_do(text: str) -> None:
    with pytest.raises(Refused) as caught:
        Ticket.parse(text)
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("field", "value", "cause"),
    [
        ("addresses", (), "no addresses"),
        ("addresses", (("127.0.0.1", 1),) * 17, "no addresses"),
        ("addresses", (("127.0.0.1", 0),), "host and port"),
        ("addresses", (("127.0.0.1", 65_536),), "host and port"),
        ("addresses", (("127.0.0.1", True),), "host and port"),
        ("addresses", (("", 7001),), "host and port"),
        ("addresses", (("a b", 7001),), "host and port"),
        ("addresses", (("a\x1b[2J", 7001),), "host and port"),
        ("addresses", (("h" * 256, 7001),), "host and port"),
        ("expires_ms", -1, "no time"),
        ("expires_ms", 2**63, "no time"),
        ("root", "1#abc", "no root"),
        ("root", "01#" + "k3vw" * 8, "no server id"),
        ("secret", b"short", "32 bytes"),
        ("id", b"i" * 15, "16 bytes"),
        ("inviter_key", b"", "32 bytes"),
        ("server", ServerId(b"\0\0\0\0"), "component"),
    ],
)
def test_a_ticket_of_right_letters_and_wrong_content_is_refused(field: str, value: object, cause: str) -> None:
    wrong = msgspec.structs.replace(TICKET, **{field: value})
    with pytest.raises(Refused, match=cause):
        Ticket.parse(wrong.to_text())


@given(st.text(max_size=300))
def test_whatever_is_pasted_is_refused(text: str) -> None:
    for each in (text, "bangpath-ticket1-" + text, f"bangpath-ticket1-{text}-{text}"):
        with pytest.raises(Refused):
            Ticket.parse(each)
