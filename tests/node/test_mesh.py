"""Six servers with real airports: what each owns, and that the supervisor builds, continues, reports and stops them."""

from collections import Counter

import airportsdata
import pytest

from identity.errors import Refused
from node.airports import AIRPORT, NEXT, OWNERS, PLACES, load, owner_of
from store.definitions import definition_from_dict

COUNT = 28_298


def test_every_airport_of_the_source_has_exactly_one_owner() -> None:
    source = airportsdata.load("ICAO")
    rows = load()
    assert sum(map(len, rows.values())) == len(source) == COUNT
    codes = Counter(row.fields["icao"] for part in rows.values() for row in part)
    assert set(codes) == set(source)
    assert set(codes.values()) == {1}
    assert {server: len(part) for server, part in rows.items()} == {
        "1.1": 18_898, "1.2": 3_066, "1.3": 2_368, "1.4": 1_842, "1.5": 2_124,
    }  # fmt: skip
    for part in rows.values():
        for row in part:
            assert row.fields == dict(source[row.fields["icao"]])


def test_every_time_zone_belongs_to_one_server() -> None:
    zones = {airport["tz"] for airport in airportsdata.load("ICAO").values()}
    claimed = Counter(zone for place in OWNERS for zone in place.zones)
    assert set(claimed.values()) == {1}
    assert {owner_of(zone) for zone in zones} == {place.server for place in OWNERS}
    with pytest.raises(Refused, match="Moon/Tranquility"):
        owner_of("Moon/Tranquility")


def test_the_mirrors_are_a_ring() -> None:
    assert NEXT == {"1": "1.1", "1.1": "1.2", "1.2": "1.3", "1.3": "1.4", "1.4": "1.5", "1.5": "1"}
    assert len(PLACES) == 6


def test_the_class_is_the_source_s() -> None:
    definition = definition_from_dict(AIRPORT)
    assert list(definition.by_name) == list(next(iter(airportsdata.load("ICAO").values())))
    assert [each.name for each in definition.fields if each.unique] == ["icao"]
    assert [each.name for each in definition.fields if each.indexed] == ["icao", "country", "elevation"]
    assert sum(len(part) for part in load(100).values()) == 100
