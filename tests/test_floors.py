"""The house stands: imports go downward, pure files stay pure, nothing goes in a circle, every file is on its map.

The checks are functions over a tree of folders, so that each can be shown a planted breach and must find it.
"""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOOR = {"identity": 1, "transport": 2, "store": 2, "routing": 3, "replication": 3, "node": 4, "simulations": 5}

# What floor 3 may see of floor 2: values and their bytes, nothing that acts (LAYOUT "Who may import whom").
VOCABULARY = {"transport.wire", "transport.events", "transport.ranges", "store.records"}

# Clocks, sockets, randomness, threads, files: only here. Everything else is told the time and handed a generator.
CLOCKS_AND_PORTS = {"trio", "time", "random", "socket", "os", "threading", "select", "asyncio", "secrets", "subprocess"}
IMPURE = {
    "identity.keys": "the key file",
    "transport.sockets": "the real ports",
    "transport.ports": "the seam is awaited",
    "store.disk": "the real disk",
    "store.worker": "the thread of the real disk and of LMDB",
    "store.tables": "LMDB",
    "store.database": "the task that owns the log",
    "node": "the shell: one nursery, real seams chosen in node.opening",
    "simulations": "it is the ground itself",
}
PURE_IN_NODE = {
    "node.airports", "node.asking", "node.calls", "node.declare", "node.directory", "node.dispatch", "node.federate",
    "node.greeting", "node.importing", "node.joining", "node.language", "node.lookup", "node.requests", "node.rows",
    "node.sentences",
}  # fmt: skip

LINES = 400


def modules(tree: Path) -> dict[str, Path]:
    """Every module of the product below `tree`, by dotted name."""
    found = {}
    for floor in FLOOR:
        for path in sorted((tree / floor).rglob("*.py")):
            parts = path.relative_to(tree).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path) -> Iterator[tuple[str, int, bool]]:
    """What a file imports: dotted name, line, and whether it happens when the file is loaded and not only for types."""

    def walk(node: ast.AST, *, at_load: bool) -> Iterator[tuple[str, int, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            if isinstance(child, ast.Import):
                for name in child.names:
                    yield name.name, child.lineno, at_load
            elif isinstance(child, ast.ImportFrom) and child.module and not child.level:
                yield child.module, child.lineno, at_load
                for name in child.names:
                    yield f"{child.module}.{name.name}", child.lineno, at_load
            deeper = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from walk(child, at_load=at_load and not deeper)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), at_load=True)


def only_random_type(path: Path, line: int) -> bool:
    """`from random import Random` names the type of a generator that is handed in; it draws nothing."""
    return path.read_text(encoding="utf-8").splitlines()[line - 1].strip() == "from random import Random"


def breaches_of_floors(tree: Path) -> list[str]:
    told = []
    known = modules(tree)
    for module, path in known.items():
        here = module.split(".")[0]
        for name, line, _ in imports(path):
            there = name.split(".")[0]
            if there not in FLOOR or there == here:
                continue
            where = f"{module}:{line} imports {name}"
            if FLOOR[there] > FLOOR[here]:
                told.append(f"{where}, which is above it")
            elif FLOOR[there] == FLOOR[here]:
                told.append(f"{where}, which is beside it")
            elif FLOOR[here] == 3 and FLOOR[there] == 2 and ".".join(name.split(".")[:2]) not in VOCABULARY:
                told.append(f"{where}, which is no vocabulary")
    return told


def breaches_of_purity(tree: Path) -> list[str]:
    told = []
    for module, path in modules(tree).items():
        shell = module in IMPURE or module.split(".")[0] in IMPURE
        if shell and module not in PURE_IN_NODE:
            continue
        for name, line, _ in imports(path):
            if name.split(".")[0] in CLOCKS_AND_PORTS and not only_random_type(path, line):
                told.append(f"{module}:{line} imports {name}, and is a pure file")
    return told


def circles(tree: Path) -> list[str]:
    known = modules(tree)
    edges = {
        module: sorted({name for name, _, at_load in imports(path) if at_load and name in known and name != module})
        for module, path in known.items()
    }
    told: list[str] = []
    done: set[str] = set()

    def visit(module: str, trail: list[str]) -> None:
        if module in trail:
            told.append(" -> ".join([*trail[trail.index(module) :], module]))
            return
        if module in done:
            return
        for other in edges[module]:
            visit(other, [*trail, module])
        done.add(module)

    for module in edges:
        visit(module, [])
    return told


def breaches_of_maps(tree: Path) -> list[str]:
    """Each floor's `__init__` is a docstring that names its files; it imports nothing."""
    told = []
    for folder in sorted({path.parent for path in modules(tree).values()}):
        init = folder / "__init__.py"
        name = ".".join(folder.relative_to(tree).parts)
        if not init.exists():
            told.append(f"{name} has no map")
            continue
        body = ast.parse(init.read_text(encoding="utf-8")).body
        text = ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))) or ""
        if len(body) != 1 or not text:
            told.append(f"{name}/__init__.py is more, or less, than a docstring")
        told += [
            f"{name}/{path.name} is not on its floor's map"
            for path in sorted(folder.glob("*.py"))
            if path.stem not in ("__init__", "__main__") and path.name not in text
        ]
    return told


def breaches_of_length(tree: Path) -> list[str]:
    told = []
    for module, path in modules(tree).items():
        text = path.read_text(encoding="utf-8")
        lines = len(text.splitlines())
        head = ast.get_docstring(ast.parse(text)) or ""
        if not head:
            told.append(f"{module} does not open with its promise")
        if lines > LINES and "longer than" not in head:
            told.append(f"{module} has {lines} lines and no reason in its head")
    return told


def inits_under_tests(tree: Path) -> list[str]:
    """With one, `import store` in a test finds tests/store (LAYOUT "Measured")."""
    return [str(path.relative_to(tree)) for path in (tree / "tests").rglob("__init__.py")]


CHECKS = [breaches_of_floors, breaches_of_purity, circles, breaches_of_maps, breaches_of_length, inits_under_tests]


@pytest.mark.parametrize("check", CHECKS)
def test_the_house_stands(check) -> None:  # type: ignore[no-untyped-def]
    assert check(ROOT) == []


PLANTED = [
    (breaches_of_floors, "identity/names.py", "import node.node\n", "above it"),
    (breaches_of_floors, "routing/router.py", "from replication.flood import Flood\n", "beside it"),
    (breaches_of_floors, "replication/flood.py", "from transport.endpoint import Endpoint\n", "no vocabulary"),
    (breaches_of_floors, "store/log.py", "def late():\n    import transport.packet\n", "beside it"),
    (breaches_of_purity, "transport/loss.py", "import time\n", "pure file"),
    (breaches_of_purity, "routing/router.py", "import socket\n", "pure file"),
    (breaches_of_purity, "replication/flood.py", "import random\n", "pure file"),
    (breaches_of_purity, "node/lookup.py", "import trio\n", "pure file"),
    (circles, "identity/errors.py", "import identity.names\n", "identity.errors"),
    (breaches_of_maps, "store/__init__.py", "import store.log\n", "more, or less"),
    (breaches_of_maps, "store/unheard_of.py", '"""A promise."""\n', "not on its floor's map"),
    (breaches_of_length, "store/log.py", "# line\n" * 400, "no reason in its head"),
    (breaches_of_length, "store/unheard_of.py", "x = 1\n", "does not open with its promise"),
    (inits_under_tests, "tests/store/__init__.py", "", "tests/store/__init__.py"),
]


@pytest.mark.parametrize(("check", "file", "planted", "told"), PLANTED)
def test_each_breach_is_found(check, file, planted, told, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for floor in FLOOR:
        shutil.copytree(ROOT / floor, tmp_path / floor, ignore=shutil.ignore_patterns("__pycache__"))
    target = tmp_path / file
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text((target.read_text(encoding="utf-8") if target.exists() else "") + planted, encoding="utf-8")
    before = check(ROOT)
    found = [each for each in check(tmp_path) if each not in before]
    assert any(told in each for each in found), found
