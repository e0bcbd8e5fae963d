"""Which offsets are stored and neither fired nor cancelled; the only import of pyroaring.

Bytes, version 1: the byte 1, the CRC-32 (zlib's) of what follows as u32 little endian, then a
roaring bitmap in its portable 64-bit format. The checksum is there because the bitmap's decoder
is C code that is best not shown damaged bytes.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from typing import TYPE_CHECKING, Final

import numpy as np
from pyroaring import BitMap64

from chronosdb.sched.errors import CorruptStateError

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERSION: Final = 1
OFFSET_MAX: Final = (1 << 63) - 1

_HEADER: Final = struct.Struct("<BI")
# What a container of the bitmap costs beside its contents: its header and its place in the tree.
_CONTAINER_BYTES: Final = 64


class PendingSet:
    """A compressed set of offsets, changed and asked by the batch."""

    __slots__ = ("_bitmap",)

    def __init__(self) -> None:
        self._bitmap = BitMap64()

    def __len__(self) -> int:
        return len(self._bitmap)

    def __contains__(self, offset: int) -> bool:
        return offset in self._bitmap

    @property
    def nbytes(self) -> int:
        """Memory held by the bitmap, about, in bytes."""
        sizes = self._bitmap.get_statistics()
        contents = (
            sizes["n_bytes_array_containers"]
            + sizes["n_bytes_run_containers"]
            + sizes["n_bytes_bitset_containers"]
        )
        return contents + _CONTAINER_BYTES * sizes["n_containers"]

    def min(self) -> int | None:
        """The lowest offset pending."""
        return int(self._bitmap.min()) if self._bitmap else None

    def add_range(self, start: int, stop: int) -> None:
        """Add `[start, stop)`: a batch as it was published."""
        assert 0 <= start <= stop <= OFFSET_MAX
        self._bitmap.add_range(start, stop)

    def add_many(self, offsets: NDArray[np.int64]) -> None:
        """Add offsets, some of which may be there."""
        self._bitmap |= _bitmap_of(offsets)

    def discard_many(self, offsets: NDArray[np.int64]) -> None:
        """Take out offsets, some of which may not be there."""
        self._bitmap -= _bitmap_of(offsets)

    def filter(self, offsets: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Which of `offsets` are pending, as a mask; None if all are, which is the usual case."""
        asked = _bitmap_of(offsets)
        found = self._bitmap & asked
        if len(found) == len(asked):
            return None
        return np.isin(offsets, _offsets_of(found))

    def between(self, start: int, stop: int) -> PendingSet:
        """A copy of the part of the set in `[start, stop)`."""
        assert 0 <= start <= stop <= OFFSET_MAX
        part = PendingSet()
        part._bitmap.add_range(start, stop)
        part._bitmap &= self._bitmap
        return part

    def to_bytes(self) -> bytes:
        """The set in the format of this module's docstring."""
        self._bitmap.run_optimize()
        body: bytes = self._bitmap.serialize()
        return _HEADER.pack(VERSION, zlib.crc32(body)) + body

    @classmethod
    def from_bytes(cls, data: bytes) -> PendingSet:
        """The set that `to_bytes` encoded.

        Raises:
            CorruptStateError: these are not the bytes of a pending set of this version.
        """
        if len(data) <= _HEADER.size or data[0] != VERSION:
            raise CorruptStateError(f"not a pending set of version {VERSION}: {data[:8]!r}")
        _, checksum = _HEADER.unpack_from(data)
        body = data[_HEADER.size :]
        if zlib.crc32(body) != checksum:
            raise CorruptStateError("a stored pending set is damaged: its checksum differs")
        pending = cls()
        try:
            pending._bitmap = BitMap64.deserialize(body)
        except ValueError as error:
            raise CorruptStateError("a stored pending set is not a bitmap") from error
        return pending


def _bitmap_of(offsets: NDArray[np.int64]) -> BitMap64:
    assert offsets.dtype == np.int64
    # An array.array of this type is the one input that pyroaring reads without a loop in Python;
    # a negative offset turns into one above OFFSET_MAX, which no set ever holds.
    return BitMap64(array("Q", offsets.tobytes()))


def _offsets_of(bitmap: BitMap64) -> NDArray[np.int64]:
    return np.frombuffer(bitmap.to_array(), dtype=np.int64)
