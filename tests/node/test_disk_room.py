"""A node of a cluster whose disk is full: it says that others should lead, once, and once that it may again."""

from __future__ import annotations

import pytest
import trio

from chronosdb.node.cluster.disk_room import DiskRoom
from chronosdb.testing.memory_disk import MemoryDisk


@pytest.mark.usefixtures("autojump_clock")
async def test_others_are_to_lead_while_there_is_no_room() -> None:
    """What is free may go up and down a little without leaders going to and fro."""
    disk, said = MemoryDisk(10_000), list[bool]()
    disk.mkdir("/d")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(DiskRoom(disk, "/d", 4000, said.append).run)
        for capacity, expected in (
            (4251, []),
            (4250, [True]),
            (4900, [True]),
            (5001, [True, False]),
        ):
            disk.capacity = capacity
            await trio.sleep(2.5)
            assert said == expected
        nursery.cancel_scope.cancel()


@pytest.mark.usefixtures("autojump_clock")
async def test_without_a_reserve_no_disk_is_full() -> None:
    """The log itself finds out."""
    disk, said = MemoryDisk(0), list[bool]()
    disk.mkdir("/d")
    with trio.move_on_after(5):
        await DiskRoom(disk, "/d", 0, said.append).run()
    assert said == []
