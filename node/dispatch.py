"""The one table: every message that servers exchange, and which machine takes it (DESIGN N9).

    1      HELLO                               greeting       who is on the connection
    2-4    JOIN, JOINED, REFUSED               joining        a newcomer with a ticket
    5      UNSUPPORTED                         session        the peer does not know a type that we sent
    6-7    FORWARD, LOST                       router         packets that go by gateways
    16-31  REQUEST, RECEIPT, ANSWER, ...       outstanding    their bodies are the messages of node.requests
    32-34  CARRY, SEEK, CAME                   none: they are words, which need no session (`node.detours`)
    48-79  FEED, VECTOR, UPDATE, ...           flood          replication

From `TAKEN_BY` every message's handler can be found. Two messages with one number do not get past the import of this
file. Left to others: the fields of each, which stand where it is declared.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from node.greeting import Hello
from node.joining import Join, Joined, NotJoined
from replication import messages as replication_messages
from routing import probes
from transport import requests as transport_requests
from transport.wire import Message, table_of

Taker = Literal["greeting", "joining", "session", "outstanding", "flood", "router"]


class Unsupported(Message, frozen=True):
    """UNSUPPORTED: I do not know messages of this type; a newer server speaks."""

    TYPE: ClassVar[int] = 5
    type: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


TAKEN_BY: dict[type[Message], Taker] = {
    Hello: "greeting",
    Join: "joining",
    Joined: "joining",
    NotJoined: "joining",
    Unsupported: "session",
    **dict.fromkeys(transport_requests.MESSAGES, "outstanding"),
    **dict.fromkeys(probes.MESSAGES, "router"),
    **dict.fromkeys(replication_messages.MESSAGES.values(), "flood"),
}

MESSAGES: dict[int, type[Message]] = table_of(TAKEN_BY)
