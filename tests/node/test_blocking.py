"""A cut at the port: who is cut off stays cut off, in the direction that was said, and nobody else notices."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from identity.errors import BangpathError, Refused, Unreachable
from identity.machine import Batch
from identity.names import ServerId
from node.blocking import BOTH, IN, MAX_DROPS, OUT, Blocking, added, check_direction, read_blocked, taken
from routing.ways import Direct
from simulations.plugin import simulate
from simulations.world import World

A, B = ServerId.parse("1.1"), ServerId.parse("1.2")
AT_A, AT_B, ELSEWHERE = ("10.0.0.1", 7), ("10.0.0.2", 7), ("10.9.9.9", 7)
FIRST = bytes([1]) + b"first of a handshake"


def sealed(index: int, length: int = 40) -> bytes:
    return bytes([16]) + index.to_bytes(4, "big") + bytes(length)


class FakePort:
    """Gives what was put into it; keeps what was sent; full when told so."""

    address = ("10.0.0.9", 7)

    def __init__(self) -> None:
        self.waiting: list[tuple[bytes, int, Any]] = []
        self.sent: list[tuple[bytes, Any]] = []
        self.full = False

    def receive_into(self, buffer: memoryview) -> tuple[int, int, Any] | None:
        if not self.waiting:
            return None
        data, size, address = self.waiting.pop(0)
        buffer[: len(data)] = data
        return len(data), size, address

    def send_batch(self, batch: Batch) -> bool:
        if not self.full:
            self.sent.append((bytes(batch.buffer), batch.address))
        return not self.full

    def timer(self) -> Any: ...
    async def wait_readable(self) -> None: ...
    async def each_readable(self, act: Any) -> None: ...
    async def wait_writable(self) -> None: ...
    def close(self) -> None: ...


class Cut:
    """A blocking port, the port below it, and where the servers are known to be."""

    def __init__(self, **blocked: str) -> None:
        self.below = FakePort()
        self.places = {A: {AT_A}, B: {AT_B}}
        names = {"a": A, "b": B}
        self.port = Blocking(
            self.below,
            lambda server, address: address in self.places[server],
            {names[name]: direction for name, direction in blocked.items()},
        )

    def comes_in(self, data: bytes, address: Any, size: int = 0) -> bool:
        self.below.waiting.append((data, size or len(data), address))
        return self.port.receive_into(memoryview(bytearray(1 << 16))) is not None

    def goes_out(self, data: bytes, address: Any, size: int = 0) -> bool:
        before = len(self.below.sent)
        assert self.port.send_batch(Batch(memoryview(data), size or len(data), address))
        return len(self.below.sent) > before


@pytest.mark.parametrize(("direction", "comes", "goes"), [(BOTH, False, False), (IN, False, True), (OUT, True, False)])
def test_what_a_direction_drops(direction: str, comes: bool, goes: bool) -> None:
    cut = Cut()
    for data in (FIRST, sealed(7)):
        assert cut.comes_in(data, AT_A)
        assert cut.goes_out(data, AT_A)
    assert cut.port.block(A, direction) == direction
    for data in (FIRST, sealed(7)):
        assert cut.comes_in(data, AT_A) is comes
        assert cut.goes_out(data, AT_A) is goes
        assert cut.comes_in(sealed(9), AT_B)  # another server's link is whole
        assert cut.goes_out(sealed(9), AT_B)
    assert cut.port.unblock(A, BOTH) is None
    assert cut.comes_in(sealed(7), AT_A)
    assert cut.goes_out(sealed(7), AT_A)


def test_directions_add_up_and_are_taken_apart() -> None:
    assert [added(None, IN), added(IN, IN), added(IN, OUT), added(OUT, BOTH), added(BOTH, IN)] == [
        IN, IN, BOTH, BOTH, BOTH,
    ]  # fmt: skip
    assert [taken(BOTH, IN), taken(BOTH, OUT), taken(BOTH, BOTH), taken(IN, IN), taken(IN, OUT), taken(None, IN)] == [
        OUT, IN, None, None, IN, None,
    ]  # fmt: skip
    assert read_blocked(["1.2", "1.3=in", "1.3=out"]) == {B: BOTH, ServerId.parse("1.3"): BOTH}
    for wrong in ("up", "", None, 3):
        with pytest.raises(Refused, match="no direction"):
            check_direction(wrong)


def test_a_whole_batch_is_dropped_and_what_waits_behind_it_is_read() -> None:
    cut = Cut(a=BOTH)
    batch = sealed(7, 100) * 3 + sealed(7, 20)
    cut.below.waiting.append((batch, 105, AT_A))
    assert cut.comes_in(sealed(9), AT_B)
    assert not cut.goes_out(batch, AT_A, size=105)
    assert cut.port.dropped == 2


def test_a_flood_of_dropped_packets_lets_others_have_their_turn() -> None:
    cut = Cut(a=IN)
    cut.below.waiting = [(sealed(7), 45, AT_A)] * (MAX_DROPS + 1)
    assert cut.port.receive_into(memoryview(bytearray(1 << 16))) is None
    assert len(cut.below.waiting) == 1


def test_a_session_that_moves_meanwhile_stays_cut_off() -> None:
    cut = Cut(a=IN)
    assert not cut.comes_in(sealed(7), AT_A)
    assert not cut.comes_in(sealed(7), ELSEWHERE)
    assert not cut.comes_in(sealed(8) + sealed(7), ELSEWHERE, size=45)
    assert cut.comes_in(sealed(8), ELSEWHERE)  # a session of somebody else
    assert not cut.comes_in(FIRST, AT_A)
    assert cut.comes_in(FIRST, ELSEWHERE)  # nobody knows yet whose it is
    assert cut.goes_out(sealed(7), ELSEWHERE)
    cut.port.unblock(A, IN)
    cut.port.block(B, BOTH)
    assert cut.comes_in(sealed(7), ELSEWHERE)
    cut.port.block(A, IN)
    assert not cut.comes_in(sealed(7), ELSEWHERE)  # it is the same session still

    cut = Cut(a=OUT)  # the challenge that asks for a proof of the new address
    assert not cut.goes_out(sealed(7), AT_A)
    assert not cut.goes_out(sealed(7), ELSEWHERE)


def test_an_address_that_becomes_known_meanwhile_is_cut_off_too() -> None:
    cut = Cut(a=BOTH)
    assert cut.goes_out(FIRST, ELSEWHERE)
    cut.places[A].add(ELSEWHERE)
    assert not cut.goes_out(FIRST, ELSEWHERE)


def test_a_batch_that_was_begun_is_sent_to_its_end() -> None:
    """The port remembers how far it came: another batch in its place would be sent from the middle."""
    cut = Cut()
    cut.below.full = True
    begun = Batch(memoryview(sealed(7) * 2), 45, AT_A)
    assert not cut.port.send_batch(begun)
    cut.port.block(A, BOTH)
    assert not cut.port.send_batch(begun)
    cut.below.full = False
    assert cut.port.send_batch(begun)
    assert cut.below.sent == [(bytes(begun.buffer), AT_A)]
    assert not cut.goes_out(sealed(7), AT_A)


# -- real nodes


async def _eventually_answered(world: World, asker: Any, server: str, *, within: float = 60.0) -> None:
    answered = False

    async def ask() -> None:
        nonlocal answered
        while not answered:
            try:
                await asker.up.ping(server, deadline=5.0)
                answered = True
            except BangpathError:
                await trio.sleep(0.1)

    with trio.fail_after(within):
        await ask()


@simulate(nodes=2, seeds=3)
async def test_a_block_looks_like_a_cut_cable_and_is_mended(mesh: World) -> None:
    a, b = mesh.nodes
    await _eventually_answered(mesh, a, b.name)
    for direction in (BOTH, IN, OUT):
        assert a.up.block(b.name, direction) == {"server": b.name, "blocked": direction}
        assert [each["blocked"] for each in a.up.peers()] == [direction]
        with pytest.raises(BangpathError):
            await a.up.ping(b.name, deadline=3.0)
        await mesh.sleep(40)
        with pytest.raises(Unreachable):
            await b.up.ping(a.name, deadline=3.0)
        assert a.up.unblock(b.name) == {"server": b.name, "blocked": None}
        await _eventually_answered(mesh, a, b.name)
        await _eventually_answered(mesh, b, a.name)


@simulate(nodes=2, seeds=3)
async def test_a_block_in_the_middle_of_a_transfer_loses_nothing(mesh: World) -> None:
    a, b = mesh.nodes
    for each in mesh.nodes:
        await each.define(_note())
    await b.mirror(a)
    notes = []
    for number in range(60):
        notes.append(await a.create("Note", {"text": str(number) * 400}))
        if number % 20 == 10:
            b.up.block(a.name, (BOTH, IN, OUT)[number // 20])
            await mesh.sleep(mesh.random.random() * 8)
            b.up.unblock(a.name)
    await mesh.eventually(
        lambda: all(b.read(note) == {"text": str(number) * 400} for number, note in enumerate(notes)), within=90
    )


@simulate(nodes=2, seeds=3)
async def test_a_block_in_the_middle_of_a_handshake(mesh: World) -> None:
    a, b = mesh.nodes
    for pause in (0.0, 0.005, 0.012, 0.02):
        await b.crash()
        await mesh.sleep(mesh.random.random() * 5)
        await b.restart()
        await mesh.sleep(pause)
        a.up.block(b.name, BOTH)
        await mesh.sleep(30)
        assert [each["state"] == "direct" for each in a.up.peers()] == [False]
        a.up.unblock(b.name)
        await _eventually_answered(mesh, a, b.name)


@simulate(nodes=3)
async def test_what_cannot_be_blocked(mesh: World) -> None:
    a, b, c = mesh.nodes
    with pytest.raises(Refused, match="this server itself"):
        a.up.block(a.name)
    with pytest.raises(Refused, match=r"1\.77 is not known"):
        a.up.block("1.77")
    with pytest.raises(Refused, match=r"1\.77 is not known"):
        a.up.unblock("1.77")
    with pytest.raises(Refused, match="no direction"):
        a.up.block(b.name, "sideways")
    a.up.block(b.name, IN)
    a.up.block(b.name, OUT)
    a.up.block(c.name, OUT)
    assert a.up.unblock(b.name, IN) == {"server": b.name, "blocked": OUT}
    assert {each["server"] for each in a.up.unblock_all()} == {b.name, c.name}
    assert a.up.unblock_all() == []
    await a.crash()
    await a.restart()
    assert [each["blocked"] for each in a.up.peers()] == [None, None]


@simulate(nodes=3)
async def test_a_wrong_claim_of_an_address_cuts_off_its_claimant_alone(mesh: World) -> None:
    a, b, c = mesh.nodes
    await _eventually_answered(mesh, a, b.name)
    await _eventually_answered(mesh, a, c.name)
    a.up.parts.directory.learn_addresses(c.server, ((b.name, 7000), (c.name, 7000)))
    a.up.block(c.name)
    await mesh.sleep(20)
    assert (await a.up.ping(b.name, deadline=3.0))["server"] == b.name
    assert isinstance(a.up.parts.router.route(b.server, mesh.now), Direct)
    assert not isinstance(a.up.parts.router.route(c.server, mesh.now), Direct)  # by b, perhaps


def _note() -> Any:
    from store.registry import definition_from_toml

    return definition_from_toml('name = "Note"\n[fields]\ntext = { type = "string" }\n')
