"""Bad moments for a way: the gateway dies, hangs or goes blind while it is used, a link flaps, a server starts cut off.

Each takes a running diamond under no load, does its worst, puts everything back, and tells what happened as a `Moment`.
What should be is judged by whoever asked: nothing lost where a way was left, and a clear word where none was.

    python -m benchmarks.moments [NAME ...]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.cuts import HZ, SETTLE_S, Request, diamond, distribution, gather
from benchmarks.diamond import SERVERS, Diamond
from benchmarks.netlab import LabError, missing

WAY_S = 10.0  # until a way is found, at most
STEADY_S = 0.25  # the first to answer may give way to a better one in the next milliseconds: only what stays is in use
BACK_S = 20.0  # until all is as before, at most
FLAPS = 20
FLAP_S = 0.15


class Moment(NamedTuple):
    """What became of the requests, and by which ways they went."""

    requests: tuple[Request, ...]
    ways: tuple[tuple[str, str, str | None], ...]  # (way, way back, gateway) as S said them, each when it changed
    gateways: tuple[str, ...]  # in the order in which S used them
    events: tuple[dict[str, Any], ...]
    begun: float
    seen: tuple[tuple[float, str, str, str | None], ...]  # the ways with their times

    @property
    def lost(self) -> list[Request]:
        return [each for each in self.requests if each.delay is None]


def gateway_dies(servers: Diamond) -> Moment:
    """kill -9 of the gateway that is in use."""
    with Watched(servers) as watched:
        servers.lab.cut("S", "D", "silent")
        gateway = wait_for_gateway(servers)
        servers.kill(gateway)
        wait_for_gateway(servers, other_than=gateway)
        time.sleep(SETTLE_S)
        servers.lab.heal("S", "D")
        servers.start(gateway)
        wait_for_direct(servers)
    return watched.moment


def gateway_hangs(servers: Diamond) -> Moment:
    """The gateway's process stops running, and nobody is told."""
    with Watched(servers) as watched:
        servers.lab.cut("S", "D", "silent")
        gateway = wait_for_gateway(servers)
        os.kill(servers.pid(gateway), signal.SIGSTOP)
        try:
            wait_for_gateway(servers, other_than=gateway)
            time.sleep(SETTLE_S)
        finally:
            os.kill(servers.pid(gateway), signal.SIGCONT)
        servers.lab.heal("S", "D")
        wait_for_direct(servers)
    return watched.moment


def gateway_goes_blind(servers: Diamond) -> Moment:
    """The gateway's own link to the target is cut: it takes what it cannot bring there."""
    with Watched(servers) as watched:
        servers.lab.cut("S", "D", "silent")
        gateway = wait_for_gateway(servers)
        servers.lab.cut(gateway, "D", "silent")
        wait_for_gateway(servers, other_than=gateway)
        time.sleep(SETTLE_S)
        servers.lab.heal(gateway, "D")
        servers.lab.heal("S", "D")
        wait_for_direct(servers)
    return watched.moment


def link_flaps(servers: Diamond) -> Moment:
    """Cut and healed again and again, faster than anybody can settle."""
    with Watched(servers) as watched:
        for _ in range(FLAPS):
            servers.lab.cut("S", "D", "silent")
            time.sleep(FLAP_S)
            servers.lab.heal("S", "D")
            time.sleep(FLAP_S)
        wait_for_direct(servers)
    return watched.moment


def starts_cut_off(servers: Diamond) -> Moment:
    """The target starts again while its link to us is cut: the handshake itself has to go by a gateway."""
    servers.stop("D")
    servers.lab.cut("S", "D", "silent")
    servers.start("D")
    servers.wait_for("G1", {"D": "direct"})
    servers.wait_for("G2", {"D": "direct"})
    with Watched(servers) as watched:
        wait_for_gateway(servers)
        time.sleep(SETTLE_S)
        servers.lab.heal("S", "D")
        wait_for_direct(servers)
    return watched.moment


def cut_while_calling(servers: Diamond) -> Moment:
    """The link is cut in the middle of the handshakes of a target that starts."""
    servers.stop("D")
    servers.start("D")
    servers.lab.cut("S", "D", "silent")
    with Watched(servers) as watched:
        time.sleep(2.0)
        servers.lab.heal("S", "D")
        wait_for_direct(servers)
    return watched.moment


def no_way_left(servers: Diamond) -> Moment:
    """Both gateways are dead and the link is cut: that is told, and ends with the first of them that is back."""
    with Watched(servers) as watched:
        servers.kill("G1")
        servers.kill("G2")
        servers.lab.cut("S", "D", "silent")
        time.sleep(5.0)
        servers.start("G1")
        wait_for_gateway(servers)
        time.sleep(SETTLE_S)
        servers.start("G2")
        servers.lab.heal("S", "D")
        wait_for_direct(servers)
    return watched.moment


MOMENTS: dict[str, Callable[[Diamond], Moment]] = {
    each.__name__: each
    for each in (
        gateway_dies, gateway_hangs, gateway_goes_blind, link_flaps, starts_cut_off, cut_while_calling, no_way_left,
    )
}  # fmt: skip


class Watched:
    """The load around a bad moment, with the link's cuts healed at its end, however it ended."""

    def __init__(self, servers: Diamond) -> None:
        self._servers = servers
        self.moment: Moment

    def __enter__(self) -> Watched:
        assert self._servers.driver is not None
        self._begun = self._servers.driver.ask(do="load", peer=SERVERS["D"], hz=HZ)["at"]
        time.sleep(SETTLE_S)
        return self

    def __exit__(self, *_: object) -> None:
        servers = self._servers
        assert servers.driver is not None
        for a, b in servers.lab.links:
            servers.lab.heal(a, b)
        told = servers.driver.ask(do="end")
        names = {server: node for node, server in SERVERS.items()}
        ways = tuple((way, back, names.get(gateway, gateway)) for _, way, back, gateway in told["ways"])
        used = [gateway for _, _, gateway in ways if gateway is not None]
        gateways = tuple(each for number, each in enumerate(used) if number == 0 or used[number - 1] != each)
        requests = tuple(Request(*each) for each in told["requests"])
        self.moment = Moment(
            requests,
            ways,
            gateways,
            tuple(gather(servers, since=self._begun)),
            self._begun,
            tuple(map(tuple, told["ways"])),
        )


def wait_for_gateway(servers: Diamond, *, other_than: str = "") -> str:
    """The gateway by which S has sent to D for `STEADY_S` seconds without a change. Raises `LabError` when there is
    none in time."""
    names = {server: node for node, server in SERVERS.items()}
    until = time.monotonic() + WAY_S
    held, since = "", 0.0
    while (now := time.monotonic()) < until:
        gateway = names.get(servers.peers("S")["D"].get("gateway") or "", "")
        if gateway != held:
            held, since = gateway, now
        if held and held != other_than and now - since >= STEADY_S:
            return held
        time.sleep(0.03)
    raise LabError(f"S found no gateway to D in {WAY_S:.0f} s: {servers.peers('S')['D']}")


def wait_for_direct(servers: Diamond) -> None:
    """Until S and D say that they reach each other and both gateways directly, so that the next moment finds the
    diamond whole. Raises `LabError` when they do not in time."""
    until = time.monotonic() + BACK_S
    said: list[dict[str, Any]] = []
    while time.monotonic() < until:
        peers = {node: servers.peers(node) for node in ("S", "D")}
        said = [peers[one].get(other, {}) for one in peers for other in ("S", "G1", "G2", "D") if one != other]
        if all(each.get("way") == "direct" and each.get("way_back") == "direct" for each in said):
            return
        time.sleep(0.03)
    raise LabError(f"S and D are not back to their direct ways in {BACK_S:.0f} s: {said}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.moments")
    parser.add_argument("--events", action="store_true", help="what all four wrote into their logs, and what was lost")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MOMENTS))
    chosen = parser.parse_args()
    lacking = missing()
    if lacking:
        print(f"no laboratory here: {lacking}", file=sys.stderr)
        return 2
    with diamond() as servers:
        for name in chosen.names or MOMENTS:
            try:
                moment = MOMENTS[name](servers)
            except LabError as error:
                print(f"{name:20} {error}", flush=True)
                return 1
            answered = distribution([each.delay for each in moment.requests if each.delay is not None])
            errors = sorted({each.error.split(":")[0] for each in moment.lost})
            print(
                f"{name:20} {len(moment.requests):5} requests, {len(moment.lost)} lost {errors or ''}, {answered}, "
                f"by {', '.join(moment.gateways) or '-'}", flush=True,
            )  # fmt: skip
            if chosen.events:
                print(story(moment))
    return 0


def story(moment: Moment) -> str:
    """What was logged, and from when to when requests were lost, in seconds after the load began."""
    names = {server: node for node, server in SERVERS.items()}
    lines = []
    for event in moment.events:
        said = {key: value for key, value in event.items() if key not in ("at", "time_ms", "server")}
        lines.append((event["at"], f"{names[event['server']]:3} {json.dumps(said)}"))
    for at, way, back, gateway in moment.seen:
        lines.append((at, f"S   says: way {way}, way back {back}, gateway {gateway}"))
    before: Request | None = None
    for request in moment.requests:
        if (request.error != "") != (before is not None and before.error != ""):
            lines.append((request.sent, f"    requests said from here on: {request.error or 'answered'}"))
        before = request
    return "\n".join(f"{at - moment.begun:8.3f}  {what}" for at, what in sorted(lines))


if __name__ == "__main__":
    sys.exit(main())
