"""How long a run will take, roughly, and a word about it before one that takes long.

    drawn                       the rule says     measured, CPU time of its one process
    5 servers, 1 min            4.5 s             3.1 and 3.7 s
    10 servers, 1 min           13 s              4.4 and 14 s
    20 servers, 1 min           36 s              20 and 78 s
    40 servers, 0.1 min         56 s              131 s, a promise waited for in vain for a minute
    60 servers, 0.1 min         102 s             157 s, without faults
    100 servers, 0.1 min        220 s             212 s, without faults

A rule of thumb: seconds of a core grow with the number of servers to the power of 1.5, and with the virtual minutes, to
which comes what the mesh takes to come right in the end. Measured on 2026-11-21 by `bangpath simulate --nodes N
--minutes M --seed 1` (of 5 to 20 also seed 2; the last two with `--faults none`, some commits earlier) on a virtual
machine of two cores that others were at work on. Seeds of one size are up to four times apart. Larger meshes are the
same rule, and nobody has waited for them.
"""

from __future__ import annotations

import math

WORTH_TELLING_S = 60.0
MEASURED = 100  # servers
_SECONDS = 0.2  # of a core for a virtual minute of one server
_GROWS = 1.5
_COMING_RIGHT_MIN = 1.0  # chosen with the two above, so that the table comes out; nothing of it was measured by itself


def core_s(servers: int, minutes: float) -> float:
    """Seconds of one core that a run will take, give or take a factor of three. `minutes`: virtual ones of work."""
    return _SECONDS * math.pow(servers, _GROWS) * (minutes + _COMING_RIGHT_MIN)


def warning(servers: int, minutes: float, *, limit_s: float | None) -> str:
    """What to say before such a run, "" where it is soon done. `limit_s`: real seconds after which it is given up."""
    takes_s = core_s(servers, minutes)
    if takes_s < WORTH_TELLING_S:
        return ""
    beyond = f", a rule that was tried with up to {MEASURED}" if servers > MEASURED else ""
    told = f"{servers} servers for {minutes:g} virtual min: about {lasting(takes_s)} of a core a run, roughly{beyond}"
    if limit_s is not None and takes_s > limit_s:
        return f"{told}; it is given up after {limit_s:g} real s: --limit {2 * math.ceil(takes_s):g} gives it more"
    return f"{told}; fewer --nodes or --minutes take less"


def lasting(seconds: float) -> str:
    """`45 s`, `4 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
