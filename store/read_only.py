"""A directory of files that are read and nothing else: a log that another process appends to, a backup on any medium.

    read_only(path)    list, open, read, size, close of a `store.disk.Disk` and its files; no lock, nothing written

What is durable of a log that is in use, its owner says. What would write is not there: to call it is our own mistake.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

from identity.errors import Damaged, Refused
from store.cipher import Cipher
from store.disk import LOCK_NAME, Disk, plain_name


def read_only(path: Path, cipher: Cipher | None = None) -> Disk:
    """The files of this directory; what is sealed in them opens with `cipher`.

    Raises `Refused` when there is no such directory.
    """
    if not path.is_dir():
        raise Refused(f"there is no directory {path}", next_step="name one that holds a store, or a backup of one")
    return cast(Disk, _Directory(path, cipher))


class _Directory:
    """What of a `Disk` only reads."""

    failure = None

    def __init__(self, path: Path, cipher: Cipher | None) -> None:
        self._path = path
        self.cipher = cipher

    def list(self) -> list[str]:
        return sorted(each.name for each in self._path.iterdir() if each.is_file() and each.name != LOCK_NAME)

    def open(self, name: str) -> _File:
        try:
            descriptor = os.open(self._path / plain_name(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise Damaged(f"file {name} in {self._path} cannot be opened: {error.strerror}") from error
        return _File(name, descriptor)

    def close(self) -> None:
        """There is nothing to give back."""


class _File:
    """What of a `File` only reads."""

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        self._descriptor = descriptor

    def read(self, offset: int, length: int) -> bytes:
        try:
            data = os.pread(self._descriptor, length, offset)
            while len(data) < length and (more := os.pread(self._descriptor, length - len(data), offset + len(data))):
                data += more
        except OSError as error:
            raise Damaged(f"{self.name} cannot be read at offset {offset}: {error.strerror}") from error
        return data

    def settle(self) -> None:
        """Its owner says what is durable."""

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
