"""The virtual network: what its links' rules say happens to a datagram, and the same every time."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import pytest
import trio

from identity.errors import Refused
from identity.machine import Batch
from simulations import engine
from simulations.links import Even, Flap, LongTail, Spike
from simulations.network import Link, SimulatedNetwork, SimulatedPort, sides_of
from simulations.trace import Trace, first_difference


def run(story: Callable[[SimulatedNetwork], Awaitable[object]], *, link: Link | None = None, seed: int = 1) -> object:
    async def main(agenda: engine.Agenda) -> object:
        return await story(SimulatedNetwork(agenda, random.Random(seed), Trace(), default=link))

    return engine.run(main, seed=seed)


async def pair(network: SimulatedNetwork) -> tuple[SimulatedPort, SimulatedPort]:
    left = await network.host("1.1").open_datagram_port("", 7000)
    right = await network.host("1.2").open_datagram_port("", 7000)
    return left, right


def batch(*datagrams: bytes, to: SimulatedPort) -> Batch:
    return Batch(memoryview(b"".join(datagrams)), len(datagrams[0]), to.address)


async def receive_all(port: SimulatedPort, *, seconds: float) -> list[bytes]:
    await trio.sleep(seconds)
    buffer = memoryview(bytearray(65536))
    received = []
    while (got := port.receive_into(buffer)) is not None:
        length, size, _ = got
        received += [bytes(buffer[at : min(at + size, length)]) for at in range(0, length, size)]
    return received


def test_a_batch_arrives_after_the_links_delay() -> None:
    async def story(network: SimulatedNetwork) -> None:
        left, right = await pair(network)
        left.send_batch(batch(b"one.", b"two.", b"3", to=right))
        assert await receive_all(right, seconds=0.019) == []
        assert sorted(await receive_all(right, seconds=0.01)) == [b"3", b"one.", b"two."]

    run(story, link=Link(delay=0.02, jitter=0.0))


def test_a_cut_is_one_way_and_heals() -> None:
    async def story(network: SimulatedNetwork) -> None:
        left, right = await pair(network)
        network.cut("1.1", "1.2")
        left.send_batch(batch(b"lost", to=right))
        right.send_batch(batch(b"kept", to=left))
        assert await receive_all(right, seconds=1) == []
        assert await receive_all(left, seconds=1) == [b"kept"]
        network.heal()
        left.send_batch(batch(b"here", to=right))
        assert await receive_all(right, seconds=1) == [b"here"]

    run(story)


def test_hosts_may_have_no_links_but_some_and_nothing_mends_another() -> None:
    async def story(network: SimulatedNetwork) -> None:
        left, right = await pair(network)
        network.only([("1.1", "1.3"), ("1.3", "1.2")])
        passing = ("1.1", "1.3"), ("1.3", "1.1"), ("1.3", "1.2"), ("1.1", "1.1"), ("1.1", "a client")
        for mend in (lambda: None, network.heal, lambda: network.mend("1.1", "1.2")):
            mend()
            assert network.link("1.1", "1.2").cut
            assert network.link("1.2", "1.1").cut
            assert not any(network.link(*way).cut for way in passing)
        network.lay(None, {"cut": False, "loss": 0.0})
        network.set_link("1.1", "1.2", Link())
        left.send_batch(batch(b"lost", to=right))
        assert await receive_all(right, seconds=1) == []
        layer = network.cut("1.1", "1.3")
        assert network.link("1.1", "1.3").cut
        network.lift(layer)
        assert not network.link("1.1", "1.3").cut

    run(story)


def test_a_partition_cuts_between_groups_only() -> None:
    async def story(network: SimulatedNetwork) -> None:
        network.part(["1", "1.1"], ["1.2"])
        cut = {(a, b) for a in ("1", "1.1", "1.2") for b in ("1", "1.1", "1.2") if network.link(a, b).cut}
        assert cut == {("1", "1.2"), ("1.1", "1.2"), ("1.2", "1"), ("1.2", "1.1")}

    run(story)


def test_loss_and_duplication_come_as_often_as_was_said() -> None:
    async def story(network: SimulatedNetwork) -> int:
        left, right = await pair(network)
        for _ in range(1000):
            left.send_batch(batch(b"x", to=right))
        return len(await receive_all(right, seconds=1))

    assert 700 < int(str(run(story, link=Link(loss=0.25)))) < 800
    assert 1200 < int(str(run(story, link=Link(duplicate=0.25)))) < 1300


def test_the_same_seed_gives_the_same_trace() -> None:
    traces = []

    async def story(network: SimulatedNetwork) -> None:
        left, right = await pair(network)
        for number in range(50):
            left.send_batch(batch(bytes([number]), to=right))
        await receive_all(right, seconds=1)
        traces.append(network.trace)

    for seed in (1, 1, 2):
        run(story, link=Link(loss=0.2, jitter=0.05), seed=seed)
    assert traces[0].hash == traces[1].hash != traces[2].hash
    assert not first_difference(traces[0], traces[1])
    assert first_difference(traces[0], traces[2])


def test_a_port_in_use_and_impossible_rules_are_refused() -> None:
    async def story(network: SimulatedNetwork) -> None:
        await pair(network)
        with pytest.raises(Refused, match=r"port 7000 of 1\.1 is in use"):
            await network.host("1.1").open_datagram_port("", 7000)

    run(story)
    with pytest.raises(Refused, match="chance"):
        Link(loss=2)


def test_faults_that_overlap_end_each_by_itself() -> None:
    async def story(network: SimulatedNetwork) -> None:
        way = "1.1", "1.2"
        lossy = network.lay([way], {"loss": 0.3}, text="loss 30%")
        apart = network.part(["1.1"], ["1.2", "1"])
        everywhere = network.lay(None, {"loss": 0.5, "delay": 1.0})
        assert network.link(*way) == Link(delay=1.0, loss=0.5, cut=True)
        assert network.link("1.2", "1") == Link(delay=1.0, loss=0.5)
        network.lift(lossy)
        assert network.link(*way) == Link(delay=1.0, loss=0.5, cut=True)
        network.lift(everywhere)
        assert network.link(*way) == Link(cut=True)
        network.cut(*way)
        network.lift(apart)
        assert network.link(*way).cut  # by the other cut
        assert not network.link("1.2", "1.1").cut
        network.lift(apart)  # twice is harmless
        network.mend(*way)
        assert network.link(*way) == Link()

    run(story)


def test_the_newest_fault_wins_and_the_one_below_comes_back() -> None:
    async def story(network: SimulatedNetwork) -> None:
        network.set_link("1.1", "1.2", Link(delay=0.5))
        network.lay([("1.1", "1.2")], {"loss": 0.2, "burst": 4.0})
        newest = network.lay([("1.1", "1.2")], {"loss": 0.9})
        assert network.link("1.1", "1.2") == Link(delay=0.5, loss=0.9)
        network.set_link("1.1", "1.2", Link(delay=0.1))  # what was set is below all faults
        assert network.link("1.1", "1.2") == Link(delay=0.1, loss=0.9)
        network.lift(newest)
        assert network.link("1.1", "1.2") == Link(delay=0.1, loss=0.2, burst=4.0)

    run(story)


def test_mending_ends_cuts_only_and_healing_ends_all_faults() -> None:
    async def story(network: SimulatedNetwork) -> None:
        network.set_link("1.1", "1.2", Link(delay=0.5, cut=True))
        assert network.link("1.2", "1.1") == Link()
        network.default = Link(delay=0.3)
        assert network.link("1.2", "1.1") == Link(delay=0.3)
        slow = network.lay(None, {"loss": 0.5})
        parted = network.part(["1.1"], ["1.2"])
        network.mend("1.1", "1.2")
        assert network.link("1.1", "1.2") == Link(delay=0.5, loss=0.5)
        assert network.link("1.2", "1.1") == Link(delay=0.3, loss=0.5, cut=True)
        network.set_link("1.1", "1.2", Link(delay=0.5, cut=True))
        network.heal()
        assert network.link("1.1", "1.2") == Link(delay=0.5)
        assert network.link("1.2", "1.1") == Link(delay=0.3)
        for layer in (slow, parted):
            network.lift(layer)  # over already: nothing happens
        assert network.link("1.2", "1.1") == Link(delay=0.3)

    run(story)


def test_what_breaks_and_what_is_mended_is_marked_with_its_number() -> None:
    marks = []

    def mark(kind: str, *hosts: str, text: str = "", **details: object) -> None:
        marks.append((kind, hosts, text, details))

    async def main(agenda: engine.Agenda) -> None:
        network = SimulatedNetwork(agenda, random.Random(1), Trace(), mark=mark)
        cut = network.cut("1.2", "1.1")
        network.part(["1.1"], ["1.2", "1"])
        network.lift(cut)
        network.lift(cut)
        network.lay(None, {"loss": 0.1}, text="loss 10%")
        network.heal()

    engine.run(main, seed=1)
    assert marks == [
        ("cut", ("1.2", "1.1"), "", {"fault": 1}),
        ("part", ("1", "1.1", "1.2"), "1.1 | 1 1.2", {"fault": 2}),
        ("mend", ("1.2", "1.1"), "", {"fault": 1}),
        ("link", (), "loss 10%", {"fault": 3}),
        ("heal", (), "", {}),
    ]


def test_a_fault_that_makes_no_sense_is_refused_and_changes_nothing() -> None:
    async def story(network: SimulatedNetwork) -> None:
        with pytest.raises(Refused, match="on no link at all"):
            network.lay([], {"cut": True})
        with pytest.raises(Refused, match="on no link at all"):
            network.part(["1.1", "1.2"], [])
        with pytest.raises(Refused, match="a chance"):
            network.lay(None, {"loss": 7})
        assert network.link("1.1", "1.2") == Link()

    run(story)


def test_the_short_way_of_a_plain_link_judges_as_its_rules_do() -> None:
    def traced(*, short: bool) -> Trace:
        link = Link(delay=0.01, jitter=0.05, loss=0.2, duplicate=0.3)
        object.__setattr__(link, "plain", short)
        traces = []

        async def story(network: SimulatedNetwork) -> None:
            left, right = await pair(network)
            for number in range(300):
                left.send_batch(batch(bytes([number % 256]), to=right))
            await receive_all(right, seconds=1)
            network.cut("1.1", "1.2")
            left.send_batch(batch(b"lost", to=right))
            traces.append(network.trace)

        run(story, link=link)
        return traces[0]

    assert not first_difference(traced(short=True), traced(short=False))


@pytest.mark.parametrize(
    ("rules", "why", "least", "most"),
    [
        ({"loss": 0.3, "burst": 5.0}, "burst", 100, 200),
        ({"rate": 8e5, "queue": 0.1}, "queue", 1, 300),
        ({"mtu": 1228}, "mtu", 400, 400),
        ({"flap": Flap(0.5, 0.5)}, "flap", 100, 300),
        ({"cut": True}, "cut", 400, 400),
        ({"loss": 0.5}, "loss", 150, 250),
    ],
)
def test_what_a_fault_takes_is_dropped_and_the_trace_says_why(
    rules: dict[str, object], why: str, least: int, most: int
) -> None:
    async def story(network: SimulatedNetwork) -> int:
        left, right = await pair(network)
        network.lay([("1.1", "1.2")], rules)
        for _ in range(400):
            left.send_batch(batch(bytes(1201), to=right))
            right.send_batch(batch(bytes(1201), to=left))
            await trio.sleep(0.01)
        assert len(await receive_all(left, seconds=5)) == 400  # the other direction is not touched
        drops = [line for line in network.trace.lines() if " drop " in line]
        assert all(line.endswith(f"drop 1.1 1.2 1201 {why}") for line in drops)
        assert len(await receive_all(right, seconds=5)) == 400 - len(drops)
        assert network.dropped == len(drops)
        return len(drops)

    assert least <= int(str(run(story))) <= most


@pytest.mark.parametrize(
    "rules",
    [
        {"delay": LongTail(0.02)}, {"delay": Even(0.01, 0.3)}, {"jitter": 0.2}, {"spike": Spike(0.4, 1, 0.5)},
        {"reorder": 0.2, "reorder_by": 0.2},
    ],
)  # fmt: skip
def test_what_is_late_is_overtaken_and_not_lost(rules: dict[str, object]) -> None:
    async def story(network: SimulatedNetwork) -> None:
        left, right = await pair(network)
        network.lay(None, rules)
        for number in range(200):
            left.send_batch(batch(bytes([number]), to=right))
            await trio.sleep(0.01)
        received = await receive_all(right, seconds=60)
        assert sorted(received) == [bytes([number]) for number in range(200)]
        assert received != sorted(received)

    run(story)


def test_bits_are_turned_on_the_way_and_the_sender_s_stay() -> None:
    async def story(network: SimulatedNetwork) -> None:
        left, right = await pair(network)
        network.lay(None, {"corrupt": 1.0})
        sent = bytearray(b"hello")
        left.send_batch(Batch(memoryview(sent), 5, right.address))
        (received,) = await receive_all(right, seconds=1)
        assert sent == b"hello"
        assert received != b"hello"
        assert len(received) == 5

    run(story)


def test_cuts_have_sides_where_they_part_somebody_from_somebody() -> None:
    halves = [("1", "1.2"), ("1.2", "1"), ("1.1", "1.2"), ("1.2", "1.1")]
    assert sides_of(halves) == [["1", "1.1"], ["1.2"]]
    assert sides_of(halves[::2]) == []  # one way only
    assert sides_of([("1", "1.1"), ("1.1", "1")]) == [["1"], ["1.1"]]
    ring = [(a, b) for a, b in (("1", "1.2"), ("1.1", "1.3"))]
    assert sides_of(ring + [way[::-1] for way in ring]) == []  # everybody has a way to everybody


def test_a_partition_s_mark_says_its_sides_whoever_drew_them() -> None:
    async def story(network: SimulatedNetwork) -> None:
        marks: list[tuple[str, str]] = []
        network._mark = lambda kind, *hosts, text="", **details: marks.append((kind, text))
        ways = [("1", "1.2"), ("1.2", "1"), ("1.1", "1.2"), ("1.2", "1.1")]
        network.lift(network.lay(ways, {"cut": True}, kind="part"))
        network.lay(ways[::2], {"cut": True}, kind="part")
        assert marks == [("part", "1 1.1 | 1.2"), ("mend", "1 1.1 | 1.2"), ("part", "")]

    run(story)
