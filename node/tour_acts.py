"""How each step of the tour is played: it does something to the mesh, shows a command, and looks at what must hold.

    stage.did(...)     what a person would type for what is done by `node.mesh_control`
    stage.until(look)  until a check of `node.tour_checks` raises no more
    stage.show(...)    a command, carried out as it is printed

A function returns what was seen, as one sentence's end. The seconds here are how long a step waits before it fails,
several times what it takes on a slow machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from node.airports import NEXT, OWNERS, PLACES
from node.cli.output import counted, seconds
from node.tour import Airport, Stage
from node.tour_checks import (
    by_gateway,
    by_owner,
    committed,
    equal,
    everything,
    fingerprint,
    half,
    has,
    lost,
    mirrored,
    number_of,
    once,
    owner_silent,
    path_text,
    require,
    waiting,
    ways,
)

AMERICA, EUROPE, ASIA, AFRICA, OCEANIA = (each.server for each in OWNERS)
ALL = tuple(each.server for each in PLACES)
MIRROR_OF = {owner: mirror for mirror, owner in NEXT.items()}
LEFT, RIGHT = ("1", AMERICA, EUROPE), (ASIA, AFRICA, OCEANIA)
EVERYTHING = "Airport show icao, name, country"
HASHED = "Airport"

ASK_OWNER_S = 5.0  # for one answer of an owner that may not be reached
ASK_S = 10.0  # for an answer that should come at once
ALL_S = 20.0  # for one of 28 298 rows
NOTICE_S = 20.0  # for servers to notice that another is gone, and to say so
DELIVER_S = 30.0  # for a change that waited
WAY_S = 20.0  # for a way by others
QUIET_S = 0.2, 0.6  # since a word: its acknowledgements have come, and the next beat is not due (they come every 2 s)
BACK_S = 20.0  # for the direct way to be used again
EQUAL_S = 60.0  # for everything to be everywhere


# -- whole


async def ask_everything(stage: Stage) -> str:
    async def look() -> None:
        everything(await stage.client(ASIA).query(EVERYTHING), stage.counts)

    await stage.show(ASIA, "query", EVERYTHING, when=look, within=ALL_S)
    return f"{counted(sum(stage.counts.values()))} rows of {len(stage.counts)} owners, none missing, none twice"


# -- Europe dies


async def kill_europe(stage: Stage) -> str:
    stage.did(f"kill -9 $(cat {stage.directory / EUROPE / 'pid'})")
    await stage.control.kill(EUROPE)

    async def look() -> None:
        await stage.at_all([each for each in ALL if each != EUROPE], at_one)

    async def at_one(server: str) -> None:
        lost(await stage.client(server).peers(), at=server, server=EUROPE)

    await stage.show(ASIA, "peers", when=look, within=NOTICE_S)
    return "each of the five noticed it by itself; nobody told them"


async def ask_for_one(stage: Stage) -> str:
    reference = stage.chosen[EUROPE].reference

    async def look() -> Any:
        found = await stage.client(AFRICA).get(reference)
        mirrored(found, owner=EUROPE, mirror=MIRROR_OF[EUROPE], asker=AFRICA)
        return found

    found = await stage.show(AFRICA, "get", reference, when=look, within=ASK_S)
    return f"told by {path_text(found['path'])}, {seconds(found['age'])} old, and said to be"


async def ask_everything_without_it(stage: Stage) -> str:
    async def look() -> None:
        answer = await stage.client(AFRICA).query(EVERYTHING)
        owner_silent(answer, stage.counts, owner=EUROPE, mirror=MIRROR_OF[EUROPE])

    await stage.show(AFRICA, "query", EVERYTHING, when=look, within=ALL_S)
    return f"still every row; {counted(stage.counts[EUROPE])} of them by a mirror, and said to be"


async def change_one_meanwhile(stage: Stage) -> str:
    client, airport = stage.client(AMERICA), stage.chosen[EUROPE]
    before = [each["request"] for each in await client.outbox()]
    stage.elevation = airport.elevation + 1
    stage.changed[airport.reference] = airport
    await stage.show(AMERICA, "update", airport.reference, f"elevation={stage.elevation:g}")

    async def look() -> int:
        return waiting(await client.outbox(), before, server=EUROPE)

    stage.request = await stage.show(AMERICA, "outbox", "--waiting", when=look, within=ASK_S)
    found = await client.get(airport.reference)
    stage.number = number_of(found["position"])
    require(
        found["fields"]["elevation"] == airport.elevation,
        f"the elevation still {airport.elevation:g} everywhere",
        f"{found['fields']['elevation']:g}",
    )
    return f"it waits as request {stage.request}, on disk; nobody else has decided in the owner's place"


async def revive_europe(stage: Stage) -> str:
    client, reference = stage.client(AMERICA), stage.chosen[EUROPE].reference
    stage.did(stage.of(EUROPE, "run") + " &")
    await stage.control.revive(EUROPE)

    async def outcome() -> int:
        return committed(await client.outbox_entry(stage.request), reference)

    sequence = await stage.show(AMERICA, "outbox", "show", str(stage.request), when=outcome, within=DELIVER_S)
    wanted = {"elevation": stage.elevation}

    async def at_both() -> None:
        for server, consistency in ((EUROPE, "owner"), (AMERICA, "local")):
            found = await stage.client(server).get(reference, consistency=consistency)
            has(found, wanted, sequence=sequence, at=server)
            once(found, after=stage.number, at=server)

    await stage.show(AMERICA, "get", reference, "--consistency", "local", when=at_both, within=DELIVER_S)
    return f"delivered, committed once as sequence {sequence}, and at its mirror {AMERICA}"


# -- links break


async def cut_both_ways(stage: Stage) -> str:
    stage.did(stage.of(AMERICA, "peers", "block", EUROPE), stage.of(EUROPE, "peers", "block", AMERICA))
    await stage.control.cut(AMERICA, EUROPE)

    async def look() -> str:
        path = by_gateway(await ask_owner(stage, AMERICA, EUROPE), owner=EUROPE, asker=AMERICA)
        by_gateway(await ask_owner(stage, EUROPE, AMERICA), owner=AMERICA, asker=EUROPE)
        await both_ends(stage, AMERICA, EUROPE, there="gateway", back="gateway")
        return path

    begun = stage.now()
    path = await stage.until(look, within=WAY_S)
    took = stage.now() - begun
    await stage.show(AMERICA, "trace", EUROPE)
    return f"{EUROPE} answered {AMERICA} again {took:.1f} s after the cut, along {path}"


async def cut_one_way(stage: Stage) -> str:
    stage.did(stage.of(ASIA, "peers", "block", AFRICA, "--out"), stage.of(AFRICA, "peers", "block", ASIA, "--in"))
    await stage.until(lambda: quiet(stage, AFRICA, ASIA), within=WAY_S)
    await stage.control.cut_one_way(ASIA, AFRICA)

    async def look() -> None:
        by_owner(await ask_owner(stage, ASIA, AFRICA), owner=AFRICA, asker=ASIA)
        by_gateway(await ask_owner(stage, AFRICA, ASIA), owner=ASIA, asker=AFRICA)
        await both_ends(stage, ASIA, AFRICA, there="gateway", back="direct")

    await stage.show(ASIA, "trace", AFRICA, when=look, within=WAY_S)
    await stage.show(AFRICA, "trace", ASIA)
    return f"{ASIA} to {AFRICA} by a gateway, {AFRICA} to {ASIA} direct: each direction by its own best way"


async def heal_links(stage: Stage) -> str:
    ends = (AMERICA, EUROPE, ASIA, AFRICA)
    stage.did(*(stage.of(each, "peers", "unblock", "--all") for each in ends))
    await stage.control.heal()

    async def look() -> None:
        for asker, owner in ((AMERICA, EUROPE), (EUROPE, AMERICA), (ASIA, AFRICA), (AFRICA, ASIA)):
            by_owner(await ask_owner(stage, asker, owner), owner=owner, asker=asker)
        await all_direct(stage, ALL)

    await stage.show(AMERICA, "trace", EUROPE, when=look, within=BACK_S)
    await stage.show(ASIA, "trace", AFRICA)
    return f"all {len(ALL) * (len(ALL) - 1)} directions between the six are direct again"


# -- more breaks


async def kill_the_authority(stage: Stage) -> str:
    stage.did(f"kill -9 $(cat {stage.directory / '1' / 'pid'})")
    await stage.control.kill("1")

    async def look() -> None:
        everything(await stage.client(ASIA).query(EVERYTHING), stage.counts)

    await stage.show(ASIA, "query", EVERYTHING, when=look, within=ALL_S)
    await change(stage, AMERICA, stage.chosen[AFRICA], mirror=ASIA)
    await all_direct(stage, [each for each in ALL if each != "1"])
    stage.did(stage.of("1", "run") + " &")
    await stage.control.revive("1")
    await stage.until(lambda: all_direct(stage, ALL), within=BACK_S)
    return "questions, changes and mirrors went on without it; it is back"


async def part_in_halves(stage: Stage) -> str:
    stage.did(
        stage.of(LEFT[0], "peers", "block", RIGHT[0]),
        remark=f"and so on, at both ends of the nine links between {', '.join(LEFT)} and {', '.join(RIGHT)}",
    )
    await stage.control.part(LEFT, RIGHT)

    async def left() -> None:
        half(await stage.client("1").query(EVERYTHING), stage.counts, seen=(AMERICA, EUROPE, ASIA))

    async def right() -> None:
        half(await stage.client(OCEANIA).query(EVERYTHING), stage.counts, seen=RIGHT)

    await stage.show("1", "query", EVERYTHING, "--whole", when=left, within=NOTICE_S, code=3)
    await stage.show(OCEANIA, "query", EVERYTHING, "--whole", when=right, within=NOTICE_S, code=3)
    await change(stage, "1", stage.chosen[EUROPE], mirror=AMERICA)
    await change(stage, ASIA, stage.chosen[OCEANIA], mirror=AFRICA)
    return "each half answers and changes what it has, and names the owners that it cannot see"


async def heal_everything(stage: Stage) -> str:
    stage.did(*(stage.of(each, "peers", "unblock", "--all") for each in ALL))
    await stage.control.heal()
    for reference, before in stage.changed.items():
        await stage.client(before.owner).update(reference, {"elevation": before.elevation})

    async def look() -> tuple[str, int]:
        await all_direct(stage, ALL)
        positions, owned = await feeds(stage)
        prints = await stage.at_all(ALL, one_print)
        hash = equal(prints, positions, owned)
        return hash, sum(map(len, positions.values()))

    async def one_print(server: str) -> str:
        answer = await stage.client(server).query(HASHED)
        everything(answer, stage.counts)
        return fingerprint(answer["rows"])

    hash, copies = await stage.until(look, within=EQUAL_S)
    await stage.show(ASIA, "feeds")
    return f"six servers answer the same rows (sha256 {hash[:12]}), and all {copies} copies of feeds are complete"


# -- what several steps do


async def ask_owner(stage: Stage, asker: str, owner: str) -> Any:
    """The owner's own word of one of its airports, although the asker may have a copy."""
    return await stage.client(asker).get(stage.chosen[owner].reference, consistency="owner", deadline=ASK_OWNER_S)


async def quiet(stage: Stage, at: str, server: str) -> None:
    """A moment in which nothing is under way between two servers, and nothing will be unless somebody asks.

    Whoever sends while the other's acknowledgements are lost doubts the sound direction too, for a moment. It is found
    again by direct copies; but those are looked at in the step after this one.
    """
    peers = await stage.client(at).peers()
    heard = next((each["heard_s"] for each in peers if each["server"] == server), None)
    low, high = QUIET_S
    require(heard is not None and low < heard < high, f"{server} last heard {low} to {high} s ago", f"{heard} s ago")


async def both_ends(stage: Stage, one: str, other: str, *, there: str, back: str) -> None:
    """How packets go between two servers, as either says."""
    ways(await stage.client(one).peers(), at=one, server=other, out=there, back=back)
    ways(await stage.client(other).peers(), at=other, server=one, out=back, back=there)


async def all_direct(stage: Stage, servers: Sequence[str]) -> None:
    """Every direction between these is direct, as both ends say."""

    async def at_one(server: str) -> None:
        peers = await stage.client(server).peers()
        for other in servers:
            if other != server:
                ways(peers, at=server, server=other, out="direct", back="direct")

    await stage.at_all(servers, at_one)


async def change(stage: Stage, asker: str, airport: Airport, *, mirror: str) -> None:
    """Have an airport changed by its owner, and see the change arrive at the mirror."""
    reference = airport.reference
    before = await stage.client(airport.owner).get(reference, consistency="local")
    fields = {"elevation": before["fields"]["elevation"] + 1}
    stage.changed.setdefault(reference, airport)
    await stage.show(asker, "update", reference, f"elevation={fields['elevation']:g}")

    async def arrived() -> None:
        sequence = (await stage.client(airport.owner).get(reference, consistency="local"))["sequence"]
        require(sequence > before["sequence"], f"{reference} changed at its owner", f"sequence {sequence}")
        has(await stage.client(mirror).get(reference, consistency="local"), fields, sequence=sequence, at=mirror)

    await stage.until(arrived, within=DELIVER_S)


async def feeds(stage: Stage) -> tuple[dict[str, dict[str, int]], dict[str, int]]:
    """Up to which update each server holds whose feeds, by `owner kind`; and up to which the owners themselves do."""

    async def at_one(server: str) -> dict[str, int]:
        said = await stage.client(server).feeds()
        return {f"{each['server']} {each['kind']}": each["last"] or 0 for each in said}

    held = await stage.at_all(ALL, at_one)
    owned = {feed: last for server in ALL for feed, last in held[server].items() if feed.partition(" ")[0] == server}
    copies = {
        server: {feed: last for feed, last in each.items() if feed.partition(" ")[0] != server}
        for server, each in held.items()
    }
    return copies, owned
