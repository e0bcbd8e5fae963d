"""How fast the disk is right now: most figures here are limited by it, and it does not hold still."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

#: What one group commit of a busy partition writes, roughly.
BLOCK_BYTES: Final = 64 * 1024
REPEATS: Final = 40


def fdatasync_ms(directory: Path) -> float:
    """The median time to make 64 KiB durable in a preallocated file of `directory`."""
    block = os.urandom(BLOCK_BYTES)
    took_ms = []
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, BLOCK_BYTES * REPEATS)
        os.fsync(file.fileno())
        for number in range(REPEATS):
            os.pwrite(file.fileno(), block, number * BLOCK_BYTES)
            started_ns = time.perf_counter_ns()
            os.fdatasync(file.fileno())
            took_ms.append((time.perf_counter_ns() - started_ns) / 1e6)
    return statistics.median(took_ms)
