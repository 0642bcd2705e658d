"""A ticket makes one key a server; every other use of it is refused with the cause."""

from __future__ import annotations

import pytest

from identity.errors import Exhausted, PeerMisbehaved, Refused
from identity.names import ServerId
from node import joining
from node.joining import KEPT_MS, Invitation, Invitations, Join, Joined, NotJoined, proof_bytes
from transport.wire import decode_untrusted, encode, table_of

NEW = ServerId.parse("1.7")
TICKET = b"i" * 16
EXPIRES = 1000
KEY, OTHER = b"k" * 32, b"o" * 32
EXCHANGE = b"e" * 32


def invitations() -> Invitations:
    machine = Invitations()
    machine.add(Invitation(TICKET, b"s" * 32, NEW, EXPIRES))
    return machine


def join(*, server: ServerId = NEW, key: bytes = KEY, exchange: bytes = EXCHANGE) -> Join:
    return Join(server, key, exchange, b"p" * 64)


def test_the_first_key_binds_and_may_come_again() -> None:
    machine = invitations()
    assert machine.find_secret(TICKET) == b"s" * 32
    invitation = machine.judge(TICKET, join(), exchange_key=EXCHANGE, wall_ms=10)
    bound = machine.bind(invitation, signing_key=KEY, certificate=b"certificate")
    assert machine.judge(TICKET, join(), exchange_key=EXCHANGE, wall_ms=20) == bound
    # The right was used in time: a newcomer that crashed before it could write its certificate down gets it again.
    assert machine.judge(TICKET, join(), exchange_key=EXCHANGE, wall_ms=EXPIRES + 1) == bound


def test_another_key_is_refused_after_the_first_and_across_a_restart() -> None:
    machine = invitations()
    bound = machine.bind(
        machine.judge(TICKET, join(), exchange_key=EXCHANGE, wall_ms=10), signing_key=KEY, certificate=b"c"
    )
    again = Invitations()
    again.load([bound])
    for each in (machine, again):
        with pytest.raises(Refused, match="used by another key"):
            each.judge(TICKET, join(key=OTHER), exchange_key=EXCHANGE, wall_ms=20)


@pytest.mark.parametrize(
    ("id", "said", "wall_ms", "cause"),
    [
        (TICKET, join(), EXPIRES + 5000, "expired 5 s ago"),
        (TICKET, join(server=ServerId.parse("1.8")), 10, "is for 1.7, not for 1.8"),
        (b"x" * 16, join(), 10, "not known here"),
    ],
)
def test_a_wrong_use_names_its_cause(id: bytes, said: Join, wall_ms: int, cause: str) -> None:
    with pytest.raises(Refused, match=cause):
        invitations().judge(id, said, exchange_key=EXCHANGE, wall_ms=wall_ms)


def test_a_key_that_the_session_did_not_prove_is_a_breach() -> None:
    with pytest.raises(PeerMisbehaved, match="another exchange key"):
        invitations().judge(TICKET, join(exchange=OTHER), exchange_key=EXCHANGE, wall_ms=10)


def test_an_unknown_ticket_opens_no_session() -> None:
    assert invitations().find_secret(b"x" * 16) is None


def test_old_tickets_are_forgotten_and_the_number_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = invitations()
    monkeypatch.setattr(joining, "MAX_TICKETS", 1)
    with pytest.raises(Exhausted, match="tickets are out"):
        machine.check_room()
    assert machine.forgotten(EXPIRES + KEPT_MS) == []
    (old,) = machine.forgotten(EXPIRES + KEPT_MS + 1)
    assert old.server == NEW
    machine.check_room()
    assert machine.find_secret(TICKET) is None


def test_a_refusal_is_raised_again_on_the_other_side() -> None:
    said = NotJoined.of(Refused("expired", next_step="ask again"))
    table = table_of((Join, Joined, NotJoined))
    error = decode_untrusted(encode(said), table)
    assert isinstance(error, NotJoined)
    assert isinstance(error.as_error(), Refused)
    assert error.as_error().next_step == "ask again"


def test_the_proof_covers_everything_it_claims() -> None:
    whole = proof_bytes(TICKET, NEW, KEY, EXCHANGE)
    changed = [
        proof_bytes(b"x" * 16, NEW, KEY, EXCHANGE),
        proof_bytes(TICKET, ServerId.parse("1.8"), KEY, EXCHANGE),
        proof_bytes(TICKET, NEW, OTHER, EXCHANGE),
        proof_bytes(TICKET, NEW, KEY, OTHER),
    ]
    assert whole not in changed
    assert len(set(changed)) == 4
