"""Who and what: names of servers and objects, in text, in bytes and in order (DESIGN N2-N6).

    ServerId     1.7.3          1 to 16 components, each 1..2^63-1, as extensible integers one after another
    ObjectId     42             63 bits, per owner, ascending, never recycled
    Reference    1.7.3/42       server, incarnation, object; `/42` is an object of this server
    Pattern      1.7.*,-1.7.3   which servers: exact, below, all, all but; the last match wins

    in bytes        1.7.3                       00000001 00000007 00000003
    inside others   1.7.3 ended by component 0  00000001 00000007 00000003 00000000
    a reference     ended server, incarnation, object

Without the ending 0, `1.7` + object 3 would read as `1.7.3`; with it, a subtree is still one range of keys. Byte order
is the order of the components as numbers. All are values: immutable, hashable, right by construction; what strangers
sent comes in through `..._untrusted`, what people typed through `parse`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple, NewType

from identity.encoding import MAX_INTEGER, decode_integer_untrusted, encode_integer
from identity.errors import PeerMisbehaved, Refused

MAX_COMPONENTS = 16
END = b"\0\0\0\0"  # component 0: ends a server's name inside anything longer; alone, this server
# Ids that were read last stay read: every message names some, and reading one again takes an eighth of the time. In a
# mesh of more than these, or when a stranger invents names, they are read again, and no more. The longest take 2 MB.
MAX_KEPT = 1024

ObjectId = NewType("ObjectId", int)
Incarnation = NewType("Incarnation", int)  # milliseconds since 1970 or more: max(previous + 1, creation) (N5)


class ServerId(bytes):
    """One server's name, as its bytes; a subclass of bytes because it is a key in every table (FACTS: 0.03 us)."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> ServerId:
        """From dotted decimal as people type it. Raises `Refused`, naming what is wrong."""
        return cls.of(*(_parse_component(part, text) for part in text.split(".")))

    @classmethod
    def of(cls, *components: int) -> ServerId:
        """From its components. Raises `Refused` unless they are 1 to 16 numbers of 1..2^63-1."""
        if not 1 <= len(components) <= MAX_COMPONENTS:
            raise Refused(f"a server id has 1 to {MAX_COMPONENTS} components, not {len(components)}")
        for number in components:
            if not 1 <= number <= MAX_INTEGER:
                raise Refused(f"{number} is no component of a server id, which are 1 to 2^63-1")
        return cls(b"".join(encode_integer(number) for number in components))

    @classmethod
    def from_bytes_untrusted(cls, data: bytes | memoryview) -> ServerId:
        """From bytes that hold one id and nothing else. Raises `PeerMisbehaved`."""
        return _read_whole(bytes(data))

    @classmethod
    def read_ended_untrusted(cls, data: bytes | memoryview, offset: int = 0) -> tuple[ServerId, int]:
        """The id that is ended by component 0 at `offset`, and the offset after it. Raises `PeerMisbehaved`."""
        return _read_components(data, offset, ended=True)

    @property
    def components(self) -> tuple[int, ...]:
        return _components_of(self)

    @property
    def ended(self) -> bytes:
        """The bytes with component 0 after them: the form inside anything longer, and a prefix of no other id's."""
        return bytes(self) + END

    @property
    def parent(self) -> ServerId | None:
        """The server that delegated this id; None for a root."""
        components = self.components
        return ServerId.of(*components[:-1]) if len(components) > 1 else None

    def ancestors(self) -> Iterator[ServerId]:
        """Parent, its parent, up to the root."""
        above = self.parent
        while above is not None:
            yield above
            above = above.parent

    def is_below(self, other: ServerId) -> bool:
        """Whether `other` stands above this id in the name tree (never of itself)."""
        return len(self) > len(other) and self.startswith(other)

    def child(self, component: int) -> ServerId:
        return ServerId.of(*self.components, component)

    def __str__(self) -> str:
        return _text_of(self)

    def __repr__(self) -> str:
        return f"ServerId({str(self)!r})"


class Reference(NamedTuple):
    """An object anywhere: who owns it, in which incarnation of that owner, and its number there (N4, N5).

    Text leaves the incarnation out (`1.7.3/42`): a person means the one that is current where they ask.
    """

    server: ServerId
    incarnation: Incarnation
    object: ObjectId

    def __str__(self) -> str:
        return f"{self.server}/{self.object}"

    def to_bytes(self) -> bytes:
        return self.server.ended + encode_integer(self.incarnation) + encode_integer(self.object)

    @classmethod
    def from_bytes_untrusted(cls, data: bytes | memoryview) -> Reference:
        """From bytes that hold one reference and nothing else. Raises `PeerMisbehaved`."""
        server, offset = ServerId.read_ended_untrusted(data)
        incarnation, offset = decode_integer_untrusted(data, offset)
        number, offset = decode_integer_untrusted(data, offset)
        if offset != len(data):
            raise PeerMisbehaved(f"{len(data) - offset} bytes after reference {server}/{number}")
        return cls(server, Incarnation(incarnation), ObjectId(number))


def parse_reference(text: str) -> tuple[ServerId | None, ObjectId]:
    """`1.7.3/42` or `/42` (None: this server). The incarnation is looked up by who is asked. Raises `Refused`."""
    server, slash, number = text.partition("/")
    if not slash or not _is_number(number) or int(number) > MAX_INTEGER:
        raise Refused(
            f"{text!r} is no reference", next_step="write SERVER/OBJECT as in 1.7.3/42, or /42 for this server"
        )
    return (ServerId.parse(server) if server else None), ObjectId(int(number))


class Position(NamedTuple):
    """How far an owner's feed is known: the last update of it (N6)."""

    server: ServerId
    incarnation: Incarnation
    epoch: int
    number: int

    def __str__(self) -> str:
        return f"{self.server}@{self.epoch}:{self.number}"


class Pattern:
    """Which servers (N3): `1.7` that one, `1.7.*` all below it, `*` all, `-1.7.3` not; the last match wins.

    A pattern that begins with an exclusion matches nothing before it: write `*,-1.7.3` for all but one.
    """

    __slots__ = ("_rules", "text")
    MAX_RULES = 256  # a peer's subscription; more is a list of servers, which is what the directory is for
    MAX_TEXT = 16_384  # of characters: what a peer's subscription may be too, so that ours is never refused

    def __init__(self, text: str) -> None:
        if len(text) > self.MAX_TEXT:
            raise Refused(f"a pattern of {len(text)} characters, {self.MAX_TEXT} allowed")
        rules = []
        for part in text.split(","):
            rule = part.strip()
            wanted = not rule.startswith("-")
            rule = rule.removeprefix("-")
            if rule == "*":
                rules.append((wanted, True, b""))
            elif rule.endswith(".*"):
                rules.append((wanted, True, bytes(ServerId.parse(rule[:-2]))))
            elif rule:
                rules.append((wanted, False, bytes(ServerId.parse(rule))))
            else:
                raise Refused(f"{text!r} is no pattern", next_step="write ids as in 1.7, 1.7.*, *, -1.7.3, with commas")
        if len(rules) > self.MAX_RULES:
            raise Refused(f"a pattern of {len(rules)} rules, {self.MAX_RULES} allowed")
        self._rules = tuple(rules)
        self.text = ",".join(
            ("" if wanted else "-") + _rule_text(below=below, server=server) for wanted, below, server in rules
        )

    @classmethod
    def from_text_untrusted(cls, text: object) -> Pattern:
        """From what a peer sent; only the canonical text is accepted. Raises `PeerMisbehaved`."""
        if not isinstance(text, str):
            raise PeerMisbehaved("a pattern that is not text")
        try:
            pattern = cls(text)
        except Refused as error:
            raise PeerMisbehaved(error.cause) from error
        if pattern.text != text:
            raise PeerMisbehaved(f"a pattern that is not canonical: {text[:100]!r}")
        return pattern

    def matches(self, server: ServerId) -> bool:
        for wanted, below, base in reversed(self._rules):
            if below:
                if not base or (len(server) > len(base) and server.startswith(base)):
                    return wanted
            elif server == base:
                return wanted
        return False

    def named(self) -> list[ServerId]:
        """The servers that it asks for by their exact name, in the order of their names; none for a wildcard."""
        exact = {ServerId(base) for wanted, below, base in self._rules if wanted and not below}
        return sorted(server for server in exact if self.matches(server))

    def __contains__(self, server: ServerId) -> bool:
        return self.matches(server)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and self._rules == other._rules

    def __hash__(self) -> int:
        return hash(self.text)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"


def _rule_text(*, below: bool, server: bytes) -> str:
    name = str(ServerId(server)) if server else ""
    if not below:
        return name
    return f"{name}.*" if name else "*"


def _is_number(text: str) -> bool:
    """Decimal digits without sign, space, underscore or leading zero: the one way to write a number in a name."""
    return text.isascii() and text.isdigit() and (text == "0" or text[0] != "0") and len(text) <= 19


def _parse_component(part: str, whole: str) -> int:
    if not _is_number(part):
        raise Refused(f"{whole!r} is no server id", next_step="write numbers from 1 with dots between, as in 1.7.3")
    return int(part)


@lru_cache(maxsize=MAX_KEPT)
def _components_of(server: bytes) -> tuple[int, ...]:
    numbers = []
    offset = 0
    while offset < len(server):
        number, offset = decode_integer_untrusted(server, offset)
        numbers.append(number)
    return tuple(numbers)


@lru_cache(maxsize=MAX_KEPT)
def _text_of(server: bytes) -> str:
    return ".".join(map(str, _components_of(server)))


@lru_cache(maxsize=MAX_KEPT)
def _read_whole(data: bytes) -> ServerId:
    return _read_components(data, 0, ended=False)[0]


def _read_components(data: bytes | memoryview, offset: int, *, ended: bool) -> tuple[ServerId, int]:
    start = offset
    for count in range(MAX_COMPONENTS + 1):
        if not ended and offset == len(data) and count:
            return ServerId(data[start:offset]), offset
        number, after = decode_integer_untrusted(data, offset)
        if number == 0:
            if ended and count:
                return ServerId(bytes(data[start:offset])), after
            raise PeerMisbehaved("a server id without components" if not count else "component 0 in a server id")
        offset = after
    raise PeerMisbehaved(f"a server id of more than {MAX_COMPONENTS} components")
