"""A way over links that carry one way only: a word that everybody hands on; the target says how it came (DESIGN G2).

    1.1 hears 1.2 and 1.2 hears 1, which hears 1.1: nobody hears whom it speaks to, and all doubt all.

    1.2 seeks 1    --SEEK 1, path [1.2]--> 1.1 --SEEK 1, path [1.2 1.1]--> 1        that this came shows a way to 1
    1 seeks 1.2    --SEEK 1.2, came [1.2 1.1 1]--> 1.2                              and tells it: `Sought`
    1 <--CAME [1 1.2]-- 1.1 <--- 1.2                                                along it 1.2 answers, sealed for 1

A probe (`routing.probing`) asks for a confirmation, and that needs a way back. Here nothing is answered on the way: a
SEEK is a word, said to whoever has a session, and to others whose address is known, in doubt or not, because a server
in doubt of another one does not know which of the two directions is dead. A path by which it came to its target is a
way, proven by coming. It is how Dynamic Source Routing finds ways (RFC 4728, section 3.1).

Rules:

- Sought is who is in doubt for FIRST_S and two round trips since that was told, when other ways of mending have mostly
  ended; and who was dialled in vain, after LOST_S. Again after AGAIN_S, and ever more rarely, until there is an answer.
- Each server hands on what is named by origin and number once, to FAN_OUT others at most: to the targets, and, unless
  those are reached directly, to others; only for servers that are known here and for whom packets are forwarded.
- Who is sought says by which path (CAME) directly, and along the ways that it knows to who seeks it. Where it knows
  none that may work it seeks back, and that SEEK tells the path too.

Bounds (ATTACKS 15): PEER_PER_S words, handed on or answered, for one peer, ALL_PER_S for all and oneself, so that
nobody makes a mesh say more than that, a mesh that falls in two least of all. An answer is WAYS words for each origin
and ANSWER_S.

Left to others: what is done with a way (`routing.mending`), how packets go along it (`routing.forwarding`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from identity.names import ServerId
from routing.probes import MAX_PATH, MAX_SOUGHT, Came, Path, Seek, check_seek_untrusted, is_way
from routing.ways import HandOn, Tell

FIRST_S = 0.3  # of a doubt, and two round trips: a search over links that carry both ways has mostly ended by then
LOST_S = 2.0  # after dialling in vain; where that is a server that just begins, it is there by then
AGAIN_S = 0.25  # doubled each time
LONGEST_S = 2.0
LONGEST_LOST_S = 60.0
LOST_FOR_S = 90.0  # since somebody last wanted who is lost
BACK_S = 0.02  # until who is sought seeks back: others that seek it at that moment share the word
BACK_FOR_S = 10.0  # for which it seeks who has no session with it
NEXT_S = 0.02  # until the next SEEK, where one has no room for all
FAN_OUT = 12
FRESH_S = 4.0  # the path of a SEEK is told this long, and its answer awaited
PEER_PER_S = 64.0
ALL_PER_S = 128.0
ANSWER_S = 0.05
WAYS = 3  # by which one answer goes
MAX_SEEN = 4096  # SEEKs, origins and peers remembered, and servers sought


class Sought(msgspec.Struct, frozen=True):
    """A way to `target` came to light. `proven`: by its own word, else by the word of who handed it on."""

    target: ServerId
    path: Path
    proven: bool


class _Want(msgspec.Struct):
    at: float
    until: float  # of who is lost; who is in doubt is sought as long as that lasts
    pause_s: float = AGAIN_S
    said_at: float = -math.inf


class _Allowance:
    """So many words a second, saved up for a second."""

    __slots__ = ("_at", "_left", "_per_s")

    def __init__(self, per_s: float, now: float) -> None:
        self._per_s = self._left = per_s
        self._at = now

    def take(self, wanted: int, now: float) -> int:
        """As many of these as may be said."""
        self._left = min(self._per_s, self._left + (now - self._at) * self._per_s)
        self._at = now
        given = min(wanted, int(self._left))
        self._left -= given
        return given


class Seeking:
    """The seeking of one server, for itself and for others.

    `sessions()`: with whom there are any; `others()`: whose address is known; `direct(server)`: it is reached directly,
    and there is no doubt; `doubted(server)`: there is a session, and doubt; `ways_to(server, now)`: paths by which
    words may go; `knows`, `may_forward`: as of the router.
    """

    def __init__(
        self,
        own: ServerId,
        *,
        sessions: Callable[[], Iterable[ServerId]],
        others: Callable[[], Sequence[ServerId]],
        direct: Callable[[ServerId], bool],
        doubted: Callable[[ServerId], bool],
        knows: Callable[[ServerId], bool],
        may_forward: Callable[[ServerId, ServerId], bool],
        ways_to: Callable[[ServerId, float], Sequence[Path]],
        new_number: Callable[[], int],
    ) -> None:
        self._own = own
        self._sessions = sessions
        self._others = others
        self._direct = direct
        self._doubted = doubted
        self._knows = knows
        self._may_forward = may_forward
        self._ways_to = ways_to
        self._new_number = new_number
        self._wanted: dict[ServerId, _Want] = {}
        self._numbers: dict[int, float] = {}  # of our own, and when each was said
        self._came: dict[ServerId, tuple[Path, float]] = {}  # by which path, lately, each server's SEEK came here
        self._answered: dict[ServerId, float] = {}
        self._seen: dict[tuple[ServerId, int], None] = {}
        self._all: _Allowance | None = None
        self._allowances: dict[ServerId, _Allowance] = {}
        self._outputs: list[Any] = []

    # -- the machine

    def deadline(self) -> float:
        return min(each.at for each in self._wanted.values()) if self._wanted else math.inf  # mostly nobody is

    def handle_deadline(self, now: float) -> None:
        due = [server for server, each in self._wanted.items() if each.at <= now]
        for server in due:
            if not self._doubted(server) and now >= self._wanted[server].until:
                del self._wanted[server]
        due = [server for server in due if server in self._wanted]
        if not due:
            return
        for server in due[MAX_SOUGHT:]:
            self._wanted[server].at = now + NEXT_S
        targets = tuple(due[:MAX_SOUGHT])
        for server in targets:
            want = self._wanted[server]
            longest_s = LONGEST_S if self._doubted(server) else LONGEST_LOST_S
            want.said_at, want.at, want.pause_s = now, now + want.pause_s, min(2 * want.pause_s, longest_s)
        number = self._new_number()
        _remember(self._numbers, number, now)
        _remember(self._seen, (self._own, number), None)
        self._say(Seek(number, (self._own,), targets, tuple(self._path_of(each, now) for each in targets)), now)

    def take_outputs(self) -> list[Any]:
        if not self._outputs:  # mostly: it is asked in every turn
            return []
        outputs, self._outputs = self._outputs, []
        return outputs

    # -- what is wanted

    def want_doubted(self, server: ServerId, rtt_s: float, now: float) -> None:
        """Its session is in doubt, as was just told."""
        if server not in self._wanted:
            _remember(self._wanted, server, _Want(now + FIRST_S + 2 * rtt_s, -math.inf))

    def want_lost(self, server: ServerId, now: float, *, asked: bool = False) -> None:
        """There is no session with it. `asked`: somebody wants one just now."""
        want = self._wanted.get(server)
        if want is None:
            _remember(self._wanted, server, _Want(now + LOST_S, now + LOST_FOR_S))
        else:
            want.until = now + LOST_FOR_S
            if asked:
                want.at = min(want.at, max(now, want.said_at) + LOST_S)

    def wants(self, server: ServerId) -> bool:
        """Whether it is sought."""
        return server in self._wanted

    def forget(self, server: ServerId) -> None:
        """It answers, or is not wanted any more."""
        self._wanted.pop(server, None)

    # -- what comes

    def handle_seek_untrusted(self, peer: ServerId, message: Seek, now: float) -> str | None:
        """A SEEK came. What is wrong with it, or None."""
        wrong = check_seek_untrusted(message, self._own, peer)
        if wrong is not None:
            return wrong
        origin, search = message.path[0], (message.path[0], message.number)
        if search in self._seen or not self._knows(origin):
            return None
        _remember(self._seen, search, None)
        if self._own in message.targets:
            self._arrive(peer, message, now)
        left = [
            (target, came) for target, came in zip(message.targets, message.came, strict=True)
            if target != self._own and self._knows(target) and self._may_forward(origin, target)
        ]  # fmt: skip
        path = (*message.path, self._own)
        if left and len(path) < MAX_PATH:
            onward = Seek(message.number, path, tuple(each for each, _ in left), tuple(came for _, came in left))
            self._say(onward, now, peer)
        return None

    def handle_came_untrusted(self, server: ServerId, message: Came, now: float) -> str | None:
        """A target's answer, opened. What is wrong with it, or None."""
        if not is_way(message.path, self._own, server):
            return "a CAME of a path that leads elsewhere, or circles"
        if now - self._numbers.get(message.number, -math.inf) < FRESH_S:
            self._outputs.append(Sought(server, message.path, proven=True))
        return None

    def _arrive(self, peer: ServerId, message: Seek, now: float) -> None:
        """We are sought."""
        origin, path = message.path[0], (*message.path, self._own)
        answered_at = self._answered.get(origin, -math.inf)
        if now - answered_at < ANSWER_S:
            return
        _remember(self._answered, origin, now)
        _remember(self._came, origin, (path, now))
        told = message.came[message.targets.index(self._own)]
        if told:
            self._outputs.append(Sought(origin, told, proven=False))
        ways: list[Path] = [(self._own, origin)]
        if not self._direct(origin) or now - answered_at < LOST_FOR_S:  # it did not hear that, or it may not
            ways += [each for each in (told, *self._ways_to(origin, now)) if each]
            if not told:
                self._seek_back(origin, now)
        ways = list(dict.fromkeys(ways))[:WAYS]
        for way in ways[: self._allowed(len(ways), peer, now)]:
            self._outputs.append(Tell(way, Came(message.number, path)))

    def _seek_back(self, origin: ServerId, now: float) -> None:
        want = self._wanted.get(origin)
        if want is None:
            _remember(self._wanted, origin, _Want(now + BACK_S, now + BACK_FOR_S))
        else:
            want.at, want.until = min(want.at, max(now + BACK_S, want.said_at + AGAIN_S)), max(want.until, now + BACK_S)

    # -- steps

    def _path_of(self, server: ServerId, now: float) -> Path:
        path, at = self._came.get(server, ((), -math.inf))
        return path if now - at < FRESH_S else ()

    def _say(self, message: Seek, now: float, asker: ServerId | None = None) -> None:
        """To whom it helps, as far as there is allowance; `asker`: who handed it to us."""
        whom = [each for each in message.targets if each not in message.path]
        if asker is None or not all(self._direct(each) for each in message.targets):
            for group in (self._sessions(), self._others()):
                more = [each for each in group if each not in message.path and each not in whom]
                turn = message.number % max(1, len(more))  # others each time, where there are more than FAN_OUT
                whom += more[turn:] + more[:turn]
        for server in whom[: self._allowed(min(len(whom), FAN_OUT), asker, now)]:
            self._outputs.append(HandOn(server, message))

    def _allowed(self, wanted: int, asker: ServerId | None, now: float) -> int:
        """How many words of these may be said."""
        if asker is not None:
            if asker not in self._allowances:
                _remember(self._allowances, asker, _Allowance(PEER_PER_S, now))
            wanted = self._allowances[asker].take(wanted, now)
        if self._all is None:
            self._all = _Allowance(ALL_PER_S, now)
        return self._all.take(wanted, now)


def _remember(memory: dict[Any, Any], key: Any, value: Any) -> None:
    """The newest MAX_SEEN."""
    memory.pop(key, None)
    if len(memory) >= MAX_SEEN:
        del memory[next(iter(memory))]
    memory[key] = value
