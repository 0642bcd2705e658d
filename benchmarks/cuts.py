"""Requests at 200/s from S to D while their link is cut and healed, again and again: what became of each.

    python -m benchmarks.cuts --kind silent --cuts 3 --worst      one kind; and what S, G1, G2, D did around the worst

    load   | | | | | | | | | | | | | | | | | | | |        one request each 5 ms, whatever becomes of those before
    link   =======X          X=======X                    cut for HOLD_S, healed until both ways are direct again
           settled   cut        heal    back

Lost is a request that was answered with an error, or not within 20 s. `back` is when the later of S and D says that it
sends directly again; seen from S's own fields and from both logs.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.diamond import SERVERS, Diamond
from benchmarks.netlab import KINDS, Cut, Lab, missing

HZ = 200.0
HOLD_S = 1.0
BACK_S = 15.0  # to be direct again after healing, at most; more is told as not back
SETTLE_S = 0.5
BEFORE_S = 0.2  # requests said so long before a cut may be hit by it
ALL_DIRECT = ("direct", "direct")


class Request(NamedTuple):
    """One of the load's; times monotonic."""

    sent: float
    delay: float | None  # None: lost
    late: float  # how much later than its turn it was said: the load's own slowness
    error: str


class One(NamedTuple):
    """One cut, and what happened to the requests that it could touch."""

    kind: str
    cut: Cut
    heal: Cut
    back_s: float | None  # after the healing; None: not within BACK_S
    requests: tuple[Request, ...]
    ways: tuple[tuple[float, Any, Any, Any], ...]  # (at, way, way_back, gateway) as S said them, changes only
    events: tuple[dict[str, Any], ...]  # of all four servers, in order; `at` and `server`

    @property
    def lost(self) -> list[Request]:
        return [each for each in self.requests if each.delay is None]

    @property
    def held(self) -> tuple[str, str]:
        """The way and the way back for most of the time while the link was cut, whatever was tried before."""
        spent: dict[tuple[str, str], float] = {}
        ends = [*(way[0] for way in self.ways[1:]), math.inf]
        for (at, way, back, _), end in zip(self.ways, ends, strict=True):
            seconds = min(end, self.heal.before) - max(at, self.cut.after)
            spent[way, back] = spent.get((way, back), 0.0) + max(0.0, seconds)
        return max(spent, key=lambda each: spent[each], default=ALL_DIRECT)

    @property
    def worst(self) -> Request:
        """The request that waited longest; a lost one before all others."""
        return max(self.requests, key=lambda each: math.inf if each.delay is None else each.delay)


@contextmanager
def diamond(*, without: str = "", delay_s: float = 0.0) -> Iterator[Diamond]:
    """A laboratory with its four servers, in a directory that is removed."""
    with (
        tempfile.TemporaryDirectory(prefix="bplab") as path,
        Lab(delay_s=delay_s) as lab,
        Diamond(lab, Path(path), without=without) as servers,
    ):
        yield servers


def healthy(servers: Diamond, *, seconds: float) -> list[Request]:
    """The load with nothing cut: what a round trip costs here, and how much others on this machine disturb."""
    driver = servers.driver
    assert driver is not None
    driver.ask(do="load", peer=SERVERS["D"], hz=HZ)
    time.sleep(seconds)
    return [Request(*each) for each in driver.ask(do="end")["requests"]]


def series(servers: Diamond, kind: str, cuts: int, *, hold_s: float = HOLD_S) -> list[One]:
    """So many cuts of one kind under load, one after another."""
    driver, lab = servers.driver, servers.lab
    assert driver is not None
    marks: list[tuple[Cut, Cut]] = []
    begun = driver.ask(do="load", peer=SERVERS["D"], hz=HZ)["at"]
    time.sleep(SETTLE_S)
    for _ in range(cuts):
        cut = lab.cut("S", "D", kind)
        time.sleep(hold_s)
        heal = lab.heal("S", "D")
        marks.append((cut, heal))
        _wait_for_direct(servers, heal.after + BACK_S)
        time.sleep(SETTLE_S)
    told = driver.ask(do="end")
    requests = [Request(*each) for each in told["requests"]]
    events = gather(servers, since=begun)
    ways = [tuple(each) for each in told["ways"]]
    found = []
    for number, (cut, heal) in enumerate(marks):
        begins = cut.before - BEFORE_S
        ends = marks[number + 1][0].before - BEFORE_S if number + 1 < len(marks) else math.inf
        inside = [each for each in events if begins <= each["at"] < ends]
        seen = [each for each in ways if each[0] < ends]
        found.append(
            One(
                kind, cut, heal, _back_s(heal, seen, inside),
                tuple(each for each in requests if begins <= each.sent < ends),
                _since(begins, seen), tuple(inside),
            )
        )  # fmt: skip
    return found


def _since(begins: float, ways: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    """The ways at that moment and later."""
    before = [each for each in ways if each[0] < begins]
    return (*before[-1:], *(each for each in ways if each[0] >= begins))


def gather(servers: Diamond, *, since: float) -> list[dict[str, Any]]:
    """What all four wrote into their logs since then, in the order of time."""
    events = [each for node in SERVERS for each in servers.events(node, since=since)]
    return sorted(events, key=lambda each: each["at"])


def timeline(one: One, request: Request) -> str:
    """What the servers did around one request, as lines of milliseconds after the cut."""
    names = {server: node for node, server in SERVERS.items()}
    begins = min(request.sent, one.cut.before) - 0.05
    ends = request.sent + (2.0 if request.delay is None else request.delay) + 0.05
    lines = [
        (one.cut.before, "    ", f"cut {one.kind} (done {_ms(one.cut.after - one.cut.before)} later)"),
        (one.heal.before, "    ", "healed"),
        (request.sent, "S   ", "the request is said"),
    ]
    if request.delay is not None:
        lines.append((request.sent + request.delay, "S   ", f"the request is answered after {_ms(request.delay)}"))
    else:
        lines.append((ends, "S   ", f"the request is lost: {request.error}"))
    for at, way, back, gateway in one.ways:
        lines.append((at, "S   ", f"way {way}, way back {back}, gateway {gateway}"))
    for event in one.events:
        said = {key: value for key, value in event.items() if key not in ("at", "time_ms", "server")}
        lines.append((event["at"], f"{names.get(event['server'], event['server']):4}", json.dumps(said)))
    return "\n".join(
        f"{_ms(at - one.cut.before):>12}  {who}  {what}" for at, who, what in sorted(lines) if begins <= at <= ends
    )


def distribution(delays: Sequence[float]) -> dict[str, float]:
    """p50, p90, p99 and the worst, in milliseconds."""
    ranked = sorted(delays)
    if not ranked:
        return {}
    figures = {
        f"p{round(100 * part)}": ranked[min(len(ranked) - 1, int(len(ranked) * part))] for part in (0.5, 0.9, 0.99)
    }
    return {name: round(1000 * value, 2) for name, value in {**figures, "worst": ranked[-1]}.items()}


def _wait_for_direct(servers: Diamond, until: float) -> None:
    """Until S and D both say that each way between them is direct."""
    while time.monotonic() < until:
        if all(_says_direct(servers.peers(one).get(other, {})) for one, other in (("S", "D"), ("D", "S"))):
            return
        time.sleep(0.03)


def _says_direct(said: dict[str, Any]) -> bool:
    state = said.get("state")
    return bool(said.get("way", state) == "direct" and said.get("way_back", state) == "direct")


def _back_s(heal: Cut, ways: Sequence[tuple[Any, ...]], events: Sequence[dict[str, Any]]) -> float | None:
    """From healing until the later of S and D sent directly again, for the first time; a later doubt is another's."""
    direct = [at for at, way, back, _ in ways if (way, back) == ALL_DIRECT]
    since = [at for at in direct if at > heal.after]
    was = [(way, back) for at, way, back, _ in ways if at <= heal.after]
    if not since:
        return 0.0 if was and was[-1] == ALL_DIRECT else None
    ends = {SERVERS["S"]: SERVERS["D"], SERVERS["D"]: SERVERS["S"]}
    told: dict[str, float] = {}
    for each in events:
        if (
            each["event"] == "direct again"
            and each["at"] > heal.before
            and ends.get(each["server"]) == each.get("peer")
        ):
            told.setdefault(each["server"], each["at"])
    at = max(told.values(), default=since[0])  # no log tells it: to the 10 ms of the looks
    return max(0.0, at - heal.after)


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"


def _first_ms(one: One, what: str) -> str:
    """When S first said so of D after the cut."""
    ends = SERVERS["S"], SERVERS["D"]
    for event in one.events:
        if event["at"] >= one.cut.before and event["event"] == what and (event["server"], event.get("peer")) == ends:
            return f"{1000 * (event['at'] - one.cut.before):.0f}"
    return "-"


def report(ones: Sequence[One], *, worst: bool = False) -> str:
    """One line for each cut, then the whole."""
    lines = []
    for number, one in enumerate(ones, start=1):
        answered = distribution([each.delay for each in one.requests if each.delay is not None])
        gateways = sorted({str(way[3]) for way in one.ways if way[3]})
        steps = ", ".join(f"{what} {_first_ms(one, what)}" for what in ("doubted", "way found"))
        back = "never" if one.back_s is None else _ms(one.back_s)
        lines.append(
            f"{one.kind:9} {number:3}  {len(one.requests):5} requests, {len(one.lost)} lost, {answered}"
            f"  S {steps}, by {', '.join(gateways) or '-'}, back after {back}"
        )
    if worst and ones:
        one = max(ones, key=lambda each: math.inf if each.worst.delay is None else each.worst.delay)
        lines.append(timeline(one, one.worst))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cuts")
    parser.add_argument("--kind", choices=(*KINDS, "all"), default="silent")
    parser.add_argument("--cuts", type=int, default=3)
    parser.add_argument("--hold", type=float, default=HOLD_S, help="seconds for which the link stays cut")
    parser.add_argument("--delay", type=float, default=0.0, help="milliseconds that each link takes, each way")
    parser.add_argument("--without", default="", help="abilities to switch off, as in BANGPATH_TEST_WITHOUT")
    parser.add_argument("--worst", action="store_true", help="what happened around the worst request")
    chosen = parser.parse_args()
    lacking = missing()
    if lacking:
        print(f"no laboratory here: {lacking}", file=sys.stderr)
        return 2
    lost = 0
    with diamond(without=chosen.without, delay_s=chosen.delay / 1000) as servers:
        calm = healthy(servers, seconds=3.0)
        print(f"nothing cut      {distribution([each.delay for each in calm if each.delay is not None])}")
        print(f"late by itself   {distribution([each.late for each in calm])}")
        for kind in KINDS if chosen.kind == "all" else (chosen.kind,):
            ones = series(servers, kind, chosen.cuts, hold_s=chosen.hold)
            print(report(ones, worst=chosen.worst), flush=True)
            lost += sum(len(one.lost) for one in ones)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
