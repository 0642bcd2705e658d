"""Verbs of contests: two servers ask at the same moment for what only one of them can have.

    1.2 and 1.3 change 2 Note of 1.1 as last seen        both see the same versions, and each writes a text of its own
        1.2 --- 1.1/7 as of 4: "1.2 says 9" ---> 1.1     sequence 5
        1.3 --- 1.1/7 as of 4: "1.3 says 10" --> 1.1     a conflict: 4 does not stand any more

Who loses is told, and the line is none that fails: `3 done, 1 conflict`. That nobody wins who should have lost is said
by the checkers (`check_linearizable.py`). One of the two may be the owner itself, and both may be the same server.
"""

from __future__ import annotations

from collections import Counter

import trio

from identity.errors import BangpathError
from identity.names import Reference
from node.asking import Operation
from node.outcomes import Queued
from simulations.steps import ID, NUMBER, Act, Run, Verb
from simulations.verbs_work import Desk


def _contest(name: str, other: str, number: str, class_name: str, owner: str) -> Act:
    async def act(run: Run) -> str:
        desk = Desk.of(run)
        chosen = list(dict.fromkeys(desk.some(run, owner, int(number), class_name)))
        seen = {each: desk.sequences.get(each) or None for each in chosen}
        ended: Counter[str] = Counter()

        async def ask(asker: str, reference: Reference, fields: dict[str, str]) -> None:
            change = Operation(op="update", object=reference.object, fields=fields, expect=seen[reference])
            try:
                done = await run.server(asker).transact([change], owner=None if asker == owner else owner)
            except BangpathError as error:
                ended[type(error).__name__.lower()] += 1
                return
            if isinstance(done, Queued):
                ended["waiting"] += 1
                run.memory.setdefault("unsure", {})[reference] = done
            else:
                ended["done"] += 1
                desk.changed(run, fields, done[0])

        async with trio.open_nursery() as nursery:
            for reference in chosen:
                for asker in (name, other):
                    run.count += 1
                    nursery.start_soon(ask, asker, reference, {"text": f"{asker} says {run.count}"})
        return ", ".join(f"{count} {what}" for what, count in sorted(ended.items()))

    return act


VERBS: tuple[Verb, ...] = (
    Verb(
        rf"{ID} and {ID} change {NUMBER} (\w+) of {ID} as last seen",
        (1, 2, 5),
        _contest,
        "1.2 and 1.3 change 2 Note of 1.1 as last seen",
    ),
)
