"""A write group while it is being decided, and what may take part in it.

A proposal decides what to write when its turn comes (`decide`), and is told how it ended: once,
through `committed` or `refused`. Deciding sees the state with everything before it in the same group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from chronosdb.node.partition.acks import Acks
from chronosdb.node.partition.due import Due
from chronosdb.node.partition.limits import Limits
from chronosdb.node.partition.reader import EventReader, Stored
from chronosdb.node.partition.standing import Standing, standing
from chronosdb.node.partition.state import GroupState, PartitionState
from chronosdb.wal import Draft
from chronosdb.wire.errors import ChronosError


@dataclass(slots=True)
class Staging:
    """One write group while it is being decided: the state it will leave behind."""

    now_ms: int
    state: PartitionState
    reader: EventReader
    #: The offset of the next event.
    next_offset: int
    limits: Limits
    #: Published in this group, in offset order, each with its offsets by id.
    published: list[tuple[Stored, Mapping[bytes, int]]] = field(default_factory=list)
    #: The ids of the first `_merged` of them: most groups have one batch, and nobody asks for its ids.
    _known: dict[bytes, int] = field(default_factory=dict)
    _merged: int = 0
    #: Consumer groups that begin, begin again (True) or end (False) in this group of writes.
    groups: dict[str, bool] = field(default_factory=dict)
    #: Published in this group and due already, in offset order: they fire with it.
    due: list[Due] = field(default_factory=list)
    #: Cancelled or rescheduled in this group, though the wheel may say that they are due.
    withdrawn: dict[int, Standing] = field(default_factory=dict)
    #: By how many this group changes the number of pending events; what only fires is not counted.
    waiting: int = 0

    @property
    def epoch(self) -> int:
        """The leader's epoch."""
        return self.state.epoch

    def find(self, ids: Sequence[bytes]) -> list[int | None] | None:
        """The offset of each id, in the index or earlier in this group; None: all are new."""
        known = self.state.dedup.find(ids)
        for _, offsets in self.published[self._merged :]:
            self._known.update(offsets)
        self._merged = len(self.published)
        if self._known.keys().isdisjoint(ids):
            return known
        earlier = [self._known.get(i) for i in ids]
        if known is None:
            return earlier
        return [e if e is not None else k for e, k in zip(earlier, known, strict=True)]

    def has_group(self, name: str) -> bool:
        """Whether the consumer group will exist."""
        return self.groups.get(name, name in self.state.groups)

    def goes_on(self, name: str, group: GroupState) -> bool:
        """Whether the consumer group is still the one that it was when it had this state."""
        return name not in self.groups and self.state.groups.get(name) is group

    def stored(self, offset: int) -> Stored:
        """The batch that holds `offset`, on disk or in this group."""
        for stored, _ in self.published:
            if stored.start <= offset < stored.stop:
                return stored
        return self.reader.stored(offset)

    def standing(self, offset: int) -> Standing:
        """Where the event at `offset` will stand when this group is applied, so far."""
        if offset in self.withdrawn:
            return self.withdrawn[offset]
        if any(stored.start <= offset < stored.stop for stored, _ in self.published):
            fires_now = any(offset in due.offsets for due in self.due)
            return Standing.FIRED if fires_now else Standing.PENDING
        return standing(self.state.timers, offset)

    def remaining(self, expired: Due) -> Due:
        """`expired` without what this group withdraws."""
        if not self.withdrawn:
            return expired
        keep = [offset not in self.withdrawn for offset in expired.offsets.tolist()]
        return expired.where(np.array(keep, dtype=np.bool_))

    def cancel(self, offsets: Sequence[int]) -> None:
        """These events, which are pending, will not fire."""
        self.withdrawn.update(dict.fromkeys(offsets, Standing.CANCELLED))
        self.waiting -= len(offsets)

    def add(self, stored: Stored, ids: Mapping[bytes, int]) -> None:
        """`stored` will be stored next, at `next_offset`, with these offsets by id.

        Raises:
            InvalidArgument, Overloaded: the topic's limits do not allow it.
        """
        assert stored.start == self.next_offset
        due_ms = np.frombuffer(stored.batch.due, np.int64)
        past = np.flatnonzero(due_ms <= self.now_ms)
        waiting = stored.batch.count - len(past)
        if waiting and self.limits.max_delay_ms:
            self.limits.check_due(int(due_ms.max()), self.now_ms)
        if waiting and self.limits.max_pending:
            self.limits.check_pending(len(self.state.timers.pending) + self.waiting, waiting)
        self.waiting += waiting
        self.published.append((stored, ids))
        self.next_offset = stored.stop
        if len(past):
            self.due.append(Due(due_ms[past], past + stored.start))


class Proposal(Protocol):
    """Something to write."""

    @property
    def nbytes(self) -> int:
        """What it adds to the log, about."""
        ...

    @property
    def sheddable(self) -> bool:
        """Whether it may be refused, to save disk space for what must be written."""
        ...

    @property
    def alone(self) -> bool:
        """Whether it is decided, and synced, without others: on exactly what was written before."""
        ...

    @property
    def acks(self) -> Acks:
        """What must have happened before it is told that it is committed."""
        ...

    def decide(self, staging: Staging) -> Draft | None:
        """What to append; None: nothing. Raises ChronosError to refuse."""
        ...

    def committed(self) -> None:
        """What `decide` asked for is on disk."""
        ...

    def refused(self, error: ChronosError) -> None:
        """It was not written."""
        ...
