"""The end of a range that a peer says it holds is taken for the first number that it does not hold, as in Python."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

from replication.feeds import Session
from replication.messages import FeedId

PROMISE = "P3"
SAYS = "the last number of a range that a peer advertises is not asked for"
BLIND = True
DRAWING = {"faults": ("crash", "partition")}


@contextlib.contextmanager
def plant() -> Iterator[None]:
    note_known = Session.note_known

    def noted(self: Session, feed: FeedId, first: int, last: int) -> bool:
        return note_known(self, feed, first, max(first, last - 1))

    with mock.patch.object(Session, "note_known", noted):
        yield
