"""What no machine asks for by itself: once a second, a look at how everything goes.

    the transport's figures    --> router: heard, hears us, round-trip time
    the loop's own lateness    --> status: lag, this node's slowness and nobody else's (DESIGN X7)
    mirrors that are whole     --> written down, once each
    answers declared done      --> forgotten in the store, many together

Left to others: deadlines, which every machine names itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from node.recorded import FORGET_S, forget

if TYPE_CHECKING:
    from node.parts import Parts

LOOK_S = 1.0
SMOOTHING = 0.2  # of the lag that is shown


class Watch:
    """The look, and the lag it found."""

    def __init__(self, parts: Parts) -> None:
        self.lag_s = 0.0
        self._parts = parts
        self._heard_at: dict[int, float] = {}

    async def run(self) -> None:
        """Until cancelled."""
        forget_at = trio.current_time() + FORGET_S
        while True:
            due = trio.current_time() + LOOK_S
            await trio.sleep_until(due)
            now = trio.current_time()
            self.lag_s += SMOOTHING * (now - due - self.lag_s)
            self.look(now)
            if now >= forget_at:
                await forget(self._parts.recorded, self._parts.database.transact)
                forget_at = trio.current_time() + FORGET_S

    def look(self, now: float) -> None:
        """Tell the router what the transport knows of each connection."""
        router, sessions, endpoint = self._parts.router, self._parts.sessions, self._parts.endpoint
        for server in sessions.peers():
            connection = sessions.connection(server)
            statistics = None if connection is None else endpoint.statistics(connection)
            if connection is None or statistics is None:
                continue
            if statistics.heard_at is not None and statistics.heard_at > self._heard_at.get(connection, 0.0):
                self._heard_at[connection] = statistics.heard_at
                router.handle_heard(server, statistics.heard_at)
            if statistics.heard_us_at is not None:
                router.handle_heard_us(server, statistics.heard_us_at, now)
            if statistics.srtt_s is not None:
                router.handle_srtt(server, statistics.srtt_s)
        if len(self._heard_at) > 2 * len(sessions.peers()) + 64:
            live = {sessions.connection(server) for server in sessions.peers()}
            self._heard_at = {each: at for each, at in self._heard_at.items() if each in live}
        sessions.tend(now)
        self._parts.standpoint.note_whole()
        self._parts.touch()
