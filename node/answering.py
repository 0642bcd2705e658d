"""Questions to a running server, as words of `node.node.Node`: one object, or rows of the whole mesh.

    get(1.2/42)      -> Found          node.lookup
    query("...")     -> QueryAnswer    node.fan_out
    explain("...")   how what is held here answers it, and what that takes      store.explaining
    complete(class, field, prefix)     the values that begin so, of what is held here
    history(1.2/42, at)                what an own object was                   store.past

Each says how good the answer must be: `consistency`, `max_age` in seconds, `after` as positions (node.wanted), and by
when it must come: `deadline`, in seconds from now. A word that is said while nothing runs is refused (`Exhausted`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import islice
from typing import TYPE_CHECKING, Any

from identity.errors import NotFound, Refused
from identity.names import ObjectId, Reference, ServerId, parse_reference
from node import fan_out
from node.fan_out import QueryAnswer
from node.lookup import look_up
from node.running import AfterText, AnyReference, Running
from node.wanted import Wanted, wanted
from store.completing import indexes_of
from store.fieldtypes import FieldType, WrongValue
from store.past import MOST_VERSIONS, Version, get_at, versions
from store.values import to_json, value_from_json, value_to_json

if TYPE_CHECKING:
    from node.asking import Found
    from store.reading import View


class Answering(Running):
    """The asking words. `_word` counts them and makes their deadline absolute; it raises when nothing runs."""

    def view(self) -> View:
        """One durable moment of everything held here."""
        return self.parts.database.view()

    async def get(
        self,
        reference: AnyReference,
        *,
        consistency: str = "nearest",
        max_age: float | None = None,
        after: AfterText = None,
        deadline: float | None = None,
    ) -> Found:
        """An object. Raises `NotFound` on its owner's word alone, else `Stale` or `Unreachable`."""
        want = self._wanted(consistency, max_age, after)
        server, number = self._target(reference)
        async with self._word(deadline) as (parts, until):
            if isinstance(reference, Reference) and 0 < reference.incarnation < parts.standpoint.incarnation_of(server):
                raise NotFound(
                    f"{reference} is gone: {server} is another incarnation now",
                    next_step=f"look what there is: bangpath @{server} class",
                    reference=str(reference),
                    owner=str(server),
                )
            return await look_up(parts.standpoint, server, number, wanted=want, deadline=until)

    async def query(
        self,
        question: Any,
        *,
        consistency: str = "nearest",
        max_age: float | None = None,
        after: AfterText = None,
        deadline: float | None = None,
    ) -> QueryAnswer:
        """All rows, and what they are worth. `question`: text, or a `store.query.Question`."""
        want = self._wanted(consistency, max_age, after)
        async with self._word(deadline) as (parts, until):
            return await fan_out.ask(parts.standpoint, question, wanted=want, deadline=until)

    async def query_into(
        self,
        question: Any,
        give: Callable[[list[Found]], Awaitable[None]],
        *,
        consistency: str = "nearest",
        max_age: float | None = None,
        after: AfterText = None,
        deadline: float | None = None,
    ) -> dict[str, Any]:
        """The same, rows given in their final order as they become certain; returns the completeness."""
        want = self._wanted(consistency, max_age, after)
        async with self._word(deadline) as (parts, until):
            return await fan_out.stream(parts.standpoint, question, give, wanted=want, deadline=until)

    async def explain(self, question: Any) -> dict[str, Any]:
        """Which index answers it here, how many entries were expected, and how many it took (`store.explaining`).

        `question`: text, or a `store.query.Question`. It is carried out on what is held here; nobody else is asked.
        """
        async with self._word(None) as (parts, _):
            return await fan_out.explain(parts.standpoint, question)

    async def complete(self, class_name: str, field: str, prefix: str = "", *, limit: int = 20) -> dict[str, Any]:
        """The first `limit` different values, in order, that objects held here have in `field` and that begin so.

        Of a list its elements. Raises `Refused`, naming the field, when no index begins with it.
        """
        async with self._word(None) as (parts, _):
            with parts.database.view() as view:
                of = indexes_of(view.registry.named(class_name), field)[0][1].parts[0].of
                begin = _beginning(of, field, prefix)
                values = view.complete(class_name, field, begin, limit=limit, shows=parts.standpoint.shows)
            return {"class": class_name, "field": field, "values": [value_to_json(of, each) for each in values]}

    async def history(
        self, reference: AnyReference, *, at: int | None = None, limit: int = MOST_VERSIONS
    ) -> dict[str, Any]:
        """The versions of an own object that are kept, the newest first, at most `limit`; with `at` that of then.

        `at` is the number of a transaction. Raises `Refused` when its class keeps none, or not that one, or when the
        object is another server's; `NotFound` when it was not there yet.
        """
        server, number = self._target(reference)
        if server != self.server:
            raise Refused(
                f"{server}/{number} is of {server}, which keeps its versions",
                next_step=f"ask {server} itself",
            )
        async with self._word(None) as (parts, _):
            with parts.database.view() as view:
                if at is None:
                    told = [_version(view, each) for each in islice(versions(view, (None, number)), limit)]
                else:
                    stored = get_at(view, (None, number), at)
                    told = [] if stored is None else [_version(view, Version(stored.sequence, stored))]
            return {"reference": f"{server}/{number}", "versions": told}

    def _wanted(self, consistency: str, max_age: float | None, after: AfterText) -> Wanted:
        """Checked; a position of a server that nobody here knows would be a guarantee about nothing."""
        want = wanted(consistency, max_age, after)
        for each in want.after:
            if not self.parts.standpoint.knows(each.server):
                raise Refused(
                    f"{each} is a position of a server that is not known here",
                    next_step=f"see which are: bangpath @{self.server} servers",
                    field="after",
                )
        return want

    def _target(self, reference: AnyReference) -> tuple[ServerId, ObjectId]:
        if isinstance(reference, str):
            reference = parse_reference(reference)
        if isinstance(reference, Reference):
            return reference.server, reference.object
        server, number = reference
        return (self.server if server is None else server), ObjectId(number)


def _beginning(of: FieldType, field: str, said: str) -> str | bytes:
    """What a text from outside means as the beginning of such a value. Raises `Refused`."""
    try:
        begin: str | bytes = value_from_json(of, said) if of.base == "bytes" else said
    except WrongValue as error:
        raise Refused(f"field {field} is of bytes: {error}", next_step="write them as base64", field=field) from error
    return begin


def _version(view: View, version: Version) -> dict[str, Any]:
    """One version as JSON; `fields` null: it was deleted then."""
    stored = version.stored
    if stored is None:
        return {"sequence": version.sequence, "major": None, "fields": None}
    fields = to_json(view.class_of(stored), stored.fields)
    return {"sequence": version.sequence, "major": stored.major, "fields": fields}
