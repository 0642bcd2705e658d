"""What `bangpath mesh` shows: steps as lines, one bar, one live table, and commands to copy.

    server  name       process  objects  mirrors  mirrored  peers  lag
    1       authority      411        0      1.1    18 898    5/5    0
    1.1     America        417   18 898      1.2     3 066    5/5    0

At a terminal the table stays in its place and is redrawn. Elsewhere (a file, a pipe, CI) it is printed as plain lines
whenever what it says has changed, and no control character is written.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from identity.errors import BangpathError
from node.airports import NEXT, Place
from node.cli.output import counted, table

BAR = 40
QUIET_STEP = 0.1  # without a terminal: a line each tenth


class Screen:
    """Standard output, as a terminal or as plain lines."""

    def __init__(self, directory: Path) -> None:
        self._live = sys.stdout.isatty()
        self._drawn = 0  # lines of the table that stand at the bottom
        self._said = ""
        self._directory = directory
        self.command = command_name()

    def say(self, text: str) -> None:
        """One line, above the table."""
        self._erase()
        self._print(text)
        self._said = ""

    def of(self, server: str) -> str:
        """The command that means a server of this mesh: `bangpath @1.2`, or by its directory when @ID finds another."""
        from node.cli.where import find

        try:
            if find(server).resolve() == (self._directory / server).resolve():
                return f"{self.command} @{server}"
        except BangpathError:
            pass
        return f"{self.command} -C {self._directory / server}"

    def died(self, place: Place, how: str) -> None:
        """A server ended that should not have."""
        self.say(f"{place.server} {place.name} is gone: {how}. The others go on.")
        self.say(f"  start it again, in any terminal:  {self.of(place.server)} run")

    @contextmanager
    def progress(self, total: int, done: int) -> Iterator[Callable[[int], None]]:
        """The import's bar."""
        told = -1.0

        def advance(count: int) -> None:
            nonlocal done, told
            done += count
            part = done / total if total else 1.0
            if self._live:
                full = round(part * BAR)
                bar = "#" * full + "-" * (BAR - full)
                self._print(f"\rimporting [{bar}] {counted(done)} of {counted(total)} airports", end="")
            elif part - told >= QUIET_STEP or done == total:
                told = part
                self._print(f"importing: {counted(done)} of {counted(total)} airports")

        advance(0)
        yield advance
        if self._live:
            self._print("")

    def standing(self, seconds: float, *, caught_up: bool) -> None:
        self.say(
            f"everything stands after {seconds:.1f} s"
            if caught_up
            else f"everything stands after {seconds:.1f} s, but a mirror is still behind"
        )

    async def what_next(self, oceania: Any) -> list[str]:
        """Commands to copy, each of which works as it stands."""
        lines = ["", "what to try next, in another terminal:"]
        kenya = """query 'Airport where country = "KE" order by -elevation limit 5'"""
        lines.append(f"  {self.of('1.3')} {kenya}")
        reference = await _mirrored_airport(oceania)
        if reference:
            lines.append(f"  {self.of('1.4')} get {reference}")
        lines += [
            f"  {self.of('1.2')} query 'Airport order by elevation' --json | tail -n 1",
            f"  {self.of('1.5')} feeds",
            f"  {self.of('1.1')} peers",
            f"  kill -9 $(cat {self._directory / '1.2' / 'pid'}); {self.of('1.2')} run",
            "Ctrl-C here stops all six.",
            "",
        ]
        return lines

    def show(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        """The table, redrawn or, without a terminal, printed when it says something new."""
        lines = table(
            ("server", "name", "process", "objects", "mirrors", "mirrored", "peers", "feeds", "lag"),
            [_row(server, state) for server, state in states.items()],
        )
        if self._live:
            self._erase()
            limit = shutil.get_terminal_size().columns - 1
            self._print("\n".join(line[:limit] for line in lines))
            self._drawn = len(lines)
        elif "\n".join(lines) != self._said:
            self._said = "\n".join(lines)
            self._print(self._said)

    def stopped(self, directory: Path, not_ours: list[str]) -> None:
        rest = f" ({', '.join(not_ours)} not ours or not running)" if not_ours else ""
        self.say(f"all stopped{rest}; everything is kept in {directory}, and the next run continues there")

    def _erase(self) -> None:
        if self._drawn:
            self._print(f"\x1b[{self._drawn}A\x1b[J", end="")
            self._drawn = 0

    def _print(self, text: str, *, end: str = "\n") -> None:
        """A reader that has gone (`bangpath mesh | head`) must not keep the servers from being stopped in order."""
        with suppress(BrokenPipeError):
            print(text, end=end, flush=True)


def command_name() -> str:
    """How this very command is called from where we stand: its name if PATH finds it, else its path."""
    ours = Path(sys.executable).parent / "bangpath"
    found = shutil.which("bangpath")
    if found and ours.exists() and os.path.samefile(found, ours):
        return "bangpath"
    if ours.exists():
        near = os.path.relpath(ours)
        return near if not near.startswith("..") else str(ours)
    return f"{sys.executable} -m node.cli.main"


async def _mirrored_airport(client: Any) -> str:
    """One of Oceania's airports, which Africa mirrors: Sydney, or any other."""
    for text in ('Airport where icao = "YSSY" from 1.5 limit 1', "Airport from 1.5 limit 1"):
        try:
            rows = (await client.query(text, consistency="local"))["rows"]
        except BangpathError:
            return ""
        if rows:
            return str(rows[0]["reference"])
    return ""


def _row(server: str, state: Mapping[str, Any]) -> tuple[Any, ...]:
    name = state["place"].name
    if "status" not in state:
        return server, name, state.get("trouble", "?"), None, NEXT[server], None, None, None, None
    objects = state["status"].get("objects") or {}
    peers = state.get("peers") or []
    direct = sum(1 for each in peers if each.get("state") == "direct")
    process = state.get("pid") or "by hand"
    return (
        server,
        name,
        process,
        counted(objects.get("owned", 0)),
        NEXT[server],
        counted(objects.get("mirrored", 0)),
        f"{direct}/{len(peers)}",
        len(state.get("feeds") or ()),
        state.get("lag"),
    )
