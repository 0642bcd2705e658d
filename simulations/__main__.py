"""`python -m simulations FILE --seed 7`: run a scenario, print its transcript and the hash of its trace.

`--sweep 20` runs seeds 1 to 20 and prints a line for each; the first failure ends it with the line, the seed and the
command that replays it.

Exit codes: 0 done, 1 an expectation failed, 2 the scenario cannot be read.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from identity.errors import BangpathError
from simulations.scenario import parse, run_scenario


def main() -> int:
    """The command. Prints to standard output; errors to standard error."""
    parser = argparse.ArgumentParser(prog="python -m simulations", description="Run a scenario on a simulated mesh.")
    parser.add_argument("file", type=Path, help="the scenario, as in tests/scenarios/")
    parser.add_argument("--seed", type=int, default=1, help="decides everything random; the same seed, the same trace")
    parser.add_argument("--sweep", type=int, default=0, metavar="N", help="run seeds 1 to N, a line each")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    try:
        scenario = parse(options.file.read_text(encoding="utf-8"), name=options.file.name)
        for seed in range(1, options.sweep + 1):
            swept = run_scenario(scenario, seed=seed)
            print(f"seed {seed}: {swept.events} events in {swept.seconds:.1f} virtual s, trace {swept.trace[:16]}")
        if options.sweep:
            print(f"{options.sweep} passed, 0 failed")
            return 0
        outcome = run_scenario(scenario, seed=options.seed)
    except (BangpathError, OSError, UnicodeDecodeError) as error:
        print(f"bangpath: {error}", file=sys.stderr)
        return 2
    except AssertionError as error:
        print(f"bangpath: {error}", file=sys.stderr)
        print(f"bangpath: it replays: python -m simulations {options.file} --seed N", file=sys.stderr)
        return 1
    if options.json:
        told = {"seed": options.seed, "trace": outcome.trace, "events": outcome.events, "seconds": outcome.seconds}
        print(json.dumps({**told, "transcript": outcome.transcript}))
    else:
        print("\n".join(outcome.transcript))
        print(f"seed {options.seed}: {outcome.events} events in {outcome.seconds:.1f} virtual s, trace {outcome.trace}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
