"""A failing scenario made small: lines go, then words, times, counts and servers, as long as it breaks as before.

    at 1.2s 1.1 commits 5 Note        [1] lines, in halves, quarters, eighths, ... one by one (delta debugging)
    at 3s part 1 1.1 | 1.2 for 8s     [2] words of a line: its `at`, its `for`, a rule of a link
    at 6.271s crash 1.2               [3] numbers, towards nothing and towards round ones
    run 60s                           [4] servers that no line names, and the names of those above them

Promise: what comes out breaks as what went in did (the caller's predicate said so of these very lines), no single
step of the four makes it smaller still (unless the tries ran out, which `Shrunk.minimal` tells), and the same lines
and predicate give the same answer. A candidate that cannot be read is one that does not break: the predicate says so.

Lines that `keep` names stay as they are, but for the names of servers: a liveness that failed must go on being looked
at after the same `heal` and within the same time, or the smallest failure would be one in which nothing was mended.

Delta debugging is Zeller's and Hildebrandt's ddmin ("Simplifying and Isolating Failure-Inducing Input", 2002), in the
form that only tries complements. Pure: it knows lines of text and a predicate; running them is `simulations.failure`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from simulations.topologies import NO_OTHERS

Lines = tuple[str, ...]
Breaks = Callable[[Lines], bool]

TRIES = 600  # a drawn schedule of 40 lines takes 60 to 250; what needs more has a number that will not settle

_NUMBER = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)(ms|s|m|%)?(?![\w.]|\.\d)")
_CHILD = re.compile(r"(?<![\w.])1\.(\d+)(?![\w.%]|\.\d)")
_TIMED = re.compile(r"^at \S+ ")
_LASTS = re.compile(r" for \S+$")


@dataclass(frozen=True)
class Shrunk:
    """What is left, how many candidates were tried, and whether nothing smaller was found before the tries ran out."""

    lines: Lines
    tries: int
    minimal: bool


class _OutOfTries(Exception):
    """The search ends with what it has."""


def shrink(
    lines: Sequence[str],
    breaks: Breaks,
    *,
    keep: Callable[[str], bool] = lambda line: False,
    tries: int = TRIES,
    told: Callable[[Lines], None] | None = None,
) -> Shrunk:
    """The smallest scenario found that still breaks. `told` hears of each smaller one, for a display.

    `breaks` must hold for `lines` themselves: that is the caller's claim, and it is not tried again.
    """
    bare = tuple(line for line in (_bare(line) for line in lines) if line)
    search = _Search(bare, breaks, keep, tries, told)
    try:
        while True:
            before = search.lines
            search.without_lines()
            for simpler in (fewer_words, fewer_servers, smaller_numbers):
                search.by(simpler)
            if search.lines == before:
                return Shrunk(search.lines, search.tries, True)
    except _OutOfTries:
        return Shrunk(search.lines, search.tries, False)


def anonymous(line: str) -> str:
    """A line without the names of servers: what is left of it when they are renamed."""
    return _CHILD.sub("1.?", line)


def _bare(line: str) -> str:
    """A line without comment and needless spaces."""
    return " ".join(line.partition("#")[0].split())


class _Search:
    """The smallest lines so far, and what was tried already."""

    def __init__(
        self,
        lines: Lines,
        breaks: Breaks,
        keep: Callable[[str], bool],
        limit: int,
        told: Callable[[Lines], None] | None,
    ) -> None:
        self.lines = lines
        self._kept = tuple(anonymous(line) for line in lines if keep(line))
        self._keep = keep
        self.tries = 0
        self._breaks = breaks
        self._limit = limit
        self._told = told
        self._held: set[Lines] = set()  # candidates that did not break

    def holds(self, candidate: Lines) -> bool:
        """Whether a candidate breaks as before; it is then the new smallest."""
        if not candidate or candidate == self.lines or candidate in self._held:
            return False
        if tuple(anonymous(line) for line in candidate if self._keep(line)) != self._kept:
            return False
        if self.tries >= self._limit:
            raise _OutOfTries
        self.tries += 1
        if not self._breaks(candidate):
            self._held.add(candidate)
            return False
        self.lines = candidate
        if self._told is not None:
            self._told(candidate)
        return True

    def without_lines(self) -> None:
        """ddmin over lines. The later of two equal parts goes first: what follows the failure is the likeliest dust."""
        size = max(len(self.lines) // 2, 1)
        while True:
            end = len(self.lines)
            removed = False
            while end > 0:
                start = max(end - size, 0)
                removed = self.holds(self.lines[:start] + self.lines[end:]) or removed
                end = start
            if size > 1:
                size = max(size // 2, 1)
            elif not removed:
                return

    def by(self, simpler: Callable[[Lines], Iterator[Lines]]) -> None:
        """Take the first candidate that breaks, begin anew from it, until none does."""
        while any(self.holds(candidate) for candidate in simpler(self.lines)):
            pass


def fewer_words(lines: Lines) -> Iterator[Lines]:
    """Each line without its `at`, without its `for`, without one rule of a link; any shape of the mesh, any links."""
    for number, line in enumerate(lines):
        words = line.split()
        shorter = []
        if _TIMED.match(line):
            shorter.append(_TIMED.sub("", line))
        if _LASTS.search(line):
            shorter.append(_LASTS.sub("", line))
        if words[0] == "link":
            shorter += [" ".join(words[:at] + words[at + 2 :]) for at in range(1, len(words), 2) if len(words) > 3]
        if words[0] == "servers":
            shorter += [" ".join(words[:2]).rstrip(","), line.removesuffix(f", {NO_OTHERS}")] if len(words) > 2 else []
        if "|" in words:
            shorter += [" ".join(words[:at] + words[at + 1 :]) for at in range(len(words)) if _is_name(words[at])]
        yield from (_with(lines, number, each) for each in shorter)


def smaller_numbers(lines: Lines) -> Iterator[Lines]:
    """Each number of each line (server ids are none) nearer to nothing, or rounder."""
    for number, line in enumerate(lines):
        if line.startswith("servers "):
            continue
        for match in _NUMBER.finditer(line):
            if match[2] is None and not _is_count(line, match):
                continue
            for smaller in _rounder(match[1], least=0 if line.startswith("at ") and match.start() == 3 else 1):
                changed = line[: match.start()] + smaller + (match[2] or "") + line[match.end() :]
                yield _with(lines, number, changed)


def _rounder(number: str, *, least: int) -> list[str]:
    """`7.25` -> 1, 3, 7; `8` -> 1, 4, 7: far ones first, each smaller or shorter than what it replaces."""
    value = float(number)
    whole = int(value)
    wished = [least, whole // 2, whole if "." in number else whole - 1]
    found = []
    for each in wished:
        if least <= each <= value and str(each) != number and str(each) not in found:
            found.append(str(each))
    if "." in number and len(number.partition(".")[2]) > 1:
        found.append(f"{int(value * 10) / 10:g}")
    return found


def _is_count(line: str, match: re.Match[str]) -> bool:
    """Whether a bare number counts something: the root's name is a 1 too, but names are followed by verbs or names."""
    before, after = line[: match.start()].split(), line[match.end() :].split()
    alone = bool(before) and before[-1][:1].isalpha() and bool(after) and after[0][:1].isalpha()
    return alone and match[1] != "1" and "." not in match[1]


def fewer_servers(lines: Lines) -> Iterator[Lines]:
    """One server less: the last one when no line names it, else the last takes the name of one that no line names.

    At last the last one is struck from the groups of a partition. Only meshes whose servers are 1, 1.1, 1.2, ... .
    """
    for number, line in enumerate(lines):
        match = re.fullmatch(r"servers (\d+)((?: .*)?)", line)
        if match is None or int(match[1]) < 2:
            continue
        count = int(match[1])
        fewer = _with(lines, number, f"servers {count - 1}{match[2]}")
        named = {int(child) for each in lines for child in _CHILD.findall(each)}
        last = count - 1
        if last not in named:
            yield fewer
        free = next((child for child in range(1, last) if child not in named), last)
        if last in named and free < last:
            yield tuple(_renamed(each, last, free) for each in fewer)
        yield tuple(_without_name(each, f"1.{last}") for each in fewer)


def _renamed(line: str, child: int, new: int) -> str:
    return _CHILD.sub(lambda match: f"1.{new}" if int(match[1]) == child else match[0], line)


def _without_name(line: str, name: str) -> str:
    return " ".join(word for word in line.split() if word != name) if "|" in line else line


def _is_name(word: str) -> bool:
    return re.fullmatch(r"\d+(\.\d+)*", word) is not None


def _with(lines: Lines, number: int, line: str) -> Lines:
    return (*lines[:number], line, *lines[number + 1 :])
