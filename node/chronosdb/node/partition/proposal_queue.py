"""What waits to be decided, oldest first; publishes are bounded in bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from chronosdb.node.partition.staging import Proposal
from chronosdb.wire.errors import Overloaded

_GROUP_PROPOSALS: Final = 4096


class ProposalQueue:
    """One partition's."""

    def __init__(self, queue_bytes: int, group_bytes: int, *, one_by_one: bool) -> None:
        """Publishes may wait for `queue_bytes`; a write group takes about `group_bytes`, or one."""
        self._queue_bytes = queue_bytes
        self._group_bytes = group_bytes
        self._group_proposals = 1 if one_by_one else _GROUP_PROPOSALS
        self._queue: deque[Proposal] = deque()
        #: Invariant: bytes of the publishes in the queue.
        self._nbytes = 0

    def __bool__(self) -> bool:
        return bool(self._queue)

    def add(self, proposal: Proposal) -> None:
        """Let it wait.

        Raises:
            Overloaded: it is a publish, and there are too many.
        """
        if proposal.sheddable:
            if self._nbytes > self._queue_bytes:
                raise Overloaded(f"{self._nbytes} bytes wait to be written here; slow down")
            self._nbytes += proposal.nbytes
        self._queue.append(proposal)

    def take(self) -> list[Proposal]:
        """The proposals of the next write group; one that is `alone` has it for itself."""
        group: list[Proposal] = []
        nbytes = 0
        while self._queue and len(group) < self._group_proposals and nbytes < self._group_bytes:
            if group and (group[-1].alone or self._queue[0].alone):
                break
            proposal = self._queue.popleft()
            group.append(proposal)
            nbytes += proposal.nbytes
            if proposal.sheddable:
                self._nbytes -= proposal.nbytes
        return group

    def put_back(self, proposals: Sequence[Proposal]) -> None:
        """They were taken too early."""
        self._queue.extendleft(reversed(proposals))
        self._nbytes += sum(proposal.nbytes for proposal in proposals if proposal.sheddable)

    def take_all(self) -> list[Proposal]:
        """All that wait; nobody will decide them."""
        taken = list(self._queue)
        self._queue.clear()
        self._nbytes = 0
        return taken
