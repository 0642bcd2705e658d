"""All that a scenario can say: the families of verbs, gathered.

expect 1.2 has all of 1.1 within 30s
   '--- the first pattern that fits the whole line decides; no two may fit one line
"""

from __future__ import annotations

from simulations import (
    verbs_contest,
    verbs_expect,
    verbs_hostile,
    verbs_joining,
    verbs_mirrors,
    verbs_network,
    verbs_outbox,
    verbs_servers,
    verbs_walls,
    verbs_work,
)
from simulations.steps import Verb

VERBS: tuple[Verb, ...] = (
    *verbs_work.VERBS,
    *verbs_mirrors.VERBS,
    *verbs_outbox.VERBS,
    *verbs_contest.VERBS,
    *verbs_network.VERBS,
    *verbs_walls.VERBS,
    *verbs_servers.VERBS,
    *verbs_joining.VERBS,
    *verbs_hostile.VERBS,
    *verbs_expect.VERBS,
)
