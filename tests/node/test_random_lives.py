"""Random lives of a node against what a client was promised (I1 to I8, I13), repeatable by seed.

Chance decides what is published, acked, nacked and left alone, when the power fails and how much of
the disk survives it, how the clock is set, how long each disk access takes, and thereby in which order
tasks meet. To see a failure again: `pytest -k 'lives and [17]'`; for more of them, raise SEEDS.
"""

from __future__ import annotations

from contextlib import suppress
from random import Random

import pytest
from trio.testing import MockClock

from chronosdb.wire.errors import ChronosError
from tests.support.in_process import START_MS, Broker, broker
from tests.support.raw_client import event
from tests.support.witness import Witness

SEEDS = 40
STEPS = 60
HORIZON_MS = 30_000


async def publish(node: Broker, witness: Witness, rng: Random) -> None:
    """New events, due at once or within half a minute, and some that were sent before."""
    rows = [
        event(
            f"e{len(witness.sent) + i}",
            node.now_ms + rng.choice([-1000, 0, 1, 50, rng.randrange(HORIZON_MS)]),
            rng.randbytes(rng.choice([0, 10, 700])),
            key=rng.choice([b"", b"k"]),
        )
        for i in range(rng.choice([1, 1, 3, 20]))
    ]
    known = list(witness.sent.values())
    rows += rng.sample(known, min(len(known), rng.choice([0, 0, 2])))
    await witness.publish(*rows)


async def consume(_: Broker, witness: Witness, rng: Random) -> None:
    """Some of what arrives is acked, some given back, some left to time out."""
    got = await witness.receive(rng.choice([1, 100, 2000]))
    await witness.ack([d for d in got if rng.random() < 0.6])
    for delivery in got:
        if delivery.position not in witness.asked and rng.random() < 0.5:
            await witness.nack(delivery, rng.randrange(3000))


async def crash(node: Broker, witness: Witness, rng: Random) -> None:
    """The power fails, once or twice in a row, sometimes in the middle of a write."""
    if rng.random() < 0.5:
        node.disk.cut_power_at(rng.randint(1, 6))
        with suppress(ChronosError):  # what was published before may be looked up, and not be read
            await publish(node, witness, rng)
    for _ in range(rng.choice([1, 1, 2])):
        await node.crash(rng if rng.random() < 0.5 else None)
        await node.wait(rng.choice([0, 5000]))
        await node.start()
    await witness.connect()


async def restart(node: Broker, witness: Witness, rng: Random) -> None:
    """An orderly stop; sometimes the views are thrown away."""
    await node.stop()
    if rng.random() < 0.3:
        node.views.discard()
    await node.start()
    await witness.connect()


async def set_clock(node: Broker, _: Witness, rng: Random) -> None:
    """A step of the wall clock, either way."""
    node.step_clock(rng.choice([-20_000, -100, 100, 20_000]))


async def rejoin(_: Broker, witness: Witness, __: Random) -> None:
    """The consumer hangs up and comes back."""
    await witness.connect()


ACTIONS = [publish] * 6 + [consume] * 8 + [crash, restart, set_clock, rejoin]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_random_lives_break_no_promise(clock: MockClock, seed: int) -> None:
    """Whatever happens, everything published is delivered, on time, as it was, and settled once."""
    rng = Random(seed)
    async with broker(
        clock,
        seed=seed,
        fsync=rng.choice(["batch", "batch", "every_event"]),
        checkpoint_interval_ms=3000,
        max_attempts=1000,
        ack_timeout_ms=2000,
        backoff_ms=100,
    ) as node:
        witness = Witness(node)
        await witness.connect()
        slowness = rng.choice([0, 0.001, 0.02])
        node.threads.delay_s = lambda: rng.random() * slowness
        for _ in range(STEPS):
            await rng.choice(ACTIONS)(node, witness, rng)
        node.threads.delay_s = float
        await node.crash(rng)
        await node.start()
        await witness.connect()
        await witness.finish(max(node.now_ms, START_MS) + 2 * HORIZON_MS + 100_000)
