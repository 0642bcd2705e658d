"""While a run lasts, other functions stand in the places of those that must not be called, wherever those are.

    time.monotonic                      the module where it lives
    queue.time                          every module that took it by name: `from time import monotonic as time`
    random._inst, random.Random.seed    the hidden generator behind random.shuffle and others; a generator without seed
    threading.Lock().acquire            in the type, where it is given a time to wait
    datetime.datetime.now               in the type itself: a class in its place would not be the same class

Each says its name to `tell`, which raises or does not, and then does what the original does. Afterwards everything is
as it was. A run costs about two hundred assignments; modules are looked through once, when they are new. Only the
dictionaries of modules are read: no attribute is asked for, so nothing lazy is woken.

Who is refused, and which functions, is left to guard.py.
"""

from __future__ import annotations

import ctypes
import datetime
import functools
import gc
import random
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

Tell = Callable[[str], None]

_LOCKS = {"threading.Lock": type(threading.Lock()), "threading.RLock": type(threading.RLock())}
_CLOCKS = ((datetime.datetime, "now"), (datetime.datetime, "utcnow"), (datetime.date, "today"))


class Place(NamedTuple):
    """A name in a dictionary: what belongs there, and what stands in for it."""

    names: dict[str, Any]
    name: str
    original: Any
    stand_in: Any


class StandIns:
    """Every place of every watched function that is loaded."""

    def __init__(
        self, tell: Tell, always: Iterable[str], without_time: Mapping[str, int], *, skip: Callable[[str], bool]
    ) -> None:
        """`always`: functions by full name. `without_time`: those that must have more arguments than that number.

        `skip`: which modules keep what they have.
        """
        self._tell = tell
        self._always = tuple(always)
        self._without_time = dict(without_time)
        self._skip = skip
        self._known: set[str] = set()
        self._by_id: dict[int, Place] = {}  # of functions, by the id of the original, which the place keeps alive
        self._ours: dict[int, Place] = {}  # the same by the id of the stand-in
        self._places: list[Place] = []
        self._types = [self._in_type(kind, name) for kind, name in _CLOCKS]
        self._types += [self._of_lock(f"{name}.acquire", kind) for name, kind in _LOCKS.items()]
        hidden: Any = vars(random)["_inst"]
        self._hidden = hidden.__dict__
        self._hidden_ours = {
            name: _stand_in(f"random.{name}", getattr(hidden, name), tell) for name in ("random", "getrandbits")
        }
        self._generator: Any = random.Random
        self._seed = random.Random.seed
        self._seed_ours = _seeding(self._seed, tell)

    def put_in(self) -> None:
        """A run begins."""
        if len(sys.modules) != len(self._known):
            self._look_at_new_modules()
        for names, name, original, stand_in in self._places:
            if names.get(name) is original:  # else somebody else replaced it meanwhile
                names[name] = stand_in
        self._hidden.update(self._hidden_ours)
        self._generator.seed = self._seed_ours
        self._change_types("stand_in")

    def take_out(self) -> None:
        """It is over: also in modules that were loaded meanwhile."""
        for names, name, original, stand_in in self._places:
            if names.get(name) is stand_in:
                names[name] = original
        for name in self._hidden_ours:
            self._hidden.pop(name, None)
        self._generator.seed = self._seed
        self._change_types("original")
        if len(sys.modules) != len(self._known):
            self._look_at_new_modules()

    # -- modules

    def _look_at_new_modules(self) -> None:
        modules = {name: module for name, module in list(sys.modules.items()) if name not in self._known}
        self._known = set(sys.modules)
        for path in (*self._always, *self._without_time):
            module, _, name = path.rpartition(".")
            if module in modules and name in vars(modules[module]):
                self._take(path, vars(modules[module])[name])
        for module, found in modules.items():
            if isinstance(found, ModuleType) and not self._skip(module):
                self._look_through(vars(found))

    def _take(self, path: str, original: Any) -> None:
        if id(original) in self._by_id or id(original) in self._ours:
            return
        if path in self._without_time:
            stand_in = _without_time(path, original, self._tell, self._without_time[path])
        else:
            stand_in = _stand_in(path, original, self._tell)
        place = Place({}, path, original, stand_in)
        self._by_id[id(original)] = self._ours[id(stand_in)] = place

    def _look_through(self, names: dict[str, Any]) -> None:
        for name, value in list(names.items()):
            place = self._by_id.get(id(value))
            if place is None:
                place = self._ours.get(id(value))  # loaded during a run: it took ours
                if place is None:
                    continue
                names[name] = place.original
            self._places.append(Place(names, name, place.original, place.stand_in))

    # -- types

    def _in_type(self, kind: type, name: str) -> Place:
        """`kind.__dict__` shows a type's dictionary and lets nobody change it; the collector knows the thing itself."""
        (names,) = gc.get_referents(kind.__dict__)
        original = names[name]
        call = f"{kind.__module__}.{kind.__qualname__}.{name}"

        def stand_in(cls: type, *args: Any, **options: Any) -> Any:
            self._tell(call)
            return original.__get__(None, cls)(*args, **options)

        return Place(names, name, original, classmethod(stand_in))

    def _of_lock(self, call: str, kind: type) -> Place:
        """Who waits for a lock at most so long goes by the real clock; who waits for ever is left to watchdog.py."""
        (names,) = gc.get_referents(kind.__dict__)
        original = names["acquire"]

        def stand_in(lock: Any, blocking: bool = True, timeout: float = -1) -> Any:
            if blocking and timeout > 0:
                self._tell(call)
            return original(lock, blocking, timeout)

        return Place(names, "acquire", original, stand_in)

    def _change_types(self, which: str) -> None:
        for place in self._types:
            place.names[place.name] = getattr(place, which)
        for kind in (datetime.datetime, datetime.date, *_LOCKS.values()):
            ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))  # so that nobody goes by what it remembers


def _stand_in(path: str, original: Any, tell: Tell) -> Callable[..., Any]:
    @functools.wraps(original)
    def stand_in(*args: Any, **options: Any) -> Any:
        tell(path)
        return original(*args, **options)

    return stand_in


def _without_time(path: str, original: Any, tell: Tell, before: int) -> Callable[..., Any]:
    @functools.wraps(original)
    def stand_in(*args: Any) -> Any:
        if len(args) <= before or args[before] is None:
            tell(path)
        return original(*args)

    return stand_in


def _seeding(original: Any, tell: Tell) -> Callable[..., None]:
    @functools.wraps(original)
    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        if a is None:
            tell("random.Random without a seed")
        original(self, a, version)

    return seed
