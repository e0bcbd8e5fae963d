"""The group queue against a dict from position to state, and its rules one by one."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from chronosdb.sched import Cursor, Failure, Grant, GroupQueue, Retry, RetryPolicy

if TYPE_CHECKING:
    from chronosdb.sched import Run

POLICY = RetryPolicy(max_attempts=2, ack_timeout_ms=10, backoff_ms=4, backoff_max_ms=8, jitter=0.0)
UNIVERSE = 30
run = st.tuples(st.integers(0, UNIVERSE), st.integers(1, 10)).map(lambda r: (r[0], r[0] + r[1]))
member = st.integers(1, 3)


def queue(policy: RetryPolicy = POLICY, low: int = 0) -> GroupQueue:
    return GroupQueue(policy, Cursor(low))


class GroupQueueAgainstDict(RuleBasedStateMachine):
    """Each position is in one state; the queue moves it as the life-cycle says and no other way."""

    @initialize(low=st.integers(0, 3))
    def start(self, low: int) -> None:
        self.queue = queue(low=low)
        self.now_ms = 0
        self.end = low + 8
        self.low = low
        # Position -> ("leased", member, attempt, deadline) | ("waiting", attempt, due) |
        # ("parked",) | ("acked",) | ("settled",); absent: fresh.
        self.model: dict[int, tuple[Any, ...]] = dict.fromkeys(range(low), ("settled",))
        self.attempts: dict[int, list[int]] = defaultdict(list)
        self.first_delivered = -1

    def of(self, *state: object) -> list[int]:
        return sorted(p for p, s in self.model.items() if s[: len(state)] == state)

    @rule(count=st.integers(1, 6))
    def fire(self, count: int) -> None:
        self.end = min(self.end + count, UNIVERSE)

    @rule(ms=st.integers(1, 12))
    def pass_time(self, ms: int) -> None:
        self.now_ms += ms

    @rule(member=member, limit=st.integers(0, 12))
    def take(self, member: int, limit: int) -> None:
        due = [p for p in self.of("waiting") if self.model[p][2] <= self.now_ms]
        fresh = [p for p in range(self.end) if p not in self.model]
        expected = [(p, self.model[p][1]) for p in due] + [(p, 1) for p in fresh]
        assert self.queue.has_work(self.end, self.now_ms) == bool(expected)
        grants = self.queue.take(member, limit, self.end, self.now_ms)
        taken = [(p, grant.attempt) for grant in grants for p in range(grant.start, grant.stop)]
        assert taken == expected[:limit]
        for position, attempt in taken:
            self.deliver(position, attempt)
            self.model[position] = ("leased", member, attempt, self.now_ms + 10)

    def deliver(self, position: int, attempt: int) -> None:
        if attempt == 1:
            assert position > self.first_delivered, "first deliveries are in position order"
            self.first_delivered = position
        self.attempts[position].append(attempt)
        assert self.attempts[position] == list(range(1, attempt + 1)), "attempts count up by one"

    @rule(run=run)
    def ack(self, run: Run) -> None:
        open_states = ("leased", "waiting", "parked")
        expected = [p for p in range(*run) if self.model.get(p, ("fresh",))[0] in open_states]
        acked = [p for piece in self.queue.ack(*run) for p in range(*piece)]
        assert acked == expected
        self.model |= dict.fromkeys(acked, ("acked",))

    @rule()
    def commit_what_is_acked(self) -> None:
        for position in self.of("acked"):
            self.queue.commit(position, position + 1)
            self.model[position] = ("settled",)

    @rule()
    def dead_letter_what_is_parked(self) -> None:
        parked = [p for piece in self.queue.parked() for p in range(*piece)]
        assert parked == self.of("parked")
        for start, stop in self.queue.parked():
            self.queue.commit(start, stop)
        self.model |= dict.fromkeys(parked, ("settled",))

    @rule(run=run, member=member, attempt=st.integers(1, 4), delay=st.none() | st.integers(0, 5))
    def fail(self, run: Run, member: int, attempt: int, delay: int | None) -> None:
        held = [p for p in self.of("leased", member, attempt) if p in range(*run)]
        failures = self.queue.fail(
            *run, member, attempt, now_ms=self.now_ms, unit=0.5, delay_ms=delay
        )
        wait_ms = POLICY.delay_ms(attempt, 0.5) if delay is None else delay
        self.check_failures(failures, dict.fromkeys(held, self.now_ms + wait_ms))

    @rule()
    def expire(self) -> None:
        late = [p for p in self.of("leased") if self.model[p][3] <= self.now_ms]
        failures = self.queue.expire(self.now_ms, 0.5)
        waits = {p: POLICY.delay_ms(len(self.attempts[p]), 0.5) for p in late}
        self.check_failures(failures, {p: self.now_ms + waits[p] for p in late})

    def check_failures(self, failures: list[Failure], due_ms: dict[int, int]) -> None:
        expected = []
        for position in sorted(due_ms):
            attempt = len(self.attempts[position])
            if attempt >= POLICY.max_attempts:
                expected.append(Failure(position, attempt, None))
                self.model[position] = ("parked",)
            else:
                expected.append(Failure(position, attempt, due_ms[position]))
                self.model[position] = ("waiting", attempt + 1, due_ms[position])
        assert failures == expected

    @rule(member=member)
    def release(self, member: int) -> None:
        held = self.of("leased", member)
        released = self.queue.release(member, self.now_ms)
        assert sorted(p for piece in released for p in range(*piece)) == held
        for position in held:
            self.model[position] = ("waiting", len(self.attempts[position]) + 1, self.now_ms)

    @rule(run=run, member=member, attempt=st.integers(1, 4), ms=st.integers(0, 30))
    def extend(self, run: Run, member: int, attempt: int, ms: int) -> None:
        held = [p for p in self.of("leased", member, attempt) if p in range(*run)]
        until_ms = self.now_ms + ms
        assert self.queue.extend(*run, member, attempt, until_ms) == len(held)
        for position in held:
            later_ms = max(until_ms, self.model[position][3])
            self.model[position] = ("leased", member, attempt, later_ms)

    @rule(keep_retries=st.booleans())
    def restart(self, keep_retries: bool) -> None:
        """What was in flight is fresh again; what was acked but not committed as well."""
        cursor = Cursor.from_bytes(self.queue.cursor.to_bytes())
        retries = dict(self.queue.retries) if keep_retries else {}
        self.queue = GroupQueue(POLICY, cursor, retries)
        self.model = {
            p: s
            for p, s in self.model.items()
            if s[0] == "settled" or (s[0] == "waiting" and keep_retries)
        }
        for position in set(self.attempts) - set(self.model):
            del self.attempts[position]
        self.first_delivered = -1

    @invariant()
    def counts_agree(self) -> None:
        in_flight = [self.queue.in_flight(member) for member in (1, 2, 3)]
        assert in_flight == [len(self.of("leased", member)) for member in (1, 2, 3)]
        settled = [p for p in range(UNIVERSE + 10) if self.queue.cursor.is_settled(p)]
        assert settled == self.of("settled")
        assert self.queue.lag(self.end) == len(set(range(self.end)) - set(settled))
        assert self.queue.cursor.low >= self.low
        self.low = self.queue.cursor.low

    @invariant()
    def next_event_is_the_earliest_deadline_or_retry(self) -> None:
        self.queue.has_work(self.end, self.now_ms)
        times = [self.model[p][3] for p in self.of("leased")]
        times += [due for p in self.of("waiting") if (due := self.model[p][2]) > self.now_ms]
        assert self.queue.next_event_ms() == min(times, default=None)

    def teardown(self) -> None:
        """In the end, time and acks settle everything that was fired: nothing is stuck."""
        if not hasattr(self, "queue"):
            return
        for _ in range(2 * POLICY.max_attempts):
            self.now_ms += 100
            self.queue.expire(self.now_ms, 0.0)
            for grant in self.queue.take(1, UNIVERSE, self.end, self.now_ms):
                self.queue.ack(grant.start, grant.stop)
        self.queue.ack(0, self.end)
        self.queue.commit(0, self.end or 1)
        assert self.queue.lag(self.end) == 0
        assert not self.queue.has_work(self.end, self.now_ms)


TestGroupQueue = GroupQueueAgainstDict.TestCase
TestGroupQueue.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_batch_is_one_grant_and_one_ack() -> None:
    group = queue()
    assert group.take(1, 500, 10_000, 0) == [Grant(0, 500, 1)]
    assert group.ack(0, 500) == [(0, 500)]
    assert group.ack(0, 500) == []
    group.commit(0, 500)
    assert group.cursor.low == 500


def test_an_acked_event_is_not_settled_before_the_commit() -> None:
    group = queue()
    group.take(1, 10, 10, 0)
    group.ack(0, 10)
    assert group.lag(10) == 10
    assert not group.has_work(10, 10_000)
    group.commit(0, 10)
    assert group.lag(10) == 0


def test_a_late_ack_counts_after_the_lease_went_to_another_member() -> None:
    group = queue()
    group.take(1, 1, 1, 0)
    group.expire(10, 0.0)
    assert group.take(2, 1, 1, 14) == [Grant(0, 1, 2)]
    assert group.ack(0, 1) == [(0, 1)]
    assert group.in_flight(2) == 0
    assert group.expire(1_000, 0.0) == []


def test_an_ack_in_pieces_covers_leases_retries_and_settled_positions() -> None:
    group = queue()
    group.take(1, 6, 10, 0)
    group.fail(2, 4, 1, 1, now_ms=0, unit=0.0)
    group.ack(5, 6)
    group.commit(5, 6)
    assert group.ack(0, 10) == [(0, 5)]
    assert dict(group.retries) == {}


def test_nobody_can_ack_what_was_never_delivered() -> None:
    group = queue()
    group.take(1, 5, 10, 0)
    assert group.ack(3, 10) == [(3, 5)]
    assert group.take(1, 5, 10, 0) == [Grant(5, 10, 1)]


def test_after_a_restart_an_ack_of_an_earlier_delivery_counts_if_the_caller_says_so() -> None:
    group = queue()
    assert group.ack(3, 5) == []
    assert group.ack(3, 99, end=5) == [(3, 5)]
    assert group.take(1, 9, 7, 0) == [Grant(0, 3, 1), Grant(5, 7, 1)]


def test_after_a_restart_what_is_settled_above_the_low_mark_is_skipped() -> None:
    cursor = Cursor()
    cursor.settle(2, 4)
    cursor.settle(5, 6)
    group = GroupQueue(POLICY, cursor)
    assert group.take(1, 4, 9, 0) == [Grant(0, 2, 1), Grant(4, 5, 1), Grant(6, 7, 1)]


def test_a_commit_without_an_ack_ends_leases_retries_and_parking() -> None:
    group = queue(RetryPolicy(max_attempts=2))
    group.take(1, 9, 9, 0)
    group.fail(0, 3, 1, 1, now_ms=0, unit=0.0, delay_ms=0)
    group.take(1, 2, 9, 0)
    group.fail(0, 2, 1, 2, now_ms=0, unit=0.0)
    assert (group.parked(), list(group.retries), group.in_flight(1)) == ([(0, 2)], [2], 6)
    group.commit(0, 9)
    assert (group.parked(), list(group.retries), group.in_flight(1)) == ([], [], 0)
    assert group.cursor.low == 9


def test_a_commit_of_what_was_not_handed_out_is_not_handed_out_after_it() -> None:
    group = queue()
    group.commit(2, 4)
    assert group.take(1, 9, 6, 0) == [Grant(0, 2, 1), Grant(4, 6, 1)]


def test_a_nack_with_a_delay_waits_that_long() -> None:
    group = queue()
    group.take(1, 1, 1, 0)
    failures = group.fail(0, 1, 1, 1, now_ms=5, unit=0.0, delay_ms=100)
    assert failures == [Failure(0, 1, 105)]
    assert group.take(1, 1, 1, 104) == []
    assert group.take(1, 1, 1, 105) == [Grant(0, 1, 2)]


def test_only_the_holder_of_that_attempt_can_nack() -> None:
    group = queue()
    group.take(1, 1, 1, 0)
    assert group.fail(0, 1, 2, 1, now_ms=0, unit=0.0) == []
    assert group.fail(0, 1, 1, 2, now_ms=0, unit=0.0) == []
    assert group.fail(0, 1, 1, 0, now_ms=0, unit=0.0) == []
    assert group.in_flight(1) == 1


def test_the_last_attempt_parks_and_a_late_ack_still_saves_it() -> None:
    group = queue(RetryPolicy(max_attempts=1))
    group.take(1, 2, 2, 0)
    failures = group.fail(0, 2, 1, 1, now_ms=0, unit=0.0)
    assert failures == [Failure(0, 1, None), Failure(1, 1, None)]
    assert group.parked() == [(0, 2)]
    assert group.ack(1, 2) == [(1, 2)]
    assert group.parked() == [(0, 1)]
    assert group.take(1, 2, 2, 10**9) == []


def test_a_disconnect_counts_as_a_delivery_but_never_parks() -> None:
    group = queue(RetryPolicy(max_attempts=1))
    for attempt in (1, 2, 3):
        assert group.take(1, 1, 1, 0) == [Grant(0, 1, attempt)]
        assert group.release(1, 0) == [(0, 1)]
    group.take(1, 1, 1, 0)
    assert group.fail(0, 1, 1, 4, now_ms=0, unit=0.0) == [Failure(0, 4, None)]


def test_a_new_policy_holds_for_the_next_decision() -> None:
    group = queue(RetryPolicy(max_attempts=9))
    group.take(1, 1, 1, 0)
    group.policy = RetryPolicy(max_attempts=1, ack_timeout_ms=7)
    assert group.expire(30_000, 0.0) == [Failure(0, 1, None)]
    group.take(1, 1, 2, 0)
    assert group.next_event_ms() == 7


def test_a_retry_above_the_committed_end_is_not_sent() -> None:
    group = GroupQueue(POLICY, Cursor(), {5: Retry(2, 0)})
    assert group.take(1, 9, 3, 0) == [Grant(0, 3, 1)]
    assert group.take(1, 9, 6, 0) == [Grant(5, 6, 2), Grant(3, 5, 1)]


def test_a_saved_retry_of_a_settled_position_is_ignored() -> None:
    group = GroupQueue(POLICY, Cursor(3), {1: Retry(2, 0)})
    assert group.take(1, 9, 4, 0) == [Grant(3, 4, 1)]


def test_retries_of_unequal_attempts_are_separate_grants() -> None:
    retries = {0: Retry(2, 0), 1: Retry(2, 0), 2: Retry(3, 0), 4: Retry(3, 0)}
    group = GroupQueue(POLICY, Cursor(), retries)
    assert group.take(1, 4, 5, 0) == [Grant(0, 2, 2), Grant(2, 3, 3), Grant(4, 5, 3)]


@pytest.mark.slow
def test_a_backlog_settled_in_the_wrong_order_ends_as_one_low_mark() -> None:
    group = queue()
    group.take(1, 20_000, 20_000, 0)
    for position in [*range(1, 20_000, 2), *range(0, 20_000, 2)]:
        assert group.ack(position, position + 1) == [(position, position + 1)]
        group.commit(position, position + 1)
    assert group.cursor.to_bytes() == Cursor(20_000).to_bytes()
