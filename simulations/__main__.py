"""`python -m simulations FILE --seed 7`: run a scenario, print its transcript and the hash of its trace.

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
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    try:
        scenario = parse(options.file.read_text(encoding="utf-8"), name=options.file.name)
        outcome = run_scenario(scenario, seed=options.seed)
    except (BangpathError, OSError, UnicodeDecodeError) as error:
        print(f"bangpath: {error}", file=sys.stderr)
        return 2
    except AssertionError as error:
        print(f"bangpath: {error}", file=sys.stderr)
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
