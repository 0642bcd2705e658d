"""What servers ask each other survives the wire; what makes no sense on it is one kind of error."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.encoding import encode_value
from identity.errors import Conflict, NotFound, PeerMisbehaved, Refused
from identity.names import Incarnation, ObjectId, Position, Reference, ServerId
from node.asking import Operation
from node.requests import (
    ANSWERS,
    MAX_PATH,
    PART_BYTES,
    REQUESTS,
    At,
    ChangedAll,
    Done,
    Failed,
    Get,
    Modify,
    Object,
    Outcome,
    PartWriter,
    Ping,
    Pong,
    Query,
    Rows,
    Withdraw,
    act_of,
    at_of,
    object_leaf,
    operation_untrusted,
    plain_value,
    read_answer_untrusted,
    read_request_untrusted,
    read_rows_untrusted,
)
from transport.wire import Message, decode_untrusted, encode

SERVER = ServerId.parse("1.2")
AT = At(3, 17, 250)
LEAF = object_leaf(Reference(SERVER, Incarnation(1), ObjectId(42)), sequence=7, fingerprint=b"f" * 8, body=b"\x80")

SAID: list[Message] = [
    Get(SERVER, 42),
    Query(encode_value(["Note", None, [], None, None]), SERVER),
    Modify((act_of(Operation(op="create", class_name="Note", fields={"text": "x"})),)),
    Ping(),
    Withdraw(),
    Get(SERVER, 42, cached=True),
    Object(SERVER, 1, AT, LEAF),
    Object(SERVER, 1, At(0, 0, 60_000, (SERVER,), cached=True), LEAF),
    Rows(1, AT, 1, LEAF),
    Done(1, At(0, 0, None)),
    ChangedAll(1, AT, (Outcome(42, 7, "created"),)),
    Pong(5),
    Failed.of(NotFound("there is no object 1.2/42", reference="1.2/42")),
]


@pytest.mark.parametrize("said", SAID, ids=lambda said: type(said).__name__)
def test_every_message_survives_the_wire(said: Message) -> None:
    assert decode_untrusted(encode(said), {**REQUESTS, **ANSWERS}) == said


def test_every_type_is_told_here() -> None:
    """Those of `routing.probes` travel in the same tables and are told in its own tests."""
    ours = {each for each in (*REQUESTS.values(), *ANSWERS.values()) if each.__module__ == Get.__module__}
    assert {type(said) for said in SAID} == ours


@given(st.binary(max_size=200))
def test_strangers_bytes_raise_one_error(data: bytes) -> None:
    for read in (read_request_untrusted, read_answer_untrusted):
        with pytest.raises(PeerMisbehaved):
            read(data)


def test_an_error_is_raised_again_on_the_other_side() -> None:
    sent = Failed.of(Conflict("1.2/42 is at 9", next_step="read again", sequence=9, current={"text": "x"}))
    with pytest.raises(Conflict, match="is at 9") as caught:
        read_answer_untrusted(encode(sent), Object)
    assert caught.value.details == {"sequence": 9, "current": {"text": "x"}}
    assert caught.value.next_step == "read again"


def test_an_error_too_large_or_odd_still_names_its_cause() -> None:
    for details in ({"rows": ["x" * 1000] * 100}, {"odd": object()}):
        error = Failed.of(Refused("a cause", **details)).as_error()
        assert isinstance(error, Refused)
        assert error.cause == "a cause"
        assert error.details == {}


def test_another_answer_than_was_asked_for_is_a_breach() -> None:
    with pytest.raises(PeerMisbehaved, match="answered Pong where Object"):
        read_answer_untrusted(encode(Pong(1)), Object)
    with pytest.raises(PeerMisbehaved, match="names no cause"):
        read_answer_untrusted(encode(Failed(encode_value({}))), Object)


def test_operations_survive_the_wire_in_their_json_form() -> None:
    fields = {
        "when": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "day": date(2026, 1, 2),
        "price": Decimal("1.50"),
        "id": UUID(int=7),
        "data": b"\x00\x01",
        "points_to": Reference(SERVER, Incarnation(1), ObjectId(42)),
        "many": [1, 2.5, None, True],
        "map": {"a": b"x"},
        "large": 2**60,
    }
    operation = Operation(op="put", class_name="Note", key="id", fields=fields, expect=None)
    again = operation_untrusted(act_of(operation))
    assert (again.op, again.class_name, again.key) == ("put", "Note", "id")
    assert again.fields == {
        "when": "2026-01-02T03:04:05.000000Z",
        "day": "2026-01-02",
        "price": "1.50",
        "id": str(UUID(int=7)),
        "data": "AAE=",
        "points_to": "1.2/42",
        "many": [1, 2.5, None, True],
        "map": {"a": "eA=="},
        "large": 2**60,
    }
    with pytest.raises(Refused, match="type set"):
        plain_value({1, 2})


def test_an_operation_that_is_none_is_a_breach() -> None:
    act = act_of(Operation(op="delete", object=1))
    for wrong in (
        act.__class__("drop", "", 1, "", None, b""),
        act.__class__("update", "", 1, "", None, encode_value([1])),
        act.__class__("update", "", 1, "", None, b"\xff"),
    ):
        with pytest.raises(PeerMisbehaved):
            operation_untrusted(wrong)


def test_rows_leave_in_parts_of_a_good_size() -> None:
    writer = PartWriter(1, AT)
    leaf = object_leaf(
        Reference(SERVER, Incarnation(1), ObjectId(1)), sequence=1, fingerprint=b"f" * 8, body=bytes(1000)
    )
    parts = [part for _ in range(200) if (part := writer.add(leaf)) is not None]
    rest = writer.take()
    assert rest is not None
    assert all(PART_BYTES <= len(part.leaves) < PART_BYTES + 2000 for part in parts)
    assert sum(part.count for part in [*parts, rest]) == writer.rows == 200
    assert len(read_rows_untrusted(rest.leaves, rest.count)) == rest.count
    assert writer.take() is None
    with pytest.raises(PeerMisbehaved):
        read_rows_untrusted(rest.leaves, rest.count + 1)


def test_a_position_travels_with_its_age() -> None:
    position = Position(SERVER, Incarnation(1), 3, 17)
    assert at_of(position, 0.25) == AT
    assert AT.position(SERVER, 1) == position
    assert at_of(None, None) == At(0, 0, None)
    way = tuple(ServerId.of(1, number) for number in range(1, 50))
    assert at_of(position, 0.25, path=way).path == way[-MAX_PATH:]
    assert At(0, 0, None).position(SERVER, 1) is None


def test_what_an_older_server_leaves_out_is_nothing() -> None:
    """It knows no paths of mirrors and no cached copies."""
    get = encode_value([Get.TYPE, bytes(SERVER), 42])
    assert read_request_untrusted(get) == Get(SERVER, 42, cached=False)
    done = encode_value([Done.TYPE, 1, [3, 17, 250]])
    assert read_answer_untrusted(done, Done) == Done(1, At(3, 17, 250, (), cached=False))
    long = encode_value([Done.TYPE, 1, [3, 17, 250, [bytes(SERVER)] * (MAX_PATH + 1)]])
    with pytest.raises(PeerMisbehaved):
        read_answer_untrusted(long, Done)
