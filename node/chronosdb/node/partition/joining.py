"""Small publishes of one write group become one record.

Many clients that publish single events at one time would else fill the log with records of one event:
each with a header and a checksum of its own, an entry in the cache, and a slice of its own in deliveries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final, TypeAlias

from chronosdb.node.partition import records
from chronosdb.node.partition.reader import Stored
from chronosdb.node.partition.records import Kind
from chronosdb.wal import Draft
from chronosdb.wire import BatchBuilder, EventBatch

#: Batches are joined up to this size. It is copied, so it must be cheap; larger ones stay as they came.
JOINED_BYTES: Final = 64 * 1024

#: A batch with its place, and its offsets by id.
Published: TypeAlias = tuple[Stored, Mapping[bytes, int]]


def join_small(
    drafts: Sequence[Draft], published: Sequence[Published]
) -> tuple[Sequence[Draft], Sequence[Published]]:
    """The drafts of a write group and what they publish, neighbours that are small as one.

    Offsets and the order of everything stay as they were decided.
    """
    if len(published) < 2:
        return drafts, published
    joined_drafts: list[Draft] = []
    joined: list[Published] = []
    waiting = iter(published)
    for publishes, some in groupby(drafts, lambda draft: draft.kind == Kind.PUBLISH):
        if not publishes:
            joined_drafts += some
            continue
        for run in _runs([(draft, next(waiting)) for draft in some]):
            draft, one = run[0] if len(run) == 1 else _one_of(run)
            joined_drafts.append(draft)
            joined.append(one)
    return joined_drafts, joined


_Written: TypeAlias = tuple[Draft, Published]


def _runs(written: Sequence[_Written]) -> Iterator[list[_Written]]:
    """Neighbours that are together no larger than JOINED_BYTES."""
    run: list[_Written] = []
    size = 0
    for one in written:
        nbytes = len(one[1][0].batch.blob)
        if run and size + nbytes > JOINED_BYTES:
            yield run
            run, size = [], 0
        run.append(one)
        size += nbytes
    yield run


def _one_of(run: Sequence[_Written]) -> _Written:
    builder = BatchBuilder()
    ids: dict[bytes, int] = {}
    for _, (stored, offsets) in run:
        builder.add(stored.batch, 0, stored.batch.count)
        ids.update(offsets)
    first, (start, _) = run[0]
    batch = EventBatch(builder.build())
    draft = records.publish(batch, first.ts_ms, first.epoch)
    return draft, (start._replace(batch=batch), ids)
