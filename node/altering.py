"""Changes, as words of `node.node.Node`: of own objects in one transaction, of others' by their owner; and the outbox.

    create, update, delete, transact  -->  Changed      committed by the owner
                                           Queued       it waits in the outbox: the owner is not reached (DESIGN F6)
                                           raised       what the owner says: Conflict, Refused, NotFound ...
    outbox, outbox_entry, outbox_settled, cancel_change

`queue=False` raises `Unreachable` or `OutcomeUnknown` where the outbox would take the change; `expires` are seconds
after which a change that still waits is not carried out any more. A word that is said while nothing runs is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from identity.errors import Refused
from identity.names import Reference, ServerId
from node.asking import Changed, Operation
from node.outcomes import Queued, entry_json
from node.running import Running

if TYPE_CHECKING:
    from node.running import AnyReference

MAX_EXPIRES_S = 10 * 365 * 24 * 3600.0


class Altering(Running):
    """The changing words. `_word` counts them and makes their deadline absolute; it raises when nothing runs."""

    async def create(
        self, class_name: str, fields: Mapping[str, Any], *, server: ServerId | None = None, **how: Any
    ) -> Changed | Queued:
        """A new object of this server, or of another owner by request; `how` as for `transact`."""
        operation = Operation(op="create", class_name=class_name, fields=dict(fields))
        return _only(await self.transact([operation], server=server, **how))

    async def update(
        self, reference: AnyReference, fields: Mapping[str, Any], *, expect: int | None = None, **how: Any
    ) -> Changed | Queued:
        """Change the fields given. `expect`: the sequence on which that is based; raises `Conflict` for another."""
        server, number = self._target(reference)
        operation = Operation(op="update", object=number, fields=dict(fields), expect=expect)
        return _only(await self.transact([operation], server=server, incarnation=_incarnation(reference), **how))

    async def delete(self, reference: AnyReference, *, expect: int | None = None, **how: Any) -> Changed | Queued:
        """Delete the object."""
        server, number = self._target(reference)
        operation = Operation(op="delete", object=number, expect=expect)
        return _only(await self.transact([operation], server=server, incarnation=_incarnation(reference), **how))

    async def transact(
        self,
        operations: Sequence[Operation],
        *,
        server: ServerId | None = None,
        incarnation: int = 0,
        deadline: float | None = None,
        queue: bool = True,
        expires: float | None = None,
    ) -> list[Changed] | Queued:
        """All of these at one owner, or none. Raises what the first that cannot be done raises, naming its place.

        `incarnation`: of the owner, where references name it. Own changes never wait.
        """
        if not operations:
            raise Refused("a transaction without operations")
        if expires is not None and not 0 < expires <= MAX_EXPIRES_S:
            raise Refused("expires is a number of seconds above 0, at most ten years", field="expires")
        async with self._word(deadline) as (parts, until):
            if server is None or server == self.server:
                return await parts.owner.transact(operations)
            if not parts.standpoint.knows(server):
                raise Refused(
                    f"no server {server} is known here",
                    next_step=f"see which are: bangpath @{self.server} servers",
                    server=str(server),
                )
            return await parts.posting.change(
                server, operations, incarnation=incarnation, deadline=until, queue=queue, expires_s=expires
            )

    # -- the outbox

    def outbox(self) -> list[dict[str, Any]]:
        """All changes that wait, and the outcomes that are remembered, in the order in which they came."""
        outbox = self.parts.delivering.outbox
        return [entry_json(entry, ahead=outbox.ahead(entry)) for entry in outbox]

    def outbox_entry(self, request: int) -> dict[str, Any]:
        """One of them, with what it is going to do. Raises `Refused` when there is none."""
        delivering = self.parts.delivering
        entry = delivering.outbox.entry(request)
        operations = delivering.operations(entry)
        return {**entry_json(entry, ahead=delivering.outbox.ahead(entry)), "operations": operations}

    async def outbox_settled(self, request: int, *, deadline: float | None = None) -> dict[str, Any]:
        """The same, as soon as it has its outcome; at the deadline as it stands then."""
        async with self._word(deadline) as (parts, until):
            await parts.delivering.settled(request, until, patient=True)
            return self.outbox_entry(request)

    async def cancel_change(
        self, request: int, *, forget: bool = False, deadline: float | None = None
    ) -> dict[str, Any]:
        """Take a change back. One that was sent is withdrawn: its owner has still to say whether it carried it out.

        `forget`: do not wait for that word any longer; what was sent ends as unknown.
        """
        async with self._word(deadline) as (parts, until):
            await parts.delivering.cancel(request, forget=forget, deadline=until)
            return self.outbox_entry(request)


def _only(changed: list[Changed] | Queued) -> Changed | Queued:
    return changed if isinstance(changed, Queued) else changed[0]


def _incarnation(reference: AnyReference) -> int:
    return int(reference.incarnation) if isinstance(reference, Reference) else 0
