"""An owner that lies is mirrored and commits while it lies; the lines can be read, and the root stays honest."""

from __future__ import annotations

from random import Random

from simulations.scenario import parse
from simulations.schedule import draw
from simulations.two_stories import two_stories

NAMES = ("1", "1.1", "1.2", "1.3")


def lines(seed: int, names: tuple[str, ...] = NAMES, **more: bool) -> list[tuple[float, str]]:
    alone = more.get("alone", True)
    return two_stories(Random(seed), names, names[:3], seconds=60.0, what="Note", alone=alone)


def test_a_story_has_mirrors_before_and_changes_within() -> None:
    drawn = [found for seed in range(200) if (found := lines(seed))]
    assert 25 < len(drawn) < 80
    for found in drawn:
        ((begin, turns),) = [each for each in found if "turns hostile" in each[1]]
        liar = turns.split()[0]
        assert liar in ("1.1", "1.2")
        mirrors = [(when, line) for when, line in found if line.endswith(f" mirrors {liar}")]
        assert len(mirrors) == 3
        assert all(when < begin for when, _ in mirrors)
        changes = [when for when, line in found if line.startswith((f"{liar} commits", f"{liar} changes"))]
        assert len(changes) == 3
        assert all(begin < when < begin + 5 for when in changes)


def test_it_is_rarer_among_other_faults_and_none_where_nobody_could_differ() -> None:
    assert 5 < sum(bool(lines(seed, alone=False)) for seed in range(200)) < 40
    assert not any(lines(seed, names=NAMES[:2]) for seed in range(50))


def test_schedules_have_it_and_then_no_other_hostile_server() -> None:
    drawn = [draw(seed, faults=["hostile"]) for seed in range(1, 31)]
    told = [text for text in drawn if "turns hostile: tells two stories for" in text]
    assert len(told) >= 6
    for text in told:
        parse(text)
        assert text.count("turns hostile") == 1
    assert "hostile" not in draw(3, faults=[]).replace("faults: none", "")
