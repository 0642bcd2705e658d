"""A class of objects, declared as a Python class (DESIGN R2).

    @bangpath.stored
    class Airport:
        icao: str = bangpath.field(unique=True)
        name: str
        elevation: float | None = bangpath.field(index=True)      # may be left without a value
        open: bool = True                                          # has a default

    @bangpath.stored(indexes=[("land", "size")], unique=[("land", "name")])        indexes of several fields
    class City: ...

    await node.define(Airport)
    await node.create(Airport, {"icao": "EDDF", "name": "Frankfurt"})

    str string · int int · float float · bool bool · bytes bytes · Decimal decimal · datetime timestamp · date date
    UUID uuid · bangpath.Blob blob · list list · dict map · an Enum of texts enum(...)

The decorator leaves the class as it is and adds `definition`: the same map that `GET /v1/classes` shows. A field is
required unless it may be None or has a default. Raises `Refused`, naming class and field, for a type that has no
counterpart.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import types
import typing
import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

from identity.errors import Refused
from store.blob_files import Blob

AnyClass = TypeVar("AnyClass", bound=type)
Together = Sequence[Sequence[str]]
_NOTHING: Any = object()

_TYPES: dict[Any, str] = {
    str: "string",
    int: "int",
    float: "float",
    bool: "bool",
    bytes: "bytes",
    decimal.Decimal: "decimal",
    datetime.datetime: "timestamp",
    datetime.date: "date",
    uuid.UUID: "uuid",
    Blob: "blob",
    list: "list",
    dict: "map",
}


class _Option(typing.NamedTuple):
    default: Any
    indexed: bool
    unique: bool
    description: str


def field(*, default: Any = _NOTHING, index: bool = False, unique: bool = False, description: str = "") -> Any:
    """What a field is besides its type: its default, an ordered index, a unique one, a word for people.

    The index of a list is one of its elements.
    """
    return _Option(default, index or unique, unique, description)


@overload
def stored(declared: AnyClass, /) -> AnyClass: ...


@overload
def stored(*, indexes: Together = (), unique: Together = ()) -> Callable[[AnyClass], AnyClass]: ...


def stored(declared: Any = None, /, *, indexes: Together = (), unique: Together = ()) -> Any:
    """Read a class's annotations as fields; `declared.definition` is what a node takes. Raises `Refused`.

    `indexes`, `unique`: those of several fields, each a list of their names.
    """
    several = [{"fields": list(each), "unique": False} for each in indexes]
    several += [{"fields": list(each), "unique": True} for each in unique]
    if declared is None:
        return lambda each: _read(each, several)
    return _read(declared, several)


def _read(declared: AnyClass, indexes: list[dict[str, Any]]) -> AnyClass:
    hints = typing.get_type_hints(declared)
    if not hints:
        raise Refused(f"class {declared.__name__} declares no field", next_step="write NAME: TYPE lines in it")
    fields = [_field_of(declared, name, hint) for name, hint in hints.items()]
    declared.definition = {  # type: ignore[attr-defined]
        "name": declared.__name__,
        "description": (declared.__doc__ or "").strip().partition("\n")[0],
        "fields": fields,
        "indexes": indexes,
    }
    return declared


def _field_of(declared: type, name: str, hint: Any) -> dict[str, Any]:
    said = getattr(declared, name, _NOTHING)
    option = said if isinstance(said, _Option) else _Option(said, False, False, "")
    kind, optional = _type_of(hint)
    if kind is None:
        raise Refused(
            f"{declared.__name__}.{name}: {hint!r} is no type of a field",
            next_step=f"use {', '.join(each.__name__ for each in _TYPES)} or an Enum of texts",
            field=name,
        )
    told: dict[str, Any] = {
        "name": name,
        "type": kind,
        "required": not optional and option.default is _NOTHING,
        "index": option.indexed,
        "unique": option.unique,
    }
    if option.default is not _NOTHING and option.default is not None:
        told["default"] = option.default.value if isinstance(option.default, enum.Enum) else option.default
    if option.description:
        told["description"] = option.description
    return told


def _type_of(hint: Any) -> tuple[str | None, bool]:
    """The type's text, and whether None is allowed."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        others = [each for each in typing.get_args(hint) if each is not type(None)]
        if len(others) == 1 and len(typing.get_args(hint)) == 2:
            return _type_of(others[0])[0], True
        return None, False
    origin = typing.get_origin(hint) or hint
    if isinstance(origin, type) and issubclass(origin, enum.Enum):
        texts = [each.value for each in origin]
        return (f"enum({','.join(texts)})" if all(isinstance(each, str) for each in texts) else None), False
    if origin is list and typing.get_args(hint):
        inner = _type_of(typing.get_args(hint)[0])[0]
        return (f"list({inner})" if inner else None), False
    try:
        return _TYPES.get(origin), False
    except TypeError:  # an annotation that cannot be looked up, such as a list of types
        return None, False
