"""Lines that cannot be read: which word of them is wrong, and what they may have been meant as. Pure.

    1.2 gets 2 Note of 1.1 by there owner     'there' is no word there; write for example: ... by their owner
    class Item serial:int uniqe               'uniqe' is no word there; write for example: class Item serial:int unique
    crush 1.1                                 write for example: crash 1.1
    run 2h                                    write for example: run 120m

One word is taken for another where the line can be read with it; else the examples of lines that are most like it are
told. Left to others: what each line means (the verbs), and times that are none of a line that can be read (`steps.py`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from functools import cache

from identity.errors import Refused
from simulations.checkers import BY_NAME
from simulations.class_lines import wrong_word
from simulations.steps import FOR, ID, SECONDS, Verb
from simulations.verbs import VERBS

LONGEST_LINE = 1000  # characters of a line that is compared with others, which takes its square


def find_verb(line: str) -> tuple[Verb, re.Match[str]] | None:
    for verb in VERBS:
        if match := re.fullmatch(verb.pattern, line):
            return verb, match
    return None


def no_time(line: str, where: str) -> Refused:
    """Of a line that begins with `at`, and not with a time and what happens then."""
    said, _, rest = line.removeprefix("at ").partition(" ")
    unit, _, behind = rest.partition(" ")
    if unit in ("ms", "s", "m"):
        said, rest = f"{said} {unit}", behind
    if re.fullmatch(SECONDS, said):
        return Refused(f"{where}: {line!r} says when, and not what", next_step=f"write for example: {line} crash 1.2")
    number = re.match(r"\d+(\.\d+)?(?= |$)", said)
    right = f"at {number[0] if number else '3'}{unit if said.endswith(f' {unit}') else 's'} {rest or 'crash 1.2'}"
    return Refused(f"{where}: {said!r} is no time", next_step=f"write for example: {right}")


def nothing_like(line: str, where: str) -> Refused:
    """Of a line that no verb fits."""
    if len(line) > LONGEST_LINE:
        return Refused(
            f"{where}: a line of {len(line)} characters that begins {line[:60]!r} is nothing a scenario can do",
            next_step="write one thing a line, such as: 1.1 commits 50 Note",
        )
    if wrong := wrong_word(line):
        cause, near = f": {wrong} is neither a field with its type nor `index` or `unique`", []
        near = [each for _, each in _respelt(line)][:1] or ["class Item text:string serial:int unique size:int index"]
    elif near := _in_minutes(line) or _in_other_words(line):
        cause = ""
    elif respelt := list(_respelt(line)):
        word = respelt[0][0]
        cause, near = f": {word!r} is no word there", [each for other, each in respelt if other == word]
    else:
        cause = ""
        near = nearest(line, [*(verb.says for verb in VERBS), *(f"expect {name}" for name in BY_NAME)])
    return Refused(
        f"{where}: {line!r} is nothing a scenario can do{cause}", next_step=f"write for example: {'; '.join(near)}"
    )


def _respelt(line: str) -> Iterator[tuple[str, str]]:
    """Each word that may be meant as another, and the line as it can be read with that one."""
    words = line.split()
    for at, word in enumerate(words):
        if re.fullmatch(r"[A-Za-z]+", word):
            for other in difflib.get_close_matches(word, _vocabulary(), n=3, cutoff=0.6):
                said = " ".join([*words[:at], other, *words[at + 1 :]])
                if other != word and _can_be_read(said):
                    yield word, said


@cache
def _vocabulary() -> list[str]:
    """Every word that a line may have, but for those that people choose."""
    patterns = (re.sub(r"\\.", " ", verb.pattern) for verb in VERBS)
    return sorted({word for pattern in patterns for word in re.findall(r"[A-Za-z]{2,}", pattern)})


def _can_be_read(line: str) -> bool:
    limited = FOR.fullmatch(line)
    return _makes_sense(line) or (limited is not None and _makes_sense(limited[1]))


def _in_minutes(line: str) -> list[str]:
    """Of a line that says hours, which there are not: the same in minutes."""
    said = re.sub(r"(?<![\w.])(\d+(?:\.\d+)?) ?h(?!\w)", lambda hours: f"{float(hours[1]) * 60:g}m", line)
    return [said] if said != line and _can_be_read(said) else []


def _in_other_words(line: str) -> list[str]:
    """Of a line whose first word begins no line: the same with another word, the words that are most like it first."""
    first, _, rest = line.partition(" ")
    words = dict.fromkeys(verb.says.partition(" ")[0] for verb in VERBS)
    if first in words or re.fullmatch(ID, first):
        return []
    fit = {word: f"{word} {rest}" for word in words if _makes_sense(f"{word} {rest}")}
    near = difflib.get_close_matches(first, fit, n=3, cutoff=0.6) or list(fit)[:4]
    return [fit[word] for word in near]


def _makes_sense(line: str) -> bool:
    found = find_verb(line)
    try:
        return found is not None and bool(found[0].make(*found[1].groups()))
    except Refused:
        return False


def nearest(line: str, examples: Sequence[str]) -> list[str]:
    """The examples that are written most like this line, the best first; which servers it names counts for nothing.

    Where some begin with the same word as the line, only those; of these what is about as near as the nearest.
    """

    def plain(text: str) -> str:
        return re.sub(r"(?<![\w.])\d+(\.\d+)*(?![\w.])", "1", text)

    said = plain(line)
    first = said.partition(" ")[0]
    alike = [each for each in examples if plain(each).partition(" ")[0] == first] if first != "1" else []
    likeness = {
        each: difflib.SequenceMatcher(None, said, plain(each), autojunk=False).ratio() for each in alike or examples
    }
    best = max(likeness.values())
    if best < 0.4:
        return list(examples[:6])
    near = sorted(likeness, key=lambda each: -likeness[each])
    return [each for each in near if likeness[each] >= best - 0.1][:3]
