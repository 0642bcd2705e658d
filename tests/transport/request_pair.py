"""Two machines of requests and the messages between them, for the tests of `transport.outstanding` and its halves."""

from __future__ import annotations

from typing import Any

from identity.names import ServerId
from transport.outstanding import Outstanding
from transport.requests import (
    MESSAGES,
    Asked,
)
from transport.wire import Message, SendTo, decode_untrusted, encode, table_of

ONE, TWO, THREE = ServerId.of(1), ServerId.of(1, 7), ServerId.of(1, 7, 3)
TABLE = table_of(MESSAGES)
SHORT = 0.01


class Pair:
    """Two machines and the messages between them. Connected by `connect`; what is under way is lost by `cut`."""

    def __init__(self, epoch: int = 5) -> None:
        self.now = 100.0
        self.one = Outstanding(ONE, 1000, epoch)
        self.two = Outstanding(TWO, 2000, 9)
        self.wire: list[tuple[ServerId, SendTo]] = []  # by whom
        self.told: dict[ServerId, list[Any]] = {ONE: [], TWO: []}

    def machine(self, server: ServerId) -> Outstanding:
        return self.one if server == ONE else self.two

    def connect(self) -> None:
        self.wire.clear()
        self.one.handle_connected(TWO, self.now)
        self.two.handle_connected(ONE, self.now)

    def cut(self) -> None:
        self.collect()
        self.wire.clear()
        self.one.handle_disconnected(TWO, self.now)
        self.two.handle_disconnected(ONE, self.now)

    def collect(self) -> None:
        for server in (ONE, TWO):
            for output in self.machine(server).take_outputs():
                if isinstance(output, SendTo):
                    assert output.peer in (ONE, TWO)
                    self.wire.append((server, output))
                else:
                    self.told[server].append(output)

    def deliver(self, at: int = 0) -> Message:
        """One message that is under way arrives, as bytes."""
        sender, sent = self.wire.pop(at)
        message = decode_untrusted(encode(sent.message), TABLE)
        assert message == sent.message
        self.machine(sent.peer).handle_message(sender, message, self.now)
        self.collect()
        return message

    def settle(self, seconds: float = 0.0) -> list[type[Message]]:
        """All messages arrive, and what they cause, and deadlines of so many seconds pass. Returns what was said."""
        said = []
        end = self.now + seconds
        self.collect()
        while True:
            while self.wire:
                said.append(type(self.deliver()))
            due = min(self.one.deadline(), self.two.deadline())
            if due > end:
                break
            self.now = max(self.now, due)
            self.one.handle_deadline(self.now)
            self.two.handle_deadline(self.now)
            self.collect()
        self.now = end
        return said

    def take(self, server: ServerId, kind: type | None = None) -> list[Any]:
        self.collect()
        taken = [each for each in self.told[server] if kind is None or type(each) is kind]
        self.told[server] = [each for each in self.told[server] if each not in taken]
        return taken

    def asked(self) -> Asked:
        (asked,) = self.take(TWO, Asked)
        assert isinstance(asked, Asked)
        return asked
