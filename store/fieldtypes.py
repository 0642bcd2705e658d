"""What a field may hold: its types, as Python values and in the body of a record (DESIGN R4, N8).

    type             Python              in a body (canonical CBOR)
    bool             bool                bool
    int              int, 64 bits        integer
    float            float, finite       float
    decimal          decimal.Decimal     [exponent, coefficient]
    string           str                 text
    bytes            bytes               byte string
    timestamp        datetime in UTC     microseconds since 1970
    date             datetime.date       days since 1970
    uuid             uuid.UUID           16 bytes
    enum(a,b)        str                 text
    list, list(T)    list                array
    map              dict                map, keys text
    reference        Reference           byte string: server ended, incarnation, object
    blob             Blob                [size, 32 bytes]

Promised: a value that was checked is in its one form, and comes back equal from a body. -0.0 is 0.0; NaN and the
infinities are refused, for they have no place in an order or in JSON. A time or a reference is plain CBOR in a body,
without tags: the class says what it means.

Left to others: JSON (`store.values`), order (`store.keys`), limits, defaults and whole objects (`store.bodies`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple
from uuid import UUID

from identity.encoding import MAX_DEPTH, MAX_INTEGER
from identity.errors import PeerMisbehaved, Refused
from identity.names import Reference
from store.blob_files import Blob

MIN_INT, MAX_INT = -(2**63), 2**63 - 1
MAX_EXPONENT = 64  # of a decimal, either way
MAX_NESTING = MAX_DEPTH - 4  # of lists and maps, so that a body stays within the encoding's depth
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_DAY = date(1970, 1, 1).toordinal()
_MICROSECOND = timedelta(microseconds=1)
_FIRST_TIME = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST_TIME = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND


class WrongValue(ValueError):
    """What is wrong with one value, as words that follow the field's name."""


class FieldType(NamedTuple):
    """A parsed type. `choices` of an enum, `target` class of a reference ("" any), `element` of a list."""

    base: str
    choices: tuple[str, ...] = ()
    target: str = ""
    element: FieldType | None = None

    def __str__(self) -> str:
        inside = ",".join(self.choices) or self.target or (str(self.element) if self.element else "")
        return f"{self.base}({inside})" if inside else self.base


BASES = (
    "bool", "int", "float", "decimal", "string", "bytes", "timestamp", "date", "uuid", "enum", "list", "map",
    "reference", "blob",
)  # fmt: skip
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")


def is_name(text: object) -> bool:
    """Whether `text` can name a class or a field: letters, digits and _, not beginning with a digit, at most 128."""
    return isinstance(text, str) and _NAME.match(text) is not None


def wrong_field(class_name: str, field: str, problem: object) -> Refused:
    """What is said of a field that cannot be taken as it is: whose field, and where its rules stand."""
    return Refused(
        f"field {field} of {class_name}: {problem}",
        next_step=f"bangpath class shows the fields of {class_name}",
        field=field,
        **{"class": class_name},
    )


def parse_type(text: str) -> FieldType:
    """`int`, `enum(draft,final)`, `reference(City)`, `list(int)`. Raises `Refused`."""
    base, bracket, rest = text.strip().partition("(")
    inside = rest[:-1].strip() if bracket else ""
    if base not in BASES or (bracket and (not rest.endswith(")") or not inside)):
        raise Refused(f"{text!r} is no type of field", next_step=f"the types are {', '.join(BASES)}")
    if base == "enum":
        choices = tuple(each.strip() for each in inside.split(",")) if inside else ()
        if not choices or not all(choices) or len(set(choices)) != len(choices):
            raise Refused(f"{text!r} names no choices, or one twice", next_step="write them as in enum(draft,final)")
        return FieldType(base, choices=choices)
    if base == "reference" and inside:
        if not is_name(inside):
            raise Refused(f"{text!r} refers to no class", next_step="write one as in reference(City)")
        return FieldType(base, target=inside)
    if base == "list" and inside:
        if text.count("(") > MAX_NESTING:
            raise Refused(f"a list nested more than {MAX_NESTING} deep")
        return FieldType(base, element=parse_type(inside))
    if inside:
        raise Refused(f"{base} takes nothing in brackets, so {text!r} is no type")
    return FieldType(base)


# From what a caller gave to the value that is kept; each raises `WrongValue`.


def check_value(of: FieldType, value: Any) -> Any:
    """The value in its one form: 5 of a float is 5.0, a time of another zone is the same time in UTC."""
    return _CHECKS[of.base](of, value)


def _check_bool(_: FieldType, value: Any) -> bool:
    if type(value) is not bool:
        raise WrongValue(f"{shown(value)} is no bool")
    return value


def _check_int(_: FieldType, value: Any) -> int:
    if type(value) is not int or not MIN_INT <= value <= MAX_INT:
        raise WrongValue(f"{shown(value)} is no int of 64 bits")
    return value


def _check_float(_: FieldType, value: Any) -> float:
    if type(value) is int:
        value = float(value) if abs(value) < 2**1000 else math.inf
    if type(value) is not float or not math.isfinite(value):
        raise WrongValue(f"{shown(value)} is no finite float")
    return value + 0.0  # -0.0 becomes 0.0


def _check_decimal(_: FieldType, value: Any) -> Decimal:
    if type(value) is int:
        value = Decimal(value)
    if type(value) is not Decimal or not value.is_finite():
        raise WrongValue(f"{shown(value)} is no decimal")
    sign, digits, exponent = value.as_tuple()
    if (
        not isinstance(exponent, int)
        or abs(exponent) > MAX_EXPONENT
        or len(digits) > 19
        or _coefficient(digits) > MAX_INT
    ):
        raise WrongValue(f"{shown(value)} has more than 18 digits or an exponent beyond {MAX_EXPONENT}")
    return Decimal((0, digits, exponent)) if sign and not value else value


def _check_string(_: FieldType, value: Any) -> str:
    if not isinstance(value, str):
        raise WrongValue(f"{shown(value)} is no string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise WrongValue("is no text that UTF-8 can write (a lone surrogate)") from None
    return str(value)


def _check_bytes(_: FieldType, value: Any) -> bytes:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise WrongValue(f"{shown(value)} is no bytes")
    return bytes(value)


def _check_timestamp(_: FieldType, value: Any) -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise WrongValue(f"{shown(value)} is no time with a time zone")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise WrongValue(f"{shown(value)} is outside the years 1 to 9999 in UTC") from None


def _check_date(_: FieldType, value: Any) -> date:
    if type(value) is not date:
        raise WrongValue(f"{shown(value)} is no date")
    return value


def _check_uuid(_: FieldType, value: Any) -> UUID:
    if not isinstance(value, UUID):
        raise WrongValue(f"{shown(value)} is no uuid")
    return value


def _check_enum(of: FieldType, value: Any) -> str:
    if value not in of.choices:
        raise WrongValue(f"{shown(value)} is none of {', '.join(of.choices)}")
    return str(value)


def _check_list(of: FieldType, value: Any) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise WrongValue(f"{shown(value)} is no list")
    if of.element is None:
        return [_check_free(each, 1) for each in value]
    return [check_value(of.element, each) for each in value]


def _check_map(_: FieldType, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise WrongValue(f"{shown(value)} is no map")
    checked: dict[str, Any] = _check_free(value, 0)
    return checked


def _check_free(value: Any, depth: int) -> Any:
    """Inside maps and untyped lists: what JSON knows, and bytes."""
    if value is None or type(value) is bool:
        return value
    if depth > MAX_NESTING:
        raise WrongValue(f"is nested more than {MAX_NESTING} deep")
    if isinstance(value, str):
        return _check_string(_STRING, value)
    if type(value) is int:
        return _check_int(_STRING, value)
    if type(value) is float:
        return _check_float(_STRING, value)
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, (list, tuple)):
        return [_check_free(each, depth + 1) for each in value]
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise WrongValue("is a map with a key that is no text")
        return {_check_string(_STRING, key): _check_free(each, depth + 1) for key, each in value.items()}
    raise WrongValue(f"holds {shown(value)}, which a map or list cannot hold")


def _check_reference(_: FieldType, value: Any) -> Reference:
    if (
        not isinstance(value, Reference)
        or not 0 <= value.incarnation <= MAX_INTEGER
        or not 1 <= value.object <= MAX_INTEGER
    ):
        raise WrongValue(f"{shown(value)} is no reference")
    return value


def _check_blob(_: FieldType, value: Any) -> Blob:
    if not isinstance(value, Blob) or not value.is_possible:
        raise WrongValue(f"{shown(value)} is no blob")
    return value


_STRING = FieldType("string")
_CHECKS: dict[str, Callable[[FieldType, Any], Any]] = {
    "bool": _check_bool, "int": _check_int, "float": _check_float, "decimal": _check_decimal,
    "string": _check_string, "bytes": _check_bytes, "timestamp": _check_timestamp, "date": _check_date,
    "uuid": _check_uuid, "enum": _check_enum, "list": _check_list, "map": _check_map, "reference": _check_reference,
    "blob": _check_blob,
}  # fmt: skip


# Bodies. A type that is not named in `_TO_BODY` stands there as it is.


def body_writer(of: FieldType) -> Callable[[Any], Any] | None:
    """From a checked value (never None) to what CBOR writes; None when that is the value itself."""
    if of.base == "list" and of.element is not None:
        write = body_writer(of.element)
        return None if write is None else lambda values: [write(each) for each in values]
    return _TO_BODY.get(of.base)


def body_reader(of: FieldType) -> Callable[[Any], Any] | None:
    """The way back, from bytes that were checked before; None when the value stands there as it is."""
    if of.base == "list" and of.element is not None:
        read = body_reader(of.element)
        return None if read is None else lambda values: [read(each) for each in values]
    return _FROM_BODY.get(of.base)


def read_body_value_untrusted(of: FieldType, plain: Any) -> Any:
    """The value of what a stranger's CBOR said (never None). Raises `PeerMisbehaved`."""
    try:
        if of.base == "list":
            values = _list_untrusted(plain)
            if of.element is not None:
                return [read_body_value_untrusted(of.element, each) for each in values]
        if of.base == "enum":  # a newer minor version may know more choices than we do
            return _check_string(of, plain)
        read = _FROM_BODY_UNTRUSTED.get(of.base)
        return check_value(of, plain if read is None else read(plain))
    except (WrongValue, ValueError, TypeError, OverflowError, IndexError, InvalidOperation) as error:
        raise PeerMisbehaved(f"a value that is no {of}: {error}") from error


def _coefficient(digits: tuple[int, ...]) -> int:
    return int("".join(map(str, digits)))


def _decimal_to_body(value: Decimal) -> list[int]:
    sign, digits, exponent = value.as_tuple()
    number = _coefficient(digits)
    return [int(exponent), -number if sign else number]


def _decimal_from_body(pair: list[int]) -> Decimal:
    return Decimal(pair[1]).scaleb(pair[0])


def _list_untrusted(plain: Any) -> list[Any]:
    if type(plain) is not list:
        raise WrongValue("is no list")
    return plain


def _decimal_from_body_untrusted(pair: Any) -> Decimal:
    if type(pair) is not list or len(pair) != 2 or type(pair[0]) is not int or type(pair[1]) is not int:
        raise WrongValue("is no pair of integers")
    if abs(pair[0]) > MAX_EXPONENT:
        raise WrongValue(f"has exponent {pair[0]}")
    return _decimal_from_body(pair)


def time_to_body(value: datetime) -> int:
    return (value - _EPOCH) // _MICROSECOND


def _time_from_body(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise WrongValue("is no integer")
    return value


def day_to_body(value: date) -> int:
    return value.toordinal() - _FIRST_DAY


def _day_from_body(days: int) -> date:
    return date.fromordinal(days + _FIRST_DAY)


def _reference_from_body(data: bytes) -> Reference:
    return Reference.from_bytes_untrusted(data)


def _float_from_body_untrusted(value: Any) -> float:
    if type(value) is not float:
        raise WrongValue("is no float")
    return value


def _uuid_from_body(data: Any) -> UUID:
    if type(data) is not bytes:
        raise WrongValue("is no bytes")
    return UUID(bytes=data)


def _reference_from_body_untrusted(data: Any) -> Reference:
    if type(data) is not bytes:
        raise WrongValue("is no bytes")
    return Reference.from_bytes_untrusted(data)


_TO_BODY: dict[str, Callable[[Any], Any]] = {
    "decimal": _decimal_to_body,
    "timestamp": time_to_body,
    "date": day_to_body,
    "uuid": lambda value: value.bytes,
    "reference": lambda value: value.to_bytes(),
    "blob": list,
}
_FROM_BODY: dict[str, Callable[[Any], Any]] = {
    "decimal": _decimal_from_body,
    "timestamp": _time_from_body,
    "date": _day_from_body,
    "uuid": _uuid_from_body,
    "reference": _reference_from_body,
    "blob": lambda pair: Blob(*pair),
}
_FROM_BODY_UNTRUSTED: dict[str, Callable[[Any], Any]] = {
    "float": _float_from_body_untrusted,
    "decimal": _decimal_from_body_untrusted,
    "timestamp": lambda plain: _time_from_body(_whole(plain)),
    "date": lambda plain: _day_from_body(_whole(plain)),
    "uuid": _uuid_from_body,
    "reference": _reference_from_body_untrusted,
    "blob": lambda pair: Blob.of(*_list_untrusted(pair)),
}


def shown(value: Any) -> str:
    """A value as an error quotes it: short."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
