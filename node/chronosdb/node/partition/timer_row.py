"""A row of timers for the store: two columns of differences, each as narrow as its widest needs.

A slice and a checkpoint leave six bytes for a timer of sixteen. LevelDB writes a row some ten times
while rows of other checkpoints come to lie around it, so bytes here are what a pending event costs.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chronosdb.node.partition.due import Due, Int64s

#: How many, the earliest due time, the lowest offset, bytes of a due time, bytes of an offset.
_HEAD: Final = struct.Struct("<IqqBB")
#: Bytes of a difference, and how far it reaches.
_WIDTHS: Final = ((1, 1 << 8), (2, 1 << 16), (4, 1 << 32), (8, 1 << 64))


def packed(due: Due) -> bytes:
    """The row of these timers, of which there must be some; they keep their order."""
    first_ms, times = _differences(due.due_ms)
    lowest, offsets = _differences(due.offsets)
    head = _HEAD.pack(due.size, first_ms, lowest, times.itemsize, offsets.itemsize)
    return head + times.tobytes() + offsets.tobytes()


def unpacked(row: bytes) -> Due:
    """The timers of a row."""
    size, first_ms, lowest, time_bytes, offset_bytes = _HEAD.unpack_from(row)
    times = np.frombuffer(row, f"<u{time_bytes}", size, _HEAD.size)
    offsets = np.frombuffer(row, f"<u{offset_bytes}", size, _HEAD.size + times.nbytes)
    return Due(times.astype(np.int64) + first_ms, offsets.astype(np.int64) + lowest)


def count(row: bytes) -> int:
    """How many timers a row has."""
    size: int = _HEAD.unpack_from(row)[0]
    return size


def _differences(column: Int64s) -> tuple[int, NDArray[np.unsignedinteger]]:
    """The lowest value, and how far above it each lies; modulo 2**64, which undoes itself."""
    lowest = column.min()
    differences = (column - lowest).view(np.uint64)
    highest = int(differences.max())
    width = next(width for width, end in _WIDTHS if highest < end)
    return int(lowest), differences.astype(f"<u{width}")
