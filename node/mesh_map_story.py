"""What happened in a mesh, as sentences: from the events in the servers' logs to a line that anybody understands.

    1.3  doubted    {peer: 1.2}
    1.3  way found  {peer: 1.2, gateway: 1.5, hops: 2, ...}
    1.4  way found  {peer: 1.2, gateway: 1.5, hops: 2, ...}
                            --> 1.3 and 1.4 lost 1.2; 1.5 confirms a way, 2 hops, 38 ms

When something breaks, several servers say so within a moment: what says the same is gathered for a while and told
once, with all names on both sides. What a later event of that moment makes plain (who found a way had lost the direct
one) is not told apart, and of several changes of one way the last is told.

Bounds: `MAX_GATHERED` groups; more are told at once. Pure: events and times in, sentences out; an event that has no
sentence, or lacks what its sentence needs, is passed over. Left to others: reading logs (`node.mesh_map_live`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

GATHER_S = 0.7  # from the first that says it
LOST_S = 2.0  # silence is noticed here sooner, there later
DOUBT_S = 6.0  # by then it is known what came of it
MAX_GATHERED = 200
GOOD, WARN, BAD, DIM, PLAIN = "good", "warn", "bad", "dim", ""

Details = Mapping[str, Any]


class Told(NamedTuple):
    """One sentence; `style` says what kind of news it is."""

    time_ms: int
    text: str
    style: str = PLAIN


class _Group(msgspec.Struct):
    """The same news of several servers."""

    kind: str
    servers: list[str]
    details: dict[str, Any]
    time_ms: int
    due: float
    count: int = 1
    peers: list[str] = msgspec.field(default_factory=list)  # further ones of whom the same is told


class Story:
    """`handle` takes events as they are read, `take` gives the sentences that are complete."""

    def __init__(self) -> None:
        self._groups: dict[tuple[Any, ...], _Group] = {}
        self._lost: set[tuple[str, str]] = set()  # who reaches whom by no way, as was told; pairs of one mesh's servers

    def handle(self, event: Details, now: float) -> None:
        """One event of a server's log."""
        kind, server = str(event.get("event")), str(event.get("server"))
        link = server, str(event.get("peer"))
        if kind == "way found" and link in self._lost:
            kind = "way changed"  # it is no loss: there was none
        if kind in ("unreachable", "no way"):
            self._lost.add(link)
        elif kind in ("greeted", "direct again", "way changed"):
            self._lost.discard(link)
        news = NEWS.get(kind)
        if news is None or not all(name in event for name in news.needs):
            return
        peer = event.get("peer")
        for absorbed in news.absorbs:
            self._leave_out(absorbed, server, peer)
        of = (server,) if news.of_one else ()
        key = (kind, *of, *(str(event[name]) for name in news.same))
        group = self._groups.get(key)
        if group is None:
            time_ms = event.get("time_ms")
            group = _Group(kind, [server], dict(event), time_ms if type(time_ms) is int else 0, now + news.gather_s)
            self._groups[key] = group
            return
        group.count += 1
        if server not in group.servers:
            group.servers.append(server)

    def deadline(self) -> float | None:
        """When the next sentence is complete."""
        return min((each.due for each in self._groups.values()), default=None)

    def take(self, now: float) -> list[Told]:
        """The sentences that nothing will be added to, in the order of what they tell."""
        full = len(self._groups) > MAX_GATHERED
        kinds = {each.kind for each in self._groups.values() if each.due <= now or full}
        complete = {
            key: each for key, each in self._groups.items() if each.due <= now or full or NEWS[each.kind].joins & kinds
        }
        for key in complete:
            del self._groups[key]
        groups = sorted(complete.values(), key=lambda each: each.time_ms)
        told = [_told(each) for each in _joined(groups)]
        told += _meetings([each for each in groups if each.kind == "greeted"])
        return sorted(told, key=lambda each: each.time_ms)

    def _leave_out(self, kind: str, server: str, peer: Any) -> None:
        for key, group in list(self._groups.items()):
            if group.kind == kind and group.details.get("peer") == peer and server in group.servers:
                group.servers.remove(server)
                if not group.servers:
                    del self._groups[key]


class News(NamedTuple):
    """How events of a kind are told. `same`: fields by which two are the same news; `of_one`: of one server only."""

    tell: Callable[[Sequence[str], Details, int], str]
    style: str = PLAIN
    needs: tuple[str, ...] = ("peer",)
    same: tuple[str, ...] = ("peer",)
    of_one: bool = False
    absorbs: tuple[str, ...] = ()
    gather_s: float = GATHER_S
    joins: frozenset[str] = frozenset()  # told together with these kinds: of several peers in one sentence


def names(servers: Sequence[str]) -> str:
    """`1`, `1 and 1.1`, `1, 1.1 and 1.2`, in the order of names."""
    ordered = sorted(servers, key=_order)
    return ordered[0] if len(ordered) == 1 else f"{', '.join(ordered[:-1])} and {ordered[-1]}"


def hops(number: Any) -> str:
    return "1 hop" if number == 1 else f"{number} hops"


def _does(servers: Sequence[str], verb: str) -> str:
    """`1.3 loses`, `1.3 and 1.4 lose`: `verb` is in the plural."""
    ending = "es" if verb.endswith(("s", "sh", "ch")) else "s"
    return f"{names(servers)} {verb}{ending if len(servers) == 1 else ''}"


def _why(details: Details) -> str:
    cause = str(details.get("cause") or "")
    return f": {cause}" if cause else ""


def _way(details: Details) -> str:
    rtt = details.get("rtt_ms")
    time = f", {rtt:.0f} ms" if isinstance(rtt, (int, float)) else ""
    return f"{hops(details['hops'])}{time}"


def _changes(count: int) -> str:
    return "a change" if count == 1 else f"{count} changes"


NEWS: dict[str, News] = {
    "ready": News(lambda who, _, n: _does(who, "serve"), GOOD, (), ()),
    "stopping": News(lambda who, _, n: _does(who, "stop"), WARN, (), ()),
    "greeted": News(
        lambda who, its, n: f"{_does(who, 'meet')} {its['peer']}", GOOD, of_one=True, joins=frozenset({"greeted"})
    ),
    "doubted": News(
        lambda who, its, n: f"{names(who)} heard nothing of {its['peer']} for a moment", DIM, gather_s=DOUBT_S
    ),
    "unreachable": News(
        lambda who, its, n: f"{names(who)} lost {its['peer']}{_why(its)}",
        BAD,
        absorbs=("doubted", "no way", "way lost"),
        gather_s=LOST_S,
        joins=frozenset({"unreachable"}),
    ),
    "way found": News(
        lambda who, its, n: f"{names(who)} lost {its['peer']}; {its['gateway']} confirms a way, {_way(its)}",
        WARN,
        ("peer", "gateway", "hops"),
        ("peer", "gateway", "hops"),
        absorbs=("doubted", "no way"),
    ),
    "way changed": News(
        lambda who, its, n: f"{_does(who, 'reach')} {its['peer']} by {its['gateway']} now, {_way(its)}{_why(its)}",
        WARN,
        ("peer", "gateway", "hops"),
        ("peer", "gateway", "hops"),
        absorbs=("doubted", "way lost", "way changed"),
    ),
    "way lost": News(
        lambda who, its, n: f"{names(who)} lost the way to {its['peer']} by {its['gateway']}{_why(its)}",
        WARN,
        ("peer", "gateway"),
        ("peer", "gateway"),
    ),
    "no way": News(
        lambda who, its, n: f"{_does(who, 'find')} no way to {its['peer']}{_why(its)}",
        BAD,
        absorbs=("doubted", "unreachable", "way lost"),
        gather_s=LOST_S,
        joins=frozenset({"no way"}),
    ),
    "direct again": News(
        lambda who, its, n: f"{_does(who, 'reach')} {its['peer']} directly again",
        GOOD,
        absorbs=("doubted", "no way", "way found", "way changed"),
        gather_s=LOST_S,
        joins=frozenset({"direct again"}),
    ),
    "outbox queued": News(
        lambda who, its, n: f"{names(who)} keeps {_changes(n)} for {its['peer']} until it is reached", WARN, of_one=True
    ),
    "outbox settled": News(
        lambda who, its, n: f"{its['peer']} was given {_changes(n)} that {names(who)} had kept: {its['outcome']}",
        GOOD,
        ("peer", "outcome"),
        ("peer", "outcome"),
        of_one=True,
    ),
    "misbehaved": News(lambda who, its, n: f"{names(who)} caught {its['peer']} in a mistake{_why(its)}", BAD),
    "mistake": News(lambda who, its, n: f"{names(who)}: a mistake of our own{_why(its)}", BAD, ("cause",), ("cause",)),
    "joined": News(lambda who, its, n: f"{its['peer']} joined the mesh by {names(who)}", GOOD),
    "blocked": News(
        lambda who, its, n: f"somebody cut {names(who)} off from {its['peer']}, direction {its['direction']}",
        WARN,
        ("peer", "direction"),
        ("peer", "direction"),
    ),
    "unblocked": News(lambda who, its, n: f"somebody mended the link of {names(who)} to {its['peer']}", WARN),
}


def _told(group: _Group) -> Told:
    news = NEWS[group.kind]
    return Told(group.time_ms, news.tell(group.servers, group.details, group.count), news.style)


def _joined(groups: Sequence[_Group]) -> list[_Group]:
    """What the same servers say of several peers becomes one; so does what two servers say of each other."""
    joined: dict[tuple[str, tuple[str, ...]], _Group] = {}
    rest = []
    for group in groups:
        if group.kind == "greeted":
            continue
        if not NEWS[group.kind].joins:
            rest.append(group)
            continue
        key = group.kind, tuple(sorted(group.servers))
        first = joined.setdefault(key, group)
        if first is not group:
            first.peers.append(str(group.details["peer"]))
    for group in joined.values():
        group.details["peer"] = names([*group.peers, str(group.details["peer"])])
    mutual = {
        (group.servers[0], str(group.details["peer"])): group
        for group in joined.values()
        if group.kind == "direct again" and len(group.servers) == 1 and not group.peers
    }
    for (one, other), group in mutual.items():
        back = mutual.get((other, one))
        if back is not None and _order(one) < _order(other):
            group.servers, group.details["peer"] = [one, other], "each other"
            back.servers = []
    return [*rest, *(group for group in joined.values() if group.servers)]


def _meetings(groups: Sequence[_Group]) -> list[Told]:
    """Both ends tell of a session: told once, by the server that met the most."""
    met: dict[str, set[str]] = {}
    when: dict[tuple[str, str], int] = {}
    for group in groups:
        one, other = group.servers[0], str(group.details["peer"])
        met.setdefault(one, set()).add(other)
        met.setdefault(other, set()).add(one)
        when[one, other] = when[other, one] = group.time_ms
    told = []
    while met:
        server = max(met, key=lambda each: (len(met[each]), _order(each)))
        peers = met.pop(server)
        for peer in peers:
            met[peer].discard(server)
        met = {each: others for each, others in met.items() if others}
        told.append(Told(max(when[server, peer] for peer in peers), f"{server} meets {names(list(peers))}", GOOD))
    return told


def _order(server: str) -> tuple[int, ...]:
    return tuple(int(part) for part in server.split(".") if part.isdigit())
