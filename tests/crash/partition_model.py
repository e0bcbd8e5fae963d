"""What a partition must know after these records: dicts and sets, as plainly as can be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from chronosdb.node.partition import records
from chronosdb.node.partition.records import Kind
from chronosdb.node.partition.state import GroupState, PartitionState
from chronosdb.wal import Record

#: Later than every due time.
_NEVER_MS: Final = 2**61


@dataclass(slots=True)
class ModelGroup:
    """A group's progress: which positions it has settled, and which it will try again."""

    start: int
    settled: set[int] = field(default_factory=set)
    retries: dict[int, tuple[int, int]] = field(default_factory=dict)

    def copy(self) -> ModelGroup:
        """Another one, equal."""
        return ModelGroup(self.start, set(self.settled), dict(self.retries))

    @property
    def low(self) -> int:
        """The first position that is not settled."""
        low = self.start
        while low in self.settled:
            low += 1
        return low

    def compare(self, group: GroupState, end: int) -> None:
        """The cursor and the retries of a partition say the same (I7)."""
        cursor = group.cursor
        assert cursor.low == self.low, f"I7: the cursor is at {cursor.low}, not at {self.low}"
        for position in range(self.low, end):
            settled = position in self.settled
            assert cursor.is_settled(position) is settled, f"I7: position {position}"
        retries = {p: (retry.attempt, retry.due_ms) for p, retry in group.retries.items()}
        assert retries == self.retries, f"retries {retries}, not {self.retries}"


@dataclass(slots=True)
class Model:
    """All of a partition."""

    window_ms: int
    """How long an id is remembered, at least."""
    ids: list[bytes] = field(default_factory=list)
    """By offset."""
    published_ms: list[int] = field(default_factory=list)
    newest: dict[bytes, int] = field(default_factory=dict)
    """The last offset of each id."""
    pending: dict[int, int] = field(default_factory=dict)
    fired: list[int] = field(default_factory=list)
    cancelled: set[int] = field(default_factory=set)
    groups: dict[str, ModelGroup] = field(default_factory=dict)

    def copy(self) -> Model:
        """Another one, equal."""
        return Model(
            self.window_ms,
            list(self.ids),
            list(self.published_ms),
            dict(self.newest),
            dict(self.pending),
            list(self.fired),
            set(self.cancelled),
            {name: group.copy() for name, group in self.groups.items()},
        )

    def apply(self, record: Record) -> None:
        """The next record; it must make sense after those before it (I3, I5, I6)."""
        match record.kind:
            case Kind.PUBLISH:
                self._publish(record)
            case Kind.FIRE:
                assert record.position == len(self.fired), "I6: positions are not dense"
                self._fire(record)
            case Kind.CANCEL:
                offsets = records.read_cancel(record).tolist()
                assert not set(self.fired).intersection(offsets), "cancelled after it fired"
                self.cancelled.update(offsets)
                for offset in offsets:
                    del self.pending[offset]
            case Kind.MOVE:
                due = records.read_due(record)
                self.pending.update(zip(due.offsets.tolist(), due.due_ms.tolist(), strict=True))
            case _:
                # What is carried or restated before the oldest segments go is known here already.
                self._apply_to_group(record)

    def _publish(self, record: Record) -> None:
        batch = records.read_batch(record)
        assert record.offset == len(self.ids), "I6: offsets are not dense"
        for message_id, due_ms in zip(batch.ids(), batch.due, strict=True):
            assert not self._is_known(message_id, record.ts_ms), "I5: an id is stored twice"
            offset = len(self.ids)
            self.newest[message_id] = offset
            self.pending[offset] = due_ms
            self.ids.append(message_id)
            self.published_ms.append(record.ts_ms)

    def _is_known(self, message_id: bytes, now_ms: int) -> bool:
        """Whether another publish of this id must be a duplicate."""
        offset = self.newest.get(message_id)
        if offset is None:
            return False
        return offset in self.pending or self.published_ms[offset] >= now_ms - self.window_ms

    def _fire(self, record: Record) -> None:
        due = records.read_due(record)
        for offset, due_ms in zip(due.offsets.tolist(), due.due_ms.tolist(), strict=True):
            assert self.pending.pop(offset) == due_ms, "I13: fired at another time than it was due"
            assert due_ms <= record.ts_ms, "I3: fired early"
            self.fired.append(offset)

    def _apply_to_group(self, record: Record) -> None:
        match record.kind:
            case Kind.GROUP:
                body = records.read_group(record)
                self.groups.pop(body.group, None)
                if body.start != records.ENDED:
                    self.groups[body.group] = ModelGroup(body.start)
            case Kind.SETTLE:
                settle = records.read_settle(record)
                group = self.groups[settle.group]
                for start, stop in settle.pairs:
                    group.settled.update(range(start, stop))
                group.retries = {
                    p: retry for p, retry in group.retries.items() if p not in group.settled
                }
            case Kind.RETRY:
                retries = records.read_retries(record)
                group = self.groups[retries.group]
                for row in retries.rows:
                    if row.position >= group.start and row.position not in group.settled:
                        group.retries[row.position] = (row.attempt, row.due_ms)

    def compare(self, state: PartitionState, now_ms: int) -> None:
        """The views of a partition say the same at this time (I5, I7, I13)."""
        rows = [
            (offset, due_ms)
            for due in state.timers.between(0, _NEVER_MS)
            for offset, due_ms in zip(due.offsets.tolist(), due.due_ms.tolist(), strict=True)
        ]
        assert len(rows) == len(dict(rows)), "I13: an event is pending twice"
        assert dict(rows) == self.pending, f"I13: pending {dict(rows)}, not {self.pending}"
        assert state.groups.keys() == self.groups.keys(), "other groups than in the log"
        for name, group in state.groups.items():
            self.groups[name].compare(group, len(self.fired))
        ids = list(self.newest)
        found = state.dedup.find(ids) or [None] * len(ids)
        for message_id, offset in zip(ids, found, strict=True):
            wanted: set[int | None] = {self.newest[message_id]}
            if not self._is_known(message_id, now_ms):
                wanted.add(None)
            assert offset in wanted, f"I5: {message_id!r} is at {offset}, not at {wanted}"
