"""Pages that LMDB cannot walk are told, also when they kill whoever walks them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import trio

from store import probing
from store.tables import LmdbTables


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tables = LmdbTables(tmp_path)
    trio.run(tables.fold, {"objects": {b"%06d" % number: b"x" * 200 for number in range(500)}}, b"mark")
    tables.close()
    return tmp_path


def test_whole_tables_have_nothing_to_tell(path: Path) -> None:
    assert probing.probe_tables(str(path)) == ""


def test_pages_that_are_gone_kill_the_reader_and_not_us(path: Path) -> None:
    pages = path / "data.mdb"
    os.truncate(pages, pages.stat().st_size // 2)
    assert probing.probe_tables(str(path)) == "reading them kills the reader (SIGBUS)"


def test_pages_that_are_others_are_told(path: Path) -> None:
    data = bytearray((path / "data.mdb").read_bytes())
    data[8192:] = os.urandom(len(data) - 8192)
    (path / "data.mdb").write_bytes(data)
    assert probing.probe_tables(str(path)) != ""


def test_no_tables_and_no_end(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert probing.probe_tables(str(tmp_path / "none")).startswith("LMDB says")
    monkeypatch.setattr(probing, "PATIENCE_S", 0.0)
    assert "no end" in probing.probe_tables(str(path))


def test_a_key_that_is_not_where_it_stands(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import lmdb

    opened = lmdb.open

    def two_faced(*args: Any, **how: Any) -> Any:
        environment = opened(*args, **how)

        class TwoFaced:
            def begin(self) -> Any:
                return Transaction(environment.begin())

            def open_db(self, *args: Any, **how: Any) -> Any:
                return environment.open_db(*args, **how)

        return TwoFaced()

    class Transaction:
        def __init__(self, real: Any) -> None:
            self.real = real
            self.cursor = real.cursor

        def get(self, key: bytes, db: Any) -> None:
            return None

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None:
            self.real.abort()

    monkeypatch.setattr(lmdb, "open", two_faced)
    assert "is not found where it stands" in (probing.walk(str(path)) or "")
