"""A field and the indexes of several fields, from text, to CBOR and JSON and back; what is refused, by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from identity.encoding import decode_value_untrusted, encode_value
from identity.errors import PeerMisbehaved, Refused
from store.definitions import ClassDefinition, CompositeIndex, definition_from_dict, definition_from_toml

PERSON = """
name = "Person"
[fields]
first = "string"
last = "string"
born = "date"
tags = { type = "list(string)", index = true }
phones = { type = "list(string)", unique = true }
notes = "map"
[[indexes]]
fields = ["last", "born"]
[[indexes]]
fields = ["first", "last"]
unique = true
"""


def test_indexes_of_several_fields_from_text_and_back() -> None:
    person = definition_from_toml(PERSON)
    assert person.indexes == (CompositeIndex(("first", "last"), unique=True), CompositeIndex(("last", "born")))
    plain = decode_value_untrusted(encode_value(person.to_plain()))
    assert ClassDefinition.from_plain_untrusted(plain) == person
    assert definition_from_dict(json.loads(json.dumps(person.as_json()))) == person
    said = person.as_json()["indexes"]
    assert said == [{"fields": ["first", "last"], "unique": True}, {"fields": ["last", "born"], "unique": False}]
    short = definition_from_dict({**person.as_json(), "indexes": [["last", "born"]]})
    assert short.indexes == person.indexes[1:]


def test_they_are_no_part_of_what_a_class_is() -> None:
    person = definition_from_toml(PERSON)
    plain = definition_from_toml(PERSON.partition("[[")[0].replace(", index = true", "").replace(", unique = true", ""))
    assert plain.fingerprint == person.fingerprint
    assert person.following(plain).indexes == person.indexes
    assert plain.following(person).indexes == ()


def test_who_does_not_know_these_indexes_has_the_class_without_them() -> None:
    """What is told of them stands under keys of its own, which a reader that knows none of them leaves out."""
    fields = definition_from_toml(PERSON).to_plain()[5]
    known = ("name", "type", "required", "default", "index", "unique", "on_delete", "since")
    less = [{key: value for key, value in each.items() if key in known} for each in fields]
    assert not any(each.get("index") or each.get("unique") for each in less)
    assert {key for each in fields for key in each} - set(known) == {"elements", "indexes"}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ('fields = ["last"]', "2 to 8"),
        ('fields = ["last", "age"]', "age"),
        ('fields = ["last", "last"]', "last twice"),
        ('fields = ["last", "tags"]', "tags.*no order"),
        ('fields = ["notes", "last"]', "notes.*no order"),
        ("fields = 5", "no list of fields"),
        ('fields = ["last", 5]', "no list of fields"),
        ('fields = ["last", "born"]\nunique = 1', "true or false"),
        ('fields = ["last", "born"]\nuniqe = true', "uniqe"),
        ('fields = ["last", "born"]\n[[indexes]]\nfields = ["last", "born"]', "same fields"),
    ],
)
def test_what_makes_no_index_is_refused_by_name(said: str, told: str) -> None:
    with pytest.raises(Refused, match=told) as caught:
        definition_from_toml(PERSON.partition("[[")[0] + "[[indexes]]\n" + said)
    assert caught.value.next_step


def test_keys_have_room_for_what_an_index_names() -> None:
    texts = "".join(f'f{n} = "string"\n' for n in range(9)) + "".join(f'r{n} = "reference"\n' for n in range(3))

    def define(*fields: str) -> ClassDefinition:
        named = json.dumps(list(fields))
        return definition_from_toml(f'name = "A"\n[fields]\n{texts}[[indexes]]\nfields = {named}\n')

    define(*(f"f{n}" for n in range(8)))
    define("r0", "r1", "f0")
    with pytest.raises(Refused, match="too long"):
        define("r0", "r1", "r2")
    with pytest.raises(Refused, match="too long"):
        define("r0", "r1", "f0", "f1", "f2")
    with pytest.raises(Refused, match="9 fields"):
        define(*(f"f{n}" for n in range(9)))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda fields: fields[0].update(indexes=5),
        lambda fields: fields[0].update(indexes=[5]),
        lambda fields: fields[0].update(indexes=[{"fields": "last"}]),
        lambda fields: fields[0].update(indexes=[{"fields": [["last"]]}]),
        lambda fields: fields[0].update(indexes=[{"fields": ["nobody"]}]),
        lambda fields: fields[0].update(indexes=[{"fields": ["last"], "unique": 5}]),
        lambda fields: fields[0].update(indexes=[{"fields": ["last"]}] * 40),
        lambda fields: fields[3].update(elements="sorted"),
        lambda fields: fields[3].update(elements="required"),
        lambda fields: fields[3].update(elements=["index"]),
    ],
)
def test_a_strangers_indexes_are_right_or_misbehaved(spoil: Any) -> None:
    plain = decode_value_untrusted(encode_value(definition_from_toml(PERSON).to_plain()))
    spoil(plain[5])
    with pytest.raises(PeerMisbehaved):
        ClassDefinition.from_plain_untrusted(plain)


def test_a_list_is_indexed_by_its_elements_if_they_have_an_order() -> None:
    for of in ("list", "list(map)", "list(list(int))"):
        with pytest.raises(Refused, match=r"x.*order.*list\(string\) can"):
            definition_from_toml(f'name = "A"\n[fields]\nx = {{ type = "{of}", index = true }}\n')
