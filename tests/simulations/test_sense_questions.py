"""A question that cannot be answered is refused before anything runs, with its line, and what is right is not."""

from __future__ import annotations

import pytest

from identity.errors import Refused
from simulations.scenario import parse

NOTE = "servers 3\nclass Note text:string near:reference\n"


@pytest.mark.parametrize(
    ("lines", "cause", "right"),
    [
        ("1.1 asks Note whre size = 3", "story:3: column 6 of the question: expected", "as in City where"),
        ("at 2s 1.1 asks Note limit", "story:3: column 11 of the question: expected a number", "as in City where"),
        ("1.1 asks Nte from 1.2", "story:3: '1.1 asks Nte from 1.2': no line makes a class Nte", "1.1 asks Note from"),
        ("at 2s 1.1 asks Nte", "story:3: 'at 2s 1.1 asks Nte': no line makes a class Nte", "1.1 asks Note"),
        ("1.1 asks City of their owners", "no line makes a class City", "write before it: class City text:string"),
        (
            "1.1 asks Item\nclass Item text:string",
            "story:3: '1.1 asks Item': no line above makes a class Item",
            "class",
        ),
        ("1.1 asks Note where size = 3", "class Note has no field 'size'", "text"),
        ('1.1 asks Note where not (text = "a" or size is null)', "class Note has no field 'size'", "text"),
        ("1.1 asks Note order by nothing", "class Note has no field 'nothing'", "text"),
        ("1.1 asks Note show size as held here", "class Note has no field 'size'", "text"),
        ("1.1 asks Note where text > 3", "field text is a string", "text:string, near:reference"),
        ('1.1 asks Note where near ^= "1"', "only text and bytes begin with something", "text:string, near:reference"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused(lines: str, cause: str, right: str) -> None:
    with pytest.raises(Refused) as refused:
        parse(NOTE + lines, name="story")
    assert cause in refused.value.cause
    assert refused.value.cause.startswith("story:3: ")
    assert right in refused.value.next_step


@pytest.mark.parametrize(
    "lines",
    [
        '1.1 asks Note where text = "a" and near = "1.2/4" or near = "/3" from 1.* order by -text limit 3 show text',
        "1.1 asks Note of their owners",
        "at 1s 1.1 asks Item where size in [1, 2.5] as held here\nclass Item text:string size:int",
        "at 1s class Item size:int\nrun 2s\n1 asks Item where size is not null",
        "isolate 1.1\n1.1 asks Note from 1.2,1.7.*",
    ],
)
def test_a_question_that_may_be_answered_is_left_to_the_run(lines: str) -> None:
    assert len(parse(NOTE + lines).steps) == 1 + len(lines.splitlines())
