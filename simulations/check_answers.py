"""P5: an answer is what it says: a version its owner made, not older than its position, whole where it says so.

    1.3 got 1.1/4: {text: "b"}, sequence 9, mirrored, position 17, age 2 s, asked at 30 s
        1.1 made 1.1/4 with sequence 9 and these fields                          else accused
        after update 17 of 1.1 the object was not newer than sequence 9          else accused
        18 was not yet made at 28 s, less the time that news may take            else accused
        17 was made in the epoch that the position names                         else accused
        who answered does not have it as a backup only                           else accused
    1.4 asked Note: 12 rows, whole
        each row as above, of the class and the servers asked for, and its version meets the condition
        no more rows than the limit, and each before the next one in the order asked for
        of each owner told as answered, for every object that is not among the rows: there was a moment, at its
        position or later, at which it did not belong there, or, with a limit, came after the last row
        every owner whose class was known to 1.4 when it asked is in the report

Conditions and orders are understood by `row_model.py`, not by the product. Nobody can be sure of more without a clock
that all share: what may have changed while the answer was under way accuses nobody. Left out: answers to and by hostile
servers, owners that are excused, what is missing where an answer says that it is not whole, objects of private classes
(they are in no feed).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from identity.errors import BangpathError
from identity.names import ObjectId, Pattern, Reference
from node.asking import Found
from node.language import parse
from simulations.history import Outcome, Word
from simulations.promises import JudgingWords
from simulations.row_model import Row, comes_first, fits
from simulations.truth import fields_of, held_record
from store.query import Condition, Question, compile_filter
from store.records import DATA, MIRRORED, REGISTRY

if TYPE_CHECKING:
    from identity.names import ServerId
    from simulations.ledger import Version
    from simulations.world import World
    from store.definitions import ClassDefinition

NEWS_S = 10.0  # an age is counted from when news came, not from when it left: links, queues and repeats take so long
LEARNT_S = 1.0  # from the sync of a registry update to a directory that has it
HELD_UP = ("pause", "disk", "clock", "link")  # marks of faults by which it may take any time


class TrueAnswers(JudgingWords):
    """Nobody is told what is not so, or less than all as all."""

    name = "true answers"
    promise = "P5"

    def __init__(self) -> None:
        super().__init__()
        self._backups: dict[tuple[str, str], tuple[int | None, float]] = {}  # holder, owner -> since, seen at

    def look(self, world: World) -> None:
        super().look(world)
        self._backups = dict(self._seen_backups(world))

    def concerns(self, word: Word) -> bool:
        return word.verb in ("get", "query") and word.outcome is Outcome.DONE

    def judge(self, world: World, word: Word) -> bool:
        """Accuses, or says whether nothing is left to say; not while an owner's log may say more than is known."""
        if world.ledger.is_hostile(word.server):
            return True
        if word.verb == "get":
            if world.ledger.is_behind(word.owner):
                return False
            self._judge_found(world, word, word.result, dict.fromkeys(word.result.fields))
            return True
        asked = _asked(word)
        if asked is None:
            return True
        owners = [each["server"] for each in word.result.completeness["owners"] if _is_known(world, each)]
        if any(map(world.ledger.is_behind, owners)):
            return False
        self._judge_rows(world, word, asked.question, asked.servers)
        return True

    # -- one object

    def _judge_found(self, world: World, word: Word, found: Found, names: dict[str, None]) -> None:
        ledger = world.ledger
        owner, object = str(found.reference.server), found.reference.object
        if owner in ledger.excused or (found.by is not None and ledger.is_hostile(str(found.by))):
            return
        versions = ledger.versions(owner, object)
        if not versions and (owner == word.server or not world.server(owner).lives):
            return  # its own, of a private class
        version = next((each for each in versions if each.leaf.sequence == found.sequence), None)
        told = f"{word}, and was told {owner}/{object}: {dict(found.fields)}, sequence {found.sequence}, {found.kind}"
        if version is None or not version.leaf.body:
            self.accuse(world, f"{told}; {owner} made no such version, but {_numbers(versions)}")
        fields = fields_of(world, version.leaf)
        if fields is not None and any(fields.get(name) != found.fields[name] for name in names):
            self.accuse(world, f"{told}; {owner} made that version as {fields}")
        holder = word.server if found.by is None else str(found.by)
        if found.kind in ("mirrored", "cached") and self._is_backup(world, holder, owner, object, word):
            self.accuse(world, f"{told}; {holder} has it as a backup only, of which nothing is shown")
        if found.position is None:
            return
        number = found.position.number
        if number > ledger.last(owner):
            self.accuse(world, f"{told}, as of update {number}; {owner} made {ledger.last(owner)} so far")
        self._judge_epoch(world, owner, number, found.position.epoch, told)
        newest = ledger.version(owner, object, number)
        if newest is not None and newest.leaf.sequence > found.sequence:
            self.accuse(
                world,
                f"{told}, as of update {number}; by then {owner} had made sequence {newest.leaf.sequence} of it, in "
                f"update {newest.number}",
            )
        self._judge_age(world, word, owner, number, found.age, told)

    def _seen_backups(self, world: World) -> Iterator[tuple[tuple[str, str], tuple[int | None, float]]]:
        for holder in world.servers:
            for pattern, since in holder.node.parts.mirroring.backups() if holder.node is not None else ():
                for owner in world.servers:
                    if pattern.matches(owner.server) and holder.node.parts.mirroring.backs_up(owner.server):
                        known = self._backups.get((holder.name, owner.name))
                        seen = known if known is not None and known[0] == since else (since, world.now)
                        yield (holder.name, owner.name), seen

    def _is_backup(self, world: World, holder: str, owner: str, object: int, word: Word) -> bool:
        """Whether the holder has this object as a part of a backup, unchanged from before the question until now."""
        known, node = self._backups.get((holder, owner)), world.server(holder).node
        if known is None or node is None or known[1] > word.begin_s:
            return False
        mirroring, whose = node.parts.mirroring, world.server(owner)
        backups = [since for pattern, since in mirroring.backups() if pattern.matches(whose.server)]
        if not mirroring.backs_up(whose.server) or known[0] not in backups:
            return False
        later = itertools.takewhile(lambda each: each.tick > word.begin, reversed(world.ledger.taken))
        if any((each.holder, each.owner) == (holder, owner) for each in later):
            return False  # it may have been a copy kept by chance before
        with node.view() as view:
            record = held_record(view, whose, node.parts.standpoint.incarnation_of(whose.server), object)
        return record is not None and record.kind == MIRRORED

    def _judge_epoch(self, world: World, owner: str, number: int, epoch: int, told: str) -> None:
        """That a position names the run of the owner in which that update was made: `after` compares both."""
        made = world.ledger.made.get((owner, DATA), {}).get(number)
        if made is not None and made.epoch != epoch:
            self.accuse(world, f"{told}, as of update {number} in epoch {epoch}; {owner} made it in epoch {made.epoch}")

    def _judge_age(self, world: World, word: Word, owner: str, number: int, age: float | None, told: str) -> None:
        if age is None or owner == word.server or _is_held_up(world):
            return
        proven = word.begin_s - age - NEWS_S
        made = world.ledger.last_at(owner, proven)
        if made > number:
            self.accuse(
                world,
                f"{told}, as of update {number}, {age:.1f} s ago; but {owner} had made update {made} before "
                f"{proven:.3f} s",
            )

    # -- rows

    def _judge_rows(self, world: World, word: Word, question: Question, servers: Pattern | None) -> None:
        ledger = world.ledger
        report = word.result.completeness
        shown: dict[str, dict[int, Found]] = {}
        names = None if question.fields is None else dict.fromkeys(question.fields)
        for row in word.result.rows:
            self._judge_found(world, word, row, dict.fromkeys(row.fields) if names is None else names)
            self._judge_belongs(world, word, question, servers, row)
            shown.setdefault(str(row.reference.server), {})[row.reference.object] = row
        self._judge_order(world, word, question)
        if not report["whole"]:
            return
        told = {each["server"]: each for each in report["owners"]}
        for owner in known_owners(world, word, question.class_name):
            if owner not in told and (servers is None or servers.matches(world.server(owner).server)):
                rows = len(word.result.rows)
                self.accuse(world, f"{word}, and was told that its {rows} rows are whole; {owner} is left out")
        for owner, each in told.items():
            if not _is_known(world, each) or owner in ledger.excused or ledger.is_hostile(each.get("by", owner)):
                continue
            if each["how"] not in ("owned", "owner", "mirrored"):
                self.accuse(world, f"{word}, and was told that it is whole; {owner} was {each['how']}")
            self._judge_part(world, word, question, owner, each, shown.get(owner, {}))

    def _judge_belongs(self, world: World, word: Word, question: Question, servers: Pattern | None, row: Found) -> None:
        """That a row was asked for: its server, its class, and the condition of the version that is told."""
        told = f"{word}, and was told {row.reference}: {dict(row.fields)}, sequence {row.sequence}"
        if servers is not None and not servers.matches(row.reference.server):
            self.accuse(world, f"{told}, which is of none of the servers asked for")
        if row.class_name != question.class_name:
            self.accuse(world, f"{told}, a {row.class_name}")
        if _is_believed(world, row) and fits(question.where, _fields_of_row(world, row)) is False:
            self.accuse(world, f"{told}, which does not meet the condition")

    def _judge_order(self, world: World, word: Word, question: Question) -> None:
        """That there are not more rows than asked for, and that they come in the order asked for."""
        rows = word.result.rows
        if question.limit is not None and len(rows) > question.limit:
            self.accuse(world, f"{word}, and was told {len(rows)} rows")
        both = [(row.reference, _fields_of_row(world, row)) for row in rows if _is_believed(world, row)]
        for before, after in itertools.pairwise(both):
            if comes_first(question.order, before, after) is False:
                self.accuse(
                    world,
                    f"{word}, and was told {before[0]}: {dict(before[1])} before {after[0]}: {dict(after[1])}",
                )

    def _judge_part(
        self, world: World, word: Word, question: Question, owner: str, told: dict[str, Any], rows: dict[int, Found]
    ) -> None:
        """That nothing is missing of one owner, at its position or later; with a limit, nothing before the last row."""
        ledger = world.ledger
        all_rows = word.result.rows
        last: Row | None = None  # after it anything may be cut away
        if question.limit is not None and len(all_rows) >= question.limit:
            if not all_rows or not all(_is_believed(world, row) for row in all_rows):
                return
            last = (all_rows[-1].reference, _fields_of_row(world, all_rows[-1]))
        if told["position"] is None:
            return
        server = world.server(owner).server
        number = int(str(told["position"]).rpartition(":")[2])
        for object in ledger.objects(owner):
            if object in rows:
                continue
            standing = ledger.version(owner, object, number)
            later = [each for each in ledger.versions(owner, object) if each.number > number]
            candidates = [standing, *later]
            if all(each is not None and _belongs(world, question, each) for each in candidates) and (
                last is None or all(_is_before(world, question, server, each, last) for each in candidates)
            ):
                assert standing is not None
                self.accuse(
                    world,
                    f"{word}, and was told that its {len(word.result.rows)} rows are whole, {owner} {told['how']} as "
                    f"of update {number}; {owner}/{object} is missing, {fields_of(world, standing.leaf)} since update "
                    f"{standing.number}",
                )


class _Asked(NamedTuple):
    question: Question
    servers: Pattern | None


def _asked(word: Word) -> _Asked | None:
    if isinstance(word.target, Question):
        return _Asked(word.target, None)
    try:
        return _Asked(*parse(str(word.target)))
    except BangpathError:
        return None


def _belongs(world: World, question: Question, version: Version) -> bool:
    """Whether this version is a row of the answer."""
    fields = fields_of(world, version.leaf)
    if not version.leaf.body or fields is None:
        return False
    for server in world.servers:
        if server.node is None:
            continue
        entry = server.node.parts.database.registry.by_fingerprint(version.leaf.fingerprint)
        if entry is None:
            continue
        if entry.definition.name != question.class_name:
            return False
        known = fits(question.where, fields)
        if known is None and question.where is not None:
            return _fits_as_the_product_says(question.where, entry.definition, fields)
        return bool(known)
    return False


def _fits_as_the_product_says(where: Condition, definition: ClassDefinition, fields: Mapping[str, Any]) -> bool:
    """For kinds of values that `row_model.py` does not know; False where the product cannot say either."""
    try:
        return bool(compile_filter(where, definition)(fields))
    except BangpathError:  # a reference without its server, whose asker is meant
        return False


def _is_before(world: World, question: Question, server: ServerId, version: Version | None, last: Row) -> bool:
    """Whether this version comes before the last row for certain."""
    fields = None if version is None else fields_of(world, version.leaf)
    if version is None or fields is None:
        return False
    reference = Reference(server, last[0].incarnation, ObjectId(version.leaf.object))
    return comes_first(question.order, (reference, fields), last) is True


def _is_believed(world: World, row: Found) -> bool:
    """Whether who told this row is neither hostile, nor has a disk that rotted, nor came back in time."""
    return str(row.reference.server if row.by is None else row.by) not in world.ledger.excused


def _fields_of_row(world: World, row: Found) -> dict[str, Any]:
    """All fields of the version that is told, also those that nobody asked to see."""
    versions = world.ledger.versions(str(row.reference.server), row.reference.object)
    version = next((each for each in versions if each.leaf.sequence == row.sequence), None)
    fields = None if version is None else fields_of(world, version.leaf)
    return {**(fields or {}), **row.fields}


def known_owners(world: World, word: Word, class_name: str) -> Iterator[str]:
    """Owners who have the class, as the asker's own directory said before it asked."""
    for owner in world.servers:
        if owner.name == word.server or owner.name in world.ledger.excused:
            continue
        number = adopted_at(world, owner.name, class_name)
        if number and any(
            each.holder == word.server and each.owner == owner.name and each.kind == REGISTRY and each.number >= number
            and each.at < word.begin_s - LEARNT_S
            for each in world.ledger.taken
        ):  # fmt: skip
            yield owner.name


def adopted_at(world: World, owner: str, class_name: str) -> int:
    """The update of its registry feed by which an owner adopted a class; 0: it did not."""
    for number, made in sorted(world.ledger.made.get((owner, REGISTRY), {}).items()):
        for leaf in made.leaves:
            fields = fields_of(world, leaf)
            if fields and fields.get("name") == class_name and "major" in fields:
                return number
    return 0


def _is_known(world: World, told: dict[str, Any]) -> bool:
    """Whether the report speaks of a server that there is."""
    return any(each.name == told["server"] for each in world.servers)


def _is_held_up(world: World) -> bool:
    """Whether a fault of this run may have kept news on its way for any time."""
    return any(mark.kind in HELD_UP for mark in world.marks)


def _numbers(versions: list[Version]) -> str:
    return "sequences " + ", ".join(str(each.leaf.sequence) for each in versions[-5:]) if versions else "none of it"
