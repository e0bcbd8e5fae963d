"""Which partition an event belongs to.

CRC-32 (the one of zip and Ethernet) of its key, or of its message id when it has no key, modulo the
number of partitions. Golden vectors: docs/protocol.md.
"""

from __future__ import annotations

import zlib


def partition_for(key: bytes | None, message_id: bytes, partitions: int) -> int:
    """The partition of an event in a topic of `partitions` partitions."""
    return zlib.crc32(key if key is not None else message_id) % partitions
