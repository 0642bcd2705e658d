"""Fields as JSON shows and takes them (DESIGN N10).

    bool, float, string, enum     as they are               decimal      "1.50"
    int                           17, beyond 2^53 a text    timestamp    "2026-11-21T09:00:00.000000Z"
    bytes                         "AAEC", base64            date         "2026-11-21"
    list, map                     [..], {..}                uuid         "12345678-1234-5678-1234-567812345678"
    null                          no value                  reference    "1.7.3/42"
                                                            blob         "blob:1024:8a6c..."

`from_json` takes back what `to_json` gave, and Python values as they are, so that one function stands at every edge.
A reference in text leaves the incarnation out; whoever reads it says by `resolve` which one is meant. What stands
inside an untyped list or map stays as JSON said it: bytes and large integers become text there.

Errors are `Refused`, naming the field; limits and required fields are checked where objects are written
(`store.bodies`). Types and what Python values they take: `store.fieldtypes`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any
from uuid import UUID

from identity.errors import BangpathError
from identity.names import Incarnation, Reference, ServerId, parse_reference
from store.blob_files import Blob
from store.fieldtypes import FieldType, WrongValue, check_value, shown, wrong_field

if TYPE_CHECKING:
    from store.registry import ClassDefinition

MAX_JSON_INT = 2**53  # beyond it a reader in JavaScript would round (N10)

Resolve = Callable[[ServerId | None], tuple[ServerId, int]]  # whose incarnation a reference in text means


def to_json(definition: ClassDefinition, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields, in the definition's order, as JSON values. Fields that the class has not are left out."""
    return {
        each.name: value_to_json(each.field_type, fields[each.name])
        for each in definition.fields
        if each.name in fields
    }


def from_json(
    definition: ClassDefinition, said: Mapping[str, Any], *, resolve: Resolve | None = None, partial: bool = False
) -> dict[str, Any]:
    """Python values of what JSON said. Raises `Refused` naming the field.

    Required fields must be there unless `partial` (an update).
    """
    fields = {}
    for name, value in said.items():
        field = definition.field(name)
        try:
            fields[name] = value_from_json(field.field_type, value, resolve)
        except WrongValue as error:
            raise wrong_field(definition.name, name, error) from error
    if not partial:
        for field in definition.fields:
            if field.required and field.default is None and fields.get(field.name) is None:
                raise wrong_field(definition.name, field.name, "is missing, and it is required")
    return fields


def value_to_json(of: FieldType, value: Any) -> Any:
    """A value of the type, or None, as JSON shows it."""
    if value is None:
        return None
    if of.base == "list" and of.element is not None:
        return [value_to_json(of.element, each) for each in value]
    write = _TO_JSON.get(of.base)
    return value if write is None else write(value)


def value_from_json(of: FieldType, said: Any, resolve: Resolve | None = None) -> Any:
    """The value that JSON said, or a Python value as it is. Raises `WrongValue`. Limits are not looked at."""
    if said is None:
        return None
    if of.base == "list" and of.element is not None and isinstance(said, (list, tuple)):
        return [value_from_json(of.element, each, resolve) for each in said]
    if isinstance(said, str) and of.base in _FROM_TEXT:
        try:
            return check_value(of, _FROM_TEXT[of.base](said))
        except (WrongValue, ValueError, InvalidOperation, OverflowError, binascii.Error) as error:
            if isinstance(error, WrongValue):
                raise
            raise WrongValue(f"{shown(said)} is no {of.base}") from error
    if isinstance(said, str) and of.base == "reference":
        return _reference_from_text(said, resolve)
    if of.base == "decimal" and type(said) is float:
        said = Decimal(repr(said))
    return check_value(of, said)


def _reference_from_text(text: str, resolve: Resolve | None) -> Reference:
    try:
        server, number = parse_reference(text)
    except BangpathError as error:
        raise WrongValue(str(error)) from error
    if resolve is None:
        raise WrongValue(f"{shown(text)}: whose incarnation it means is not known here")
    owner, incarnation = resolve(server)
    return Reference(owner, Incarnation(incarnation), number)


def _time_to_json(value: datetime) -> str:
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _time_from_text(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    if value.tzinfo is None:
        raise WrongValue(f"{text!r} has no time zone; end it with Z for UTC")
    return value


def _int_from_text(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,19}", text):
        raise WrongValue(f"{shown(text)} is no int of 64 bits")
    return int(text)


def _free_to_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if type(value) is int:
        return _int_to_json(value)
    if isinstance(value, list):
        return [_free_to_json(each) for each in value]
    if isinstance(value, dict):
        return {key: _free_to_json(each) for key, each in value.items()}
    return value


def _int_to_json(value: int) -> int | str:
    return value if -MAX_JSON_INT <= value <= MAX_JSON_INT else str(value)


_TO_JSON: dict[str, Callable[[Any], Any]] = {
    "int": _int_to_json,
    "decimal": str,
    "bytes": lambda value: base64.b64encode(value).decode(),
    "timestamp": _time_to_json,
    "date": lambda value: value.isoformat(),
    "uuid": str,
    "reference": str,
    "blob": str,
    "list": _free_to_json,
    "map": _free_to_json,
}
_FROM_TEXT: dict[str, Callable[[str], Any]] = {
    "int": _int_from_text,
    "decimal": Decimal,
    "bytes": lambda text: base64.b64decode(text, validate=True),
    "timestamp": _time_from_text,
    "date": date.fromisoformat,
    "uuid": UUID,
    "blob": Blob.parse,
}
