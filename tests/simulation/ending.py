"""The end of a run: everything heals, and then everything due must arrive within a stated time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, final

import trio

from chronosdb.client import Event
from chronosdb.wire.errors import ChronosError
from tests.proof.recorded import Recorded
from tests.simulation.nemesis import Nemesis
from tests.simulation.traces import copies_of
from tests.simulation.world import TOPIC, World

#: What comes on top of the settings until all is delivered: dialling again, a stop, a pause between.
_GRACE_MS: Final = 15_000
#: Settings that may each put off a delivery once.
_WAITS: Final = ("idle_timeout_ms", "ack_timeout_ms", "backoff_max_ms")
_PUBLISH_MS: Final = 10_000
#: After everything was delivered, until every copy is in sync and has all of it.
_LEVEL_S: Final = 30.0
_LOOK_EVERY_S: Final = 0.25
#: Within this time after it is due an event has fired, on a machine without faults.
_FIRED_S: Final = 1.0
#: At the end all is well: so many events, due within this time, come within this bound.
_EVENTS: Final = 8
_SPREAD_MS: Final = 2_000
_PUNCTUAL_MS: Final = 1_000


@final
class Ending:
    """Heals the world and looks at what becomes of it."""

    def __init__(self, world: World, nemesis: Nemesis) -> None:
        self._world = world
        self._nemesis = nemesis
        self._random = world.chance("ending")

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
        healed_ms = world.now_ms
        if world.is_cluster:
            await self._wait_for_leaders()
        async with world.connected("judge") as db:
            # Perhaps nobody else has anything left to publish; what comes of it the checker judges.
            with suppress(ChronosError):
                await db.publish_many(TOPIC, [Event(payload=b"")])
        with trio.move_on_after(self.bound_ms / 1000) as patience:
            await published.wait()
        if patience.cancelled_caught:
            world.violation(f"I16: a publisher is stuck {self.bound_ms} ms after healing")
        # A step back has put off what was due soon; a step forward leaves nothing to wait for.
        due_ms = max(healed_ms, world.soon_until_ms)
        async with world.connected("judge") as db:
            await trio.sleep(max(0, due_ms - world.now_ms) / 1000 + _FIRED_S)
            await self._drain(db)
            if world.swarm.thorough:
                await self._be_punctual(db)
                await self._drain(db)
        world.check_survival()
        groups = [name for name, _, _ in world.swarm.groups]
        world.recorder.saw("drained", {"topic": TOPIC, "groups": groups})

    async def rebuild_views(self) -> None:
        """What the nodes say with views computed anew is what they said before."""
        before = await self._account()
        await self._nemesis.restart(without_views=True)
        after = await self._account()
        if before != after:
            self._world.violation(f"views differ from views rebuilt: {before} / {after}")

    async def stop(self) -> None:
        """Of a node alone in order; of a cluster at one moment, when all copies are level."""
        if self._world.is_cluster:
            await self._wait_until_level()
            await self._nemesis.kill_all()
        else:
            await self._nemesis.stop()

    async def _wait_for_leaders(self) -> None:
        with trio.move_on_after(_PUBLISH_MS / 1000):
            while self._unserved():  # noqa: ASYNC110 - as above
                await trio.sleep(_LOOK_EVERY_S)
            return
        self._world.violation(f"I16: not served {_PUBLISH_MS} ms after healing: {self._unserved()}")

    def _unserved(self) -> list[int]:
        """The partitions that no node serves."""
        served = {
            identity.partition
            for computer in self._world.computers
            for identity, _, leads in copies_of(computer)
            if leads and identity.topic == TOPIC
        }
        return sorted(set(range(self._world.swarm.partitions)) - served)

    async def _wait_until_level(self) -> None:
        with trio.move_on_after(_LEVEL_S):
            while behind := list(self._behind()):  # noqa: ASYNC110 - as above
                await trio.sleep(_LOOK_EVERY_S)
            self._world.recorder.saw("level", {"topic": TOPIC})
            return
        self._world.violation(f"I10: not level {_LEVEL_S} s after all faults: {behind}")

    def _behind(self) -> Iterator[str]:
        """Copies that are not in sync, or do not know yet that everything is committed."""
        view = self._world.metadata_view()
        if view is None:
            yield "nobody knows the metadata"
            return
        ends: dict[tuple[str, int], list[tuple[int, int]]] = {}
        for computer in self._world.computers:
            for identity, status, _ in copies_of(computer):
                place = identity.topic, identity.partition
                ends.setdefault(place, []).append((status.end_lsn, status.high_watermark))
        for topic in view.topics.values():
            for index, (isr, replicas) in enumerate(zip(topic.isrs, topic.replicas, strict=True)):
                place = topic.name, index
                if set(isr) != set(replicas):
                    yield f"{place}: {replicas}, in sync {isr}"
                # A node that is still starting has not opened its copies yet.
                some = ends.get(place, [])
                if len(some) < len(replicas) or len({end for both in some for end in both}) > 1:
                    yield f"{place}: ends and high watermarks {some} of {replicas}"

    async def _be_punctual(self, db: Recorded) -> None:
        """All is well, and everybody who has gone is given up: now what is due comes at once."""
        world, settings = self._world, self._world.swarm.settings
        await trio.sleep((settings["idle_timeout_ms"] + settings["ack_timeout_ms"]) / 1000)
        # Where a member may have one delivery at a time, each waits for the acks of those before it.
        bound_ms = _PUNCTUAL_MS + round(_EVENTS * 1000 * self._settling_s)
        now_ms = world.now_ms
        dues = [now_ms + self._random.randint(0, _SPREAD_MS) for _ in range(_EVENTS)]
        self._say_healthy(bound_ms, on=True)
        await db.publish_many(TOPIC, [Event(payload=b"", schedule_ts=due_ms) for due_ms in dues])
        await trio.sleep((_SPREAD_MS + 2 * bound_ms) / 1000)
        self._say_healthy(bound_ms, on=False)

    def _say_healthy(self, bound_ms: int, *, on: bool) -> None:
        for name, _, _ in self._world.swarm.groups:
            seen = {"topic": TOPIC, "group": name, "bound_ms": bound_ms, "on": on}
            self._world.recorder.saw("healthy", seen)

    async def _drain(self, db: Recorded) -> None:
        began_s, most = trio.current_time(), 0
        with trio.move_on_after(self.bound_ms / 1000) as patience:
            while True:
                left, lag = await self._left(db)
                if not left:
                    return
                # With one credit, or a sync for each ack, a slow disk needs its time for each event.
                most = max(most, lag)
                patience.deadline = began_s + self.bound_ms / 1000 + most * self._settling_s
                await trio.sleep(_LOOK_EVERY_S)
        left, _ = await self._left(db)
        waited_ms = round((trio.current_time() - began_s) * 1000)
        self._world.violation(f"I4: {left} after {waited_ms} ms without faults")

    @property
    def _settling_s(self) -> float:
        """For how long one event may keep the next one waiting, when one group gets them one by one."""
        return 4 * self._world.swarm.latency_s + 6 * self._world.swarm.disk_s

    async def _left(self, db: Recorded) -> tuple[list[str], int]:
        """What has not arrived; and how many events that is, as far as it is known."""
        left, lag, world = list[str](), 0, self._world
        for name, _, _ in world.swarm.groups:
            try:
                info = await db.group(TOPIC, name)
            except ChronosError as error:
                left.append(f"group {name}: {error}")
            else:
                lag += info.lag
                unknown = world.swarm.partitions - len(info.partitions)
                if info.lag or unknown:
                    behind = f"{info.lag} events behind, and {unknown} partitions say nothing"
                    left.append(f"group {name} is {behind}")
        return left, lag

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
