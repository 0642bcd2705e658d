"""What was appended and synced replays after any crash, in its order; what was torn is cut, what is damaged is named.

    positions  0            1 000         1 900   2 100        3 400          bytes, 8-aligned, on over all segments
               | T T T GROUP | T GROUP     | GROUP | T T T T <torn
               '-- group ---'  '- group -'  opening: a run begins, epoch + 1
    files      log-00000001-0000000000000000   log-00000002-00000000040010f8   ...     number, first position

Life of a log: `Log(...)`, `replay` to its end, `start`, then again and again `append` (memory only), `end_group` (one
write), `sync`. Only then are the group's commits answered (DESIGN L3, L5). A group lies in one segment, so one sync of
one file makes it durable; a segment that is full is left between two groups.

Torn or damaged? A group is written only after the sync of the group before it. So when a frame is bad in the group
that begins at `g`, and *anything* intact was written for a group that begins after `g`, then `g` had been synced and
its bytes were lost afterwards: `Damaged`. If nothing was, `g` is the last group, was never answered, and is cut.
Every frame says where its group begins, so one intact frame is proof enough. Three questions remain:

- *Can remains of an earlier run look like such a proof?* They are from groups that were cut at some `t`, and begin
  there; whatever was written later begins at `t` or after it. So their group never begins after the one in question.
- *Can they replay?* A run begins with an opening group (no frames, the next epoch) at `t`, synced before anything
  else is written: no later group begins at a position where one was cut. And a group counts only if all its frames
  bear one epoch, that of this run or of an opening, and its GROUP frame names their number, their first position,
  their hash and the hash of the group before. `belongs` is the place where all this is asked.
- *Crash during recovery?* Opening makes durable what it will read (`File.settle`), `replay` only reads, `start`
  writes the opening group and syncs. Until then nothing is answered and nothing folded, and the next recovery finds
  the same or an opening more; if the opening was torn, the next run takes the same epoch, of which no other byte was
  ever written. Settling is needed: were an opening on disk and the group before it only in the page cache, because
  its process was killed or its sync had failed, a power cut would leave what looks like damage.

What no log can tell is a last group that was synced, then lost by the medium, before anything was written after it.
Closing in order writes one more GROUP frame for that reason. A peer cannot plant a frame in an object's bytes to
imitate a proof unless it guesses the absolute position at which its bytes will stand in a group that is torn.

Left to others: what frames mean and when to sync (`store.database`, `store.group_commit`), the bytes
(`store.frames`), files (`store.disk`). Segments are not yet recycled.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence

from identity.errors import BangpathError, Damaged, Exhausted, LocalMistake, Refused
from identity.names import ServerId
from store.disk import Buffer, Disk, File
from store.frames import (
    CLOSING,
    GROUP_KIND,
    OPENING,
    ORDINARY,
    SEGMENT_HEADER_BYTES,
    GroupHead,
    SegmentHeader,
)
from store.sealed_frames import check_key_id, codec_for
from store.segments import BEGINNING, Frame, Group, GroupReader, Location, Mark, Segment, Window

__all__ = ["BEGINNING", "Frame", "Group", "Location", "Log", "Mark"]

SEGMENT_BYTES = 64 << 20
STEP_BYTES = 4 << 20  # a segment grows by zeros of this size: a small node stays small
# Room that appends leave for the GROUP frame, so that a full disk is found before anything is sealed; and for the marks
# of some hundred starts and ends: a full disk stops nobody from reading (DESIGN D2).
END_RESERVE_BYTES = 64 << 10
MARK_BYTES = 256  # at the most, of a group without frames; about 160
_NAME = re.compile(r"log-([0-9]{8})-([0-9a-f]{16})")


class Log:
    """The log of one server's incarnation on one disk. One task owns it.

    Opening reads the segment headers only. Raises `Refused` if the log is another server's, `Damaged` if a segment
    is missing.
    """

    def __init__(
        self,
        disk: Disk,
        *,
        server: ServerId,
        incarnation: int,
        segment_bytes: int = SEGMENT_BYTES,
        step_bytes: int = STEP_BYTES,
    ) -> None:
        self._disk = disk
        self._server = server
        self._incarnation = incarnation
        self._segment_bytes = segment_bytes
        self._step_bytes = step_bytes
        self._codec, self._key_id = codec_for(disk.cipher)
        self._reader = self.make_reader()
        self.epoch = 0
        self.durable = BEGINNING
        self._ended = BEGINNING  # Invariant: durable is ended, or the group before it while a sync is due.
        self._open = False
        self._found_end = False
        self._pending: list[bytes] = []
        self._digests: list[bytes] = []
        self.group_bytes = 0
        self._says_more = False  # Whether ordinary groups follow the last opening.
        self._stillborn: str | None = None  # A segment whose making was cut short.
        self._segments: list[Segment] = []
        self._open_segments()

    def make_reader(self) -> GroupReader:
        """What reads frames and groups; tests put a weaker one here, to see that each of its checks is needed."""
        return GroupReader(self._codec)

    # Recovery

    def replay(self, after: Mark = BEGINNING) -> Iterator[Group]:
        """Every whole group after `after`, in order, without the empty ones that open and close runs.

        Raises `Damaged`, naming segment and offset, where groups that had been synced cannot be read.
        """
        mark = after
        for index, segment in enumerate(self._segments):
            following = self._segments[index + 1].first if index + 1 < len(self._segments) else None
            if following is not None and following <= after.position:
                continue
            mark = self._enter(segment, mark)
            window = Window(segment.file)
            while following is None or mark.position < following:
                if self._open and mark.position == self._ended.position:
                    return
                try:
                    group = self._reader.read_group(segment, window, mark)
                except Damaged as error:
                    if following is None:
                        later = self._reader.find_later_frame(segment, segment.offset(mark.position), mark.position)
                        if later is None and not self._open:
                            break  # The torn tail, or simply the end.
                        if later is not None:
                            raise segment.damaged(
                                segment.offset(mark.position), f"{error.cause}, and intact frames follow at {later}"
                            ) from error
                    raise
                mark = group.mark
                if group.frames:
                    self._says_more = True
                    yield group
            if following is not None and mark.position != following:
                raise segment.damaged(segment.offset(mark.position), "a group reaches into the next segment")
        if not self._segments and after.position:
            raise Damaged(
                f"the log of {self._server} is empty, but tables hold it up to position {after.position}",
                next_step="put the log files back, or restore a backup",
            )
        self._ended = self.durable = mark
        self._found_end = True

    def start(self, *, skip: int = 0) -> int:
        """Cut the torn tail, make what was found durable, begin a new epoch and return it.

        `skip` epochs are left out: those of runs that this log has forgotten, for it came back in time (DESIGN D4).

        Raises `LocalMistake` unless a `replay` came to its end before, `Exhausted` when the disk is full.
        """
        if not self._found_end or self._open:
            raise LocalMistake("a log is started once, after its replay")
        if self._stillborn is not None:
            self._disk.remove(self._stillborn)
            self._stillborn = None
        self._disk.sync_directory()
        self.epoch = self._ended.epoch + 1 + skip
        if not self._segments:
            self._make_segment()
        try:
            self._reserve(0, END_RESERVE_BYTES)
        except Exhausted:
            self._reserve(0, MARK_BYTES)
        self._end(OPENING, b"")
        self.sync()
        self._says_more = False
        self._open = True
        return self.epoch

    # Writing

    def append(self, kind: int, sections: Sequence[Buffer]) -> Location:
        """Add a transaction to the group that is open, in memory; say where it will be.

        Raises `Exhausted` when there is no room on the disk (nothing was appended), `LocalMistake` before `start`,
        after `close`, before the sync of the group before, and for a kind outside 1..255.
        """
        if not self._open or self._ended is not self.durable:
            self._check_writable()
        if not GROUP_KIND < kind <= 255:
            raise LocalMistake(f"{kind} is no kind of frame, which are 1 to 255")
        first = self._ended.position if self._pending else self._begin_group()
        position = first + self.group_bytes
        data, digest = self._codec.encode(kind, sections, epoch=self.epoch, position=position, group_position=first)
        segment = self._segments[-1]
        if segment.offset(position) + len(data) + END_RESERVE_BYTES > segment.allocated:
            self._reserve(len(data), END_RESERVE_BYTES)
        self._pending.append(data)
        self._digests.append(digest)
        self.group_bytes += len(data)
        return Location(segment.number, segment.offset(position))

    @property
    def group_frames(self) -> int:
        """Transactions in the group that is open."""
        return len(self._pending)

    def abandon_group(self) -> None:
        """Forget the frames appended since the last group; nothing of them was written."""
        self._pending.clear()
        self._digests.clear()
        self.group_bytes = 0

    def end_group(self, seals: bytes = b"") -> Mark:
        """Write the open group with its GROUP frame; a sync makes it durable.

        Raises `LocalMistake` if nothing was appended, `Exhausted` if there is no room for seals larger than the
        reserve (nothing was written then).
        """
        self._check_writable()
        if not self._pending:
            raise LocalMistake("a group without transactions")
        self._says_more = True
        return self._end(ORDINARY, seals)

    def sync(self) -> None:
        """Make the groups written so far durable. Raises why the disk stopped."""
        self._segments[-1].file.sync()
        self.durable = self._ended

    async def sync_async(self) -> None:
        """The same, in a thread where the disk is slow."""
        ended = self._ended
        await self._segments[-1].file.sync_async()
        self.durable = ended

    def close(self, *, clean: bool = True) -> None:
        """Forget an open group, mark a clean end if wanted and the disk works, let go of the files."""
        if clean and self._open and self._disk.failure is None:
            self.abandon_group()
            if self._ended != self.durable:
                self.sync()
            if self._says_more:
                self._end(CLOSING, b"")
                self.sync()
        self._open = False
        for segment in self._segments:
            segment.file.close()

    # Reading

    def read(self, location: Location) -> Frame:
        """The transaction at `location`, checked by CRC-32 and SHA-256. Raises `Damaged`."""
        segment = self._segment(location.segment)
        if segment is None:
            raise Damaged(
                f"segment {location.segment} of the log of {self._server} is missing",
                next_step="run `bangpath check`; a mirror or a backup may have these updates",
                segment=location.segment,
                offset=location.offset,
            )
        ahead = segment.position(location.offset) - self._ended.position
        if self._open and ahead >= 0 and segment is self._segments[-1]:  # Behind the end there may be dead frames.
            return self._reader.read(segment, location.offset, b"".join(self._pending)[ahead:])
        return self._reader.read(segment, location.offset)

    @property
    def segments(self) -> list[Segment]:
        """All segments in order, for those who look after them (`store.checking_log`)."""
        return list(self._segments)

    @property
    def disk(self) -> Disk:
        """Where they lie."""
        return self._disk

    @property
    def reader(self) -> GroupReader:
        """What reads their frames."""
        return self._reader

    # What the above is made of

    def _open_segments(self) -> None:
        names = segment_names(self._disk)
        for index, name in enumerate(names):
            match = _NAME.fullmatch(name)
            assert match is not None
            number, first = int(match[1]), int(match[2], 16)
            if self._segments and number != self._segments[-1].number + 1:
                raise Damaged(
                    f"segment {self._segments[-1].number + 1} of the log of {self._server} is missing",
                    next_step="put its file back, or restore a backup",
                )
            file = self._disk.open(name)
            is_last = index + 1 == len(names)
            if is_last:  # A sync that failed ended its run: the group it was for is in no other segment.
                file.settle()
            header = self._read_segment_header(file, number, first)
            segment = Segment(number, first, file, header, file.size())
            if header is None and is_last and self._reader.find_later_frame(segment, SEGMENT_HEADER_BYTES, -1) is None:
                file.close()
                self._stillborn = name
            else:
                self._segments.append(segment)

    def _read_segment_header(self, file: File, number: int, first: int) -> SegmentHeader | None:
        """None if it cannot be read or speaks of another segment. Raises `Refused` if it is another server's."""
        try:
            header = SegmentHeader.from_bytes(file.read(0, SEGMENT_HEADER_BYTES))
        except Damaged:
            return None
        if (header.server, header.incarnation) != (self._server, self._incarnation):
            raise Refused(
                f"this log is of {header.server} (incarnation {header.incarnation}), "
                f"not of {self._server} ({self._incarnation})",
                next_step="open the directory of the right server",
            )
        check_key_id(file.name, header.key_id, self._key_id)
        return header if (header.number, header.first) == (number, first) else None

    def _enter(self, segment: Segment, mark: Mark) -> Mark:
        """Where to read on in `segment` when everything up to `mark` is known."""
        header = segment.header
        if header is None:
            raise segment.damaged(0, "the segment header cannot be read")
        if mark == BEGINNING:  # The oldest segment there is.
            return Mark(header.first, header.epoch, header.previous)
        if not header.first <= mark.position <= header.first + segment.file.size() - SEGMENT_HEADER_BYTES:
            raise segment.damaged(0, f"the log does not reach position {mark.position}, where replay begins")
        if mark.position == header.first and mark.hash != header.previous:
            raise segment.damaged(0, "the segment does not follow the one before")
        return mark

    def _begin_group(self) -> int:
        """Leave the segment if it is full. The position of the group's first frame."""
        if not self._segments or self._segments[-1].offset(self._ended.position) >= self._segment_bytes:
            self._make_segment()
        return self._ended.position

    def _make_segment(self) -> None:
        """The next segment, its header and its name durable before any frame is written into it."""
        number = self._segments[-1].number + 1 if self._segments else 1
        first = self._ended.position
        name = f"log-{number:08d}-{first:016x}"
        header = SegmentHeader(
            number, self._incarnation, self.epoch, first, self._ended.hash, self._server, self._key_id
        )
        file = self._disk.open(name, create=True)
        try:
            file.allocate(SEGMENT_HEADER_BYTES + self._step_bytes)
        except BangpathError:
            file.close()
            if self._disk.failure is None:
                self._disk.remove(name)  # No room; the next attempt makes it anew.
            raise
        file.write(0, header.to_bytes())
        file.sync()
        self._disk.sync_directory()
        self._segments.append(Segment(number, first, file, header, file.size()))

    def _reserve(self, more: int, end_bytes: int) -> None:
        """Room on the disk for `more` bytes and the end of the group. Raises `Exhausted`."""
        segment = self._segments[-1]
        needed = segment.offset(self._ended.position) + self.group_bytes + more + end_bytes
        if needed > segment.allocated:
            steps = -((segment.allocated - needed) // self._step_bytes)
            segment.file.allocate(segment.allocated + steps * self._step_bytes)
            segment.allocated = segment.file.size()

    def _end(self, purpose: int, seals: bytes) -> Mark:
        first = self._ended.position
        content = hashlib.sha256(b"".join(self._digests)).digest()
        head = GroupHead(len(self._pending), first, purpose, self._ended.hash, content)
        position = first + self.group_bytes
        data, digest = self._codec.encode(
            GROUP_KIND, [seals, head.to_bytes()], epoch=self.epoch, position=position, group_position=first
        )
        if len(data) > END_RESERVE_BYTES:
            self._reserve(0, len(data) + END_RESERVE_BYTES)
        segment = self._segments[-1]
        segment.file.write(segment.offset(first), b"".join((*self._pending, data)))
        self._ended = Mark(position + len(data), self.epoch, digest)
        self.abandon_group()
        return self._ended

    def _check_writable(self) -> None:
        if not self._open:
            raise LocalMistake("the log is not open for writing: replay it, then start it")
        if self._ended != self.durable:
            raise LocalMistake("the next group is appended only after the sync of the one before")

    def _segment(self, number: int) -> Segment | None:
        if not self._segments:
            return None
        index = number - self._segments[0].number
        return self._segments[index] if 0 <= index < len(self._segments) else None


def segment_names(disk: Disk) -> list[str]:
    """The files of a log on this disk, in their order."""
    return [name for name in disk.list() if _NAME.fullmatch(name)]
