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

    @bangpath.stored(history=10)                        earlier versions that are kept of each object, or "all"
    class Page: ...

    @bangpath.stored(version="2.0")                                the next major: fields may be others
    class Airport:
        icao: str = bangpath.field(unique=True)
        metres: float | None

        @bangpath.upgrade(1)                                       what an object of major 1 is now
        def from_feet(old):
            return {"icao": old["icao"], "metres": old["elevation"] and old["elevation"] * 0.3048}

    str string · int int · float float · bool bool · bytes bytes · Decimal decimal · datetime timestamp · date date
    UUID uuid · bangpath.Blob blob · list list · dict map · an Enum of texts enum(...)

The decorator leaves the class as it is and adds `definition`, the same map that `GET /v1/classes` shows, and
`upgrades`, the functions by the major that they begin with. A field is required unless it may be None or has a default.
Raises `Refused`, naming class and field, for a type that has no counterpart.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import types
import typing
import uuid
from collections.abc import Callable, Mapping, Sequence
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


class _Upgrade(staticmethod):  # type: ignore[type-arg]  # of whatever function
    """A function in a class that needs no object of it, and the major that it begins with."""

    def __init__(self, function: Any, major: int) -> None:
        super().__init__(getattr(function, "__func__", function))  # it may be a `staticmethod` already
        self.major = major


def upgrade(major: int) -> Callable[[Callable[[dict[str, Any]], Mapping[str, Any]]], Any]:
    """Of a function in a class: it makes the fields of this class from those of its objects of that major.

    It is given the old fields as a dictionary, which is its own. Fields that it leaves out get their defaults.
    """
    return lambda function: _Upgrade(function, major)


@overload
def stored(declared: AnyClass, /) -> AnyClass: ...


@overload
def stored(
    *,
    version: str = "1.0",
    indexes: Together = (),
    unique: Together = (),
    history: int | str = 0,
    collectable: bool = False,
) -> Callable[[AnyClass], AnyClass]: ...


def stored(
    declared: Any = None,
    /,
    *,
    version: str = "1.0",
    indexes: Together = (),
    unique: Together = (),
    history: int | str = 0,
    collectable: bool = False,
) -> Any:
    """Read a class's annotations as fields; `declared.definition` is what a node takes. Raises `Refused`.

    `version`: its major, and the least its minor is. `indexes`, `unique`: those of several fields, each a list of their
    names. `history`: how many earlier versions of each object are kept, or "all". `collectable`: its objects may be
    deleted when nothing leads to them (`store.collecting`).
    """
    several = [{"fields": list(each), "unique": False} for each in indexes]
    several += [{"fields": list(each), "unique": True} for each in unique]
    if declared is None:
        return lambda each: _read(each, version, several, history, collectable)
    return _read(declared, version, several, history, collectable)


def _read(
    declared: AnyClass, version: str, indexes: list[dict[str, Any]], history: int | str, collectable: bool
) -> AnyClass:
    hints = typing.get_type_hints(declared)
    if not hints:
        raise Refused(f"class {declared.__name__} declares no field", next_step="write NAME: TYPE lines in it")
    fields = [_field_of(declared, name, hint) for name, hint in hints.items()]
    declared.definition = {  # type: ignore[attr-defined]
        "name": declared.__name__,
        "version": version,
        "description": (declared.__doc__ or "").strip().partition("\n")[0],
        "fields": fields,
        "indexes": indexes,
        **({"history": history} if history else {}),
        **({"collectable": True} if collectable else {}),
    }
    given = [each for each in vars(declared).values() if isinstance(each, _Upgrade)]
    declared.upgrades = {each.major: each.__func__ for each in given}  # type: ignore[attr-defined]
    if len(declared.upgrades) < len(given):  # type: ignore[attr-defined]
        raise Refused(f"class {declared.__name__} has two upgrades from one major", next_step="leave one of them")
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
