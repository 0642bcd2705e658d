"""A directory is looked at without anything but its log and tables being whole, and without being changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from identity.errors import Damaged, Refused
from store.findings import Progress
from store.upkeep import Whose, check_directory, held, whose


@pytest.fixture
async def directory(make_server: Callable[..., Any], shoe: Any, tmp_path: Path) -> Path:
    async with make_server("1.2", path=tmp_path).open() as database:
        await database.define(shoe)
        for number in range(30):
            await database.transact(lambda t, n=number: t.create("Shoe", {"name": f"{n}", "size": n}))
    return tmp_path


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


async def test_a_whole_directory(directory: Path) -> None:
    heard: list[Progress] = []
    report = check_directory(directory, heard.append)
    assert report.whole, [str(each) for each in report.findings]
    assert report.counts["owned records"] == 32
    assert [each.part for each in heard if each.done] != []


async def test_damage_of_the_log_and_of_the_tables_is_named(directory: Path) -> None:
    log = directory / "log" / "log-00000001-0000000000000000"
    flip(log, 4096 + 700)
    (found,) = check_directory(directory).findings
    assert found.where.startswith("log-00000001-0000000000000000 at offset")
    flip(log, 4096 + 700)
    os.truncate(directory / "tables" / "data.mdb", 16384)
    report = check_directory(directory)
    assert [each.what for each in report.findings] == ["tables"]
    assert "SIGBUS" in report.findings[0].cause
    assert report.counts["owned records"] == 32, "the log has them"


async def test_without_tables_the_log_has_everything(directory: Path) -> None:
    for each in (directory / "tables").iterdir():
        each.unlink()
    assert check_directory(directory).whole
    assert list((directory / "tables").iterdir()) == []


async def test_who_has_it_open_is_named(directory: Path) -> None:
    with held(directory) as disk:
        assert whose(disk) == Whose(disk_server(), 5)
        with pytest.raises(Refused, match="in use by process"):
            check_directory(directory)
    with pytest.raises(Refused, match="no store in"):
        check_directory(directory / "nowhere")


def disk_server() -> Any:
    from identity.names import ServerId

    return ServerId.parse("1.2")


async def test_a_log_that_says_nothing_of_itself(directory: Path, tmp_path: Path) -> None:
    log = directory / "log" / "log-00000001-0000000000000000"
    flip(log, 3)
    assert not check_directory(directory).whole, "one bit is no riddle"
    flip(log, 4)
    with pytest.raises(Damaged, match="no header of any segment"):
        check_directory(directory)
    log.unlink()
    with pytest.raises(Refused, match="no segments"):
        check_directory(directory)
