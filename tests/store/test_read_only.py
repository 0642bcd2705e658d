"""Files of others are read as a disk's, and nothing else is done to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from identity.errors import Damaged, LocalMistake, Refused
from store.read_only import read_only


def test_it_reads_and_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    (tmp_path / "lock").write_bytes(b"1\n")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "folder").mkdir()
    disk = read_only(tmp_path)
    assert disk.list() == ["a", "link"]
    file = disk.open("a")
    assert (file.name, file.size(), file.read(2, 3), file.read(8, 99), file.read(20, 1)) == (
        "a",
        10,
        b"234",
        b"89",
        b"",
    )
    file.settle()
    file.close()
    file.close()
    disk.close()
    for wrong in ("link", "none", "folder"):
        with pytest.raises(Damaged, match=wrong):
            disk.open(wrong).read(0, 1)
    with pytest.raises(LocalMistake):
        disk.open("../a")
    with pytest.raises(Refused, match="no directory"):
        read_only(tmp_path / "nowhere")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a", "folder", "link", "lock"]
