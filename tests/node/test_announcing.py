"""What a server tells the whole mesh of itself stays small, and says nothing that it would not keep."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from identity.names import Pattern
from node.announcing import announced_mirrors
from node.directory import MAX_MIRRORS, MAX_MIRRORS_TEXT


def parts(*patterns: str, without: tuple[str, ...] = ()) -> SimpleNamespace:
    mirroring = SimpleNamespace(patterns=lambda: [(Pattern(text), None) for text in patterns])
    return SimpleNamespace(config=SimpleNamespace(without=frozenset(without)), mirroring=mirroring)


@pytest.mark.parametrize(
    ("patterns", "announced"),
    [
        ((), 0),
        (("1.2", "1.3.*,-1.3.7"), 2),
        (tuple(f"1.{number}" for number in range(1, 201)), MAX_MIRRORS),
        (tuple(",".join(f"1.{at}.{number}" for number in range(1, 201)) for at in range(1, 11)), 2),
        ((",".join("1.7" for _ in range(250)) + ",1.8" * 6,) * 30, 4),
    ],
)
def test_the_first_mirrors_that_fit_are_announced(patterns: tuple[str, ...], announced: int) -> None:
    told = announced_mirrors(parts(*patterns))  # type: ignore[arg-type]
    assert told == [Pattern(text).text for text in patterns[:announced]]
    assert sum(map(len, told)) <= MAX_MIRRORS_TEXT


def test_without_mirrors_none_is_announced() -> None:
    assert announced_mirrors(parts("1.2", without=("mirrors",))) == []  # type: ignore[arg-type]
