"""Every frame of every segment is read; what is bad is named with its place, and stepped over (DESIGN L4, D1).

    | T T GROUP | T x T GROUP | T GROUP | zeros, or a torn group: the end, and no damage
                    '- named; the frames after it are read all the same, and the group is `broken`

Recovery stops at the first bad frame, for nothing may be applied over a hole. Here nothing is applied, so the walk goes
on at the next intact frame that belongs to this group or a later one: each frame says where it stands and where its
group begins, so nothing that is dead or that somebody wrote into an object is taken for one (`store.log`).

`walk` is a generator: after each frame it gives a `Step`, and after each GROUP frame a `Walked`, so whoever drives it
may let others run, and may bound the bytes read in a second. Reading changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from typing import NamedTuple

from identity.errors import Damaged
from store.findings import FROM_OTHERS, Finding, InLog, Report
from store.frames import GROUP_KIND, SEGMENT_HEADER_BYTES, Body, FrameHeader, GroupHead
from store.log import Log
from store.segments import Frame, GroupReader, Location, Mark, Segment, Window

WINDOW_BYTES = 64 << 10  # read at once: a slow disk gives so much in a millisecond


class Step(NamedTuple):
    """So many bytes of the log were looked at."""

    bytes: int


class Walked(NamedTuple):
    """A group whose GROUP frame is intact. `broken`: frames of it are missing from `frames`, and it was named."""

    frames: list[Frame]
    seals: bytes
    mark: Mark
    broken: bool


class _Open:
    """The group that is being read."""

    def __init__(self, first: int, *, broken: bool = False) -> None:
        self.first = first
        self.broken = broken
        self.epoch: int | None = None
        self.frames: list[Frame] = []


class LogWalk:
    """Reads one log from its first byte. `until`: everything before this position was synced, so all of it must be
    there; None of a log that is not open, whose last group may be torn, but not before `at_least`. Segments that end
    before `since` are left out.
    """

    def __init__(self, log: Log, report: Report, *, until: int | None, at_least: int = 0, since: int = 0) -> None:
        self._log = log
        self._reader: GroupReader = log.reader
        self._report = report
        self._until = until
        self._since = since
        self._at_least = at_least if until is None else until

    def walk(self) -> Iterator[Step | Walked]:
        """Everything, in order. Raises only what the disk raises when it stops."""
        segments = self._log.segments
        before: Mark | None = None
        is_first = True
        for index, segment in enumerate(segments):
            following = segments[index + 1].first if index + 1 < len(segments) else None
            if self._until is not None and segment.first >= self._until:
                return
            if following is not None and following < self._since:
                continue
            self._report.count("segments")
            before = self._enter(segment, before, is_first=is_first)
            is_first = False
            before = yield from self._segment(segment, following, before)

    def _enter(self, segment: Segment, before: Mark | None, *, is_first: bool) -> Mark | None:
        header = segment.header
        if header is None:
            self._find("segment", segment, 0, SEGMENT_HEADER_BYTES, "its header cannot be read", FROM_OTHERS)
            return before
        if is_first:
            return Mark(header.first, header.epoch, header.previous)
        if before is not None and (before.position, before.hash) != (header.first, header.previous):
            self._find("segment", segment, 0, SEGMENT_HEADER_BYTES, "it does not follow the one before it", FROM_OTHERS)
            return None
        return before

    def _segment(
        self, segment: Segment, following: int | None, before: Mark | None
    ) -> Generator[Step | Walked, None, Mark | None]:
        """Its value is the mark after the segment; None: not known."""
        window = Window(segment.file, WINDOW_BYTES)
        position = segment.first
        group = _Open(position)
        while not self._is_past(group.first, following):
            try:
                header, body = self._frame(segment, window, position, group)
            except Damaged as error:
                if following is None and self._is_end(segment, group.first):
                    return before
                resumed = self._step_over(segment, window, position, group, error)
                before = None
                if resumed is None:
                    return None
                position, group = resumed
                yield Step(0)
                continue
            self._report.count("frames")
            position += header.size
            yield Step(header.size)
            if body.kind != GROUP_KIND:
                group.epoch = header.epoch
                location = Location(segment.number, segment.offset(header.position))
                group.frames.append(Frame(body.kind, body.sections, location, header.position, body.digest))
                continue
            walked = self._end(segment, header, body, group, before, end=position)
            before = walked.mark
            group = _Open(position)
            yield walked
        if following is not None and position != following:
            self._find("segment", segment, segment.offset(position), segment.file.size(),
                       "a group reaches into the next segment", FROM_OTHERS)  # fmt: skip
            return None
        return before

    def _is_past(self, first: int, following: int | None) -> bool:
        end = self._until if following is None else following
        return end is not None and first >= end

    def _is_end(self, segment: Segment, first: int) -> bool:
        """Whether the group that begins here is the last one, torn, or nothing at all."""
        if first < self._at_least:
            return False
        return self._reader.find_later_frame(segment, segment.offset(first), first) is None

    def _frame(self, segment: Segment, window: Window, position: int, group: _Open) -> tuple[FrameHeader, Body]:
        header, body = self._reader.read_frame(window, segment.offset(position), position)
        if not self._reader.same_group(header, group.epoch, group.first):
            raise Damaged("a frame of another group stands there")
        if body.kind == GROUP_KIND and len(body.sections) != 2:
            raise Damaged("a GROUP frame has not two sections")
        return header, body

    def _step_over(
        self, segment: Segment, window: Window, position: int, group: _Open, error: Damaged
    ) -> tuple[int, _Open] | None:
        """Name what is bad at `position`; where to read on, and in which group. None: nothing intact follows."""
        offset = segment.offset(position)
        found = self._reader.find_later_frame(segment, offset, group.first - 1)
        if found == offset:  # Intact, of another group or of an earlier run.
            header, _ = self._reader.read_frame(window, offset, position)
            if header.group_position == group.first:
                found = self._reader.find_later_frame(segment, offset + 1, group.first - 1)
        end = segment.file.size() if found is None else found
        self._find("frame", segment, offset, end, error.cause, FROM_OTHERS)
        if found is None:
            return None
        position = segment.position(found)
        header, _ = self._reader.read_frame(window, found, position)
        if header.group_position == group.first:
            group.broken = True
            group.epoch = header.epoch
            return position, group
        return position, _Open(header.group_position, broken=header.group_position != position)

    def _end(
        self, segment: Segment, header: FrameHeader, body: Body, group: _Open, before: Mark | None, *, end: int
    ) -> Walked:
        mark = Mark(end, header.epoch, body.digest)
        head = GroupHead.from_bytes(body.sections[1])
        self._report.count("groups")
        if not group.broken:
            content = hashlib.sha256(b"".join(frame.digest for frame in group.frames)).digest()
            if before is None:
                before = Mark(group.first, header.epoch, head.previous)
            if not self._reader.belongs(head, header.epoch, content, len(group.frames), before):
                group.broken = True
                cause = "its frames, or the group before it, are not those that it was written with"
                self._find("group", segment, segment.offset(group.first), segment.offset(end), cause, FROM_OTHERS)
        return Walked(group.frames, body.sections[0], mark, group.broken)

    def _find(self, what: str, segment: Segment, offset: int, end: int, cause: str, repair: str) -> None:
        where = f"{segment.file.name} at offset {offset}"
        if what == "frame":
            cause = f"{cause}; {end - offset} bytes cannot be read"
        self._report.find(Finding(what, where, cause, repair, InLog(segment.number, offset, end)))
