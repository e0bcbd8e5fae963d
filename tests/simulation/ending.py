"""The end of a run: everything heals, and then everything due must arrive within a stated time."""

from __future__ import annotations

from typing import Any, Final, final

import trio

from chronosdb.wire.errors import ChronosError
from tests.proof.recorded import Recorded
from tests.simulation.nemesis import Nemesis
from tests.simulation.world import TOPIC, World

#: What comes on top of the settings until all is delivered: dialling again, a stop, a pause between.
_GRACE_MS: Final = 15_000
#: Settings that may each put off a delivery once.
_WAITS: Final = ("idle_timeout_ms", "ack_timeout_ms", "backoff_max_ms")
_PUBLISH_MS: Final = 10_000
_LOOK_EVERY_S: Final = 0.25
#: Within this time after it is due an event has fired, on a machine without faults.
_FIRED_S: Final = 1.0


@final
class Ending:
    """Heals the world and looks at what becomes of it."""

    def __init__(self, world: World, nemesis: Nemesis) -> None:
        self._world = world
        self._nemesis = nemesis

    @property
    def bound_ms(self) -> int:
        """From healing, or from the moment it is due, to the last settled delivery of an event.

        A member that vanished keeps its leases, and in an ordered group its partitions, until the node
        has given it up; then may come a lease that another one left alone, and a back-off.
        """
        settings = self._world.swarm.settings
        own: list[int] = [settings[name] for name in _WAITS]
        return sum(own) + _GRACE_MS

    async def wait_until_quiet(self, published: trio.Event) -> None:
        """Heals; every publish must succeed, and each group must come to the end of what is due."""
        world = self._world
        await self._nemesis.heal()
        world.calm.set()
        world.recorder.saw("healed", {"bound_ms": _PUBLISH_MS})
        world.trace.say("healed")
        healed_ms = world.node.now_ms
        with trio.move_on_after(self.bound_ms / 1000) as patience:
            await published.wait()
        if patience.cancelled_caught:
            world.violation(f"I16: a publisher is stuck {self.bound_ms} ms after healing")
        # A step back has put off what was due soon; a step forward leaves nothing to wait for.
        due_ms = max(healed_ms, world.soon_until_ms)
        async with world.connected("judge") as db:
            await trio.sleep(max(0, due_ms - world.node.now_ms) / 1000 + _FIRED_S)
            await self._drain(db)
        groups = [name for name, _, _ in world.swarm.groups]
        world.recorder.saw("drained", {"topic": TOPIC, "groups": groups})

    async def rebuild_views(self) -> None:
        """What the node says with views computed anew is what it said before; then it stops."""
        before = await self._account()
        await self._nemesis.restart(without_views=True)
        after = await self._account()
        if before != after:
            self._world.violation(f"views differ from views rebuilt: {before} / {after}")
        await self._nemesis.stop()

    async def _drain(self, db: Recorded) -> None:
        with trio.move_on_after(self.bound_ms / 1000):
            while await self._left(db):  # noqa: ASYNC110 - a node tells nobody when a group is done
                await trio.sleep(_LOOK_EVERY_S)
            return
        self._world.violation(f"I4: {await self._left(db)} after {self.bound_ms} ms without faults")

    async def _left(self, db: Recorded) -> list[str]:
        """What has not arrived."""
        left = []
        for name, _, _ in self._world.swarm.groups:
            try:
                info = await db.group(TOPIC, name)
            except ChronosError as error:
                left.append(f"group {name}: {error}")
            else:
                if info.lag:
                    left.append(f"group {name} is {info.lag} events behind")
        return left

    async def _account(self) -> dict[str, Any]:
        """Everything pending, and each group's progress, as the node sees it."""
        async with self._world.connected("judge") as db:
            pending = await db.pending(TOPIC)
            groups = [await db.group(TOPIC, name) for name, _, _ in self._world.swarm.groups]
        return {
            "pending": [(row.partition, row.offset, row.schedule_ts) for row in pending],
            "groups": [
                [(row.partition, row.position, row.end, row.lag) for row in group.partitions]
                for group in groups
            ],
        }
