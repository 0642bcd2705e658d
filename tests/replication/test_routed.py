"""Who is kept from afar, and until when: a table of situations over virtual time."""

from __future__ import annotations

from random import Random

from identity.names import ServerId
from replication.routed import MAX_SOURCES, STALE_S, Leave, RoutedFeeds, Seek

OWNER, MIRROR, NEAR = (ServerId.parse(text) for text in ("1.1", "1.2", "1.3"))


class Situation:
    """What the machine asks, set by the test."""

    def __init__(self) -> None:
        self.owners = [OWNER]
        self.carriers: list[ServerId] = []  # greeted, and mirror everything
        self.greeted: list[ServerId] = []
        self.sources = [MIRROR]  # beside each owner
        self.ages: dict[ServerId, float] = {}
        self.now = 0.0
        self.said: list[tuple[float, object]] = []
        self.machine = RoutedFeeds(
            wanted=lambda: self.owners,
            carried=lambda owner, but: any(each not in but for each in self.carriers),
            age=lambda owner, now: self.ages.get(owner),
            sources=lambda owner: [owner, *self.sources],
            greeted=lambda server: server in self.greeted,
            random=Random(1),
        )

    def run(self, seconds: float) -> list[object]:
        until = self.now + seconds
        said = []
        while self.machine.deadline() <= until:
            self.now = max(self.now, self.machine.deadline())
            self.machine.handle_deadline(self.now)
            said += list(self.machine.take_outputs())
        self.now = until
        return said


def test_an_owner_whom_no_neighbour_carries_is_sought_and_left_when_one_does() -> None:
    it = Situation()
    assert it.run(4) == []  # a neighbour may be on its way back
    assert it.run(4) == [Seek(OWNER, OWNER)]
    it.greeted = it.carriers = [OWNER]
    it.ages[OWNER] = 0.5
    assert it.run(300) == []  # it is there, and nobody else is
    assert it.machine.kept() == {OWNER: (OWNER,)}
    it.carriers = [OWNER, NEAR]
    assert it.run(4) == [Leave(OWNER)]
    assert it.machine.kept() == {}


def test_a_source_that_is_not_reached_is_followed_by_the_next_then_by_a_pause() -> None:
    it = Situation()
    assert it.run(40) == [Seek(OWNER, OWNER), Leave(OWNER), Seek(MIRROR, OWNER), Leave(MIRROR)]
    said = it.run(3600)
    assert 4 < said.count(Seek(OWNER, OWNER)) < 20  # pauses grow to ten minutes


def test_neighbours_that_take_each_other_for_carriers_are_found_out_by_age() -> None:
    it = Situation()
    it.carriers = it.greeted = [NEAR]
    it.ages[OWNER] = 3.0
    assert it.run(200) == []
    it.ages[OWNER] = STALE_S + 1
    assert it.run(STALE_S - 2) == []  # it may be the owner that is slow to be heard
    assert it.run(10) == [Seek(OWNER, OWNER)]
    it.ages[OWNER] = 1.0
    assert it.run(4) == [Leave(OWNER)]


def test_many_owners_share_sources_and_sources_are_bounded() -> None:
    it = Situation()
    it.owners = [ServerId.of(1, number) for number in range(1, 100)]
    assert it.run(10) == [Seek(OWNER, OWNER), Seek(MIRROR, MIRROR)]
    assert len(it.machine.kept()[MIRROR]) == 98  # it mirrors them all
    alone = Situation()
    alone.owners, alone.sources = it.owners, []
    alone.run(10)
    assert len(alone.machine.kept()) == MAX_SOURCES
    alone.owners = []
    assert alone.run(4).count(Leave(OWNER)) == 1
    assert alone.machine.kept() == {}


def test_what_is_no_longer_wanted_is_left() -> None:
    it = Situation()
    it.run(8)
    it.owners = []
    assert it.run(4) == [Leave(OWNER)]
