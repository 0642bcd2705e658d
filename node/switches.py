"""Switches that only tests use: a server without one of its abilities, to see that the tests notice.

    BANGPATH_TEST_WITHOUT=gateways,outbox bangpath run

A server that runs so says it in its log, and `status` shows it; no file can set it.
"""

from __future__ import annotations

from collections.abc import Mapping

from identity.errors import Refused

VARIABLE = "BANGPATH_TEST_WITHOUT"
ABILITIES = ("mirrors", "outbox", "gateways", "direct-copies")


def switched_off(environment: Mapping[str, str]) -> frozenset[str]:
    """The abilities that this environment switches off. Raises `Refused` for one that is none."""
    names = frozenset(filter(None, environment.get(VARIABLE, "").split(",")))
    for name in sorted(names):
        if name not in ABILITIES:
            raise Refused(f"{VARIABLE} names {name!r}", next_step=f"there are {', '.join(ABILITIES)}")
    return names
