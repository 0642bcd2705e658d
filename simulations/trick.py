"""What every trick of a hostile server has in common: it sees what the server says and hears, and acts by itself.

    node --message--> say(peer, message) --> what leaves instead: nothing, another one, several
    peer --message--> hear(peer, message) --> whether the node is told of it
    node --HELLO----> greet(hello) ---------> as whom it greets on a connection that is new
                      act(now)                every `every_s` virtual seconds while the server runs

A trick keeps what it needs in itself, takes its randomness from its accomplice, and counts each thing that it does
(`accomplice.count`), so that a test can see that the attack took place. It is written against the messages that
servers exchange: it can do what anybody with a certified key can, and no more; it has no key of anybody else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from typing import Any, ClassVar, Protocol

from identity.encoding import decode_value_untrusted, encode_value
from identity.errors import BangpathError
from identity.names import ServerId
from node.greeting import Hello
from transport.wire import Message


class Accomplice(Protocol):
    """The hostile server, as its tricks see it (`simulations.hostile.Hostility`)."""

    random: Random

    @property
    def parts(self) -> Any:
        """`node.parts.Parts` of the node that runs."""

    @property
    def server(self) -> ServerId:
        """Who it is."""

    @property
    def now(self) -> float:
        """Virtual seconds."""

    def sign(self, data: bytes) -> bytes:
        """Its own signature: the only one it can make."""

    def peers(self) -> list[ServerId]:
        """With whom it has a session."""

    def tell(self, peer: ServerId, message: Message) -> bool:
        """Say this, past the node and the other tricks. False: there is no session, or no room."""

    def say(self, peer: ServerId, word: Message) -> None:
        """Say this as a word, past the node and the other tricks: no session is needed."""

    def throw(self, source: str, target: ServerId, datagram: bytes) -> None:
        """A datagram to a server's port, as if it came from host `source`."""

    def call_again(self, peer: ServerId) -> None:
        """End the session with this server, and begin another, with a HELLO each way."""

    def count(self, what: str, number: int = 1) -> None:
        """It was done once more."""


class Trick:
    """One way of being hostile."""

    name: ClassVar[str]  # as scenarios write it
    says: ClassVar[str]  # what it does, for people
    every_s: ClassVar[float] = math.inf

    def __init__(self, accomplice: Accomplice) -> None:
        self._with = accomplice

    def say(self, peer: ServerId, message: Message) -> Sequence[Message]:
        """What leaves in place of this message."""
        return (message,)

    def hear(self, peer: ServerId, message: Message) -> bool:
        """Whether the node hears this message."""
        return True

    def greet(self, hello: Hello) -> Hello:
        """The HELLO that leaves in place of this one."""
        return hello

    def act(self, now: float) -> None:
        """What it does of its own accord."""

    def end(self) -> None:
        """Give back what it altered itself."""


def altered_body(body: bytes) -> bytes:
    """The fields of an object, in wire form, with other contents that read just as well."""
    try:
        fields = decode_value_untrusted(body)
    except BangpathError:
        return body[:-1] + bytes([body[-1] ^ 1])
    return encode_value(_altered(fields))


def _altered(value: Any) -> Any:
    if isinstance(value, list):
        return [_altered(each) for each in value]
    if isinstance(value, str):
        return f"a lie about {value}"[:200]
    return value + 1 if type(value) is int and 0 < value < 2**31 else value
