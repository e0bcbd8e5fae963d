"""The power is cut at every single disk call of a busy scenario; each time nothing promised is broken."""

from __future__ import annotations

import errno
from contextlib import suppress
from itertools import count
from random import Random

import pytest
from trio.testing import MockClock

from chronosdb.wire.errors import Overloaded
from tests.support.in_process import START_MS, Broker, broker
from tests.support.raw_client import event
from tests.support.witness import Witness


async def scenario(node: Broker, witness: Witness) -> None:
    """Publishes, fires, acks, nacks, checkpoints, stops and starts again: about 15 seconds."""
    await witness.connect()
    await witness.publish(*(event(f"a{i}", START_MS + 1000 * i, b"x" * 600) for i in range(4)))
    got = await witness.receive(1500)
    await witness.ack(got[:1])
    for delivery in got[1:]:
        await witness.nack(delivery, 700)
    await witness.publish(event("a0", START_MS, b"x" * 600), event("b", START_MS + 4000))
    await witness.receive(500)
    if not node.died:
        await node.stop()
        await node.start()
        await witness.connect()
    await witness.publish(event("c"), event("d", START_MS + 9000))
    got = await witness.receive(3000)
    await witness.ack(got[::2])
    await witness.receive(3000)


@pytest.mark.slow
@pytest.mark.parametrize("torn", [False, True], ids=["clean", "torn"])
async def test_a_power_cut_at_any_disk_call_breaks_no_promise(clock: MockClock, torn: bool) -> None:
    """With everything lost that was not synced, or any part of it kept."""
    for n in count(1):
        async with broker(clock, seed=n, checkpoint_interval_ms=2000) as node:
            witness = Witness(node)
            node.disk.cut_power_at(n)
            reached = not await node.survives(scenario(node, witness))
            await node.crash(Random(n) if torn else None)
            await node.start()
            await witness.connect()
            await witness.finish(START_MS + 20_000)
        if not reached:
            break
    assert n > 40


@pytest.mark.slow
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
async def test_an_error_at_any_disk_call_breaks_no_promise(clock: MockClock, code: int) -> None:
    """A call that fails once, on a machine that goes on: the node serves on, or ends and starts again.

    A write that fails has written half.
    """
    for n in count(1):
        async with broker(clock, seed=n, checkpoint_interval_ms=2000) as node:
            witness = Witness(node)
            node.disk.fail_at(n, code)
            with suppress(Overloaded):  # "no space" may be said, and waited out
                await node.survives(scenario(node, witness))
            reached = not node.disk.armed
            await node.crash(Random(n))
            await node.start()
            await witness.connect()
            await witness.finish(START_MS + 20_000)
        if not reached:
            break
    assert n > 40
