"""What the two ends of a connection tell each other in the handshake.

    parameters   window bytes u64 | window messages u64        what follows is a newer version's, and ignored

The window is what the other side may send before it hears a WINDOW frame.
"""

from __future__ import annotations

from struct import Struct

import msgspec

from identity.errors import PeerMisbehaved
from transport.settings import LEAST_WINDOW_BYTES, LEAST_WINDOW_MESSAGES

_PARAMETERS = Struct(">QQ")


class Parameters(msgspec.Struct, frozen=True, gc=False):
    window_bytes: int
    window_messages: int

    def to_bytes(self) -> bytes:
        return _PARAMETERS.pack(self.window_bytes, self.window_messages)

    @classmethod
    def from_bytes_untrusted(cls, data: bytes) -> Parameters:
        """Raises `PeerMisbehaved` for what is cut off, or a window in which the longest message could never be sent."""
        if len(data) < _PARAMETERS.size:
            raise PeerMisbehaved(f"parameters of {len(data)} bytes")
        parameters = cls(*_PARAMETERS.unpack_from(data))
        if parameters.window_bytes < LEAST_WINDOW_BYTES or parameters.window_messages < LEAST_WINDOW_MESSAGES:
            raise PeerMisbehaved(f"a window of {parameters.window_bytes} bytes is too small for our messages")
        return parameters
