"""Replication by count: copies received, useless ones, and what never came. Flood machines alone (`flooding`).

    copies_10, copies_100, copies_1000    copies received per server and update, nothing broken, the trees found
    useless_copies_churn                  1000 servers, 30 % of them away for 1-2 s, 2 % of all messages lost: copies
                                          received by who had the update already; the worse of two kinds of churn:
                                          deaf (nobody notices) and crashed (new sessions with all neighbours)
    missing_updates                       deliveries that never came, in seeded schedules of 12 servers with churn of
                                          both kinds, one-way cuts, a partition, loss, and one owner that forks

Eight origins, which everybody mirrors; networkx small world of degree 6 (4 of 10 and 12 servers), links of 5-50 ms, 40
updates that are counted. Beside them the peers of PEERS.md: what plain flooding and Plumtree need on such a graph.
"""

from __future__ import annotations

import statistics
import sys
from typing import Any

from benchmarks.flooding import Figures, Mesh
from benchmarks.schedules import schedule

SIZES = {10: 4, 100: 6, 1000: 6}  # servers: degree
FLOODED = {10: 3.4, 100: 5.1, 1000: 5.0}  # copies by plain flooding
PLUMTREE_USELESS = 0.66
CHURN, LOSS = 0.3, 0.02
SCHEDULES = 100  # of each round


def measure(*, rounds: int = 3) -> dict[str, dict[str, Any]]:
    """The rows of this area. `rounds`: seeds of the small meshes (of 1000 servers one), and hundreds of schedules."""
    rows: dict[str, dict[str, Any]] = {}
    for servers, degree in SIZES.items():
        seeds = range(1, 1 + (rounds if servers < 1000 else 1))
        found = [run(servers, degree, seed) for seed in seeds]
        copies = round(statistics.median(each.copies for each in found), 3)
        rows[f"copies_{servers}"] = {
            "value": copies, "unit": "copies", "ours": copies, "theirs": FLOODED[servers], "rounds": len(found),
            "small_messages": round(statistics.median(each.small for each in found), 2),
            "last_ms": round(statistics.median(each.last_ms for each in found), 1),
            "missing": sum(each.missing for each in found),
        }  # fmt: skip
        _progress(f"{servers} servers: {copies} copies")
    kinds = {
        name: run(1000, 6, 1, churn=CHURN, loss=LOSS, crash=crash)
        for name, crash in (("deaf", False), ("crashed", True))
    }
    useless = round(max(each.useless for each in kinds.values()), 3)
    rows["useless_copies_churn"] = {
        "value": useless, "unit": "copies", "ours": useless, "theirs": PLUMTREE_USELESS, "rounds": 1,
        "kinds": {
            name: {key: round(value, 3) for key, value in each._asdict().items()} for name, each in kinds.items()
        },
    }  # fmt: skip
    missing = 0
    for seed in range(SCHEDULES * rounds):
        missing += schedule(seed)
        if seed % SCHEDULES == SCHEDULES - 1:
            _progress(f"{seed + 1} schedules: {missing} missing")
    rows["missing_updates"] = {
        "value": missing, "unit": "deliveries", "ours": missing, "theirs": None, "rounds": SCHEDULES * rounds,
    }  # fmt: skip
    return rows


def run(servers: int, degree: int, seed: int, **faults: Any) -> Figures:
    """One mesh: its trees found, then counted."""
    mesh = Mesh(servers, seed=seed, degree=degree)
    mesh.warm()
    return mesh.run(**faults)


def explain(rows: dict[str, dict[str, Any]]) -> str:
    """What stands below the table."""
    lines = ["theirs: plain flooding (Plumtree 1.5-1.6); useless under churn: Plumtree"]
    for kind, figures in rows["useless_copies_churn"]["kinds"].items():
        lines.append(f"{kind:8} {figures}")
    return "\n".join(lines)


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(text, file=sys.stderr)
