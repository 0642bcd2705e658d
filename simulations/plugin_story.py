"""How a simulated test runs: its world begins, its async fixtures run inside it, then the test; and how it fails.

    pytest calls an ordinary function ---> world from the seed
                                             '-- async fixtures, in pytest's order
                                                   '-- the test
                                             async fixtures end, newest first
                                           world ends; trace compared with that of a second process

A failure keeps the user's own frames. Ours and trio's say nothing to whoever wrote a test, so they are taken out of
its traceback, unless the error is none that we raise on purpose: then they are the news. Where they are all there is
(time was up, every task waits, a promise broke), the frames are those where the test stood when its world was ended.
What the fixture `simulation` runs fails in the same way. `--full-trace`, pytest's own, shows everything. Left to
others: seeds (`plugin_seeds`), second processes (`plugin_twin`).
"""

from __future__ import annotations

import contextlib
import functools
import os
import types
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from identity.errors import BangpathError, LocalMistake
from simulations.plugin_seeds import REPLAY, Seeds, replay, seed_of
from simulations.promises import PromiseBroken

_HOME = Path(__file__).resolve().parents[1]
_OURS = tuple(
    str(_HOME / name) + "/"
    for name in ("identity", "transport", "store", "routing", "replication", "node", "simulations")
)
_STDLIB = str(Path(contextlib.__file__).parent) + "/"
_THEIRS = ("trio", "outcome", "pytest_trio")


class Mesh:
    """What `mesh` is before its test begins: for fixtures that are not async, and keep it for later."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._world: Any = None

    def _begin(self, world: Any) -> None:
        self._world = world

    def __getattr__(self, name: str) -> Any:
        if self._world is None:
            raise LocalMistake(
                f"mesh.{name}: the mesh begins when its test does",
                next_step="make this fixture async: it then runs inside the mesh's world",
            )
        return getattr(self._world, name)


class Later:
    """An async fixture that waits for its world."""

    def __init__(self, name: str, make: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
        self.name = name
        self.make = make
        self.arguments = arguments


def later(fixturedef: Any, request: Any) -> Callable[..., Later]:
    """An ordinary function in the place of an async fixture's: what it makes is made in the world."""
    make = fixturedef.func
    if fixturedef.scope != "function":
        pytest.fail(
            f"fixture {fixturedef.argname}: an async fixture of a simulated test lives in one world; "
            f"its scope must be function, not {fixturedef.scope}",
            pytrace=False,
        )
    owner = getattr(make, "__self__", None)
    if owner is not None and isinstance(request.instance, type(owner)):
        make = make.__func__.__get__(request.instance)  # of the test class, on the instance of this test
    return lambda **arguments: Later(fixturedef.argname, make, arguments)


def adopt(item: pytest.Function, seeds: Seeds) -> None:
    """Make of an async test that takes `mesh` one that pytest can call."""
    test = item.obj

    @functools.wraps(test)
    def run(**arguments: Any) -> None:
        __tracebackhide__ = True
        _play(item, test, arguments, seeds)

    item.obj = run


def _play(item: pytest.Function, test: Callable[..., Any], arguments: dict[str, Any], seeds: Seeds) -> None:
    __tracebackhide__ = True
    from simulations.plugin_awaits import heard
    from simulations.plugin_options import options as read_options
    from simulations.plugin_twin import Twin, why_only_here, write_trace
    from simulations.world import simulate

    seed = seed_of(item)
    assert seed is not None
    path = item.config.getoption("simulation_trace")
    worlds: list[Any] = []
    end = _End()

    async def story(world: Any) -> None:
        worlds.append(world)
        with end.seen():
            async with contextlib.AsyncExitStack() as ends:
                await _tell(item, test, arguments, world, ends)

    twin = Twin(item, seed) if seeds.runs_twice(item) else None
    try:
        options = read_options(item)
        if twin is not None or path:
            options["keep"] = None  # the first event that differs may be any
        with heard(lambda file: not _is_ours(file)) as forgotten:
            simulate(story, seed=seed, **options)
        if forgotten:
            forgotten.append(f"write `await` before it\nseed {seed}; replay: {replay(item)}")
        differs = twin.compare(worlds[-1].trace) if twin is not None else ""
    except BaseException as error:
        told = end.told(error)
        _say_where(item, told, end.stood)
        _say_seed(item, seed, told)
        if isinstance(told, (Exception, pytest.fail.Exception)) and seeds.asks_why(item):
            why = why_only_here(item, seed, twin, alone=seeds.begun == 1)
            if why:
                told.add_note(why)
        _draw(item, worlds, told)
        raise told.with_traceback(_without_ours(told, item, end.stood)) from _cause(told)
    finally:
        if twin is not None:
            twin.end()
        if path and worlds:
            write_trace(path, worlds[-1].trace)
    _draw(item, worlds, None)
    if forgotten:
        pytest.fail("; ".join(forgotten), pytrace=False)
    if differs:
        pytest.fail(differs, pytrace=False)


def run_story(item: pytest.Function, story: Callable[[Any], Awaitable[Any]], options: Mapping[str, Any]) -> Any:
    """The world in which a story of a test's own ran; its failure is shown as a simulated test's is."""
    __tracebackhide__ = True
    from simulations.world import simulate

    end = _End()

    async def watched(world: Any) -> Any:
        with end.seen():
            return await story(world)

    try:
        return simulate(watched, **options)[1]
    except BaseException as error:
        told = end.told(error)
        _say_where(item, told, end.stood)
        raise told.with_traceback(_without_ours(told, item, end.stood)) from _cause(told)


class _End:
    """How a story ended: what it failed with itself, or where it stood when its world was ended from outside."""

    def __init__(self) -> None:
        self.own: BaseException | None = None
        self.stood: list[types.TracebackType] = []

    @contextlib.contextmanager
    def seen(self) -> Iterator[None]:
        """Round the story, inside its world."""
        import trio

        try:
            yield
        except BaseException as error:
            cancelled, broken = _split(error, trio.Cancelled)
            if broken is not None:
                self.own = _first(broken)
            elif cancelled is not None:
                nursery = () if cancelled is error else _theirs(error.__traceback__)
                self.stood = [*nursery, *_theirs(cancelled.__traceback__)]
            raise

    def told(self, error: BaseException) -> BaseException:
        """The news of what the world raised: what broke while it ended is none."""
        return self.own or _first(error)


async def _tell(
    item: pytest.Function,
    test: Callable[..., Any],
    arguments: Mapping[str, Any],
    world: Any,
    ends: contextlib.AsyncExitStack,
) -> None:
    made: dict[int, Any] = {}

    async def value(given: Any) -> Any:
        if isinstance(given, Mesh):
            given._begin(world)
            return world
        if not isinstance(given, Later):
            return given
        if id(given) not in made:
            fields = {name: await value(each) for name, each in given.arguments.items()}
            begun: Any = given.make(**fields)
            if isinstance(begun, AsyncGenerator):
                made[id(given)] = await anext(begun)
                ends.push_async_callback(_finish, begun, given.name)
            else:
                made[id(given)] = await begun
        return made[id(given)]

    for given in list(item.funcargs.values()):
        await value(given)  # also of those that the test does not name
    await test(**{name: await value(given) for name, given in arguments.items()})


async def _finish(begun: AsyncGenerator[Any, None], name: str) -> None:
    async for _ in begun:
        raise LocalMistake(f"fixture {name} yields more than once", next_step="let it yield once")


def _draw(item: pytest.Function, worlds: list[Any], error: BaseException | None) -> None:
    """A picture, where it was asked for: of a failure, or of the one seed that somebody looks at."""
    directory = item.config.getoption("simulation_timeline")
    one = item.config.getoption("simulation_seed") is not None and not item.config.getoption("simulation_trace")
    if directory and worlds and (one or isinstance(error, Exception)):
        from simulations.plugin_picture import draw

        drawn = draw(directory, item, worlds[-1], error)
        if error is not None:
            error.add_note(f"picture: {drawn}")
        else:
            item.add_report_section("call", "picture", str(drawn))


# -- failures


def _first(error: BaseException) -> BaseException:
    """Of several errors the one that says most: the only one, a broken promise, a failed assertion; else all."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    told = [_first(each) for each in error.exceptions]
    for kind in (PromiseBroken, AssertionError):
        for each in told:
            if isinstance(each, kind):
                return each
    return told[0] if len(told) == 1 else error


def _split(error: BaseException, kind: type[BaseException]) -> tuple[BaseException | None, BaseException | None]:
    """The first of this kind in an error or a group of such, and what else the group holds."""
    if not isinstance(error, BaseExceptionGroup):
        return (error, None) if isinstance(error, kind) else (None, error)
    group, rest = error.split(kind)
    found: BaseException | None = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found, rest


def _cause(error: BaseException) -> BaseException | None:
    """What the error was raised from, unless that is a group around the very error: nurseries make such."""
    inside: BaseException | None = error.__cause__
    while isinstance(inside, BaseExceptionGroup) and len(inside.exceptions) == 1:
        inside = inside.exceptions[0]
    return None if inside is error or _shown(inside) == _shown(error) else error.__cause__


def _shown(error: BaseException | None) -> tuple[type, str]:
    return type(error), str(error)


def _say_seed(item: pytest.Function, seed: int, error: BaseException) -> None:
    notes = getattr(error, "__notes__", None)
    if notes:
        notes[:] = [note for note in notes if not note.startswith("seed ")]
    error.add_note(f"seed {seed}; replay: {replay(item)}")
    item.user_properties.append((REPLAY, replay(item)))


def _say_where(item: pytest.Function, error: BaseException, stood: list[types.TracebackType]) -> None:
    """Name the test's own line, where the error comes from another place."""
    if stood:
        last = stood[-1]
        file = os.path.relpath(last.tb_frame.f_code.co_filename, item.config.invocation_params.dir)
        error.add_note(f"the test stood at {file}:{last.tb_lineno}, in {last.tb_frame.f_code.co_name}")


def _without_ours(
    error: BaseException, item: pytest.Function, stood: list[types.TracebackType]
) -> types.TracebackType | None:
    """The traceback without the frames that are no news to the test's author."""
    whole = error.__traceback__
    if item.config.getoption("fulltrace"):
        return whole
    theirs = _theirs(whole)
    if not _on_purpose(error) and (not theirs or theirs[-1] is not _frames(whole)[-1]):
        return whole
    if not theirs and stood:
        theirs = stood
    told: types.TracebackType | None = None
    for each in reversed(theirs):
        told = types.TracebackType(told, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return told or whole


def _on_purpose(error: BaseException) -> bool:
    return isinstance(error, (AssertionError, BangpathError))


def _frames(entry: types.TracebackType | None) -> list[types.TracebackType]:
    frames = []
    while entry is not None:
        frames.append(entry)
        entry = entry.tb_next
    return frames


def _theirs(whole: types.TracebackType | None) -> list[types.TracebackType]:
    return [each for each in _frames(whole) if not _is_ours(each.tb_frame.f_code.co_filename)]


def _is_ours(file: str) -> bool:
    if file.startswith(_OURS) or file.startswith("<"):
        return True
    parts = Path(file).parts
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1].removesuffix(".py") in _THEIRS
    return file.startswith(_STDLIB)  # contextlib and the like: between our frames, never the news
