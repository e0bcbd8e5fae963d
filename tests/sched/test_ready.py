"""The ready queue against a sorted list."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from chronosdb.sched.ready import ReadyQueue


class ReadyQueueAgainstSortedList(RuleBasedStateMachine):
    """However it is filled and emptied, the smallest due pairs come out first."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = ReadyQueue()
        self.model: list[tuple[int, int]] = []

    @rule(timers=st.lists(st.tuples(st.integers(-5, 9), st.integers(0, 9)), max_size=40))
    def push(self, timers: list[tuple[int, int]]) -> None:
        columns = np.array(timers, dtype=np.int64).reshape(-1, 2)
        self.queue.push(columns[:, 0], columns[:, 1])
        self.model = sorted(self.model + timers)

    @rule(now_ms=st.integers(-6, 10), limit=st.integers(1, 20))
    def pop(self, now_ms: int, limit: int) -> None:
        expected = [timer for timer in self.model if timer[0] <= now_ms]
        due_ms, keys = self.queue.pop(now_ms, limit)
        assert list(zip(due_ms.tolist(), keys.tolist(), strict=True)) == expected[:limit]
        del self.model[: len(due_ms)]

    @invariant()
    def runs_are_few(self) -> None:
        assert len(self.queue) == len(self.model)
        assert len(self.queue._runs) <= 7
        assert self.queue.next_due_ms() == min((due for due, _ in self.model), default=None)


TestReadyQueue = ReadyQueueAgainstSortedList.TestCase
TestReadyQueue.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)


def test_a_handful_popped_does_not_keep_the_burst_in_memory() -> None:
    queue = ReadyQueue()
    queue.push(np.zeros(10_000, dtype=np.int64), np.arange(10_000))
    due_ms, keys = queue.pop(0, 10)
    assert due_ms.base is None
    assert keys.base is None
