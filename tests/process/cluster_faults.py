"""What is done to the nodes of a cluster under load, one strike after the other, and how long it hurts."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from chronosdb.client import ChronosError, Event
from tests.process.cluster_nodes import Cluster
from tests.process.keys import key_of
from tests.process.mixed_faults import HEALED_MS, folder_bytes, resident_bytes
from tests.process.mixed_world import PARTITIONS, TOPIC, World
from tests.proof.recorded import Recorded

#: From one strike to the next.
EVERY_S: Final = 20.0
PAUSE_S: Final = 5.0
#: How long a node stays dead, or cut off.
_AWAY_S: Final = (1.0, 9.0)
#: Between two beats of the pulse.
_BEAT_S: Final = 0.1
#: Longer than any outage that is allowed: a beat must not give up before.
_BEAT_TIMEOUT_S: Final = 30.0
#: After that the load goes on; the checker will say what was promised.
_OUTAGE_S_MAX: Final = 60.0
#: One for each partition.
_KEYS: Final = tuple(key_of(partition, PARTITIONS) for partition in range(PARTITIONS))


@dataclass(frozen=True, slots=True)
class Outage:
    """How long nothing could be published, from a strike on."""

    fault: str
    seconds: float


@dataclass(slots=True)
class Pulse:
    """Publishes an event to every partition again and again: how long the cluster was away."""

    world: World
    #: Of each beat that was acked: when it began, and how long it took, in seconds of trio's clock.
    beats: list[tuple[float, float]] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)
    _acked: trio.Event = field(default_factory=trio.Event)

    async def run(self) -> None:
        """Until the load is over."""
        serial = 0
        async with self.world.client("pulse", _BEAT_TIMEOUT_S) as db:
            while not self.world.finishing.is_set():
                serial += 1
                await self._beat(db, serial)
                await trio.sleep(_BEAT_S)

    async def _beat(self, db: Recorded, serial: int) -> None:
        began_s = trio.current_time()
        events = [
            Event(payload=b"beat", message_id=f"pulse-{serial}-{n}", key=key)
            for n, key in enumerate(_KEYS)
        ]
        try:
            await db.publish_many(TOPIC, events)
        except ChronosError as error:
            self.world.counts[f"pulse: {error.code}"] += 1
            return
        self.beats.append((began_s, trio.current_time() - began_s))
        self._acked.set()
        self._acked = trio.Event()

    async def measure(self, fault: str, since_s: float) -> None:
        """Keep how long it takes until a beat that began after a moment is acked."""
        await self.beaten(since_s)
        self.outages.append(Outage(fault, trio.current_time() - since_s))

    async def beaten(self, since_s: float) -> None:
        """Wait until a beat that began after a moment is acked, but not for ever."""
        with trio.move_on_after(_OUTAGE_S_MAX):
            while not self.beats or self.beats[-1][0] < since_s:
                await self._acked.wait()


class Nemesis:
    """Strikes a cluster again and again, and heals it each time."""

    def __init__(
        self, world: World, cluster: Cluster, pulse: Pulse, healed_ms: int = HEALED_MS
    ) -> None:
        """A publish must succeed within `healed_ms` after each strike."""
        self._world = world
        self._cluster = cluster
        self._pulse = pulse
        self._healed_ms = healed_ms
        self._chance = world.chance("nemesis")
        self._names = iter(f"n{number}" for number in range(4, 1000))
        self._kinds: dict[str, tuple[float, Callable[[], Awaitable[None]]]] = {
            "kill": (0.3, self._kill),
            "stop": (0.05, self._stop),
            "pause": (0.2, self._pause),
            "cut off": (0.15, self._cut_off),
            "cut out": (0.1, self._cut_out),
            "cut in": (0.1, self._cut_in),
            "kill all": (0.1, self._kill_all),
        }

    async def run(self, strikes: int, every_s: float, replacements: int) -> None:
        """So many strikes; among them, spread evenly, as many nodes are wiped and replaced."""
        replaced = {strikes * (n + 1) // (replacements + 1) for n in range(replacements)}
        for number in range(strikes):
            began_s = trio.current_time()
            if number in replaced:
                await self.strike("replace")
            else:
                weights = [weight for weight, _ in self._kinds.values()]
                [kind] = self._chance.choices(list(self._kinds), weights)
                await self.strike(kind)
            await trio.sleep_until(began_s + every_s)

    async def strike(self, kind: str) -> None:
        """One fault from beginning to end; then a publish must soon succeed."""
        world, began_s = self._world, trio.current_time()
        world.recorder.saw("fault", {"what": kind, "on": True})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pulse.measure, kind, began_s)
            await (self._replace if kind == "replace" else self._kinds[kind][1])()
            world.recorder.saw("fault", {"what": kind, "on": False})
            world.recorder.saw("healed", {"bound_ms": self._healed_ms})
            # The next one waits: a promise about a cluster that is well is none about one that is not.
            await self._pulse.beaten(trio.current_time())
        world.counts[kind] += 1

    def _victim(self) -> str:
        return self._chance.choice(sorted(self._cluster.nodes))

    async def _away(self) -> None:
        await trio.sleep(self._chance.uniform(*_AWAY_S))

    async def _kill(self) -> None:
        await self._fell(self._victim())

    async def _stop(self) -> None:
        """An orderly stop: it hands over what it leads, and ends well."""
        name = self._victim()
        self._cluster[name].process.send(signal.SIGTERM)
        code = await self._cluster[name].process.ended(30)
        self._world.recorder.saw("stop", {"code": code}, name)
        assert code == 0, f"{name} ended with exit code {code}"
        await self._away()
        await self._start(name)

    async def _kill_all(self) -> None:
        await self._fell(*self._cluster.nodes)

    async def _fell(self, *names: str) -> None:
        await self._cluster.kill(*names)
        for name in names:
            self._world.recorder.saw("crash", {"how": "kill -9"}, name)
        await self._away()
        await self._start(*names)

    async def _start(self, *names: str) -> None:
        for name in names:
            self._world.recorder.saw("start", {}, name)
        await self._cluster.start(*names)
        for name in names:
            self._world.recorder.saw("serving", {}, name)

    async def _pause(self) -> None:
        node = self._cluster[self._victim()]
        node.pause()
        await trio.sleep(PAUSE_S)
        node.resume()

    async def _cut_off(self) -> None:
        await self._cut(into=True, out=True)

    async def _cut_out(self) -> None:
        """It hears the others, and they do not hear it."""
        await self._cut(out=True)

    async def _cut_in(self) -> None:
        """They hear it, and it does not hear them."""
        await self._cut(into=True)

    async def _cut(self, *, into: bool = False, out: bool = False) -> None:
        cables, victim = self._cluster.cables, self._victim()
        assert cables is not None
        for other in self._cluster.nodes.keys() - {victim}:
            if into:
                cables.cut(other, victim)
            if out:
                cables.cut(victim, other)
        await self._away()
        cables.mend()

    async def _replace(self) -> None:
        """A node and its disk are lost; a new one takes its place."""
        gone, new = self._victim(), next(self._names)
        await self._cluster.kill(gone)
        self._world.recorder.saw("crash", {"how": "lost with its disk"}, gone)
        shutil.rmtree(self._cluster[gone].process.data_dir)
        await self._cluster.replace(gone, new)
        self._world.recorder.saw("serving", {}, new)


@dataclass(slots=True)
class NodeGauges:
    """The most memory that each node had, sampled, and its disk at the end."""

    memory: dict[str, int] = field(default_factory=dict)

    async def run(self, cluster: Cluster) -> None:
        """Sample until cancelled."""
        while True:
            await trio.sleep(1)
            for name, node in cluster.nodes.items():
                resident = resident_bytes(node.process.pid) if node.process.running else None
                self.memory[name] = max(resident or 0, self.memory.get(name, 0))

    def disk_bytes(self, cluster: Cluster) -> int:
        """Of all nodes."""
        return sum(folder_bytes(node.process.data_dir) for node in cluster.nodes.values())
