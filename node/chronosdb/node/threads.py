"""Threads for blocking work: a few that stay, so that handing work over costs one wake-up each way.

What trio's own pool does besides for each call (a limiter's turn of the loop, a copied context, a lock)
takes as much of the interpreter again, and a single publish waits for it.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar, TypeVarTuple

import trio

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: Calls at one time; more wait.
_THREADS: Final = 40
#: How long a thread may go on while another one wants to run Python. By default that is 5 ms, and for so
#: long the event loop waits for a checkpoint's thread, and who comes back from an fsync for a busy loop.
_SWITCH_INTERVAL_S: Final = 0.0005


def take_turns_quickly() -> None:
    """From now on, in the whole process: no thread keeps the event loop, or it them, for milliseconds."""
    sys.setswitchinterval(_SWITCH_INTERVAL_S)


class WorkerThreads:
    """Real threads. Only the event loop's thread touches what is in here."""

    def __init__(self) -> None:
        self._places = trio.Semaphore(_THREADS)
        #: Threads with nothing to do, the last used last. Invariant: the others each have a call.
        self._idle: list[_Worker] = []

    async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """`function(*args)` beside the event loop; not abandoned on cancellation."""
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            self._places.acquire_nowait()
        except trio.WouldBlock:
            await self._places.acquire()
        try:
            worker = self._idle.pop() if self._idle else _Worker()
            try:
                result: T = await worker.run(function, args)
            finally:
                self._idle.append(worker)
        finally:
            self._places.release()
        return result


class _Call:
    """Work, who waits for it, and what came of it."""

    __slots__ = ("_args", "_function", "error", "result", "task", "token")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._function = function
        self._args = args
        self.task = trio.lowlevel.current_task()
        self.token = trio.lowlevel.current_trio_token()
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """In a thread."""
        try:
            self.result = self._function(*self._args)
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            self.error = error


class _Worker:
    """A thread that ends with this object."""

    def __init__(self) -> None:
        self._calls = queue.SimpleQueue[_Call | None]()
        # It must not hold this object, else neither would ever end.
        threading.Thread(
            target=_serve, args=(self._calls,), name="chronosdb worker", daemon=True
        ).start()

    def __del__(self) -> None:
        self._calls.put(None)

    async def run(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """One call at a time."""
        call = _Call(function, args)
        self._calls.put(call)
        await trio.lowlevel.wait_task_rescheduled(_goes_on)
        try:
            if call.error is not None:
                raise call.error
            return call.result
        finally:
            del call  # else this frame, the call and its error's traceback hold one another


def _goes_on(_raise_cancel: object) -> trio.lowlevel.Abort:
    """The disk does not stop either."""
    return trio.lowlevel.Abort.FAILED


def _serve(calls: queue.SimpleQueue[_Call | None]) -> None:
    """What a thread does."""
    while (call := calls.get()) is not None:
        call.run()
        with suppress(trio.RunFinishedError):  # the event loop crashed: nobody waits any more
            call.token.run_sync_soon(trio.lowlevel.reschedule, call.task)
        del call  # an idle thread keeps nothing alive
