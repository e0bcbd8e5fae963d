"""Every setting of a log, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chronosdb.wal.codec import BODY_BYTES_MAX
from chronosdb.wal.errors import TooLarge
from chronosdb.wal.record import HEADER_BYTES
from chronosdb.wal.segment import SEGMENT_HEADER_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """Limits and sizes of one log, in bytes. A process may change them between two runs."""

    segment_bytes: int = 512 * MIB
    """Size at which the log goes on in a new file. No file is ever larger."""

    max_record_bytes: int = 64 * MIB
    """Largest body that may be appended. Reading is bound by the format alone, so that lowering
    this never makes an old record look damaged."""

    index_interval_bytes: int = 4 * KIB
    """Distance between two entries of the sparse index: 32 bytes of memory each, and about this
    much to scan per lookup."""

    disk_reserve_bytes: int = 32 * MIB
    """Free space that only emergency reservations may use, so that what is already stored can
    still fire and be settled on a full disk."""

    disk_floor_bytes: int = 0
    """Free space that no log takes, not even in an emergency: others have to write, too."""

    allocate_min_bytes: int = 64 * KIB
    """First preallocation in a segment; each later one is twice as large: idle logs stay small."""

    allocate_max_bytes: int = 16 * MIB
    """Largest preallocation: busy logs allocate rarely, and waste at most this much."""

    scan_bytes: int = 256 * KIB
    """How much a scan reads at a time."""

    open_files_max: int = 4
    """Segments one log keeps open, and sealed indexes it keeps in memory, for reading."""

    def __post_init__(self) -> None:
        largest = HEADER_BYTES + self.max_record_bytes
        checks = {
            "max_record_bytes must be 1 up to what the format allows": (
                1 <= self.max_record_bytes <= BODY_BYTES_MAX
            ),
            "segment_bytes must hold the largest record": self.group_bytes_max >= largest,
            "index_interval_bytes must be positive": self.index_interval_bytes >= 1,
            "disk_floor_bytes must be from 0 to disk_reserve_bytes": (
                0 <= self.disk_floor_bytes <= self.disk_reserve_bytes
            ),
            "allocate_min_bytes must be positive and at most allocate_max_bytes": (
                1 <= self.allocate_min_bytes <= self.allocate_max_bytes
            ),
            "scan_bytes must hold a record header": self.scan_bytes >= HEADER_BYTES,
            "open_files_max must be positive": self.open_files_max >= 1,
        }
        wrong = [message for message, holds in checks.items() if not holds]
        if wrong:
            raise ValueError("; ".join(wrong))

    @property
    def group_bytes_max(self) -> int:
        """Largest group one append may carry: a group never spans two segments."""
        return self.segment_bytes - SEGMENT_HEADER_BYTES

    def group_bytes(self, sizes: Iterable[int]) -> int:
        """Bytes of a group of records of these sizes, header and body.

        Raises:
            TooLarge: one of them, or the group, may not be appended.
        """
        total = 0
        largest = HEADER_BYTES + self.max_record_bytes
        for nbytes in sizes:
            if nbytes > largest:
                raise TooLarge(
                    f"a body of {nbytes - HEADER_BYTES} bytes exceeds max_record_bytes, "
                    f"{self.max_record_bytes}"
                )
            total += nbytes
        self.check_group(total)
        return total

    def check_group(self, nbytes: int) -> None:
        """Raises TooLarge if a group of so many bytes fits into no segment."""
        if nbytes > self.group_bytes_max:
            raise TooLarge(
                f"a group of {nbytes} bytes does not fit into a segment, which takes "
                f"{self.group_bytes_max}: split it"
            )
