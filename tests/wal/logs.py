"""What the tests of the log share: small limits, drafts that tell where they belong, open and list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chronosdb.wal import Draft, Log, LogOptions

if TYPE_CHECKING:
    from chronosdb.wal import Disk, Record

LOG_ID = b"0123456789abcdef"
DIRECTORY = "/data/log"
SMALL = LogOptions(
    segment_bytes=2048,
    max_record_bytes=512,
    index_interval_bytes=256,
    disk_reserve_bytes=4096,
    allocate_min_bytes=256,
    allocate_max_bytes=1024,
    scan_bytes=256,
    open_files_max=2,
)


def open_log(
    disk: Disk,
    options: LogOptions = SMALL,
    *,
    directory: str = DIRECTORY,
    durable_lsn: int = 0,
    writable: bool = True,
) -> Log:
    return Log.open(
        disk, directory, options, log_id=LOG_ID, durable_lsn=durable_lsn, writable=writable
    )


def draft(n: int, size: int = 20) -> Draft:
    """The n-th draft of a test: every field depends on n, and so does the body."""
    return Draft(
        kind=n % 7 + 1,
        ts_ms=1000 * n,
        body=[body(n, size)],
        offsets=n % 3,
        positions=(n + 1) % 2,
        epoch=n // 10,
    )


def one_event(ts_ms: int = 0, offsets: int = 1) -> Draft:
    return Draft(1, ts_ms, [b"x" * 20], offsets=offsets)


def body(n: int, size: int) -> bytes:
    text = b"event %d " % n
    return (text * (size // len(text) + 1))[:size]


def drafts(first: int, count: int, size: int = 20) -> list[Draft]:
    return [draft(n, size) for n in range(first, first + count)]


def grow(log: Log, groups: int, per_group: int = 3, size: int = 20) -> list[Record]:
    """Appends and syncs groups that go on where the log ends; returns all their records."""
    records: list[Record] = []
    first = log.end_lsn // 64
    for group in range(groups):
        group_drafts = drafts(first + group * per_group, per_group, size)
        log.reserve(sum(d.nbytes for d in group_drafts))
        records += log.append(group_drafts)
        log.sync()
    return records


def records_of(log: Log) -> list[Record]:
    return list(log.scan())
