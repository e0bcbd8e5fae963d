"""What becomes of a disk when its process or its power goes, and of a clock that somebody sets."""

from __future__ import annotations

import pytest

from chronosdb.testing.memory_disk import MemoryDisk, PowerCut
from tests.simulation.leaping_clock import LeapingClock
from tests.simulation.trace import Trace
from tests.simulation.wall import DriftingWall


def test_a_killed_process_leaves_what_it_wrote_and_loses_its_handles() -> None:
    """The cache is the operating system's; so is the lock, which is free again."""
    disk = MemoryDisk()
    disk.lock("/lock")
    file = disk.open("/f", create=True)
    file.pwrite([b"unsynced"], 0)
    disk.abandon()
    assert disk.read_file("/f") == b"unsynced"
    with pytest.raises(PowerCut):
        file.pwrite([b"more"], 8)
    disk.lock("/lock").release()


def test_a_power_cut_takes_what_a_killed_process_left_unsynced() -> None:
    disk = MemoryDisk()
    file = disk.open("/f", create=True)
    file.pwrite([b"synced"], 0)
    file.fdatasync()
    disk.fsync_dir("/")
    file.pwrite([b"and more"], 6)
    disk.abandon()
    disk.crash()
    assert disk.read_file("/f") == b"synced"


def test_a_wall_clock_drifts_and_is_stepped_against_the_monotonic_one() -> None:
    """What it has gained stays; a step changes it at once."""
    clock = LeapingClock()
    wall = DriftingWall(clock, Trace(clock.current_time), "a", start_ms=1000)
    wall.set(drift_ppm=500_000)
    clock.deadline_to_sleep_time(2)
    assert wall() == 4_000_000_000
    wall.set(step_ms=-3000)
    assert wall() == 1_000_000_000
    clock.deadline_to_sleep_time(4)
    assert wall() == 3_000_000_000
