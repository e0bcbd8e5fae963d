"""The disk in memory keeps and loses exactly what a real one may."""

from __future__ import annotations

import errno
from random import Random

import pytest

from chronosdb.wal import DiskFull, Locked
from tests.support.memory_disk import MemoryDisk, MemoryFile, PowerCut


@pytest.fixture
def disk() -> MemoryDisk:
    disk = MemoryDisk()
    disk.mkdir("/d")
    return disk


def made(disk: MemoryDisk, name: str, data: bytes) -> MemoryFile:
    """A durable file."""
    disk.write_file_atomic(f"/d/{name}", data)
    return disk.open(f"/d/{name}", create=False)


def test_only_synced_bytes_survive(disk: MemoryDisk) -> None:
    file = made(disk, "f", b"synced")
    file.pwrite([b"lost"], 6)
    assert file.pread(100, 0) == b"syncedlost"
    disk.crash()
    assert disk.read_file("/d/f") == b"synced"


def test_a_new_name_survives_only_with_its_directory(disk: MemoryDisk) -> None:
    file = disk.open("/d/f", create=True)
    file.pwrite([b"x"], 0)
    file.fdatasync()
    disk.crash()
    assert not disk.exists("/d/f")


def test_a_rename_without_its_directory_synced_is_undone(disk: MemoryDisk) -> None:
    made(disk, "a", b"a")
    made(disk, "b", b"b")
    disk.rename("/d/a", "/d/b")
    assert disk.listdir("/d") == ["b"]
    disk.crash()
    assert (disk.read_file("/d/a"), disk.read_file("/d/b")) == (b"a", b"b")


def test_a_random_crash_keeps_any_part_of_what_was_not_synced() -> None:
    seen = set()
    for seed in range(200):
        disk = MemoryDisk()
        disk.mkdir("/d")
        file = made(disk, "f", b"")
        file.pwrite([b"a" * 512, b"b" * 512], 0)
        disk.crash(Random(seed))
        data = disk.read_file("/d/f")
        seen.add((data[:512].strip(b"\0"), data[512:].strip(b"\0")))
    assert (b"", b"") in seen
    assert (b"a" * 512, b"") in seen
    assert (b"", b"b" * 512) in seen
    assert (b"a" * 512, b"b" * 512) in seen
    assert any(0 < len(a) < 512 for a, _ in seen), "a sector may be torn"


def test_a_random_crash_is_the_same_for_the_same_seed() -> None:
    images = []
    for _ in range(2):
        disk = MemoryDisk()
        disk.mkdir("/d")
        made(disk, "f", b"").pwrite([bytes(range(256)) * 20], 0)
        disk.crash(Random(7))
        images.append(disk.read_file("/d/f"))
    assert images[0] == images[1]


def test_a_random_crash_keeps_names_in_the_order_they_changed() -> None:
    seen = set()
    for seed in range(50):
        disk = MemoryDisk()
        disk.mkdir("/d")
        for name in "abc":
            disk.open(f"/d/{name}", create=True)
        disk.crash(Random(seed))
        seen.add(tuple(disk.listdir("/d")))
    assert seen == {(), ("a",), ("a", "b"), ("a", "b", "c")}


def test_handles_from_before_a_crash_are_dead(disk: MemoryDisk) -> None:
    file = made(disk, "f", b"x")
    disk.crash()
    with pytest.raises(PowerCut):
        file.pread(1, 0)
    with pytest.raises(PowerCut):
        file.pwrite([b"y"], 0)
    assert disk.read_file("/d/f") == b"x"


def test_a_failed_sync_forgets_what_was_not_written(disk: MemoryDisk) -> None:
    file = made(disk, "f", b"x")
    file.pwrite([b"y"], 0)
    disk.fail_at(1)
    with pytest.raises(OSError, match="Input/output"):
        file.fdatasync()
    file.fdatasync()
    assert disk.read_file("/d/f") == b"y"
    disk.crash()
    assert disk.read_file("/d/f") == b"x"


def test_an_injected_error_comes_once_at_its_call(disk: MemoryDisk) -> None:
    file = made(disk, "f", b"")
    disk.fail_at(2, errno.EROFS)
    file.pwrite([b"x"], 0)
    before = disk.armed
    with pytest.raises(OSError, match="Read-only"):
        file.fdatasync()
    assert (before, disk.armed) == (True, False)
    file.fdatasync()


def test_a_failed_write_may_have_written_some(disk: MemoryDisk) -> None:
    file = made(disk, "f", b"")
    disk.fail_at(1)
    with pytest.raises(OSError, match="Input/output"):
        file.pwrite([b"abcd"], 0)
    assert file.pread(10, 0) == b"ab"


def test_without_power_every_call_fails_until_the_crash(disk: MemoryDisk) -> None:
    file = made(disk, "f", b"")
    disk.cut_power_at(1)
    for _ in range(2):
        with pytest.raises(PowerCut):
            file.fdatasync()
    disk.crash()
    assert disk.open("/d/f", create=False).pread(1, 0) == b""


def test_a_full_disk_refuses_writes_and_allocations(disk: MemoryDisk) -> None:
    file = made(disk, "f", b"12345")
    disk.capacity = 8
    assert disk.free_bytes("/d") == 3
    with pytest.raises(DiskFull):
        file.allocate(5, 4)
    with pytest.raises(OSError, match="No space"):
        file.pwrite([b"123456789"], 0)
    file.allocate(5, 3)
    assert disk.free_bytes("/d") == 0
    file.pwrite([b"678"], 5)
    with pytest.raises(DiskFull):
        disk.write_file_atomic("/d/g", b"x")
    assert disk.listdir("/d") == ["f"]


def test_a_lock_is_held_until_released_or_crashed(disk: MemoryDisk) -> None:
    lock = disk.lock("/d/lock")
    with pytest.raises(Locked):
        disk.lock("/d/lock")
    lock.release()
    disk.lock("/d/lock")
    disk.crash()
    disk.lock("/d/lock")


def test_missing_files_and_directories_are_errors(disk: MemoryDisk) -> None:
    with pytest.raises(FileNotFoundError):
        disk.open("/d/f", create=False)
    with pytest.raises(FileNotFoundError):
        disk.open("/nowhere/f", create=True)
    with pytest.raises(FileNotFoundError):
        disk.unlink("/d/f")
    with pytest.raises(FileNotFoundError):
        disk.listdir("/nowhere")


def test_only_an_empty_directory_is_removed(disk: MemoryDisk) -> None:
    made(disk, "f", b"")
    assert disk.listdir("/") == ["d"]
    with pytest.raises(OSError, match="not empty"):
        disk.rmdir("/d")
    disk.unlink("/d/f")
    disk.fsync_dir("/d")
    disk.rmdir("/d")
    disk.crash()
    assert not disk.exists("/d")
    assert disk.listdir("/") == []
