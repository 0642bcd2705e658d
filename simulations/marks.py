"""Marks: what a person wants to see of a run, when it happened and to whom; the timeline is drawn from them.

The trace has every packet and every write; marks are the few hundred of them that tell the story: starts, crashes,
partitions, operations, updates as they spread. Pure values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Mark:
    """One thing that happened at virtual second `at` to `servers` (names; of a direction: source, target).

    `kind`: start, stop, crash, restart, cut, mend, part, heal, pause, resume, disk, clock, hostile, nat, commit,
    applied, operation, broken. `text`: for people. `details`: for programs; plain values only.
    """

    at: float
    kind: str
    servers: tuple[str, ...]
    text: str = ""
    details: dict[str, Any] = field(default_factory=dict)
