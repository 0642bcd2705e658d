"""Values as JSON and back, at the edge of the node (DESIGN N10), and rows as bytes without work per field.

    an object    {reference, class, sequence, fields, kind, position, age, path}, and where another one answered
                 than the owner: by, and owner_unreachable_since in seconds where that is why;
                 of the rows of a query the completeness says that
    a row of a query is the same; of 28 000 rows only reference, sequence and fields differ, so the rest is encoded
    once for each source (owner, position) and the bytes are joined

What a field's JSON means its class says (`store.values`). A class of nothing but texts, floats and bools is JSON
already; only others are walked field by field.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from identity.errors import Refused
from store.definitions import ClassDefinition, definition_from_dict
from store.values import from_json, to_json

if TYPE_CHECKING:
    from node.asking import Found
    from node.node import Node

_OF_THE_SERVER = ("owners", "adopted", "building")  # what GET /v1/classes says beside the definition
_PLAIN_TYPES = frozenset(("string", "float", "bool"))
_encode = msgspec.json.Encoder().encode


class Forms:
    """The forms of one request: definitions and the ends of rows are looked up once."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._plain: dict[tuple[str, bytes], bool] = {}
        self._servers: dict[bytes, bytes] = {}
        self._ends: dict[tuple[Any, ...], bytes] = {}
        self._middles: dict[str, bytes] = {}

    def fields(self, class_name: str, said: object) -> dict[str, Any]:
        """The Python values of a new object's fields. Raises `Refused` naming the field."""
        return from_json(self._node.definition(class_name), _map(said), resolve=self._node.resolve, partial=True)

    def changes(self, found: Found, said: object, *, whole: bool = False) -> dict[str, Any]:
        """The same of an object that is to be changed; `whole`: fields that are not said have no value then."""
        names = _map(said)
        definition = self._node.definition_to_change(found, names)
        fields = from_json(definition, names, resolve=self._node.resolve, partial=True)
        return {**dict.fromkeys(each.name for each in definition.fields), **fields} if whole else fields

    def definition(self, said: object) -> ClassDefinition:
        """A class from JSON: `fields` as a map by name, or as the list that `GET /v1/classes` shows."""
        if not isinstance(said, dict):
            raise Refused("a class is a JSON object", next_step='send {"name": ..., "fields": [{"name", "type"}, ...]}')
        if isinstance(said.get("fields"), list) and not all(isinstance(each, dict) for each in said["fields"]):
            raise Refused("a field is a JSON object with a name and a type", field="fields")
        return definition_from_dict({key: value for key, value in said.items() if key not in _OF_THE_SERVER})

    def row(self, found: Found) -> bytes:
        """One object as JSON."""
        server = found.reference.server
        text = self._servers.get(server)
        if text is None:
            text = self._servers[server] = str(server).encode()
        middle = self._middles.get(found.class_name)
        if middle is None:
            middle = self._middles[found.class_name] = b'","class":' + _encode(found.class_name) + b',"sequence":'
        source = found[4:-1]  # what an answer says of itself
        end = self._ends.get(source)
        if end is None:
            end = self._ends[source] = self._end(found)
            if len(self._ends) > 4096:  # cached rows have each their own age
                self._ends.clear()
        fields = found.fields if self._is_plain(found) else self._as_json(found)
        return b'{"reference":"%b/%d%b%d,"fields":%b%b' % (
            text, found.reference.object, middle, found.sequence, _encode(fields), end,
        )  # fmt: skip

    def plain(self, value: Mapping[str, Any]) -> bytes:
        """JSON of values that are JSON already."""
        return _encode(value)

    def _end(self, found: Found) -> bytes:
        told: dict[str, Any] = {
            "kind": found.kind,
            "position": None if found.position is None else str(found.position),
            "age": None if found.age is None else round(found.age, 3),
            "path": [str(each) for each in found.path],
        }
        if found.owner_unreachable_since is not None:
            told["owner_unreachable_since"] = found.owner_unreachable_since
        if found.by is not None:
            told["by"] = str(found.by)
        return b"," + _encode(told)[1:]

    def _is_plain(self, found: Found) -> bool:
        named = (found.class_name, found.fingerprint)
        plain = self._plain.get(named)
        if plain is None:
            definition = self._node.definition(*named)
            plain = self._plain[named] = all(each.type in _PLAIN_TYPES for each in definition.fields)
        return plain

    def _as_json(self, found: Found) -> dict[str, Any]:
        fields = to_json(self._node.definition(found.class_name, found.fingerprint), found.fields)
        return {name: fields.get(name) for name in found.fields}  # another major's, that was asked for, is null


def _map(said: object) -> dict[str, Any]:
    if not isinstance(said, dict):
        raise Refused("fields are a JSON object", next_step='send {"fields": {"NAME": VALUE, ...}}', field="fields")
    return said
