"""One server of a simulated world: a machine, and the words that people and programs say to its node.

    machine.py     what survives a crash, start and stop, and all that can befall it
    server.py      who it is, and what is said to it

The words are the node's own (`node.node`), with classes by name. What is said to a paused server waits at its door.
Left to others: links and partitions (`network.py`), how a world founds its servers (`founding.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from identity.errors import Refused
from identity.keys import Keys
from identity.names import Reference, ServerId
from identity.tickets import Ticket
from node.newcomer import ask_to_join
from simulations.machine import Machine

if TYPE_CHECKING:
    from node.client import Client
    from simulations.world import World


class Direction(NamedTuple):
    """`a >> b`: what a sends towards b."""

    source: SimulatedServer
    target: SimulatedServer


class Fields(dict[str, Any]):
    """The fields of an object, by name or as attributes: `c.read(note).text`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no field {name}") from None


class SimulatedServer(Machine):
    """One server of a world: what of it survives a crash, and the node that runs while it is up."""

    def __init__(self, world: World, server: ServerId, keys: Keys, chain: tuple[bytes, ...]) -> None:
        super().__init__(world, str(server))
        self.server = server
        self.keys = keys
        self.chain = chain  # of certificates, root first; none until it has joined
        self.late = not chain
        self.told: dict[ServerId, tuple[tuple[str, int], ...]] = {}  # addresses that it was given when it joined
        self._asked = 0
        self.hostility: Any = None  # simulations.hostile.Hostility, while it is hostile
        self.was_hostile = False
        self.attacks: dict[str, int] = {}  # of all its hostile times: what it did, and how often

    def __rshift__(self, other: SimulatedServer) -> Direction:
        return Direction(self, other)

    async def gone(self) -> None:
        """Until nothing of its present life runs any more."""
        await self._gone.wait()

    def __repr__(self) -> str:
        return f"<server {self.name}>"

    def make_node(self) -> Any:
        return self.world.new_node(self)

    def begin(self, node: Any) -> None:
        if self.hostility is not None:
            self.hostility.begin(node)

    @property
    def joined(self) -> bool:
        """Whether it has a certificate: always, but for one that is `late` and has not joined yet."""
        return bool(self.chain)

    async def join(self, inviter: SimulatedServer) -> None:
        """Become a server of the mesh by a ticket of one above it, and start with the address of that one alone.

        Raises `Refused` where it has joined already, what inviting raises, and `Unreachable` where nobody answers.
        """
        if self.joined:
            raise Refused(f"{self.name} has joined already", next_step=f"restart {self.name}, if it is down")
        ticket = Ticket.parse((await (await inviter._door()).invite(self.name))["ticket"])
        self._asked += 1
        answer = await ask_to_join(
            ticket, self.keys, network=self.network(), host=self.name,
            random=self.world.generator(f"join/{self.name}/{self._asked}"), now_ms=self.world.wall_ms(self),
        )  # fmt: skip
        self.chain = answer.chain
        self.told = {inviter.server: tuple(dict.fromkeys((*answer.addresses, *ticket.addresses)))}
        await self.start()

    def check_start(self) -> None:
        if not self.joined:
            raise Refused(f"{self.name} has not joined yet", next_step=f"write before it: {self.name} joins")

    # -- words: the node's own (node.node), with classes by name

    def connect(self) -> Client:
        """What `bangpath.connect` gives of a running server: for an application that speaks to it as a client."""
        from simulations.client import SimulatedClient

        return SimulatedClient(self)

    @property
    def up(self) -> Any:
        if self.node is None:
            self.check_start()
            raise Refused(f"{self.name} is down", next_step="restart it first")
        return self.world.history.recording(self.name, self.node)

    async def _door(self) -> Any:
        """The node, when it listens."""
        await self.awake()
        return self.up

    async def define(self, what: Any) -> None:
        """Adopt a class: a definition, or a Python class made by `bangpath.stored`."""
        from store.definitions import ClassDefinition, definition_from_dict

        if not isinstance(what, ClassDefinition):
            if not hasattr(what, "definition"):
                raise Refused(
                    f"{what!r} is no class of stored objects", next_step="name one, or write @bangpath.stored before it"
                )
            what = definition_from_dict(what.definition)
        await (await self._door()).define(what)

    async def create(self, what: Any, fields: Mapping[str, Any] | None = None, /, **more: Any) -> Reference:
        """A new object of this server; its reference, when durable: `await a.create(Note, text="hi")`.

        `what`: a class by name, or one made by `bangpath.stored`, which is adopted at its first use. After `fields`
        as a map, here and in `update`, what follows are the node's own options: `update(note, {...}, expect=3)`.
        """
        if not isinstance(what, str):
            await self.define(what)
            what = what.__name__
        node = await self._door()
        changed = await (node.create(what, more) if fields is None else node.create(what, fields, **more))
        reference: Reference = changed.reference
        return reference

    async def update(self, reference: Reference, fields: Mapping[str, Any] | None = None, /, **more: Any) -> Any:
        """Change some fields, here or by a request to the owner."""
        node = await self._door()
        return await (node.update(reference, more) if fields is None else node.update(reference, fields, **more))

    async def delete(self, reference: Reference, **options: Any) -> Any:
        return await (await self._door()).delete(reference, **options)

    async def transact(self, operations: Sequence[Any], *, owner: str | None = None, **options: Any) -> Any:
        """All of these operations (`node.asking.Operation`) at one owner, this server or another, or none of them."""
        node = await self._door()
        return await node.transact(operations, server=ServerId.parse(owner) if owner else None, **options)

    async def get(self, reference: Reference, **options: Any) -> Any:
        return await (await self._door()).get(reference, **options)

    async def query(self, text: str, **options: Any) -> Any:
        return await (await self._door()).query(text, **options)

    async def mirror(self, what: SimulatedServer | Reference | str, kind: str = "mirrored") -> None:
        """Mirror another server, the server of an object, or all of a pattern."""
        if isinstance(what, SimulatedServer):
            what = what.name
        pattern = str(what.server) if isinstance(what, Reference) else what
        await (await self._door()).mirror(pattern, kind)
        self.world.mark("mirrors", self.name, text=pattern)

    async def unmirror(self, what: str) -> None:
        """Keep it no longer; what is held stays, and is shown as cached from then on."""
        await (await self._door()).unmirror(what)
        self.world.mark("stops mirroring", self.name, text=what)

    async def outbox(self) -> Any:
        """What waits here for others, and what became of it, as `bangpath outbox` lists it."""
        return (await self._door()).outbox()

    async def cancel_change(self, request: int, *, forget: bool = False) -> Any:
        """Take back a change that waits here; what it has become."""
        return await (await self._door()).cancel_change(request, forget=forget)

    def read(self, reference: Reference) -> Fields | None:
        """The fields this server itself holds of an object, owned or copied; None when it holds none or is down."""
        if self.node is None:
            return None
        with self.node.view() as view:
            found = view.get(reference)
        return None if found is None else Fields(found.fields)
