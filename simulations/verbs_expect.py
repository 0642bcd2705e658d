"""Verbs that expect: what must be true at that line, or within some time.

expect every promise within 120s         all that `checkers.py` gathers; what must never be is looked at anyway
expect converged within 30s              one of them, by its name
expect 1.2 has all of 1.1 within 30s     every object as it was acknowledged last
expect 1.2 lacks some of 1.1
"""

from __future__ import annotations

from simulations.checkers import BY_NAME
from simulations.class_lines import as_written
from simulations.steps import ID, SECONDS, Act, Run, Verb, lapse


def _differing(run: Run, name: str, other: str) -> int:
    server = run.server(name)
    return sum(as_written(server.read(reference)) != run.texts[reference] for reference in run.objects.get(other, []))


def _expect_all(name: str, other: str, number: str | None, unit: str | None) -> Act:
    within = lapse(number, unit) if number and unit else 0.0

    async def act(run: Run) -> str:
        begun = run.world.now
        try:
            await run.world.eventually(lambda: not _differing(run, name, other), within=within)
        except AssertionError as error:
            left = _differing(run, name, other)
            raise AssertionError(
                f"{name} differs from {other} in {left} of {len(run.objects[other])} objects"
            ) from error
        return f"after {run.world.now - begun:.2f} s"

    return act


def _expect_lacks(name: str, other: str) -> Act:
    async def act(run: Run) -> str:
        differing = _differing(run, name, other)
        if not differing:
            raise AssertionError(f"{name} has all {len(run.objects.get(other, []))} objects of {other}")
        return f"{differing} missing or old"

    return act


def _expect_promise(name: str, number: str | None, unit: str | None) -> Act:
    within = lapse(number, unit) if number and unit else 0.0

    async def act(run: Run) -> str:
        taken = await run.world.expect_named(run, name, within=within)
        return f"after {taken:.2f} s"

    return act


_PROMISE = "|".join(("every promise", *BY_NAME))

VERBS: tuple[Verb, ...] = (
    Verb(
        rf"expect {ID} has all of {ID}(?: within {SECONDS})?",
        (1, 2),
        _expect_all,
        "expect 1.2 has all of 1.1 within 30s",
    ),
    Verb(rf"expect {ID} lacks some of {ID}", (1, 2), _expect_lacks, "expect 1.2 lacks some of 1.1"),
    Verb(rf"expect ({_PROMISE})(?: within {SECONDS})?", (), _expect_promise, "expect every promise within 120s"),
)
