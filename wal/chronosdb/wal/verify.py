"""Reading every byte of a log and reporting all that is wrong with it. Changes nothing."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from chronosdb.wal import layout
from chronosdb.wal.errors import LogMissing
from chronosdb.wal.index import SparseIndex
from chronosdb.wal.inventory import take_inventory
from chronosdb.wal.recovery import Behind, Verdict
from chronosdb.wal.segment import SEGMENT_HEADER_BYTES
from chronosdb.wal.segment_reader import Gap, SegmentReader
from chronosdb.wal.sidecar import read_sidecar
from chronosdb.wal.survey import examine, line_up, read_header

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from chronosdb.wal.disk import Disk
    from chronosdb.wal.inventory import Inventory
    from chronosdb.wal.record import Point, Record

PROBLEMS_MAX = 1000

_CHUNK_BYTES = 1 << 20
# Any interval reads any sidecar: it only says how densely new entries are made.
_INTERVAL_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong."""

    path: str
    lsn: int
    why: str

    def __str__(self) -> str:
        return f"{self.path}: at lsn {self.lsn}: {self.why}"


@dataclass(slots=True)
class VerifyReport:
    """Everything that verify saw. ``ok`` means that no durable byte is gone or wrong."""

    directory: str
    segments: int = 0
    records: int = 0
    start_lsn: int = 0
    end_lsn: int = 0
    torn_bytes: int = 0
    """Bytes at the end that no sync ever covered: normal after a crash, cut at the next start."""
    problems: list[Problem] = field(default_factory=list)
    """The first PROBLEMS_MAX."""
    problems_total: int = 0
    notes: list[str] = field(default_factory=list)
    """Harmless: what the next start repairs by itself."""

    @property
    def ok(self) -> bool:
        """Whether the log is whole."""
        return self.problems_total == 0

    def add(self, path: str, lsn: int, why: str) -> None:
        """Reports a problem."""
        self.problems_total += 1
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(Problem(path, lsn, why))

    def __str__(self) -> str:
        found = f"{self.segments} segments, {self.records} valid records"
        where = f"lsn {self.start_lsn} to {self.end_lsn}, {self.torn_bytes} torn bytes at its end"
        lines = [
            f"log {self.directory}: {found}, {where}",
            *(f"  note: {note}" for note in self.notes),
            *(f"  DAMAGED: {problem}" for problem in self.problems),
        ]
        if (unlisted := self.problems_total - len(self.problems)) > 0:
            lines.append(f"  and {unlisted} more")
        lines.append("ok" if self.ok else f"{self.problems_total} problems")
        return "\n".join(lines)


def verify(disk: Disk, directory: str, *, durable_lsn: int = 0) -> VerifyReport:
    """Reads the whole log; after damage it goes on with the next valid record.

    Raises:
        LogMissing: there is no log in ``directory``.
    """
    report = VerifyReport(directory)
    files = take_inventory(disk, directory)
    for file in files.missing:
        report.add(layout.join(directory, file.witness), file.lsn, file.why)
    report.notes += [
        f"{layout.join(directory, name)}: left over; the next start removes it"
        for name in (*files.dropped, *files.cut_marks, *files.above, *files.temporary)
    ]
    if files.reset:
        report.notes.append(f"{layout.join(directory, files.reset)}: the next start begins here")
    elif files.bases:
        _Walk(disk, report, durable_lsn, files).run(files.bases)
    elif report.ok:
        raise LogMissing(f"there is no log in {directory}")
    return report


class _Walk:
    """One way through all segments."""

    def __init__(
        self, disk: Disk, report: VerifyReport, durable_lsn: int, files: Inventory
    ) -> None:
        self._disk = disk
        self._report = report
        self._durable_lsn = durable_lsn
        self._files = files
        self._log_id: bytes | None = None
        # What the next record must carry; None where damage has hidden it.
        self._point: Point | None = None

    def run(self, bases: Sequence[int]) -> None:
        report = self._report
        report.segments = len(bases)
        report.start_lsn = report.end_lsn = bases[0]
        for base, next_base in pairwise(bases):
            self._enter(base)
            self._sealed(base, next_base)
        self._enter(bases[-1])
        self._last(bases[-1])

    def _enter(self, base: int) -> None:
        """Checks a segment's header against what came before it."""
        path = layout.segment_path(self._report.directory, base)
        try:
            header = read_header(self._disk, self._report.directory, base)
        except ValueError as error:
            self._report.add(path, base, str(error))
            return
        if self._log_id not in {None, header.log_id}:
            self._report.add(path, base, f"it is of another log, {header.log_id.hex()}")
        if self._point not in {None, header.start}:
            self._report.add(path, base, "it does not continue the segment before it")
        self._log_id = header.log_id
        self._point = header.start

    def _sealed(self, base: int, next_base: int) -> None:
        directory = self._report.directory
        path = layout.segment_path(directory, base)
        if problem := line_up(self._disk, directory, base, next_base):
            self._report.add(path, base, problem)
        if self._durable_end(base) != next_base:
            self._report.notes.append(
                f"{path}: its index is missing or damaged; a reader rebuilds it"
            )
        with self._reader(base) as (reader, _):
            self._records(path, reader.walk(base, next_base, _CHUNK_BYTES))

    def _last(self, base: int) -> None:
        """Walks the last segment, whose end may be torn without being damaged."""
        path = layout.segment_path(self._report.directory, base)
        with self._reader(base) as (reader, file_end):
            stop = self._judged_end(path, reader, self._files.end(file_end))
            written_end = reader.written_end(base, stop, _CHUNK_BYTES)
            items = reader.walk(base, stop, _CHUNK_BYTES)
            # A gap of zeros up to the end of the file is only space allocated ahead.
            self._records(path, (item for item in items if item.lsn < written_end))

    def _judged_end(self, path: str, reader: SegmentReader, stop: int) -> int:
        """Where the records end if what lies behind may be cut, else the end of the file."""
        start = self._point
        if start is None:
            return stop
        durable_lsn = max(self._durable_lsn, self._files.end(self._durable_end(start.lsn) or 0))
        index = SparseIndex(start.lsn, _INTERVAL_BYTES)
        _, _, ending = examine(reader, start, stop, _CHUNK_BYTES, index)
        if ending.verdict(durable_lsn) is not Verdict.DAMAGED:
            self._report.torn_bytes = ending.written_end - ending.lsn
            return ending.lsn
        if ending.behind is Behind.NOTHING:
            self._report.add(path, ending.lsn, ending.damage(durable_lsn) or ending.why)
        return stop

    def _records(self, path: str, items: Iterable[Record | Gap]) -> None:
        for item in items:
            if isinstance(item, Gap):
                lost = item.next_lsn - item.lsn
                self._report.add(path, item.lsn, f"{item.why}; no valid record for {lost} bytes")
                self._point = None
                continue
            if self._point is not None and (why := self._point.misfit(item)):
                self._report.add(path, item.lsn, why)
            self._report.records += 1
            self._report.end_lsn = item.next_lsn
            self._point = item.end

    def _durable_end(self, base: int) -> int | None:
        found = read_sidecar(self._disk, self._report.directory, base, _INTERVAL_BYTES)
        return found[1] if found else None

    @contextmanager
    def _reader(self, base: int) -> Iterator[tuple[SegmentReader, int]]:
        """A reader of a segment, and the LSN at which its file ends."""
        path = layout.segment_path(self._report.directory, base)
        file = self._disk.open(path, create=False, writable=False)
        try:
            yield SegmentReader(file.pread, base), base + file.size() - SEGMENT_HEADER_BYTES
        finally:
            file.close()
