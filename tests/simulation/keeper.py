"""Who starts and stops the processes of one computer, and looks what they die of: a supervisor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

import trio

from chronosdb.node.peers.peers import Expelled
from chronosdb.raft import RaftError
from chronosdb.testing.chance import Random
from chronosdb.wal import DiskFull, LogDamaged, WalError
from tests.simulation.computer import Computer
from tests.simulation.world import World

#: How often it looks whether the node has died, and starts it again.
_SUPERVISION_S: Final = 0.25
#: A node of a cluster serves when a majority is there, which may take longer than anybody waits.
_PATIENCE_S: Final = 3.0
#: Bytes on a disk that is not full.
ROOM: Final = 1 << 40
#: What a node may say when its disk fails under it.
_EXCUSES: Final = (WalError, RaftError, OSError)


@final
class Keeper:
    """Of one computer. Whatever is done to its process is done here, one thing at a time."""

    def __init__(self, world: World, computer: Computer, chance: Random) -> None:
        self.computer = computer
        #: Who starts and stops the process holds it.
        self.process = trio.Lock()
        #: Whether a disk has failed in the life of the process that runs now.
        self.excused = False
        #: Whether the cluster may expel it.
        self.leaves = False
        #: Whether there is no such machine any more.
        self.scrapped = False
        #: Whether its disk has been full in that life.
        self.was_full = False
        self._world = world
        self._chance = chance
        #: Whether it is on record that the process that runs now serves.
        self._serves = False

    async def supervise(self) -> None:
        """Starts a node that has died again, until the cluster does not want it any more."""
        while True:
            await trio.sleep(_SUPERVISION_S)
            with trio.CancelScope(shield=True):
                async with self.process:
                    self._look()
                    if self.computer.died:
                        errors = await self.computer.failure()
                        self._judge_death(errors)
                        await self.computer.kill()
                        self.saw("stop", code=1)
                        if any(isinstance(error, Expelled) for error in errors):
                            return
                        await self.start()

    async def ensure_running(self) -> None:
        """Whatever was to go wrong and has not, will not; a node that has died is started again."""
        async with self.process:
            await self.examine()
            if self.computer.disk.armed or not self.computer.running:
                await self.kill()
                await self.start()

    async def restart(self, *, without_views: bool) -> None:
        """An orderly stop and start."""
        async with self.process:
            await self._stop()
            if without_views:
                self.computer.views.discard()
            await self.start()

    async def stop(self) -> None:
        """The end."""
        async with self.process:
            await self._stop()

    async def strike(self, *, power: bool) -> None:
        """The power goes, or the process is killed; somewhat later it starts again."""
        async with self.process:
            await self.examine()
            await (self.lose_power if power else self.kill)()
            await trio.sleep(self._chance.choice((0, 0.1, 3)))
            await self.start()

    async def crash_in_a_call(self, *, power: bool) -> None:
        """In the middle of what the node does with its disk, of which some may be done."""
        async with self.process:
            if not self.computer.running:  # scrapped, or expelled and not started again
                return
            self.excused = True
            self.computer.disk.cut_power_at(self._chance.randint(1, 12))
            with trio.move_on_after(2):
                self._judge_death(await self.computer.failure())
            await (self.lose_power if power else self.kill)()
            await self.start()

    async def stand_still(self, seconds: float) -> None:
        """SIGSTOP, and some time later SIGCONT."""
        async with self.process:
            self.saw("fault", what="pause", on=True)
            self.computer.stand_still()
            await trio.sleep(seconds)
            self.computer.go_on()
            self.saw("fault", what="pause", on=False)

    # ---- for who holds the lock --------------------------------------------------------------

    async def start(self) -> None:
        """Until it serves, or waits for others. An attempt may fail for a fault that is on, not for
        what is on disk.
        """
        while not self.scrapped:
            self.saw("start")
            self.excused, self._serves = self.computer.disk.armed, False
            self.was_full = self.computer.disk.capacity < ROOM
            try:
                self.computer.launch()
                with trio.move_on_after(_PATIENCE_S if self._world.is_cluster else 3600):
                    await self.computer.settled()
            except Expelled as error:
                self._judge_death([error])
                return
            except _EXCUSES as error:
                self._judge_death([error])
                self._world.trace.say("did not start:", repr(error))
                await self.lose_power()
                await trio.sleep(1)
            else:
                self._look()
                return

    async def kill(self) -> None:
        """The process ends where it is; its system goes on."""
        await self.end(power=False)
        self._world.check_survival(synced=not self._world.syncs_later)

    async def lose_power(self) -> None:
        """What was not synced is lost, or some of it."""
        await self.end(power=True)
        self._world.check_survival()

    async def end(self, *, power: bool) -> None:
        """The process ends; what must have survived is the caller's to check."""
        if power:
            kept = self._chance if self._chance.random() < 0.6 else None
            await self.computer.lose_power(kept)
        else:
            await self.computer.kill()
        self.saw("crash", how="power cut" if power else "kill -9")

    async def examine(self) -> None:
        """What a node that has ended by itself died of."""
        if self.computer.died:
            self._judge_death(await self.computer.failure())

    def saw(self, f: str, **seen: object) -> None:
        """For the story and the history."""
        name = self.computer.name
        self._world.trace.say(name, f, seen or "")
        self._world.recorder.saw(f, dict(seen), name)

    async def _stop(self) -> None:
        try:
            await self.computer.stop()
        except _EXCUSES as error:
            self._judge_death([error])
            await self.computer.kill()
            self.saw("stop", code=1)
        else:
            self.saw("stop", code=0)

    def _look(self) -> None:
        """Whether it serves by now."""
        if not self._serves and self.computer.serves:
            self._serves = True
            self.saw("serving")

    def _judge_death(self, errors: Sequence[BaseException]) -> None:
        """A node ends by itself only for its disk, and never because what was durable is wrong."""
        for error in errors:
            if self._is_for_want_of_space(error) or (self.leaves and isinstance(error, Expelled)):
                continue
            if not self.excused or not isinstance(error, _EXCUSES) or isinstance(error, LogDamaged):
                self._world.violation(f"{self.computer.name} died: {error!r} ({error.__cause__!r})")

    def _is_for_want_of_space(self, error: BaseException) -> bool:
        """A node that serves lives with a full disk; one that starts has its new term to write.

        One of a cluster may die of it too: the others' metadata come whether it has room or not.
        """
        if self._world.is_cluster:
            return self.was_full and isinstance(error.__cause__, OSError)
        return not self._serves and self.was_full and isinstance(error.__cause__, DiskFull)
