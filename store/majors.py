"""A question names a class and means all of its majors: compiled once for each, its answers merged (DESIGN R2, A1).

    Airport where feet > 3000 order by metres

    major 1  icao, feet       feet > 3000, no order     /4  /9     the objects of a major come in the order asked for,
    major 2  icao, metres     nothing can meet it                  and are merged by it; ties are by reference

A field that a major has not is null there, and one whose values cannot be compared with what was asked for is met by
nothing but `!=`. What no major knows is refused. Rows show the fields of their own major, or what the question asks to
see. Nobody looks first whether a class has objects here: just after an upgrade that is a walk over all that have left.

In an order where majors have a field of different types, nulls come first, then truth, numbers by their value, times,
dates, texts, bytes, uuids, references; what has no order counts as null.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from identity.errors import Refused
from identity.names import Pattern, Reference
from store.definitions import ClassDefinition
from store.keys import any_key, complement, has_order
from store.query import (
    And,
    Compare,
    Condition,
    Not,
    Or,
    Question,
    check_limit,
    check_question,
    reference_key,
    sort_key,
    understood,
)
from store.records import Stored
from store.registry import ClassEntry
from store.selecting import batches_of, limited, select_ordered, select_rows
from store.values import Resolve

if TYPE_CHECKING:
    from store.reading import Reader

ALWAYS, NEVER = And(()), Or(())
SortKey = Callable[[Reference, Mapping[str, Any]], bytes]


class Part(NamedTuple):
    """What a question is for the objects of one class."""

    entry: ClassEntry
    question: Question


def select_named(
    reader: Reader, entries: Sequence[ClassEntry], question: Question, pattern: Pattern | None, size: int
) -> Iterator[list[Stored]]:
    """Batches of at most `size` rows of all these classes of one name, as `store.selecting.select_rows`.

    Raises `Refused` at once for what none of them has.
    """
    if len(entries) == 1:
        return select_rows(reader, entries[0], question, pattern, size)
    parts = parts_of(reader, entries, question)
    streams = [select_ordered(reader, each.entry, each.question, pattern) for each in parts]
    return batches_of(merged(streams, [each.entry.definition for each in parts], question), size)


def parts_of(reader: Reader, entries: Sequence[ClassEntry], question: Question) -> list[Part]:
    """The question for each class whose objects may meet it. Raises `Refused`."""
    resolve = reader.servers.resolve
    check_named(question, [each.definition for each in entries], resolve)
    parts = [Part(each, adapted(question, each.definition, resolve)) for each in entries]
    return [each for each in parts if each.question.where != NEVER]


def merged(
    streams: Sequence[Iterator[Stored | None]], definitions: Sequence[ClassDefinition], question: Question
) -> Iterator[Stored | None]:
    """Ordered streams as one, with the fields that were asked for; None is passed on."""
    rows = streams[0] if len(streams) == 1 else _merge(streams, common_sort_key(definitions, question.order))
    if question.limit is not None:
        rows = limited(rows, question.limit)
    return rows if question.fields is None else _shown(rows, question.fields)


def check_named(question: Question, definitions: Sequence[ClassDefinition], resolve: Resolve | None = None) -> None:
    """That each of its fields is known to one of these classes, and can be used so there. Raises `Refused`."""
    if len(definitions) == 1:
        check_question(question, definitions[0])
        _check_conditions(question.where, definitions, resolve)
        return
    check_limit(question)
    for name in question.fields or ():
        _one_of(definitions, lambda of, name=name: of.field(name))  # type: ignore[misc]
    for each in question.order:
        alone = Question(question.class_name, order=(each,))
        _one_of(definitions, lambda of, alone=alone: check_question(alone, of))  # type: ignore[misc]
    _check_conditions(question.where, definitions, resolve)


def _check_conditions(where: Condition | None, definitions: Sequence[ClassDefinition], resolve: Resolve | None) -> None:
    for each in _compares(where):
        if each.op == "is null":
            _one_of(definitions, lambda of, each=each: of.field(each.field))  # type: ignore[misc]
        else:
            _one_of(definitions, lambda of, each=each: understood(each, of, resolve))  # type: ignore[misc]


def _one_of(definitions: Sequence[ClassDefinition], check: Callable[[ClassDefinition], Any]) -> None:
    """Raises what the first says that has the field, else the first of all, when none of them is content."""
    said: Refused | None = None
    for each in definitions:
        try:
            check(each)
        except Refused as error:
            if said is None or "class" in said.details:  # it has no such field: another one may say more
                said = said if said is not None and "class" in error.details else error
        else:
            return
    assert said is not None
    raise said


def _compares(where: Condition | None) -> Iterator[Compare]:
    if isinstance(where, Compare) and where.op == "in" and isinstance(where.value, (list, tuple)) and where.value:
        yield from (Compare(where.field, "=", each) for each in where.value)
    elif isinstance(where, Compare):
        yield where
    elif isinstance(where, Not):
        yield from _compares(where.condition)
    elif where is not None:
        for each in where.conditions:
            yield from _compares(each)


# What it means for one class.


def adapted(question: Question, definition: ClassDefinition, resolve: Resolve | None = None) -> Question:
    """The question with only what this class has, all its fields shown; `where` is `NEVER` when nothing can meet it."""
    where = None if question.where is None else _known(question.where, definition, resolve)
    return replace(
        question,
        where=None if where == ALWAYS else where,
        order=tuple(each for each in question.order if _has_order(definition, each[0])),
        fields=None,
    )


def _has_order(definition: ClassDefinition, name: str) -> bool:
    field = definition.by_name.get(name)
    return field is not None and has_order(field.field_type)


def _known(condition: Condition, definition: ClassDefinition, resolve: Resolve | None) -> Condition:
    """The condition without what is settled by what the class has not."""
    if isinstance(condition, Compare):
        return _compare(condition, definition, resolve)
    if isinstance(condition, Not):
        inner = _known(condition.condition, definition, resolve)
        return NEVER if inner == ALWAYS else ALWAYS if inner == NEVER else Not(inner)
    settles, leaves = (NEVER, ALWAYS) if isinstance(condition, And) else (ALWAYS, NEVER)
    kept = []
    for each in condition.conditions:
        known = _known(each, definition, resolve)
        if known == settles:
            return settles
        if known != leaves:
            kept.append(known)
    if len(kept) < 2:
        return kept[0] if kept else leaves
    return type(condition)(tuple(kept))


def _compare(condition: Compare, definition: ClassDefinition, resolve: Resolve | None) -> Condition:
    op, value = condition.op, condition.value
    if condition.field not in definition.by_name:
        meets_null = {"is null": True, "=": value is None, "!=": value is not None, "in": op == "in" and None in value}
        return ALWAYS if meets_null.get(op, False) else NEVER
    if op == "is null":
        return condition
    if op == "in":  # those of another type are simply not among its values
        each = (Compare(condition.field, "=", one) for one in value)
        fitting = tuple(one.value for one in each if _is_understood(one, definition, resolve))
        return Compare(condition.field, op, fitting) if fitting else NEVER
    if _is_understood(condition, definition, resolve):
        return condition
    return ALWAYS if op == "!=" else NEVER


def _is_understood(condition: Compare, definition: ClassDefinition, resolve: Resolve | None) -> bool:
    try:
        understood(condition, definition, resolve)
    except Refused:
        return False
    return True


# From the rows of each to the rows of all.


def common_sort_key(definitions: Sequence[ClassDefinition], order: Sequence[tuple[str, bool]]) -> SortKey:
    """What orders rows of all these classes, each as `store.query.sort_key` orders its own.

    Rows of classes that have become known since are ordered too.
    """
    by_reference: SortKey = lambda reference, _: reference_key(reference)  # noqa: E731
    if not order:
        return by_reference
    holding = [[of for of in definitions if _has_order(of, name)] for name, _ in order]
    alike = all(
        len({of.by_name[name].field_type.base for of in having}) == 1
        for having, (name, _) in zip(holding, order, strict=True)
    )
    first = next((of for of in definitions if all(of in having for having in holding)), None)

    def by_any(reference: Reference, fields: Mapping[str, Any]) -> bytes:
        keys = [(any_key(fields.get(name)), descending) for name, descending in order]
        pieces = [complement(key) if descending else key for key, descending in keys]
        return b"".join((*pieces, reference_key(reference)))

    if not alike or first is None:
        return by_any
    usual = sort_key(first, order)

    def key(reference: Reference, fields: Mapping[str, Any]) -> bytes:
        try:
            return usual(reference, fields)
        except (TypeError, ValueError, AttributeError, ArithmeticError, OverflowError):  # of another type there
            return by_any(reference, fields)

    return key


def _merge(streams: Sequence[Iterator[Stored | None]], key: SortKey) -> Iterator[Stored | None]:
    heap: list[tuple[bytes, int, Stored]] = []
    due = list(range(len(streams)))
    while True:
        while due:
            for row in streams[due[-1]]:
                if row is None:
                    yield None
                    continue
                heapq.heappush(heap, (key(row.reference, row.fields), due[-1], row))
                break
            due.pop()
        if not heap:
            return
        _, at, row = heapq.heappop(heap)
        yield row
        if not heap:  # the others have ended
            yield from streams[at]
            return
        due.append(at)


def _shown(rows: Iterator[Stored | None], names: Sequence[str]) -> Iterator[Stored | None]:
    for row in rows:
        yield row and replace(row, fields={name: row.fields.get(name) for name in names})
