"""The timers of a partition: which offsets are pending, and the wheel that says when they are due.

Both are views of the log. All timers are kept in slices of time, most of them in the store
(`slices.py`); of these the wheel holds what is due next, before the *horizon*, and no more than its
share of memory. When it has room again, what comes behind the horizon is loaded.
A timer that is cancelled or moved stays where it is, in wheel and rows, and is passed over when it
comes up: what counts is `pending` and `moved`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

import msgspec
import numpy as np

from chronosdb.node.partition.due import Due, Int64s, joined
from chronosdb.node.partition.slices import (
    BEGINNING_MS,
    NEVER_MS,
    Portion,
    Slices,
    View,
    stale_rows,
)
from chronosdb.node.partition.timer_memory import TimerMemory
from chronosdb.sched import CorruptStateError, PendingSet, Wheel
from chronosdb.wal import KeyValue

#: Timers looked at at a time: a few milliseconds' work.
_STEP: Final = 32_768
_PENDING_KEY: Final = b"pending"
_CANCELLED_KEY: Final = b"cancelled"
_MOVED_KEY: Final = b"moved"
_OVER: Final = b"over:"

_decode_moved: Final = msgspec.msgpack.Decoder(dict[int, int]).decode


class Timers:
    """Pending offsets and their due times.

    Invariant (I13): `pending` is exactly published - fired - cancelled of the log applied so far.
    """

    def __init__(self, store: KeyValue, now_ms: int, memory: TimerMemory) -> None:
        self._store = store
        self._started_ms = now_ms
        self._memory = memory
        self._slices = Slices(store)
        self.clear()

    def clear(self) -> None:
        """Hold no timers."""
        self.pending = PendingSet()
        self.cancelled = PendingSet()
        #: Rescheduled events that are still pending, and when they are due now.
        self.moved: dict[int, int] = {}
        #: Rescheduled events that are over, and when they were due: rows of the store, in the end.
        self._over: dict[int, int] = {}
        self._saving_over: dict[int, int] = {}
        #: Invariant: of all that is pending and placed, it has what is due before `_horizon_ms`,
        #: and that is in `_slices` as well.
        self.wheel = Wheel(self._started_ms)
        #: None: no pending timer is anywhere but in the wheel.
        self._horizon_ms: int | None = None
        self._slices.clear()
        #: Published since the last `place`. Most of a backlog fires at once and never needs a slot.
        self._incoming: list[Due] = []
        #: The earliest due time that left the wheel while its FIRE record is still being written.
        self._taken_ms: int | None = None

    def begin_anew(self) -> None:
        """Hold no timers, and none in the wheel until `fill`.

        What a long log says is so in rows as soon as it is saved, and most of it is over in the end.
        """
        self.clear()
        self._horizon_ms = BEGINNING_MS

    def publish(self, due_ms: Int64s, first_offset: int) -> None:
        """Take in events due at `due_ms`, stored at `first_offset` and the offsets after it."""
        stop = first_offset + len(due_ms)
        self.pending.add_range(first_offset, stop)
        self._incoming.append(Due(due_ms, np.arange(first_offset, stop, dtype=np.int64)))

    def restore(self, due: Due, published_due_ms: Int64s) -> None:
        """Take in pending events of which the log has lost the publish, and perhaps a move."""
        self.pending.add_many(due.offsets)
        self._incoming.append(due)
        moved = due.where(due.due_ms != published_due_ms)
        self.moved.update(zip(moved.offsets.tolist(), moved.due_ms.tolist(), strict=True))

    def fire(self, offsets: Int64s) -> None:
        """These offsets are pending no more."""
        self._taken_ms = None
        self._end(offsets)

    def cancel(self, offsets: Int64s) -> None:
        """These offsets will not fire."""
        self._end(offsets)
        self.cancelled.add_many(offsets)

    def move(self, due: Due) -> None:
        """These offsets are due at other times now.

        One that is not pending has been carried behind the move, in a log without its oldest part.
        """
        mask = self.pending.filter(due.offsets)
        if mask is not None:
            due = due.where(mask)
        self.moved.update(zip(due.offsets.tolist(), due.due_ms.tolist(), strict=True))
        self._incoming.append(due)

    def due_of(self, offset: int) -> int | None:
        """When a rescheduled event is due, or was; None: at the time that it was published with."""
        for known in (self.moved, self._over, self._saving_over):
            if offset in known:
                return known[offset]
        raw = self._store.get(_OVER + offset.to_bytes(8, "big"))
        return None if raw is None else int.from_bytes(raw, "little", signed=True)

    def place(self) -> None:
        """Let what was published or moved, and not fired since, be due at its time."""
        for due in self._incoming:
            valid = self._valid(due)
            if valid.size:
                self._slices.add(valid)
                self._wind(valid)
        self._incoming.clear()
        if len(self.wheel) > self._memory.share:
            edge_ms = self.wheel.cut(self._memory.share // 2)
            # Overdue timers stay in the wheel, and what follows them may have to be loaded yet.
            if self._horizon_ms is None or edge_ms < self._horizon_ms:
                self._horizon_ms = edge_ms

    def expire(self, now_ms: int, limit: int) -> Due:
        """Take at most `limit` timers due at `now_ms` out of the wheel; the caller fires them."""
        assert not self._incoming
        taken = [Due(*self.wheel.expire(now_ms, limit))]
        while (left := limit - sum(due.size for due in taken)) and self._is_overtaken(now_ms):
            self._load_at_once()
            taken.append(Due(*self.wheel.expire(now_ms, left)))
        due = self._valid(joined(taken))
        self._taken_ms = int(due.due_ms[0]) if due.size else None
        return due

    def put_back(self, due: Due) -> None:
        """Undo `expire`: they could not be fired."""
        self._taken_ms = None
        self.wheel.insert(due.due_ms, due.offsets)

    def sweep(self, now_ms: int) -> None:
        """Let the wheel lose what is over: where nothing is fired, nobody takes it out."""
        waiting: list[Due] = []
        while True:
            due = Due(*self.wheel.expire(now_ms, _STEP))
            waiting.append(self._valid(due))
            if due.size == _STEP:
                continue
            if sum(due.size for due in waiting) >= self._low_mark or not self._is_overtaken(now_ms):
                break
            self._load_at_once()
        for due in waiting:
            self.wheel.insert(due.due_ms, due.offsets)

    def next_wakeup_ms(self) -> int | None:
        """When to call `expire` next; never later than the next due time."""
        wakeup_ms = self.wheel.next_wakeup_ms()
        return self._horizon_ms if wakeup_ms is None else wakeup_ms

    def count_due(self, edges_ms: Sequence[int]) -> list[int]:
        """How many timers are due from each edge to before the next, as far as the wheel knows."""
        horizon_ms = self._horizon_ms
        return self.wheel.count_due(
            [edge for edge in edges_ms if horizon_ms is None or edge <= horizon_ms]
        )

    def between(self, start_ms: int, end_ms: int) -> Iterator[Due]:
        """Pending timers due in [start_ms, end_ms), slice by slice, each in (due, offset) order.

        May be resumed later (each slice shows what is true when it is asked for), not after the
        partition was closed.
        """
        return (self._valid(due).ordered() for due in self._slices.between(start_ms, end_ms))

    @property
    def has_room(self) -> bool:
        """Whether the wheel should have more of what is due later."""
        return self._horizon_ms is not None and len(self.wheel) < self._low_mark

    def missing(self) -> View:
        """Where to read what the wheel has room for.

        While that is read, in whatever thread, no checkpoint may run.
        """
        assert self._horizon_ms is not None
        return self._slices.view(self._horizon_ms)

    def read(self, view: View) -> list[Portion]:
        """The next timers for the wheel, to be taken in one by one. Blocks; changes nothing: any thread may."""
        return view.first(max(1, min(_STEP, self._memory.share // 4))).parts(_STEP)

    def take_in(self, portion: Portion) -> None:
        """Put what was read, and what has come since, into the wheel.

        Of no use, and left alone, if the horizon is another by now.
        """
        start_ms = portion.start_ms
        if self._horizon_ms != start_ms:
            return
        self._horizon_ms = portion.end_ms
        end_ms = NEVER_MS if portion.end_ms is None else portion.end_ms
        due = joined([portion.due, *self._slices.recent(start_ms, end_ms)])
        self._wind(self._valid(due))

    def load(self) -> None:
        """Know what the last checkpoint says, if there is one; the wheel waits for `fill`."""
        raw = self._store.get(_PENDING_KEY)
        if raw is None:
            return
        self.pending = PendingSet.from_bytes(raw)
        self.cancelled = PendingSet.from_bytes(self._stored(_CANCELLED_KEY))
        self.moved = _decode_moved(self._stored(_MOVED_KEY))
        self._horizon_ms = BEGINNING_MS

    def fill(self) -> None:
        """Have what is due next in the wheel, after `begin_anew` or `load`."""
        if self._horizon_ms == BEGINNING_MS:
            self._load_at_once()

    def begin_checkpoint(self, lsn: int) -> Iterator[tuple[bytes, bytes]]:
        """The rows to write for a checkpoint at `lsn`; they stay visible until it has ended."""
        self._saving_over, self._over = self._over, {}
        head = [
            (_PENDING_KEY, self.pending.to_bytes()),
            (_CANCELLED_KEY, self.cancelled.to_bytes()),
            (_MOVED_KEY, msgspec.msgpack.encode(self.moved)),
        ]
        over = [
            (_OVER + offset.to_bytes(8, "big"), due.to_bytes(8, "little", signed=True))
            for offset, due in self._saving_over.items()
        ]
        unfired_ms = self._unfired_ms()
        since_ms = NEVER_MS if unfired_ms is None else unfired_ms
        return chain(head, over, self._slices.begin_checkpoint(lsn, since_ms))

    def end_checkpoint(self) -> None:
        """The rows of `begin_checkpoint` are in the store."""
        self._slices.end_checkpoint()
        self._saving_over = {}

    def stale_rows(self) -> tuple[bytes, bytes]:
        """The key range of rows in which every timer has fired."""
        return stale_rows(self._unfired_ms())

    def unasked_rows(self, offset: int) -> tuple[bytes, bytes]:
        """The key range of what was kept of rescheduled events below `offset`, whose ids are forgotten."""
        return _OVER, _OVER + offset.to_bytes(8, "big")

    def _stored(self, key: bytes) -> bytes:
        raw = self._store.get(key)
        if raw is None:
            raise CorruptStateError(f"a checkpoint without {key!r}")
        return raw

    def _end(self, offsets: Int64s) -> None:
        self.pending.discard_many(offsets)
        if self.moved:
            for offset in self.moved.keys() & set(offsets.tolist()):
                self._over[offset] = self.moved.pop(offset)

    def _valid(self, due: Due) -> Due:
        """Those that are pending at just this time; each once."""
        mask = self.pending.filter(due.offsets)
        if mask is not None:
            due = due.where(mask)
        if not self.moved or not due.size:
            return due
        rows = zip(due.offsets.tolist(), due.due_ms.tolist(), strict=True)
        # Moved away and back again leaves two equal entries: the dict keeps one of each.
        kept = {row: i for i, row in enumerate(rows) if self.moved.get(*row) == row[1]}
        return due.where(np.array(sorted(kept.values()), dtype=np.intp))

    @property
    def _low_mark(self) -> int:
        """With fewer timers than this the wheel wants more."""
        return self._memory.share // 2

    def _is_overtaken(self, now_ms: int) -> bool:
        """Whether what is not in the wheel may be due."""
        return self._horizon_ms is not None and self._horizon_ms <= now_ms

    def _load_at_once(self) -> None:
        for portion in self.read(self.missing()):
            self.take_in(portion)

    def _wind(self, due: Due) -> None:
        """Put into the wheel what belongs there."""
        if self._horizon_ms is not None:
            due = due.where(due.due_ms < self._horizon_ms)
        if due.size:
            self.wheel.insert(due.due_ms, due.offsets)

    def _unfired_ms(self) -> int | None:
        """Nothing that is due before this is still to fire; None: nothing at all is."""
        times = (self.wheel.next_wakeup_ms(), self._taken_ms, self._horizon_ms)
        return min((t for t in times if t is not None), default=None)
