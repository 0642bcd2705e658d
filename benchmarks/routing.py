"""Routing in the laboratory: what a request feels of a cut link, and what a way by gateways costs.

Diamond S-D, S-G1-D, S-G2-D of network namespaces and real processes; requests at 200/s from S to D; the link S-D is cut
by nftables silently, forward only, backward only, and set down, so often each. PEERS.md has the bars.

    failover_round_trips       the worst delay of any request, less 50 ms, in round trips; 0 when it is below 50 ms
    failover_lost              requests answered with an error, or not within 20 s
    back_to_direct_round_trips from healing until S and D both send directly again, median of all cuts
    extra_bytes_routed         bytes that pass the ports of S for a bulk of requests by a gateway, against the same
                               directly, both directions, what the cut link swallows included
    packets_when_healthy       packets on the four links that are not used, under load, beyond those without load
    pairs_healed               simulated: see benchmarks.healing
    circling_packets           the same

A round trip is the median delay of a request when nothing is cut, measured in the same run. The links of the diamond
take no time: it is a millisecond, and all of it is processes. So the three first rows are there once more `_at_20_ms`,
with links that take 10 ms each way.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import healing
from benchmarks.cuts import Request, diamond, distribution, healthy, series
from benchmarks.diamond import SERVERS, Diamond
from benchmarks.moments import wait_for_gateway
from benchmarks.netlab import KINDS, Counted, missing
from node.client import connect_blocking
from store.definitions import definition_from_toml

ALLOWED_S = 0.050  # of the bar: four round trips and 50 ms
SLOW_LINK_S = 0.010  # each way: a round trip of 20 ms and what the processes take
CALM_S = 5.0
COUNT_S = 10.0
BULK, BULK_BYTES = 200, 32_000
BLOB = definition_from_toml('name = "Blob"\n[fields]\nfilling = { type = "bytes", required = true }\n')
PEERS = (
    "beside it, from PEERS.md, the same diamond: babeld 4-16 s, BIRD OSPF with BFD 0.8 s (163 of 200 packets/s lost), "
    "yggdrasil 6-7 s, Reticulum never by itself; Tailscale trusts a dead path 6.5 s; RON under 20 s"
)


def measure(*, rounds: int = 20) -> dict[str, dict[str, Any]]:
    """The rows of this area; `rounds` are the cuts of each kind. Without a laboratory: the simulated rows alone."""
    rows = _in_namespaces(rounds)
    rows |= healing.measure()
    return rows


def _in_namespaces(rounds: int) -> dict[str, dict[str, Any]]:
    lacking = missing()
    if lacking:
        print(f"no laboratory here: {lacking}", file=sys.stderr)
        return {}
    with diamond() as servers:
        rows = {**_failover(servers, rounds), **_costs(servers)}
    if not Path("/dev/net/tun").exists():
        print("no links that take time here: there is no /dev/net/tun", file=sys.stderr)
        return rows
    with diamond(delay_s=SLOW_LINK_S) as servers:
        slow = _failover(servers, rounds)
    return rows | {f"{name}_at_20_ms": row for name, row in slow.items()}


def explain(rows: dict[str, dict[str, Any]]) -> str:
    """What stands below the table."""
    lines = [PEERS]
    for name, row in rows.items():
        if name.startswith("failover_round_trips"):
            lines.append(f"{name}, a round trip of {row['round_trip_ms']} ms")
            lines += [f"  {kind:10} {figures}" for kind, figures in row["kinds"].items()]
    for kind, figures in rows["pairs_healed"]["kinds"].items():
        lines.append(f"simulated, {kind:7} {figures}")
    return "\n".join(lines)


def _failover(servers: Diamond, cuts: int) -> dict[str, dict[str, Any]]:
    calm = healthy(servers, seconds=CALM_S)
    round_trip_s = statistics.median(_delays(calm))
    kinds: dict[str, dict[str, Any]] = {"healthy": {"ms": distribution(_delays(calm)), "requests": len(calm)}}
    worst_s, lost, backs, never = 0.0, 0, [], 0
    for kind in KINDS:
        ones = series(servers, kind, cuts)
        said = [each for one in ones for each in one.requests]
        touched = [max(_delays(one.requests), default=0.0) for one in ones]
        back = [one.back_s for one in ones if one.back_s is not None]
        kinds[kind] = {
            "cuts": cuts,
            "requests": len(said),
            "lost": len(said) - len(_delays(said)),
            "ms": distribution(_delays(said)),
            "worst_of_each_cut_ms": distribution(touched),
            "worst_of_each_cut_round_trips": _in_round_trips(distribution(touched), round_trip_s),
            "back_ms": distribution(back),
            "never_back": cuts - len(back),
            "late_ms": distribution([each.late for each in said]),
        }
        worst_s = max(worst_s, *touched)
        lost += kinds[kind]["lost"]
        never += kinds[kind]["never_back"]
        backs += back
    back_s = statistics.median(backs) if backs else float(cuts)
    common = {"theirs": None, "rounds": cuts * len(KINDS), "round_trip_ms": round(1000 * round_trip_s, 3)}
    return {
        "failover_round_trips": {
            "value": round(max(0.0, worst_s - ALLOWED_S) / round_trip_s, 1),
            "unit": "round trips beyond 50 ms, the worst of all (ours in ms)",
            "ours": round(1000 * worst_s, 1), **common, "kinds": kinds,
        },
        "failover_lost": {"value": lost, "unit": "requests", "ours": lost, **common},
        "back_to_direct_round_trips": {
            "value": round(back_s / round_trip_s, 1), "unit": "round trips, median (ours in ms)",
            "ours": round(1000 * back_s, 2), **common, "never": never, "ms": distribution(backs),
        },
    }  # fmt: skip


def _costs(servers: Diamond) -> dict[str, dict[str, Any]]:
    with connect_blocking(servers.directory("D")) as client:
        client.define(BLOB.as_json())
    _wait_for_blob(servers)
    direct = _bulk_bytes(servers)
    servers.lab.cut("S", "D", "silent")
    try:
        healthy(servers, seconds=2.0)  # traffic, by which the way is found
        wait_for_gateway(servers)
        routed = _bulk_bytes(servers)
    finally:
        servers.lab.heal("S", "D")
    healthy(servers, seconds=3.0)
    idle = _packets_beside(servers, load=False)
    loaded = _packets_beside(servers, load=True)
    return {
        "extra_bytes_routed": {
            "value": round(100 * (routed / direct - 1), 2), "unit": "% (bytes at the ports of S)", "ours": routed,
            "theirs": direct, "rounds": 1,
        },
        "packets_when_healthy": {
            "value": max(0, loaded - idle), "unit": f"packets in {COUNT_S:.0f} s under load, beyond those without",
            "ours": loaded, "theirs": idle, "rounds": 1,
        },
    }  # fmt: skip


def _bulk_bytes(servers: Diamond) -> int:
    """Bytes that pass the ports of S while so many objects are made at D."""
    assert servers.driver is not None
    before = _at_ports(servers, "S")
    told = servers.driver.ask(do="bulk", peer=SERVERS["D"], count=BULK, size=BULK_BYTES)
    if "error" in told:
        raise RuntimeError(f"the bulk did not pass: {told['error']}")
    return sum(
        counted.sent_bytes + counted.received_bytes
        for counted in (now.since(then) for now, then in zip(_at_ports(servers, "S"), before, strict=True))
    )


def _at_ports(servers: Diamond, node: str) -> list[Counted]:
    return [servers.lab.counted(node, a if b == node else b) for a, b in servers.lab.links if node in (a, b)]


def _packets_beside(servers: Diamond, *, load: bool) -> int:
    """Packets on the links S-G1, S-G2, G1-D and G2-D in COUNT_S."""
    links = [link for link in servers.lab.links if link != ("S", "D")]
    before = [servers.lab.counted(*link) for link in links]
    if load:
        healthy(servers, seconds=COUNT_S)
    else:
        time.sleep(COUNT_S)
    now = [servers.lab.counted(*link) for link in links]
    passed = [later.since(earlier) for later, earlier in zip(now, before, strict=True)]
    return sum(each.sent_packets + each.received_packets for each in passed)


def _wait_for_blob(servers: Diamond) -> None:
    """Until the class is known at S."""
    assert servers.driver is not None
    until = time.monotonic() + 20
    while "Blob" not in servers.driver.ask(do="classes")["classes"]:
        if time.monotonic() > until:
            raise RuntimeError("S does not learn of the class that D defined")
        time.sleep(0.05)


def _delays(requests: Any) -> list[float]:
    return [each.delay for each in requests if isinstance(each, Request) and each.delay is not None]


def _in_round_trips(figures: dict[str, float], round_trip_s: float) -> dict[str, float]:
    return {name: round(value / (1000 * round_trip_s), 1) for name, value in figures.items()}
