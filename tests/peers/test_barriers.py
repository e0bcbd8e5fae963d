"""Barriers: shared, never too early, and passed on when whoever ran one is gone."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from chronosdb.node.peers.barriers import Barriers
from chronosdb.wire.errors import Overloaded


class Step:
    """Takes a second, and is counted."""

    def __init__(self) -> None:
        self.begun_s: list[float] = []
        self.fails = False

    async def __call__(self) -> None:
        self.begun_s.append(trio.current_time())
        await trio.sleep(1)
        if self.fails:
            raise Overloaded("no")


async def test_who_comes_too_late_waits_for_the_next(autojump_clock: MockClock) -> None:
    """A step that had begun before may not have seen what the caller wants to see."""
    step = Step()
    barriers = Barriers(step)
    began_s = autojump_clock.current_time()
    ended_s: list[float] = []

    async def one(after_s: float) -> None:
        await trio.sleep(after_s)
        await barriers.pass_one()
        ended_s.append(trio.current_time() - began_s)

    async with trio.open_nursery() as nursery:
        for after_s in (0.0, 0.5, 0.6, 0.9):
            nursery.start_soon(one, after_s)
    assert len(step.begun_s) == 2
    assert ended_s == pytest.approx([1.0, 2.0, 2.0, 2.0])


async def test_a_failed_step_fails_all_who_shared_it(autojump_clock: MockClock) -> None:
    """Each with an error of its own; the next one is tried anew."""
    step = Step()
    step.fails = True
    barriers = Barriers(step)
    failed = []

    async def one() -> None:
        await trio.sleep(autojump_clock.rate)
        with pytest.raises(Overloaded) as caught:
            await barriers.pass_one()
        failed.append(caught.value)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(one)
    assert len(set(map(id, failed))) == 3
    step.fails = False
    await barriers.pass_one()


async def test_a_cancelled_runner_leaves_the_round_to_another(autojump_clock: MockClock) -> None:
    """Nobody waits for a step that will not end."""
    step = Step()
    barriers = Barriers(step)
    began_s = autojump_clock.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(barriers.pass_one)
        await trio.sleep(0.1)
        with trio.move_on_after(0.2):
            await barriers.pass_one()
        nursery.start_soon(barriers.pass_one)
        await barriers.pass_one()
    assert trio.current_time() - began_s < 4
