"""What a server says of itself: status, peers, servers, feeds, mirrors, classes, as JSON values.

Read-only, from the running parts, in one tick: the lists of one call agree with each other. Times are seconds before
now, positions texts as everywhere (`1.2@3:17`); what is not known is null, never zero. This file is where the fields
are told; a field once there keeps its meaning. The words over HTTP are in node/http/__init__.py.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from identity.names import Pattern, ServerId
from node.config import address_text
from node.mirroring import BACKUP, MIRRORED
from replication.messages import FeedId
from store.records import DATA, REGISTRY
from transport.events import is_routed

if TYPE_CHECKING:
    from node.parts import Parts

VERSION = "0.1.0"
NO_WAY: dict[str, Any] = {
    "way": "none", "way_back": "none", "path": [], "path_back": [], "gateway": None, "standby": [], "rtt_ms": None,
    "since_s": None, "doubted_s": None, "reason": "",
}  # fmt: skip


def status(parts: Parts, *, now: float, started: float, started_ms: int, stopping: bool) -> dict[str, Any]:
    """The server in one glance."""
    standpoint = parts.standpoint
    position = standpoint.position(parts.server, DATA)
    registry = standpoint.position(parts.server, REGISTRY)
    return {
        "server": str(parts.server),
        "name": parts.config.name,
        "incarnation": standpoint.incarnation,
        "epoch": parts.database.epoch,
        "version": VERSION,
        "roots": list(parts.config.roots),
        "address": address_text(parts.port.address),
        "started_ms": started_ms,
        "uptime_s": _round(now - started),
        "position": None if position is None else str(position),
        "registry_position": None if registry is None else str(registry),
        "objects": parts.database.counts(),
        "peers": len(parts.sessions.peers()),
        "servers": len(parts.directory),
        "mirrors": len(parts.mirroring.patterns()),
        "classes": len(parts.database.registry.definitions()),
        "tickets": parts.inviting.invitations.open_count(),
        "answers_kept": len(parts.recorded),
        "outbox": parts.delivering.outbox.waiting,
        "working": parts.serving.working,
        "lag_ms": _round(parts.watch.lag_s * 1000),
        "replication": parts.flood.statistics(),
        "failure": None if parts.database.failure is None else str(parts.database.failure),
        "stopping": stopping,
        "without": sorted(parts.config.without),
    }


def peers(parts: Parts, now: float) -> list[dict[str, Any]]:
    """Every server that was ever wanted, known or met, and how it is reached in both directions (G1)."""
    found = []
    ways = {each["server"]: each for each in routes(parts, now)}
    for each in parts.router.neighbours(now):
        way = ways[str(each.server)]
        misdeeds = parts.sessions.misdeeds.get(each.server)
        statistics = None if each.connection is None else parts.endpoint.statistics(each.connection)
        address = each.address if statistics is None else statistics.address
        found.append(
            {
                "server": str(each.server),
                "state": each.state if each.connection is None else way["way"],
                "neighbour": each.kept,
                "address": None if address is None or is_routed(address) else address_text(address),
                "heard_s": _round(each.heard_s),
                "hears_us_s": _round(each.hears_us_s),
                "rtt_ms": None if each.srtt_s is None else _round(each.srtt_s * 1000),
                "since_s": _round(each.since_s),
                "reason": each.reason,
                **{name: way[name] for name in ("way", "way_back", "path", "path_back", "gateway", "standby")},
                "blocked": parts.blocking.blocked(each.server),
                "clock_offset_ms": parts.sessions.offsets.get(each.server),
                "queued_bytes": 0 if statistics is None else statistics.queued_bytes,
                "sent_bytes": 0 if statistics is None else statistics.sent_bytes,
                "received_bytes": 0 if statistics is None else statistics.received_bytes,
                "lost_packets": 0 if statistics is None else statistics.lost_packets,
                "misbehaved": 0 if misdeeds is None else misdeeds.count,
                "misbehaviour": "" if misdeeds is None else misdeeds.reason,
            }
        )
    return found


def routes(parts: Parts, now: float) -> list[dict[str, Any]]:
    """How each server that was ever wanted or met is reached, in both directions (DESIGN section 6)."""
    found = {
        str(each.server): {
            "server": str(each.server),
            "way": each.way,
            "way_back": each.way_back,
            "path": [str(server) for server in each.path],
            "path_back": [str(server) for server in each.path_back],
            "gateway": str(each.path[1]) if len(each.path) > 2 else None,
            "standby": [str(server) for server in each.standby],
            "rtt_ms": None if each.rtt_s is None else _round(each.rtt_s * 1000),
            "since_s": _round(each.since_s),
            "doubted_s": _round(each.doubted_s),
            "reason": "",
        }
        for each in parts.router.routes(now, heard_directly_at=parts.detours.heard_directly_at)
    }
    return [
        found.get(str(each.server))
        or {"server": str(each.server), **NO_WAY, "since_s": _round(each.since_s), "reason": each.reason}
        for each in parts.router.neighbours(now)
    ]


def servers(parts: Parts, now: float) -> list[dict[str, Any]]:
    """The directory known here (DESIGN A3)."""
    found = []
    for entry in parts.directory.entries():
        own = entry.server == parts.server
        position = parts.standpoint.position(entry.server, REGISTRY)
        feed = FeedId(entry.server, entry.incarnation, REGISTRY)
        found.append(
            {
                "server": str(entry.server),
                "name": entry.name,
                "incarnation": entry.incarnation,
                "issuer": str(entry.certificate.issuer),
                "valid_until_ms": entry.certificate.not_after_ms,
                "addresses": [address_text(each) for each in entry.addresses],
                "classes": sorted({each.name for each in entry.classes.values()}),
                "mirrors": [each.text for each in entry.mirrors],
                "registry_position": None if position is None else str(position),
                "age": 0.0 if own else _round(parts.flood.age(feed, now)),
                "reachable": own or parts.sessions.connection(entry.server) is not None,
            }
        )
    return found


def feeds(parts: Parts, now: float) -> list[dict[str, Any]]:
    """Every feed held here, and how far behind it is."""
    return [
        {
            "server": str(each.feed.server),
            "incarnation": each.feed.incarnation,
            "kind": "data" if each.feed.kind == DATA else "registry",
            "first": each.first,
            "last": each.last,
            "known": each.known,
            "lag": max(0, each.known - each.last),
            "age": _round(each.age),
            "path": [str(server) for server in each.path],
            "state": each.state,
            "reason": each.reason,
            "kept": _kept(parts, each.feed),
        }
        for each in parts.flood.feeds(now)
    ]


def _kept(parts: Parts, feed: FeedId) -> str:
    """What a feed is held for: own, mirrored, backup; carried, as every registry is; held: no longer kept current."""
    if feed.server == parts.server:
        return "own"
    if feed.kind != DATA:
        return "carried"
    return (
        MIRRORED
        if parts.mirroring.mirrors(feed.server)
        else BACKUP
        if parts.mirroring.backs_up(feed.server)
        else "held"
    )


def mirrors(parts: Parts, now: float) -> list[dict[str, Any]]:
    """What is mirrored or backed up, by pattern, and how current: the oldest and the most behind of its owners."""
    found = []
    kept = [(MIRRORED, *each) for each in parts.mirroring.patterns()]
    kept += [(BACKUP, *each) for each in parts.mirroring.backups()]
    for kind, pattern, since_ms in kept:
        owners = [each for each in _owners(parts, pattern) if each != parts.server]
        ages = [_age(parts, owner, now) for owner in owners]
        known = [age for age in ages if age is not None]
        found.append(
            {
                "pattern": pattern.text,
                "kind": kind,
                "since_ms": since_ms,
                "servers": [str(each) for each in owners],
                "lag": sum(parts.flood.lag(_feed(parts, owner)) for owner in owners),
                "age": _round(max(known)) if owners and len(known) == len(owners) else None,
            }
        )
    return found


def classes(parts: Parts) -> list[dict[str, Any]]:
    """Every class known here, who has adopted it, whether this server has, and how far its indexes are."""
    adopters, registry = parts.directory.adopters(), parts.database.registry
    return [
        {
            **definition.as_json(),
            "owners": [
                str(each)
                for each in adopters.get(definition.fingerprint, ())
                if each != parts.server or registry.adopted_exactly(definition.fingerprint)
            ],
            "adopted": registry.adopted_exactly(definition.fingerprint),
            "building": registry.progress(definition.fingerprint),
        }
        for definition in registry.definitions()
    ]


def _owners(parts: Parts, pattern: Pattern) -> list[ServerId]:
    return [entry.server for entry in parts.directory.entries() if pattern.matches(entry.server)]


def _feed(parts: Parts, owner: ServerId) -> FeedId:
    return FeedId(owner, parts.standpoint.incarnation_of(owner), DATA)


def _age(parts: Parts, owner: ServerId, now: float) -> float | None:
    return parts.flood.age(_feed(parts, owner), now)


def _round(value: float | None) -> float | None:
    """Milliseconds are enough for people and programs, and make texts short."""
    return None if value is None else round(value, 3)


def place_of(error: BaseException) -> str:
    """Where an exception was raised, for the log: the last three calls."""
    calls = traceback.extract_tb(error.__traceback__)[-3:]
    return " < ".join(f"{Path(each.filename).name}:{each.lineno} {each.name}" for each in reversed(calls))
