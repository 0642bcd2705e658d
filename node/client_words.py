"""The words of a client, said once for its two twins (`node.client`): each is a `node.calls.Call`, made by `call`.

Left to others: the calls themselves (`node.calls`), sockets (`node.client`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, Unpack

from identity.errors import LocalMistake
from node import calls
from node.calls import Call


class Wanted(TypedDict, total=False):
    """How good an answer must be (node.wanted), and by when it must come, in seconds from now."""

    consistency: str
    max_age: float | None
    after: str | Sequence[str] | None
    deadline: float | None


class Words:
    """The words, said once. `call` gives the answer in `Blocking`, and something to await in `Client`."""

    def call(self, call: Call) -> Any:
        raise LocalMistake("a twin of the client says how a call is made")  # pragma: no cover

    def get(self, reference: str, **wanted: Unpack[Wanted]) -> Any:
        """The object `1.2/42` as `{reference, class, sequence, fields, kind, position, age, path}`."""
        return self.call(calls.get(reference, **wanted))

    def create(self, class_name: Any, fields: Mapping[str, Any], *, server: str | None = None, **how: Any) -> Any:
        """A new object of a class (its name, or one made by `bangpath.stored`): `{reference, sequence, position}`.

        Of this and every change: `{request, server, state, ahead}` when it waits in the outbox. `how` says of that:
        `queue=False` raises instead, `expires` are seconds after which it is not carried out any more, `deadline`
        seconds until the outbox takes what its owner does not answer.
        """
        return self.call(calls.create(getattr(class_name, "__name__", class_name), fields, server=server, **how))

    def update(self, reference: str, fields: Mapping[str, Any], *, expect: int | None = None, **how: Any) -> Any:
        """Change these fields; `expect` is the sequence that was read, else `Conflict`."""
        return self.call(calls.update(reference, fields, expect=expect, **how))

    def replace(self, reference: str, fields: Mapping[str, Any], *, expect: int | None = None, **how: Any) -> Any:
        """Change all fields; those not named become empty."""
        return self.call(calls.replace(reference, fields, expect=expect, **how))

    def delete(self, reference: str, *, expect: int | None = None, **how: Any) -> Any:
        return self.call(calls.delete(reference, expect=expect, **how))

    def transact(self, operations: Sequence[Mapping[str, Any]], **how: Any) -> Any:
        """Several changes at one owner, all or none: `{results, position}`."""
        return self.call(calls.transact(operations, **how))

    def explain(self, question: Any) -> Any:
        """Which index of that server answers it, and what that takes: `{index, bounds, estimated, rows, ...}`."""
        return self.call(calls.explain(str(question)))

    def complete(self, class_name: Any, field: str, prefix: str = "", *, limit: int = 20) -> Any:
        """The first values of an indexed field that begin so, as that server holds them: `{class, field, values}`."""
        return self.call(calls.complete(getattr(class_name, "__name__", class_name), field, prefix, limit=limit))

    def history(self, reference: str, *, at: int | None = None, limit: int | None = None) -> Any:
        """Versions of that server's own object, the newest first: `{reference, versions: [{sequence, major, fields}]}`.

        With `at`, the number of a transaction, that which stood then. `fields` None: it was deleted.
        """
        return self.call(calls.history(reference, at=at, limit=limit))

    def outbox(self) -> Any:
        """Every change that waits for its owner, and the outcomes that are remembered."""
        return self.call(calls.show("outbox"))

    def outbox_entry(self, request: int, *, wait: float | None = None) -> Any:
        """One of them; with `wait` as soon as it has its outcome, at most so many seconds later."""
        return self.call(calls.outbox_entry(request, wait=wait))

    def cancel_change(self, request: int, *, forget: bool = False) -> Any:
        """Take a change back: cancelled, or withdrawn if it was sent; `forget` ends that as unknown."""
        return self.call(calls.cancel_change(request, forget=forget))

    def status(self) -> Any:
        return self.call(calls.show("status"))

    def peers(self) -> Any:
        return self.call(calls.show("peers"))

    def servers(self) -> Any:
        return self.call(calls.show("servers"))

    def feeds(self) -> Any:
        return self.call(calls.show("feeds"))

    def mirrors(self) -> Any:
        return self.call(calls.show("mirrors"))

    def classes(self) -> Any:
        return self.call(calls.show("classes"))

    def define(self, definition: Any) -> Any:
        """Define a class: a map as `GET /v1/classes` shows it, or a class made by `bangpath.stored`.

        Its upgrade functions stay here: whoever has objects of an older major defines it by `bangpath.open_node`.
        """
        return self.call(calls.define(getattr(definition, "definition", definition)))

    def adopt(self, name: str) -> Any:
        """Adopt a class that another server defined."""
        return self.call(calls.adopt(name))

    def drop(self, class_name: Any, *, objects: bool = False) -> Any:
        """Make no own objects of a class any more; with `objects` those that are there are deleted first."""
        return self.call(calls.drop(getattr(class_name, "__name__", class_name), objects=objects))

    def mirror(self, pattern: str, kind: str = "mirrored") -> Any:
        return self.call(calls.mirror(pattern, kind))

    def unmirror(self, pattern: str) -> Any:
        return self.call(calls.unmirror(pattern))

    def invite(self, server: str, *, valid_s: int = 86_400) -> Any:
        """A ticket by which a new server joins: `{ticket, server, expires_ms}`."""
        return self.call(calls.invite(server, valid_s=valid_s))

    def routes(self, server: str | None = None) -> Any:
        """By which way each server is reached, or one of them, in both directions."""
        return self.call(calls.routes(server))

    def trace(self, server: str, *, deadline: float | None = None) -> Any:
        """The path there, the path back, and how long each part takes."""
        return self.call(calls.trace(server, deadline=deadline))

    def ping(self, server: str, *, deadline: float | None = None) -> Any:
        """How long another server takes to answer."""
        return self.call(calls.ping(server, deadline=deadline))

    def block(self, server: str, direction: str = "both") -> Any:
        """Drop another server's packets at this one's port, until it restarts: `in`, `out` or `both`."""
        return self.call(calls.block(server, direction))

    def unblock(self, server: str, direction: str | None = None) -> Any:
        """Let them pass again; `all` for every server."""
        return self.call(calls.unblock(server, direction))
