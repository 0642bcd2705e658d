"""P5: an answer says who gave it, and names nobody as missing who did.

    1.3 got 1.1/4: owner                  1.1 itself told 1.3 of it meanwhile                            else accused
                   owned                  1.3 owns it, and nobody is named as who answered               else accused
                   mirrored, by 1.4       1.4, who is not its owner, told 1.3 of it, or 1.4 is 1.3       else accused
                   cached, by 1.4         the same, and no position is told                              else accused
    1.3 got 1.1/4 by its owner            it is owned, or of the owner                                   else accused
    1.3 got 1.1/4 as held here            nobody else answered                                           else accused
    1.4 asked Note                        of each row, and of each owner in the report, the same
        1.1 answered to its end           it is not told as unreachable, cached or not asked             else accused

Who told whom is overheard where an answer arrives, with its peer as the session has proven it: so liars excuse nobody
but themselves. Left out: askers that are or were hostile, and what was asked before the checker began. Of who is told
as missing: owners and askers that are excused, answers of several parts, of which a later one may make no sense to its
asker, and those that came together with the deadline; an owner of whom somebody else told too; several questions of one
asker at once.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, NamedTuple

from node.asking import Found
from node.node import DEADLINE_S
from node.requests import Get, Query, read_request_untrusted
from simulations.history import Outcome, Word
from simulations.promises import JudgingWords
from transport.requests import Answered, Request
from transport.wire import SendTo

if TYPE_CHECKING:
    from simulations.world import World

SOON_S = 0.5  # before its deadline an answer may come too late for whoever waits for it
ONE_PART = 1  # the index of the end of an answer that has its rows in one part


class Heard(NamedTuple):
    """A part of an answer that arrived. `object`: 0 where rows were asked for; `whole`: a short answer ended."""

    tick: int
    at: float
    by: str
    owner: str
    object: int
    whole: bool


class WhoAnswered(JudgingWords):
    """Whoever answered is told, and as what."""

    name = "who answered"
    promise = "P5"

    def __init__(self) -> None:
        super().__init__()
        self._asked: dict[tuple[str, int], bytes] = {}  # asker, number of its request -> what it asks
        self._since = 0  # what was asked before nobody overheard
        self._heard: dict[str, list[Heard]] = {}  # by asker, in the order in which they came

    def begin(self, world: World) -> None:
        super().begin(world)
        self._since = world.history.tick()

        def sent(server: str, output: SendTo, now: float) -> None:
            if isinstance(output.message, Request):
                self._asked[server, output.message.number] = output.message.body

        def answered(server: str, output: Answered, now: float) -> None:
            body = self._asked.get((server, output.number)) if output.ok else None
            asked = None if body is None else read_request_untrusted(body)
            if not isinstance(asked, Get | Query):
                return
            owner, object = (asked.server, asked.object) if isinstance(asked, Get) else (asked.owner, 0)
            whole = output.last and output.index <= ONE_PART
            heard = Heard(world.history.tick(), now, str(output.peer), str(owner), object, whole)
            self._heard.setdefault(server, []).append(heard)

        world.ledger.listen(SendTo, sent)
        world.ledger.listen(Answered, answered)

    def concerns(self, word: Word) -> bool:
        return word.verb in ("get", "query") and word.outcome is Outcome.DONE

    def judge(self, world: World, word: Word) -> bool:
        """Accuses, or says that nothing is left to say."""
        if word.begin < self._since or world.ledger.is_hostile(word.server):
            return True
        heard = self._heard_in(word)
        for found in (word.result,) if word.verb == "get" else word.result.rows:
            self._judge_found(world, word, found, heard)
        if word.verb == "query":
            for told in word.result.completeness["owners"]:
                self._judge_part(world, word, told, heard)
        return True

    def _heard_in(self, word: Word) -> list[Heard]:
        """What arrived at the asker while it asked."""
        heard = self._heard.get(word.server, [])
        begin = bisect_left(heard, word.begin, key=lambda each: each.tick)
        return [each for each in heard[begin:] if each.tick < word.end]

    def _judge_found(self, world: World, word: Word, found: Found, heard: list[Heard]) -> None:
        owner = str(found.reference.server)
        by = "" if found.by is None else str(found.by)
        object = found.reference.object if word.verb == "get" else 0
        consistency = word.options.get("consistency", "nearest")
        wrong = wrong_with(found.kind, owner, by, asker=word.server, consistency=consistency)
        if not wrong and found.kind == "cached" and found.position is not None:
            wrong = "a copy that is kept by chance has no position"
        wrong = wrong or _unheard(by or owner, owner, object, word.server, heard)
        if wrong:
            self.accuse(world, f"{word}, and was told {found.reference}, {found.kind}{by and f', by {by}'}; {wrong}")

    def _judge_part(self, world: World, word: Word, told: dict[str, Any], heard: list[Heard]) -> None:
        """One owner's line in the report."""
        owner, how, by = told["server"], told["how"], told.get("by", "")
        if how in ("owned", "owner", "mirrored", "cached"):
            consistency = word.options.get("consistency", "nearest")
            wrong = wrong_with(how, owner, by, asker=word.server, consistency=consistency)
            wrong = wrong or _unheard(by or owner, owner, 0, word.server, heard)
            if wrong:
                self.accuse(world, f"{word}, and was told {owner} {how}{by and f' by {by}'}; {wrong}")
        if how not in ("unreachable", "cached", "not asked") or not self._is_sure(world, word, owner):
            return
        of_it = [each for each in heard if (each.owner, each.object) == (owner, 0)]
        ends = [each for each in of_it if each.whole and each.at < word.begin_s + DEADLINE_S - SOON_S]
        if ends and all(each.by == owner for each in of_it):
            self.accuse(world, f"{word}, and was told {owner} {how}; it answered to the end at {ends[0].at:.3f} s")

    def _is_sure(self, world: World, word: Word, owner: str) -> bool:
        """Whether what the asker heard of this owner can only be the answer to this word, and a good one."""
        if {owner, word.server} & set(world.ledger.excused) or set(word.options) - {"consistency"}:
            return False
        return not any(
            other is not word and (other.server, other.verb) == (word.server, "query")
            and other.begin < word.end and other.end > word.begin
            for other in world.history.words
        )  # fmt: skip


def wrong_with(kind: str, owner: str, by: str, *, asker: str, consistency: str = "nearest") -> str:
    """What is wrong with what an answer says of who gave it, "" when nothing is. `by`: "" where that is the owner."""
    if (kind == "owned") != (owner == asker):
        return f"{asker} asked, and {owner} owns it"
    if kind in ("owned", "owner") and by:
        return f"{by} answered, and not {owner}, who owns it"
    if kind in ("mirrored", "cached") and by in ("", owner):
        return f"nobody is told who has this copy of what {owner} owns"
    if consistency == "owner" and kind in ("mirrored", "cached"):
        return f"only {owner}, who owns it, was to answer"
    if consistency == "local" and (kind == "owner" or by not in ("", asker)):
        return f"only {asker} itself was to answer"
    return ""


def _unheard(by: str, owner: str, object: int, asker: str, heard: list[Heard]) -> str:
    """That whoever is told as who answered has told the asker nothing of it; "" when he has, or is the asker."""
    if by == asker or any((each.by, each.owner, each.object) == (by, owner, object) for each in heard):
        return ""
    return f"{by} told {asker} nothing of it"
