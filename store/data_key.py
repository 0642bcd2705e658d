"""The key of an encrypted store: drawn once, kept wrapped by a passphrase or a key file, changed by wrapping it anew.

    the file `encryption`     bangpath encryption 1
                              key 32 hexadecimal digits                     id of the data key, which is in every file
                              argon2id OPERATIONS KIBIBYTES SALT            or: key file
                              wrapped 144 hexadecimal digits                the data key, sealed for the lines above
                              sum 64 hexadecimal digits                     SHA-256 of the lines above

Whoever loses this file, or what opens it, has lost the store: so it stands twice in the directory (`encryption` and
`encryption.copy`), and in every backup. The sum tells damage from a wrong passphrase. A new passphrase seals the same
data key again: nothing else is written, and whoever has an old copy of this file opens it with the old one still.

A passphrase is text (in NFC, UTF-8) and goes through Argon2id (RFC 9106); a key is 32 random bytes, a key file holds
them as 64 hexadecimal digits and is nobody else's to read. Left to others: where a passphrase comes from.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import blake2b, sha256
from pathlib import Path
from typing import NamedTuple

import nacl.pwhash

from identity.errors import Damaged, Refused
from identity.keys import read_private_file
from store.cipher import ID_BYTES, KEY_BYTES, OVERHEAD, Box, Cipher, DoesNotOpen
from store.disk import sync_names

Secret = str | bytes | os.PathLike[str]  # a passphrase; a key of 32 bytes; the path of a key file
Random = Callable[[int], bytes]

NAME, COPY = "encryption", "encryption.copy"
_FIRST_LINE = "bangpath encryption 1"
SALT_BYTES = 16
OPERATIONS, KIBIBYTES = 3, 64 << 10  # RFC 9106, section 4, its second choice: 64 MiB, which a small server has, too
MAX_OPERATIONS, MAX_KIBIBYTES = 64, 4 << 20  # what a file may ask of us
MAX_PASSPHRASE_BYTES = 1024
_MAX_FILE_BYTES = 4096
_HEX = "[0-9a-f]"
_WRAP = re.compile(
    f"{_FIRST_LINE}\nkey ({_HEX}{{{ID_BYTES * 2}}})\n"
    f"(?:key file|argon2id ([1-9][0-9]{{0,3}}) ([1-9][0-9]{{0,8}}) ({_HEX}{{{SALT_BYTES * 2}}}))\n"
    f"wrapped ({_HEX}{{{(KEY_BYTES + OVERHEAD) * 2}}})\n"
)
_SUM_LINE = re.compile(f"sum ({_HEX}{{64}})\n")


class Cost(NamedTuple):
    """What Argon2id takes for each try of a passphrase."""

    operations: int = OPERATIONS
    kibibytes: int = KIBIBYTES


class Wrapped(NamedTuple):
    """The content of the file. `cost` and `salt` of a passphrase; None: a key file opens it."""

    key_id: bytes
    cost: Cost | None
    salt: bytes
    sealed: bytes

    def to_text(self) -> str:
        text = f"{self.place()}wrapped {self.sealed.hex()}\n"
        return f"{text}sum {sha256(text.encode()).hexdigest()}\n"

    def place(self) -> str:
        """The lines that the data key is sealed for."""
        way = "key file" if self.cost is None else f"argon2id {self.cost[0]} {self.cost[1]} {self.salt.hex()}"
        return f"{_FIRST_LINE}\nkey {self.key_id.hex()}\n{way}\n"

    @classmethod
    def from_text(cls, text: str, name: str) -> Wrapped:
        """Raises `Damaged`, `Refused`."""
        found = _WRAP.match(text)
        summed = None if found is None else _SUM_LINE.fullmatch(text, found.end())
        if found is None or summed is None or sha256(found[0].encode()).hexdigest() != summed[1]:
            raise Damaged(f"{name} is not what was written", next_step="put it back from a backup of this store")
        cost = None if found[2] is None else Cost(int(found[2]), int(found[3]))
        if cost is not None and (cost.operations > MAX_OPERATIONS or not 8 <= cost.kibibytes <= MAX_KIBIBYTES):
            raise Refused(
                f"{name} asks for {cost.operations} operations in {cost.kibibytes} KiB",
                next_step="put it back from a backup of this store",
            )
        salt = b"" if cost is None else bytes.fromhex(found[4])
        return cls(bytes.fromhex(found[1]), cost, salt, bytes.fromhex(found[5]))


def is_encrypted(directory: Path) -> bool:
    """Whether the store in this directory, or the backup, needs a key."""
    return any((directory / name).exists() for name in (NAME, COPY))


def create_key(directory: Path, secret: Secret, *, random: Random = os.urandom, cost: Cost | None = None) -> Cipher:
    """A new data key, wrapped in a directory that has none. Raises `Refused`."""
    if is_encrypted(directory):
        raise Refused(f"{directory} has a data key already", next_step="open it, or change what opens it")
    data_key = random(KEY_BYTES)
    _write(directory, _wrap(data_key, secret, random, cost or Cost()))
    return Cipher(data_key, random)


def open_key(
    directory: Path,
    secret: Secret | None,
    *,
    create: bool = False,
    names: Sequence[Path] | None = None,
    random: Random = os.urandom,
) -> Cipher | None:
    """The cipher of the store in this directory; None: it is plain, and no secret was given.

    `create`: it is new, so a secret encrypts it. `names`: the file and its copy, where they are called otherwise.

    Raises `Refused` when there is no secret or it is not the right one; `Damaged` when both files are.
    """
    if not (is_encrypted(directory) if names is None else names):
        if secret is None:
            return None
        if create:
            return create_key(directory, secret, random=random)
        raise Refused(
            f"{directory} is not encrypted, or its file `{NAME}` is gone",
            next_step=f"open it without a key; if it was encrypted, put `{NAME}` back from a backup",
        )
    if secret is None:
        raise Refused(f"{directory} is encrypted", next_step="give its passphrase, or its key file")
    wrapped = _read(directory, names)
    cipher = Cipher(_unwrap(wrapped, secret, str(directory)), random)
    if names is None:
        _mend_copies(directory, wrapped.to_text())
    return cipher


def change_key(
    directory: Path, secret: Secret, new: Secret, *, random: Random = os.urandom, cost: Cost | None = None
) -> None:
    """From now on `new` opens it, and `secret` no more. A crash leaves the one or the other. Raises as `open_key`."""
    if not is_encrypted(directory):
        raise Refused(f"{directory} is not encrypted", next_step="a store is encrypted when it is made, or not at all")
    data_key = _unwrap(_read(directory), secret, str(directory))
    _write(directory, _wrap(data_key, new, random, cost or Cost()))


def _mend_copies(directory: Path, text: str) -> None:
    """After the key was opened: both files say the same again, if one of them was lost or is older."""
    for name in (NAME, COPY):
        path = directory / name
        if not path.exists() or path.read_bytes() != text.encode():
            _write_one(path, text)


# -- secrets


def read_secret(secret: Secret) -> str | bytes:
    """A passphrase or a key of 32 bytes; a path is read. Raises `Refused`, and never says what it was."""
    if isinstance(secret, bytes):
        if len(secret) != KEY_BYTES:
            raise Refused(f"a key has {KEY_BYTES} bytes, not {len(secret)}", next_step="a passphrase is given as text")
        return secret
    if isinstance(secret, str):
        text = unicodedata.normalize("NFC", secret)
        if not 0 < len(text.encode(errors="surrogatepass")) <= MAX_PASSPHRASE_BYTES:
            raise Refused(f"a passphrase has 1 to {MAX_PASSPHRASE_BYTES} bytes", next_step="choose another one")
        return text
    text = read_private_file(Path(secret), max_bytes=_MAX_FILE_BYTES).strip()
    if re.fullmatch(f"{_HEX}{{{KEY_BYTES * 2}}}", text) is None:
        raise Refused(
            f"{secret} is no key file: {KEY_BYTES * 2} hexadecimal digits",
            next_step=f"make one: (umask 077; openssl rand -hex {KEY_BYTES} > FILE)",
        )
    return bytes.fromhex(text)


def _box(secret: Secret, wrapped: Wrapped, where: str) -> Box:
    read = read_secret(secret)
    if wrapped.cost is None:
        if isinstance(read, str):
            raise Refused(f"{where} is opened by a key file, not by a passphrase", next_step="give its key file")
        return Box(blake2b(read, digest_size=KEY_BYTES, person=b"bangpath wrap").digest())
    if isinstance(read, bytes):
        raise Refused(f"{where} is opened by a passphrase, not by a key file", next_step="give its passphrase")
    operations, kibibytes = wrapped.cost
    data = read.encode(errors="surrogatepass")
    return Box(nacl.pwhash.argon2id.kdf(KEY_BYTES, data, wrapped.salt, opslimit=operations, memlimit=kibibytes << 10))


def _wrap(data_key: bytes, secret: Secret, random: Random, cost: Cost) -> str:
    passphrase = isinstance(secret, str)
    wrapped = Wrapped(Cipher(data_key).id, cost if passphrase else None, random(SALT_BYTES) if passphrase else b"", b"")
    sealed = _box(secret, wrapped, "").seal(data_key, wrapped.place().encode())
    return wrapped._replace(sealed=sealed).to_text()


def _unwrap(wrapped: Wrapped, secret: Secret, where: str) -> bytes:
    try:
        data_key = _box(secret, wrapped, where).open(wrapped.sealed, wrapped.place().encode())
    except DoesNotOpen:
        what = "key file" if wrapped.cost is None else "passphrase"
        raise Refused(
            f"that is not the {what} of {where}", next_step="try again; nothing was changed, and nothing is damaged"
        ) from None
    assert Cipher(data_key).id == wrapped.key_id, "it is among the lines that the key was sealed for"
    return data_key


# -- the file


def _read(directory: Path, names: Sequence[Path] | None = None) -> Wrapped:
    """The file, or else its copy. Raises `Damaged` when neither is what was written."""
    paths = names or [directory / name for name in (NAME, COPY)]
    for path in paths:
        with suppress(Damaged, OSError):
            return _read_one(path)
    try:
        return _read_one(paths[0])
    except OSError as error:
        raise Refused(f"{paths[0]} cannot be read: {error.strerror}", next_step="put it back") from error


def _read_one(path: Path) -> Wrapped:
    """Raises `Damaged`, `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        data = os.read(descriptor, _MAX_FILE_BYTES)
    finally:
        os.close(descriptor)
    return Wrapped.from_text(data.decode(errors="replace"), str(path))


def _write(directory: Path, text: str) -> None:
    """First the one that is read first, so that a power cut leaves what opens with the old secret, or with the new."""
    _write_one(directory / NAME, text)
    _write_one(directory / COPY, text)


def _write_one(path: Path, text: str) -> None:
    new = path.with_name(path.name + ".new")
    try:
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        new.replace(path)
        sync_names(path.parent)
    except OSError as error:
        raise Refused(f"{path} cannot be written: {error.strerror}", next_step="look at its directory") from error
