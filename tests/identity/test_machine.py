"""The verbs are those of LAYOUT, and a class that has them is a machine without saying so."""

from __future__ import annotations

import math
from typing import Any

from identity.machine import Batch, Machine, Transmitter


class Bell:
    """Rings once, when it is due."""

    def __init__(self, due: float) -> None:
        self._due = due
        self._outputs: list[Any] = []

    def deadline(self) -> float:
        return self._due

    def handle_deadline(self, now: float) -> None:
        if now >= self._due:
            self._due = math.inf
            self._outputs.append("ring")

    def take_outputs(self) -> list[Any]:
        outputs, self._outputs = self._outputs, []
        return outputs


class Horn(Bell):
    def transmit(self, now: float) -> Batch | None:
        return Batch(memoryview(b"toot"), 4, ("127.0.0.1", 1))


def test_a_machine_is_driven_without_clock_or_sleep() -> None:
    bell = Bell(5.0)
    bell.handle_deadline(4.0)
    assert bell.take_outputs() == []
    bell.handle_deadline(bell.deadline())
    assert bell.take_outputs() == ["ring"]
    assert bell.take_outputs() == []
    assert bell.deadline() == math.inf


def test_what_has_the_verbs_is_a_machine() -> None:
    assert isinstance(Bell(1.0), Machine)
    assert not isinstance(Bell(1.0), Transmitter)
    assert isinstance(Horn(1.0), Transmitter)
    assert not isinstance(object(), Machine)
