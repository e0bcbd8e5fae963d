"""Building delivery frames: positions → offsets → slices of stored records → columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from chronosdb.node.partition.due import Int64s, joined
from chronosdb.node.partition.reader import EventReader, Slice
from chronosdb.node.partition.records import ATTEMPTS_MAX
from chronosdb.sched import Grant
from chronosdb.wire import BatchBuilder
from chronosdb.wire.messages import Deliver

#: A frame is closed when it has grown past this; one event may be larger.
FRAME_BYTES: Final = 1024 * 1024


def deliveries(
    reader: EventReader,
    grants: Sequence[Grant],
    *,
    subscription: int,
    partition: int,
    sent_ms: int,
) -> Iterator[tuple[Deliver, Int64s]]:
    """The frames that carry `grants`, each with when its events were due."""
    positions = np.concatenate([np.arange(g.start, g.stop, dtype=np.int64) for g in grants])
    due_ms, offsets = joined([reader.fired(g.start, g.stop) for g in grants])
    attempts = np.repeat(
        np.array([min(g.attempt, ATTEMPTS_MAX) for g in grants], dtype=np.uint16),
        [g.stop - g.start for g in grants],
    )
    first = 0
    for slices in _frames(reader.slices(offsets)):
        builder = BatchBuilder()
        for piece in slices:
            builder.add(piece.stored.batch, piece.start, piece.stop)
        stop = first + builder.count
        yield (
            Deliver(
                subscription=subscription,
                partition=partition,
                sent_ms=sent_ms,
                positions=memoryview(positions[first:stop].tobytes()),
                offsets=memoryview(offsets[first:stop].tobytes()),
                published=memoryview(_published(slices)),
                attempts=memoryview(attempts[first:stop].tobytes()),
                batch=memoryview(builder.build(due_ms[first:stop].tobytes())),
            ),
            due_ms[first:stop],
        )
        first = stop


def _frames(slices: Iterator[Slice]) -> Iterator[list[Slice]]:
    """Slices in groups of about FRAME_BYTES."""
    frame: list[Slice] = []
    nbytes = 0
    for whole in slices:
        for piece in _bounded(whole):
            frame.append(piece)
            ends = piece.stored.batch.body_ends
            nbytes += ends[piece.stop] - ends[piece.start]
            if nbytes >= FRAME_BYTES:
                yield frame
                frame, nbytes = [], 0
    if frame:
        yield frame


def _bounded(piece: Slice) -> Iterator[Slice]:
    """A slice cut so that no part is much over FRAME_BYTES."""
    ends = piece.stored.batch.body_ends
    start = piece.start
    while start < piece.stop:
        stop = start + 1
        if ends[piece.stop] - ends[start] <= FRAME_BYTES:
            stop = piece.stop
        else:
            while stop < piece.stop and ends[stop + 1] - ends[start] <= FRAME_BYTES:
                stop += 1
        yield Slice(piece.stored, start, stop)
        start = stop


def _published(slices: Sequence[Slice]) -> bytes:
    times = np.array([piece.stored.published_ms for piece in slices], dtype=np.int64)
    return np.repeat(times, [piece.stop - piece.start for piece in slices]).tobytes()
