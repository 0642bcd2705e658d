"""Verbs of walls: NATs and firewalls in front of servers (`nat.py` says what they do).

1.3 stands behind a NAT                         those it calls can answer; nobody else gets in
1.3 1.4 stand behind a NAT                      one for both: they see each other as they are
1.3 stands behind a symmetric NAT               a new address for everybody it calls
1.3 stands behind a NAT that forgets after 30s
1.3 stands behind a NAT that rebinds every 10s  a new address again and again
NAT of 1.3 rebinds                              once, now
1.3 stands behind a firewall                    lets in the answers to what was sent out
1.3 stands behind a firewall that lets only UDP through
1.3 stands behind a firewall that lets only TCP through     refused until the transport speaks over streams
1.3 always stands behind a NAT                  any of these: no fault but how it is; `heal` leaves it
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable

from identity.errors import Refused
from simulations.nat import FORGETS_S, TCP, UDP, Mapping, Wall, check_passes
from simulations.steps import IDS, SECONDS, Act, Lasting, Run, Verb, seconds


def _nat(
    names: str, symmetric: str | None, forgets: str | None, forgets_unit: str | None, rebinds: str | None = None,
    rebinds_unit: str | None = None,
) -> Act:  # fmt: skip
    forgets_s = seconds(forgets, forgets_unit) if forgets and forgets_unit else FORGETS_S
    rebinds_s = seconds(rebinds, rebinds_unit) if rebinds and rebinds_unit else math.inf
    return _wall(names, "a NAT", "symmetric" if symmetric else "cone", forgets_s=forgets_s, rebinds_s=rebinds_s)


def _firewall(names: str, only: str | None) -> Act:
    passes = {"UDP": (UDP,), "TCP": (TCP,)}.get(only or "", (UDP, TCP))
    check_passes(passes)
    return _wall(names, "a firewall", "none", passes=passes, anybody=only is not None)


def _wall(
    names: str, what: str, mapping: Mapping, *, forgets_s: float = FORGETS_S, rebinds_s: float = math.inf,
    anybody: bool = False, passes: tuple[str, ...] = (UDP, TCP),
) -> Act:  # fmt: skip
    def wall() -> Wall:
        return Wall(
            names.split(), mapping=mapping, forgets_s=forgets_s, rebinds_s=rebinds_s, anybody=anybody, passes=passes
        )

    wall()  # refused when it is read, not when it is built

    async def act(run: Run) -> Lasting:
        return Lasting("", await run.world.wall_in(wall(), text=what))

    return act


def _rebinds(name: str) -> Act:
    async def act(run: Run) -> str:
        await run.world.rebind(name)
        return ""

    return act


def _no_wall(names: str, words: str) -> Act:
    near = difflib.get_close_matches(words, _WALLS, n=2, cutoff=0.4) or _WALLS
    raise Refused(f"{words!r} is nothing to stand behind", next_step=f"there is {', or '.join(near)}")


_WALLS = (
    "a NAT", "a symmetric NAT", "a NAT that forgets after 30s", "a NAT that rebinds every 10s", "a firewall",
    "a firewall that lets only UDP through",
)  # fmt: skip
_STANDS = rf"{IDS} stands? behind (?:a|one)"
_FORGETS = rf"(?: that forgets after {SECONDS})?"
_NAT = rf"{_STANDS}( symmetric)? NAT{_FORGETS}"
_FIREWALL = rf"{_STANDS} firewall"

FAULTS: tuple[Verb, ...] = (
    Verb(rf"{_STANDS}() NAT{_FORGETS}", (1,), _nat, "1.3 stands behind a NAT", lasting=True, fault="NAT"),
    Verb(
        rf"{_STANDS}( symmetric) NAT{_FORGETS}", (1,), _nat, "1.3 stands behind a symmetric NAT", lasting=True,
        fault="symmetric NAT",
    ),
    Verb(
        rf"{_NAT}(?: and| that) rebinds every {SECONDS}", (1,), _nat, "1.3 stands behind a NAT that rebinds every 4s",
        lasting=True, fault="NAT rebinding",
    ),
    Verb(rf"{_FIREWALL}()", (1,), _firewall, "1.3 stands behind a firewall", lasting=True, fault="firewall"),
)  # fmt: skip
# No fault yet, and not drawn: what passes of UDP alone is all that nodes say. It is one to the streams of programs.
_ONE_PROTOCOL = Verb(
    rf"{_FIREWALL} that lets only (UDP|TCP) through", (1,), _firewall,
    "1.3 stands behind a firewall that lets only UDP through", lasting=True,
)  # fmt: skip


def _always(make: Callable[..., Act]) -> Callable[..., Act]:
    """The same wall, and nothing that would take it away."""

    def make_always(*groups: str | None) -> Act:
        build = make(*groups)

        async def act(run: Run) -> str:
            await build(run)
            return ""

        return act

    return make_always


VERBS: tuple[Verb, ...] = (
    *FAULTS,
    _ONE_PROTOCOL,
    *(
        Verb(
            verb.pattern.replace(" stands?", " always stands?"), verb.names, _always(verb.make),
            verb.says.replace(" stands", " always stands"),
        )
        for verb in (*FAULTS, _ONE_PROTOCOL)
    ),
    Verb(rf"NAT of {IDS} rebinds", (1,), _rebinds, "NAT of 1.3 rebinds"),
    Verb(  # what is no wall
        rf"{IDS} (?:always )?stands? behind (?!(?:a|one) (?:symmetric )?(?:NAT|firewall)\b)((?:(?! for ).)+)", (1,),
        _no_wall, "1.3 1.4 stand behind one NAT", lasting=True,
    ),
)  # fmt: skip
