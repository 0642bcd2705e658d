"""Which directory is meant: `-C DIR`, `@ID`, or the one we stand in.

    -C DIR                     that directory, and no other
    @1.4                       the first of these that holds server 1.4
                                 ./1.4  ./mesh/1.4  and the same in each directory above
                                 what `init`, `join` or `mesh` noted last on this machine: STATE/bangpath/servers/1.4
    nothing                    $BANGPATH_DIR, or this directory when it is a server's

STATE is $XDG_STATE_HOME or ~/.local/state. A note is one file with one path; a stale one is passed over. The nearest
directory wins over the note, so that two meshes in two folders never meet by accident.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from identity.errors import Refused
from identity.names import ServerId

CONFIG = "bangpath.toml"


def directory_of(directory: str | None, server: str | None) -> Path:
    """The directory of the server that is meant. Raises `Refused` with what can be said instead."""
    if directory is not None:
        return Path(directory)
    if server is not None:
        return find(str(ServerId.parse(server)))
    named = os.environ.get("BANGPATH_DIR")
    if named:
        return Path(named)
    if Path(CONFIG).exists():
        return Path()
    here = known_here()
    hint = f" (here: {', '.join(f'@{name}' for name in here)})" if here else ""
    raise Refused(
        "no server was named", next_step=f"say @ID{hint} or -C DIR before the command, as in bangpath @1.4 status"
    )


def find(server: str) -> Path:
    """The directory of a server of this machine. Raises `Refused` naming those that are known."""
    for above in (Path.cwd(), *Path.cwd().parents):
        for near in (above / server, above / "mesh" / server):
            if (near / CONFIG).is_file():
                return near
    with contextlib.suppress(OSError):
        noted = Path((_notes() / server).read_text(encoding="utf-8").strip())
        if (noted / CONFIG).is_file():
            return noted
    here = known_here()
    raise Refused(
        f"no server {server} is known on this machine",
        next_step=f"name one of {', '.join(f'@{name}' for name in here)}" if here else "name its directory with -C DIR",
    )


def known_here() -> list[str]:
    """The ids that `@ID` would find, in the order of their names."""
    names: set[str] = set()
    places = [place for above in (Path.cwd(), *Path.cwd().parents) for place in (above, above / "mesh")]
    for place in places:
        with contextlib.suppress(OSError):
            names.update(each.parent.name for each in place.glob(f"*/{CONFIG}"))
    with contextlib.suppress(OSError):
        names.update(each.name for each in _notes().iterdir() if (Path(each.read_text().strip()) / CONFIG).is_file())
    known = []
    for name in names:
        with contextlib.suppress(Refused):
            known.append(ServerId.parse(name))
    return [str(each) for each in sorted(known)]


def note(server: str, directory: Path) -> None:
    """Remember where a server of this machine lives. Nothing depends on it, so nothing fails with it."""
    with contextlib.suppress(OSError):
        _notes().mkdir(parents=True, exist_ok=True)
        (_notes() / server).write_text(f"{directory.resolve()}\n", encoding="utf-8")


def _notes() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(state) / "bangpath" / "servers"
