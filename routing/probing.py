"""Contact lost: ask three, three more after a round trip, farther each time; believe only a verified way (G2, G3).

    begin(1.2) --> Ask 1.5, 1, 1.4   hops 1         who bridged before, then nearest in the name tree, then random
                   Ask the next three, hops 2       one slowest round trip later; then 4, then 8; all again, farther
    CONFIRM  ----> Found, the first one wins        the next one is standby
    NOWAY of all, or SEARCH_S --> Failed            and a pause that doubles before the target is searched again

How long a way takes to confirm nobody knows before: four hops by satellite take 3 s, on a wire 3 ms. So a search that
failed is followed by one of twice the time, up to MOST_PATIENT times the first, and one that looks after a way that is
known has as long as that one took twice over.

One search per target at a time. A confirmation is believed as far as this: its path begins with who was asked, ends
with the target, passes nobody twice and not us; and packets that go along it must be answered by the target end to
end, or the route falls (ATTACKS 17).

Left to others: who is asked how (`routing.router` puts `Ask` out), what a route is worth (`routing.table`), answering
probes of others (`routing.inquiring`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING

import msgspec

from identity.names import ServerId
from routing.probes import MAX_HOPS, Confirm, Path, Probe
from routing.ways import Ask

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH = 3  # asked at once
FIRST_WAIT_S = 0.02  # for the first three, at least; what a busy process needs to answer
PATIENCE = 2.0  # round trips of the slowest asked, until the next three
SEARCH_S = 2.0  # a whole search; a way that takes longer to confirm is found by the next ones
MOST_PATIENT = 8.0  # times that
LEAST_S = 0.5  # of a search whose outcome is wanted sooner
ANSWER_S = 1.5  # what an asked server has
HOPS = (1, 2, 4, MAX_HOPS)  # by round; where there is nobody else to ask, at once as far as it goes
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 30.0
AGAIN_S = 0.5  # after a failed search, when somebody asks or somebody comes
MAX_SEARCHES = 256


class Found(msgspec.Struct, frozen=True):
    """A way to `target`, verified; `path` begins with this server."""

    target: ServerId
    path: Path
    rtt_s: float


class Failed(msgspec.Struct, frozen=True):
    """Nobody who was asked reaches `target`."""

    target: ServerId
    asked: int


class _Search:
    __slots__ = ("asked", "begun", "ends", "found", "next_at", "number", "open", "patience", "quiet", "round", "target")

    def __init__(self, target: ServerId, number: int, now: float, patience: float, *, quiet: bool) -> None:
        self.target = target
        self.number = number
        self.begun = now
        self.patience = patience
        self.ends = now + SEARCH_S * patience
        self.quiet = quiet  # it looks after a route that works: three are asked, and its failure is no news
        self.round = 0
        self.next_at = now
        self.asked: dict[ServerId, int] = {}  # whom, with how many hops
        self.open: dict[int, tuple[ServerId, float]] = {}  # asks not answered: whom, when
        self.found = 0


class Probing:
    """The searches of one server.

    `candidates(target)`: whom to ask, in order; `rtt_of(server)`: seconds; `new_number()`: of asks and searches.
    """

    def __init__(
        self,
        own: ServerId,
        *,
        candidates: Callable[[ServerId], Sequence[ServerId]],
        rtt_of: Callable[[ServerId], float],
        new_number: Callable[[], int],
        random: Random,
    ) -> None:
        self._own = own
        self._candidates = candidates
        self._rtt_of = rtt_of
        self._new_number = new_number
        self._random = random
        self._searches: dict[ServerId, _Search] = {}
        self._by_ask: dict[int, _Search] = {}
        self._failures: dict[ServerId, tuple[int, float]] = {}  # in a row, and not before when
        self._ended: dict[ServerId, float] = {}  # when the last search that failed ended
        self._took_s: dict[ServerId, float] = {}  # the last ask that was confirmed
        self._outputs: list[Ask | Found | Failed] = []

    # -- the machine

    def deadline(self) -> float:
        if not self._searches:  # mostly
            return math.inf
        return min(min(each.next_at, each.ends) for each in self._searches.values())

    def handle_deadline(self, now: float) -> None:
        for search in list(self._searches.values()):
            if search.ends <= now:
                self._end(search, now)
            elif search.next_at <= now:
                self._ask_more(search, now)

    def take_outputs(self) -> Sequence[Ask | Found | Failed]:
        if not self._outputs:  # mostly: it is asked in every turn
            return []
        outputs, self._outputs = self._outputs, []
        return outputs

    # -- what is wanted

    def searches(self, target: ServerId) -> bool:
        """Whether a search for it is under way that would tell its failure."""
        search = self._searches.get(target)
        return search is not None and not search.quiet

    def may_begin_at(self, target: ServerId) -> float:
        """When it may be searched again, after failures."""
        return self._failures.get(target, (0, -math.inf))[1]

    def begin(
        self, target: ServerId, now: float, *, quiet: bool = False, again: bool = False, until: float = math.inf
    ) -> bool:
        """Search a way to it. False: not now, after failures, or because too many searches run. `again`: there is a
        reason not to wait as long as after failures; `until`: when its outcome is wanted."""
        search = self._searches.get(target)
        if search is not None:
            if search.quiet and not quiet:
                self._forget(search)
            else:
                if search.found and not quiet:  # what was found does not work: the others are asked
                    search.found = 0
                    search.next_at = now
                return True
        wait_until = self.may_begin_at(target)
        if again:
            wait_until = min(wait_until, self._ended.get(target, -math.inf) + AGAIN_S)
        if now < wait_until or len(self._searches) >= MAX_SEARCHES:
            return False
        search = _Search(target, self._new_number(), now, self._patience(target), quiet=quiet)
        self._searches[target] = search
        search.ends = min(search.ends, max(until, now + LEAST_S))
        self._ask_more(search, now)
        return True

    def cancel(self, target: ServerId) -> None:
        """No way is needed any more."""
        search = self._searches.get(target)
        if search is not None:
            self._forget(search)
        self._failures.pop(target, None)
        self._ended.pop(target, None)

    def _patience(self, target: ServerId) -> float:
        failures, _ = self._failures.get(target, (0, 0.0))
        took = 2.0 * self._took_s.get(target, 0.0) / ANSWER_S
        return min(max(1.0, 2.0 ** min(failures, 16), took), MOST_PATIENT)

    # -- what comes back

    def handle_answer_untrusted(self, ask: int, answer: object, now: float) -> str | None:
        """An asked server answered, or did not (None). What is wrong with its answer, or None."""
        search = self._by_ask.pop(ask, None)
        if search is None:
            return None
        peer, asked_at = search.open.pop(ask)
        wrong = None
        if isinstance(answer, Confirm):
            wrong = self._wrong_with(answer.path, peer, search.target)
            if wrong is None:
                self._failures.pop(search.target, None)
                search.found += 1
                self._took_s.pop(search.target, None)  # the newest last
                self._took_s[search.target] = now - asked_at
                if len(self._took_s) > 4 * MAX_SEARCHES:
                    del self._took_s[next(iter(self._took_s))]
                rtt_s = max(now - asked_at, answer.rtt_us / 1e6)
                self._outputs.append(Found(search.target, (self._own, *answer.path), rtt_s))
        if not search.open and (search.found or search.round >= len(HOPS) or search.quiet):
            self._end(search, now)
        elif not search.open:
            search.next_at = now
        return wrong

    def _wrong_with(self, path: Path, peer: ServerId, target: ServerId) -> str | None:
        if path[0] != peer or path[-1] != target or len(path) < 2:
            return "a CONFIRM of a path that leads from elsewhere, or elsewhere"
        if self._own in path or len(set(path)) != len(path) or len(path) > MAX_HOPS + 1:
            return "a CONFIRM of a path that circles, or is too long"
        return None

    # -- rounds

    def _ask_more(self, search: _Search, now: float) -> None:
        if search.found:  # those who still work on it may become standby
            search.next_at = math.inf
            return
        slowest = FIRST_WAIT_S
        asked = 0
        while asked < WIDTH:
            candidates = self._candidates(search.target)
            if search.round > 0 and len(candidates) <= WIDTH:
                search.round = len(HOPS) - 1
            hops = HOPS[min(search.round, len(HOPS) - 1)]
            fresh = [each for each in candidates if search.asked.get(each, 0) < hops]
            fresh.sort(key=lambda each: search.asked.get(each, 0))  # who has not been asked at all comes first
            for server in fresh[: WIDTH - asked]:
                search.asked[server] = hops
                number = self._new_number()
                search.open[number] = (server, now)
                self._by_ask[number] = search
                probe = Probe(search.target, search.number, (self._own,), hops)
                self._outputs.append(Ask(number, server, probe, ANSWER_S * search.patience))
                slowest = max(slowest, PATIENCE * self._rtt_of(server))
                asked += 1
            if asked >= WIDTH or search.quiet or search.round >= len(HOPS) - 1:
                break
            search.round += 1
        if asked == 0:
            search.round = len(HOPS)
            search.next_at = math.inf
            if not search.open:
                self._end(search, now)
            return
        if search.round == 0:
            search.round = 1  # recursion from the second round on
        search.next_at = math.inf if search.quiet else now + slowest

    def _end(self, search: _Search, now: float) -> None:
        self._forget(search)
        if search.found or search.quiet:
            return
        count = self._failures.get(search.target, (0, 0.0))[0] + 1
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(count - 1, 16)) * (0.75 + self._random.random() / 2)
        if len(self._failures) >= 4 * MAX_SEARCHES:
            del self._failures[next(iter(self._failures))]
            self._ended.pop(next(iter(self._ended)), None)
        self._failures[search.target] = (count, now + pause)
        self._ended[search.target] = now
        self._outputs.append(Failed(search.target, len(search.asked)))

    def _forget(self, search: _Search) -> None:
        self._searches.pop(search.target, None)
        for ask in search.open:
            self._by_ask.pop(ask, None)


def in_order(
    target: ServerId, reached: Sequence[ServerId], bridges: Sequence[ServerId], random: Random
) -> Iterator[ServerId]:
    """Whom to ask: who bridged before, one nearest in the name tree, then anybody."""
    left = [each for each in reached if each != target]
    known = [each for each in bridges if each in left]
    left = [each for each in left if each not in known]
    random.shuffle(left)
    near = sorted(left, key=lambda each: -shared(target, each))[:1]
    yield from known
    yield from near
    yield from (each for each in left if each not in near)


def shared(one: ServerId, other: ServerId) -> int:
    """How many components two names begin with in common."""
    count = 0
    for mine, theirs in zip(one.components, other.components, strict=False):
        if mine != theirs:
            break
        count += 1
    return count
