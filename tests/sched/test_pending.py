"""The pending set against a set, and its bytes against damage."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from numpy.typing import NDArray

from chronosdb.sched import CorruptStateError, PendingSet

offset = st.integers(0, 300) | st.sampled_from([(1 << 32) - 1, 1 << 32, (1 << 63) - 1])
offsets = st.lists(offset, max_size=40)


def array_of(items: list[int]) -> NDArray[np.int64]:
    return np.array(items, dtype=np.int64)


class PendingSetAgainstSet(RuleBasedStateMachine):
    """Every answer of a pending set is that of a set of integers."""

    def __init__(self) -> None:
        super().__init__()
        self.pending = PendingSet()
        self.model: set[int] = set()

    @rule(start=st.integers(0, 300), length=st.integers(0, 50))
    def add_range(self, start: int, length: int) -> None:
        self.pending.add_range(start, start + length)
        self.model |= set(range(start, start + length))

    @rule(offsets=offsets)
    def add_many(self, offsets: list[int]) -> None:
        self.pending.add_many(array_of(offsets))
        self.model |= set(offsets)

    @rule(offsets=offsets)
    def discard_many(self, offsets: list[int]) -> None:
        self.pending.discard_many(array_of(offsets))
        self.model -= set(offsets)

    @rule(offsets=offsets)
    def filter(self, offsets: list[int]) -> None:
        mask = self.pending.filter(array_of(offsets))
        expected = [offset in self.model for offset in offsets]
        assert (expected if mask is None else mask.tolist()) == expected
        assert (mask is None) == all(expected)

    @rule(start=st.integers(0, 300), length=st.integers(0, 50))
    def between(self, start: int, length: int) -> None:
        part = self.pending.between(start, start + length)
        expected = {offset for offset in self.model if start <= offset < start + length}
        assert len(part) == len(expected)
        assert all(offset in part for offset in expected)

    @rule()
    def survive_a_restart(self) -> None:
        self.pending = PendingSet.from_bytes(self.pending.to_bytes())

    @invariant()
    def agrees(self) -> None:
        assert len(self.pending) == len(self.model)
        assert self.pending.min() == min(self.model, default=None)
        assert [i for i in range(350) if i in self.pending] == sorted(
            i for i in self.model if i < 350
        )


TestPendingSet = PendingSetAgainstSet.TestCase
TestPendingSet.settings = settings(max_examples=50, stateful_step_count=25, deadline=None)


@given(st.data())
@settings(max_examples=100)
def test_a_changed_byte_or_a_cut_is_an_error(data: st.DataObject) -> None:
    pending = PendingSet()
    pending.add_many(array_of(data.draw(offsets)))
    whole = pending.to_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[place] ^= data.draw(st.integers(1, 255))
    for damaged in (bytes(changed), whole[:place]):
        with pytest.raises(CorruptStateError):
            PendingSet.from_bytes(damaged)


def test_sound_bytes_that_are_no_bitmap_are_an_error() -> None:
    body = b"not a bitmap at all"
    with pytest.raises(CorruptStateError, match="not a bitmap"):
        PendingSet.from_bytes(b"\x01" + zlib.crc32(body).to_bytes(4, "little") + body)


def test_asking_for_a_negative_offset_finds_nothing() -> None:
    pending = PendingSet()
    pending.add_range(0, 10)
    mask = pending.filter(array_of([-1, 5]))
    assert mask is not None
    assert mask.tolist() == [False, True]


def test_a_batch_that_repeats_itself_is_all_pending_if_each_of_it_is() -> None:
    pending = PendingSet()
    pending.add_range(0, 10)
    assert pending.filter(array_of([5, 5, 3])) is None


def test_a_million_contiguous_offsets_cost_next_to_nothing() -> None:
    pending = PendingSet()
    pending.add_range(0, 1_000_000)
    assert pending.nbytes < 10_000
    assert len(pending.to_bytes()) < 10_000


def test_only_int64_is_accepted() -> None:
    with pytest.raises(AssertionError):
        PendingSet().add_many(np.array([1.5]))
