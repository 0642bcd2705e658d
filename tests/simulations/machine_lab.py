"""What the tests of machines share: a small mesh that works, and a ledger of what an owner answered."""

from __future__ import annotations

from typing import Any

from identity.errors import BangpathError
from identity.names import Reference
from node.asking import Operation
from simulations.server import SimulatedServer
from simulations.world import World
from store.database import Settings
from store.registry import definition_from_toml

NOTE = definition_from_toml('name = "Note"\n[fields]\ntext = { type = "string" }\n')
TINY = Settings(generation_bytes=8 << 10, segment_bytes=80 << 10, step_bytes=72 << 10)  # folds after a few commits


async def begin(mesh: World) -> Reference:
    """Everybody knows the class; the second server has a note, which the third mirrors."""
    for server in mesh.servers:
        await server.define(NOTE)
    _, owner, mirror, *_ = mesh.servers
    note = await owner.create("Note", {"text": "first"})
    await mirror.mirror(owner)
    await mesh.eventually(lambda: mirror.read(note) is not None, within=30)
    return note


class Answered:
    """What an owner answered, and what it was asked meanwhile: a pair of notes changes as one, or not at all."""

    def __init__(self, mesh: World, owner: SimulatedServer) -> None:
        self._mesh = mesh
        self._owner = owner
        self.pairs: list[tuple[Reference, Reference]] = []
        self.answered: dict[int, str] = {}
        self.asked: dict[int, list[str]] = {}

    async def found(self, number: int = 4) -> None:
        for at in range(number):
            self.pairs.append((await self._owner.create("Note", text="0"), await self._owner.create("Note", text="0")))
            self.answered[at], self.asked[at] = "0", []

    async def write(self, texts: int = 10_000) -> None:
        """One pair after another, until the server falls or refuses."""
        for count in range(1, texts + 1):
            at = count % len(self.pairs)
            text = f"{self._mesh.now:.6f} " + self._mesh.random.randbytes(200).hex()
            self.asked[at].append(text)
            try:
                await self._owner.transact(
                    [Operation(op="update", object=each.object, fields={"text": text}) for each in self.pairs[at]]
                )
            except BangpathError:
                return
            self.answered[at], self.asked[at] = text, []

    def check(self) -> int:
        """P1, as far as this owner is concerned; how many pairs show what was not answered."""
        more = 0
        for at, (one, other) in enumerate(self.pairs):
            found, twin = self._owner.read(one), self._owner.read(other)
            assert found is not None
            assert twin is not None
            assert found.text == twin.text, f"half of a transaction at pair {at}"
            assert found.text == self.answered[at] or found.text in self.asked[at], f"pair {at} lost its answer"
            more += found.text != self.answered[at]
            self.answered[at], self.asked[at] = found.text, []
        return more


def listen(server: SimulatedServer, heard: list[tuple[str, str]]) -> None:
    """Hear what a node notes."""
    note = server.node._log

    def hear(event: dict[str, Any]) -> None:
        heard.append((server.name, event["event"]))
        note(event)

    server.node._log = hear
