"""Time in the simulation."""

from __future__ import annotations

from functools import partial

import trio

from tests.simulation.leaping_clock import LeapingClock, call_at, sleep
from tests.simulation.virtual_time import in_virtual_time


def test_time_passes_only_while_everybody_waits_and_then_to_the_first_deadline() -> None:
    """However much is done meanwhile."""
    seen: list[tuple[str, float]] = []

    async def wake(name: str, after_s: float) -> None:
        await trio.sleep(after_s)
        for _ in range(100):
            await trio.lowlevel.checkpoint()
        seen.append((name, trio.current_time()))

    async def live() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wake, "late", 86_400.0)
            nursery.start_soon(wake, "early", 0.25)

    trio.run(live, clock=LeapingClock())
    assert seen == [("early", 0.25), ("late", 86_400.0)]


@in_virtual_time
async def test_calls_come_at_their_times_among_the_deadlines_of_tasks() -> None:
    """Of one time in the order of asking."""
    seen = list[tuple[str, float]]()

    def see(name: str) -> None:
        seen.append((name, trio.current_time()))

    for name, time_s in (("third", 2.0), ("first", 0.5), ("fourth", 2.0)):
        call_at(time_s, partial(see, name))
    await trio.sleep(1)
    see("second")
    await sleep(1)
    assert seen == [("first", 0.5), ("second", 1.0), ("third", 2.0), ("fourth", 2.0)]


@in_virtual_time
async def test_who_sleeps_can_be_cancelled() -> None:
    with trio.move_on_after(1):
        await sleep(60)
    assert trio.current_time() == 1.0
