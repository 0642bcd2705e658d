"""The text form of a question, and the Python builder that writes the same (DESIGN 8).

    City where population > 5000000 and name ^= "S" from 1.7.* order by -population limit 10

    CLASS                 whose objects
    where CONDITION       = != < <= > >=   ^= begins with   in ["a", "b"]   is null   and or not ( )
                          FIELD contains "a"   of a list
    from PATTERN          which owners (DESIGN N3); all when left out
    order by FIELD, ...   ascending, -FIELD descending; ties by reference, always
    limit N
    show FIELD, ...       only these fields          the clauses in any order, each once

    find("City").where((F.population > 5_000_000) & F.name.startswith("S")).servers("1.7.*").order_by("-population")

Both make an `Asked`: the question, and the pattern of its owners. `text_of` goes back, so that `parse(text_of(asked))`
is `asked`. The grammar stands in `language.lark`.

Promised: a text that is none raises `Refused` naming the column and what was expected there; whatever its nesting or
length, in bounded time. Values are JSON's; that a field exists and fits its value is checked where the class is known
(`store.query`). The parser is built when the first text comes (30 ms): the command never needs it.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from identity.errors import Refused
from identity.names import Pattern
from store.query import And, Compare, Condition, Not, Or, Question

if TYPE_CHECKING:
    from lark import Lark

MAX_TEXT = 64 << 10  # a list of some thousand values still fits
EXAMPLE = 'as in City where population > 5000000 and name ^= "S" from 1.7.* order by -population limit 10'
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_JOINTS = ("and", "or", "not", "in", "is", "contains")
_WORDS = frozenset(("where", "from", "order", "by", "limit", "show", "null", "true", "false", *_JOINTS))


class Asked(NamedTuple):
    """What was asked, and of whom (None: every owner)."""

    question: Question
    servers: Pattern | None


def parse(text: str) -> Asked:
    """The question that a text asks. Raises `Refused` naming the column and what was expected there."""
    from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError

    if len(text) > MAX_TEXT:
        raise Refused(f"a question of {len(text)} characters, {MAX_TEXT} allowed")
    try:
        asked: Any = _parser().parse(text)  # an `Asked`, for `Sentences` makes one of every tree
    except VisitError as error:
        if isinstance(error.orig_exc, Refused):
            raise error.orig_exc from None
        raise
    except UnexpectedToken as error:
        expected = error.accepts or error.expected
        at = len(text) if error.token.type == "$END" else error.token.start_pos or 0
        found = "the question ends there" if error.token.type == "$END" else f"{_shown(str(error.token))} stands there"
        raise _unexpected(text, at, set(expected), found) from None
    except UnexpectedCharacters as error:
        at = error.pos_in_stream or 0
        raise _unexpected(text, at, set(error.allowed or ()), f"{_shown(_word_at(text, at))} stands there") from None
    except UnexpectedInput as error:  # pragma: no cover - lark has no further kinds today
        raise Refused(f"the question cannot be read: {error}", next_step=EXAMPLE) from None
    assert isinstance(asked, Asked)
    return asked


def text_of(question: Question, servers: Pattern | None = None) -> str:
    """The text of a question, such that `parse` gives it back. Raises `Refused` for what has no text."""
    parts = [_name(question.class_name)]
    if question.where is not None:
        parts.append(f"where {_condition_text(question.where)}")
    if servers is not None:
        parts.append(f"from {servers.text}")
    if question.order:
        keys = (f"{'-' if descending else ''}{_name(field)}" for field, descending in question.order)
        parts.append(f"order by {', '.join(keys)}")
    if question.limit is not None:
        parts.append(f"limit {question.limit}")
    if question.fields is not None:
        parts.append(f"show {', '.join(map(_name, question.fields))}")
    return " ".join(parts)


class Find(NamedTuple):
    """A question being built: each word gives a new one. `str()` is its text, `asked()` its value."""

    class_name: str
    condition: Condition | None = None
    pattern: Pattern | None = None
    keys: tuple[tuple[str, bool], ...] = ()
    most: int | None = None
    shown: tuple[str, ...] | None = None

    def where(self, *conditions: Term) -> Find:
        """All of these, and those said before."""
        parts = [self.condition] if self.condition is not None else []
        parts += [each.condition for each in conditions]
        return self._replace(condition=_all_of(parts))

    def servers(self, pattern: str) -> Find:
        """Only objects of these owners, as in `1.7.*`."""
        return self._replace(pattern=Pattern(pattern))

    def order_by(self, *fields: str) -> Find:
        """By these fields, `-field` descending."""
        return self._replace(keys=tuple((each.removeprefix("-"), each.startswith("-")) for each in fields))

    def limit(self, count: int) -> Find:
        return self._replace(most=count)

    def show(self, *fields: str) -> Find:
        """Only these fields of each object."""
        return self._replace(shown=fields)

    def asked(self) -> Asked:
        question = Question(self.class_name, self.condition, self.keys, self.most, self.shown)
        return Asked(question, self.pattern)

    def __str__(self) -> str:
        return text_of(*self.asked())


def find(of: Any) -> Find:
    """Begin a question: the name of a class, or a class made by `bangpath.stored`."""
    return Find(of if isinstance(of, str) else of.__name__)


class Term:
    """A condition being built: `&` and, `|` or, `~` not."""

    __slots__ = ("condition",)

    def __init__(self, condition: Condition) -> None:
        self.condition = condition

    def __and__(self, other: Term) -> Term:
        return Term(And((self.condition, other.condition)))

    def __or__(self, other: Term) -> Term:
        return Term(Or((self.condition, other.condition)))

    def __invert__(self) -> Term:
        return Term(Not(self.condition))

    def __bool__(self) -> bool:
        raise Refused("a condition is no yes or no yet", next_step="join conditions with & | ~ and parentheses")


class FieldOf:
    """A field in the builder: compare it as one compares in Python."""

    __slots__ = ("_field",)
    __hash__ = None  # type: ignore[assignment]  # == builds a condition here

    def __init__(self, field: str) -> None:
        self._field = field

    def __eq__(self, value: object) -> Term:  # type: ignore[override]
        return self.is_null() if value is None else Term(Compare(self._field, "=", value))

    def __ne__(self, value: object) -> Term:  # type: ignore[override]
        return ~self.is_null() if value is None else Term(Compare(self._field, "!=", value))

    def __lt__(self, value: object) -> Term:
        return Term(Compare(self._field, "<", value))

    def __le__(self, value: object) -> Term:
        return Term(Compare(self._field, "<=", value))

    def __gt__(self, value: object) -> Term:
        return Term(Compare(self._field, ">", value))

    def __ge__(self, value: object) -> Term:
        return Term(Compare(self._field, ">=", value))

    def startswith(self, prefix: str) -> Term:
        return Term(Compare(self._field, "^=", prefix))

    def contains(self, value: object) -> Term:
        """Of a list: one of its elements is this."""
        return Term(Compare(self._field, "contains", value))

    def one_of(self, *values: object) -> Term:
        return Term(Compare(self._field, "in", values))

    def is_null(self) -> Term:
        return Term(Compare(self._field, "is null", None))


class _Fields:
    """`F.population` is the field `population`."""

    def __getattr__(self, name: str) -> FieldOf:
        return FieldOf(name)


F = _Fields()


@cache
def _parser() -> Lark:
    from lark import Lark

    from node.sentences import Sentences

    grammar = (Path(__file__).with_name("language.lark")).read_text(encoding="utf-8")
    return Lark(grammar, start="question", parser="lalr", transformer=Sentences(), maybe_placeholders=False)


def _all_of(parts: list[Condition]) -> Condition | None:
    if len(parts) > 1:
        return And(tuple(parts))
    return parts[0] if parts else None


def _name(name: str) -> str:
    """A field's or class's name as it must be written."""
    if not _NAME.match(name):
        raise Refused(f"{name!r} is no name of a field or class", next_step="use letters, digits and _")
    return f"`{name}`" if name in _WORDS else name


def _condition_text(condition: Condition) -> str:
    if isinstance(condition, Compare):
        return _comparison_text(condition)
    if isinstance(condition, Not):
        return f"not ({_condition_text(condition.condition)})"
    joint = " and " if isinstance(condition, And) else " or "
    return joint.join(
        _condition_text(each) if isinstance(each, Compare) else f"({_condition_text(each)})"
        for each in condition.conditions
    )


def _comparison_text(condition: Compare) -> str:
    field = _name(condition.field)
    if condition.op == "is null":
        return f"{field} is null"
    if condition.op == "in":
        return f"{field} in [{', '.join(map(_value_text, condition.value))}]"
    return f"{field} {condition.op} {_value_text(condition.value)}"


def _value_text(value: object) -> str:
    if isinstance(value, (str, bool, int, float)):
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    return json.dumps(str(value), ensure_ascii=False)


def _word_at(text: str, at: int) -> str:
    found = re.compile(r"\S{1,40}").match(text, at)
    return found.group() if found else text[at : at + 1]


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")


def _unexpected(text: str, at: int, expected: set[str], found: str) -> Refused:
    line = text.count("\n", 0, at) + 1
    column = at - (text.rfind("\n", 0, at) + 1) + 1
    names = list(
        dict.fromkeys(
            _SAID.get(each, "the end" if each == "$END" else each.lower()) for each in sorted(expected, key=_rank)
        )
    )
    wanted = f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else "".join(names) or "its end"
    place = f"column {column}" if "\n" not in text.strip() else f"line {line}, column {column}"
    return Refused(
        f"{place} of the question: expected {wanted}, but {found}", next_step=EXAMPLE, column=column, line=line
    )


# Terminals of the grammar as people call them, in the order in which they are offered.
_SAID = {
    "NAME": "a name",
    "QUOTED_NAME": "a name",
    "COMPARISON": "a comparison (= != < <= > >= ^=)",
    "STRING": "a text in quotes",
    "INTEGER": "a number",
    "DECIMAL": "a number",
    "TRUE": "true",
    "FALSE": "false",
    "PATTERN": "a pattern of servers (1.7, 1.7.*, *)",
    "MINUS": "-",
    "COMMA": "a comma",
    "LPAR": "(",
    "RPAR": ")",
    "LSQB": "[",
    "RSQB": "]",
}


def _rank(terminal: str) -> tuple[int, str]:
    order = list(_SAID)
    at = order.index(terminal) if terminal in order else len(order) + (terminal == "$END")
    return at, terminal
