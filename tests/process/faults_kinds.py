"""The faults, one class each: begin, hold for a while, end. What one needs and does not find, it says."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final, Protocol

import trio

from tests.process.faults_machine import Ext4, FakeClock, Namespace, missing_tracer
from tests.process.harness import NodeProcess
from tests.proof.history import Recorder

#: A node under load asks for an fsync within this time, however slow a tracer makes it.
_TRACED_S_MAX: Final = 30.0
#: A thread that was told to stop finishes its call first.
_STOPPED_S_MAX: Final = 30.0


@dataclass(slots=True)
class World:
    """A node, where it lives, and what was seen of it."""

    node: NodeProcess
    recorder: Recorder
    ext4: Ext4 | None = None
    namespace: Namespace | None = None
    clock: FakeClock | None = None
    #: What no history shows: a node that ended otherwise than it should.
    problems: list[str] = field(default_factory=list)

    async def start(self) -> None:
        """On record."""
        self.recorder.saw("start")
        await self.node.start()
        self.recorder.saw("serving")

    async def crash(self, how: str) -> None:
        """Kill -9, on record."""
        await self.node.kill()
        self.recorder.saw("crash", {"how": how})


class Fault(Protocol):
    """One kind of fault."""

    name: str

    def missing(self) -> str | None:
        """Why it cannot be had on this machine."""

    async def strike(self, world: World, random: Random) -> None:
        """Once, from beginning to end."""


class Kill:
    """Kill -9, and a start some time later."""

    name = "kill"

    def missing(self) -> str | None:
        return None

    async def strike(self, world: World, random: Random) -> None:
        await world.crash("kill -9")
        await trio.sleep(random.choice((0.0, 0.0, 3.0)))
        await world.start()


class Pause:
    """The process stands still, and goes on as if nothing had been: leases have expired, timers are late."""

    name = "pause"

    def missing(self) -> str | None:
        return None

    async def strike(self, world: World, random: Random) -> None:
        world.node.send(signal.SIGSTOP)
        try:
            await trio.sleep(random.choice((0.1, 1.0, 3.0, 6.0)))
        finally:
            world.node.send(signal.SIGCONT)


class Power:
    """The file system loses its power: the node is gone, and so is what it had not synced."""

    name = "power"

    def missing(self) -> str | None:
        return Ext4.missing()

    async def strike(self, world: World, random: Random) -> None:
        assert world.ext4 is not None
        # Linux may call an fdatasync done that the cut overtook, and its bytes are lost: none that is
        # under way may be answered. Either the node says nothing more, or none is under way.
        world.node.send(signal.SIGSTOP)
        if speaks_on := random.random() < 0.5:
            await _stopped(world.node.pid)
        world.ext4.cut_power()
        if speaks_on:
            world.node.send(signal.SIGCONT)
            await trio.sleep(0.05)  # what it says now, it must not say
        await world.crash("power cut")
        await trio.to_thread.run_sync(world.ext4.unmount)
        world.ext4.mount()
        await world.start()


class SlowDisk:
    """Every fdatasync takes a fraction of a second."""

    name = "slow"

    def missing(self) -> str | None:
        return missing_tracer()

    async def strike(self, world: World, random: Random) -> None:
        delay_us = random.choice((20_000, 100_000, 400_000))
        tracer = await _trace(world, f"fdatasync:delay_enter={delay_us}")
        await trio.sleep(random.uniform(0.5, 4))
        await _detach(tracer)


class SyncError:
    """One fdatasync fails: the node must end by itself with exit code 1, having told nobody a lie."""

    name = "eio"

    def missing(self) -> str | None:
        return missing_tracer()

    async def strike(self, world: World, random: Random) -> None:
        del random
        tracer = await _trace(world, "fdatasync:error=EIO:when=1", stderr=subprocess.PIPE)
        await _injected(tracer)
        # Traced, the node is so much slower that it may take longer to end than it is given.
        await _detach(tracer)
        code = await world.node.ended()
        if code != 1:
            world.problems.append(f"after a failed fsync the node ended with {code}, not 1")
        world.recorder.saw("crash", {"how": "failed fsync"})
        await world.start()


class Clock:
    """The node's wall clock steps, and after a while steps back."""

    name = "clock"

    def missing(self) -> str | None:
        return FakeClock.missing()

    async def strike(self, world: World, random: Random) -> None:
        assert world.clock is not None
        step_ms = random.choice((-1, 1)) * random.choice((50, 700, 5000))
        for to_ms in (step_ms, 0):
            world.recorder.saw("clock", {"step_ms": to_ms - world.clock.offset_ms})
            world.clock.set(to_ms)
            await trio.sleep(random.uniform(0.3, 3))


class Cut:
    """Packets are dropped without a word, in one direction or both: connections stall, or end half-open."""

    name = "cut"

    def missing(self) -> str | None:
        return Namespace.missing()

    async def strike(self, world: World, random: Random) -> None:
        assert world.namespace is not None
        world.namespace.cut(*random.choice((("input",), ("output",), ("input", "output"))))
        try:
            await trio.sleep(random.choice((0.3, 2.0, 6.0)))
        finally:
            world.namespace.heal()


class Consumers:
    """Struck all the time: a member that acks too late, gives back, or is gone (faults_load)."""

    name = "consumers"

    def missing(self) -> str | None:
        return None

    async def strike(self, world: World, random: Random) -> None:
        del world
        await trio.sleep(random.uniform(0.5, 2))


_KINDS: tuple[Callable[[], Fault], ...] = (
    *(Kill, Pause, Power, SlowDisk, SyncError, Clock, Cut, Consumers),
)
FAULTS: dict[str, Fault] = {fault.name: fault for fault in (kind() for kind in _KINDS)}


async def _stopped(pid: int) -> None:
    """Returns when every thread stands still, none of them within a call; raises trio.TooSlowError."""
    with trio.fail_after(_STOPPED_S_MAX):
        while not _stands_still(pid):  # noqa: ASYNC110 - the kernel tells nobody
            await trio.sleep(0.001)


def _stands_still(pid: int) -> bool:
    try:
        stats = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:  # a thread has just ended
        return False
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


async def _trace(world: World, inject: str, stderr: int = subprocess.DEVNULL) -> trio.Process:
    """A tracer on the running node that tampers with what it asks of the kernel, and says so."""
    call = inject.partition(":")[0]
    return await trio.lowlevel.open_process(
        [
            *("strace", "-f", "-qq", "-p", str(world.node.pid)),
            *("-e", f"trace={call}", "-e", f"inject={inject}"),
        ],
        stderr=stderr,
    )


async def _injected(tracer: trio.Process) -> None:
    """Returns when a call has failed; raises trio.TooSlowError if none does."""
    assert tracer.stderr is not None
    told = b""
    with trio.fail_after(_TRACED_S_MAX):
        while b"INJECTED" not in told:
            told += await tracer.stderr.receive_some()


async def _detach(tracer: trio.Process) -> None:
    if tracer.returncode is None:
        tracer.send_signal(signal.SIGINT)
    await tracer.wait()
    if tracer.stderr is not None:
        await tracer.stderr.aclose()
