"""What a newcomer says, and the task that admits it: a JOIN with a ticket, answered once (node.joining).

    connection of a ticket --JOIN--> Inviting.admit --> JOINED, or why not        anything else: turned away

Left to others: tickets and certificates (`node.inviting`), the connection's time limit (`node.greeting`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from identity.errors import BangpathError
from node.joining import Join, NotJoined

if TYPE_CHECKING:
    import trio

    from node.greeting import Greeting
    from node.inviting import Inviting
    from node.sessions import Note
    from transport.wire import Message


class Admitting:
    """Newcomers on their connections. `touch()` wakes the pump."""

    def __init__(self, greeting: Greeting, inviting: Inviting, *, note: Note, touch: Callable[[], None]) -> None:
        self._greeting = greeting
        self._inviting = inviting
        self._note = note
        self._touch = touch
        self._nursery: trio.Nursery | None = None

    def start(self, nursery: trio.Nursery) -> None:
        """Tasks run here from now on."""
        self._nursery = nursery

    def handle_message(self, connection: int, message: Message) -> None:
        """A message on a connection that was begun with a ticket."""
        if not isinstance(message, Join):
            self._greeting.turn_away(connection, f"a {type(message).__name__} where a JOIN was waited for")
        elif self._nursery is not None:
            self._nursery.start_soon(self._admit, connection, message)

    async def _admit(self, connection: int, join: Join) -> None:
        session = self._greeting.session(connection)
        if session is None:
            return
        answer: Message
        try:
            answer = await self._inviting.admit(session.psk_id, join, exchange_key=session.peer_key)
            self._note("joined", peer=str(join.server))
        except BangpathError as error:
            self._note("not joined", peer=str(join.server), cause=error.cause)
            answer = NotJoined.of(error)
        self._greeting.say(connection, answer)
        self._touch()
