"""What is kept of a request is its answer, to the operation; leaves tell the same of each object."""

from __future__ import annotations

import pytest

from identity.encoding import encode_value
from identity.errors import Damaged
from store.answered import Kept, rebuilt
from store.records import DELETE, PUT, Leaf


def leaf(object: int, sequence: int, request: bytes = b"", *, deleted: bool = False) -> Leaf:
    return Leaf(object, sequence, bytes(8), DELETE if deleted else PUT, request, bytes(16), b"" if deleted else b"body")


def test_what_is_kept_is_read_again() -> None:
    kept = Kept(3, 17, ((64, 9, "created"), (65, 4, "unchanged")))
    assert kept.to_bytes().hex() == encode_value([1, False, 3, 17, [[64, 9, "created"], [65, 4, "unchanged"]]]).hex()
    assert Kept.from_bytes(kept.to_bytes()) == kept
    assert Kept.from_bytes(kept._replace(rebuilt=True).to_bytes()).rebuilt


def test_a_record_of_another_version_is_no_answer() -> None:
    for said in ([2, False, 1, 1, []], []):
        with pytest.raises(Damaged, match="version"):
            Kept.from_bytes(encode_value(said))


def test_leaves_tell_which_requests_were_carried_out_and_what_became_of_each_object() -> None:
    leaves = [
        leaf(64, 9, b"r"), leaf(65, 9, b"r"), leaf(66, 9, deleted=True),  # the last was taken along
        leaf(70, 10), leaf(65, 11, b"q"), leaf(64, 11, b"q", deleted=True),
    ]  # fmt: skip
    found = dict(rebuilt(leaves, epoch=3, number=17, stands={64, 66}.__contains__))
    assert found == {
        b"r": Kept(3, 17, ((64, 9, "updated"), (65, 9, "created"), (66, 9, "deleted")), rebuilt=True),
        b"q": Kept(3, 17, ((65, 11, "updated"), (64, 11, "deleted")), rebuilt=True),
    }
