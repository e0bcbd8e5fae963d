"""Keys whose events go to a partition of one's choice."""

from __future__ import annotations

from itertools import count

from chronosdb.wire.routing import partition_for


def key_of(partition: int, partitions: int) -> bytes:
    """A key whose events go to this one of so many partitions; always the same."""
    return next(
        key
        for key in (b"p%d" % n for n in count())
        if partition_for(key, b"", partitions) == partition
    )
