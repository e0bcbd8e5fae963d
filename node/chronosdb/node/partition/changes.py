"""Proposals that change pending events: cancel, and reschedule.

Each is decided in the committer's turn, where firing is decided too: an event is either fired or
withdrawn, never both, and whichever is in the log first holds for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal

import numpy as np

from chronosdb.node.partition import records
from chronosdb.node.partition.due import Due
from chronosdb.node.partition.staging import Staging
from chronosdb.node.partition.standing import Standing
from chronosdb.wal import Draft
from chronosdb.wire.batch import NOW
from chronosdb.wire.errors import ChronosError

Change = Literal["cancelled", "rescheduled", "already_fired", "not_found"]
#: Told how it ended, once that is on disk.
ChangeOutcome = Callable[[Change | ChronosError], None]

_OVERHEAD: Final = 128


class ChangeProposal:
    """Cancel the event with an id (`due_ms` None), or let it be due at another time."""

    sheddable = False
    nbytes = _OVERHEAD

    def __init__(self, message_id: bytes, due_ms: int | None, outcome: ChangeOutcome) -> None:
        self._message_id = message_id
        self._due_ms = due_ms
        self._outcome = outcome
        self._change: Change = "not_found"

    def decide(self, staging: Staging) -> Draft | None:
        """See `Proposal.decide`."""
        known = staging.find([self._message_id])
        offset = None if known is None else known[0]
        if offset is None:
            self._change = "not_found"
            return None
        standing = staging.standing(offset)
        if standing is not Standing.PENDING:
            self._change = "cancelled" if standing is Standing.CANCELLED else "already_fired"
            return None
        return (
            self._cancel(staging, offset) if self._due_ms is None else self._move(staging, offset)
        )

    def committed(self) -> None:
        """See `Proposal.committed`."""
        self._outcome(self._change)

    def refused(self, error: ChronosError) -> None:
        """See `Proposal.refused`."""
        self._outcome(error)

    def _cancel(self, staging: Staging, offset: int) -> Draft:
        self._change = "cancelled"
        staging.withdrawn[offset] = Standing.CANCELLED
        return records.cancel(np.array([offset], np.int64), staging.now_ms, staging.epoch)

    def _move(self, staging: Staging, offset: int) -> Draft:
        self._change = "rescheduled"
        staging.withdrawn[offset] = Standing.PENDING
        due_ms = staging.now_ms if self._due_ms == NOW else self._due_ms
        due = Due(np.array([due_ms], np.int64), np.array([offset], np.int64))
        return records.move(due, staging.now_ms, staging.epoch)


class CancelManyProposal:
    """Cancel those of many events that are still pending."""

    sheddable = False

    def __init__(
        self, offsets: Sequence[int], outcome: Callable[[int | ChronosError], None]
    ) -> None:
        self._offsets = offsets
        self._outcome = outcome
        self._count = 0
        self.nbytes = _OVERHEAD + 8 * len(offsets)

    def decide(self, staging: Staging) -> Draft | None:
        """See `Proposal.decide`."""
        pending = [o for o in self._offsets if staging.standing(o) is Standing.PENDING]
        self._count = len(pending)
        staging.withdrawn.update(dict.fromkeys(pending, Standing.CANCELLED))
        if not pending:
            return None
        return records.cancel(np.array(pending, np.int64), staging.now_ms, staging.epoch)

    def committed(self) -> None:
        """See `Proposal.committed`."""
        self._outcome(self._count)

    def refused(self, error: ChronosError) -> None:
        """See `Proposal.refused`."""
        self._outcome(error)
