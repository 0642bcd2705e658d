"""Every checker notices: the product is broken on purpose, one promise at a time, and the right one is named.

A row of the table is a bug and a short scenario in which it shows. Without the bug no checker says anything.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest
import trio

from identity.errors import Conflict, NotFound, OutcomeUnknown
from identity.names import Pattern
from node import fan_out, lookup
from node.applying import Applier
from node.federate import Owner as Part
from node.standpoint import Standpoint
from replication import intake
from replication.catch_up import CatchUp
from replication.forks import Forks
from replication.intake import Intake
from replication.leaves import check_leaves_untrusted
from replication.telling import Telling
from simulations import checkers
from simulations.checkers import KINDS, every_checker
from simulations.promises import PromiseBroken
from simulations.scenario import parse, run_scenario
from store import foreign, work
from store.database import Database
from store.definitions import ClassDefinition, Field
from store.log import Log
from store.records import DATA, Update
from store.transaction import Transaction
from store.writing import Writer

PLANTED = Path(__file__).parent / "planted"
NOTE = ClassDefinition(name="Note", fields=(Field(name="text"),))

MIRROR = """
servers 3
class Note text:string
1.2 mirrors 1.1
1.1 commits 4 Note
run 2s
1.1 changes 4 Note
1.1 commits 3 Note together
run 2s
1.2 gets 2 Note of 1.1
1.1 gets 2 Note of 1.1
1.2 asks Note
expect every promise within 60s
"""
CRASH = """
servers 3
class Note text:string
1.1 commits 4 Note
run 2s
1.1 changes 1 Note
crash 1.1
restart 1.1
run 1s
expect every promise within 60s
"""
TOGETHER = """
servers 3
class Note text:string
run 1s
at 2s 1.1 commits 3 Note together
run 4s
expect every promise within 60s
"""
READS = """
servers 3
class Note text:string
1.1 commits 3 Note
1.1 gets 9 Note of 1.1
1.1 changes 3 Note
1.2 gets 9 Note of 1.1 by their owner
1.1 gets 9 Note of 1.1
expect every promise within 60s
"""
ALONE = """
servers 3
class Note text:string
1.1 commits 4 Note
run 2s
crash 1.1
run 20s
1 asks Note
restart 1.1
expect every promise within 60s
"""
CUT = """
servers 3
class Note text:string
1.2 mirrors 1.1
1.1 commits 2 Note
run 2s
part 1.2 | 1 1.1
1.1 commits 6 Note
run 5s
heal
expect every promise within 40s
"""
AWAY = """
servers 3
class Note text:string
1.2 mirrors 1.1
1.1 commits 4 Note
run 2s
crash 1.1
run 20s
1.2 gets 2 Note of 1.1 by their owner
1 gets 2 Note of 1.1
1 asks Note
restart 1.1
expect every promise within 60s
"""
UNIQUE = """
servers 3
class Item text:string serial:int unique
1.1 commits 4 Item
1.1 and 1.1 commit 2 Item at 1.1 with the same values
expect every promise within 60s
"""
GATEWAY = """
servers 3
class Note text:string
run 1s
cut 1.1 > 1.2
cut 1.2 > 1.1
run 20s
expect every promise within 40s
"""
HOSTILE = """
servers 4
class Note text:string
1.2 mirrors 1.1
1.3 mirrors 1.1
1.1 commits 2 Note
run 2s
1.3 turns hostile: forges
1.1 commits 6 Note
run 10s
expect every promise within 60s
"""
STORIES = """
servers 3
class Note text:string
1.2 mirrors 1.1
1 mirrors 1.1
1.1 turns hostile: tells two stories
1.1 commits 1 Note
run 1s
heal
expect every promise within 20s
"""
REMOTE = """
servers 3
class Note text:string
1.1 commits 2 Note
at 2s 1.2 changes 1 Note of 1.1      # it arrives 20 ms later,
at 2.01s cut 1.1 > 1.2               # is carried out, and nobody hears of it
at 2.06s crash 1.1
at 3s restart 1.1
run 5s
heal
run 10s
expect every promise within 60s
"""
QUEUE = """
servers 3
class Note text:string
1.1 commits 1 Note
run 1s
isolate 1.1 for 4s
run 4s
1.2 changes 1 Note of 1.1
1.2 changes 1 Note of 1.1
expect every promise within 60s
"""
EXCLUDED = """
servers 3
class Note text:string
1.1 mirrors 1.* but not 1.2
1.2 commits 1 Note
run 5s
expect every promise within 30s
"""

WAITING = """
servers 3
class Note text:string
1.1 commits 2 Note
run 2s
crash 1.1
run 10s
1 changes 1 Note of 1.1
crash 1
restart 1
restart 1.1
expect every promise within 60s
"""


LAPSED = """
servers 2
class Note text:string
isolate 1 for 4s
1.1 commits 1 Note at 1 within 1s or not at all
run 4s
heal
expect every promise within 60s
"""
DOUBLED = """
servers 3
link duplicate 20%
class Note text:string
1.1 commits 3 Note
run 2s
expect every promise within 60s
"""
RESTORED = """
servers 3
class Note text:string
1.2 mirrors 1.1
run 1s
back up 1.1
1.1 commits 3 Note
run 2s
restore 1.1
run 5s
expect every promise within 60s
"""


class Bug(NamedTuple):
    """`plant` gives context managers that put it in; `says`: what the accusation must contain."""

    finds: type[Any]
    scenario: str
    plant: Callable[[], Any]
    says: str


def patched(where: Any, name: str, make: Callable[[Any], Any]) -> Any:
    """`where.name` becomes `make(what it was)`."""
    return mock.patch.object(where, name, make(getattr(where, name)))


def planted(name: str) -> Callable[[], Any]:
    """One of those that a sweep finds."""
    spec = importlib.util.spec_from_file_location(name, PLANTED / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    plant: Callable[[], Any] = module.plant
    return plant


# -- bugs


def exclude_nobody() -> Any:
    def any_rule(matches: Any) -> Any:
        return lambda pattern, server: matches(Pattern(pattern.text.replace("-", "")), server)

    return patched(Pattern, "matches", any_rule)


def convict_nobody() -> Any:
    return mock.patch.object(Forks, "_quarantine", return_value=None)


def tell_no_got() -> Any:
    return mock.patch.object(Telling, "tell_got")


def tell_another_path() -> Any:
    return patched(Standpoint, "path_to", lambda _: lambda self, server: (server, server, self.server))


def answer_before_the_sync() -> Any:
    def make(real: Any) -> Any:
        async def end_group(self: Writer) -> None:
            if self.group.leaves[DATA]:
                self._answer_all(self.group)
                self.group.waiting = []
            await real(self)

        return end_group

    return patched(Writer, "_end_group", make)


def never_sync() -> Any:
    def make(real: Any) -> Any:
        async def sync(self: Log) -> None:
            if trio.current_time() < 1:  # until then all is well, so that only the last group is lost
                await real(self)
            self.durable = self._ended

        return sync

    return patched(Log, "sync_async", make)


def half_a_transaction(error: type[Exception], *, half: bool) -> Callable[[], Any]:
    """A transaction of several changes fails with this error, and is there: by half, or all of it."""

    def make(real: Any) -> Any:
        def append_own(self: Writer, transaction: Any) -> None:
            changes = dict(transaction.changes)
            several = len(changes) == 3
            if several and half:
                transaction.changes.pop(next(iter(transaction.changes)))
            real(self, transaction)
            if several:
                raise error("on purpose")

        return append_own

    return lambda: patched(Writer, "append_own", make)


def give_to_two() -> Any:
    return patched(Transaction, "_refuse_taken", lambda real: lambda *given: None)


def believe_anybody() -> Any:
    def make(real: Any) -> Any:
        def verify(update: Update, key: bytes) -> Any:
            head = update.head
            return check_leaves_untrusted(head.server, head.incarnation, update.leaves, head.count)

        return verify

    return patched(intake, "verify_update_untrusted", make)


def apply_twice() -> Any:
    """An update that is here already is appended again."""

    def make(real: Any) -> Any:
        def read(applier: Any, update: Update) -> Any:
            found = real(applier, update)
            if isinstance(found, foreign.Applied) and update.head.kind == DATA:
                return foreign.Foreign(update, foreign.understand_untrusted(applier, update), [])  # type: ignore[arg-type]
            return found

        return read

    both = contextlib.ExitStack()
    both.enter_context(patched(work, "read_foreign_untrusted", make))
    both.enter_context(
        patched(Applier, "put", lambda real: lambda self, output: [real(self, output), real(self, output)])
    )
    return both


def leave_one_out() -> Any:
    """A mirror forgets the last object of an update that has several."""

    def make(real: Any) -> Any:
        def understand(applier: Any, update: Update) -> Any:
            puts = real(applier, update)
            return puts[:-1] if update.head.kind == DATA and not isinstance(puts, str) and len(puts) > 1 else puts

        return understand

    return patched(foreign, "understand_untrusted", make)


def ask_nobody() -> Any:
    return patched(CatchUp, "_pursue", lambda real: lambda self, feed, now: None)


def remember_too_long() -> Any:
    """An owner answers with what it read first."""
    first: dict[Any, Any] = {}

    def make(real: Any) -> Any:
        def held(asking: Any, server: Any, object: Any) -> Any:
            found = real(asking, server, object)
            return first.setdefault((asking.server, server, object), found) if server == asking.server else found

        return held

    return patched(lookup, "held_here", make)


def deny_for_others() -> Any:
    """Whoever cannot reach an owner says that there is no such object."""

    def make(real: Any) -> Any:
        def failure(self: Any) -> Exception:
            return NotFound.by_owner(self._server, f"{self._server}/{self._object}")

        return failure

    return patched(lookup._Question, "_failure", make)


def tell_a_later_position() -> Any:
    """A mirror says that it is further than it is."""

    def make(real: Any) -> Any:
        def holding(self: Standpoint, server: Any) -> Any:
            held = real(self, server)
            if held.kind != "mirrored" or held.position is None:
                return held
            return held._replace(position=held.position._replace(number=held.position.number + 20))

        return holding

    return patched(Standpoint, "holding", make)


def say_whole() -> Any:
    return mock.patch.object(Part, "whole", property(lambda self: True))


def make_it_up() -> Any:
    def make(real: Any) -> Any:
        def held(asking: Any, server: Any, object: Any) -> Any:
            found = real(asking, server, object)
            if found is None or found.kind != "mirrored":
                return found
            return found._replace(fields={**found.fields, "text": "made up"})

        return held

    return patched(lookup, "held_here", make)


def turn_the_rows_round() -> Any:
    def make(real: Any) -> Any:
        async def ask(*said: Any, **more: Any) -> Any:
            answer = await real(*said, **more)
            return answer._replace(rows=answer.rows[::-1])

        return ask

    return patched(fan_out, "ask", make)


def push_to_everybody() -> Any:
    from replication import telling

    return patched(telling, "may_push", lambda real: lambda session, feed, number, path: number > 2)


def release_nothing() -> Any:
    def make(real: Any) -> Any:
        def release(self: Intake, arrivals: Any) -> None:
            before = self.held_bytes
            real(self, arrivals)
            self.held_bytes = before

        return release

    return patched(Intake, "_release", make)


def no_gateways() -> Any:
    return mock.patch("node.parts.Router", _router_without_gateways())


def _router_without_gateways() -> Any:
    from routing.router import Router

    class Alone(Router):
        def __init__(self, *said: Any, **more: Any) -> None:
            super().__init__(*said, **{**more, "gateways": False})

    return Alone


def carry_out_again() -> Any:
    """The record of what was carried out for others is not looked at."""
    both = contextlib.ExitStack()
    both.enter_context(patched(Transaction, "answered", lambda real: lambda self, request: None))
    both.enter_context(patched(Database, "answered", lambda real: lambda self, request: None))
    return both


def forget_the_outbox() -> Any:
    from replication.outbox import Outbox

    return patched(Outbox, "load", lambda real: lambda self, entries, *said, **more: real(self, (), *said, **more))


def send_the_newest_first() -> Any:
    """Of what waits for one owner."""
    from replication.outbox import Outbox

    def make(real: Any) -> Any:
        def go_on(self: Outbox, owner: Any, now: float) -> None:
            state = self._owners.get(owner)
            if state is not None:
                with mock.patch.object(state, "queue", Backwards(state.queue)):
                    real(self, owner, now)

        return go_on

    return patched(Outbox, "_go_on", make)


class Backwards:
    """A queue whose first one is the last."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def __len__(self) -> int:
        return len(self._queue)

    def peekitem(self, at: int) -> Any:
        return self._queue.peekitem(-1 - at)


BUGS = {
    "answered before the sync": Bug(checkers.no_lost_commits, MIRROR, answer_before_the_sync, "became durable at"),
    "never synced": Bug(checkers.no_lost_commits, CRASH, never_sync, "and after its start has"),
    "there by half": Bug(
        checkers.no_lost_commits, TOGETHER, half_a_transaction(OutcomeUnknown, half=True), "part of a transaction"
    ),
    "refused, and there": Bug(
        checkers.no_lost_commits, TOGETHER, half_a_transaction(Conflict, half=False), "and yet it is there"
    ),
    "carried out twice": Bug(checkers.no_lost_commits, REMOTE, carry_out_again, "twice"),
    "forgotten in the outbox": Bug(checkers.no_forgotten_changes, WAITING, forget_the_outbox, "forgot request"),
    "the newest first": Bug(checkers.outboxes_in_order, QUEUE, send_the_newest_first, "did not do in turn"),
    "of use for a second, and for ever": Bug(checkers.in_time, LAPSED, planted("never_expires"), "time was over at"),
    "nothing learned after a restore": Bug(
        checkers.restored_servers_learn, RESTORED, planted("nothing_adopted"), "signs again after update"
    ),
    "opened twice": Bug(checkers.packets_opened_once, DOUBLED, planted("no_replay_window"), "of a connection with"),
    "given to two": Bug(checkers.unique_values, UNIQUE, give_to_two, "has it"),
    "believed without a signature": Bug(checkers.only_the_signed, HOSTILE, believe_anybody, "never signed"),
    "two stories, and nobody minds": Bug(checkers.forks_are_proven, STORIES, convict_nobody, "1.1"),
    "it is not said what is here": Bug(checkers.sent_once, MIRROR, tell_no_got, "never said so"),
    "a path that nobody went": Bug(checkers.honest_paths, MIRROR, tell_another_path, "hands on to itself"),
    "applied twice": Bug(checkers.once_and_in_order, MIRROR, apply_twice, "after update"),
    "one object left out": Bug(checkers.mirrors_are_prefixes, MIRROR, leave_one_out, "it has nothing"),
    "an exclusion is ignored": Bug(checkers.mirrors_as_asked, EXCLUDED, exclude_nobody, "never asked to mirror"),
    "nobody asked for what is missing": Bug(checkers.converged, CUT, ask_nobody, "updates of 1.1's data feed"),
    "an owner that reads old things": Bug(checkers.linearizable_owners, READS, remember_too_long, "have no order"),
    "denied by others": Bug(checkers.only_owners_deny, AWAY, deny_for_others, "was not there to say so"),
    "a position that is not held": Bug(checkers.true_answers, MIRROR, tell_a_later_position, "as of update"),
    "whole without an owner": Bug(checkers.true_answers, ALONE, say_whole, "was told that it is whole"),
    "made up": Bug(checkers.true_answers, MIRROR, make_it_up, "made up"),
    "rows turned round": Bug(checkers.true_answers, MIRROR, turn_the_rows_round, "before 1.1/"),
    "heard, and told as missing": Bug(
        checkers.who_answered, MIRROR, planted("empty_answer_not_counted"), "it answered to the end"
    ),
    "pushed back": Bug(checkers.no_loops, MIRROR, push_to_everybody, "an update that came by"),
    "never let go": Bug(checkers.bounded_memory, MIRROR, release_nothing, "bytes of updates"),
    "no way round": Bug(checkers.everybody_reached, GATEWAY, no_gateways, "does not reach"),
}


def run(text: str, *, seed: int = 1) -> PromiseBroken | None:
    return run_scenario(parse(text), seed=seed, checkers=every_checker()).broken


@pytest.mark.parametrize("bug", BUGS.values(), ids=BUGS)
def test_a_bug_is_noticed_by_the_checker_of_its_promise(bug: Bug) -> None:
    with bug.plant():
        broken = next(filter(None, (run(bug.scenario, seed=seed) for seed in range(1, 6))), None)

    assert broken is not None
    assert (broken.checker, broken.promise) == (bug.finds.name, bug.finds.promise)
    assert bug.says in broken.said
    assert f"at {broken.at:.3f} s" in str(broken)


@pytest.mark.parametrize(
    "text", {bug.scenario: None for bug in BUGS.values()}, ids=lambda text: text.strip().splitlines()[-2]
)
def test_without_a_bug_no_checker_says_anything(text: str) -> None:
    assert run(text) is None


def test_every_checker_has_a_bug_that_it_notices() -> None:
    assert {bug.finds for bug in BUGS.values()} == set(KINDS)
