"""Sessions that the transport replaced by newer ones, until the newer one has greeted, or has failed too.

    greeted --replaced by a newer session--> waits --HELLO on the newer one----> the old one's end is no loss
                                               '-----the newer one ends, or OVERDUE_S--> it was one

Left to others: who is told (`node.sessions`).
"""

from __future__ import annotations

from identity.names import ServerId

OVERDUE_S = 3.0  # a HELLO is the first message of a session; who says none in so long is not there


class Succession:
    """What was replaced: of each server its last greeted connection, with the peer's key."""

    def __init__(self) -> None:
        self._replaced: dict[ServerId, tuple[int, bytes, float]] = {}

    def note(self, server: ServerId, connection: int, peer_key: bytes, now: float) -> None:
        """A newer session took this one's place."""
        self._replaced[server] = (connection, peer_key, now)

    def take(self, server: ServerId) -> int | None:
        """The connection that was replaced, once."""
        replaced = self._replaced.pop(server, None)
        return None if replaced is None else replaced[0]

    def of_key(self, peer_key: bytes) -> list[ServerId]:
        """The servers with this key whose newer session is waited for."""
        return [server for server, (_, key, _) in self._replaced.items() if key == peer_key]

    def overdue(self, now: float) -> list[ServerId]:
        """Those whose newer session has not greeted in time."""
        return [server for server, (_, _, at) in self._replaced.items() if now - at > OVERDUE_S]
