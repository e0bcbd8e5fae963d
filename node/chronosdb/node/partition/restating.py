"""Proposals that say again what the log's oldest part said, before it is deleted.

They are decided alone: what they state is the state after exactly the records before theirs.
"""

from __future__ import annotations

import numpy as np

from chronosdb.node.partition import records
from chronosdb.node.partition.acks import Acks
from chronosdb.node.partition.carry import Load
from chronosdb.node.partition.proposals import Outcome
from chronosdb.node.partition.staging import Staging
from chronosdb.node.partition.state import PartitionState
from chronosdb.wal import Draft, Point
from chronosdb.wire.errors import ChronosError, Conflict

_OVERHEAD = 128


class CarryProposal:
    """Store events again, as they are when it is decided."""

    #: What cannot be written now can be in a minute: nothing is deleted until then.
    sheddable = True
    alone = True
    acks = Acks.QUORUM

    def __init__(self, load: Load, outcome: Outcome) -> None:
        self._load = load
        self._outcome = outcome
        self.nbytes = load.nbytes + _OVERHEAD

    def decide(self, staging: Staging) -> Draft | None:
        """See `Proposal.decide`."""
        load, timers = self._load, staging.state.timers
        mask = timers.pending.filter(load.offsets)
        pending = np.ones(len(load.offsets), np.bool_) if mask is None else mask
        due_ms = load.due_ms
        if timers.moved:
            due_ms = due_ms.copy()
            for i in np.flatnonzero(pending).tolist():
                due_ms[i] = timers.moved.get(int(load.offsets[i]), int(due_ms[i]))
        return load.draft(due_ms, pending, staging.now_ms, staging.epoch)

    def committed(self) -> None:
        """See `Proposal.committed`."""
        self._outcome(None)

    def refused(self, error: ChronosError) -> None:
        """See `Proposal.refused`."""
        self._outcome(error)


class GroupsProposal:
    """Write down all groups, and let none begin before `cut` from now on."""

    sheddable = True
    alone = True
    acks = Acks.QUORUM
    nbytes = _OVERHEAD

    def __init__(self, cut: Point, window_ms: int, nbytes_max: int, outcome: Outcome) -> None:
        self._cut = cut
        self._window_ms = window_ms
        self._nbytes_max = nbytes_max
        self._outcome = outcome

    def decide(self, staging: Staging) -> Draft | None:
        """See `Proposal.decide`.

        Raises:
            Conflict: something before `cut` is needed after all, or the groups do not fit into a record.
        """
        state = staging.state
        # By the time of the record that this writes: no later one is older.
        window = state.window_at(staging.now_ms, self._window_ms)
        if window.lsn < self._cut.lsn or settled(state) < self._cut.position:
            raise Conflict("a group began, or the dedup window was not as far as it seemed")
        stand = [group.stands(name) for name, group in state.groups.items()]
        draft = records.groups(stand, staging.now_ms, staging.epoch)
        if draft.nbytes > self._nbytes_max:
            raise Conflict(
                f"what the groups have settled takes {draft.nbytes} bytes, more than a record may"
                " have; some group leaves many gaps behind it"
            )
        state.first_position = max(state.first_position, self._cut.position)
        return draft

    def committed(self) -> None:
        """See `Proposal.committed`."""
        self._outcome(None)

    def refused(self, error: ChronosError) -> None:
        """See `Proposal.refused`."""
        self._outcome(error)


def settled(state: PartitionState) -> int:
    """Every group has settled all positions below this."""
    return min((group.cursor.low for group in state.groups.values()), default=2**63 - 1)
