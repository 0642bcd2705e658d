"""What verbs may use of the ground a scenario is played on: the simulated world, or real processes.

    scenario text --> verbs --> Stage ---+--- world.World         virtual time, one seed, everything can break
                                         '--- real.RealStage      `bangpath run` processes: kill -9, SIGSTOP, cuts

A verb that speaks only to what stands here (`run.world`, `run.server(name)`) is played on both. One that needs more
of the simulator says so by `run.simulated("a disk that is full")`, which raises `Refused` on real processes with
just these words. Servers and directions are named by text. What breaks something and can be mended gives the function
that mends exactly what it broke.

The words are those of `SimulatedServer`: references are `identity.names.Reference`, answers have `rows` (each with
`fields`) and `completeness`, what was found has `fields`, `kind` and `path`. `read` is not awaited on either stage.
"""

from __future__ import annotations

import random as random_module
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from identity.names import Reference

Way = tuple[str, str]  # from, to: one direction between two servers
Undo = Callable[[], Awaitable[None]]


class StageServer(Protocol):
    """One server, as verbs see it."""

    @property
    def name(self) -> str:
        """Such as `1.2`."""

    @property
    def running(self) -> bool:
        """Whether it is up: started, and neither stopped nor crashed. A paused one runs."""

    @property
    def joined(self) -> bool:
        """Whether it belongs to the mesh by now; one that is late joins by a line of its own."""

    # -- what a person does to a machine

    async def crash(self) -> None:
        """The power fails, or `kill -9`: nothing is closed."""

    async def kill(self) -> None:
        """The process dies; the machine goes on."""

    async def stop(self) -> None: ...

    async def restart(self) -> None:
        """Start it again; returns when it serves."""

    async def pause(self) -> None:
        """Nothing of it runs (SIGSTOP), until `resume`; what is sent to it waits."""

    async def resume(self) -> None: ...

    # -- the node's words

    async def define(self, what: Any) -> None: ...
    async def create(self, what: Any, fields: Mapping[str, Any] | None = None, /, **more: Any) -> Reference: ...
    async def update(self, reference: Reference, fields: Mapping[str, Any] | None = None, /, **more: Any) -> Any: ...
    async def delete(self, reference: Reference, **options: Any) -> Any: ...
    async def transact(self, operations: Sequence[Any], *, owner: str | None = None, **options: Any) -> Any:
        """Several `node.asking.Operation`s of one owner, all or none: a list of `Changed`, or `Queued`."""

    async def get(self, reference: Reference, **options: Any) -> Any: ...
    async def query(self, text: str, **options: Any) -> Any: ...
    async def mirror(self, what: Any, kind: str = "mirrored") -> None: ...
    async def unmirror(self, what: str) -> None: ...
    async def outbox(self) -> Any:
        """What waits here for others, and what became of it, as `bangpath outbox` lists it."""

    async def cancel_change(self, request: int, *, forget: bool = False) -> Any:
        """Take back a change that waits here; what it has become."""

    def read(self, reference: Reference) -> Mapping[str, Any] | None:
        """The fields this server itself holds, owned or copied; None when it holds none or is down."""


class Stage(Protocol):
    """The mesh, as verbs see it."""

    seed: int
    random: random_module.Random  # of the faults and the workload

    @property
    def now(self) -> float:
        """Seconds since all servers stood: virtual ones, or real ones."""

    @property
    def servers(self) -> Sequence[StageServer]: ...

    def server(self, name: str) -> StageServer: ...

    def mark(self, kind: str, *servers: str, text: str = "", **details: Any) -> None:
        """Note what happened, for the timeline."""

    async def expect_named(self, run: Any, name: str, *, within: float) -> float:
        """That a promise, or `every promise`, comes to hold; after how many seconds. Raises `PromiseBroken`, and on
        real processes `Refused` for what can be seen only inside a node."""

    async def cut_ways(self, ways: Iterable[Way]) -> Undo:
        """Cut these directions. The undo mends those that were not cut before, and no others."""

    async def lay_ways(
        self, ways: Iterable[Way] | None, fields: Mapping[str, Any], *, kind: str = "link", text: str = ""
    ) -> Undo:
        """Change these fields (`links.Link`) of the links of these directions, or of all (None); the undo ends this
        and no other. On real servers without namespaces `Refused`."""

    async def wall_in(self, wall: Any, *, text: str = "") -> Undo:
        """Put a `nat.Wall` in front of its servers. On real servers without namespaces `Refused`."""

    async def rebind(self, name: str) -> None:
        """The NAT in front of this server forgets who spoke through it."""

    async def mend_ways(self, ways: Iterable[Way]) -> None:
        """Mend these directions, whoever cut them."""

    def heal(self) -> None:
        """Forget every cut. (Faults that last are undone by `run.heal()`, which comes first.)"""

    async def sleep(self, seconds: float) -> None: ...

    async def eventually(self, happens: Callable[[], Any], *, within: float, every: float = 0.05) -> None:
        """Until `happens()` is true, else an AssertionError."""


def parted(groups: Sequence[Iterable[str]]) -> list[Way]:
    """Every direction between servers of different groups, in one order everywhere."""
    sides = [sorted(group) for group in groups]
    return [
        (source, target)
        for here, side in enumerate(sides)
        for there, other in enumerate(sides)
        if here != there
        for source in side
        for target in other
    ]
