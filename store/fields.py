"""One field of a class, and the indexes that several fields make together: as text, as CBOR and as JSON (DESIGN R4).

    icao    = { type = "string", required = true, unique = true }
    tags    = { type = "list(string)", index = true }          an entry for each element: `tags contains "quiet"`
    country = "string"

    [[indexes]]
    fields = ["country", "icao"]                               in this order; unique = true: no two objects alike

    CBOR    a field is a map of what it says. The index of a list is its key `elements`, and an index of several
            fields stands at the first of them, under `indexes`: who does not know these keys passes over them, and has
            the same class without those indexes. Whether the class is collectable stands at its first field likewise

Everything is checked where it is made: from text (`Refused`, naming the field), or from a stranger's class (whoever
reads that turns it into `PeerMisbehaved`). Left to others: whole classes (`store.definitions`), entries
(`store.indexes`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec

from identity.errors import Refused
from store.fieldtypes import (
    FieldType,
    WrongValue,
    body_writer,
    check_value,
    is_name,
    parse_type,
    read_body_value_untrusted,
)
from store.keys import MIN_TEXT_BYTES, TEXTS, has_order, text_room
from store.values import value_from_json, value_to_json

MAX_DESCRIPTION = 10_000
COLLECTABLE = "collectable"  # of the class; stands at its first field
MAX_INDEXES = 32  # of several fields; each costs an entry for every object
MAX_TOGETHER = 8  # fields of one index: their numbers stand in its keys
ON_DELETE = ("", "restrict", "clear", "cascade")
_LIMITED = ("int", "float", "decimal", "timestamp", "date")
_MEASURED = ("string", "bytes", "list", "map")


class Field(msgspec.Struct, frozen=True, dict=True, kw_only=True):
    """One field of a class. `default`, `min` and `max` are values of its type.

    `on_delete` of a reference says what happens here when its target is deleted: "" nothing, "restrict" the target
    stays, "clear" this becomes null, "cascade" this object goes too. It makes an index, for it must be found.
    """

    name: str
    type: str = "string"
    required: bool = False
    default: Any = None
    min: Any = None
    max: Any = None
    max_length: int | None = None
    index: bool = False
    unique: bool = False
    on_delete: str = ""
    since: int = 0
    description: str = ""

    @cached_property
    def field_type(self) -> FieldType:
        return parse_type(self.type)

    def checked_value(self, value: Any) -> Any:
        """A value, JSON forms included, as this field has it. Raises `Refused`, naming the field."""
        try:
            return value_from_json(self.field_type, value)
        except WrongValue as error:
            raise Refused(f"field {self.name}: {error}", field=self.name) from error

    @property
    def indexed(self) -> bool:
        return self.index or self.unique or bool(self.on_delete)

    @property
    def key_type(self) -> FieldType:
        """Of what its index has entries: of the field's value, of a list's elements."""
        return self.field_type.element or self.field_type


class CompositeIndex(msgspec.Struct, frozen=True):
    """An ordered index of several fields: by the first, among equals by the second, and so on.

    `unique`: no two own objects have the same values in all of them, none of them null.
    """

    fields: tuple[str, ...]
    unique: bool = False

    @property
    def name(self) -> str:
        return ", ".join(self.fields)


_FIELD_KEYS = (
    "type", "required", "default", "min", "max", "max_length", "index", "unique", "on_delete", "since", "description",
)  # fmt: skip


def field_from_dict(class_name: str, name: Any, said: Any) -> Field:
    if isinstance(said, str):
        said = {"type": said}
    if not isinstance(said, Mapping):
        raise wrong(class_name, name, f"{said!r} is no type and no table")
    said = {key: value for key, value in said.items() if key != "name" and value is not None}
    refuse_unknown(f"field {name} of class {class_name}", said, _FIELD_KEYS)
    try:
        of = parse_type(str(said.get("type", "string")))
        for key in ("default", "min", "max"):
            if key in said:
                said[key] = value_from_json(of, said[key])
    except WrongValue as error:
        raise wrong(class_name, name, str(error)) from error
    except Refused as error:
        raise wrong(class_name, name, error.cause) from error
    if said.get("index") is True and (said.get("unique") is True or said.get("on_delete")):
        del said["index"]  # they make one
    return Field(name=str(name), **said)


def refuse_unknown(where: str, said: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in said:
        if key not in known:
            raise Refused(f"{where}: {key!r} is not known", next_step=f"known are {', '.join(known)}", field=str(key))


def check_field(class_name: str, field: Field) -> None:
    if not is_name(field.name):
        raise wrong(class_name, field.name, "is no name of a field; use letters, digits and _")
    try:
        of = field.field_type
        for value in (field.default, field.min, field.max):
            if value is not None and check_value(of, value) != value:
                raise wrong(class_name, field.name, f"{value!r} is no {of}")
    except WrongValue as error:
        raise wrong(class_name, field.name, str(error)) from error
    except Refused as error:
        raise error if error.details else wrong(class_name, field.name, error.cause) from error
    flags = (field.required, field.index, field.unique)
    if any(type(each) is not bool for each in flags) or type(field.since) is not int or field.since < 0:
        raise wrong(class_name, field.name, "required, index and unique are true or false, since is a number")
    if (field.min is not None or field.max is not None) and of.base not in _LIMITED:
        raise wrong(class_name, field.name, f"a {of} has no min or max")
    if field.max_length is not None and (
        of.base not in _MEASURED or type(field.max_length) is not int or field.max_length < 0
    ):
        raise wrong(class_name, field.name, f"max_length is a number, and of {', '.join(_MEASURED)} only")
    if field.on_delete not in ON_DELETE or (field.on_delete and of.base != "reference"):
        raise wrong(class_name, field.name, "on_delete is restrict, clear or cascade, and of references only")
    if field.on_delete == "clear" and field.required:
        raise wrong(class_name, field.name, "is required, so it cannot be cleared")
    if field.indexed and not has_order(field.key_type):
        hint = "; the elements of a list(string) can" if of.base == "list" else ""
        raise wrong(class_name, field.name, f"a {of} has no order, so it cannot be indexed{hint}")
    if not isinstance(field.description, str) or len(field.description) > MAX_DESCRIPTION:
        raise wrong(class_name, field.name, "its description is no text, or too long")


def wrong(class_name: str, field: Any, cause: str) -> Refused:
    return Refused(f"class {class_name}, field {field}: {cause}", field=str(field))


def type_follows(old: FieldType, new: FieldType) -> bool:
    """The same type; an enum may know more choices at its end."""
    if old.base == new.base == "enum":
        return new.choices[: len(old.choices)] == old.choices
    return old == new


def field_to_plain(field: Field) -> dict[str, Any]:
    plain: dict[str, Any] = {"name": field.name, "type": str(field.field_type)}
    write = body_writer(field.field_type) or (lambda value: value)
    for key in _FIELD_KEYS[1:]:
        value = getattr(field, key)
        if key in ("default", "min", "max"):
            if value is not None:  # "" and false are defaults like any other
                plain[key] = write(value)
        elif value is not None and value is not False and value != "" and not (key == "since" and value == 0):
            plain[key] = value
    if field.field_type.base == "list" and field.indexed:
        plain["elements"] = "unique" if field.unique else "index"
        plain.pop("index", None)
        plain.pop("unique", None)
    return plain


def field_from_plain(plain: Any) -> Field:
    said = {str(key): value for key, value in plain.items() if key in _FIELD_KEYS or key == "name"}
    of = parse_type(said["type"])
    for key in ("default", "min", "max"):
        if key in said:
            said[key] = read_body_value_untrusted(of, said[key])
    if "elements" in plain:
        if of.base != "list" or plain["elements"] not in ("index", "unique"):
            raise ValueError(f"a {of} whose elements have {plain['elements']!r}")
        said[plain["elements"]] = True
    return Field(**said)


def field_as_json(field: Field) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "name": field.name,
        "type": str(field.field_type),
        "required": field.required,
        "index": field.indexed,
        "unique": field.unique,
    }
    for key in ("default", "min", "max"):
        if getattr(field, key) is not None:
            shown[key] = value_to_json(field.field_type, getattr(field, key))
    for key in ("max_length", "on_delete", "since", "description"):
        if getattr(field, key):
            shown[key] = getattr(field, key)
    return shown


# Indexes of several fields.


def index_from_dict(class_name: str, said: Any) -> CompositeIndex:
    """From TOML or JSON: a table with `fields` and `unique`, or the list of the fields. Raises `Refused`."""
    if isinstance(said, (list, tuple)):
        said = {"fields": said}
    if not isinstance(said, Mapping):
        raise wrong_index(class_name, f"{said!r} is no table")
    refuse_unknown(f"an index of class {class_name}", said, ("fields", "unique"))
    fields = said.get("fields")
    if not isinstance(fields, (list, tuple)) or not all(isinstance(each, str) for each in fields):
        raise wrong_index(class_name, f"{fields!r} is no list of fields")
    return CompositeIndex(tuple(fields), said.get("unique", False))


def check_indexes(
    class_name: str, fields: Mapping[str, Field], indexes: Sequence[CompositeIndex]
) -> tuple[CompositeIndex, ...]:
    """The indexes in the order in which a class keeps them. Raises `Refused`, naming the field that does not fit."""
    if len(indexes) > MAX_INDEXES:
        raise wrong_index(class_name, f"{len(indexes)} of several fields, {MAX_INDEXES} allowed")
    for each in indexes:
        if type(each.unique) is not bool:
            raise wrong_index(class_name, f"unique is true or false, not {each.unique!r}")
        if not 2 <= len(each.fields) <= MAX_TOGETHER:
            raise wrong_index(
                class_name,
                f"{each.name or 'nothing'!r} names {len(each.fields)} fields, 2 to {MAX_TOGETHER} allowed",
                next_step="of one field say index = true at the field",
            )
        for name in each.fields:
            if name not in fields:
                raise wrong_index(class_name, f"{each.name} names {name!r}, which is no field of it", field=name)
            if each.fields.count(name) > 1:
                raise wrong_index(class_name, f"{each.name} names {name} twice", field=name)
            if not has_order(fields[name].field_type):
                cause = f"{each.name} names {name}, a {fields[name].type}, which has no order"
                raise wrong_index(class_name, cause, field=name)
        room = text_room([fields[name].field_type for name in each.fields])
        if room < (MIN_TEXT_BYTES if any(fields[name].field_type.base in TEXTS for name in each.fields) else 0):
            raise wrong_index(class_name, f"{each.name} is too long for a key", next_step="leave out a field")
    if len({each.fields for each in indexes}) < len(indexes):
        raise wrong_index(class_name, "two are of the same fields in the same order")
    places = {name: at for at, name in enumerate(fields)}
    return tuple(sorted(indexes, key=lambda each: [places[name] for name in each.fields]))


def wrong_index(class_name: str, cause: str, *, next_step: str = "", field: str = "indexes") -> Refused:
    said = next_step or 'write [[indexes]] and below it fields = ["country", "city"]'
    return Refused(f"class {class_name}, indexes: {cause}", next_step=said, field=field)


def indexes_to_plain(fields: Sequence[dict[str, Any]], indexes: Sequence[CompositeIndex]) -> None:
    """Put each at its first field, among what that says as CBOR."""
    by_name = {each["name"]: each for each in fields}
    for index in indexes:
        said: dict[str, Any] = {"fields": list(index.fields[1:])}
        if index.unique:
            said["unique"] = True
        by_name[index.fields[0]].setdefault("indexes", []).append(said)


def indexes_from_plain(fields: Sequence[Any]) -> tuple[CompositeIndex, ...]:
    """What `indexes_to_plain` put there; raises anything for what makes no sense."""
    return tuple(
        CompositeIndex((each["name"], *said["fields"]), said.get("unique", False))
        for each in fields
        for said in each.get("indexes", ())
    )


def index_as_json(index: CompositeIndex) -> dict[str, Any]:
    return {"fields": list(index.fields), "unique": index.unique}
