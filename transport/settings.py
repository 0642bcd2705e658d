"""The figures of the transport that somebody may want to set, each with the reason for its value."""

from __future__ import annotations

import msgspec

from identity.errors import LocalMistake
from transport.mtu import BASE_PACKET_BYTES, MAX_PACKET_BYTES
from transport.wire import MAX_MESSAGE_BYTES

RESERVED_BYTES = 1 << 20  # of a peer's window: for control and requests, so that no bulk message can block them
LEAST_WINDOW_BYTES = MAX_MESSAGE_BYTES + RESERVED_BYTES  # less, and the longest message could never be sent
LEAST_WINDOW_MESSAGES = 512


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes, times in seconds."""

    packet_bytes: int = 1400
    loopback_packet_bytes: int = 16_384

    handshake_first_s: float = 0.25  # until the first packet is sent again; then half as long again each time, up to:
    handshake_most_s: float = 1.0
    handshake_timeout_s: float = 15.0  # at 40 % loss, each way, all tries fail once in a thousand
    silence_s: float = 10.0  # a peer that answered no probe for so long is gone
    keep_alive_s: float = 2.0  # so long without a word, and a PING asks: an idle link that dies is noticed this late

    window_bytes: int = 20 << 20  # what a peer may have sent without our having taken it: one longest message and more
    window_messages: int = 8192
    queue_bytes: int = 64 << 20  # accepted for one connection and not yet acknowledged; more is refused
    unfinished_s: float = 300.0  # so long without a byte, and a message begun is a peer's mistake

    max_connections: int = 4096
    max_half_open: int = 1024  # handshakes of strangers, about 2 KiB each
    max_half_open_per_host: int = 32
    loaded_half_open: int = 128  # from here on strangers must show a cookie
    loaded_per_s: int = 500  # or from so many first packets in one second: 5 % of a core

    def __post_init__(self) -> None:
        if self.window_bytes < LEAST_WINDOW_BYTES:
            raise LocalMistake(f"a window of {self.window_bytes} bytes cannot take the longest message")
        if self.window_messages < LEAST_WINDOW_MESSAGES:
            raise LocalMistake(f"a window of {self.window_messages} messages is less than {LEAST_WINDOW_MESSAGES}")
        for size in (self.packet_bytes, self.loopback_packet_bytes):
            if not BASE_PACKET_BYTES <= size <= MAX_PACKET_BYTES:
                raise LocalMistake(f"packets of {size} bytes: {BASE_PACKET_BYTES} to {MAX_PACKET_BYTES} are possible")
