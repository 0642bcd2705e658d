"""The house stands: imports go downward, pure files stay pure, nothing goes in a circle, every file is on its map.

    5  simulations
    4  node
    3  routing     replication      of floor 2 only the vocabulary
    2  transport   store
    1  identity

The checks are functions over a tree of folders, so that each can be shown a planted breach and must find it.
"""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
FLOOR = {"identity": 1, "transport": 2, "store": 2, "routing": 3, "replication": 3, "node": 4, "simulations": 5}

# What floor 3 may see of floor 2: values and their bytes, nothing that acts (LAYOUT "Who may import whom").
VOCABULARY = {"transport.wire", "transport.events", "transport.ranges", "store.records"}

# Clocks, sockets, randomness, threads, files: in shells only. Everything else is told the time and handed a generator.
CLOCKS_AND_PORTS = {
    "trio", "time", "random", "socket", "os", "threading", "select", "selectors", "asyncio", "concurrent",
    "multiprocessing", "secrets", "subprocess", "signal", "nacl.utils",
}  # fmt: skip

# The shells, each with what it touches. A name stands for all that is below it.
SHELLS = {
    "identity.keys": "the key file",
    "transport.ports": "the seam is awaited",
    "transport.sockets": "the real ports",
    "store.blobs": "writes and reads in pieces, and lets others run between",
    "store.archive": "another disk, to which it moves files while others run",
    "store.cipher": "nonces that nobody can guess",
    "store.data_key": "the file of the wrapped key",
    "store.disk": "the real disk",
    "store.frames": "a compressor for each thread",
    "store.tables": "LMDB",
    "store.worker": "the thread of the real disk and of LMDB",
    "store.fold": "naps while it folds",
    "store.backup_directories": "directories",
    "store.mending_tables": "a task beside those of the store",
    "store.probing": "another process reads LMDB's pages first",
    "store.read_only": "files of others",
    "store.repair": "directories, and LMDB is folded into",
    "store.scrubbing": "a task beside those of the store",
    "store.upkeep": "directories",
    "store.builder": "the tasks that build indexes",
    "store.upgrader": "the tasks that upgrade objects",
    "store.work": "its callers wait for events",
    "store.writing": "the loop of the task that owns the log",
    "store.database": "the task that owns the log",
    "node.secrets": "the environment and the terminal",
    "node.adopting": "a task of the node",
    "node.announcing": "a task of the node",
    "node.applying": "the task that hands updates to the store",
    "node.children": "the mesh's processes",
    "node.cli": "the command",
    "node.delivering": "the task of the outbox",
    "node.client": "speaks to a node's socket",
    "node.config": "the configuration file",
    "node.embedded": "the real ground under a store alone",
    "node.embedded_blocking": "its thread",
    "node.fan_out": "one task for each owner asked",
    "node.http": "the node's HTTP",
    "node.mesh": "the mesh's supervisor",
    "node.mesh_control": "kills and revives its servers",
    "node.mesh_map_live": "the map's tasks",
    "node.mesh_map_terminal": "the terminal",
    "node.mesh_view": "what it shows",
    "node.newcomer": "the task that joins",
    "node.node": "one nursery",
    "node.opening": "where the real seams are chosen",
    "node.posting": "waits for answers",
    "node.pump": "the one loop",
    "node.racing": "lets several answer, and waits for the first",
    "node.requesting": "waits for answers",
    "node.saying": "reads the clock for the lists",
    "node.serving": "tasks that answer",
    "node.standpoint": "awaits on behalf of lookup and federate",
    "node.tending": "a task of the node",
    "node.tour": "plays on running servers",
    "node.tour_view": "what it shows, with time to read",
    "node.tracing": "words that wait for answers",
    "node.watching": "a task of the node",
    "simulations": "it is the ground itself",
}

LINES = 400


class Import(NamedTuple):
    """One name that a file imports. `at_load`: when the file is loaded; `typing`: only for a type checker."""

    name: str
    line: int
    at_load: bool
    typing: bool


class Source(NamedTuple):
    """What the checks want to know of one file."""

    imports: tuple[Import, ...]
    clocks: tuple[int, ...]  # lines that ask datetime for the time
    lines: int
    docstring: str
    statements: int  # at the top


def modules(tree: Path) -> dict[str, Path]:
    """Every module of the product below `tree`, by dotted name."""
    found = {}
    for floor in FLOOR:
        for path in sorted((tree / floor).rglob("*.py")):
            parts = path.relative_to(tree).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def read(module: str, path: Path) -> Source:
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    return parse(path.read_text(encoding="utf-8"), package)


@cache
def parse(text: str, package: str) -> Source:
    whole = ast.parse(text)
    clocks = (
        node.lineno
        for node in ast.walk(whole)
        if isinstance(node, ast.Attribute)
        and node.attr in ("now", "today", "utcnow")
        and ast.unparse(node.value) in ("datetime", "date", "datetime.datetime", "datetime.date")
    )
    head = ast.get_docstring(whole, clean=False) or ""
    return Source(tuple(imports(whole, package)), tuple(clocks), len(text.splitlines()), head, len(whole.body))


def imports(node: ast.AST, package: str, *, at_load: bool = True, typing: bool = False) -> Iterator[Import]:
    """Every import below `node`; relative ones as the names that they mean."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for name in child.names:
                yield Import(name.name, child.lineno, at_load, typing)
        elif isinstance(child, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - child.level + 1] if child.level else []
            base = ".".join([*above, *([child.module] if child.module else [])])
            yield Import(base, child.lineno, at_load, typing)
            for name in child.names:
                yield Import(f"{base}.{name.name}", child.lineno, at_load, typing)
        elif isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for each in child.body:
                yield from imports(ast.Module([each], []), package, at_load=False, typing=True)
            for each in child.orelse:
                yield from imports(ast.Module([each], []), package, at_load=at_load, typing=typing)
        else:
            later = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from imports(child, package, at_load=at_load and not later, typing=typing)


def is_shell(module: str) -> bool:
    return any(module == each or module.startswith(f"{each}.") for each in SHELLS)


# -- the checks: each gives the breaches that it finds in a tree


def breaches_of_floors(tree: Path) -> list[str]:
    told = []
    for module, path in modules(tree).items():
        here = module.split(".")[0]
        for name, line, _, _ in read(module, path).imports:
            there = name.split(".")[0]
            if there not in FLOOR or there == here:
                continue
            where = f"{module}:{line} imports {name}"
            if FLOOR[there] > FLOOR[here]:
                told.append(f"{where}, which is above it")
            elif FLOOR[there] == FLOOR[here]:
                told.append(f"{where}, which is beside it")
            elif FLOOR[here] == 3 and FLOOR[there] == 2 and is_more_than_vocabulary(name):
                told.append(f"{where}, which is no vocabulary")
    return told


def is_more_than_vocabulary(name: str) -> bool:
    """Whether a name of floor 2 is none that floor 3 may see; a bare floor holds nothing."""
    return "." in name and ".".join(name.split(".")[:2]) not in VOCABULARY


def breaches_of_purity(tree: Path) -> list[str]:
    told = []
    for module, path in modules(tree).items():
        if is_shell(module):
            continue
        source = read(module, path)
        for name, line, _, typing in source.imports:
            impure = any(name == each or name.startswith(f"{each}.") for each in CLOCKS_AND_PORTS)
            # `from random import Random` names the type of a generator that is handed in; it draws nothing.
            alone = name in ("random", "random.Random") and names_only_the_type(source, line)
            if impure and not typing and not alone:
                told.append(f"{module}:{line} imports {name}, and is a pure file")
        told += [f"{module}:{line} asks for the time, and is a pure file" for line in source.clocks]
    return told


def names_only_the_type(source: Source, line: int) -> bool:
    return [each.name for each in source.imports if each.line == line] == ["random", "random.Random"]


def circles(tree: Path) -> list[str]:
    known = modules(tree)
    edges = {
        module: sorted({name for name, _, at_load, _ in read(module, path).imports if at_load and name in known})
        for module, path in known.items()
    }
    told: list[str] = []
    done: set[str] = set()

    def visit(module: str, trail: list[str]) -> None:
        if module in trail:
            told.append(" -> ".join([*trail[trail.index(module) :], module]))
        elif module not in done:
            for other in edges[module]:
                visit(other, [*trail, module])
            done.add(module)

    for module in edges:
        visit(module, [])
    return told


def breaches_of_maps(tree: Path) -> list[str]:
    """Each folder's `__init__` is a docstring that names its files; it imports nothing."""
    told = []
    for folder in sorted({path.parent for path in modules(tree).values()}):
        init = folder / "__init__.py"
        name = ".".join(folder.relative_to(tree).parts)
        if not init.exists():
            told.append(f"{name} has no map")
            continue
        source = read(name, init)
        if source.statements != 1 or not source.docstring:
            told.append(f"{name}/__init__.py is more, or less, than a docstring")
        told += [
            f"{name}/{path.name} is not on its floor's map"
            for path in sorted(folder.glob("*.py"))
            if path.stem not in ("__init__", "__main__") and not is_named(path.name, source.docstring)
        ]
    return told


def is_named(file: str, text: str) -> bool:
    """Whether the name, with .py or without, is a word in the map's tables, whose lines are indented."""
    tables = "\n".join(line for line in text.splitlines() if line.startswith("    "))
    return re.search(rf"(?<![\w.-]){re.escape(file.removesuffix('.py'))}(?![\w-])", tables) is not None


def breaches_of_length(tree: Path) -> list[str]:
    told = []
    for module, path in modules(tree).items():
        source = read(module, path)
        if not source.docstring:
            told.append(f"{module} does not open with its promise")
        if source.lines > LINES and f"longer than {LINES} lines because" not in " ".join(source.docstring.split()):
            told.append(f"{module} has {source.lines} lines and no reason in its head")
    return told


def inits_under_tests(tree: Path) -> list[str]:
    """With one, `import store` in a test finds tests/store (LAYOUT "Measured")."""
    return [str(path.relative_to(tree)) for path in (tree / "tests").rglob("__init__.py")]


def shells_that_are_gone(tree: Path) -> list[str]:
    known = modules(tree)
    return [f"{shell} is called a shell and is not there" for shell in SHELLS if shell not in known]


Check = Callable[[Path], list[str]]
CHECKS: list[Check] = [
    breaches_of_floors, breaches_of_purity, circles, breaches_of_maps, breaches_of_length, inits_under_tests,
    shells_that_are_gone,
]  # fmt: skip


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_house_stands(check: Check) -> None:
    found = check(ROOT)
    assert not found, "\n".join(["", *found])


# -- a small house, sound in every point, and a breach of each rule planted in it

MAP = '"""A floor.\n\n    {files}\n"""\n'
SOUND = {
    "identity": ["errors", "names"],
    "transport": ["wire", "loss"],
    "store": ["records", "log", "disk"],
    "routing": ["router"],
    "replication": ["flood"],
    "node": ["lookup", "pump"],
    "simulations": ["world"],
}
RIGHT = """
from random import Random
from typing import TYPE_CHECKING
import datetime
if TYPE_CHECKING:
    import random
"""
ALLOWED = {
    "routing/router.py": "from transport import wire\nfrom transport.wire import Message\nimport store.records\n",
    "node/lookup.py": "import replication.flood\nfrom . import pump\nfrom .pump import Pump\n",
    "node/pump.py": "import trio\nimport time\n",
    "store/disk.py": "def late():\n    import os\n",
    "store/log.py": "if TYPE_CHECKING:\n    import store.disk\n" + "#\n" * 380,
    "identity/names.py": "import identity.errors\n",
    "identity/errors.py": "def late():\n    import identity.names\n",
}


@pytest.fixture
def house(tmp_path: Path) -> Path:
    for floor, files in SOUND.items():
        (tmp_path / floor).mkdir()
        (tmp_path / floor / "__init__.py").write_text(MAP.format(files=" ".join(f"{each}.py" for each in files)))
        for each in files:
            text = '"""A promise."""\n' + RIGHT + ALLOWED.get(f"{floor}/{each}.py", "")
            (tmp_path / floor / f"{each}.py").write_text(text)
    (tmp_path / "tests" / "store").mkdir(parents=True)
    return tmp_path


def test_a_sound_house_is_found_sound(house: Path) -> None:
    for check in CHECKS[:-1]:
        assert check(house) == [], check.__name__


PLANTED: list[tuple[Check, str, str, str]] = [
    (breaches_of_floors, "identity/names.py", "import node.lookup\n", "above it"),
    (breaches_of_floors, "identity/names.py", "if TYPE_CHECKING:\n    import store.log\n", "above it"),
    (breaches_of_floors, "node/lookup.py", "from simulations import world\n", "above it"),
    (breaches_of_floors, "routing/router.py", "from replication.flood import Flood\n", "beside it"),
    (breaches_of_floors, "store/log.py", "def late():\n    import transport.wire\n", "beside it"),
    (breaches_of_floors, "replication/flood.py", "from transport.loss import Loss\n", "no vocabulary"),
    (breaches_of_floors, "replication/flood.py", "from transport import loss\n", "no vocabulary"),
    (breaches_of_floors, "routing/router.py", "import store.log\n", "no vocabulary"),
    (breaches_of_purity, "transport/loss.py", "import time\n", "imports time"),
    (breaches_of_purity, "transport/loss.py", "from datetime import datetime\nx = datetime.now()\n", "asks for the"),
    (breaches_of_purity, "transport/loss.py", "x = datetime.date.today()\n", "asks for the time"),
    (breaches_of_purity, "routing/router.py", "import socket\n", "imports socket"),
    (breaches_of_purity, "routing/router.py", "from os.path import join\n", "imports os.path"),
    (breaches_of_purity, "store/log.py", "def late():\n    import threading\n", "imports threading"),
    (breaches_of_purity, "replication/flood.py", "import random\n", "imports random"),
    (breaches_of_purity, "replication/flood.py", "from random import Random, choice\n", "imports random.choice"),
    (breaches_of_purity, "identity/names.py", "import nacl.utils\n", "imports nacl.utils"),
    (breaches_of_purity, "node/lookup.py", "import trio\n", "imports trio"),
    (breaches_of_purity, "node/lookup.py", "if not TYPE_CHECKING:\n    import trio\n", "imports trio"),
    (breaches_of_purity, "node/lookup.py", "if TYPE_CHECKING:\n    pass\nelse:\n    import trio\n", "imports trio"),
    (circles, "identity/errors.py", "import identity.names\n", "identity.errors -> identity.names -> identity.errors"),
    (circles, "node/pump.py", "try:\n    from . import lookup\nfinally:\n    pass\n", "node.lookup -> node.pump"),
    (breaches_of_maps, "store/__init__.py", "import store.log\n", "more, or less"),
    (breaches_of_maps, "store/og.py", '"""A promise."""\n', "store/og.py is not on its floor's map"),
    (breaches_of_maps, "node/http/words.py", '"""A promise."""\n', "node.http has no map"),
    (breaches_of_length, "store/log.py", "# line\n" * 100, "no reason in its head"),
    (breaches_of_length, "store/unheard_of.py", "x = 1\n", "does not open with its promise"),
    (inits_under_tests, "tests/store/__init__.py", "", "tests/store/__init__.py"),
    (shells_that_are_gone, "node/pump.py", "", "store.database is called a shell"),
]


@pytest.mark.parametrize(("check", "file", "planted", "told"), PLANTED)
def test_each_breach_is_found(check: Check, file: str, planted: str, told: str, house: Path) -> None:
    target = house / file
    target.parent.mkdir(exist_ok=True)
    target.write_text((target.read_text() if target.exists() else "") + planted)
    found = check(house)
    assert any(told in each for each in found), found


def test_a_reason_in_its_head_lets_a_file_be_longer(house: Path) -> None:
    head = '"""A promise.\n\nThis file is longer than 400 lines because it is\none thought.\n"""\n'
    (house / "store" / "log.py").write_text(head + "# line\n" * 500)
    assert breaches_of_length(house) == []


def test_the_real_house_shows_a_breach_too(tmp_path: Path) -> None:
    for floor in FLOOR:
        shutil.copytree(ROOT / floor, tmp_path / floor, ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "identity" / "names.py").open("a") as file:
        file.write("import trio\nimport node.pump\n")
    assert any("identity.names" in each for each in breaches_of_floors(tmp_path))
    assert any("identity.names" in each for each in breaches_of_purity(tmp_path))
