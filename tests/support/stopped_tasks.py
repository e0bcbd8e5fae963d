"""Lets the tasks of one simulated process stand still, as SIGSTOP does: what comes for them waits.

Timers run out meanwhile and are found to have when the process goes on. With `seeded_trio.py` the one place
that names what trio keeps private; tests/simulation/test_stopped_tasks.py says what we expect of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, final

from trio._core._run import Runner, Task


@final
class Process:
    """All tasks that are born in it, and their children."""

    def __init__(self) -> None:
        self._stopped = False
        #: Tasks that can run, and may not. Invariant: none unless stopped.
        self._held: list[tuple[Runner, Task]] = []

    @contextmanager
    def bearing(self) -> Iterator[None]:
        """Tasks that are started meanwhile, from here, are its own."""
        token = _PROCESS.set(self)
        try:
            yield
        finally:
            _PROCESS.reset(token)

    def stop(self) -> None:
        """From now on none of its tasks runs; one that is about to has one more step."""
        self._stopped = True

    def go_on(self) -> None:
        """Lets all of them run that could have."""
        self._stopped = False
        held, self._held = self._held, []
        for runner, task in held:
            runner.runq.append(task)

    def holds_back(self, runner: Runner, task: Task) -> bool:
        """Whether a task must wait."""
        if self._stopped:
            self._held.append((runner, task))
        return self._stopped


_PROCESS: Final[ContextVar[Process]] = ContextVar("process")
_reschedule: Final = Runner.reschedule


def _hold_or_reschedule(runner: Runner, task: Task, *outcome: Any) -> None:
    _reschedule(runner, task, *outcome)
    process = task.context.get(_PROCESS)
    if process is not None and process.holds_back(runner, task):
        runner.runq.pop()


Runner.reschedule = _hold_or_reschedule  # type: ignore[method-assign, assignment]
