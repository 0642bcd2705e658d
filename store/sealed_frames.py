"""Frames of an encrypted log: the same frames, but what is stored is sealed, and says where it stands (DESIGN L2).

    frame    header 40, in the clear, flag 4 | nonce 24 | sealed: zstd(raw) or raw | tag 16 | zeros to 8-aligned
             '- its first 36 bytes are the place: flags, lengths, epoch, position, group; so nothing can be moved

In the clear: lengths, epochs, positions, where groups begin; of a segment, whose it is and the hash of the group before
it. All hashes are keyed (`Cipher.hash`), so that no guess of what was written can be tried on them. The CRC-32 is over
what is stored: damage is told without the key, and a frame whose CRC-32 fits and which does not open is not of this
log. What is plain is never taken for a frame here, nor what is sealed in a log that is plain.

The bytes of frames as such are left to `store.frames`, and so is every other check: they are made on what was opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

from msgspec.structs import replace

from identity.errors import Damaged, Refused
from store.cipher import OVERHEAD, Cipher, DoesNotOpen
from store.frames import (
    _CRC,
    _FRAME,
    ALIGNMENT,
    FLAG_SEALED,
    FRAME_HEADER_BYTES,
    Body,
    Buffer,
    FrameCodec,
    FrameHeader,
)

_NO_HEADER = bytes(FRAME_HEADER_BYTES)


class SealedCodec(FrameCodec):
    """The codec of an encrypted log."""

    def __init__(self, cipher: Cipher) -> None:
        super().__init__()
        self._hash = cipher.hash
        self._box = cipher.frames
        self._inside = _Inside()

    def encode(
        self, kind: int, sections: Sequence[Buffer], *, epoch: int, position: int, group_position: int
    ) -> tuple[bytes, bytes]:
        plain, digest = super().encode(kind, sections, epoch=epoch, position=position, group_position=group_position)
        magic, version, flags, stored, *rest = _FRAME.unpack_from(plain)
        head = _FRAME.pack(magic, version, flags | FLAG_SEALED, stored + OVERHEAD, *rest)
        sealed = self._box.seal(memoryview(plain)[FRAME_HEADER_BYTES : FRAME_HEADER_BYTES + stored], head)
        padding = bytes(-(FRAME_HEADER_BYTES + len(sealed)) % ALIGNMENT)
        return b"".join((head, _CRC.pack(crc32(sealed, crc32(head))), sealed, padding)), self._hash(digest)

    def read_header(self, data: Buffer, offset: int = 0) -> FrameHeader:
        head = bytes(data[offset : offset + FRAME_HEADER_BYTES])
        if len(head) < FRAME_HEADER_BYTES:
            raise Damaged("the frame is cut off")
        magic, version, flags, stored, *rest = _FRAME.unpack_from(head)
        if not flags & FLAG_SEALED or stored <= OVERHEAD:
            raise Damaged("no sealed frame begins here")
        inside = _FRAME.pack(magic, version, flags & ~FLAG_SEALED, stored - OVERHEAD, *rest) + head[_FRAME.size :]
        return replace(super().read_header(inside), flags=flags, stored_bytes=stored)

    def read_body(self, header: FrameHeader, frame: Buffer) -> Body:
        end = FRAME_HEADER_BYTES + header.stored_bytes
        if len(frame) < end:
            raise Damaged("the frame is cut off")
        if not self.crc_fits(header, frame):
            raise Damaged("the CRC-32 of the frame differs")
        try:
            plain = self._box.open(memoryview(frame)[FRAME_HEADER_BYTES:end], bytes(frame[: _FRAME.size]))
        except DoesNotOpen:
            raise Damaged("the frame is not one that was written here: it does not open") from None
        inside = replace(header, flags=header.flags & ~FLAG_SEALED, stored_bytes=len(plain))
        body = self._inside.read_body(inside, _NO_HEADER + plain)
        return Body(body.kind, body.sections, self._hash(body.digest))


class _Inside(FrameCodec):
    """What was opened has proven itself: there is no CRC-32 over it."""

    def crc_fits(self, header: FrameHeader, frame: Buffer) -> bool:
        return True


def codec_for(cipher: Cipher | None) -> tuple[FrameCodec, bytes]:
    """The codec of a log, and the key id in its segments; None: it is plain, and has none."""
    return (FrameCodec(), b"") if cipher is None else (SealedCodec(cipher), cipher.id)


def check_key_id(name: str, written: bytes, ours: bytes) -> None:
    """Raises `Refused` unless the file `name`, sealed with the key of that id (none: plain), opens with ours."""
    if written == ours:
        return
    if not ours:
        raise Refused(f"{name} is encrypted", next_step="open it with the store's passphrase or key file")
    if not written:
        raise Refused(f"{name} is not encrypted, and a key was given", next_step="open the store without a key")
    raise Refused(
        f"{name} is sealed with the data key {written.hex()}, and the file `encryption` holds {ours.hex()}",
        next_step="put back the file `encryption` of this store, from its backup",
    )
