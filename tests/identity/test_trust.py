"""A chain proves its last link, and nothing else does."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.encoding import decode_value_trusted, encode_value
from identity.errors import PeerMisbehaved, Refused
from identity.keys import Keys
from identity.names import Incarnation, ServerId
from identity.trust import (
    DOMAIN,
    MAX_CERTIFICATE_BYTES,
    YEAR_MS,
    Certificate,
    Expired,
    NotYetValid,
    Succession,
    check_root,
    fingerprint,
    issue,
    issue_root,
    network_id,
    verify_chain_untrusted,
)  # fmt: skip

NOW = 1_800_000_000_000  # 2027-01-15 08:00 UTC
DAY_MS = 86_400_000
ONE, SEVEN, THREE = ServerId.parse("1"), ServerId.parse("1.7"), ServerId.parse("1.7.3")
KEYS = [Keys.generate(random.Random(number)) for number in range(4)]


def certify(issuer_keys: Keys, issuer: ServerId, server: ServerId, keys: Keys, **how: Any) -> Certificate:
    said: dict[str, Any] = {
        "incarnation": Incarnation(NOW),
        "signing_key": keys.signing_public,
        "exchange_key": keys.exchange_public,
        "serial": 2,
        "not_before_ms": NOW - DAY_MS,
        "not_after_ms": NOW + YEAR_MS,
        "may_delegate": True,
    }
    return issue(issuer_keys, server=server, issuer=issuer, **(said | how))


def forge(certificate: Certificate, keys: Keys, **changed: Any) -> Certificate:
    """A certificate that `issue` would refuse to make, rightly signed."""
    bare = msgspec.structs.replace(certificate, **changed)
    return msgspec.structs.replace(bare, signature=keys.sign(DOMAIN + bare.content()))


ROOT = issue_root(KEYS[0], ONE, wall_ms=NOW)
MIDDLE = certify(KEYS[0], ONE, SEVEN, KEYS[1])
LEAF = certify(KEYS[1], SEVEN, THREE, KEYS[2], may_delegate=False)
LINKS = (ROOT, MIDDLE, LEAF)
CHAIN = [each.to_bytes() for each in LINKS]
PINS = (fingerprint(ONE, KEYS[0].signing_public),)


def test_a_chain_from_a_pinned_root_proves_its_last_link() -> None:
    links = verify_chain_untrusted(CHAIN, roots=PINS, wall_ms=NOW)
    assert [str(each.server) for each in links] == ["1", "1.7", "1.7.3"]
    assert links[-1].exchange_key == KEYS[2].exchange_public
    assert links == list(LINKS)
    assert verify_chain_untrusted(CHAIN[:1], roots=("2#" + "a" * 32, *PINS), wall_ms=NOW) == [ROOT]


def test_what_was_proven_once_is_proven_under_those_roots_and_at_valid_times_only() -> None:
    """Proven chains are kept: neither the roots nor the clock of an earlier question may answer a later one."""
    for _ in range(2):
        verify_chain_untrusted(CHAIN, roots=PINS, wall_ms=NOW).clear()
        with pytest.raises(PeerMisbehaved, match="no pinned root"):
            verify_chain_untrusted(CHAIN, roots=(fingerprint(ONE, KEYS[3].signing_public),), wall_ms=NOW)
        with pytest.raises(Expired):
            verify_chain_untrusted(CHAIN, roots=PINS, wall_ms=NOW + 90 * YEAR_MS)
        assert verify_chain_untrusted(CHAIN, roots=PINS, wall_ms=None) == list(LINKS)


def test_a_grandparent_can_certify_while_the_parent_is_gone() -> None:
    renewed = certify(KEYS[0], ONE, THREE, KEYS[2])
    assert verify_chain_untrusted([CHAIN[0], renewed.to_bytes()], roots=PINS, wall_ms=NOW)[-1] == renewed


def chain(*links: Certificate) -> list[bytes]:
    return [each.to_bytes() for each in links]


OTHER_ROOT = issue_root(KEYS[3], ONE, wall_ms=NOW)
BELOW_LEAF = certify(KEYS[2], THREE, ServerId.parse("1.7.3.1"), KEYS[3])
NARROW = certify(KEYS[0], ONE, SEVEN, KEYS[1], most_descendants=10, registry_bytes=1000)
DEEP = [ServerId.of(*range(1, depth + 1)) for depth in range(1, 17)]

BROKEN: dict[str, tuple[list[bytes], str]] = {
    "no certificate": ([], "a chain of 0"),
    "no bytes of a certificate": ([b"x"], "deterministic CBOR"),
    "without its root": (CHAIN[1:], "begins with 1.7#.*no pinned root"),
    "of another root with the same id": (chain(OTHER_ROOT), "no pinned root"),
    "of the pinned key under another id": (chain(issue_root(KEYS[0], ServerId.of(2), wall_ms=NOW)), "no pinned root"),
    "whose root is signed by somebody": (
        chain(certify(KEYS[1], ServerId.of(9), ServerId.of(9, 1), KEYS[0])), "no pinned root",
    ),
    "whose root does not sign itself": (
        chain(forge(ROOT, KEYS[3], issuer=SEVEN)), "1, which does not sign itself",
    ),
    "whose root is signed by another key": (chain(forge(ROOT, KEYS[3])), "of 1 is not signed by 1"),
    "with a link left out": (chain(ROOT, LEAF), "1 stands before 1.7.3, which it cannot certify"),
    "with a link twice": (chain(ROOT, MIDDLE, MIDDLE), "cannot certify"),
    "with the root twice": (chain(ROOT, ROOT), "cannot certify"),
    "in the wrong order": (chain(ROOT, LEAF, MIDDLE), "cannot certify"),
    "signed by a stranger": (chain(ROOT, forge(MIDDLE, KEYS[3])), "of 1.7 is not signed by 1"),
    "signed by itself": (chain(ROOT, forge(MIDDLE, KEYS[1])), "not signed by 1"),
    "with a foreign link": (chain(ROOT, MIDDLE, forge(LEAF, KEYS[0])), "of 1.7.3 is not signed by 1.7"),
    "sideways": (
        chain(ROOT, MIDDLE, forge(LEAF, KEYS[1], server=ServerId.parse("1.8.3"))), "1.7 stands before 1.8.3",
    ),
    "upward": (chain(ROOT, MIDDLE, forge(LEAF, KEYS[1], server=ONE)), "1.7 stands before 1,"),
    "to a sibling whose number only begins alike": (
        chain(ROOT, MIDDLE, forge(LEAF, KEYS[1], server=ServerId.parse("1.73"))), "cannot certify",
    ),
    "below one that may not delegate": (chain(*LINKS, BELOW_LEAF), "1.7.3 may not certify others"),
    "below one that has descendants but may not delegate": (
        chain(ROOT, forge(MIDDLE, KEYS[0], may_delegate=False), LEAF), "1.7 may not certify others",
    ),
    "below one whose descendants are none": (
        chain(ROOT, forge(MIDDLE, KEYS[0], most_descendants=0), forge(LEAF, KEYS[1])), "1.7 may not certify others",
    ),
    "with more descendants than the parent has": (
        chain(ROOT, NARROW, certify(KEYS[1], SEVEN, THREE, KEYS[2], most_descendants=11, registry_bytes=9)), "wider",
    ),
    "with a larger registry than the parent has": (
        chain(ROOT, NARROW, certify(KEYS[1], SEVEN, THREE, KEYS[2], most_descendants=9, registry_bytes=1001)), "wider",
    ),
    "of a validity that is none": (
        chain(ROOT, forge(MIDDLE, KEYS[0], not_after_ms=MIDDLE.not_before_ms)), "valid for no time",
    ),
    "of seventeen": ([CHAIN[0]] * 17, "a chain of 17"),
}  # fmt: skip


@pytest.mark.parametrize(("broken", "cause"), BROKEN.values(), ids=BROKEN.keys())
def test_everything_else_proves_nothing(broken: list[bytes], cause: str) -> None:
    for wall_ms in (NOW, None):
        with pytest.raises(PeerMisbehaved, match=cause):
            verify_chain_untrusted(broken, roots=PINS, wall_ms=wall_ms)


def test_sixteen_links_are_the_deepest_chain() -> None:
    links = [issue_root(KEYS[0], ONE, wall_ms=NOW)]
    for above, server in pairwise(DEEP):
        links.append(certify(KEYS[0], above, server, KEYS[0]))
    assert verify_chain_untrusted(chain(*links), roots=PINS, wall_ms=NOW)[-1].server == DEEP[-1]


def test_without_a_pinned_root_nothing_is_believed() -> None:
    with pytest.raises(PeerMisbehaved, match="no pinned root"):
        verify_chain_untrusted(CHAIN, roots=(), wall_ms=NOW)


def test_a_server_that_is_pinned_itself_is_believed_under_its_pin_only() -> None:
    pins = (*PINS, fingerprint(SEVEN, KEYS[3].signing_public))
    with pytest.raises(PeerMisbehaved, match=r"certified 1\.7, which is pinned here with another key"):
        verify_chain_untrusted(CHAIN, roots=pins, wall_ms=NOW)
    own = issue_root(KEYS[3], SEVEN, wall_ms=NOW)
    below = certify(KEYS[3], SEVEN, THREE, KEYS[2])
    assert verify_chain_untrusted(chain(own, below), roots=pins, wall_ms=NOW)[-1] == below
    same = (*PINS, fingerprint(SEVEN, KEYS[1].signing_public))
    assert verify_chain_untrusted(CHAIN, roots=same, wall_ms=NOW)[-1] == LEAF


@pytest.mark.parametrize(
    ("wall_ms", "kind", "cause"),
    [
        (NOW + YEAR_MS + 1, Expired, "certificate of 1.7 expired 0.0 days ago"),
        (NOW + 10 * YEAR_MS, Expired, "1.7 expired .* until 2028-01-15 08:00 UTC, and here it is 2037-01-12"),
        (NOW - DAY_MS - 1, NotYetValid, "1 begins in 0.0 days"),
        (NOW - 10 * YEAR_MS, NotYetValid, "1 begins in .* from 2027-01-14 08:00 UTC, and here it is 2017-01-17"),
        (0, NotYetValid, "1970-01-01"),
        (2**63 - 1, Expired, "9223372036854775807 ms"),
    ],
)
def test_a_wrong_clock_is_told_apart_from_a_lie_and_names_both_times(
    wall_ms: int, kind: type[PeerMisbehaved], cause: str
) -> None:
    with pytest.raises(kind, match=cause) as caught:
        verify_chain_untrusted(CHAIN, roots=PINS, wall_ms=wall_ms)
    assert "clock" in caught.value.next_step


@pytest.mark.parametrize("wall_ms", [NOW - DAY_MS, NOW + YEAR_MS, None])
def test_the_first_and_the_last_moment_count_and_the_clock_can_be_left_out(wall_ms: int | None) -> None:
    assert verify_chain_untrusted(CHAIN, roots=PINS, wall_ms=wall_ms)[-1] == LEAF


def test_a_lie_in_an_expired_chain_is_a_lie() -> None:
    with pytest.raises(PeerMisbehaved, match="not signed by") as caught:
        verify_chain_untrusted(chain(ROOT, forge(MIDDLE, KEYS[3])), roots=PINS, wall_ms=NOW + 90 * YEAR_MS)
    assert type(caught.value) is PeerMisbehaved


@pytest.mark.parametrize("which", [0, 1, 2])
@given(data=st.data())
def test_a_changed_byte_is_noticed_in_every_link(which: int, data: st.DataObject) -> None:
    wrong = bytearray(CHAIN[which])
    at = data.draw(st.integers(0, len(wrong) - 1))
    wrong[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(PeerMisbehaved):
        verify_chain_untrusted([*CHAIN[:which], bytes(wrong), *CHAIN[which + 1 :]], roots=PINS, wall_ms=NOW)


@given(st.binary(max_size=400))
def test_strangers_bytes_raise_one_error(data: bytes) -> None:
    with pytest.raises(PeerMisbehaved):
        Certificate.from_bytes_untrusted(data)


FIELDS = decode_value_trusted(MIDDLE.content())
WRONG: list[tuple[str, Callable[[list[Any]], None]]] = [
    ("another version", lambda fields: fields.__setitem__(0, 2)),
    ("a version that is true", lambda fields: fields.__setitem__(0, True)),
    ("a field more", lambda fields: fields.append(1)),
    ("a field less", lambda fields: fields.__delitem__(-1)),
    ("a succession of three", lambda fields: fields.__setitem__(12, [1, 2, 3])),
    ("a succession with a short hash", lambda fields: fields.__setitem__(12, [1, 2, 3, b"short"])),
    ("a delegation of one", lambda fields: fields.__setitem__(9, 1)),
    *(
        (f"field {place} is {wrong!r}", lambda fields, place=place, wrong=wrong: fields.__setitem__(place, wrong))
        for place in range(1, 13)
        for wrong in (-1, 2**63, 1.5, "text", b"", b"\0\0\0\0", [], {})
    ),
]


@pytest.mark.parametrize(("name", "change"), WRONG, ids=[name for name, _ in WRONG])
def test_a_field_of_the_wrong_kind_is_refused(name: str, change: Callable[[list[Any]], None]) -> None:
    fields = list(FIELDS)
    change(fields)
    with pytest.raises(PeerMisbehaved):
        Certificate.from_bytes_untrusted(encode_value([encode_value(fields), MIDDLE.signature]))


def test_a_certificate_is_small_and_a_large_one_is_refused_before_it_is_read() -> None:
    longest = ServerId.of(*[2**63 - 1] * 16)
    issuer = ServerId.of(*[2**63 - 1] * 15)
    made = certify(KEYS[0], issuer, longest, KEYS[1], succeeds=Succession(2**63 - 1, 2**63 - 1, 2**63 - 1, bytes(32)))
    assert len(made.to_bytes()) < MAX_CERTIFICATE_BYTES / 4
    assert Certificate.from_bytes_untrusted(made.to_bytes()) == made
    with pytest.raises(PeerMisbehaved, match="allowed"):
        Certificate.from_bytes_untrusted(bytes(MAX_CERTIFICATE_BYTES + 1))


FROZEN = (
    "8258808d014800000001000000071b000001a3185c50005820917cc3f700754b6985c05862e1fa3ce3554b8e50887963"
    "d960fa754e745369bd5820ba92ffde98ce04e5c31ead7dcdf24333eed2d871263dba58863860fc8d7e8a714400000001"
    "021b000001a31335f4001b000001aa700d7c00f51b00000001000000001a01000000f65840be8b927f9a2d6bbae309c5"
    "cf919e8b7b7059bc82f27e60f2120a70302fd1f7c4539bff2d94ecc1fc0237dfa4d9935ded67023e9d203c0dc9bbf753"
    "261a514500"
)  # [content, signature]; a change here is a new VERSION


def test_the_bytes_of_a_certificate_are_frozen() -> None:
    assert MIDDLE.to_bytes().hex() == FROZEN


def test_what_is_issued_stands_below_its_issuer_and_is_valid_for_some_time() -> None:
    with pytest.raises(Refused, match="not below it"):
        certify(KEYS[1], SEVEN, ServerId.parse("1.8"), KEYS[2])
    with pytest.raises(Refused, match="valid for no time"):
        certify(KEYS[0], ONE, SEVEN, KEYS[1], not_after_ms=NOW - 2 * DAY_MS)


def test_a_pin_is_read_as_it_is_written() -> None:
    assert check_root(PINS[0]) == PINS[0]
    assert PINS[0] != fingerprint(ONE, KEYS[1].signing_public)


@pytest.mark.parametrize(
    "text",
    [
        *("", "1", "1#", "#" + "a" * 32, "1#" + "a" * 31, "1#" + "a" * 33, "1#" + "A" * 32, "1#" + "1" * 32),
        *("01#" + "a" * 32, "1.#" + "a" * 32, " 1#" + "a" * 32, "1#" + "a" * 32 + "\n", "1##" + "a" * 31),
    ],
)
def test_what_is_no_pin_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        check_root(text)


def test_a_mesh_is_named_by_its_first_root() -> None:
    assert network_id(("1#a", "2#b")) == network_id(("1#a",))
    assert network_id(("1#a",)) != network_id(("2#b",))
