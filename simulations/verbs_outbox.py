"""Verbs of outboxes: what waits at a server for an owner, taken back by who asked for it, or of use for a while only.

1.2 cancels what waits for 1.1      each change for itself; one that was sent is withdrawn: 1.1 has the word of it
1.2 forgets what waits for 1.1      the same, and of what was sent nobody asks any more: its end is unknown
1.2 commits 2 Note at 1.1 within 10s or not at all      expires where it waits longer than that
1.2 changes 2 Note of 1.1 within 10s or not at all
"""

from __future__ import annotations

from collections import Counter

from identity.errors import Refused
from node.asking import Operation
from replication.entries import OPEN
from simulations.class_lines import Values
from simulations.steps import ID, NUMBER, SECONDS, Act, Run, Verb, amount, lapse
from simulations.verbs_work import Desk, carry_out, text_of

_STILL = frozenset(state.value for state in OPEN)


def _cancels(name: str, verb: str, owner: str) -> Act:
    _two(name, owner)

    async def act(run: Run) -> str:
        server = run.server(name)
        became: Counter[str] = Counter()
        for entry in await server.outbox():
            if entry["server"] == owner and entry["state"] in _STILL:
                told = await server.cancel_change(entry["request"], forget=verb == "forgets")
                became[told["state"]] += 1
        return ", ".join(f"{count} {state}" for state, count in sorted(became.items())) or "nothing waits"

    return act


def _commits(name: str, number: str, class_name: str, owner: str, within: str, unit: str) -> Act:
    wished, expires = amount(number), _limit(within, unit)
    _two(name, owner)

    async def act(run: Run) -> str:
        values = Values.of(run)
        fields = [values.fill(run, owner, class_name, text_of(run, name), whole=True) for _ in range(wished)]
        creations = [Operation(op="create", class_name=class_name, fields=each) for each in fields]
        return await carry_out(run, name, owner, creations, False, expires=expires)

    return act


def _changes(name: str, number: str, class_name: str, owner: str, within: str, unit: str) -> Act:
    wished, expires = amount(number), _limit(within, unit)
    _two(name, owner)

    async def act(run: Run) -> str:
        chosen = Desk.of(run).some(run, owner, wished, class_name)
        fields = [Values.of(run).fill(run, owner, class_name, text_of(run, name), whole=False) for _ in chosen]
        changes = [
            Operation(op="update", object=each.object, fields=has) for each, has in zip(chosen, fields, strict=True)
        ]
        return await carry_out(run, name, owner, changes, False, chosen, expires=expires)

    return act


def _limit(within: str, unit: str) -> float:
    """The time after which it is of no use. Raises `Refused`, as the server itself would, for none at all."""
    found = lapse(within, unit)
    if found <= 0:
        raise Refused(f"within {within}{unit} nothing can be done", next_step="give it some time, as: within 10s")
    return found


def _two(name: str, owner: str) -> None:
    if name == owner:
        raise Refused(f"nothing of its own waits at {name}", next_step="name two servers, such as 1.2 and 1.1")


_IN_TIME = rf"within {SECONDS} or not at all"

VERBS: tuple[Verb, ...] = (
    Verb(rf"{ID} (cancels|forgets) what waits for {ID}", (1, 3), _cancels, "1.2 cancels what waits for 1.1"),
    Verb(
        rf"{ID} commits {NUMBER} (\w+) at {ID} {_IN_TIME}",
        (1, 4),
        _commits,
        "1.2 commits 2 Note at 1.1 within 10s or not at all",
    ),
    Verb(
        rf"{ID} changes {NUMBER} (\w+) of {ID} {_IN_TIME}",
        (1, 4),
        _changes,
        "1.2 changes 2 Note of 1.1 within 10s or not at all",
    ),
)
