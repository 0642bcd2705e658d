"""What is held of whom, exactly; two servers whose digests are equal hold the same, and need to say nothing more.

    held      (1.2, incarnation, data) -> updates first..last, hash of the last         only what is durable here
    digest    SHA-256 over all held feeds whose owner's ended name begins with a prefix, in the order of names
    descent   differ at ""  -> differ at 00000001 0000000  -> differ at 1.7.*  -> exact vectors of at most 64 feeds

The hash of the last update covers all before it (every head names the one before), so equal digests mean equal
histories, not only equal counts. A prefix is a number of bytes of the ended name (`ServerId.ended`): a subtree is one
range of keys, and each branch is told at the longest prefix its feeds share, so the descent takes one step for each
place where names part, not one for each byte.

History is a set of ranges (DESIGN F4). Until feeds have snapshots everybody holds them from 1 without a hole, so one
range per feed is kept here; the messages carry any number. What peers hold is in `replication.feeds`, for as long as
their session lasts and never on disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple

from sortedcontainers import SortedDict

from identity.names import Pattern, ServerId
from replication.messages import Branch, FeedId

EXACT_FEEDS = 64  # where at most so many feeds are left, vectors (70 bytes each) cost less than another round trip
DIGEST_DOMAIN = b"bangpath digest 1\0"
NOTHING = sha256(DIGEST_DOMAIN).digest()


class Held(NamedTuple):
    """Updates first..last of a feed, and the hash of the last."""

    first: int
    last: int
    last_hash: bytes


class Coverage:
    """What this server holds durably, own feeds and others', in the order of names."""

    def __init__(self) -> None:
        # By kind; key: ended name, incarnation. Sorted, because digests and prefixes need the order of names.
        self._held: tuple[SortedDict, SortedDict] = (SortedDict(), SortedDict())
        # Digests of the state as it is now: session starts of many peers ask for the same few.
        self._digests: dict[tuple[int, str, bytes], bytes] = {}

    def __len__(self) -> int:
        return len(self._held[0]) + len(self._held[1])

    def hold(self, feed: FeedId, held: Held) -> None:
        """From now on this much of the feed is durable here."""
        self._held[feed.kind][(feed.server.ended, feed.incarnation)] = (feed, held)
        if self._digests:
            self._digests.clear()

    def get(self, feed: FeedId) -> Held | None:
        found = self._held[feed.kind].get((feed.server.ended, feed.incarnation))
        return found[1] if found else None

    def select(self, kind: int, pattern: Pattern, prefix: bytes = b"") -> Iterator[tuple[FeedId, Held]]:
        """The held feeds of owners that match and whose ended name begins with `prefix`, in the order of names."""
        table = self._held[kind]
        matches: dict[ServerId, bool] = {}
        for key in table.irange(minimum=(prefix, 0)) if prefix else table:
            if not key[0].startswith(prefix):
                return
            feed, held = table[key]
            wanted = matches.get(feed.server)
            if wanted is None:
                wanted = matches[feed.server] = pattern.matches(feed.server)
            if wanted:
                yield feed, held

    def digest(self, kind: int, pattern: Pattern, prefix: bytes = b"") -> bytes:
        """32 bytes that are equal on two servers when they hold the same of these feeds."""
        key = (kind, pattern.text, prefix)
        known = self._digests.get(key)
        if known is None:
            total = sha256(DIGEST_DOMAIN)
            for feed, held in self.select(kind, pattern, prefix):
                total.update(_summary(feed, held))
            known = total.digest()
            if len(self._digests) >= 1024:  # a stranger's prefixes must not fill memory
                self._digests.clear()
            self._digests[key] = known
        return known

    def count(self, kind: int, pattern: Pattern, prefix: bytes = b"", *, most: int = EXACT_FEEDS + 1) -> int:
        """How many feeds that are, counted no further than `most`."""
        total = 0
        for _ in self.select(kind, pattern, prefix):
            total += 1
            if total >= most:
                break
        return total

    def branches(self, kind: int, pattern: Pattern, prefix: bytes = b"") -> tuple[Branch, ...]:
        """The digests below `prefix` where names part next, at most 256 (one for each next byte); none of one name."""
        members = list(self.select(kind, pattern, prefix))
        if not members:
            return ()
        # Sorted: the two ends differ first. What all share is stepped over, or the descent would stand still there.
        at = len(_shared(members[0][0].server.ended, members[-1][0].server.ended))
        groups: dict[int, list[tuple[FeedId, Held]]] = {}
        for feed, held in members:
            name = feed.server.ended
            if len(name) > at:
                groups.setdefault(name[at], []).append((feed, held))
        result = []
        for each in groups.values():
            total = sha256(DIGEST_DOMAIN)
            for feed, held in each:
                total.update(_summary(feed, held))
            result.append(Branch(_shared(each[0][0].server.ended, each[-1][0].server.ended), total.digest()))
        return tuple(result)


def _shared(first: bytes, second: bytes) -> bytes:
    """The longest prefix of both."""
    for at, (left, right) in enumerate(zip(first, second, strict=False)):
        if left != right:
            return first[:at]
    return min(first, second, key=len)


def _summary(feed: FeedId, held: Held) -> bytes:
    return (
        feed.server.ended
        + feed.incarnation.to_bytes(8, "big")
        + held.first.to_bytes(8, "big")
        + held.last.to_bytes(8, "big")
        + held.last_hash
    )
