"""The nemesis: does to machines, disks, clocks, network and clients what the world does to them."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from typing import Final, final

import trio

from tests.simulation.computer import Computer
from tests.simulation.cuts import cut_between
from tests.simulation.keeper import ROOM, Keeper
from tests.simulation.network import Link
from tests.simulation.people import Person
from tests.simulation.world import World

#: A way from one machine to another.
_Way = tuple[str, str]

#: For how long a machine is without power, or a process does nothing.
_PAUSES_S: Final = (0.3, 2, 7)


@final
class Nemesis:
    """Makes trouble until cancelled; `heal` ends all of it."""

    def __init__(self, world: World, people: Sequence[Person]) -> None:
        self.keepers = [
            Keeper(world, one, world.chance(f"{one.name} kept")) for one in world.computers
        ]
        self._world = world
        self._people = people
        self._trace = world.trace
        self._chance = world.chance("nemesis")
        #: Of those who watch over the nodes.
        self._watch: trio.Nursery | None = None

    async def run(self) -> None:
        """One task for each kind of fault that this run has."""
        deeds: dict[str, Callable[[], Awaitable[None]]] = {
            "power cut": lambda: self._any().strike(power=True),
            "kill": lambda: self._any().strike(power=False),
            "power cut of all": lambda: self._strike_all(power=True),
            "kill of all": lambda: self._strike_all(power=False),
            "crash in a call": self._crash_in_a_call,
            "restart": lambda: self._any().restart(without_views=False),
            "views lost": lambda: self._any().restart(without_views=True),
            "process stopped": lambda: self._any().stand_still(self._for_s(*_PAUSES_S)),
            "disk error": self._disk_error,
            "disk full": self._disk_full,
            "disk slow": self._disk_slow,
            "connection broken": self._break_connection,
            "link blocked": self._block_link,
            "link slow": self._slow_link,
            "nodes partitioned": self._partition,
            "link between nodes slow": self._slow_link_between_nodes,
            "machine stalled": self._stall,
            "clock stepped": self._step_clock,
            "clock drifts": self._drift,
            "client gone": self._client_gone,
        }
        async with trio.open_nursery() as nursery:
            for kind, every_s in self._world.swarm.faults.items():
                nursery.start_soon(self._again_and_again, kind, every_s, deeds[kind])

    async def supervise(self) -> None:
        """Nodes that have died are started again, until cancelled: some are still dying when all is healed."""
        try:
            async with trio.open_nursery() as self._watch:
                for keeper in self.keepers:
                    self._watch.start_soon(keeper.supervise)
                await trio.sleep_forever()
        finally:
            self._watch = None

    async def begin(self) -> None:
        """Starts the nodes for the first time."""
        await self._with_all(Keeper.start)

    async def heal(self) -> None:
        """Everything works again; whoever was cut off learns of it."""
        network = self._world.network
        for way, link in network.links():
            link.jitter_s, link.latency_s, link.bytes_per_s = 0.0001, 0.0002, 50e6
            if link.blocked:
                network.block(*way, False)
        for keeper in self.keepers:
            keeper.computer.disk_factor = 1.0
            keeper.computer.disk.capacity = ROOM
            self._set_clock(keeper, step_ms=self._world.error_ms(keeper.computer))
        await self._with_all(Keeper.ensure_running)

    async def restart(self, *, without_views: bool) -> None:
        """An orderly stop and start of all, one after the other."""
        for keeper in self.keepers:
            await keeper.restart(without_views=without_views)

    async def stop(self) -> None:
        """The end."""
        await self._with_all(Keeper.stop)

    async def kill_all(self) -> None:
        """The end, at one moment."""
        for keeper in self.keepers:
            await keeper.end(power=False)
        self._world.check_survival(synced=not self._world.syncs_later)

    async def hire(self, computer: Computer) -> None:
        """A node more, to be made trouble."""
        keeper = Keeper(self._world, computer, self._world.chance(f"{computer.name} kept"))
        self.keepers.append(keeper)
        # Whoever hires may be gone before it has started.
        with trio.CancelScope(shield=True):
            async with keeper.process:
                await keeper.start()
        if self._watch is not None:
            self._watch.start_soon(keeper.supervise)

    async def dismiss(self, keeper: Keeper) -> None:
        """A node less: its machine is scrapped."""
        with trio.CancelScope(shield=True):
            async with keeper.process:
                keeper.scrapped = True
                self._world.forget_clock(keeper.computer)
                await keeper.computer.kill()
            self.keepers.remove(keeper)
            self._world.computers.remove(keeper.computer)

    # ---- processes ---------------------------------------------------------------------------

    def _any(self) -> Keeper:
        return self._chance.choice(self.keepers)

    async def _with_all(
        self, deed: Callable[[Keeper], Awaitable[None]], keepers: Sequence[Keeper] | None = None
    ) -> None:
        async with trio.open_nursery() as nursery:
            for keeper in self.keepers if keepers is None else keepers:
                nursery.start_soon(deed, keeper)

    async def _strike_all(self, *, power: bool) -> None:
        """At one moment, whatever each was doing."""
        async with AsyncExitStack() as held:
            everybody = list(self.keepers)
            for keeper in everybody:
                await held.enter_async_context(keeper.process)
            for keeper in everybody:
                await keeper.examine()
            for keeper in everybody:
                await keeper.end(power=power)
            self._world.check_survival(synced=power or not self._world.syncs_later)
            await trio.sleep(self._chance.choice((0, 0.1, 3)))
            await self._with_all(Keeper.start, everybody)

    async def _crash_in_a_call(self) -> None:
        power = self._chance.random() < 0.5
        await self._any().crash_in_a_call(power=power)

    # ---- disks -------------------------------------------------------------------------------

    async def _disk_error(self) -> None:
        keeper = self._any()
        keeper.excused = True
        keeper.computer.disk.fail_at(self._chance.randint(1, 30), errno.EIO)

    async def _disk_full(self) -> None:
        keeper = self._any()
        disk = keeper.computer.disk
        with self._fault("enospc", keeper):
            keeper.was_full = True
            disk.capacity = disk.used_bytes + self._chance.choice((0, 100_000, 2_000_000))
            await trio.sleep(self._chance.uniform(0.2, 5))
            disk.capacity = ROOM

    async def _disk_slow(self) -> None:
        keeper = self._any()
        with self._fault("stall", keeper):
            keeper.computer.disk_factor = self._chance.choice((3, 10, 50))
            await trio.sleep(self._chance.uniform(0.2, 4))
            keeper.computer.disk_factor = 1.0

    # ---- network -----------------------------------------------------------------------------

    async def _break_connection(self) -> None:
        connections = self._world.network.connections(self._any().computer.name)
        if not connections:
            return
        connection = self._chance.choice(connections)
        if self._chance.random() < 0.3:
            connection.sever(self._chance)
        else:
            wire = self._chance.choice(connection.wires)
            wire.breaks_after = self._chance.choice((0, 1, 3, 5, self._chance.randrange(3000)))

    async def _block_link(self) -> None:
        keeper, person = self._any(), self._chance.choice(self._people).name
        ways = _between(person, keeper.computer.name)
        one = self._chance.choice((0, 1, 2))
        await self._block(keeper, ways if one == 2 else [ways[one]], self._for_s(0.5, 3, 12))

    async def _slow_link(self) -> None:
        keeper, person = self._any(), self._chance.choice(self._people).name
        await self._slow(keeper, _between(person, keeper.computer.name))

    async def _stall(self) -> None:
        """The machine neither hears nor speaks, and its disk takes its time."""
        keeper = self._any()
        computer = keeper.computer
        names = [
            *(one.name for one in self._people),
            *(one.name for one in self._world.computers),
        ]
        ways = [
            way for name in names if name != computer.name for way in _between(name, computer.name)
        ]
        computer.disk_factor = 50
        await self._block(keeper, ways, self._for_s(*_PAUSES_S), what="stall")
        computer.disk_factor = 1.0

    async def _partition(self) -> None:
        """Between the nodes; sometimes the people are on one side too."""
        names = [one.name for one in self._world.computers]
        others = [one.name for one in self._people] if self._chance.random() < 0.3 else []
        shape, ways = cut_between(names, others, self._world.important(), self._chance)
        self._trace.say("partition:", shape)
        await self._block(self._any(), ways, self._for_s(0.5, 2, 5, 12))

    async def _slow_link_between_nodes(self) -> None:
        one, other = self._chance.sample(self.keepers, 2)
        await self._slow(one, _between(one.computer.name, other.computer.name))

    async def _block(
        self, keeper: Keeper, ways: Sequence[_Way], seconds: float, what: str = "cut"
    ) -> None:
        network = self._world.network
        with self._fault(what, keeper):
            for way in ways:
                network.block(*way, True)
            await trio.sleep(seconds)
            for way in ways:
                network.block(*way, False)

    async def _slow(self, keeper: Keeper, ways: Sequence[_Way]) -> None:
        links: list[Link] = [self._world.network.link(*way) for way in ways]
        before = [(link.latency_s, link.bytes_per_s) for link in links]
        with self._fault("slow", keeper):
            for link in links:
                link.latency_s = self._chance.choice((0.02, 0.4, 1.5))
                link.bytes_per_s = self._chance.choice((5e3, 1e5, 50e6))
            await trio.sleep(self._chance.uniform(0.5, 6))
            for link, (latency_s, bytes_per_s) in zip(links, before, strict=True):
                link.latency_s, link.bytes_per_s = latency_s, bytes_per_s

    # ---- clocks and clients ------------------------------------------------------------------

    async def _step_clock(self) -> None:
        steps_ms = (-60_000, -5_000, -300, -1, 1, 300, 5_000, 60_000)
        allowed_ms = [step for step in steps_ms if abs(step) <= self._world.swarm.step_max_ms]
        self._set_clock(self._any(), step_ms=self._chance.choice(allowed_ms))

    async def _drift(self) -> None:
        self._set_clock(self._any(), drift_ppm=self._chance.choice((-5_000, -200, 0, 200, 5_000)))

    def _set_clock(self, keeper: Keeper, *, step_ms: int = 0, drift_ppm: int = 0) -> None:
        computer = keeper.computer
        keeper.saw("clock", step_ms=0, **self._world.apart(computer))
        if step_ms < 0:
            self._world.forget_clock(computer)
        computer.clock.set(step_ms=step_ms, drift_ppm=drift_ppm)
        keeper.saw("clock", step_ms=step_ms, **self._world.apart(computer))

    async def _client_gone(self) -> None:
        self._chance.choice(self._people).vanish(self._chance.choice((0.1, 2, 8)))

    # ---- the rest ----------------------------------------------------------------------------

    def _for_s(self, *seconds: float) -> float:
        """How long something lasts: one of these, unless that is too long for this run."""
        return min(self._chance.choice(seconds), self._world.swarm.fault_max_s)

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

    @contextmanager
    def _fault(self, what: str, keeper: Keeper) -> Iterator[None]:
        keeper.saw("fault", what=what, on=True)
        yield
        keeper.saw("fault", what=what, on=False)


def _between(one: str, other: str) -> list[_Way]:
    return [(one, other), (other, one)]
