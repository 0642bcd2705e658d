"""`python -m benchmarks AREA [--json] [--rounds N]`: measure one area and print its rows.

{"area": "store", "rows": {"commits64_vs_sqlite": {"value": 7.1, "unit": "x", "ours": ..., "theirs": ..., "rounds": 3}}}
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from typing import Any

AREAS = ("store", "transport", "routing", "replication", "simulator")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure one area beside its peers.")
    parser.add_argument("area", choices=AREAS)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--rounds", type=int, help="rounds in turn, the median counts; in routing: cuts of each kind")
    chosen = parser.parse_args()
    area = importlib.import_module(f"benchmarks.{chosen.area}")
    rows: dict[str, dict[str, Any]] = area.measure(**({"rounds": chosen.rounds} if chosen.rounds else {}))
    if chosen.json:
        print(json.dumps({"area": chosen.area, "rows": rows}))
        return 0
    print(f"{'':30} {'value':>10} {'ours':>14} {'theirs':>14}  rounds")
    for name, row in rows.items():
        theirs = "-" if row["theirs"] is None else f"{row['theirs']:,}"
        print(f"{name:30} {row['value']:>10} {row['ours']:>14,} {theirs:>14}  {row['rounds']}   {row['unit']}")
    if hasattr(area, "explain"):
        print(area.explain(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
