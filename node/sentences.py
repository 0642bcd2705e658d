"""From the grammar's pieces to a question: what `node.language` hands to the parser, bottom up.

    name COMPARISON value   ->  Compare        "and"  ->  And        "or"  ->  Or        "not"  ->  Not

Each method is named after a rule of `language.lark` and gets the pieces of its children, already made. So the tree is
never walked by recursion, and how deep a stranger nests is counted here, where it is refused (`MAX_NESTING`).
"""

from __future__ import annotations

import json
import re
from typing import Any

from lark import Token, Transformer

from identity.errors import Refused
from identity.names import Pattern
from node import language
from store.query import MAX_CONDITIONS, MAX_LIMIT, MAX_NESTING, MAX_ORDER, And, Compare, Condition, Not, Or, Question

_QUOTES = re.compile(r'\\.|"')


class Sentences(Transformer[Token, Any]):
    """One method a rule."""

    def __init__(self) -> None:
        super().__init__(visit_tokens=False)

    def question(self, parts: list[Any]) -> language.Asked:
        said: dict[str, Any] = {"where": None, "servers": None, "order": (), "limit": None, "show": None}
        for word, name, value in parts[1:]:
            if said[name] not in (None, ()):
                column = word.column
                raise Refused(
                    f"column {column} of the question: {str(word)!r} stands there twice",
                    next_step=language.EXAMPLE,
                    column=column,
                    line=word.line,
                )
            said[name] = value
        _check_size(said["where"])
        question = Question(parts[0], said["where"], said["order"], said["limit"], said["show"])
        return language.Asked(question, said["servers"])

    def class_name(self, parts: list[Token]) -> str:
        return str(parts[0]).strip("`")

    # A clause gives its first word, for errors to point at, its name and its value.

    def where(self, parts: list[Any]) -> tuple[Token, str, Condition]:
        return parts[0], "where", parts[1]

    def servers(self, parts: list[Token]) -> tuple[Token, str, Pattern]:
        return parts[0], "servers", Pattern(str(parts[1]))

    def order(self, parts: list[Any]) -> tuple[Token, str, tuple[tuple[str, bool], ...]]:
        keys = tuple(each for each in parts if not isinstance(each, Token))
        if len(keys) > MAX_ORDER:
            raise Refused(f"an order by {len(keys)} fields, {MAX_ORDER} allowed")
        return parts[0], "order", keys

    def key(self, parts: list[Any]) -> tuple[str, bool]:
        return parts[-1], len(parts) == 2

    def limit(self, parts: list[Token]) -> tuple[Token, str, int]:
        count = _integer(parts[1])
        if not 0 <= count <= MAX_LIMIT:
            raise Refused(f"column {parts[1].column} of the question: a limit of {count}", next_step=language.EXAMPLE)
        return parts[0], "limit", count

    def show(self, parts: list[Any]) -> tuple[Token, str, tuple[str, ...]]:
        return parts[0], "show", tuple(each for each in parts if not isinstance(each, Token))

    def any_of(self, parts: list[Condition]) -> Condition:
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def all_of(self, parts: list[Condition]) -> Condition:
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def negated(self, parts: list[Condition]) -> Condition:
        return Not(parts[0])

    def grouped(self, parts: list[Condition]) -> Condition:
        return parts[0]

    def compared(self, parts: list[Any]) -> Condition:
        return Compare(parts[0], str(parts[1]), parts[2])

    def contained(self, parts: list[Any]) -> Condition:
        return Compare(parts[0], "contains", parts[1])

    def one_of(self, parts: list[Any]) -> Condition:
        return Compare(parts[0], "in", parts[1])

    def none_of(self, parts: list[Any]) -> Condition:
        return Not(Compare(parts[0], "in", parts[1]))

    def is_null(self, parts: list[str]) -> Condition:
        return Compare(parts[0], "is null", None)

    def is_not_null(self, parts: list[str]) -> Condition:
        return Not(Compare(parts[0], "is null", None))

    def string(self, parts: list[Token]) -> str:
        text = str(parts[0])
        if text[0] == "'":
            text = '"' + _QUOTES.sub(_as_json_quotes, text[1:-1]) + '"'
        try:
            read: str = json.loads(text)
        except ValueError as error:
            place = f"column {parts[0].column} of the question"
            raise Refused(
                f"{place}: {_cut(text)} has an escape that JSON does not know", column=parts[0].column
            ) from error
        return read

    def integer(self, parts: list[Token]) -> int:
        return _integer(parts[0])

    def decimal(self, parts: list[Token]) -> float:
        value = float(parts[0])
        if value in (float("inf"), float("-inf")):
            raise Refused(f"column {parts[0].column} of the question: {_cut(parts[0])} is beyond a float")
        return value

    def true(self, _parts: list[Any]) -> bool:
        return True

    def false(self, _parts: list[Any]) -> bool:
        return False

    def values(self, parts: list[Any]) -> tuple[Any, ...]:
        return tuple(parts)

    def name(self, parts: list[Token]) -> str:
        return str(parts[0]).strip("`")


def _as_json_quotes(found: re.Match[str]) -> str:
    """Inside single quotes, as JSON writes it inside double ones."""
    return {"\\'": "'", '"': '\\"'}.get(found.group(), found.group())


def _integer(token: Token) -> int:
    if len(token) > 20 or not -(2**63) <= int(token) < 2**63:
        raise Refused(f"column {token.column} of the question: {_cut(token)} is beyond 64 bits", column=token.column)
    return int(token)


def _check_size(where: Condition | None) -> None:
    """Nesting and number of conditions, counted level by level. Raises `Refused`."""
    level = [] if where is None else [where]
    count = 0
    for _ in range(MAX_NESTING):
        count += sum(len(each.value) if isinstance(each, Compare) and each.op == "in" else 1 for each in level)
        if count > MAX_CONDITIONS:
            raise Refused(f"a question of more than {MAX_CONDITIONS} conditions")
        below: list[Condition] = []
        for each in level:
            if isinstance(each, Not):
                below.append(each.condition)
            elif not isinstance(each, Compare):
                below.extend(each.conditions)
        if not below:
            return
        level = below
    raise Refused(f"a question whose conditions are nested more than {MAX_NESTING} deep")


def _cut(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"
