"""Rows into a node, in chunks of one transaction each: resumable by a key, never half in silence (DESIGN U2).

    file -> rows -> checked, all of them -> chunks of 1 000 -> POST /v1/transactions -> committed

Rules. Every row is checked before the first is sent; with a bad one nothing is imported, unless bad rows may be
skipped. A chunk is committed whole or not at all. With a key (a unique field) each row is a `put`: created when no
object has that value, updated when its fields differ, else unchanged; so a broken import is simply repeated. What was
committed before a failure is told with the failure.

`Import` is pure: it cuts chunks, counts answers and words the report; who sends is `node.cli.importing` and
`node.mesh`, each with its twin of the client.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from identity.errors import BangpathError, Refused
from node.rows import BadRow, Row

CHUNK_ROWS = 1000  # a commit's fixed cost is shared by then, and progress still moves every few hundredths of a second
MAX_NAMED = 100  # bad rows told by name; the rest are counted


class Import:
    """One import's chunks, counts and report."""

    def __init__(self, class_name: str, *, key: str | None = None, chunk_rows: int = CHUNK_ROWS) -> None:
        self.class_name = class_name
        self.key = key
        self._chunk_rows = chunk_rows
        self.created = 0
        self.updated = 0
        self.unchanged = 0
        self.last_line = 0  # the last line whose chunk was committed
        self.bad: list[BadRow] = []
        self.bad_count = 0
        self.position: str | None = None

    @property
    def done(self) -> int:
        """Rows whose chunk was committed."""
        return self.created + self.updated + self.unchanged

    def check(self, rows: Iterable[Row | BadRow]) -> int:
        """Look at every row and send none; how many are good. The bad ones stand in `bad`."""
        good = 0
        seen: dict[object, int] = {}
        for row in rows:
            if isinstance(row, BadRow):
                self._note(row)
                continue
            twice = self._seen_before(seen, row)
            if twice is None:
                good += 1
            else:
                self._note(twice)
        return good

    def chunks(self, rows: Iterable[Row | BadRow]) -> Iterator[list[Row]]:
        """The good rows, a transaction's worth at a time."""
        chunk: list[Row] = []
        seen: dict[object, int] = {}
        for row in rows:
            if isinstance(row, BadRow) or self._seen_before(seen, row) is not None:
                continue
            chunk.append(row)
            if len(chunk) == self._chunk_rows:
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    def operations(self, chunk: Sequence[Row]) -> list[dict[str, Any]]:
        """What is sent for a chunk."""
        if self.key is None:
            return [{"op": "create", "class": self.class_name, "fields": row.fields} for row in chunk]
        return [{"op": "put", "class": self.class_name, "key": self.key, "fields": row.fields} for row in chunk]

    def committed(self, chunk: Sequence[Row], answer: Mapping[str, Any]) -> None:
        """A chunk was answered."""
        for each in answer["results"]:
            done = each.get("done", "created")
            if done == "created":
                self.created += 1
            elif done == "updated":
                self.updated += 1
            else:
                self.unchanged += 1
        self.last_line = chunk[-1].line
        self.position = answer.get("position") or self.position

    def refused(self, chunk: Sequence[Row], error: BangpathError) -> BangpathError:
        """A chunk was not committed: the error to raise, saying which row, and what stands."""
        at = error.details.get("operation")
        if isinstance(at, int) and 0 <= at < len(chunk):
            place = f"line {chunk[at].line}"
        else:
            place = f"one of lines {chunk[0].line} to {chunk[-1].line}"
        stands = f"{self.done} rows, up to line {self.last_line}, are imported" if self.done else "nothing is imported"
        again = "mend it and repeat the command"
        if self.done and self.key is not None:
            again = "mend it and repeat the command: what stands is passed over"
        elif self.done:
            again = "repeat with --key FIELD (a unique field), so that what stands is passed over"
        told = type(error)(
            f"{place}: {error.cause.removeprefix(f'operation {at}: ')}; {stands}",
            next_step=f"{error.next_step}; {again}" if error.next_step else again,
            **{**error.details, "imported": self.done},
        )
        if self.done:
            told.exit_code = 3  # type: ignore[misc]  # of this one error: a part is done (DESIGN U2)
        return told

    def refuse_bad_rows(self) -> None:
        """Raise `Refused`, naming the bad rows, when there are any."""
        if not self.bad_count:
            return
        named = [str(each) for each in self.bad]
        if self.bad_count > len(named):
            named.append(f"and {self.bad_count - len(named)} more")
        raise Refused(
            f"{self.bad_count} bad row{'s' if self.bad_count > 1 else ''}; nothing was imported",
            next_step="mend them, or import the others with --skip-bad",
            rows=named,
        )

    def report(self) -> dict[str, Any]:
        """What was done, as `--json` shows it."""
        return {
            "class": self.class_name,
            "created": self.created,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "bad": self.bad_count,
            "bad_rows": [each._asdict() for each in self.bad],
            "position": self.position,
        }

    def _note(self, row: BadRow) -> None:
        self.bad_count += 1
        if len(self.bad) < MAX_NAMED:
            self.bad.append(row)

    def _seen_before(self, seen: dict[object, int], row: Row) -> BadRow | None:
        """With a key, two rows of one file that claim one object are a mistake; without, nobody can know."""
        if self.key is None:
            return None
        value = row.fields.get(self.key)
        if value is None:
            return BadRow(row.line, self.key, "is missing, and it is the key of this import")
        first = seen.setdefault(value if isinstance(value, (str, int, float)) else repr(value), row.line)
        if first != row.line:
            return BadRow(row.line, self.key, f"{value!r} stands in line {first} already")
        return None
