"""Worker threads that take turns with the event loop, call by call of the disk.

A worker runs until it is about to call the disk, stops there for a time that chance decides, and the
event loop goes on meanwhile: so a delivery may be read between the write of a group and its fsync, as
with real threads. Only one of them ever runs, and who is next follows from virtual time alone.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, TypeVar, TypeVarTuple, final

import trio

from chronosdb.testing.memory_disk import PowerCut
from tests.simulation.leaping_clock import sleep

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: What a worker says when it stops: after how many seconds to wake it; None, that it is done.
_Turn = float | None
_END: Final = None


@final
class SteppedThreads:
    """The threads of one process, see `chronosdb.node.environment.Threads`.

    `delay_s` is asked at each disk call how long it takes; 0: no stop. None: none ever takes any time, and
    no threads are needed.
    """

    def __init__(self, delay_s: Callable[[str], float] | None) -> None:
        self._delay_s = delay_s
        self._killed = False
        #: The worker that runs now; None: the event loop does.
        self._current: _Worker | None = None
        self._idle: list[_Worker] = []
        #: Workers that have work, with the scope of the task that waits for each.
        self._busy: dict[_Worker, trio.CancelScope] = {}

    async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Not abandoned on cancellation: only the end of the process ends the work."""
        await trio.lowlevel.checkpoint()
        self._need_process()
        if self._delay_s is None:
            return function(*args)
        worker = self._idle.pop() if self._idle else _Worker()
        with trio.CancelScope(shield=True) as scope:
            self._busy[worker] = scope
            turn = self._resume(worker, lambda: function(*args))
            while turn is not None:
                await sleep(turn)
                self._need_process()
                turn = self._resume(worker)
        del self._busy[worker]
        self._idle.append(worker)
        result: T = worker.result()
        return result

    def on_disk_call(self, call: str) -> None:
        """Called by the disk, before it does anything: the worker that runs, if any, may stop here."""
        worker = self._current
        if worker is None or self._delay_s is None:
            return
        if delay_s := self._delay_s(call):
            worker.stop(delay_s)

    def kill(self) -> None:
        """The process is over: each worker fails at the call before which it stopped.

        Who waits for it can be cancelled now.
        """
        self._killed = True
        for worker, scope in self._busy.items():
            worker.killed = True
            while self._resume(worker) is not None:
                pass
            worker.end()
            scope.shield = False
        self._busy.clear()
        self.close()

    def close(self) -> None:
        """Ends the threads, which have nothing to do."""
        assert not self._busy, "a worker still works"
        while self._idle:
            self._idle.pop().end()

    def _need_process(self) -> None:
        if self._killed:
            raise PowerCut(errno.EIO, "the process is gone")

    def _resume(self, worker: _Worker, work: Callable[[], object] | None = None) -> _Turn:
        self._current = worker
        try:
            return worker.resume(work)
        finally:
            self._current = None


@final
class _Worker:
    """One thread. Invariant: it runs only while `resume` waits for it."""

    def __init__(self) -> None:
        #: Whether the machine it runs on has lost its power.
        self.killed = False
        self._inbox: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._turns: SimpleQueue[_Turn] = SimpleQueue()
        self._value: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def resume(self, work: Callable[[], object] | None) -> _Turn:
        """Lets it begin `work`, or go on, until it stops or is done."""
        self._inbox.put(work)
        return self._turns.get()

    def stop(self, delay_s: float) -> None:
        """In the thread: gives the turn back."""
        self._turns.put(delay_s)
        self._inbox.get()
        if self.killed:
            raise PowerCut(errno.EIO, "the process is gone")

    def result(self) -> Any:
        """What the work gave, or what it raised."""
        value, error = self._value, self._error
        self._value = self._error = None
        if error is not None:
            raise error
        return value

    def end(self) -> None:
        self._inbox.put(_END)
        self._thread.join()

    def _live(self) -> None:
        while (work := self._inbox.get()) is not None:
            try:
                self._value = work()
            except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                self._error = error
            self._turns.put(None)
