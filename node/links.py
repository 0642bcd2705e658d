"""Cutting a link of this server and mending it, as words of `node.node.Node` (`peers block`, `peers unblock`).

    block 1.2 in       its packets are dropped at our port       {server: 1.2, blocked: in}
    block 1.2 out      ours to it as well                        {server: 1.2, blocked: both}
    unblock 1.2        all pass again                            {server: 1.2, blocked: null}

Only this server's end of the link is cut; the other direction of a cut made here in one direction stays open. A server
that is not known here cannot be blocked, for nobody would know its packets. What is blocked is forgotten by a restart.

Left to others: the packets (`node.blocking`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from identity.errors import Refused
from identity.names import ServerId
from node.blocking import check_direction
from node.running import Running

if TYPE_CHECKING:
    pass


class Links(Running):
    """The words about links. `parts` raises `Exhausted` when nothing runs."""

    def block(self, server: ServerId | str, direction: str = "both") -> dict[str, Any]:
        """Drop what `server` sends to us (`in`), what we send to it (`out`), or both, from now on."""
        parts = self.parts
        peer = self._known(server)
        blocked = parts.blocking.block(peer, check_direction(direction))
        self.note("blocked", peer=str(peer), direction=direction, blocked=blocked)
        return {"server": str(peer), "blocked": blocked}

    def unblock(self, server: ServerId | str, direction: str = "both") -> dict[str, Any]:
        """Let it pass again; what was not blocked stays as it is."""
        parts = self.parts
        peer = ServerId.parse(server) if isinstance(server, str) else server
        if parts.blocking.blocked(peer) is None:
            self._known(peer)  # a misspelt id is told
            return {"server": str(peer), "blocked": None}
        left = parts.blocking.unblock(peer, check_direction(direction))
        self.note("unblocked", peer=str(peer), direction=direction, blocked=left)
        return {"server": str(peer), "blocked": left}

    def unblock_all(self) -> list[dict[str, Any]]:
        """Every link of this server is open again; those that were not."""
        return [self.unblock(each) for each in self.parts.blocking.all_blocked()]

    def _known(self, server: ServerId | str) -> ServerId:
        peer = ServerId.parse(server) if isinstance(server, str) else server
        if peer == self.server:
            raise Refused(f"{peer} is this server itself", next_step="name the server at the link's other end")
        if not self.parts.is_known(peer):
            raise Refused(
                f"{peer} is not known to {self.server}",
                next_step=f"see which are: bangpath @{self.server} servers",
                server=str(peer),
            )
        return peer
