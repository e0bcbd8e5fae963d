"""The lease table against a dict of positions."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from chronosdb.sched import Lease, LeaseTable, Run

UNIVERSE = 12
run = st.tuples(st.integers(0, UNIVERSE), st.integers(1, 12)).map(lambda r: (r[0], r[0] + r[1]))
member = st.integers(1, 3)
attempt = st.integers(1, 2)
deadline = st.integers(0, 15)


class LeaseTableAgainstDict(RuleBasedStateMachine):
    """One holder per position, and every lease ends exactly once."""

    def __init__(self) -> None:
        super().__init__()
        self.table = LeaseTable()
        self.model: dict[int, Lease] = {}

    def ended(self, pieces: list[tuple[int, int, Lease]], expected: dict[int, Lease]) -> None:
        positions = [(p, lease) for start, stop, lease in pieces for p in range(start, stop)]
        assert positions == sorted(expected.items())
        for position in expected:
            del self.model[position]

    @rule(run=run, member=member, attempt=attempt, deadline_ms=deadline)
    def grant(self, run: Run, member: int, attempt: int, deadline_ms: int) -> None:
        lease = Lease(member, attempt, deadline_ms)
        if self.model.keys() & set(range(*run)):
            with pytest.raises(AssertionError, match="overlaps"):
                self.table.grant(*run, lease)
            return
        self.table.grant(*run, lease)
        self.model |= dict.fromkeys(range(*run), lease)

    @rule(run=run)
    def settle(self, run: Run) -> None:
        expected = {p: self.model[p] for p in range(*run) if p in self.model}
        self.ended(self.table.settle(*run), expected)

    @rule(run=run, member=member, attempt=attempt)
    def reclaim(self, run: Run, member: int, attempt: int) -> None:
        expected = self.held(run, member, attempt)
        pieces = self.table.reclaim(*run, member, attempt)
        assert [p for piece in pieces for p in range(*piece)] == sorted(expected)
        for position in expected:
            del self.model[position]

    @rule(member=member)
    def release(self, member: int) -> None:
        expected = {p: lease for p, lease in self.model.items() if lease.member == member}
        self.ended(self.table.release(member), expected)

    @rule(now_ms=deadline)
    def expire(self, now_ms: int) -> None:
        expected = {p: lease for p, lease in self.model.items() if lease.deadline_ms <= now_ms}
        self.ended(self.table.expired(now_ms), expected)

    @rule(run=run, member=member, attempt=attempt, deadline_ms=deadline)
    def extend(self, run: Run, member: int, attempt: int, deadline_ms: int) -> None:
        held = self.held(run, member, attempt)
        assert self.table.extend(*run, member, attempt, deadline_ms) == len(held)
        for position, lease in held.items():
            later_ms = max(lease.deadline_ms, deadline_ms)
            self.model[position] = Lease(member, attempt, later_ms)

    def held(self, run: Run, member: int, attempt: int) -> dict[int, Lease]:
        leases = {p: self.model[p] for p in range(*run) if p in self.model}
        return {p: x for p, x in leases.items() if (x.member, x.attempt) == (member, attempt)}

    @invariant()
    def agrees(self) -> None:
        for position in range(UNIVERSE + 12):
            assert self.table.holder(position) == self.model.get(position)
        counts = Counter(lease.member for lease in self.model.values())
        assert [self.table.in_flight(m) for m in (1, 2, 3)] == [counts[m] for m in (1, 2, 3)]
        assert len(self.table) == len(self.model)
        deadlines = [lease.deadline_ms for lease in self.model.values()]
        assert self.table.next_deadline_ms() == min(deadlines, default=None)


TestLeaseTable = LeaseTableAgainstDict.TestCase
TestLeaseTable.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)


def test_an_extension_never_shortens_a_lease() -> None:
    table = LeaseTable()
    table.grant(0, 2, Lease(1, 1, 10))
    assert table.extend(0, 2, 1, 1, 5) == 2
    assert table.extend(0, 1, 1, 1, 15) == 1
    assert [table.holder(0), table.holder(1)] == [Lease(1, 1, 15), Lease(1, 1, 10)]


def test_a_renewed_batch_leaves_no_trace_of_its_old_deadlines() -> None:
    table = LeaseTable()
    table.grant(0, 500, Lease(1, 1, 0))
    table.grant(500, 501, Lease(1, 1, 0))
    for deadline_ms in range(1, 10_000):
        assert table.extend(0, 500, 1, 1, deadline_ms) == 500
    assert len(table._deadlines) == 2
    assert table.next_deadline_ms() == 0
    assert table.expired(9_998) == [(500, 501, Lease(1, 1, 0))]
    assert table.expired(9_999) == [(0, 500, Lease(1, 1, 9_999))]
