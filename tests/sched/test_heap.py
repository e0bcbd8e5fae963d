"""The lazy heap against a set."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chronosdb.sched.heap import LazyHeap

item = st.integers(0, 20)


class LazyHeapAgainstSet(RuleBasedStateMachine):
    """The smallest held item is known after any adds, discards and pops."""

    def __init__(self) -> None:
        super().__init__()
        self.heap: LazyHeap[int] = LazyHeap()
        self.model: set[int] = set()

    @rule(item=item)
    def add(self, item: int) -> None:
        self.heap.add(item)
        self.model.add(item)

    @rule(item=item)
    def discard(self, item: int) -> None:
        self.heap.discard(item)
        self.model.discard(item)

    @precondition(lambda self: self.model)
    @rule()
    def pop(self) -> None:
        assert self.heap.pop() == min(self.model)
        self.model.remove(min(self.model))

    @invariant()
    def agrees(self) -> None:
        assert len(self.heap) == len(self.model)
        assert self.heap.min() == min(self.model, default=None)


TestLazyHeap = LazyHeapAgainstSet.TestCase
TestLazyHeap.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_memory_follows_what_is_held_not_what_was_forgotten() -> None:
    heap: LazyHeap[int] = LazyHeap()
    heap.add(0)
    for item in range(1, 10_000):
        heap.add(item)
        heap.discard(item)
    assert len(heap._heap) < 100
    assert heap.min() == 0


def test_popping_an_empty_heap_is_a_mistake() -> None:
    with pytest.raises(AssertionError):
        LazyHeap[int]().pop()
