"""Of a line that cannot be read it is said which word of it is wrong, where that can be known."""

from __future__ import annotations

import pytest

from identity.errors import Refused
from simulations.misread import nearest
from simulations.scenario import parse


@pytest.mark.parametrize(
    ("line", "cause", "right"),
    [
        ("1 gets 2 Note of 1.1 by there owner", ": 'there' is no word there", "1 gets 2 Note of 1.1 by their owner"),
        ("1 comits 3 Note", ": 'comits' is no word there", "1 commits 3 Note"),
        ("cut 1 > 1.1 fro 3s", "'cut 1 > 1.1 fro 3s' is nothing a scenario can do", "cut "),
        ("disk of 1.1 rots 3 bites for 4s", ": 'bites' is no word there", "disk of 1.1 rots 3 bytes for 4s"),
        (
            "class Item text:string serial:int uniqe",
            ": 'uniqe' is neither a field with its type nor `index` or `unique`",
            "class Item text:string serial:int unique",
        ),
        ("class Item text:string serial: int", "'serial:' is neither a field", "class Item text:string"),
        ("class Item text:string big", "'big' is neither a field", "class Item text:string"),
        ("1.1 does what it wants", "'1.1 does what it wants' is nothing a scenario can do", "write for example: "),
    ],
)
def test_the_wrong_word_is_named(line: str, cause: str, right: str) -> None:
    with pytest.raises(Refused) as refused:
        parse(f"servers 2\n{line}", name="story")
    assert refused.value.cause.startswith("story:2: ")
    assert refused.value.cause.endswith(cause) or cause in refused.value.cause
    assert right in refused.value.next_step


@pytest.mark.parametrize("line", ["1 gets 2 Note of 1.1 by there owner", "1 comits 3 Note", "disk of 1.1 rots 3 bites"])
def test_what_is_advised_can_be_read(line: str) -> None:
    with pytest.raises(Refused) as refused:
        parse(f"servers 2\nclass Note text:string\n1.1 commits 1 Note\n{line}")
    advised = refused.value.next_step.partition(": ")[2]
    parse(f"servers 2\nclass Note text:string\n1.1 commits 1 Note\n{advised}")


def test_a_line_of_many_words_is_not_compared_with_all_others() -> None:
    with pytest.raises(Refused, match="a line of 279999 characters that begins 'expect comits"):
        parse("servers 2\n" + "expect comits " * 20_000)


def test_examples_that_begin_alike_are_nearer() -> None:
    assert nearest("crash 1.1 in write 3", ["cut 1 > 1.1", "crash 1.2 at write 40"]) == ["crash 1.2 at write 40"]
