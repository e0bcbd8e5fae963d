"""The timers of a partition: which offsets are pending, and the wheel that says when they are due.

Both are views of the log. Between checkpoints the pending set and the due times of what is still
pending go to the store, in rows by time slice, so that a restart reads timers, not the whole log.
A timer that is cancelled or moved stays where it is, in wheel and rows, and is passed over when it
comes up: what counts is `pending` and `moved`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
import numpy as np

from chronosdb.node.partition.due import Due, Int64s, joined
from chronosdb.sched import CorruptStateError, PendingSet, Wheel
from chronosdb.wal import KeyValue

#: A row holds timers of one slice of 2**20 ms (about 17 minutes).
_SLICE_BITS: Final = 20
#: Timers looked at at a time.
_SWEEP: Final = 65_536
#: (slice, lsn of the checkpoint that wrote the row).
_ROW_KEY: Final = struct.Struct(">QQ")
_PENDING_KEY: Final = b"pending"
_CANCELLED_KEY: Final = b"cancelled"
_MOVED_KEY: Final = b"moved"
_OVER: Final = b"over:"
_ROWS: Final = b"row:"
_ROWS_END: Final = b"row;"
_decode_moved: Final = msgspec.msgpack.Decoder(dict[int, int]).decode


class Timers:
    """Pending offsets and their due times.

    Invariant (I13): `pending` is exactly published - fired - cancelled of the log applied so far.
    """

    def __init__(self, store: KeyValue, now_ms: int) -> None:
        self._store = store
        self._started_ms = now_ms
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
        self.wheel = Wheel(self._started_ms)
        #: Published since the last `place`. Most of a backlog fires at once and never needs a slot.
        self._incoming: list[Due] = []
        #: Placed since the last checkpoint began, so not yet in a row of the store.
        self._unsaved: list[Due] = []
        #: What the running checkpoint is writing, and its lsn: rows of that are not looked at meanwhile.
        self._saving: list[Due] = []
        self._saving_lsn: int | None = None
        #: The earliest due time that left the wheel while its FIRE record is still being written.
        self._taken_ms: int | None = None

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
        """Put what was published or moved, and not fired since, into the wheel."""
        for due in self._incoming:
            valid = self._valid(due)
            if valid.size:
                self.wheel.insert(valid.due_ms, valid.offsets)
                self._unsaved.append(valid)
        self._incoming.clear()

    def expire(self, now_ms: int, limit: int) -> Due:
        """Take at most `limit` timers due at `now_ms` out of the wheel; the caller fires them."""
        assert not self._incoming
        due = self._valid(Due(*self.wheel.expire(now_ms, limit)))
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
            due = Due(*self.wheel.expire(now_ms, _SWEEP))
            waiting.append(self._valid(due))
            if due.size < _SWEEP:
                break
        for due in waiting:
            self.wheel.insert(due.due_ms, due.offsets)

    def next_wakeup_ms(self) -> int | None:
        """When to call `expire` next; never later than the next due time."""
        return self.wheel.next_wakeup_ms()

    def between(self, start_ms: int, end_ms: int) -> Iterator[Due]:
        """Pending timers due in [start_ms, end_ms), slice by slice, each in (due, offset) order.

        May be resumed later (each slice shows what is true when it is asked for), not after the
        partition was closed.
        """
        first, last = _slice(start_ms), _slice(end_ms - 1)
        while first <= last:
            current = self._next_slice(first, last)
            if current is None:
                return
            found = self._valid(self._slice_of(current))
            inside = (found.due_ms >= start_ms) & (found.due_ms < end_ms)
            yield found.where(inside).ordered()
            first = current + 1

    def load(self) -> None:
        """Fill from the last checkpoint."""
        raw = self._store.get(_PENDING_KEY)
        if raw is None:
            return
        self.pending = PendingSet.from_bytes(raw)
        self.cancelled = PendingSet.from_bytes(self._stored(_CANCELLED_KEY))
        self.moved = _decode_moved(self._stored(_MOVED_KEY))
        for _, row in self._store.scan(_ROWS, _ROWS_END):
            due = self._valid(_unpacked(row))
            if due.size:
                self.wheel.insert(due.due_ms, due.offsets)

    def begin_checkpoint(self, lsn: int) -> Iterator[tuple[bytes, bytes]]:
        """The rows to write for a checkpoint at `lsn`; they stay visible until it has ended."""
        assert not self._saving
        self._saving, self._unsaved = self._unsaved, []
        self._saving_lsn = lsn if self._saving else None
        self._saving_over, self._over = self._over, {}
        return iter(
            [
                (_PENDING_KEY, self.pending.to_bytes()),
                (_CANCELLED_KEY, self.cancelled.to_bytes()),
                (_MOVED_KEY, msgspec.msgpack.encode(self.moved)),
                *_rows(self._valid(joined(self._saving)), lsn),
                *(
                    (_OVER + offset.to_bytes(8, "big"), due.to_bytes(8, "little", signed=True))
                    for offset, due in self._saving_over.items()
                ),
            ]
        )

    def end_checkpoint(self) -> None:
        """The rows of `begin_checkpoint` are in the store."""
        self._saving = []
        self._saving_lsn = None
        self._saving_over = {}

    def stale_rows(self) -> tuple[bytes, bytes]:
        """The key range of rows in which every timer has fired."""
        unfired = [t for t in (self.wheel.next_wakeup_ms(), self._taken_ms) if t is not None]
        return _ROWS, _row_key(_slice(min(unfired)), 0) if unfired else _ROWS_END

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

    def _unstored(self) -> list[Due]:
        return [*self._saving, *self._unsaved]

    def _next_slice(self, first: int, last: int) -> int | None:
        """The first slice from `first` to `last` that holds any timer, stale ones included."""
        found = [
            int(slices.min())
            for due in self._unstored()
            if len(slices := _slices(due)[(_slices(due) >= first) & (_slices(due) <= last)])
        ]
        for key, _ in self._store.scan(_row_key(first, 0), _row_key(last + 1, 0)):
            found.append(_ROW_KEY.unpack(key[len(_ROWS) :])[0])
            break
        return min(found, default=None)

    def _slice_of(self, number: int) -> Due:
        """Every timer in a slice, stale ones included."""
        rows = (
            _unpacked(row)
            for key, row in self._store.scan(_row_key(number, 0), _row_key(number + 1, 0))
            # Rows of the running checkpoint may be in the store already: they are in memory still.
            if _ROW_KEY.unpack(key[len(_ROWS) :])[1] != self._saving_lsn
        )
        memory = (due.where(_slices(due) == number) for due in self._unstored())
        return joined([*rows, *memory])


def _rows(due: Due, lsn: int) -> Iterable[tuple[bytes, bytes]]:
    """One row per time slice."""
    slices = _slices(due)
    order = np.argsort(slices, kind="stable")
    pairs = np.stack((due.due_ms[order], due.offsets[order]), axis=1)
    cuts = np.flatnonzero(np.diff(slices[order])) + 1
    for part in np.split(pairs, cuts):
        if len(part):
            key = _row_key(_slice(int(part[0, 0])), lsn)
            yield key, part.astype("<i8", copy=False).tobytes()


def _unpacked(row: bytes) -> Due:
    pairs = np.frombuffer(row, dtype="<i8").reshape(-1, 2)
    return Due(pairs[:, 0].copy(), pairs[:, 1].copy())


def _row_key(number: int, lsn: int) -> bytes:
    return _ROWS + _ROW_KEY.pack(number, lsn)


def _slices(due: Due) -> Int64s:
    return np.maximum(due.due_ms, 0) >> _SLICE_BITS


def _slice(due_ms: int) -> int:
    return max(due_ms, 0) >> _SLICE_BITS
