"""How long a run will take, roughly, and a word about it before one that takes long.

    20 servers, 1 min      about 36 s of a core (28 measured)
    100 servers, 0.1 min   about 4 min (100 s measured)

A rule of thumb: seconds of a core grow with the number of servers to the power of 1.5, and with the virtual minutes, to
which comes what the mesh takes to come right in the end. Measured with 5 to 100 servers of drawn shapes, on one core of
a small virtual machine: most runs took a third of it to as much; one that waits two minutes in vain for something to
come right, three times as much. Larger ones are the same rule, and nobody has waited for them.
"""

from __future__ import annotations

import math

WORTH_TELLING_S = 60.0
MEASURED = 100  # servers
_SECONDS = 0.2  # of a core for a virtual minute of one server
_GROWS = 1.5
_COMING_RIGHT_MIN = 1.0  # measured: some seconds with few servers, a minute with a hundred


def core_s(servers: int, minutes: float) -> float:
    """Seconds of one core that a run will take, give or take a factor of three."""
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
