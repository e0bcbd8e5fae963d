"""What we expect of the names that trio keeps private (tests/support/seeded_trio.py)."""

from __future__ import annotations

import trio

from tests.support.seeded_trio import schedule_by


def order(seed: int) -> list[int]:
    """In which order thirty tasks that can all run at once do."""
    ran: list[int] = []

    async def note(number: int) -> None:
        await trio.lowlevel.checkpoint()
        ran.append(number)

    async def together() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(note, number)

    schedule_by(seed)
    trio.run(together)
    return ran


def test_a_seed_decides_the_order_of_tasks() -> None:
    """The same one each time, another one for another seed, and never that of their birth."""
    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order(1) != sorted(order(1))
