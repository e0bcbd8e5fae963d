"""The nemesis: does to machines, disks, clocks, network and clients what the world does to them."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, final

import trio

from chronosdb.raft import RaftError
from chronosdb.wal import DiskFull, LogDamaged, WalError
from tests.simulation.computer import Computer
from tests.simulation.people import Person
from tests.simulation.world import World

#: How often somebody looks whether a node has died, and starts it again: a supervisor.
_SUPERVISION_S: Final = 0.25
#: Bytes on a disk that is not full.
_ROOM: Final = 1 << 40
#: What a node may say when its disk fails under it.
_EXCUSES: Final = (WalError, RaftError, OSError)


@final
class Nemesis:
    """Makes trouble until cancelled; `heal` ends all of it."""

    def __init__(self, world: World, people: Sequence[Person]) -> None:
        self._world = world
        self._people = people
        self._trace = world.trace
        self._chance = world.chance("nemesis")
        #: Who starts and stops a node's process holds it.
        self._process = trio.Lock()
        #: Whether a disk has failed in the life of the process that runs now.
        self._excused = False

    async def run(self) -> None:
        """One task for each kind of fault that this run has."""
        deeds: dict[str, Callable[[], Awaitable[None]]] = {
            "power cut": self._power_cut,
            "crash in a call": self._crash_in_a_call,
            "kill": self._kill,
            "restart": self._restart,
            "views lost": self._lose_views,
            "disk error": self._disk_error,
            "disk full": self._disk_full,
            "disk slow": self._disk_slow,
            "connection broken": self._break_connection,
            "link blocked": self._block_link,
            "link slow": self._slow_link,
            "machine stalled": self._stall,
            "clock stepped": self._step_clock,
            "clock drifts": self._drift,
            "client gone": self._client_gone,
        }
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._supervise)
            for kind, every_s in self._world.swarm.faults.items():
                nursery.start_soon(self._again_and_again, kind, every_s, deeds[kind])

    async def begin(self) -> None:
        """Starts the node for the first time."""
        await self._start()

    async def heal(self) -> None:
        """Everything works again; whoever was cut off learns of it."""
        world, node = self._world, self._world.node
        world.disk_factor = 1.0
        node.disk.capacity = _ROOM
        for link in world.network.links():
            link.jitter_s, link.latency_s, link.bytes_per_s = 0.0001, 0.0002, 50e6
        names = [computer.name for computer in world.computers]
        for person in (one.name for one in self._people):
            for name in names:
                world.network.block(person, name, False)
                world.network.block(name, person, False)
        node.clock.set()
        async with self._process:
            await self._examine()
            if node.disk.armed or not node.running:
                await self._kill_process()
                await self._start()

    async def restart(self, *, without_views: bool) -> None:
        """An orderly stop and start."""
        async with self._process:
            await self._stop()
            if without_views:
                self._world.node.views.discard()
            await self._start()

    async def stop(self) -> None:
        """The end."""
        async with self._process:
            await self._stop()

    # ---- processes ---------------------------------------------------------------------------

    async def _power_cut(self) -> None:
        async with self._process:
            await self._examine()
            await self._lose_power()
            await trio.sleep(self._chance.choice((0, 0.1, 3)))
            await self._start()

    async def _crash_in_a_call(self) -> None:
        """In the middle of what the node does with its disk, of which some may be done."""
        async with self._process:
            self._excused = True
            self._world.node.disk.cut_power_at(self._chance.randint(1, 12))
            with trio.move_on_after(2):
                self._judge_death(await self._world.node.failure())
            await self._chance.choice((self._lose_power, self._kill_process))()
            await self._start()

    async def _kill(self) -> None:
        async with self._process:
            await self._examine()
            await self._kill_process()
            await trio.sleep(self._chance.choice((0, 0.1, 3)))
            await self._start()

    async def _restart(self) -> None:
        await self.restart(without_views=False)

    async def _lose_views(self) -> None:
        await self.restart(without_views=True)

    async def _supervise(self) -> None:
        while True:
            await trio.sleep(_SUPERVISION_S)
            with trio.CancelScope(shield=True):
                async with self._process:
                    if self._world.node.died:
                        self._judge_death(await self._world.node.failure())
                        await self._world.node.kill()
                        self._saw("stop", code=1)
                        await self._start()

    async def _start(self) -> None:
        """Until it serves. Each attempt may fail for a fault that is on; none for what is on disk."""
        node = self._world.node
        while True:
            self._saw("start")
            self._excused = node.disk.armed
            try:
                await node.start()
            except _EXCUSES as error:
                if not _is_for_want_of_space(error, node):
                    self._judge_death([error])
                self._trace.say("did not start:", repr(error))
                await self._lose_power()
                await trio.sleep(1)
            else:
                self._saw("serving")
                self._trace.say("serving")
                return

    async def _stop(self) -> None:
        node = self._world.node
        try:
            await node.stop()
        except _EXCUSES as error:
            self._judge_death([error])
            await node.kill()
            self._saw("stop", code=1)
        else:
            self._saw("stop", code=0)

    async def _kill_process(self) -> None:
        await self._world.node.kill()
        self._world.check_survival()
        self._saw("crash", how="kill -9")

    async def _lose_power(self) -> None:
        kept = self._chance if self._chance.random() < 0.6 else None
        await self._world.node.lose_power(kept)
        self._world.check_survival()
        self._saw("crash", how="power cut")

    async def _examine(self) -> None:
        """What a node that has ended by itself died of."""
        if self._world.node.died:
            self._judge_death(await self._world.node.failure())

    def _judge_death(self, errors: Sequence[BaseException]) -> None:
        """A node ends by itself only for its disk, and never because what was durable is wrong."""
        for error in errors:
            if (
                not self._excused
                or not isinstance(error, _EXCUSES)
                or isinstance(error, LogDamaged)
            ):
                self._world.violation(f"the node died: {error!r} ({error.__cause__!r})")

    # ---- disks -------------------------------------------------------------------------------

    async def _disk_error(self) -> None:
        self._excused = True
        self._world.node.disk.fail_at(self._chance.randint(1, 30), errno.EIO)

    async def _disk_full(self) -> None:
        disk = self._world.node.disk
        self._saw("fault", what="enospc", on=True)
        disk.capacity = disk.used_bytes + self._chance.choice((0, 100_000, 2_000_000))
        await trio.sleep(self._chance.uniform(0.2, 5))
        disk.capacity = _ROOM
        self._saw("fault", what="enospc", on=False)

    async def _disk_slow(self) -> None:
        self._saw("fault", what="stall", on=True)
        self._world.disk_factor = self._chance.choice((3, 10, 50))
        await trio.sleep(self._chance.uniform(0.2, 4))
        self._world.disk_factor = 1.0
        self._saw("fault", what="stall", on=False)

    # ---- network -----------------------------------------------------------------------------

    async def _break_connection(self) -> None:
        connections = self._world.network.connections(self._world.node.name)
        if not connections:
            return
        connection = self._chance.choice(connections)
        if self._chance.random() < 0.3:
            connection.sever(self._chance)
        else:
            wire = self._chance.choice(connection.wires)
            wire.breaks_after = self._chance.choice((0, 1, 3, 5, self._chance.randrange(3000)))

    async def _block_link(self) -> None:
        network, person = self._world.network, self._chance.choice(self._people).name
        ways = self._chance.choice((0, 1, 2))
        node = self._world.node.name
        both = [(person, node), (node, person)]
        blocked = both if ways == 2 else [both[ways]]
        self._saw("fault", what="cut", on=True)
        for way in blocked:
            network.block(*way, True)
        await trio.sleep(self._chance.choice((0.5, 3, 12)))
        for way in blocked:
            network.block(*way, False)
        self._saw("fault", what="cut", on=False)

    async def _slow_link(self) -> None:
        person, node = self._chance.choice(self._people).name, self._world.node.name
        links = [self._world.network.link(*way) for way in ((person, node), (node, person))]
        before = [(link.latency_s, link.bytes_per_s) for link in links]
        self._saw("fault", what="slow", on=True)
        for link in links:
            link.latency_s = self._chance.choice((0.02, 0.4, 1.5))
            link.bytes_per_s = self._chance.choice((5e3, 1e5, 50e6))
        await trio.sleep(self._chance.uniform(0.5, 6))
        for link, (latency_s, bytes_per_s) in zip(links, before, strict=True):
            link.latency_s, link.bytes_per_s = latency_s, bytes_per_s
        self._saw("fault", what="slow", on=False)

    async def _stall(self) -> None:
        """The machine neither hears nor speaks, and its disk takes its time."""
        network, node = self._world.network, self._world.node.name
        ways = [way for one in self._people for way in ((one.name, node), (node, one.name))]
        self._saw("fault", what="stall", on=True)
        self._world.disk_factor = 50
        for way in ways:
            network.block(*way, True)
        await trio.sleep(self._chance.choice((0.3, 2, 7)))
        for way in ways:
            network.block(*way, False)
        self._world.disk_factor = 1.0
        self._saw("fault", what="stall", on=False)

    # ---- clocks and clients ------------------------------------------------------------------

    async def _step_clock(self) -> None:
        step_ms = self._chance.choice((-60_000, -5_000, -300, -1, 1, 300, 5_000, 60_000))
        self._world.node.clock.set(step_ms=step_ms)
        self._saw("clock", step_ms=step_ms)

    async def _drift(self) -> None:
        self._world.node.clock.set(drift_ppm=self._chance.choice((-5_000, -200, 0, 200, 5_000)))
        self._saw("clock", step_ms=0)

    async def _client_gone(self) -> None:
        self._chance.choice(self._people).vanish(self._chance.choice((0.1, 2, 8)))

    # ---- the rest ----------------------------------------------------------------------------

    async def _again_and_again(
        self, kind: str, every_s: float, strike: Callable[[], Awaitable[None]]
    ) -> None:
        chance = self._world.chance(kind)
        while True:
            await trio.sleep(chance.expovariate(1 / every_s))
            # What has begun is ended: a machine that is half started could not be healed.
            with trio.CancelScope(shield=True):
                self._trace.fault(kind)
                await strike()

    def _saw(self, f: str, **seen: object) -> None:
        self._trace.say(f, seen or "")
        self._world.recorder.saw(f, dict(seen))


def _is_for_want_of_space(error: BaseException, node: Computer) -> bool:
    """A node that serves lives with a full disk; one that starts has its new term to write."""
    return node.disk.capacity < _ROOM and isinstance(error.__cause__, DiskFull)
