"""An import is whole, or it says which part stands; repeated by its key it doubles nothing."""

from typing import Any

import pytest

from identity.errors import Conflict, Refused
from node.importing import Import
from node.rows import BadRow, Row

ROWS = [Row(line, {"icao": f"A{line}", "n": line}) for line in range(2, 9)]


def answer(*done: str) -> dict[str, Any]:
    return {"results": [{"reference": "1/1", "sequence": 1, "done": each} for each in done], "position": "1@1:4"}


def test_rows_leave_in_chunks_and_are_counted() -> None:
    work = Import("Airport", key="icao", chunk_rows=3)
    assert work.check(ROWS) == 7
    chunks = list(work.chunks(ROWS))
    assert [len(chunk) for chunk in chunks] == [3, 3, 1]
    assert work.operations(chunks[0])[0] == {"op": "put", "class": "Airport", "key": "icao", "fields": ROWS[0].fields}
    work.committed(chunks[0], answer("created", "updated", "unchanged"))
    assert (work.created, work.updated, work.unchanged, work.done, work.last_line) == (1, 1, 1, 3, 4)
    assert work.report()["position"] == "1@1:4"


def test_without_a_key_each_row_is_created() -> None:
    work = Import("Airport")
    assert work.operations(ROWS[:1]) == [{"op": "create", "class": "Airport", "fields": ROWS[0].fields}]
    assert work.check([*ROWS, ROWS[0]]) == 8


def test_bad_rows_are_named_and_nothing_is_imported() -> None:
    work = Import("Airport", key="icao")
    rows = [*ROWS, BadRow(9, "n", "'x' is no int"), Row(10, {"icao": "A2"}), Row(11, {"n": 1})]
    assert work.check(rows) == 7
    with pytest.raises(Refused, match="3 bad rows; nothing was imported") as refusal:
        work.refuse_bad_rows()
    assert refusal.value.details["rows"] == [
        "line 9, field n: 'x' is no int",
        "line 10, field icao: 'A2' stands in line 2 already",
        "line 11, field icao: is missing, and it is the key of this import",
    ]
    assert refusal.value.exit_code == 1
    assert sum(map(len, work.chunks(rows))) == 7


def test_many_bad_rows_are_counted_not_listed() -> None:
    work = Import("Airport")
    work.check(BadRow(line, "", "is bad") for line in range(1000))
    with pytest.raises(Refused, match="1000 bad rows") as refusal:
        work.refuse_bad_rows()
    assert refusal.value.details["rows"][-1] == "and 900 more"


def test_a_refused_chunk_says_which_row_and_what_stands() -> None:
    work = Import("Airport", key="icao", chunk_rows=3)
    first, second, _ = work.chunks(ROWS)
    refused = work.refused(first, Conflict("A2 stands already", operation=1))
    assert refused.cause == "line 3: A2 stands already; nothing is imported"
    assert refused.exit_code == 1
    work.committed(first, answer("created", "created", "created"))
    refused = work.refused(second, Conflict("A5 stands already"))
    assert refused.cause == "one of lines 5 to 7: A5 stands already; 3 rows, up to line 4, are imported"
    assert refused.exit_code == 3
    assert "repeat the command" in refused.next_step
