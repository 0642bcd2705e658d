"""What a scenario's class line says, and what is written into the fields of such a class.

    class Item text:string serial:int unique size:int index weight:float done:bool near:reference index

    text     "1.2 says 17"       written once in a run, so that whoever reads it can say which change it was
    serial   1, 2, 3, ...        unique: the least that nobody is known to have; what an object lets go comes again soon
    size     -9 to 9             few values, so that equality finds several; now and then a very large one
    near     1.1/4               an object of the same owner
    all but the text now and then null

What comes by chance comes from the run's seed. Of a class with nothing but a text nothing is drawn. What other types
(decimals, times, lists, ...) have stays null.

Left to others: who asks whom for which change (`verbs_work.py`, `verbs_contest.py`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any

from identity.errors import Refused
from identity.names import Reference
from store.definitions import ClassDefinition, Field, definition_from_dict
from store.fieldtypes import is_name, parse_type

if TYPE_CHECKING:
    from simulations.steps import Run

_FIELD = r"\w+:\w+(?:\(\w+\))?"
FIELDS = rf"({_FIELD}(?: {_FIELD})*)"  # for the patterns of verbs: one group
INDEXED = rf"(?=.* (?:index|unique)\b)({_FIELD}(?: {_FIELD}| index| unique)*)"
NULL = 0.15  # of the values
LARGE = 0.1  # of the numbers
_TEXT = "text"
_SERIAL = {"int": lambda number: number, "float": lambda number: number / 2, "string": lambda number: f"s{number}"}


def definition_of(name: str, fields: str) -> ClassDefinition:
    """The class that a line makes. Raises `Refused`, with the line that would be right, where there is one."""
    if not is_name(name):
        raise Refused(
            f"{name!r} is no name of a class", next_step=f"letters of a to z, digits and _, as in: class Note {fields}"
        )
    said: dict[str, dict[str, Any]] = {}
    words = fields.split()
    for at, word in enumerate(words):
        field_name, colon, kind = word.partition(":")
        if not colon:
            continue
        parse_type(kind)  # which says what types there are
        if field_name in said:
            raise Refused(
                f"{name} has two fields of the name {field_name}",
                next_step=f"leave one out, as in: class {name} {without(fields, field_name)}",
            )
        if not is_name(field_name):
            raise Refused(
                f"{field_name!r} is no name of a field",
                next_step=f"letters of a to z, digits and _, as in: class {name} text:string",
            )
        said[field_name] = {"type": kind, **dict.fromkeys(_until_next(words[at + 1 :]), True)}
    return definition_from_dict({"name": name, "fields": said})


def wrong_word(line: str) -> str:
    """Of a class line that cannot be read: the first word that is neither a field nor said of one; "" without such."""
    match = re.fullmatch(r"class (\w+) (.+)", line)
    words = match[2].split() if match else []
    return next((repr(each) for each in words if not re.fullmatch(rf"{_FIELD}|index|unique", each)), "")


def without(fields: str, name: str) -> str:
    """A class line's fields without those of this name but the first."""
    kept: list[str] = []
    taken, seen = True, False
    for word in fields.split():
        field_name, colon, _ = word.partition(":")
        if colon:
            taken = field_name != name or not seen
            seen = seen or field_name == name
        if taken:
            kept.append(word)
    return " ".join(kept)


def _until_next(words: Iterable[str]) -> Iterable[str]:
    for word in words:
        if ":" in word:
            return
        yield word


class Values:
    """The values of one run: which of the unique ones somebody may have, and new ones."""

    def __init__(self) -> None:
        self.classes: dict[str, ClassDefinition] = {}
        self._taken: dict[tuple[str, str, str], Counter[Any]] = {}  # owner, class, field -> by how many

    @staticmethod
    def of(run: Run) -> Values:
        values: Values = run.memory.setdefault("values", Values())
        return values

    def fill(
        self,
        run: Run,
        owner: str,
        class_name: str,
        text: str,
        *,
        whole: bool = True,
        unique: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The fields of a new object of this owner (`whole`), or of a change: the text, and about half of the others.

        The unique values are taken at once; `let_go` gives them back. `unique`: those that others have or want; any
        that are missing there are new ones, and not null.
        """
        fields: dict[str, Any] = {_TEXT: text}
        random = run.world.random
        for field in self._others(class_name):
            if not whole and random.random() < 0.5:
                continue
            if field.unique and unique is not None and field.name in unique:
                fields[field.name] = unique[field.name]
            else:
                null = NULL * (not field.required and not (field.unique and unique is not None))
                value = self._value(run, owner, class_name, field, random)
                fields[field.name] = None if random.random() < null else value
        self.take(owner, class_name, fields)
        return fields

    def unique_names(self, class_name: str) -> list[str]:
        """The unique fields, but for the text, which is never written twice anyway."""
        return [field.name for field in self._others(class_name) if field.unique]

    def take(self, owner: str, class_name: str, fields: Mapping[str, Any]) -> None:
        """Somebody asks for these."""
        for name in self.unique_names(class_name):
            if fields.get(name) is not None:
                self._taken.setdefault((owner, class_name, name), Counter())[fields[name]] += 1

    def let_go(self, owner: str, class_name: str, fields: Mapping[str, Any]) -> None:
        """Whoever asked for these did not get them, or has others now."""
        for name in self.unique_names(class_name):
            taken = self._taken.get((owner, class_name, name), Counter())
            if taken[fields.get(name)] > 0:
                taken[fields[name]] -= 1

    def _others(self, class_name: str) -> list[Field]:
        definition = self.classes.get(class_name)
        return [] if definition is None else [field for field in definition.fields if field.name != _TEXT]

    def _value(self, run: Run, owner: str, class_name: str, field: Field, random: Random) -> Any:
        base = field.field_type.base
        if field.unique and base in _SERIAL:
            taken = self._taken.get((owner, class_name, field.name), Counter())
            return next(value for value in map(_SERIAL[base], count(1)) if not taken[value])
        if base == "int":
            return random.choice((-1, 1)) * 10**12 if random.random() < LARGE else random.randint(-9, 9)
        if base == "float":
            return random.choice((-1, 1)) * 2.0**60 if random.random() < LARGE else random.randint(-18, 18) / 2
        if base == "bool":
            return random.random() < 0.5
        if base == "string":
            return random.choice(("", "a", "ab", "b", "ä"))
        if base == "enum":
            return random.choice(field.field_type.choices)
        return _target(run, owner, field.field_type.target, random) if base == "reference" else None


def _target(run: Run, owner: str, class_name: str, random: Random) -> str | None:
    """One of the owner's objects, as text, which real servers take too."""
    from simulations.verbs_work import Desk

    classes = Desk.of(run).classes
    own = [each for each in run.objects.get(owner, []) if class_name in ("", classes.get(each))]
    return str(random.choice(own)) if own else None


def as_written(fields: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What a server holds, in the form in which it was written: references as text."""
    if fields is None:
        return None
    return {name: str(value) if isinstance(value, Reference) else value for name, value in fields.items()}
