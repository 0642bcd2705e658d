"""Verbs of servers: what a machine, its disk and its clock can suffer.

    crash 1.2                            the power fails: what was not synced is lost, torn or kept by chance
    crash 1.2 with a torn write          and the last write is torn for certain
    crash 1.2 at write 40                inside the 40th write from now on, of log or tables; or: at sync 10
    kill 1.2                             the process dies; what it wrote without a sync is still in the cache
    stop 1.2                             in order
    restart 1.2                          after any of these
    pause 1.2                            nothing of it runs (SIGSTOP), until: resume 1.2
    disk of 1.2 is full                  or: has room for 4000 bytes
    disk of 1.2 takes 50ms a sync
    disk of 1.2 fails at sync 10         or: at write 40; an input/output error, after which it must be started again
    disk of 1.2 rots 3 bytes             durable ones; undone, they are as they were
    clock of 1.2 is 90s ahead            or: behind; the wall clock, nobody's monotonic one
    clock of 1.2 jumps 60m back          or: forward
    back up 1.2                          its whole directory, as it is at that moment, and then:
    restore 1.2                          it comes back as it was
    back up 1.2 and restore it after 5s

What lasts is undone as an operator would: a server that is down is started, a disk that failed is mended and its
server started again, a rotten one replaced by its intact twin. A server that cannot start, because another fault
still holds its ground, stays down until that one is undone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trio

from identity.errors import BangpathError, Refused
from simulations.server import SimulatedServer
from simulations.steps import ID, NUMBER, SECONDS, Act, Lasting, Run, Verb, amount, lapse, seconds


async def _up_again(run: Run, server: SimulatedServer) -> None:
    """Started, if it is down; a start that is refused leaves it to whoever undoes the next fault."""
    if not server.running:
        try:
            await server.restart()
        except BangpathError as error:
            run.world.mark("refused", server.name, text=str(error))


def _down(way: str, what: str = "") -> Callable[..., Act]:
    """The server goes down in this way; undone, it is up again. `what`: how to say that only the simulator can."""

    def make(name: str) -> Act:
        async def act(run: Run) -> Lasting:
            if what:
                run.simulated(what)
            server = run.server(name)
            if way == "stop":
                await server.stop()
            elif way == "torn":
                await server.crash(torn_write=True)
            elif way == "kill":
                await server.kill()
            else:
                await server.crash()
            return Lasting("", lambda: _up_again(run, server))

        return act

    return make


def _crash_at(name: str, step: str, number: str) -> Act:
    _counts(number, step)

    async def act(run: Run) -> Lasting:
        run.simulated("a crash in a chosen write or sync")
        server = run.server(name)
        server.disk.crash_at(**{step: int(number)})
        chosen = _chosen(run, f"crash {name} at {step} {number}", lambda: server.disk.will_crash)

        async def undo() -> None:
            chosen.undone = chosen.pending()
            server.disk.crash_at()
            await _up_again(run, server)

        return Lasting("", undo)

    return act


@dataclass
class _Chosen:
    """A step in which something is to happen. `undone`: whether it was still to come when it was undone."""

    text: str
    pending: Callable[[], bool]
    undone: bool | None = None


def _chosen(run: Run, text: str, pending: Callable[[], bool]) -> _Chosen:
    chosen = _Chosen(text, pending)
    run.memory.setdefault("chosen steps", []).append(chosen)
    return chosen


def never_came(run: Run) -> list[str]:
    """The lines that chose a step of a disk which did not come until they were undone, or until now."""
    chosen: list[_Chosen] = run.memory.get("chosen steps", [])
    return [each.text for each in chosen if (each.pending() if each.undone is None else each.undone)]


def _counts(number: str, step: str) -> None:
    """Raises `Refused` for a step that never comes: the next one is the first."""
    if not int(number):
        raise Refused(f"there is no {step} {number}", next_step=f"the next one is: {step} 1")


def _restart(name: str) -> Act:
    async def act(run: Run) -> str:
        await run.server(name).restart()
        return ""

    return act


def _pause(name: str) -> Act:
    async def act(run: Run) -> Lasting:
        server = run.server(name)
        await server.pause()
        return Lasting("", server.resume)

    return act


def _resume(name: str) -> Act:
    async def act(run: Run) -> str:
        await run.server(name).resume()
        return ""

    return act


# -- disks


def _room(name: str, number: str | None) -> Act:
    async def act(run: Run) -> Lasting:
        run.simulated("a disk that is full")
        server = run.server(name)
        server.set_room(int(number or 0))

        async def undo() -> None:
            server.set_room(None)
            if server.died is not None:
                await _up_again(run, server)

        return Lasting("", undo)

    return act


def _slow(name: str, number: str, unit: str) -> Act:
    takes_s = lapse(number, unit)

    async def act(run: Run) -> Lasting:
        run.simulated("a slow disk")
        server = run.server(name)
        server.set_disk_speed(takes_s)

        async def undo() -> None:
            server.set_disk_speed()

        return Lasting("", undo)

    return act


def _fails_at(name: str, step: str, number: str) -> Act:
    _counts(number, step)

    async def act(run: Run) -> Lasting:
        run.simulated("a disk that fails")
        server = run.server(name)
        server.disk.fail_at(**{step: int(number)})
        chosen = _chosen(run, f"disk of {name} fails at {step} {number}", lambda: server.disk.will_fail)

        async def undo() -> None:
            chosen.undone = chosen.pending()
            server.disk.fail_at()
            if server.disk.failure is not None and server.running:
                await server.kill()
            await _up_again(run, server)

        return Lasting("", undo)

    return act


def _rots(name: str, number: str) -> Act:
    wished = amount(number, "bytes")

    async def act(run: Run) -> Lasting:
        run.simulated("bit rot")
        server = run.server(name)
        rotten = server.rot(wished)

        async def undo() -> None:
            server.heal_rot()
            await _up_again(run, server)

        return Lasting(f"{rotten} bytes", undo)

    return act


# -- clocks


def _clock_is(name: str, number: str, unit: str, way: str) -> Act:
    return _clock(name, lambda now: seconds(number, unit) * (1 if way == "ahead" else -1))


def _clock_jumps(name: str, number: str, unit: str, way: str) -> Act:
    return _clock(name, lambda now: now + seconds(number, unit) * (1 if way == "forward" else -1))


def _clock(name: str, new: Callable[[float], float]) -> Act:
    """The offset becomes what `new` makes of the one there is; undone, the clock is right."""

    async def act(run: Run) -> Lasting:
        run.simulated("a wrong clock")
        server = run.server(name)
        server.set_clock(new(server.clock_offset_ms / 1000))

        async def undo() -> None:
            server.set_clock(0)

        return Lasting("", undo)

    return act


# -- backups


def _back_up(name: str) -> Act:
    async def act(run: Run) -> str:
        run.simulated("a backup of a whole directory")
        run.server(name).back_up()
        return ""

    return act


def _restore(name: str) -> Act:
    async def act(run: Run) -> str:
        run.simulated("a restart from an old backup")
        await run.server(name).restore()
        return ""

    return act


def _set_back(name: str, number: str, unit: str) -> Act:
    after_s = lapse(number, unit)

    async def act(run: Run) -> str:
        run.simulated("a restart from an old backup")
        server = run.server(name)
        backup = server.back_up()
        await trio.sleep(after_s)
        await server.restore(backup)
        return ""

    return act


_STEP = r"(write|sync)"

VERBS: tuple[Verb, ...] = (
    Verb(rf"crash {ID}", (1,), _down("crash"), "crash 1.2", lasting=True, fault="crash"),
    Verb(
        rf"crash {ID} with a torn write", (1,), _down("torn", "a torn write"), "crash 1.2 with a torn write",
        lasting=True, fault="torn write",
    ),
    Verb(
        rf"crash {ID} at {_STEP} {NUMBER}", (1,), _crash_at, "crash 1.2 at write 40",
        lasting=True, fault="crash in a write",
    ),
    Verb(rf"kill {ID}", (1,), _down("kill"), "kill 1.2", lasting=True, fault="kill"),
    Verb(rf"stop {ID}", (1,), _down("stop"), "stop 1.2", lasting=True, fault="stop"),
    Verb(rf"restart {ID}", (1,), _restart, "restart 1.2"),
    Verb(rf"pause {ID}", (1,), _pause, "pause 1.2", lasting=True, fault="pause"),
    Verb(rf"resume {ID}", (1,), _resume, "resume 1.2"),
    Verb(
        rf"disk of {ID} (?:is full|has room for {NUMBER} bytes)", (1,), _room, "disk of 1.2 has room for 4000 bytes",
        lasting=True, fault="full disk",
    ),
    Verb(
        rf"disk of {ID} takes {SECONDS} a sync", (1,), _slow, "disk of 1.2 takes 50ms a sync",
        lasting=True, fault="slow disk",
    ),
    Verb(
        rf"disk of {ID} fails at {_STEP} {NUMBER}", (1,), _fails_at, "disk of 1.2 fails at sync 10",
        lasting=True, fault="failing disk",
    ),
    Verb(
        rf"disk of {ID} rots {NUMBER} bytes?", (1,), _rots, "disk of 1.2 rots 3 bytes",
        lasting=True, fault="bit rot",
    ),
    Verb(
        rf"clock of {ID} is {SECONDS} (ahead|behind)", (1,), _clock_is, "clock of 1.2 is 90s ahead",
        lasting=True, fault="clock offset",
    ),
    Verb(
        rf"clock of {ID} jumps {SECONDS} (back|forward)", (1,), _clock_jumps, "clock of 1.2 jumps 60m back",
        lasting=True, fault="clock jump",
    ),
    Verb(rf"back up {ID}", (1,), _back_up, "back up 1.2"),
    Verb(rf"restore {ID}", (1,), _restore, "restore 1.2"),
    Verb(
        rf"back up {ID} and restore it after {SECONDS}", (1,), _set_back, "back up 1.2 and restore it after 5s",
        fault="old backup",
    ),
)  # fmt: skip
