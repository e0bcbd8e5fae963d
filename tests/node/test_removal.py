"""A partition that moved away and may come back: its folder is a whole log, or none, whatever cut its removal short."""

from __future__ import annotations

from itertools import count
from random import Random

import pytest

from chronosdb.node.partition.partition import PartitionId
from chronosdb.node.removal import remove_orphans, remove_partition
from chronosdb.raft import ClusterView, TopicInfo
from chronosdb.testing.memory_disk import MemoryDisk, PowerCut
from chronosdb.wal import Draft, Log, LogOptions, MemoryKV
from chronosdb.wal.layout import DataDir

DATA = DataDir("/data")
MOVED = PartitionId("t", 1, 0)
DIRECTORY = DATA.partition(MOVED.directory)


def opened(disk: MemoryDisk) -> Log:
    return Log.open(
        disk, DIRECTORY, LogOptions(segment_bytes=8192, max_record_bytes=4000), log_id=MOVED.log_id
    )


def disk_with_a_log() -> MemoryDisk:
    """Of several segments."""
    disk = MemoryDisk()
    disk.mkdir(DATA.partitions)
    log = opened(disk)
    for _ in range(4):
        log.append([Draft(kind=1, ts_ms=1, body=[bytes(3000)], offsets=1)])
        log.sync()
    log.close()
    return disk


def held_again() -> ClusterView:
    """Metadata by which the partition is on this node once more."""
    topic = TopicInfo("t", 1, {}, 0, ("n2",), (3,), (("n1", "n2"),), (("n2",),), (9,))
    return ClusterView(9, {"t": topic}, {}, {}, 2, {})


@pytest.mark.parametrize("survives", ["all", "only what is synced", "any of it"])
def test_a_removal_that_a_power_cut_ends_leaves_all_or_nothing(survives: str) -> None:
    """At each call of the disk in turn; the partition is held again by the time of the next start."""
    for n in count(1):
        disk, views = disk_with_a_log(), MemoryKV()
        disk.cut_power_at(n)
        try:
            remove_partition(disk, DATA, views, MOVED)
        except PowerCut:
            is_done = False
        else:
            is_done = True
        if survives == "all":
            disk.abandon()
        else:
            disk.crash(Random(n) if survives == "any of it" else None)
        remove_orphans(disk, DATA, views, held_again(), "n1")
        assert disk.listdir(DATA.partitions) in ([], [MOVED.directory])
        log = opened(disk)
        assert log.next_offset in ((0,) if is_done else (0, 4))
        if is_done:
            return
