"""The real data of `bangpath mesh`: 28 298 airports, and which server owns which (PyPI `airportsdata`, MIT).

    1     authority    none                                   1.3  Asia       Asia, Indian
    1.1   America      America                                1.4  Africa     Africa
    1.2   Europe       Europe, Atlantic, Arctic               1.5  Oceania    Australia, Pacific, Antarctica

An airport belongs to the server whose list has the first part of its time zone (`Europe/Berlin`). Every zone of the
source belongs to exactly one; a new kind of zone in a later edition of the source is refused by name, never guessed.

The fields are the source's own, as it gives them; elevation is in feet, latitude and longitude in degrees. `icao` is
unique: the key by which a broken import is continued.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from identity.errors import Refused
from node.rows import Row

SOURCE = "airportsdata"


class Place(NamedTuple):
    """One server of the mesh, and the first parts of the time zones that are its."""

    server: str
    name: str
    zones: tuple[str, ...]


AUTHORITY = Place("1", "authority", ())
OWNERS = (
    Place("1.1", "America", ("America",)),
    Place("1.2", "Europe", ("Europe", "Atlantic", "Arctic")),
    Place("1.3", "Asia", ("Asia", "Indian")),
    Place("1.4", "Africa", ("Africa",)),
    Place("1.5", "Oceania", ("Australia", "Pacific", "Antarctica")),
)
PLACES = (AUTHORITY, *OWNERS)

# Whom each mirrors: the next in the ring 1 -> 1.1 -> ... -> 1.5 -> 1, so that every airport lies on two servers and
# no server holds all of them.
NEXT = {each.server: PLACES[(at + 1) % len(PLACES)].server for at, each in enumerate(PLACES)}

_FIELDS = (
    ("icao", "string"),
    ("iata", "string"),
    ("name", "string"),
    ("city", "string"),
    ("subd", "string"),
    ("country", "string"),
    ("elevation", "float"),
    ("lat", "float"),
    ("lon", "float"),
    ("tz", "string"),
    ("lid", "string"),
)
AIRPORT: dict[str, Any] = {
    "name": "Airport",
    "fields": [
        {
            "name": name,
            "type": kind,
            "required": True,
            "index": name in ("icao", "elevation", "country"),
            "unique": name == "icao",
        }
        for name, kind in _FIELDS
    ],
}

_OWNER_OF = {zone: each.server for each in OWNERS for zone in each.zones}


def owner_of(time_zone: str) -> str:
    """The server that owns the airports of a time zone. Raises `Refused` for a zone that is nobody's."""
    owner = _OWNER_OF.get(time_zone.partition("/")[0])
    if owner is None:
        raise Refused(
            f"the time zone {time_zone!r} belongs to no server of the mesh", next_step="add it to node/airports.py"
        )
    return owner


def load(limit: int | None = None) -> dict[str, list[Row]]:
    """Every owner's airports, in the order of the source; only `limit` of them, where it is given.

    Those are shared among the owners as all are, and a larger limit gives the same ones and more. Raises `Refused`
    when the source is not installed or has a zone that is nobody's.
    """
    try:
        import airportsdata
    except ImportError as error:
        raise Refused(f"{SOURCE} is not installed", next_step=f"pip install {SOURCE}") from error
    rows: dict[str, list[Row]] = {each.server: [] for each in OWNERS}
    airports: Mapping[str, Mapping[str, Any]] = airportsdata.load("ICAO")
    for line, airport in enumerate(airports.values(), 1):
        rows[owner_of(airport["tz"])].append(Row(line, {name: airport[name] for name, _ in _FIELDS}))
    if limit is None:
        return rows
    # The first of each owner, then the second where many are, and so on, in step with how many each has.
    ranks = sorted(((at + 0.5) / len(part), server) for server, part in rows.items() for at in range(len(part)))
    shares = Counter(server for _, server in ranks[:limit])
    return {server: part[: shares[server]] for server, part in rows.items()}
