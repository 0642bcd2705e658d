"""One server's keys: what it signs with, what it shakes hands with, and the file that holds both (DESIGN I1).

    the file `keys`       bangpath keys 1
                          signing 64 hexadecimal digits        Ed25519 seed
                          exchange 64 hexadecimal digits       X25519 private key

Who can read this file is this server. So it is written with mode 0600 before its first byte, and read only when it is
a plain file of this user that nobody else may read: not through a symbolic link, not from a pipe. A refusal names the
command that mends it (ATTACKS 21).

Left to others: whose keys they are, which certificates say (`identity.trust`); the domain in front of what is signed,
so that a signature for one purpose never serves another, is the caller's.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path
from random import Random

import nacl.bindings
import nacl.exceptions
import nacl.signing

from identity.errors import LocalMistake, PeerMisbehaved, Refused

KEY_BYTES = 32
SIGNATURE_BYTES = 64
_FIRST_LINE = "bangpath keys 1"
_LINES = ("signing", "exchange")
_MAX_FILE_BYTES = 4096


class Keys:
    """The two private keys of a server. `signing_public` and `exchange_public` are what others know."""

    __slots__ = ("_signing", "_signing_seed", "exchange_private", "exchange_public", "signing_public")

    def __init__(self, *, signing_seed: bytes, exchange_private: bytes) -> None:
        if len(signing_seed) != KEY_BYTES or len(exchange_private) != KEY_BYTES:
            raise LocalMistake(f"keys have {KEY_BYTES} bytes each")
        self._signing_seed = signing_seed
        self._signing = nacl.signing.SigningKey(signing_seed)
        self.signing_public = bytes(self._signing.verify_key)
        self.exchange_private = exchange_private
        self.exchange_public = nacl.bindings.crypto_scalarmult_base(exchange_private)

    @classmethod
    def generate(cls, random: Random) -> Keys:
        """New keys from the generator, which is `random.SystemRandom()` outside a simulation (DESIGN U6)."""
        return cls(signing_seed=random.randbytes(KEY_BYTES), exchange_private=random.randbytes(KEY_BYTES))

    def sign(self, message: bytes) -> bytes:
        """The Ed25519 signature over exactly these bytes: callers put their domain in front."""
        return self._signing.sign(message).signature

    def to_text(self) -> str:
        return f"{_FIRST_LINE}\nsigning {self._signing_seed.hex()}\nexchange {self.exchange_private.hex()}\n"

    @classmethod
    def from_text(cls, text: str, name: str = "keys") -> Keys:
        """From the file's text. Raises `Refused` naming the line, never its content."""
        first, *lines = text.split("\n")
        if first != _FIRST_LINE:
            raise Refused(f"{name} does not begin with {_FIRST_LINE!r}", next_step="restore it from a backup")
        seeds = []
        for number, (what, line) in enumerate(zip(_LINES, [*lines, ""], strict=False), start=2):
            match = re.fullmatch(f"{what} ([0-9a-f]{{64}})", line)
            if match is None:
                raise Refused(
                    f"{name}, line {number}: not {what!r} and 64 hexadecimal digits",
                    next_step="restore it from a backup",
                )
            seeds.append(bytes.fromhex(match[1]))
        if lines[len(_LINES) :] != [""]:
            raise Refused(f"{name} goes on after its keys", next_step="restore it from a backup")
        return cls(signing_seed=seeds[0], exchange_private=seeds[1])

    def __repr__(self) -> str:
        return f"<keys of {self.signing_public.hex()[:12]}>"  # never the private ones: this ends in logs


def verify(signing_public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is that key's over exactly these bytes. False for malformed keys and signatures too."""
    if len(signing_public) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        nacl.bindings.crypto_sign_open(signature + message, signing_public)
    except nacl.exceptions.CryptoError:
        return False
    return True


def verify_untrusted(signing_public: bytes, message: bytes, signature: bytes) -> None:
    """As `verify`, for those who go on only when it is. Raises `PeerMisbehaved`."""
    if not verify(signing_public, message, signature):
        raise PeerMisbehaved(f"a signature that is not of the key {signing_public[:6].hex()}...")


def write_keys(path: Path, keys: Keys) -> None:
    """Make the file, durable before this returns. Raises `Refused` when it exists: keys are never overwritten."""
    new = path.with_name(path.name + ".new")  # a crash may leave it; the next call makes it anew
    try:
        new.unlink(missing_ok=True)
        _write_whole(new, keys.to_text().encode())
        try:
            os.link(new, path)  # unlike rename, it does not replace
        finally:
            new.unlink()
        _sync_directory(path.parent)
    except FileExistsError:
        raise Refused(f"{path} exists already, and keys are never overwritten") from None
    except OSError as error:
        raise Refused(
            f"{path} cannot be written: {error.strerror}", next_step=f"look at: ls -ld {path.parent}"
        ) from error


def read_keys(path: Path) -> Keys:
    """The keys in the file. Raises `Refused`, naming the command that mends it, when others could have read it."""
    text = read_private_file(path, max_bytes=_MAX_FILE_BYTES)
    return Keys.from_text(text, str(path))


def read_private_file(path: Path, *, max_bytes: int) -> str:
    """The text of a plain file that is this user's alone (ATTACKS 21). Raises `Refused`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a FIFO must not block us
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Refused(f"{path} is a symbolic link", next_step=_replace_link(path)) from None
        raise Refused(f"{path} cannot be read: {error.strerror}", next_step=f"look at: ls -l {path}") from error
    try:
        # Of the open descriptor, not of the path: what was checked is what is read.
        _check_private(path, os.fstat(descriptor), max_bytes)
        return _read_whole(descriptor, max_bytes).decode()
    except UnicodeDecodeError:
        raise Refused(f"{path} is not text", next_step="restore it from a backup") from None
    finally:
        os.close(descriptor)


def read_plain_file(path: Path, *, max_bytes: int) -> bytes:
    """The bytes of a plain file, or of one that a link leads to: no pipe holds us up, no device fills our memory.

    Raises `Refused`, and `OSError` when it cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Refused(f"{path} is no plain file", next_step=f"look at: ls -l {path}")
        if status.st_size > max_bytes:
            raise Refused(f"{path} has {status.st_size} bytes, {max_bytes} allowed")
        return _read_whole(descriptor, max_bytes)
    finally:
        os.close(descriptor)


def _check_private(path: Path, status: os.stat_result, max_bytes: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise Refused(f"{path} is no plain file", next_step=f"look at: ls -l {path}")
    user = os.geteuid()
    if status.st_uid != user:
        raise Refused(f"{path} belongs to user {status.st_uid}, not to {user}", next_step=f"chown {user} {path}")
    if status.st_mode & 0o077:
        mode = f"{stat.S_IMODE(status.st_mode):o}"
        raise Refused(f"{path} is open to others (mode {mode})", next_step=f"chmod 600 {path}")
    if status.st_size > max_bytes:
        raise Refused(f"{path} has {status.st_size} bytes, {max_bytes} allowed")


def _replace_link(path: Path) -> str:
    return f'cp --remove-destination -- "$(readlink -f {path})" {path} && chmod 600 {path}'


def _write_whole(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(descriptor, 0o600)  # whatever the umask says
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_whole(descriptor: int, max_bytes: int) -> bytes:
    parts = b""
    while len(parts) <= max_bytes and (part := os.read(descriptor, max_bytes + 1)):
        parts += part
    return parts[:max_bytes]


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
