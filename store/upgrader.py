"""The tasks that upgrade the own objects of older majors, a class each, and whoever waits for their end.

    define ---> checked      a function for each older major that has own objects, or nothing is changed
           ---> finish       waits until none is left; raises which could not be upgraded, or why the store stopped

Such a task lives only while there is something to do, and goes on when nobody waits any more. It sends one step after
the other to the task that owns the log (`store.upgrading`), and each is answered after its sync.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from identity.encoding import decode_integer_untrusted
from identity.errors import BangpathError, Refused
from identity.names import END
from store.upgrading import Step, Upgrade, Upgrades, checked_functions
from store.work import UpgradeStep
from store.writing import Writer

if TYPE_CHECKING:
    from store.definitions import ClassDefinition
    from store.registry import ClassEntry

NAMED = 8  # objects that a refusal names
PULSE = 512  # entries, after which others may run

_INDEX_TABLE = "index"


class Upgrader:
    """The tasks that drive upgrades, a class each, in the store's nursery; and whoever waits for their end."""

    def __init__(self, writer: Writer, nursery: trio.Nursery) -> None:
        self._writer = writer
        self._nursery = nursery
        self._running: dict[int, _Run] = {}

    async def checked(self, definition: ClassDefinition, upgrades: Upgrades | None) -> dict[int, Upgrade]:
        """The functions, one for each older major that has own objects. Raises `Refused`, naming such an object."""
        functions = checked_functions(upgrades)
        for entry in self._writer.applier.registry.adopted_before(definition):
            major = entry.definition.major
            if major in functions or self._writer.upgrades.given(entry, definition.major) is not None:
                continue
            found = await self._own_object(entry)
            if found:
                raise Refused(
                    f"class {definition.name} has own objects of major {major}, {found} for one, and nothing says what "
                    f"they are in major {definition.major}",
                    next_step=f"give a function of their fields: @bangpath.upgrade({major}) in the class, or "
                    f"define(..., upgrades={{{major}: function}})",
                    major=major,
                    **{"class": definition.name},
                )
        return functions

    async def finish(self, definition: ClassDefinition) -> None:
        """Wait until no own object of an older major is left. Raises `Refused`, naming those that stay."""
        registry = self._writer.applier.registry
        older = [each for each in registry.adopted_before(definition) if each.upgrading]
        runs = [self._running.get(each.number) or self._start(each) for each in older]
        for run in runs:
            await run.ended.wait()
            if run.trouble is not None:
                raise run.trouble
            if run.failed:
                raise run.refusal()

    def _start(self, entry: ClassEntry) -> _Run:
        run = self._running[entry.number] = _Run(entry.definition)
        self._nursery.start_soon(self._run, entry.number, run)
        return run

    async def _run(self, number: int, run: _Run) -> None:
        upgrades, cursor, dropped = self._writer.upgrades, b"", False
        kept_old = upgrades.kept_old
        try:
            while not dropped:
                clean = not run.failed and kept_old == upgrades.kept_old
                step: Step = await self._writer.do(UpgradeStep(number, cursor, clean=clean))
                run.count += len(step.failed)
                run.failed = (run.failed + step.failed)[:NAMED]
                dropped = step.dropped
                if step.cursor is None and not dropped:
                    if run.failed:
                        break
                    kept_old = upgrades.kept_old  # something moved: once more from the beginning
                cursor = step.cursor or b""
        except BangpathError as error:  # the store stopped or was closed: the next `define` goes on
            run.trouble = error
        finally:
            del self._running[number]
            run.ended.set()

    async def _own_object(self, entry: ClassEntry) -> str:
        """One own object of a class as text, "" when there is none."""
        with self._writer.generations.view() as view:
            for at, (_, key) in enumerate(view.scan(_INDEX_TABLE, *entry.extent.whole_range())):
                if key.startswith(END):
                    return f"{self._writer.applier.servers.server}/{decode_integer_untrusted(key, len(END))[0]}"
                if at % PULSE == PULSE - 1:
                    await trio.lowlevel.checkpoint()
        return ""


class _Run:
    """One upgrade under way."""

    def __init__(self, definition: ClassDefinition) -> None:
        self._definition = definition
        self.ended = trio.Event()
        self.failed: list[tuple[str, str]] = []  # the first of them, and why
        self.count = 0  # of all
        self.trouble: BangpathError | None = None

    def refusal(self) -> Refused:
        name, major, count = self._definition.name, self._definition.major, self.count
        first, cause = self.failed[0]
        return Refused(
            f"{count} object{' stays' if count == 1 else 's stay'} at major {major} of class {name}: "
            f"{cause if first in cause else f'{first}: {cause}'}",
            next_step="mend the upgrade function or those objects, then define the class again; the others are done",
            objects=[reference for reference, _ in self.failed],
            **{"class": name},
        )
