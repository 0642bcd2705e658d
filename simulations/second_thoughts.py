"""Stories for schedules of people who change their mind, and of those who ask for many at once. Pure.

    1.2 mirrors 1.* but not 1.3 1.4                  in the place of: 1.2 mirrors 1.1

    at 12.1s isolate 1.1 for 14s
    at 13.0s 1.3 commits 1 Note at 1.1               waits
    at 14.2s 1.3 changes 1 Note of 1.1 within 3s or not at all
    at 19.5s 1.3 cancels what waits for 1.1          or forgets
    at 20.8s crash 1.3 for 1s                        which must know it all the same
    at 23.9s 1.3 commits 1 Note at 1.1               this one is meant

    at 12.1s isolate 1.1 for 19s
    at 13.0s 1.3 commits 2 Note at 1.1 within 3s or not at all
    at 14.4s 1.3 changes 1 Note of 1.1 within 10s or not at all
    at 20.8s crash 1.3 for 1s                        which must not take its time for longer

Chance alone cancels where nothing waits, and mends before the time of what waits is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

MANY = 1 / 6  # of the mirrors are of a pattern
FEW = 2  # servers that such a pattern asks for beside the one that is meant: a mirror of all costs every server's work
TAKEN_BACK = 0.25  # of the minutes have changes that are taken back while they wait
LAPSED = 0.25  # and as many have changes whose time is over before their owner is back
SILENCE_S = 4.0  # until a change is known to wait

Timed = list[tuple[float, str]]


def asked_as(random: Random, name: str, owner: str, servers: Sequence[str]) -> str:
    """Whom this server mirrors, in words: the owner, or now and then a pattern that asks for it and for a few more."""
    if random.random() > MANY:
        return owner
    others = sorted(each for each in servers if each not in (name, owner))
    out = random.sample(others, max(len(others) - random.randint(0, FEW), 0))
    base = random.choice(("*", f"{owner.rpartition('.')[0]}.*")) if "." in owner else "*"
    if not out:
        return base
    if random.random() < 0.5:
        return ",".join((base, *(f"-{each}" for each in out)))
    return f"{base} but not {' '.join(out)}"


def taken_back(
    random: Random, servers: Sequence[str], owners: Sequence[str], seconds: float, *, what: str, begin: float
) -> tuple[Timed, Timed, Timed]:
    """Work, isolations and crashes of one such story; nothing of it where none is drawn."""
    owner = random.choice(owners)
    others = [name for name in servers if name != owner]
    if not others or (chance := random.random()) > (TAKEN_BACK + LAPSED) * seconds / 60:
        return [], [], []
    if chance > TAKEN_BACK * seconds / 60:
        return _lapsed(random, random.choice(others), owner, what=what, begin=begin)
    other = random.choice(others)
    asked = [begin + random.uniform(0.1, 3.0) for _ in range(2)]
    back = max(asked) + random.uniform(SILENCE_S, SILENCE_S + 3.0)
    crash = back + random.uniform(0.1, 2.0)
    again = crash + random.uniform(1.5, 4.0)
    mended = crash + random.uniform(-0.5, 6.0) - begin
    limit = random.choice(("", f" within {random.choice((3, 10))}s or not at all"))
    verb = random.choice(("cancels", "cancels", "forgets"))
    work = [
        (asked[0], f"{other} commits 2 {what} at {owner}{limit}"),
        (asked[1], f"{other} changes 1 {what} of {owner}"),
        (back, f"{other} {verb} what waits for {owner}"),
        (again, f"{other} commits 1 {what} at {owner}"),
    ]
    return work, [(begin, f"isolate {owner} for {mended:.1f}s")], [(crash, f"crash {other} for 1s")]


def _lapsed(random: Random, other: str, owner: str, *, what: str, begin: float) -> tuple[Timed, Timed, Timed]:
    asked = [begin + random.uniform(0.1, 3.0) for _ in range(2)]
    limits = [random.choice((3, 10)) for _ in range(2)]
    over = max(when + limit for when, limit in zip(asked, limits, strict=True))
    mended = over + random.uniform(2.0, 6.0) - begin
    crash = random.uniform(max(asked) + SILENCE_S, over + 1.0)
    work = [
        (asked[0], f"{other} commits 2 {what} at {owner} within {limits[0]}s or not at all"),
        (asked[1], f"{other} changes 1 {what} of {owner} within {limits[1]}s or not at all"),
    ]
    crashes = [(crash, f"crash {other} for 1s")] * (random.random() < 0.5)
    return work, [(begin, f"isolate {owner} for {mended:.1f}s")], crashes
