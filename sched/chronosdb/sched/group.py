"""What one group may be sent from one partition now: the decision, without any of the doing.

A position that was ever delivered is in exactly one place until it is settled:

    fresh --take--> leased --ack--> acked --commit--> settled
                    |    ^            ^
     fail, expire,  |    | take,      | ack, from anywhere below:
     release        v    | when due   | a late ack of any attempt counts
                    waiting ----------+
                    parked -----------+   after the last attempt: being dead-lettered,
                                          then committed like an ack

Acked is not settled: the caller first makes the ack durable, then says `commit`. Attempts of a
position are 1, 2, 3 … in the order of its deliveries and no two are alike. What is not durable
(leases, and retries the caller did not save) is forgotten by a restart, after which those
positions count as fresh: delivered at least once, in position order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chronosdb.sched.lease import Lease, LeaseTable
from chronosdb.sched.retry_queue import Retry, RetryQueue
from chronosdb.sched.runs import RunSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from chronosdb.sched.cursor import Cursor
    from chronosdb.sched.retry import RetryPolicy
    from chronosdb.sched.runs import Run


@dataclass(frozen=True, slots=True)
class Grant:
    """Deliver the positions of `[start, stop)` as their attempt number `attempt`."""

    start: int
    stop: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Attempt number `attempt` of `position` failed; None for `due_ms`: dead-letter it."""

    position: int
    attempt: int
    due_ms: int | None


class GroupQueue:
    """The deliveries of one partition to one group.

    Positions are ints from 0, members are the caller's numbers; `end` is always the end of the
    partition's committed deliveries, at and above which nothing is handed out.
    """

    __slots__ = (
        "_acked",
        "_ahead",
        "_cursor",
        "_fresh",
        "_leases",
        "_parked",
        "_retries",
        "policy",
    )

    def __init__(
        self, policy: RetryPolicy, cursor: Cursor, retries: Mapping[int, Retry] | None = None
    ) -> None:
        """Start, or resume after a restart, from what was durable; `cursor` is owned from now on."""
        #: May be replaced at any time; leases and retries that exist keep their times.
        self.policy = policy
        self._cursor = cursor
        # Invariant: never decreases; no position at or above was delivered, but for `_ahead`.
        self._fresh = cursor.low
        # Invariant: positions at or above `_fresh` that are not fresh: settled, acked, or
        # delivered before a restart. Below it, nothing.
        self._ahead = RunSet(cursor.above())
        # Invariant: positions in `_acked`, `_parked`, `_leases` and `_retries` are unsettled and
        # disjoint, and together with the settled ones are all below `_fresh` and all of `_ahead`.
        self._acked = RunSet()
        self._parked = RunSet()
        self._leases = LeaseTable()
        self._retries = RetryQueue()
        for position, retry in (retries or {}).items():
            if not cursor.is_settled(position):
                self._retries.put(position, retry)
                self._ahead.add(position, position + 1)

    @property
    def cursor(self) -> Cursor:
        """What is settled; read it only."""
        return self._cursor

    @property
    def retries(self) -> Mapping[int, Retry]:
        """What waits for another attempt, by position: save it to keep attempts over a restart."""
        return self._retries.view()

    @property
    def leased(self) -> int:
        """How many positions are in flight, whoever holds them."""
        return len(self._leases)

    def parked(self) -> list[Run]:
        """The positions to be dead-lettered that are not settled yet."""
        return list(self._parked)

    def take(self, member: int, limit: int, end: int, now_ms: int) -> list[Grant]:
        """Lease up to `limit` positions below `end` to `member`.

        Due retries first, then fresh positions, each in position order.
        """
        grants = _coalesced(self._retries.take(limit, end, now_ms))
        limit -= sum(grant.stop - grant.start for grant in grants)
        grants += [Grant(start, stop, 1) for start, stop in self._take_fresh(limit, end)]
        deadline_ms = now_ms + self.policy.ack_timeout_ms
        for grant in grants:
            lease = Lease(member, grant.attempt, deadline_ms)
            self._leases.grant(grant.start, grant.stop, lease)
        return grants

    def ack(self, start: int, stop: int, end: int = 0) -> list[Run]:
        """Note that `[start, stop)` is done with, whoever says so, on whichever attempt.

        Args:
            start: the first position.
            stop: the position behind the last.
            end: if given, acks of positions below it count even if this queue has not handed
                them out: for members that were sent them before a restart.

        Returns:
            The runs that this made acked: the caller makes them durable, then calls `commit`.
            Positions never delivered, acked before or settled are left out.
        """
        ended = self._leases.settle(start, stop)
        if len(ended) == 1 and ended[0][:2] == (start, stop):
            # All of it was in flight under one lease, so it was nowhere else: the usual case.
            return self._acked.add(start, stop)
        acked: list[Run] = []
        for run in self._delivered(start, stop, end):
            for unsettled in self._cursor.unsettled(*run):
                acked += self._acked.add(*unsettled)
        for run in acked:
            self._forget(*run)
            self._reserve(*run)
        return acked

    def commit(self, start: int, stop: int) -> None:
        """Settle `[start, stop)`: that it is done with is durable now."""
        if self._acked.remove(start, stop) != [(start, stop)]:
            self._forget(start, stop)
            self._reserve(start, stop)
        self._cursor.settle(start, stop)

    def fail(
        self,
        start: int,
        stop: int,
        member: int,
        attempt: int,
        *,
        now_ms: int,
        unit: float,
        delay_ms: int | None = None,
    ) -> list[Failure]:
        """End this member's attempt on `[start, stop)` as failed.

        Args:
            start: the first position.
            stop: the position behind the last.
            member: who failed; positions it no longer holds on `attempt` are left out.
            attempt: the attempt that failed.
            now_ms: the time.
            unit: the caller's random number in [0, 1), for jitter.
            delay_ms: how long to wait before the next attempt, instead of the policy's backoff.
        """
        assert delay_ms is None or delay_ms >= 0
        reclaimed = self._leases.reclaim(start, stop, member, attempt)
        if not reclaimed:
            return []
        if delay_ms is None:
            delay_ms = self.policy.delay_ms(attempt, unit)
        due_ms = now_ms + delay_ms
        return [failure for run in reclaimed for failure in self._failed(run, attempt, due_ms)]

    def expire(self, now_ms: int, unit: float) -> list[Failure]:
        """Fail every delivery whose lease ran out, as `fail` does, in position order."""
        return [
            failure
            for start, stop, lease in self._leases.expired(now_ms)
            for failure in self._failed(
                (start, stop), lease.attempt, now_ms + self.policy.delay_ms(lease.attempt, unit)
            )
        ]

    def release(self, member: int, now_ms: int) -> list[Run]:
        """Take back all that a member held that left; it is due again at once.

        The next delivery counts as another attempt, because the last one may have been seen; but
        leaving is no failure, so it never parks an event, whatever the policy's maximum.
        """
        released = self._leases.release(member)
        for start, stop, lease in released:
            for position in range(start, stop):
                self._retries.put(position, Retry(lease.attempt + 1, now_ms))
        return [(start, stop) for start, stop, _ in released]

    def extend(self, start: int, stop: int, member: int, attempt: int, deadline_ms: int) -> int:
        """Give a member more time, as `LeaseTable.extend` does; 0 means that the lease is lost."""
        return self._leases.extend(start, stop, member, attempt, deadline_ms)

    def in_flight(self, member: int) -> int:
        """How many positions `member` holds."""
        return self._leases.in_flight(member)

    def next_event_ms(self) -> int | None:
        """When something will change by itself: a lease runs out or a retry falls due.

        Retries that `take` or `has_work` has already seen due are work, no longer an event, so
        that a caller whose members have no credit is not woken for them over and over.
        """
        times = (self._leases.next_deadline_ms(), self._retries.next_due_ms())
        return min((time_ms for time_ms in times if time_ms is not None), default=None)

    def has_work(self, end: int, now_ms: int) -> bool:
        """Whether `take` would hand out anything."""
        if self._retries.has_due(end, now_ms):
            return True
        return self._ahead.next_gap(self._fresh, end) is not None

    def lag(self, end: int) -> int:
        """How many positions below `end` are not settled."""
        return self._cursor.lag(end)

    def _take_fresh(self, limit: int, end: int) -> list[Run]:
        taken = []
        while limit > 0 and (gap := self._ahead.next_gap(self._fresh, end)) is not None:
            start, stop = gap[0], min(gap[1], gap[0] + limit)
            limit -= stop - start
            taken.append((start, stop))
            self._ahead.remove(self._fresh, stop)
            self._fresh = stop
        return taken

    def _delivered(self, start: int, stop: int, end: int) -> list[Run]:
        """The runs of `[start, stop)` of which an ack counts."""
        known = max(self._fresh, end)
        if stop <= known:
            return [(start, stop)]
        runs = self._ahead.overlaps(max(start, known), stop)
        return [(start, known), *runs] if start < known else runs

    def _forget(self, start: int, stop: int) -> None:
        """Drop what was planned for `[start, stop)`: it needs no more deliveries."""
        self._leases.settle(start, stop)
        if self._retries:
            self._retries.drop(start, stop)
        if self._parked:
            self._parked.remove(start, stop)

    def _reserve(self, start: int, stop: int) -> None:
        """See to it that nothing of `[start, stop)` is taken as fresh."""
        if stop > self._fresh:
            self._ahead.add(max(start, self._fresh), stop)

    def _failed(self, run: Run, attempt: int, due_ms: int) -> list[Failure]:
        """What becomes of a run that nobody holds any more."""
        if self.policy.exhausted(attempt):
            self._parked.add(*run)
            return [Failure(position, attempt, None) for position in range(*run)]
        for position in range(*run):
            self._retries.put(position, Retry(attempt + 1, due_ms))
        return [Failure(position, attempt, due_ms) for position in range(*run)]


def _coalesced(deliveries: Iterable[tuple[int, int]]) -> list[Grant]:
    """`(position, attempt)` in position order as runs of equal attempts."""
    grants: list[Grant] = []
    for position, attempt in deliveries:
        last = grants[-1] if grants else None
        if last is not None and last.stop == position and last.attempt == attempt:
            grants[-1] = Grant(last.start, position + 1, attempt)
        else:
            grants.append(Grant(position, position + 1, attempt))
    return grants
