"""A process that stands still (tests/support/stopped_tasks.py)."""

from __future__ import annotations

import trio

from tests.simulation.virtual_time import in_virtual_time
from tests.support.stopped_tasks import Process


@in_virtual_time
async def test_a_stopped_process_does_nothing_and_finds_its_timers_run_out() -> None:
    """Its children neither; everybody else goes on."""
    process, seen = Process(), list[tuple[str, float]]()

    async def tick(name: str) -> None:
        while True:
            await trio.sleep(1)
            seen.append((name, trio.current_time()))

    async def parent() -> None:
        async with trio.open_nursery() as children:
            children.start_soon(tick, "own")

    async with trio.open_nursery() as nursery:
        with process.bearing():
            nursery.start_soon(parent)
        nursery.start_soon(tick, "other")
        await trio.sleep(1.5)
        process.stop()
        await trio.sleep(5)
        process.go_on()
        await trio.sleep(1.1)
        nursery.cancel_scope.cancel()
    assert [at for name, at in seen if name == "own"] == [1.0, 6.5, 7.5]
    assert [at for name, at in seen if name == "other"] == [1, 2, 3, 4, 5, 6, 7]


@in_virtual_time
async def test_what_is_cancelled_while_it_stands_still_ends_when_it_goes_on() -> None:
    process, ended = Process(), trio.Event()

    async def wait(scope: trio.CancelScope) -> None:
        with scope:
            await trio.sleep_forever()
        ended.set()

    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        with process.bearing():
            nursery.start_soon(wait, scope)
        await trio.sleep(1)
        process.stop()
        scope.cancel()
        await trio.sleep(1)
        assert not ended.is_set()
        process.go_on()
        await ended.wait()
