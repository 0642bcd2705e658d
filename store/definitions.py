"""What a class is: its name, its fields, its version, as text, as CBOR and as a fingerprint (DESIGN R2-R4).

    name = "Airport"            version = "1.0"        description = "Where one can land"
    history = 10                # this server keeps so many earlier versions of its objects, or "all"; `store.history`
    collectable = true          # its own objects may go when nothing leads to them; `store.collecting`
    [fields]
    icao      = { type = "string", required = true, unique = true }
    elevation = { type = "float", index = true }
    name      = "string"                                    # the short form
    runways   = { type = "int", default = 1, since = 1 }    # added by minor version 1
    [[indexes]]
    fields    = ["name", "elevation"]                       # an index of several fields; `store.fields`

A class is its name and the fingerprint of its major's *first* definition: of the fields with `since = 0`, their
names, types and whether they are required. Indexes, limits, defaults, descriptions, history and what may be collected
are no part of it, so servers that index differently have the same class. A new minor version adds fields at the end,
optional or with a default; then every older body is the beginning of a newer one.

Everything is checked where a definition is made, from text (`Refused`, naming the field) or from a stranger's class
object (`PeerMisbehaved`). Left to others: which classes there are (`store.registry`), bodies (`store.bodies`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cached_property
from hashlib import sha256
from typing import Any

import msgspec

from identity.encoding import encode_value
from identity.errors import PeerMisbehaved, Refused
from store.bodies import Codec
from store.fields import (
    COLLECTABLE,
    MAX_DESCRIPTION,
    CompositeIndex,
    Field,
    check_field,
    check_indexes,
    field_as_json,
    field_from_dict,
    field_from_plain,
    field_to_plain,
    index_as_json,
    index_from_dict,
    indexes_from_plain,
    indexes_to_plain,
    refuse_unknown,
    type_follows,
    wrong,
    wrong_index,
)
from store.fieldtypes import is_name
from store.history import ALL, NONE, read_history_option

__all__ = ["ClassDefinition", "CompositeIndex", "Field", "definition_from_dict", "definition_from_toml"]

MAX_FIELDS = 512  # of one class; its numbers stand in index keys as 16 bits, its arrays in every record
PRIVACIES = ("distributed", "private")
_FINGERPRINT_DOMAIN = "bangpath class 1"


class ClassDefinition(msgspec.Struct, frozen=True, dict=True, kw_only=True):
    """One class in one version. Right by construction: `checked` was called by whatever made it."""

    name: str
    fields: tuple[Field, ...]
    major: int = 1
    minor: int = 0
    description: str = ""
    privacy: str = "distributed"
    indexes: tuple[CompositeIndex, ...] = ()
    history: int = NONE  # how many earlier versions are kept here; -1: all (`store.history`)
    collectable: bool = False  # own objects go when nothing points to them (`store.collecting`)

    @cached_property
    def fingerprint(self) -> bytes:
        """8 bytes, equal wherever this class has the same first definition."""
        first = [[each.name, str(each.field_type), each.required] for each in self.fields if each.since == 0]
        return sha256(encode_value([_FINGERPRINT_DOMAIN, self.name, self.major, first])).digest()[:8]

    @cached_property
    def by_name(self) -> dict[str, Field]:
        return {each.name: each for each in self.fields}

    @cached_property
    def codec(self) -> Codec:
        """For bodies in wire form; the store has codecs of its own that know this server."""
        return Codec(self)

    def field(self, name: str) -> Field:
        """The field of that name. Raises `Refused`, naming those there are."""
        field = self.by_name.get(name)
        if field is None:
            raise Refused(
                f"class {self.name} has no field {name!r}",
                next_step=f"its fields are {', '.join(self.by_name)}",
                field=str(name),
                **{"class": self.name},
            )
        return field

    def to_body(self, fields: Mapping[str, Any]) -> bytes:
        """The wire body of fields that a `Stored` holds; those that were not asked for are null."""
        return self.codec.encode([fields.get(name) for name in self.codec.names])

    def from_body_untrusted(self, body: bytes) -> dict[str, Any]:
        """The fields of a wire body that a stranger sent. Raises `PeerMisbehaved`."""
        try:
            values = self.codec.read_untrusted(body)
        except PeerMisbehaved:
            raise
        except Exception as error:
            raise PeerMisbehaved(f"an object of {self.name} that cannot be read: {error}") from error
        return dict(zip(self.codec.names, values, strict=True))

    def as_json(self) -> dict[str, Any]:
        """As HTTP and `--json` show it."""
        kept = {"history": "all" if self.history == ALL else self.history} if self.history else {}
        return {
            "name": self.name,
            "fingerprint": self.fingerprint.hex(),
            "version": f"{self.major}.{self.minor}",
            "description": self.description,
            "privacy": self.privacy,
            **kept,
            "fields": [field_as_json(each) for each in self.fields],
            "indexes": [index_as_json(each) for each in self.indexes],
            **({"collectable": True} if self.collectable else {}),
        }

    def to_plain(self) -> list[Any]:
        """As CBOR carries it: the fields of an object of class `Class`."""
        fields = [field_to_plain(each) for each in self.fields]
        indexes_to_plain(fields, self.indexes)
        if self.collectable:
            fields[0][COLLECTABLE] = True
        return [self.name, self.major, self.minor, self.description, self.privacy, fields]

    @classmethod
    def from_plain_untrusted(cls, plain: Any) -> ClassDefinition:
        """From what another server's class object says. Raises `PeerMisbehaved`."""
        try:
            name, major, minor, description, privacy, fields = plain
            definition = cls(
                name=name, major=major, minor=minor, description=description or "", privacy=privacy,
                fields=tuple(field_from_plain(each) for each in fields), indexes=indexes_from_plain(fields),
                collectable=fields[0].get(COLLECTABLE, False) if fields else False,
            )  # fmt: skip
            return definition.checked()
        except PeerMisbehaved:
            raise
        except (Refused, TypeError, ValueError, KeyError, AttributeError) as error:
            raise PeerMisbehaved(f"a class that makes no sense: {error}") from error

    def checked(self) -> ClassDefinition:
        """Itself, when it makes sense. Raises `Refused`, naming the field."""
        if not is_name(self.name):
            raise Refused(f"{self.name!r} is no name of a class", next_step="use letters, digits and _")
        for number in (self.major, self.minor):
            if type(number) is not int or not 0 <= number < 2**31:
                raise Refused(f"class {self.name}: {number!r} is no version", next_step='write version = "1.0"')
        if not isinstance(self.description, str) or len(self.description) > MAX_DESCRIPTION:
            raise Refused(f"class {self.name}: its description is no text of at most {MAX_DESCRIPTION} characters")
        read_history_option(self.name, self.history)
        if self.privacy not in PRIVACIES:
            raise Refused(f"class {self.name}: privacy {self.privacy!r} is none of {', '.join(PRIVACIES)}")
        if type(self.collectable) is not bool:
            raise Refused(f"class {self.name}: collectable is true or false, not {self.collectable!r}")
        if not 1 <= len(self.fields) <= MAX_FIELDS:
            raise Refused(f"class {self.name} has {len(self.fields)} fields, 1 to {MAX_FIELDS} allowed")
        names: dict[str, None] = {}
        since = 0
        for each in self.fields:
            check_field(self.name, each)
            if each.name in names:
                raise wrong(self.name, each.name, "is there twice")
            if each.since < since or each.since > self.minor:
                raise wrong(self.name, each.name, f"since {each.since} in version {self.major}.{self.minor}")
            if each.since and each.required and each.default is None:
                raise wrong(self.name, each.name, "is added later, so it is optional or has a default")
            since = each.since
            names[each.name] = None
        indexes = check_indexes(self.name, self.by_name, self.indexes)
        return self if indexes == self.indexes else msgspec.structs.replace(self, indexes=indexes)

    def following(self, before: ClassDefinition) -> ClassDefinition:
        """This definition as the one that comes after `before`: added fields get a new minor version.

        Raises `Refused`, saying which field cannot change.
        """
        if self.major != before.major:
            raise Refused(
                f"class {self.name} has version {before.major}.{before.minor} here, and {self.major}.{self.minor} is "
                "of another major",
                next_step=f'define it with version = "{before.major}.{before.minor}" or a later one',
                **{"class": self.name},
            )
        if len(self.fields) < len(before.fields):
            raise _only_in_a_major(before, before.fields[len(self.fields)].name, "cannot be removed")
        fields = []
        for old, new in zip(before.fields, self.fields, strict=False):
            if old.name != new.name or not type_follows(old.field_type, new.field_type):
                raise _only_in_a_major(
                    before, old.name, f"is a {old.type} and stays one, in its place; not {new.name}: {new.type}"
                )
            if new.required and not old.required:
                raise _only_in_a_major(before, old.name, "cannot become required: there are objects without it")
            required = old.required if old.since == 0 else new.required  # the fingerprint says so
            fields.append(msgspec.structs.replace(new, since=old.since, required=required))
        added = self.fields[len(before.fields) :]
        minor = max(self.minor, before.minor + 1) if added else max(self.minor, before.minor)
        fields += [msgspec.structs.replace(each, since=max(each.since, before.minor + 1)) for each in added]
        return msgspec.structs.replace(self, minor=minor, fields=tuple(fields)).checked()


def _only_in_a_major(before: ClassDefinition, field: str, cause: str) -> Refused:
    error = wrong(before.name, field, cause)
    error.next_step = f'define it as version = "{before.major + 1}.0", and say how its objects are upgraded'
    return error


def joined_definition(known: ClassDefinition, heard: ClassDefinition) -> ClassDefinition | None:
    """The longer of two definitions of one class, indexed as `known` is; None when neither continues the other.

    They have one fingerprint; minor versions that two owners added differently do not join.
    """
    shorter, longer = sorted((known, heard), key=lambda each: len(each.fields))
    for one, other in zip(shorter.fields, longer.fields, strict=False):
        if one.name != other.name or one.field_type.base != other.field_type.base:
            return None
    if longer is known:
        return known
    kept = known.by_name
    fields = tuple(kept.get(each.name) or _unindexed(each) for each in longer.fields)
    return msgspec.structs.replace(known, fields=fields, minor=heard.minor)


def _unindexed(field: Field) -> Field:
    return msgspec.structs.replace(field, index=False, unique=False, on_delete="")


def definition_from_toml(text: str) -> ClassDefinition:
    """A class from the text above. Raises `Refused`, naming line or field."""
    try:
        said = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Refused(f"the class is no TOML: {error}", next_step='write name = "..." and a table [fields]') from error
    return definition_from_dict(said)


def definition_from_dict(said: Mapping[str, Any]) -> ClassDefinition:
    """A class from the same in a dictionary, as TOML or JSON give it. Raises `Refused`, naming the field."""
    name = said.get("name")
    if not is_name(name):
        raise Refused(f"{name!r} is no name of a class", next_step='write name = "Airport"')
    assert isinstance(name, str)
    refuse_unknown(
        f"class {name}",
        said,
        ("name", "version", "description", "privacy", "history", "collectable", "fields", "indexes", "fingerprint"),
    )
    major, minor = _version(name, said.get("version", "1.0"))
    fields = said.get("fields")
    if isinstance(fields, list):  # as `as_json` shows them
        listed = [each for each in fields if isinstance(each, Mapping)]
        names = [each.get("name") for each in listed]
        fields = {named if isinstance(named, str) else "": each for named, each in zip(names, listed, strict=True)}
        if len(fields) < len(listed):
            raise Refused(f"class {name} names a field twice", next_step="give each field a name of its own")
    if not isinstance(fields, Mapping) or not fields:
        raise Refused(
            f"class {name} has no fields", next_step='write a table [fields] with lines as in name = "string"'
        )
    indexes = said.get("indexes", ())
    if not isinstance(indexes, (list, tuple)):
        raise wrong_index(name, f"{indexes!r} is no list of indexes")
    return ClassDefinition(
        name=name,
        indexes=tuple(index_from_dict(name, each) for each in indexes),
        fields=tuple(field_from_dict(name, field, each) for field, each in fields.items()),
        major=major,
        minor=minor,
        description=said.get("description", ""),
        privacy=said.get("privacy", "distributed"),
        history=read_history_option(name, said.get("history", NONE)),
        collectable=said.get("collectable", False),
    ).checked()


def _version(class_name: str, said: Any) -> tuple[int, int]:
    major, dot, minor = str(said).partition(".")
    if not (major.isdigit() and (minor.isdigit() if dot else True)):
        raise Refused(f"class {class_name}: {said!r} is no version", next_step='write version = "1.0"')
    return int(major), int(minor or 0)
