"""Which of a scenario's questions cannot be answered, whatever happens: refused before anything runs. Pure.

    class Note text:string
    1.1 asks Nte                       no line makes a class Nte: the nearest that there is stands in the advice
    1.1 asks Note where size = 3       Note has no field size
    1.1 asks Note where text > 3       and whatever else the store would say of a question and a class

Rules. A question without a time needs its class above it; one with a time, anywhere. What is asked of its fields is
asked with the product's own words (`store.majors.check_named`).

Left to others: the grammar, which speaks when the line is read (`verbs_work.py`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

from identity.errors import Refused
from identity.names import ServerId
from node.language import parse
from simulations.class_lines import definition_of
from simulations.steps import Step
from simulations.verbs_work import ASKS
from store.definitions import ClassDefinition
from store.majors import check_named
from store.query import Question

CLASS = re.compile(r"class (\w+) (.+)")


def questions(steps: Sequence[Step]) -> Iterable[tuple[Step, str, str]]:
    """Each question that cannot be answered: its line, why, and what would be right."""
    lines = [(step, match) for step in steps if (match := CLASS.fullmatch(step.does))]
    made = [(step.line, definition_of(match[1], match[2])) for step, match in lines]
    for step in steps:
        if step.verb is not ASKS or (match := re.fullmatch(ASKS.pattern, step.does)) is None:
            continue
        question = parse(match[2]).question
        class_name = question.class_name
        above = [each for line, each in made if step.at_s is not None or line < step.line]
        known = [each for each in above if each.name == class_name]
        if not known:
            when = "no line above makes" if any(each.name == class_name for _, each in made) else "no line makes"
            yield step, f"{when} a class {class_name}", _another(step, class_name, [each.name for each in above])
        elif wrong := _wrong(question, known[:1], match[1]):
            fields = ", ".join(f"{each.name}:{each.type}" for each in known[0].fields)
            yield step, wrong.cause, wrong.next_step or f"the fields of {class_name} are {fields}"


def _another(step: Step, class_name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(class_name, names, n=1)
    if near:
        return f"write for example: {step.does.replace(f' {class_name}', f' {near[0]}', 1)}"
    return f"write before it: class {class_name} text:string"


def _wrong(question: Question, definitions: Sequence[ClassDefinition], asker: str) -> Refused | None:
    try:
        check_named(question, definitions, lambda server: (server or ServerId.parse(asker), 1))
    except Refused as refused:
        return refused
    return None
