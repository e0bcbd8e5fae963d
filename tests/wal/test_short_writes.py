"""A real disk whose system calls do less than they were asked, or are interrupted all the time."""

from __future__ import annotations

import errno
import os
import signal
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from chronosdb.wal import LogFailed, OsDisk
from tests.wal.logs import grow, open_log, records_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from chronosdb.wal import Record

WRITE = os.pwrite


class ShortWrites:
    """Lets the n-th write come through in part; then, if there is an error, nothing goes any more."""

    def __init__(self, n: int, part: Callable[[int], int], error: int | None) -> None:
        self._n = n
        self._part = part
        self._error = error
        self.calls = 0

    def pwritev(self, fd: int, buffers: Sequence[Any], pos: int) -> int:
        """In the place of `os.pwritev`."""
        return self.pwrite(fd, b"".join(buffers), pos)

    def pwrite(self, fd: int, data: bytes | memoryview, pos: int) -> int:
        """In the place of `os.pwrite`."""
        self.calls += 1
        if self.calls == self._n:
            return WRITE(fd, data[: self._part(len(data))], pos)
        if self.calls > self._n and self._error is not None:
            raise OSError(self._error, os.strerror(self._error))
        return WRITE(fd, data, pos)


def story(directory: str, acked: list[Record]) -> None:
    """Groups, rolls and a restart; each group is acked when it is synced."""
    for _ in range(2):
        log = open_log(OsDisk(), directory=directory)
        for _ in range(4):
            acked += grow(log, groups=1, per_group=4, size=150)
        log.close()


@pytest.mark.parametrize(
    "part",
    [lambda _: 1, lambda n: n // 2, lambda n: n - 1],
    ids=["one byte", "half", "all but one"],
)
@pytest.mark.parametrize("error", [None, errno.ENOSPC, errno.EIO])
def test_a_short_write_at_any_call_loses_nothing_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: Callable[[int], int], error: int | None
) -> None:
    """Alone it is continued; if it cannot be, the log is over, and what was acked is there."""
    monkeypatch.setattr(os, "fdatasync", lambda _: None)  # of a process that dies, not of a machine
    monkeypatch.setattr(os, "fsync", lambda _: None)
    for n in count(1):
        acked: list[Record] = []
        directory = str(tmp_path / str(n))
        short = ShortWrites(n, part, error)
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwritev", short.pwritev)
            patch.setattr(os, "pwrite", short.pwrite)
            try:
                story(directory, acked)
            except (LogFailed, OSError):
                assert error is not None
        found = records_of(open_log(OsDisk(), directory=directory))
        assert found[: len(acked)] == acked
        if short.calls < n:
            break
    assert n > 10


def test_signals_in_the_middle_of_every_call_do_no_harm(tmp_path: Path) -> None:
    """The system calls return early with EINTR; Python makes them again, the log sees nothing."""
    hits: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: hits.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    try:
        log = open_log(OsDisk(), directory=str(tmp_path))
        records: list[Record] = []
        while len(hits) < 50 or len(log.segments()) < 4:
            records += grow(log, groups=5)
        log.drop_before(log.segments()[2].start.lsn)
        log.close()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    again = open_log(OsDisk(), directory=str(tmp_path))
    assert records_of(again) == [r for r in records if r.lsn >= again.start_lsn > 0]
