"""What the crash tests commit: pairs of objects that are made and changed together, so that a half one shows.

    Half(pair=17, side="left", version=3)     Half(pair=17, side="right", version=3)

Eight clients, each with pairs of its own; every transaction makes a new pair or raises both versions of one by one.
`Ledger` remembers what was answered, and judges a store: every answered version is there or a later one that was
asked for, both sides are equal, nothing was invented, and no object's number is used twice.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from identity.errors import BangpathError
from store.database import Database
from store.definitions import definition_from_toml
from store.query import Compare, Question
from store.transaction import Transaction

CLIENTS = 8
HALF = definition_from_toml(
    'name = "Half"\n[fields]\npair = { type = "int", required = true, index = true }\n'
    'side = { type = "enum(left,right)", required = true }\nversion = { type = "int", required = true }\n'
    'filling = "bytes"\n'
)


class Violation(AssertionError):
    """The store broke its promise."""


class Ledger:
    """What clients asked for and what they were answered."""

    def __init__(self) -> None:
        self.asked: dict[int, int] = {}  # pair: the highest version asked for
        self.answered: dict[int, int] = {}  # pair: the highest version answered
        self.highest_object = 0

    def judge(self, database: Database) -> int:
        """Raise `Violation` unless the store holds what it must. The number of pairs found."""
        sides: dict[int, dict[str, int]] = {}
        with database.view() as view:
            for each in view.select(Question("Half")):
                fields = each.fields
                found = sides.setdefault(fields["pair"], {})
                if fields["side"] in found:
                    raise Violation(f"pair {fields['pair']} has two {fields['side']} halves")
                found[fields["side"]] = fields["version"]
        for pair, found in sides.items():
            if len(found) != 2 or found["left"] != found["right"]:
                raise Violation(f"pair {pair} is half: {found}")
            if found["left"] > self.asked.get(pair, 0):
                raise Violation(f"pair {pair} has version {found['left']}, {self.asked.get(pair)} was asked for")
        for pair, version in self.answered.items():
            if pair not in sides:
                raise Violation(f"pair {pair} was answered and is lost")
            if sides[pair]["left"] < version:
                raise Violation(f"pair {pair}: version {version} was answered, {sides[pair]['left']} is there")
        return len(sides)

    def settle(self, database: Database) -> None:
        """What is there now counts as answered: a later run must not lose it either."""
        with database.view() as view:
            for each in view.select(Question("Half", Compare("side", "=", "left"))):
                self.asked[each.fields["pair"]] = self.answered[each.fields["pair"]] = each.fields["version"]
        for pair in [pair for pair in self.asked if pair not in self.answered]:
            del self.asked[pair]


async def client(
    database: Database,
    number: int,
    generator: random.Random,
    asked: Callable[[int, int], None],
    answered: Callable[[int, int, int], None],
    first_pair: int,
) -> None:
    """Commit until the store stops. `asked(pair, version)` before, `answered(pair, version, object)` after."""
    mine: list[tuple[int, int, int, int]] = []  # pair, version, left, right
    next_pair = first_pair + number
    while True:
        filling = generator.randbytes(generator.randrange(200))
        if mine and generator.random() < 0.5:
            at = generator.randrange(len(mine))
            pair, version, left, right = mine[at]

            def raise_both(
                t: Transaction, left: int = left, right: int = right, version: int = version, filling: bytes = filling
            ) -> tuple[int, int]:
                for half in (left, right):
                    t.update(half, {"version": version + 1, "filling": filling})
                return left, right

            body, version = raise_both, version + 1
        else:
            at, pair, version = len(mine), next_pair, 1
            next_pair += CLIENTS
            mine.append((pair, 0, 0, 0))

            def make_both(t: Transaction, pair: int = pair, filling: bytes = filling) -> tuple[int, int]:
                left, right = (
                    t.create("Half", {"pair": pair, "side": side, "version": 1, "filling": filling}).object
                    for side in ("left", "right")
                )
                return left, right

            body = make_both
        asked(pair, version)
        try:
            left, right = await database.transact(body)
        except BangpathError:
            return
        mine[at] = (pair, version, left, right)
        answered(pair, version, right)
