"""The states of a connection, and which step is legal: the table is the truth.

    UNHEARD --heard--> OPEN --end--> CLOSING --sent--> OVER
       |                |               |
       |                +-----told------|-----------> OVER
       +------- end --------------------+

UNHEARD: we called, the handshake is done, and no packet of the session has come; `Connected` is told when one does,
because only then has the peer shown that it knows the secret. Who is called begins OPEN.
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    UNHEARD = "unheard"
    OPEN = "open"
    CLOSING = "closing"
    OVER = "over"


class Happening(Enum):
    HEARD = "heard"  # a packet of the session opened
    END = "end"  # we end it
    TOLD = "told"  # the peer has ended it
    SENT = "sent"  # our CLOSE has left


NEXT = {
    (State.UNHEARD, Happening.HEARD): State.OPEN,
    (State.OPEN, Happening.HEARD): State.OPEN,
    (State.UNHEARD, Happening.END): State.CLOSING,
    (State.OPEN, Happening.END): State.CLOSING,
    (State.UNHEARD, Happening.TOLD): State.OVER,
    (State.OPEN, Happening.TOLD): State.OVER,
    (State.CLOSING, Happening.SENT): State.OVER,
}
