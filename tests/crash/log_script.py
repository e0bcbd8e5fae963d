"""A log that lives a random life on a disk whose every crash state is recovered and checked.

Truth is a list: what was appended, how much of it was synced, and where the log may begin. While records
are being taken back there are two truths, of which a crash may leave either.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Final, final

from chronosdb.testing.memory_disk import MemoryDisk
from chronosdb.wal import DamagedRecord, Draft, Log, LogDamaged, LogOptions, Point, Record, verify
from chronosdb.wal.codec import encode_group
from tests.crash.watch import Tally, Watch

DIRECTORY: Final = "/log"
LOG_ID: Final = b"0123456789abcdef"
OPTIONS: Final = LogOptions(
    segment_bytes=2600,
    max_record_bytes=1100,
    index_interval_bytes=256,
    disk_reserve_bytes=0,
    allocate_min_bytes=200,
    allocate_max_bytes=800,
    scan_bytes=600,
    open_files_max=2,
)
STEPS: Final = 40
_ORIGIN: Final = Point(0, 0, 0, 0)
#: Of the recovered logs, one in so many is also verified, lives on, and is watched while it recovers.
_VERIFIED: Final = 8
_LIVES_ON: Final = 24
_WATCHED: Final = 120


@dataclass(slots=True)
class Truth:
    """What a log must hold after a crash."""

    written: list[Record] = field(default_factory=list)
    """Every record that was ever appended and not lost in an earlier crash."""
    synced_lsn: int = 0
    starts: tuple[int, ...] = (0,)
    """Where it may begin: two places while its oldest segments are being dropped."""
    origin: Point = _ORIGIN
    """Where it began before anything was dropped."""

    @property
    def end(self) -> Point:
        """Where it ends if nothing is lost."""
        return self.written[-1].end if self.written else self.origin

    def cut(self, lsn: int) -> Truth:
        """What is true once the log is cut there; all that is left is durable then."""
        kept = [record for record in self.written if record.lsn < lsn]
        return Truth(kept, lsn, self.starts, self.origin)

    def check(self, log: Log, found: list[Record]) -> None:
        """Nothing that was synced is lost, nothing is invented, all is in its place (I1, I2, I6)."""
        self.check_bytes(log, found)
        assert log.end_lsn >= self.synced_lsn, (
            f"I1: the log ends at {log.end_lsn}, but was synced up to {self.synced_lsn}"
        )

    def check_bytes(self, log: Log, found: list[Record]) -> None:
        """What is there is what was written (I2, I14)."""
        assert log.start_lsn in self.starts, f"the log begins at {log.start_lsn}, not {self.starts}"
        stored = [record for record in self.written if record.lsn >= log.start_lsn]
        assert found == stored[: len(found)], "I2: other records than were appended"
        end = found[-1].next_lsn if found else log.start_lsn
        assert log.end_lsn == end, f"the log ends at {log.end_lsn}, its records at {end}"


def open_log(disk: MemoryDisk, *, writable: bool = True) -> Log:
    """The log of every script."""
    return Log.open(disk, DIRECTORY, OPTIONS, log_id=LOG_ID, writable=writable)


@final
class LogScript:
    """One life: the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.tally = Tally()
        self._rng = Random(seed)
        #: Not that of the life: how states are checked must not change what happens.
        self._dice = Random(f"{seed} checks")
        self._truth = Truth()
        #: What will be true as soon as what is being done is done.
        self._coming: Truth | None = None
        self._disk = MemoryDisk()
        self._log: Log | None = None
        self._appended = 0

    def run(self) -> Tally:
        """Live, and check every state on the way."""
        with Watch(self._disk, self._dice, self.tally, self._check, self._check_flipped):
            self._reopen()
            for _ in range(STEPS):
                action = self._rng.choices(_ACTIONS, _WEIGHTS)[0]
                action(self)
        return self.tally

    # What happens in a life.

    def append(self) -> None:
        """A group, with space reserved for it or not."""
        log = self._opened()
        group = [self._draft() for _ in range(self._rng.choice((1, 1, 2, 4)))]
        while sum(draft.nbytes for draft in group) > OPTIONS.group_bytes_max:
            group.pop()
        if self._rng.random() < 0.7:
            log.reserve(sum(draft.nbytes for draft in group))
        self._truth.written += log.append(group)

    def sync(self) -> None:
        """What a caller does before it acks."""
        self._opened().sync()

    def reserve(self) -> None:
        """Space for a large group: often another segment."""
        self._opened().reserve(self._rng.randint(1, OPTIONS.group_bytes_max))

    def copy(self) -> None:
        """Groups of another log, each written when all before it was durable there."""
        log = self._opened()
        point = log.point(log.end_lsn)
        raw, expected = b"", list[Record]()
        for _ in range(self._rng.choice((1, 1, 3))):
            group = [self._draft() for _ in range(self._rng.choice((1, 2, 3)))]
            synced_lsn = self._rng.choice((point.lsn, point.lsn, log.start_lsn))
            buffers, records, point = encode_group(group, point, synced_lsn)
            raw += b"".join(buffers)
            expected += records
        # Any of them may be in the log before the call is over.
        self._truth.written += expected
        assert log.copy(raw) == expected

    def truncate(self) -> None:
        """The newest records are taken back."""
        log = self._opened()
        ends = [record.lsn for record in self._truth.written if record.lsn >= log.start_lsn]
        lsn = self._rng.choice([*ends[-8:], *ends[-3:], *ends[:1], log.end_lsn])
        self._note_synced()
        self._coming = self._truth.cut(lsn)
        log.truncate(lsn)
        self._arrive()

    def reset(self) -> None:
        """All is forgotten, and the log begins anew: above or below, or where it was."""
        log = self._opened()
        lsn = self._rng.choice((0, log.start_lsn, log.end_lsn, self._rng.randrange(20_000)))
        start = Point(lsn, self._rng.randrange(99), self._rng.randrange(99), lsn)
        self._note_synced()
        self._coming = Truth([], lsn, (lsn,), start)
        log.reset(start)
        self._arrive()

    def _arrive(self) -> None:
        assert self._coming is not None
        self._truth, self._coming = self._coming, None

    def look_up(self) -> None:
        """Needs the indexes of sealed segments, and mends those that are missing."""
        log = self._opened()
        if log.next_offset > log.segments()[0].start.offset:
            log.at_offset(self._rng.randrange(log.segments()[0].start.offset, log.next_offset))

    def lose_sidecar(self) -> None:
        """An index is gone; it is only a shortcut."""
        sealed = self._opened().segments()[:-1]
        if sealed:
            path = f"{DIRECTORY}/{self._rng.choice(sealed).start.lsn:020d}.idx"
            if self._disk.exists(path):
                self._disk.unlink(path)

    def drop(self) -> None:
        """The oldest segments go."""
        log = self._opened()
        ends = [segment.start.lsn for segment in log.segments()]
        target = self._rng.choice(ends)
        self._truth.starts = (log.start_lsn, target)
        log.drop_before(target)
        self._truth.starts = (target,)

    def close(self) -> None:
        """A clean stop and a new start."""
        self._opened().close()
        self._note_synced()
        self._reopen()

    def kill(self) -> None:
        """The process dies; its successor finds the page cache as it was."""
        self._note_synced()
        self._disk.abandon()
        self._reopen()

    def cut_power(self) -> None:
        """What survives is left to chance, and life goes on from there."""
        self._note_synced()
        self._disk.crash(self._rng if self._rng.random() < 0.8 else None)
        self._reopen()

    def _reopen(self) -> None:
        self._log = None
        log = open_log(self._disk)
        found = list(log.scan())
        self._truth.check(log, found)
        lost = [record for record in self._truth.written if record.lsn < log.start_lsn]
        self._truth.written = lost + found
        self._truth.starts = (log.start_lsn,)
        assert log.point(log.end_lsn) == self._truth.end
        self._log = log

    def _opened(self) -> Log:
        assert self._log is not None
        return self._log

    def _draft(self) -> Draft:
        self._appended += 1
        rng = self._rng
        return Draft(
            kind=rng.randint(1, 9),
            ts_ms=rng.randrange(100_000),
            body=[rng.randbytes(rng.choice((0, 5, 60, 60, 200, 500, 1100)))],
            offsets=rng.randrange(3),
            positions=rng.randrange(3),
            epoch=self._appended // 50,
        )

    # What is checked.

    def _note_synced(self) -> None:
        self._truth.synced_lsn = max(self._truth.synced_lsn, self._opened().synced_lsn)

    def _check(self, disk: MemoryDisk) -> None:
        """A disk after a power cut."""
        if self._log is not None:
            self._note_synced()
        if self._dice.randrange(_VERIFIED) == 0 and disk.exists(DIRECTORY):
            self._verify(disk)
        if self._dice.randrange(_WATCHED) == 0:
            with Watch(disk, self._dice, self.tally, self._check_again, None):
                log = open_log(disk)
        else:
            log = open_log(disk)
        self._check_opened(disk, log)

    def _check_again(self, disk: MemoryDisk) -> None:
        """A disk after a second power cut, while the first was being recovered from."""
        self._check_opened(disk, open_log(disk))

    def _holds(self, check: Callable[[Truth], None]) -> None:
        """Checks what is true, or else what is about to be."""
        try:
            check(self._truth)
        except AssertionError:
            if self._coming is None:
                raise
            check(self._coming)

    def _check_opened(self, disk: MemoryDisk, log: Log) -> None:
        found = list(log.scan())
        self._holds(lambda truth: truth.check(log, found))
        assert log.synced_lsn == log.end_lsn
        if self._dice.randrange(_LIVES_ON) == 0:
            # Whatever the survivor says is durable survives the next power cut.
            found += log.append([Draft(1, 0, [b"more"], offsets=1, epoch=self._appended)])
            log.sync()
            disk.crash()
            assert list(open_log(disk).scan()) == found, "I1: lost what the successor synced"

    def _verify(self, disk: MemoryDisk) -> None:
        if any(path.endswith((".log", ".idx", ".start", ".reset")) for path in disk.files()):
            report = verify(disk, DIRECTORY)
            assert report.ok, str(report)

    def _check_flipped(self, disk: MemoryDisk, path: str, at: int) -> None:
        """The right bytes, or an error; what goes without one is what nothing testified for (I14)."""
        with suppress(LogDamaged, DamagedRecord):
            log = open_log(disk)
            found = list(log.scan())
            damaged = (path, at)
            self._holds(lambda truth: self._check_testified(truth, log, found, damaged))
            for record in found:
                if record.offsets:
                    assert log.at_offset(record.offset).lsn == record.lsn

    def _check_testified(
        self, truth: Truth, log: Log, found: list[Record], damaged: tuple[str, int]
    ) -> None:
        truth.check_bytes(log, found)
        proven = self._proven(truth, log, *damaged)
        assert log.end_lsn >= proven, f"I14: cut at {log.end_lsn}, proven up to {proven}"
        lost = truth.synced_lsn - log.end_lsn
        assert lost <= 0 or log.recovery.torn_bytes, "I14: lost without a word"

    def _proven(self, truth: Truth, log: Log, path: str, at: int) -> int:
        """How far the log was durable according to all that is not damaged."""
        base = log.segments()[-1].start.lsn
        damaged_lsn = base + at - 64 if path.endswith(".log") else -1
        return max(
            (
                record.synced_lsn
                for record in truth.written
                if base <= record.lsn < truth.synced_lsn
                and not record.lsn <= damaged_lsn < record.next_lsn
            ),
            default=base,
        )


_ACTIONS: Final = (
    *(LogScript.append, LogScript.sync, LogScript.reserve, LogScript.look_up),
    *(LogScript.lose_sidecar, LogScript.drop, LogScript.close, LogScript.kill),
    *(LogScript.cut_power, LogScript.copy, LogScript.truncate, LogScript.reset),
)
_WEIGHTS: Final = (16, 9, 2, 2, 1, 2, 2, 2, 1, 5, 3, 1)
