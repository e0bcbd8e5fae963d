"""The real disk: the same promises as the one in memory, and a log on it."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from chronosdb.wal import DiskFull, Locked, LogOptions, OsDisk, Record, verify
from tests.wal.logs import SMALL, draft, grow, open_log, records_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


@pytest.fixture
def disk() -> OsDisk:
    return OsDisk()


def failing(code: int) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def test_a_log_lives_through_restarts_on_a_real_disk(disk: OsDisk, tmp_path: Path) -> None:
    directory = str(tmp_path / "a" / "log")
    options = LogOptions(
        segment_bytes=20_000,
        max_record_bytes=2000,
        disk_reserve_bytes=0,
        allocate_max_bytes=1 << 20,
    )
    expected: list[Record] = []
    for restart in range(6):
        log = open_log(disk, options, directory=directory)
        assert records_of(log) == expected
        expected += grow(log, groups=10, per_group=5, size=100 * (restart + 1))
        for record in expected[::7]:
            assert log.read(record.lsn) == record
            assert log.at_time(record.ts_ms).lsn <= record.lsn
        if restart % 2:
            log.close()
    log.close()
    assert len(disk.listdir(directory)) > 5
    assert verify(disk, directory).ok


def test_files_and_directories_are_private(disk: OsDisk, tmp_path: Path) -> None:
    log = open_log(disk, directory=str(tmp_path / "a" / "log"))
    log.close()
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "a" / "log").stat().st_mode & 0o777 == 0o700
    for file in (tmp_path / "a" / "log").iterdir():
        assert file.stat().st_mode & 0o777 == 0o600


def test_many_buffers_are_written_back_to_back(disk: OsDisk, tmp_path: Path) -> None:
    """More buffers than one system call takes."""
    file = disk.open(str(tmp_path / "f"), create=True)
    buffers = [b"%d," % n for n in range(5000)]
    file.pwrite(buffers, 10)
    file.fdatasync()
    assert file.pread(10**6, 10) == b"".join(buffers)
    assert file.size() == 10 + len(b"".join(buffers))
    file.pwrite([], 0)
    file.close()
    file.close()


def test_a_short_write_is_continued(
    disk: OsDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writev, write = os.pwritev, os.pwrite

    def short_writev(fd: int, buffers: Sequence[bytes], pos: int) -> int:
        return writev(fd, [b"".join(buffers)[:3]], pos)

    def short_write(fd: int, data: memoryview, pos: int) -> int:
        return write(fd, data[:2], pos)

    monkeypatch.setattr(os, "pwritev", short_writev)
    monkeypatch.setattr(os, "pwrite", short_write)
    file = disk.open(str(tmp_path / "f"), create=True)
    file.pwrite([b"abcd", memoryview(b"efgh"), b"ijk"], 5)
    assert file.pread(100, 5) == b"abcdefghijk"


def test_a_short_read_is_continued(
    disk: OsDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, n, pos: read(fd, min(n, 3), pos))
    (tmp_path / "f").write_bytes(b"0123456789")
    file = disk.open(str(tmp_path / "f"), create=False, writable=False)
    assert file.pread(8, 1) == b"12345678"
    assert file.pread(100, 4) == b"456789"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_no_space_to_allocate_is_disk_full(
    disk: OsDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    file = disk.open(str(tmp_path / "f"), create=True)
    monkeypatch.setattr(os, "posix_fallocate", failing(code))
    with pytest.raises(DiskFull, match="reserve 100 bytes"):
        file.allocate(0, 100)


def test_a_file_system_that_cannot_allocate_is_fine(
    disk: OsDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", failing(errno.EOPNOTSUPP))
    log = open_log(disk, SMALL, directory=str(tmp_path))
    records = grow(log, groups=30)
    log.close()
    assert records_of(open_log(disk, SMALL, directory=str(tmp_path))) == records


def test_any_other_failure_to_allocate_is_an_error(
    disk: OsDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = disk.open(str(tmp_path / "f"), create=True)
    monkeypatch.setattr(os, "posix_fallocate", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        file.allocate(0, 100)


def test_an_atomic_write_leaves_the_new_content_or_the_old(
    disk: OsDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "f")
    disk.write_file_atomic(path, b"old")
    disk.write_file_atomic(path, b"new content")
    assert disk.read_file(path) == b"new content"
    assert disk.size(path) == 11

    monkeypatch.setattr(os, "fdatasync", failing(errno.ENOSPC))
    with pytest.raises(DiskFull):
        disk.write_file_atomic(path, b"third")
    assert disk.read_file(path) == b"new content"
    assert disk.listdir(str(tmp_path)) == ["f"]


def test_names_are_moved_removed_and_listed(disk: OsDisk, tmp_path: Path) -> None:
    for name in "ba":
        disk.write_file_atomic(str(tmp_path / name), name.encode())
    assert disk.listdir(str(tmp_path)) == ["a", "b"]
    disk.rename(str(tmp_path / "a"), str(tmp_path / "b"))
    assert disk.read_file(str(tmp_path / "b")) == b"a"
    disk.unlink(str(tmp_path / "b"))
    assert not disk.exists(str(tmp_path / "b"))
    assert disk.free_bytes(str(tmp_path)) > 0


def test_a_missing_file_is_not_made_unless_asked(disk: OsDisk, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        disk.open(str(tmp_path / "f"), create=False)


def test_a_symbolic_link_is_not_followed(disk: OsDisk, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        disk.open(str(tmp_path / "link"), create=True)
    assert not (tmp_path / "elsewhere").exists()


def test_making_a_directory_twice_is_fine(disk: OsDisk, tmp_path: Path) -> None:
    for _ in range(2):
        disk.mkdir(str(tmp_path / "x" / "y"))
    assert disk.exists(str(tmp_path / "x" / "y"))


def test_a_new_directory_is_durable_in_its_parent(
    disk: OsDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))
    disk.mkdir(str(tmp_path / "x" / "y"))
    assert synced == [tmp_path.stat().st_ino, (tmp_path / "x").stat().st_ino]
    disk.mkdir(str(tmp_path / "x" / "y"))
    assert synced[2:] == [(tmp_path / "x").stat().st_ino]


def test_a_lock_keeps_another_process_out_and_names_the_holder(
    disk: OsDisk, tmp_path: Path
) -> None:
    path = str(tmp_path / "lock")
    lock = disk.lock(path)
    code = (
        "import sys; from chronosdb.wal import OsDisk, Locked\n"
        "try: OsDisk().lock(sys.argv[1])\n"
        "except Locked as error: sys.exit(str(error))"
    )
    child = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=False
    )
    assert child.returncode == 1
    assert f"is in use by process {os.getpid()}: stop it first" in child.stderr
    lock.release()
    lock.release()
    disk.lock(path).release()


def test_a_second_lock_in_the_same_process_is_refused_too(disk: OsDisk, tmp_path: Path) -> None:
    lock = disk.lock(str(tmp_path / "lock"))
    with pytest.raises(Locked):
        disk.lock(str(tmp_path / "lock"))
    lock.release()


def test_a_file_nobody_refers_to_closes_itself(disk: OsDisk, tmp_path: Path) -> None:
    file = disk.open(str(tmp_path / "f"), create=True)
    fd = file._fd
    del file
    with pytest.raises(OSError, match="Bad file descriptor"):
        fcntl.fcntl(fd, fcntl.F_GETFD)


def test_a_record_behind_the_file_s_end_is_never_acknowledged(disk: OsDisk, tmp_path: Path) -> None:
    """Somebody cut the file of a running node: the next seal notices and stops."""
    log = open_log(disk, directory=str(tmp_path))
    log.append([draft(1)])
    log.sync()
    os.truncate(tmp_path / f"{0:020d}.log", 70)
    with pytest.raises(Exception, match="accepts nothing more"):
        log.close()


def test_only_an_empty_directory_is_removed(disk: OsDisk, tmp_path: Path) -> None:
    directory = str(tmp_path / "x")
    disk.mkdir(directory)
    disk.write_file_atomic(f"{directory}/f", b"")
    with pytest.raises(OSError, match="not empty"):
        disk.rmdir(directory)
    disk.unlink(f"{directory}/f")
    disk.rmdir(directory)
    assert not disk.exists(directory)
