"""Time in the simulation."""

from __future__ import annotations

import trio

from tests.simulation.leaping_clock import LeapingClock


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
