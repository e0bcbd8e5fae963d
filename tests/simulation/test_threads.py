"""Worker threads that take turns with the event loop."""

from __future__ import annotations

import threading

import pytest
import trio

from chronosdb.testing.memory_disk import MemoryDisk, PowerCut
from tests.simulation.threads import SteppedThreads
from tests.simulation.virtual_time import in_virtual_time


def slow_threads(disk: MemoryDisk) -> SteppedThreads:
    """Each call of the disk takes a second."""
    threads = SteppedThreads(lambda _: 1.0)
    disk.overheard = lambda call, _: threads.on_disk_call(call)
    return threads


def write_and_sync(disk: MemoryDisk) -> str:
    file = disk.open("/f", create=True)
    file.pwrite([b"data"], 0)
    file.fdatasync()
    return "done"


@in_virtual_time
async def test_the_loop_goes_on_between_the_calls_of_a_worker() -> None:
    """A worker stops before each; what it has done by then can be seen."""
    disk = MemoryDisk()
    threads = slow_threads(disk)
    results: list[str] = []

    async def work() -> None:
        results.append(await threads.run(write_and_sync, disk))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        await trio.sleep(1.5)
        assert disk.exists("/f")
        assert disk.size("/f") == 0
        await trio.sleep(1)
        assert disk.size("/f") == 4
        assert results == []
    assert (results, trio.current_time()) == (["done"], 3.0)
    threads.close()


@in_virtual_time
async def test_cancelling_who_waits_does_not_stop_the_work() -> None:
    """As with real threads: it is waited for."""
    disk = MemoryDisk()
    threads = slow_threads(disk)
    with trio.move_on_after(1.5):
        await threads.run(write_and_sync, disk)
    assert trio.current_time() == 3.0
    assert disk.size("/f") == 4
    threads.close()


@in_virtual_time
async def test_the_end_of_the_process_stops_the_work_where_it_is() -> None:
    """In the middle of a write, of which some may be there; what was to come after it never is."""
    disk = MemoryDisk()
    threads = slow_threads(disk)
    with trio.CancelScope() as life:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(threads.run, write_and_sync, disk)
            await trio.sleep(1.5)
            threads.kill()
            life.cancel()
    assert (disk.calls, disk.size("/f") < 4) == (["open"], True)
    assert trio.current_time() == 1.5
    with pytest.raises(PowerCut):
        await threads.run(write_and_sync, disk)


@in_virtual_time
async def test_what_the_work_raises_is_raised_where_it_is_waited_for() -> None:
    """And the worker can be used again."""
    disk = MemoryDisk()
    threads = slow_threads(disk)
    disk.fail_at(2)
    with pytest.raises(OSError, match="Input/output"):
        await threads.run(write_and_sync, disk)
    assert await threads.run(write_and_sync, disk) == "done"
    threads.close()


@in_virtual_time
async def test_work_at_a_disk_that_takes_no_time_is_done_at_once_and_in_no_thread() -> None:
    threads = SteppedThreads(None)
    began_s = trio.current_time()
    assert await threads.run(threading.get_ident) == threading.get_ident()
    assert trio.current_time() == began_s
    threads.kill()
    with pytest.raises(PowerCut):
        await threads.run(threading.get_ident)
