"""Proposals that change pending events: cancel, and reschedule.

Each is decided in the committer's turn, where firing is decided too: an event is either fired or
withdrawn, never both, and whichever is in the log first holds for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal

import numpy as np

from chronosdb.node.partition import records
from chronosdb.node.partition.acks import Acks
from chronosdb.node.partition.due import Due
from chronosdb.node.partition.staging import Staging
from chronosdb.node.partition.standing import Standing
from chronosdb.wal import Draft
from chronosdb.wire.batch import NOW
from chronosdb.wire.errors import ChronosError, InvalidArgument

Change = Literal["cancelled", "rescheduled", "already_fired", "not_found"]
#: Told how it ended, once that is on disk.
ChangeOutcome = Callable[[Change | ChronosError], None]

_OVERHEAD: Final = 128


class ChangeProposal:
    """Cancel the event with an id (`due_ms` None), or let it be due at another time."""

    sheddable = False
    alone = False
    acks = Acks.QUORUM
    nbytes = _OVERHEAD

    def __init__(self, message_id: bytes, due_ms: int | None, outcome: ChangeOutcome) -> None:
        self._message_id = message_id
        self._due_ms = due_ms
        self._outcome = outcome
        self._change: Change = "not_found"

    def decide(self, staging: Staging) -> Draft | None:
        """See `Proposal.decide`. Raises InvalidArgument when the event must not be due then."""
        known = staging.find([self._message_id])
        offset = None if known is None else known[0]
        if offset is None:
            self._change = "not_found"
            return None
        standing = staging.standing(offset)
        if standing is not Standing.PENDING:
            self._change = "cancelled" if standing is Standing.CANCELLED else "already_fired"
            return None
        if self._due_ms is None:
            return self._cancel(staging, offset)
        return self._move(staging, offset, self._due_ms)

    def committed(self) -> None:
        """See `Proposal.committed`."""
        self._outcome(self._change)

    def refused(self, error: ChronosError) -> None:
        """See `Proposal.refused`."""
        self._outcome(error)

    def _cancel(self, staging: Staging, offset: int) -> Draft:
        self._change = "cancelled"
        staging.cancel([offset])
        return records.cancel(np.array([offset], np.int64), staging.now_ms, staging.epoch)

    def _move(self, staging: Staging, offset: int, due_ms: int) -> Draft:
        if due_ms == NOW:
            due_ms = staging.now_ms
        staging.limits.check_due(due_ms, staging.now_ms)
        _check_life(staging, offset, due_ms)
        self._change = "rescheduled"
        staging.withdrawn[offset] = Standing.PENDING
        due = Due(np.array([due_ms], np.int64), np.array([offset], np.int64))
        return records.move(due, staging.now_ms, staging.epoch)


class CancelManyProposal:
    """Cancel those of many events that are still pending."""

    sheddable = False
    alone = False
    acks = Acks.QUORUM

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
        staging.cancel(pending)
        if not pending:
            return None
        return records.cancel(np.array(pending, np.int64), staging.now_ms, staging.epoch)

    def committed(self) -> None:
        """See `Proposal.committed`."""
        self._outcome(self._count)

    def refused(self, error: ChronosError) -> None:
        """See `Proposal.refused`."""
        self._outcome(error)


def _check_life(staging: Staging, offset: int, due_ms: int) -> None:
    """That an event which is due at `due_ms` has not expired by then."""
    stored = staging.stored(offset)
    expires_ms = stored.batch.expires(offset - stored.start)
    if expires_ms is not None and due_ms >= expires_ms:
        raise InvalidArgument(
            f"the event expires at {expires_ms}: due at {due_ms}, it would never be delivered."
            " Let it be due earlier, or cancel it and publish another"
        )
