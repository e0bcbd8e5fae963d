"""Running many scripts, in number order, until enough states were checked."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import count
from multiprocessing import get_context
from typing import Final

from tests.crash.log_script import LogScript
from tests.crash.partition_script import PartitionScript
from tests.crash.watch import Tally, Violation

#: One script in so many is of a whole partition, whose states take five times as long to check.
_PARTITION_EVERY: Final = 4


def run_script(number: int) -> Tally:
    """The script of this number: always the same states."""
    script = (LogScript if number % _PARTITION_EVERY else PartitionScript)(number)
    try:
        script.run()
    except Exception as error:  # noqa: BLE001 - a life that cannot go on is a finding
        why = f"{type(error).__name__}: {error}"
        script.tally.violations.append(Violation(script.tally.states, "life", why))
    return script.tally


def run_campaign(first: int, states: int, jobs: int) -> Iterator[tuple[int, Tally]]:
    """Scripts from number `first` on, until they have checked so many states; how each went."""
    done = 0
    for number, tally in _scripts(first, jobs):
        yield number, tally
        done += tally.states
        if done >= states:
            return


def _scripts(first: int, jobs: int) -> Iterator[tuple[int, Tally]]:
    """All scripts from `first` on, for ever, in order."""
    if jobs == 1:
        yield from ((number, run_script(number)) for number in count(first))
        return
    running: deque[tuple[int, Future[Tally]]] = deque()
    with ProcessPoolExecutor(jobs, get_context("spawn"), logging.disable) as pool:
        try:
            for number in count(first):
                running.append((number, pool.submit(run_script, number)))
                if len(running) >= 4 * jobs:
                    oldest, future = running.popleft()
                    yield oldest, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
