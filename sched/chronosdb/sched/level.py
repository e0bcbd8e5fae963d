"""One ring of 256 slots of a timing wheel.

A slot is a *tail*, a `bytearray` of packed timers in the order in which they came, and, once
that outgrew `tail_max`, a finer ring into which it was emptied. So inserting is an append,
emptying is done for thousands of timers at a time, and a slot of millions is handed on as the
ring it already is: no step in a timer's life has to touch more than `tail_max` others.

A timer is two native int64, `due_ms` then `key`: 16 bytes, and no Python object of its own.
Only slots that hold something exist, so an idle wheel costs next to nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SLOT_BITS: Final = 8
SLOTS: Final = 1 << SLOT_BITS
TIMER_BYTES: Final = 16

Packed: TypeAlias = bytes | bytearray | memoryview


def unpacked(timers: Packed) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Due times and keys, as views of the packed timers."""
    due_ms, keys = np.frombuffer(timers, dtype=np.int64).reshape(-1, 2).T
    return due_ms, keys


class Level:
    """A ring whose slots are each `1 << shift` milliseconds wide."""

    __slots__ = ("_occupied", "_rings", "_tail_bytes_max", "_tails", "shift")

    def __init__(self, shift: int, tail_max: int) -> None:
        assert shift % SLOT_BITS == 0
        assert tail_max > 0
        self.shift = shift
        self._tail_bytes_max = tail_max * TIMER_BYTES
        # Invariant: no longer than `tail_max` timers, except at the lowest level, where a slot
        # is one millisecond and is never opened.
        self._tails: dict[int, bytearray] = {}
        self._rings: dict[int, Level] = {}
        # Invariant: bit s is set exactly when slot s has a tail or a ring; none of them is empty.
        self._occupied = 0

    def __bool__(self) -> bool:
        return self._occupied != 0

    def __len__(self) -> int:
        tails = sum(map(len, self._tails.values())) // TIMER_BYTES
        return tails + sum(map(len, self._rings.values()))

    def place(self, due_ms: NDArray[np.int64], keys: NDArray[np.int64]) -> None:
        """Put timers into the slots that their due times name: one sort, one append per slot."""
        slot = ((due_ms >> self.shift) % SLOTS).astype(np.uint8)
        order = np.argsort(slot, kind="stable")  # by radix, for integers as short as these
        slot = slot[order]
        timers = np.stack((due_ms[order], keys[order]), axis=1).data.cast("B")
        ends = np.flatnonzero(slot[1:] != slot[:-1]) + 1
        for start, stop in pairwise([0, *ends.tolist(), len(slot)]):
            self.append(int(slot[start]), timers[start * TIMER_BYTES : stop * TIMER_BYTES])

    def append(self, slot: int, timers: Packed) -> None:
        """Add packed timers, all of which belong into `slot`."""
        assert 0 <= slot < SLOTS
        tail = self._tails.get(slot)
        if tail is None:
            tail = self._tails[slot] = bytearray(timers)
            self._occupied |= 1 << slot
        else:
            tail += timers
        if len(tail) > self._tail_bytes_max and self.shift:
            self._empty_tail(slot)

    def first(self) -> int | None:
        """The lowest occupied slot."""
        lowest_bit = self._occupied & -self._occupied
        return lowest_bit.bit_length() - 1 if lowest_bit else None

    def pop(self, slot: int) -> tuple[bytearray, Level | None]:
        """Take a slot out: its tail, and its ring if it has one."""
        self._occupied &= ~(1 << slot)
        return self._tails.pop(slot, bytearray()), self._rings.pop(slot, None)

    def count_into(self, counts: list[int], edges_ms: Sequence[int], start_ms: int) -> None:
        """Add to `counts[i]` the timers due before `edges_ms[i]` and not before the edge below it.

        The last count is of those beyond all edges. Slot 0 of this ring begins at `start_ms`. Only
        slots with an edge inside are looked into, so the cost is that of slots, not of timers.
        """
        for slot in self._tails.keys() | self._rings.keys():
            first_ms = start_ms + (slot << self.shift)
            low = bisect_right(edges_ms, first_ms)
            high = bisect_right(edges_ms, first_ms + (1 << self.shift) - 1)
            tail, ring = self._tails.get(slot), self._rings.get(slot)
            if low == high:
                counts[low] += len(tail or b"") // TIMER_BYTES + (len(ring) if ring else 0)
                continue
            if tail is not None:
                places = np.searchsorted(edges_ms, unpacked(tail)[0], side="right")
                for place, count in enumerate(np.bincount(places).tolist()):
                    counts[place] += count
            if ring is not None:
                ring.count_into(counts, edges_ms, first_ms)

    def due_at(self, rank: int, start_ms: int) -> int:
        """When the timer of this rank is due; those in a tail beside a ring are passed over.

        Slot 0 of this ring begins at `start_ms`, and it holds more than `rank` timers.
        """
        for slot in sorted(self._tails.keys() | self._rings.keys()):
            tail, ring = self._tails.get(slot, b""), self._rings.get(slot)
            first_ms = start_ms + (slot << self.shift)
            size = len(tail) // TIMER_BYTES + (len(ring) if ring else 0)
            if rank >= size:
                rank -= size
            elif ring:
                return ring.due_at(min(rank, len(ring) - 1), first_ms)
            elif self.shift:
                return int(np.partition(unpacked(tail)[0], rank)[rank])
            else:
                return first_ms
        raise AssertionError("it holds no more timers than that")

    def drop_from(self, due_ms: int, start_ms: int) -> int:
        """Forget the timers due at `due_ms` or later; returns how many they were.

        Slot 0 of this ring begins at `start_ms`.
        """
        before = len(self)
        for slot in self._tails.keys() | self._rings.keys():
            first_ms = start_ms + (slot << self.shift)
            if first_ms + (1 << self.shift) <= due_ms:
                continue
            tail, ring = self.pop(slot)
            if first_ms >= due_ms:
                continue
            times_ms, keys = unpacked(tail)
            kept = times_ms < due_ms
            if kept.any():
                self.place(times_ms[kept], keys[kept])
            if ring is not None:
                ring.drop_from(due_ms, first_ms)
            if ring:
                self._rings[slot] = ring
                self._occupied |= 1 << slot
        return before - len(self)

    @property
    def nbytes(self) -> int:
        """Memory held by timers, spare room for growth included."""
        tails = sum(tail.__sizeof__() for tail in self._tails.values())
        return tails + sum(ring.nbytes for ring in self._rings.values())

    def _empty_tail(self, slot: int) -> None:
        ring = self._rings.get(slot)
        if ring is None:
            tail_max = self._tail_bytes_max // TIMER_BYTES
            ring = self._rings[slot] = Level(self.shift - SLOT_BITS, tail_max)
        ring.place(*unpacked(self._tails.pop(slot)))
