"""Operations on own objects, as one transaction: what `put`, PATCH, an import and another server's MODIFY all become.

    create   class, fields                 a new object
    update   object, fields, expect?       the fields given are changed, the others stay
    delete   object, expect?
    put      class, key, fields            create, unless an object has that key: then update, or nothing to do

All of them happen or none; the first that cannot ends them all and is named by its place. The server's own objects
(its `Server` and `Class` objects) are not changed this way: they say what is so, and follow it.

Left to others: what a transaction checks (`store.transaction`), who may ask (`node.serving`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from identity.errors import BangpathError, Conflict, Forbidden, NotFound, Refused
from identity.names import ObjectId, Reference
from node.asking import Operation
from store.fieldtypes import wrong_field
from store.values import Resolve, from_json

if TYPE_CHECKING:
    from store.transaction import Transaction

KEPT_BY_THE_SERVER = ("Server", "Class")


class Act(NamedTuple):
    """What became of one operation. `sequence` stands for what was left alone, else the transaction's holds."""

    reference: Reference
    done: str
    sequence: int | None


def carry_out(
    transaction: Transaction,
    operations: Sequence[Operation],
    *,
    resolve: Resolve,
    request: bytes = b"",
    by_another: bool = False,
) -> list[Act]:
    """Do them all within `transaction`. Values may be Python's or in their JSON form.

    `request` is the id of the request that asks for it; `by_another`: another server does, and private classes are
    not its to change. Raises what the operation raised, naming its place when there are several.
    """
    acts = []
    for place, operation in enumerate(operations):
        try:
            acts.append(_one(transaction, operation, resolve, request, by_another=by_another))
        except BangpathError as error:
            if len(operations) > 1:
                error.details.setdefault("operation", place)
                error.cause = f"operation {place}: {error.cause}"
            raise
    return acts


def _one(transaction: Transaction, operation: Operation, resolve: Resolve, request: bytes, *, by_another: bool) -> Act:
    if operation.op in ("create", "put"):
        definition = transaction.registry.definition(operation.class_name)
        _check_class(operation.class_name, private=definition.privacy == "private", by_another=by_another)
        partial = operation.op == "put"
        fields = from_json(definition, operation.fields, resolve=resolve, partial=partial)
        if operation.op == "put":
            return _put(transaction, operation, fields, request)
        return Act(transaction.create(operation.class_name, fields, request=request), "created", None)
    stored = transaction.get((None, ObjectId(operation.object))) if operation.object > 0 else None
    if stored is None:
        server = transaction.servers.server
        raise NotFound.by_owner(server, f"{server}/{operation.object}")
    definition = transaction.class_to_change(stored)
    _check_class(stored.class_name, private=definition.privacy == "private", by_another=by_another)
    if operation.op == "delete":
        transaction.delete(operation.object, expect=operation.expect, request=request)
        return Act(stored.reference, "deleted", None)
    fields = from_json(definition, operation.fields, resolve=resolve, partial=True)
    transaction.update(operation.object, fields, expect=operation.expect, request=request)
    return Act(stored.reference, "updated", None)


def _put(transaction: Transaction, operation: Operation, fields: dict[str, Any], request: bytes) -> Act:
    class_name, key = operation.class_name, operation.key
    if not transaction.registry.definition(class_name).field(key).unique:
        raise wrong_field(class_name, key, "is not unique, so it is no key")
    if fields.get(key) is None:
        raise wrong_field(class_name, key, "is the key, and has no value")
    standing = transaction.find(class_name, key, fields[key])
    if standing is None:
        return Act(transaction.create(class_name, fields, request=request), "created", None)
    if operation.expect is not None and operation.expect != standing.sequence:
        raise Conflict(
            f"{standing.reference} is at sequence {standing.sequence}, not {operation.expect}",
            next_step="read it again",
            sequence=standing.sequence,
        )
    changed = {name: value for name, value in fields.items() if standing.fields.get(name) != value}
    if not changed:
        return Act(standing.reference, "unchanged", standing.sequence)
    transaction.update(standing.reference.object, changed, request=request)
    return Act(standing.reference, "updated", None)


def _check_class(class_name: str, *, private: bool, by_another: bool) -> None:
    if class_name in KEPT_BY_THE_SERVER:
        raise Refused(
            f"objects of class {class_name} are kept by the server itself",
            next_step="bangpath class defines and adopts classes",
            **{"class": class_name},
        )
    if private and by_another:
        raise Forbidden(f"class {class_name} is private, and another server asks", **{"class": class_name})
