"""A hierarchical timing wheel of packed timers: 1 ms ticks, 8 levels of 256 slots, no clock.

Write a time as eight bytes. A timer waits at the level of the highest byte in which its due time
differs from the wheel's time, in the slot named by that byte of its due time:

    level   slot is    level reaches      level   slot is     level reaches
      0       1 ms         256 ms           4      50 days      34.8 years
      1     256 ms          65 s            5     34.8 years    8,900 years
      2      65 s          4.7 h            6    8,900 years    2.3 M years
      3      4.7 h         50 days          7    2.3 M years    all of int64

Three facts follow, and everything here rests on them. Everything at a level is due before
everything at the levels above it, and slots of a level are in time order: the next timer is in
the first occupied slot of the lowest occupied level. Moving the wheel's time up to just before
that slot moves no timer. And on reaching a slot it is either wholly in the past, and is taken
as it is, or is *opened*: its timers go down to levels below, at most seven times in a timer's life.
So a jump over years costs what is due and what is occupied, never the ticks between. How a slot
of millions is opened without a pause is told in `level.py`.

Clock rules: the wheel's time never goes back, and runs behind `now_ms` only while a `limit`
leaves due timers inside. Timers at or before it wait in the ready queue, from which they come
out when the *given* `now_ms` reaches them: after a clock steps back, nothing is early.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import numpy as np

from chronosdb.sched.level import SLOT_BITS, SLOTS, TIMER_BYTES, Level, unpacked
from chronosdb.sched.ready import ReadyQueue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chronosdb.sched.ready import Timers

LEVELS: Final = 8
TIME_MAX_MS: Final = (1 << 63) - 1
#: About a millisecond's work: no wait for timers to be moved is longer than a few of these.
TAIL_MAX: Final = 1 << 14

_TIMER: Final = struct.Struct("=qq")
_LEVEL_FLOORS: Final = np.array([1 << SLOT_BITS * n for n in range(1, LEVELS)], dtype=np.int64)
# Up to here a loop in Python is faster than numpy's fixed cost per call.
_FEW: Final = 8


class Wheel:
    """Timers `(due_ms, key)`; the same pair may be held more than once and comes out as often.

    There is no way to remove one: the caller drops what comes out and is no longer pending.
    """

    __slots__ = ("_held", "_levels", "_ready", "_time_ms")

    def __init__(self, now_ms: int, *, tail_max: int = TAIL_MAX) -> None:
        """Start at `now_ms`; `tail_max` timers of one slot may have to be moved at once."""
        assert 0 <= now_ms <= TIME_MAX_MS
        # Invariant: never decreases. Timers at the levels are due after it, ready ones are not.
        self._time_ms = now_ms
        self._levels = [Level(SLOT_BITS * n, tail_max) for n in range(LEVELS)]
        # Invariant: the number of timers at all levels together.
        self._held = 0
        self._ready = ReadyQueue()

    def __len__(self) -> int:
        return self._held + len(self._ready)

    @property
    def nbytes(self) -> int:
        """Memory held by timers, in bytes."""
        return self._ready.nbytes + sum(level.nbytes for level in self._levels)

    def insert(self, due_ms: NDArray[np.int64], keys: NDArray[np.int64]) -> None:
        """Add timers in any order; those of the past come out at the next `expire`."""
        assert due_ms.dtype == keys.dtype == np.int64
        assert due_ms.shape == keys.shape == (len(due_ms),)
        if len(due_ms) > _FEW:
            self._insert_many(due_ms, keys)
        else:
            self._insert_few(due_ms, keys)

    def expire(self, now_ms: int, limit: int) -> Timers:
        """Take the first `limit` timers with `due_ms <= now_ms`.

        Returns:
            Their due times and their keys, in `(due_ms, key)` order. Fewer than `limit` means
            that no more are due at `now_ms`.
        """
        assert 0 <= now_ms <= TIME_MAX_MS
        assert limit > 0
        # Ready ones are due by the wheel's time: if not by now_ms, nothing in the wheel is either.
        self._turn(now_ms, limit - len(self._ready))
        return self._ready.pop(now_ms, limit)

    def next_wakeup_ms(self) -> int | None:
        """When to call `expire` next: never later than the next due time, None if empty.

        It may be earlier, when the wheel has a slot to open; that happens at most seven times
        between two due times.
        """
        slot = self._first_slot()
        ready_ms = self._ready.next_due_ms()
        if slot is None:
            return ready_ms
        return slot[2] if ready_ms is None else min(slot[2], ready_ms)

    def cut(self, keep: int) -> int:
        """Forget the timers that are due last, until about `keep` are held; there must be more.

        Those whose time has come stay, and those of the next millisecond that has any.

        Returns:
            What is held now is due before this time, and all that was is held still.
        """
        rank = max(0, keep - len(self._ready))
        first_ms = self._due_at(0)
        if first_ms is None:
            return self._time_ms + 1
        later_ms = self._due_at(rank)
        edge_ms = first_ms + 1 if later_ms is None else max(first_ms + 1, later_ms)
        for level in self._levels:
            self._held -= level.drop_from(edge_ms, self._ring_start_ms(level))
        return edge_ms

    def count_due(self, edges_ms: Sequence[int]) -> list[int]:
        """How many timers are due from each edge to before the next; one count fewer than edges.

        Those that the wheel's time has passed, and that wait to be taken, are not among them.
        """
        assert list(edges_ms) == sorted(edges_ms)
        counts = [0] * (len(edges_ms) + 1)
        for level in self._levels:
            level.count_into(counts, edges_ms, self._ring_start_ms(level))
        return counts[1:-1]

    def _insert_few(self, due_ms: NDArray[np.int64], keys: NDArray[np.int64]) -> None:
        late = []
        for due, key in zip(due_ms.tolist(), keys.tolist(), strict=True):
            if due <= self._time_ms:
                late.append((due, key))
                continue
            level = self._levels[((due ^ self._time_ms).bit_length() - 1) // SLOT_BITS]
            level.append((due >> level.shift) % SLOTS, _TIMER.pack(due, key))
            self._held += 1
        if late:
            self._ready.push(*np.array(late, dtype=np.int64).T)

    def _insert_many(self, due_ms: NDArray[np.int64], keys: NDArray[np.int64]) -> None:
        late = due_ms <= self._time_ms
        if late.any():
            self._ready.push(due_ms[late], keys[late])
            due_ms, keys = due_ms[~late], keys[~late]
        if len(due_ms):
            self._place(due_ms, keys)

    def _place(self, due_ms: NDArray[np.int64], keys: NDArray[np.int64]) -> None:
        """Put timers of the future into their levels."""
        self._held += len(due_ms)
        number = np.searchsorted(_LEVEL_FLOORS, due_ms ^ self._time_ms, side="right")
        for level, count in zip(self._levels, np.bincount(number).tolist(), strict=False):
            if count == len(due_ms):
                level.place(due_ms, keys)
            elif count:
                here = number == level.shift // SLOT_BITS
                level.place(due_ms[here], keys[here])

    def _turn(self, now_ms: int, wanted: int) -> None:
        """Turn the wheel until `wanted` timers are ready or its time is at least `now_ms`.

        Slots are taken in time order, so what becomes ready comes before all that stays.
        """
        taken: list[bytearray] = []
        while wanted > 0:
            first = self._first_slot()
            if first is None or first[2] > now_ms:
                self._time_ms = max(self._time_ms, now_ms)
                break
            level, slot, start_ms = first
            assert start_ms > self._time_ms
            end_ms = start_ms + (1 << level.shift) - 1
            tail, ring = level.pop(slot)
            self._held -= len(tail) // TIMER_BYTES
            if end_ms <= now_ms and ring is None:
                self._time_ms = end_ms
                taken.append(tail)
                wanted -= len(tail) // TIMER_BYTES
            else:
                self._open(tail, ring, start_ms)
        if taken:
            self._ready.push(*unpacked(taken[0] if len(taken) == 1 else b"".join(taken)))

    def _open(self, tail: bytearray, ring: Level | None, start_ms: int) -> None:
        """Go to the start of a slot that was popped, and put what it held into lower levels."""
        self._time_ms = start_ms
        tails = [tail]
        while ring is not None:
            number = ring.shift // SLOT_BITS
            assert not self._levels[number], "the slot was not the first in time"
            self._levels[number] = ring
            # Its slot 0 begins now as well, so what is in there belongs further down.
            tail, ring = ring.pop(0)
            self._held -= len(tail) // TIMER_BYTES
            tails.append(tail)
        for timers in tails:
            self._insert_many(*unpacked(timers))

    def _due_at(self, rank: int) -> int | None:
        """When the timer of this rank is due, about; None: so many are not in the levels."""
        for level in self._levels:
            if rank < len(level):
                return level.due_at(rank, self._ring_start_ms(level))
            rank -= len(level)
        return None

    def _first_slot(self) -> tuple[Level, int, int] | None:
        """The occupied slot that is first in time: its level, number and first millisecond."""
        for level in self._levels:
            slot = level.first()
            if slot is not None:
                return level, slot, self._ring_start_ms(level) + (slot << level.shift)
        return None

    def _ring_start_ms(self, level: Level) -> int:
        """When slot 0 of a level begins."""
        ring_bits = level.shift + SLOT_BITS
        return self._time_ms >> ring_bits << ring_bits
