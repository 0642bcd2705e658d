"""Whether a history could have happened one operation at a time, each between its begin and its end.

    time  ------------------------------------------------------>
    1.1        |--- change A to 2 ---|                              1. what ended before another began, came before it
    1.2     |------ read A: 2 -------------|                        2. each step is one the model allows
    1.3                                       |-- read A: 1 --|     3. so: 2 was read, and afterwards 1. Impossible

This is the search of Wing and Gong ("Testing and verifying concurrent objects", 1993) in the form of Lowe ("Testing
for linearizability", 2017): depth first over what may come next; whoever comes to a set of operations and a state that
was tried already turns back. Among the candidates the one that ended first is tried first, for in a right history it
mostly did come first. As in Knossos, an operation whose outcome nobody knows stays open for ever: it may have happened
at any moment after its begin, or never; it is tried last, and only where it changes something.

The model is a function: `step(state, what)` gives the state after it, or None where that is impossible. States are
hashable values. The real-time order is that of `begin` and `end`, which are counted, not measured: of two events one
comes first even where virtual time stands still.

The search is exponential at worst; `budget` bounds it, and a search that was given up accuses nobody. Pure.
Left to others: what the operations mean (`check_linearizable`), and cutting a history into independent ones, which is
allowed because linearizability is local (Herlihy and Wing 1990).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

BUDGET = 100_000  # steps of the model: about 0.3 s; right histories of simulations need fewer than ten for each call

State = Hashable
Step = Callable[[Any, Any], "Any | None"]


@dataclass(frozen=True, slots=True)
class Call:
    """One operation. `end` is `math.inf` where its outcome is not known: then it may be left out."""

    begin: float
    end: float
    what: Any

    @property
    def certain(self) -> bool:
        return self.end != math.inf


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a search found.

    `order`: the calls by their place in the history, as they may have happened; where `ok` is false, the longest
    attempt. `stuck`: the calls one of which should have come next, the one that ended first at the front; `state`:
    where that attempt stood. `given_up`: the budget was spent, and `ok` says nothing.
    """

    ok: bool
    order: tuple[int, ...]
    stuck: tuple[int, ...] = ()
    state: Any = None
    given_up: bool = False


def linearize(calls: Sequence[Call], *, initial: Any, step: Step, budget: int = BUDGET) -> Verdict:
    """Search an order of `calls` that the model allows and that respects the times."""
    return _Search(calls, step, budget).run(initial)


class _Level:
    """One place in the order: who may stand there, and who has been tried."""

    __slots__ = ("candidates", "chosen", "next", "state")

    def __init__(self, state: Any, candidates: list[int]) -> None:
        self.state = state  # before the chosen call
        self.candidates = candidates
        self.next = 0
        self.chosen = -1


class _Search:
    """The certain calls in a doubly linked list by their begins; `_end` stands for both of its ends."""

    def __init__(self, calls: Sequence[Call], step: Step, budget: int) -> None:
        self._calls = calls
        self._step = step
        self._budget = budget
        self._end = len(calls)
        by_begin = sorted((number for number, call in enumerate(calls) if call.certain), key=lambda n: calls[n].begin)
        self._next = [self._end] * (self._end + 1)
        self._previous = [self._end] * (self._end + 1)
        before = self._end
        for number in by_begin:
            self._next[before], self._previous[number] = number, before
            before = number
        self._next[before], self._previous[self._end] = self._end, before
        self._left = len(by_begin)
        open_calls = (number for number, call in enumerate(calls) if not call.certain)
        self._open = sorted(open_calls, key=lambda n: calls[n].begin)

    def run(self, initial: Any) -> Verdict:
        calls, step = self._calls, self._step
        done = 0  # a bit for each call that has its place
        seen = {(0, initial)}
        levels = [_Level(initial, self._candidates(done))]
        longest: tuple[int, ...] = ()
        stuck, stuck_state, least = tuple(levels[0].candidates), initial, self._left
        while self._left:
            level = levels[-1]
            if level.next == len(level.candidates):
                levels.pop()
                if not levels:
                    return Verdict(False, longest, stuck, stuck_state)
                done ^= 1 << levels[-1].chosen
                self._put_back(levels[-1].chosen)
                continue
            number = level.candidates[level.next]
            level.next += 1
            if not self._budget:
                return Verdict(False, longest, stuck, stuck_state, given_up=True)
            self._budget -= 1
            state = step(level.state, calls[number].what)
            certain = calls[number].certain
            if state is None or (not certain and state == level.state):
                continue
            key = (done | 1 << number, state)
            if key in seen:
                continue
            seen.add(key)
            done = key[0]
            level.chosen = number
            self._take(number)
            levels.append(_Level(state, self._candidates(done)))
            if self._left < least:
                least = self._left
                longest = tuple(each.chosen for each in levels[:-1])
                stuck, stuck_state = tuple(levels[-1].candidates), state
        return Verdict(True, tuple(level.chosen for level in levels[:-1]))

    def _candidates(self, done: int) -> list[int]:
        """Who began before any of those that are left ended: the certain ones by their ends, then the open ones."""
        calls, following = self._calls, self._next
        found: list[int] = []
        first_end = math.inf
        number = following[self._end]
        while number != self._end and calls[number].begin < first_end:
            found.append(number)
            first_end = min(first_end, calls[number].end)
            number = following[number]
        found.sort(key=lambda each: calls[each].end)
        for each in self._open:
            if calls[each].begin >= first_end:
                break
            if not done >> each & 1:
                found.append(each)
        return found

    def _take(self, number: int) -> None:
        if self._calls[number].certain:
            self._left -= 1
            before, after = self._previous[number], self._next[number]
            self._next[before], self._previous[after] = after, before

    def _put_back(self, number: int) -> None:
        if self._calls[number].certain:
            self._left += 1
            before, after = self._previous[number], self._next[number]
            self._next[before] = self._previous[after] = number
