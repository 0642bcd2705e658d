"""A class from text, to CBOR and back; its fingerprint; what may follow what; errors that name the field."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from identity.encoding import decode_value_untrusted, encode_value
from identity.errors import PeerMisbehaved, Refused
from store.definitions import ClassDefinition, definition_from_dict, definition_from_toml

AIRPORT = """
name = "Airport"
version = "1.0"
description = "Where one can land"
[fields]
icao = { type = "string", required = true, unique = true, max_length = 4 }
elevation = { type = "float", index = true, min = -500 }
opened = { type = "date", default = 1950-01-01 }
runways = "list(int)"
kind = { type = "enum(small,large)", description = "by runway" }
"""


def test_a_class_from_text_and_back() -> None:
    airport = definition_from_toml(AIRPORT)
    assert [each.name for each in airport.fields] == ["icao", "elevation", "opened", "runways", "kind"]
    plain = decode_value_untrusted(encode_value(airport.to_plain()))
    assert ClassDefinition.from_plain_untrusted(plain) == airport
    assert definition_from_dict(json.loads(json.dumps(airport.as_json()))) == airport


@pytest.mark.parametrize("default", ['"string", default = ""', '"bool", default = false', '"int", default = 0'])
def test_a_default_that_is_nothing_much_is_kept(default: str) -> None:
    made = definition_from_toml(f'name = "A"\n[fields]\nx = {{ type = {default} }}\n')
    read = ClassDefinition.from_plain_untrusted(decode_value_untrusted(encode_value(made.to_plain())))
    assert read.fields[0].default is not None
    assert read == made
    assert definition_from_dict(json.loads(json.dumps(made.as_json()))) == made


def test_the_fingerprint_is_of_names_and_types_only() -> None:
    airport = definition_from_toml(AIRPORT)
    assert airport.fingerprint.hex() == "7fd7191a27e5e029"  # stands in leaves: it must not change
    same = definition_from_toml(
        'name = "Airport"\n[fields]\nicao = { type = "string", required = true }\nelevation = "float"\n'
        'opened = "date"\nrunways = "list(int)"\nkind = "enum(small,large)"\n'
    )
    assert same.fingerprint == airport.fingerprint
    for before, after in (('"float"', '"int"'), ("elevation", "height"), ('"Airport"', '"Airfield"')):
        other = AIRPORT.replace(before, after).replace(", min = -500", "")
        assert definition_from_toml(other).fingerprint != airport.fingerprint


def test_a_minor_keeps_the_fingerprint() -> None:
    airport = definition_from_toml(AIRPORT)
    more = definition_from_toml(AIRPORT + 'closed = "bool"\n')
    after = more.following(airport)
    assert (after.major, after.minor) == (1, 1)
    assert after.fingerprint == airport.fingerprint
    assert after.field("closed").since == 1
    assert after.following(airport).following(after) == after
    assert definition_from_dict(after.as_json()).fingerprint == airport.fingerprint


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('"list(int)"', '"list(string)"'), "runways"),
        (("kind =", "sort ="), "kind"),
        (("enum(small,large)", "enum(large)"), "kind"),
        (('elevation = { type = "float",', 'elevation = { type = "float", required = true,'), "elevation"),
    ],
)
def test_what_cannot_follow(change: tuple[str, str], said: str) -> None:
    with pytest.raises(Refused, match=said):
        definition_from_toml(AIRPORT.replace(*change)).following(definition_from_toml(AIRPORT))
    with pytest.raises(Refused, match="major"):
        definition_from_toml(AIRPORT.replace('"1.0"', '"2.0"')).following(definition_from_toml(AIRPORT))
    longer = definition_from_toml(AIRPORT.replace("small,large", "small,large,huge"))
    assert longer.following(definition_from_toml(AIRPORT)).field("kind").field_type.choices[-1] == "huge"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = 5 5", "line 1"),
        ("", "name"),
        ('name = "A B"', "A B"),
        ('name = "A"', "no fields"),
        ('name = "A"\ncolour = "red"\n[fields]\nx = "int"', "colour"),
        ('name = "A"\nversion = "x"\n[fields]\nx = "int"', "version"),
        ('name = "A"\nprivacy = "secret"\n[fields]\nx = "int"', "privacy"),
        ('name = "A"\n[fields]\nx = "integer"', "x.*integer"),
        ('name = "A"\n[fields]\nx = 5', "x"),
        ('name = "A"\n[fields]\n"a-b" = "int"', "a-b"),
        ('name = "A"\n[fields]\nx = { type = "int", uniq = true }', "uniq"),
        ('name = "A"\n[fields]\nx = { type = "int", default = "five" }', "x.*five"),
        ('name = "A"\n[fields]\nx = { type = "string", min = 1 }', "x"),
        ('name = "A"\n[fields]\nx = { type = "int", max_length = 1 }', "max_length"),
        ('name = "A"\n[fields]\nx = { type = "map", index = true }', "x.*order"),
        ('name = "A"\n[fields]\nx = { type = "int", on_delete = "clear" }', "on_delete"),
        ('name = "A"\n[fields]\nx = { type = "reference", on_delete = "clear", required = true }', "x.*cleared"),
        ('name = "A"\n[fields]\nx = { type = "int", index = 1 }', "x.*true or false"),
        ('name = "A"\n[fields]\nx = "enum()"', "x"),
        ('name = "A"\n[fields]\nx = "enum(a,a)"', "twice"),
        ('name = "A"\n[fields]\nx = "reference(1)"', "x"),
        ('name = "A"\n[fields]\nx = "int(5)"', "x.*brackets"),
        ('name = "A"\n[fields]\nx = { type = "int", since = 1 }', "since"),
    ],
)
def test_bad_text_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        definition_from_toml(text)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda plain: plain[:5],
        lambda plain: ["A B", *plain[1:]],
        lambda plain: [plain[0], "1", *plain[2:]],
        lambda plain: [plain[0], -1, *plain[2:]],
        lambda plain: [*plain[:5], "fields"],
        lambda plain: [*plain[:5], [5]],
        lambda plain: [*plain[:5], [{"name": "x"}]],
        lambda plain: [*plain[:5], [{"name": "x", "type": "int", "default": "y"}]],
        lambda plain: [*plain[:5], [{"name": "x", "type": "int"}] * 600],
        lambda plain: [*plain[:5], [{"name": "x", "type": "list(" * 5000 + "int" + ")" * 5000}]],
        lambda plain: [*plain[:3], 7, *plain[4:]],
        lambda plain: [*plain[:5], [{"name": "x", "type": "string", "max_length": [1]}]],
        lambda plain: [*plain[:5], [{"name": "x", "type": "string", "required": "yes"}]],
        lambda _: None,
    ],
)
def test_a_strangers_class_is_right_or_misbehaved(spoil: Any) -> None:
    with pytest.raises(PeerMisbehaved):
        ClassDefinition.from_plain_untrusted(spoil(definition_from_toml(AIRPORT).to_plain()))


def test_a_definition_is_a_value() -> None:
    airport = definition_from_toml(AIRPORT)
    assert msgspec.structs.replace(airport) == airport
    with pytest.raises(Refused, match="height"):
        airport.field("height")


def test_a_collectable_class_is_the_same_class_and_says_so() -> None:
    text = 'name = "Page"\n{}[fields]\nnext = "reference(Page)"\n'
    plain, said = (definition_from_toml(text.format(each)) for each in ("", "collectable = true\n"))
    assert (plain.collectable, said.collectable) == (False, True)
    assert plain.fingerprint == said.fingerprint
    for each in (plain, said):
        assert ClassDefinition.from_plain_untrusted(each.to_plain()) == each
        assert definition_from_dict(each.as_json()) == each
    assert plain.following(said) == plain
    assert said.following(plain) == said
    with pytest.raises(Refused, match="collectable is true or false, not 'yes'"):
        definition_from_toml(text.format('collectable = "yes"\n'))
    said_so = said.to_plain()
    said_so[5][0]["collectable"] = 1
    with pytest.raises(PeerMisbehaved, match="collectable is true or false"):
        ClassDefinition.from_plain_untrusted(said_so)
