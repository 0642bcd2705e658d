"""Names against plain models: tuples of numbers for servers, a list of rules for patterns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.encoding import MAX_INTEGER, encode_integer
from identity.errors import PeerMisbehaved, Refused
from identity.names import Incarnation, ObjectId, Pattern, Position, Reference, ServerId, parse_reference

component = st.one_of(st.integers(1, 9), st.integers(1, MAX_INTEGER), st.integers(2**31 - 2, 2**31 + 2))
components = st.lists(component, min_size=1, max_size=16).map(tuple)
short = st.lists(st.integers(1, 3), min_size=1, max_size=4).map(tuple)
servers = components.map(lambda numbers: ServerId.of(*numbers))
references = st.builds(
    Reference, servers, st.integers(0, MAX_INTEGER).map(Incarnation), st.integers(0, MAX_INTEGER).map(ObjectId)
)


def test_a_server_is_named_by_numbers_with_dots() -> None:
    server = ServerId.parse("1.7.3")
    assert server.hex() == "000000010000000700000003"
    assert server.ended.hex() == "00000001000000070000000300000000"
    assert str(server) == "1.7.3"
    assert server.parent == ServerId.parse("1.7")
    assert [str(each) for each in server.ancestors()] == ["1.7", "1"]
    assert server.is_below(ServerId.parse("1"))
    assert not server.is_below(server)
    assert ServerId.parse("1").parent is None
    assert ServerId.parse("1.7").child(3) == server


@given(components)
def test_text_bytes_and_numbers_say_the_same(numbers: tuple[int, ...]) -> None:
    server = ServerId.of(*numbers)
    assert server.components == numbers
    assert ServerId.parse(str(server)) == server
    assert ServerId.from_bytes_untrusted(bytes(server)) == server
    assert ServerId.read_ended_untrusted(b"x" + server.ended + b"rest", 1) == (server, 1 + len(server) + 4)


@given(components, components)
def test_byte_order_is_the_order_of_the_numbers(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    assert (ServerId.of(*one) < ServerId.of(*other)) == (one < other)
    assert (ServerId.of(*one).ended < ServerId.of(*other).ended) == (one < other)


@given(short, short)
def test_below_is_a_longer_name_with_the_same_beginning(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    below = len(one) > len(other) and one[: len(other)] == other
    assert ServerId.of(*one).is_below(ServerId.of(*other)) == below


@pytest.mark.parametrize(
    "text", ["", ".", "1.", ".1", "0", "1.0", "01", "1.07", "-1", "+1", " 1", "1 ", "1_0", "\u0661", "1" * 20, "a"]
)
def test_what_is_no_server_id_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        ServerId.parse(text)


def test_seventeen_components_are_one_too_many() -> None:
    with pytest.raises(Refused, match="1 to 16"):
        ServerId.of(*range(1, 18))
    with pytest.raises(PeerMisbehaved):
        ServerId.from_bytes_untrusted(b"".join(encode_integer(number) for number in range(1, 18)))


@given(st.binary(max_size=40))
def test_a_strangers_bytes_are_one_server_or_one_error(data: bytes) -> None:
    try:
        server = ServerId.from_bytes_untrusted(data)
    except PeerMisbehaved:
        return
    assert bytes(server) == data
    assert ServerId.of(*server.components) == server


@pytest.mark.parametrize("data", ["", "00000000", "0000000100000000", "000001", "8000000000000001", "00000001000000"])
def test_bytes_that_are_not_canonical_are_refused(data: str) -> None:
    with pytest.raises(PeerMisbehaved):
        ServerId.from_bytes_untrusted(bytes.fromhex(data))


@given(references)
def test_a_reference_comes_back(reference: Reference) -> None:
    assert Reference.from_bytes_untrusted(reference.to_bytes()) == reference
    assert parse_reference(str(reference)) == (reference.server, reference.object)


@given(st.binary(max_size=60))
def test_a_strangers_reference_is_canonical_or_refused(data: bytes) -> None:
    try:
        reference = Reference.from_bytes_untrusted(data)
    except PeerMisbehaved:
        return
    assert reference.to_bytes() == data


def test_an_object_three_is_no_server_three() -> None:
    reference = Reference(ServerId.parse("1.7"), Incarnation(0), ObjectId(3))
    assert not reference.to_bytes().startswith(ServerId.parse("1.7.3"))


@pytest.mark.parametrize("text", ["", "42", "1.7", "1.7/", "1.7/-1", "1.7/x", "1.7/01", "x/1", "1.7/4/2", f"1/{2**63}"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        parse_reference(text)


def test_a_slash_alone_means_this_server() -> None:
    assert parse_reference("/42") == (None, 42)


def test_a_position_reads_as_people_say_it() -> None:
    assert str(Position(ServerId.parse("1.2"), Incarnation(5), 3, 17)) == "1.2@3:17"


rule = st.tuples(st.booleans(), st.sampled_from(["exact", "below", "all"]), short)


def text_of(wanted: bool, kind: str, base: tuple[int, ...]) -> str:
    name = ".".join(map(str, base))
    return ("" if wanted else "-") + {"exact": name, "below": f"{name}.*", "all": "*"}[kind]


@given(st.lists(rule, min_size=1, max_size=6), short)
def test_the_last_rule_that_matches_wins(
    rules: list[tuple[bool, str, tuple[int, ...]]], numbers: tuple[int, ...]
) -> None:
    expected = False
    for wanted, kind, base in rules:
        below = len(numbers) > len(base) and numbers[: len(base)] == base
        if kind == "all" or (kind == "below" and below) or (kind == "exact" and numbers == base):
            expected = wanted
    pattern = Pattern(",".join(text_of(*each) for each in rules))
    assert (ServerId.of(*numbers) in pattern) == expected
    assert Pattern(pattern.text) == pattern
    assert Pattern.from_text_untrusted(pattern.text) == pattern


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("9.9", ["9.9"]),
        ("1.10,1.9,1.10", ["1.9", "1.10"]),
        ("*", []),
        ("1.7.*", []),
        ("*,-9.9", []),
        ("9.9,-9.*", []),
        ("9.9,-9.*,*", ["9.9"]),
        ("-9.9,*", []),
    ],
)
def test_the_servers_that_a_pattern_names(text: str, named: list[str]) -> None:
    assert [str(each) for each in Pattern(text).named()] == named


@pytest.mark.parametrize("text", ["", ",", "1.7,,1", "1.*.7", "1.7*", "--1", "0.*", "-", ".*"])
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        Pattern(text)


def test_a_pattern_has_bounds_of_its_own_so_that_no_peer_refuses_it() -> None:
    longest = str(ServerId.of(*[MAX_INTEGER] * 16))
    with pytest.raises(Refused, match="256 allowed"):
        Pattern(",".join(["1"] * 257))
    with pytest.raises(Refused, match="characters"):
        Pattern(",".join([longest] * 60))
    assert Pattern.from_text_untrusted(Pattern(",".join([longest] * 51)).text)


@pytest.mark.parametrize("text", [None, 7, " 1.7", "1.7, 1", "x" * 20_000, ",".join(["1"] * 300)])
def test_a_strangers_pattern_is_canonical_or_refused(text: object) -> None:
    with pytest.raises(PeerMisbehaved):
        Pattern.from_text_untrusted(text)
