"""Which leader wrote which part of a log, and up to where two logs agree (pure).

Every record carries the epoch of the leader that wrote it, a leader writes its records one after the
other, and each epoch has one leader. So two logs that both hold records of an epoch are equal up to
where the first of them leaves it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Reign(NamedTuple):
    """A leader's part of a log."""

    epoch: int
    #: Of the first record of this epoch that the log holds.
    lsn: int


class EpochHistory:
    """The reigns of one log, oldest first."""

    def __init__(self, reigns: Iterable[tuple[int, int]] = ()) -> None:
        #: Invariant: epochs and lsns ascend strictly.
        self.reigns = [Reign(*reign) for reign in reigns]

    @property
    def last(self) -> int:
        """The epoch of the newest record; 0 in a log without any."""
        return self.reigns[-1].epoch if self.reigns else 0

    def note(self, epoch: int, lsn: int) -> None:
        """A record of `epoch` was written at `lsn`, the end of the log."""
        if epoch != self.last:
            assert epoch > self.last, (epoch, self.last)
            self.reigns.append(Reign(epoch, lsn))

    def truncate(self, lsn: int) -> None:
        """The log ends at `lsn` from now on."""
        while self.reigns and self.reigns[-1].lsn >= lsn:
            self.reigns.pop()

    def begin_at(self, lsn: int) -> None:
        """The log begins at `lsn` from now on."""
        gone = bisect_right(self.reigns, lsn, key=lambda reign: reign.lsn) - 1
        if gone > 0:
            del self.reigns[:gone]

    def clear(self) -> None:
        """There are no records."""
        self.reigns.clear()


class Extent(NamedTuple):
    """What must be known of a log to compare it with another."""

    start_lsn: int
    end_lsn: int
    reigns: Sequence[tuple[int, int]]


def agreement(leader: Extent, follower: Extent) -> int | None:
    """Up to which lsn the follower's log is the leader's too.

    None: nowhere; the follower has to begin anew.
    """
    ends = _ends(leader)
    for epoch, end_lsn in reversed(_ends(follower).items()):
        if epoch in ends:
            return min(ends[epoch], end_lsn)
    # It has nothing of the leader's. But a log begins where all before was committed: there it may stay.
    lsn = follower.start_lsn
    return lsn if leader.start_lsn <= lsn <= leader.end_lsn else None


def _ends(log: Extent) -> dict[int, int]:
    """Where each reign ends, oldest first."""
    stops = [*(lsn for _, lsn in log.reigns), log.end_lsn][1:]
    return {epoch: stop for (epoch, _), stop in zip(log.reigns, stops, strict=True)}
