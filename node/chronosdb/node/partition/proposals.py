"""Proposals: what anyone may ask a partition's committer to put into its log.

Publishing and groups; `changes.py` has what changes pending events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from chronosdb.node.partition import records
from chronosdb.node.partition.acks import Acks
from chronosdb.node.partition.reader import Stored
from chronosdb.node.partition.records import RetryRow, Run, SettleReason
from chronosdb.node.partition.staging import Staging
from chronosdb.node.partition.state import GroupState
from chronosdb.sched import RunSet
from chronosdb.wal import Draft
from chronosdb.wire import EventBatch
from chronosdb.wire.batch import NOW
from chronosdb.wire.errors import ChronosError, Conflict

#: What a record adds to the log besides its body, about.
_OVERHEAD: Final = 128
#: A SETTLE record takes more acks until it has this many runs.
_JOINED_RUNS: Final = 4096

#: Told how it ended: the error, or None when what was asked is on disk.
Outcome = Callable[[ChronosError | None], None]
#: Told where the events are, once they are on disk, or why they are not stored.
PublishOutcome = Callable[["Placement | ChronosError"], None]


class Placement(NamedTuple):
    """Where a publish ended: event i is at `first_offset` + i, unless `offsets` says otherwise."""

    first_offset: int
    offsets: Sequence[int] | None = None
    duplicates: Sequence[bool] | None = None


class PublishProposal:
    """Store a batch, each event once (I5)."""

    sheddable = True
    alone = False

    def __init__(
        self, batch: EventBatch, outcome: PublishOutcome, acks: Acks = Acks.QUORUM
    ) -> None:
        self.acks = acks
        self._batch = batch
        self._outcome = outcome
        self._placement: Placement | None = None
        self.nbytes = len(batch.blob) + _OVERHEAD

    def decide(self, staging: Staging) -> Draft | None:
        """See `Proposal.decide`.

        Raises:
            Conflict: an id is taken by another content.
            InvalidArgument: an event that is due now has expired, or one is due too far ahead.
            Overloaded: too many events would be pending.
        """
        batch, ids, start = self._batch, self._batch.ids(), staging.next_offset
        known = staging.find(ids)
        offsets = dict(zip(ids, range(start, start + len(ids)), strict=True))
        if known is None and len(offsets) == len(ids):
            self._placement = Placement(start)
        else:
            batch, ids = self._without_duplicates(staging, ids, known or [None] * len(ids))
            if not ids:
                return None
            offsets = dict(zip(ids, range(start, start + len(ids)), strict=True))
        if np.frombuffer(batch.due, np.int64).min() == NOW:
            batch = _stamped(batch, staging.now_ms)
            batch.check_expiries()
        staging.add(Stored(batch, start, staging.now_ms), offsets)
        return records.publish(batch, staging.now_ms, staging.epoch)

    def committed(self) -> None:
        """See `Proposal.committed`."""
        assert self._placement is not None
        self._outcome(self._placement)

    def refused(self, error: ChronosError) -> None:
        """See `Proposal.refused`."""
        self._outcome(error)

    def _without_duplicates(
        self, staging: Staging, ids: list[bytes], known: list[int | None]
    ) -> tuple[EventBatch, list[bytes]]:
        """The events to store; every duplicate gets the offset of its original."""
        batch = self._batch
        offsets: list[int] = []
        new: list[int] = []
        first_with: dict[bytes, int] = {}
        for i, (message_id, offset) in enumerate(zip(ids, known, strict=True)):
            twin = first_with.setdefault(message_id, i)
            if offset is not None:
                _check_same(batch, i, message_id, staging.stored(offset), offset)
                offsets.append(offset)
            elif twin != i:
                if not batch.same_content(i, batch, twin):
                    raise _conflict(message_id)
                offsets.append(offsets[twin])
            else:
                offsets.append(staging.next_offset + len(new))
                new.append(i)
        fresh = set(new)
        self._placement = Placement(offsets[0], offsets, [i not in fresh for i in range(len(ids))])
        return (batch.select(new) if new else batch), [ids[i] for i in new]


class SettleProposal:
    """Settle positions for a group. Acks that arrive before it is decided join it.

    What was acked before the group was reset or ended means nothing after that.
    """

    sheddable = False
    alone = False
    acks = Acks.QUORUM

    def __init__(self, group: str, of: GroupState, reason: SettleReason) -> None:
        self._group = group
        self._of = of
        self._reason = reason
        self._runs = RunSet()
        self._outcomes: list[Outcome] = []
        self._joined = 0
        self._decided = False

    @property
    def nbytes(self) -> int:
        """See `Proposal.nbytes`."""
        return _OVERHEAD + 16 * self._joined

    @property
    def open(self) -> bool:
        """Whether more may join: it is not decided yet, and not too large."""
        return not self._decided and self._joined < _JOINED_RUNS

    def add(self, runs: Iterable[Run], outcome: Outcome) -> None:
        """Settle these too, and tell `outcome`; with no runs it is told when the others are."""
        assert not self._decided
        for start, stop in runs:
            self._runs.add(start, stop)
            self._joined += 1
        self._outcomes.append(outcome)

    def decide(self, staging: Staging) -> Draft | None:
        """See `Proposal.decide`."""
        self._decided = True
        if not self._runs or not staging.goes_on(self._group, self._of):
            return None
        return records.settle(self._group, self._reason, self._runs, staging.now_ms, staging.epoch)

    def committed(self) -> None:
        """See `Proposal.committed`."""
        for outcome in self._outcomes:
            outcome(None)

    def refused(self, error: ChronosError) -> None:
        """See `Proposal.refused`."""
        for outcome in self._outcomes:
            outcome(error)


@dataclass(frozen=True, slots=True)
class WriteProposal:
    """Write one record, or find that there is no need to."""

    draft: Callable[[Staging], Draft | None]
    outcome: Outcome
    nbytes: int
    sheddable: bool = False
    alone: bool = False
    acks: Acks = Acks.QUORUM

    def decide(self, staging: Staging) -> Draft | None:
        """See `Proposal.decide`."""
        return self.draft(staging)

    def committed(self) -> None:
        """See `Proposal.committed`."""
        self.outcome(None)

    def refused(self, error: ChronosError) -> None:
        """See `Proposal.refused`."""
        self.outcome(error)


def retry(group: str, of: GroupState, rows: Sequence[RetryRow], outcome: Outcome) -> WriteProposal:
    """Log failed deliveries, so that attempts are counted across restarts."""

    def draft(staging: Staging) -> Draft | None:
        if not staging.goes_on(group, of):
            return None
        return records.retry(group, rows, staging.now_ms, staging.epoch)

    return WriteProposal(draft, outcome, _OVERHEAD + 18 * len(rows))


def create_group(group: str, start: int, outcome: Outcome) -> WriteProposal:
    """Let a group begin at position `start`, unless it exists by then: it is where it is."""

    def draft(staging: Staging) -> Draft | None:
        return None if staging.has_group(group) else _group_draft(staging, group, start)

    return WriteProposal(draft, outcome, _OVERHEAD + len(group))


def reset_group(group: str, start: int, outcome: Outcome) -> WriteProposal:
    """Let a group begin again at position `start`: the only way back for a cursor (I7)."""

    def draft(staging: Staging) -> Draft | None:
        return _group_draft(staging, group, start)

    return WriteProposal(draft, outcome, _OVERHEAD + len(group))


def end_group(group: str, outcome: Outcome) -> WriteProposal:
    """Forget a group, if there is one."""

    def draft(staging: Staging) -> Draft | None:
        return _group_draft(staging, group, records.ENDED) if staging.has_group(group) else None

    return WriteProposal(draft, outcome, _OVERHEAD + len(group))


def begin_epoch(node_id: str, epoch: int, outcome: Outcome) -> WriteProposal:
    """A leader's term begins."""
    return WriteProposal(
        lambda staging: records.epoch_begins(node_id, staging.now_ms, epoch),
        outcome,
        _OVERHEAD + len(node_id),
    )


def _group_draft(staging: Staging, group: str, start: int) -> Draft:
    staging.groups[group] = start != records.ENDED
    if start != records.ENDED:
        start = max(start, staging.state.first_position)
    return records.group(group, start, staging.now_ms, staging.epoch)


def _stamped(batch: EventBatch, now_ms: int) -> EventBatch:
    """Events that are due now are due at the time they are stored."""
    due = np.frombuffer(batch.due, np.int64)
    return batch.with_due(np.where(due == NOW, now_ms, due).tobytes())


def _check_same(batch: EventBatch, i: int, message_id: bytes, stored: Stored, offset: int) -> None:
    if not batch.same_content(i, stored.batch, offset - stored.start):
        raise _conflict(message_id)


def _conflict(message_id: bytes) -> Conflict:
    name = message_id.decode(errors="replace")
    return Conflict(
        f"message id {name!r} was published before with other content; nothing of this batch was"
        " stored. Use a new id, or cancel or reschedule the first",
        details={"message_id": name},
    )
