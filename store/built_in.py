"""The classes that every store has: what they are called, their numbers, their fields.

    number  class          feed       what
    0       -                         the null object
    1       Class          registry   a class that its owner has adopted
    2       KnownServer    -          server numbers of records: a server's name and incarnation
    3       Server         registry   a server's certificates, addresses, and what it mirrors
    4       Answered       -          requests that were carried out, and their answers
    5       Setting        -          what this server keeps for itself
    6       KnownClass     -          class numbers of records: a definition known here
    64..    users' classes data       numbered by the object that makes them known

Their definitions change by minor versions only, in code.
"""

from __future__ import annotations

from store.definitions import ClassDefinition, Field

NULL, CLASS, KNOWN_SERVER, SERVER, ANSWERED, SETTING, KNOWN_CLASS = range(7)
FIRST_USER_NUMBER = 64


def _built_in(name: str, privacy: str, *fields: Field) -> ClassDefinition:
    minor = max(field.since for field in fields)
    return ClassDefinition(name=name, minor=minor, fields=fields, privacy=privacy).checked()


BUILT_IN: dict[int, ClassDefinition] = {
    CLASS: _built_in(
        "Class", "distributed",
        Field(name="name", required=True, index=True),
        Field(name="major", type="int", required=True),
        Field(name="minor", type="int", required=True),
        Field(name="description"),
        Field(name="privacy", required=True),
        Field(name="fields", type="list", required=True),
    ),
    KNOWN_SERVER: _built_in(
        "KnownServer", "private",
        Field(name="server", type="bytes", required=True),
        Field(name="incarnation", type="int", required=True),
    ),
    SERVER: _built_in(
        "Server", "distributed",
        Field(name="server", type="bytes", required=True, unique=True),
        Field(name="incarnation", type="int", required=True),
        Field(name="name"),
        Field(name="chain", type="list(bytes)", required=True),
        Field(name="addresses", type="list"),
        Field(name="wall_ms", type="int"),
        Field(name="mirrors", type="list", since=1),
    ),
    ANSWERED: _built_in(
        "Answered", "private",
        Field(name="request", type="bytes", required=True, unique=True),
        Field(name="answer", type="bytes"),
    ),
    SETTING: _built_in(
        "Setting", "private",
        Field(name="key", required=True, unique=True),
        Field(name="value", type="list"),
    ),
    KNOWN_CLASS: _built_in(
        "KnownClass", "private",
        Field(name="definition", type="list", required=True),
    ),
}  # fmt: skip
BUILT_IN_NAMES = {each.name: number for number, each in BUILT_IN.items()}
REGISTRY_FINGERPRINTS = {BUILT_IN[number].fingerprint: BUILT_IN[number] for number in (CLASS, SERVER)}
