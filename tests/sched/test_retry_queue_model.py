"""The retry queue against a dictionary."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from chronosdb.sched import Retry, RetryQueue

positions = st.integers(0, 30)


class RetryQueueAgainstDictionary(RuleBasedStateMachine):
    """Positions wait, are seen due, taken and dropped, under a clock that may step back."""

    @initialize()
    def start(self) -> None:
        self.queue = RetryQueue()
        self.model: dict[int, Retry] = {}
        #: Seen due once: they stay so.
        self.due: set[int] = set()
        self.now_ms = 1_000

    @rule(position=positions, attempt=st.integers(2, 5), wait=st.integers(-5, 50))
    def put(self, position: int, attempt: int, wait: int) -> None:
        if position not in self.model:
            self.model[position] = Retry(attempt, self.now_ms + wait)
            self.queue.put(position, self.model[position])

    @rule(start=positions, length=st.integers(1, 40))
    def drop(self, start: int, length: int) -> None:
        self.queue.drop(start, start + length)
        for position in set(self.model) & set(range(start, start + length)):
            del self.model[position]
            self.due.discard(position)

    @rule(step=st.integers(-60, 60), limit=st.integers(0, 5), end=st.integers(0, 31))
    def take(self, step: int, limit: int, end: int) -> None:
        self.now_ms += step
        if limit:
            self.due |= {p for p, retry in self.model.items() if retry.due_ms <= self.now_ms}
        expected = sorted(position for position in self.due if position < end)[:limit]
        assert self.queue.take(limit, end, self.now_ms) == [
            (position, self.model.pop(position).attempt) for position in expected
        ]
        self.due -= set(expected)

    @rule(end=st.integers(0, 31))
    def ask(self, end: int) -> None:
        self.due |= {p for p, retry in self.model.items() if retry.due_ms <= self.now_ms}
        assert self.queue.has_due(end, self.now_ms) == any(p < end for p in self.due)

    @invariant()
    def nothing_is_lost(self) -> None:
        assert dict(self.queue.view()) == self.model
        waiting = (retry.due_ms for p, retry in self.model.items() if p not in self.due)
        assert self.queue.next_due_ms() == min(waiting, default=None)


TestRetryQueue = RetryQueueAgainstDictionary.TestCase
TestRetryQueue.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
