"""A chain proves its last link, and nothing else does."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.errors import PeerMisbehaved, Refused
from identity.keys import Keys
from identity.names import Incarnation, ServerId
from identity.trust import (
    YEAR_MS,
    Certificate,
    Succession,
    fingerprint,
    issue,
    issue_root,
    network_id,
    verify_chain_untrusted,
)  # fmt: skip

NOW = 1_800_000_000_000
ONE, SEVEN, THREE = ServerId.parse("1"), ServerId.parse("1.7"), ServerId.parse("1.7.3")
KEYS = [Keys.generate(random.Random(number)) for number in range(4)]


def certify(
    issuer_keys: Keys,
    issuer: ServerId,
    server: ServerId,
    keys: Keys,
    *,
    may_delegate: bool = True,
    after: int = YEAR_MS,
) -> Certificate:
    return issue(
        issuer_keys,
        server=server,
        issuer=issuer,
        incarnation=Incarnation(NOW),
        signing_key=keys.signing_public,
        exchange_key=keys.exchange_public,
        serial=2,
        not_before_ms=NOW - 1000,
        not_after_ms=NOW + after,
        may_delegate=may_delegate,
    )


ROOT = issue_root(KEYS[0], ONE, wall_ms=NOW)
MIDDLE = certify(KEYS[0], ONE, SEVEN, KEYS[1])
LEAF = certify(KEYS[1], SEVEN, THREE, KEYS[2], may_delegate=False)
CHAIN = [each.to_bytes() for each in (ROOT, MIDDLE, LEAF)]
PINS = (fingerprint(ONE, KEYS[0].signing_public),)


def test_a_chain_from_a_pinned_root_proves_its_last_link() -> None:
    links = verify_chain_untrusted(CHAIN, roots=PINS, wall_ms=NOW)
    assert [each.server for each in links] == [ONE, SEVEN, THREE]
    assert links[-1].exchange_key == KEYS[2].exchange_public
    assert links[-1] == LEAF


@pytest.mark.parametrize(
    ("chain", "cause"),
    [
        (CHAIN[1:], "no pinned root"),
        ([CHAIN[0], CHAIN[2]], "which it cannot certify"),
        ([*CHAIN, certify(KEYS[2], THREE, ServerId.parse("1.7.3.1"), KEYS[3]).to_bytes()], "may not certify others"),
        ([CHAIN[0], certify(KEYS[3], ONE, SEVEN, KEYS[1]).to_bytes()], "not signed by 1"),
        ([CHAIN[0], certify(KEYS[0], ONE, SEVEN, KEYS[1], after=1).to_bytes()], "expired"),
        ([issue_root(KEYS[3], ONE, wall_ms=NOW).to_bytes()], "no pinned root"),
        ([], "a chain of 0"),
        ([b"x"], "deterministic CBOR"),
    ],
)
def test_everything_else_proves_nothing(chain: list[bytes], cause: str) -> None:
    with pytest.raises(PeerMisbehaved, match=cause):
        verify_chain_untrusted(chain, roots=PINS, wall_ms=NOW + 10)


def test_the_clock_of_the_verifier_decides_and_can_be_left_out() -> None:
    with pytest.raises(PeerMisbehaved, match="begins in"):
        verify_chain_untrusted(CHAIN, roots=PINS, wall_ms=NOW - 100_000)
    assert verify_chain_untrusted(CHAIN, roots=PINS, wall_ms=None)[-1] == LEAF


@given(st.integers(0, len(CHAIN[2]) - 1), st.integers(1, 255))
def test_a_changed_byte_is_noticed(at: int, change: int) -> None:
    data = bytearray(CHAIN[2])
    data[at] ^= change
    with pytest.raises(PeerMisbehaved):
        verify_chain_untrusted([*CHAIN[:2], bytes(data)], roots=PINS, wall_ms=NOW)


@given(st.binary(max_size=400))
def test_strangers_bytes_raise_one_error(data: bytes) -> None:
    with pytest.raises(PeerMisbehaved):
        Certificate.from_bytes_untrusted(data)


def test_what_is_issued_is_read_and_a_child_stands_below_its_issuer() -> None:
    taken_over = msgspec.structs.replace(MIDDLE, succeeds=Succession(1, 2, 3, bytes(32)))
    assert Certificate.from_bytes_untrusted(taken_over.to_bytes()) == taken_over
    with pytest.raises(Refused, match="not below it"):
        certify(KEYS[1], SEVEN, ServerId.parse("1.8"), KEYS[2])
    with pytest.raises(Refused, match="valid for no time"):
        certify(KEYS[0], ONE, SEVEN, KEYS[1], after=-2000)


def test_a_mesh_is_named_by_its_first_root() -> None:
    assert network_id(("1#a", "2#b")) == network_id(("1#a",))
    assert network_id(("1#a",)) != network_id(("2#b",))
