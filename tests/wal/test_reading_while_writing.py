"""Threads read while one writes: what they see below the tail is right at every moment."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from chronosdb.wal import Log, LogOptions, OsDisk
from tests.wal.logs import drafts, open_log

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = LogOptions(
    segment_bytes=8192,
    max_record_bytes=512,
    index_interval_bytes=256,
    disk_reserve_bytes=0,
    allocate_min_bytes=4096,
    allocate_max_bytes=4096,
    scan_bytes=512,
    open_files_max=2,
)
GROUPS = 150


def read_until(log: Log, done: threading.Event, errors: list[BaseException]) -> None:
    try:
        last = False
        while not last:
            last = done.is_set()
            end, offset = log.synced_lsn, log.next_offset
            seen = list(log.scan(stop_lsn=end))[-40:]
            for record in seen:
                assert log.read(record.lsn) == record
                if record.offsets and record.offset < offset:
                    assert log.at_offset(record.offset).lsn == record.lsn
            assert not seen or seen[-1].next_lsn == end
    except BaseException as error:  # noqa: BLE001 - handed to the test
        errors.append(error)


@pytest.mark.slow
def test_two_readers_beside_a_writer_that_rolls_all_the_time(tmp_path: Path) -> None:
    log = open_log(OsDisk(), OPTIONS, directory=str(tmp_path))
    done, errors = threading.Event(), list[BaseException]()
    readers = [threading.Thread(target=read_until, args=(log, done, errors)) for _ in range(2)]
    for reader in readers:
        reader.start()
    for group in range(GROUPS):
        batch = drafts(group * 4, 4, size=100)
        log.reserve(sum(d.nbytes for d in batch))
        log.append(batch)
        log.sync()
    done.set()
    for reader in readers:
        reader.join()
    assert not errors, errors[0]
    assert len(list(log.scan())) == 4 * GROUPS
    log.close()
