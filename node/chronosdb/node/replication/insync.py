"""Who counts for what is committed: the ISR of a partition, as its leader keeps it.

A replica that has not been level with the leader for too long is proposed out, one that is level, in. A
proposal's outcome may stay unknown for long; until the metadata show that it was decided, what is
committed must be so by the old ISR and by the new one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf
from typing import Final

import trio

from chronosdb.node.clock import Signal
from chronosdb.node.partition.partition import PartitionId
from chronosdb.node.replication.assignment import Assignment, Propose
from chronosdb.node.replication.quorum import grown, shrunk

logger = logging.getLogger(__name__)

#: The ISR is looked at so often.
_REVIEW_S: Final = 0.5
#: A proposal that nobody decided is made again after so long.
_PATIENCE_S: Final = 5.0


class InSync:
    """The ISR during one term."""

    def __init__(
        self,
        identity: PartitionId,
        assignment: Assignment,
        *,
        me: str,
        lag_max_s: float,
        propose: Propose,
        name: str,
    ) -> None:
        self.assignment = assignment
        self._identity = identity
        self._me = me
        self._lag_max_s = lag_max_s
        self._propose = propose
        self._name = name
        #: How far each replica's log is known to be the leader's, and durable.
        self.synced: dict[str, int] = {}
        #: Nothing above this was ever committed, as far as this leader knows.
        self.high_watermark = 0
        #: Since when each replica has not been level with the leader; missing: it is level.
        self._behind_s: dict[str, float] = {}
        #: An ISR that was proposed. Invariant: as long as it may become the ISR, it is in here.
        self._proposed: tuple[str, ...] | None = None
        #: Whether an earlier attempt at the same proposal may still be on its way.
        self._unsure = False
        self._changed = Signal()
        #: Nothing is to be looked at until something happens: most partitions are so most of the time.
        self._rests = False
        #: Whether a replica is known to follow just now.
        self.streams: Callable[[str], bool] = lambda _node: False
        #: Told when `isrs` has changed by what was proposed.
        self.on_changed: Callable[[], None] = lambda: None

    @property
    def isrs(self) -> list[tuple[str, ...]]:
        """The ISR, and the one that may have taken its place already."""
        return [self.assignment.isr, *([self._proposed] if self._proposed else [])]

    def begin(self, lsn: int) -> None:
        """The term begins with a log that ends at `lsn`: all that was ever committed is below."""
        self.high_watermark = lsn

    def assign(self, assignment: Assignment) -> None:
        """The metadata have changed; this is not older than what was known."""
        assert assignment.version >= self.assignment.version
        before, self.assignment = self.assignment, assignment
        self._changed.set()
        if assignment.version == before.version:
            return  # something else about it has changed
        if assignment.isr != before.isr:
            logger.info(
                "%s: in sync are %s now, before %s",
                self._name,
                ", ".join(assignment.isr),
                ", ".join(before.isr),
            )
        # It was for an earlier version: either it is this one, or it never will be.
        self._proposed = None
        self._unsure = False

    def reached(self, node: str, lsn: int) -> None:
        """A replica has synced everything below `lsn`."""
        self.synced[node] = max(lsn, self.synced.get(node, 0))
        if node not in self.assignment.isr:
            self._changed.set()

    def has(self, node: str, lsn: int) -> bool:
        """Whether a replica is known to have everything below `lsn`."""
        return self.synced.get(node, 0) >= lsn

    def grew(self, node: str, now_s: float) -> None:
        """There is more in the log than this replica has."""
        self._behind_s.setdefault(node, now_s)
        if self._rests:
            self._rests = False
            self._changed.set()

    def was_level(self, node: str, at_s: float | None) -> None:
        """A replica had all that there was at this time; None: it is level now."""
        if at_s is None:
            self._behind_s.pop(node, None)
        elif node in self._behind_s:
            self._behind_s[node] = max(self._behind_s[node], at_s)

    def gone(self, node: str) -> None:
        """It is no replica any more."""
        self.synced.pop(node, None)
        self._behind_s.pop(node, None)

    async def run(self) -> None:
        """Propose what should change, until cancelled."""
        while True:
            self._rests = self._is_in_order()
            with trio.move_on_after(inf if self._rests else _REVIEW_S):
                await self._changed.wait()
            wanted = self._proposed or self._wanted()
            if wanted != self.assignment.isr:
                await self._try(wanted)

    def _is_in_order(self) -> bool:
        """Whether time alone changes nothing: all are in, all are level, and nobody is to go."""
        one = self.assignment
        is_full = set(one.isr) == set(one.replicas) and not one.leaving
        return is_full and not self._behind_s and self._proposed is None

    def _wanted(self) -> tuple[str, ...]:
        """What the ISR should be."""
        now_s = trio.current_time()
        one = self.assignment
        leaving = [
            n for n in one.isr if n != self._me and (n in one.leaving or n not in one.replicas)
        ]
        lagging = [
            node
            for since_s, node in sorted((s, n) for n, s in self._behind_s.items())
            if now_s - since_s > self._lag_max_s and node in one.isr and node not in leaving
        ]
        out = [*leaving, *lagging]
        smaller = shrunk(one.isr, out, self.synced, self.high_watermark, one.min_insync)
        if smaller != one.isr:
            return smaller
        level = [n for n in one.replicas if n not in one.leaving and self.streams(n)]
        return grown(one.isr, one.replicas, level, self.synced, self.high_watermark)

    async def _try(self, wanted: tuple[str, ...]) -> None:
        base = self.assignment
        # Before anyone can decide it.
        self._proposed = wanted
        result: Assignment | None = None
        with trio.move_on_after(_PATIENCE_S):
            result = await self._propose(self._identity, base, wanted)
        if self.assignment.version != base.version:
            return
        if result is None:
            self._unsure = True
        elif (result.leader, result.epoch) != (base.leader, base.epoch):
            # Whoever tells this node what it leads will say so, too.
            await trio.sleep(_PATIENCE_S)
        elif result.version != base.version:
            self.assign(result)
            self.on_changed()
        elif not self._unsure:
            self._proposed = None
            self.on_changed()
            await trio.sleep(_PATIENCE_S)
