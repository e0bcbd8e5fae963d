"""Building delivery frames: positions → offsets → slices of stored records → columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np

from chronosdb.node.partition.due import Int64s, joined
from chronosdb.node.partition.expiry import Sieve
from chronosdb.node.partition.reader import EventReader, Slice
from chronosdb.node.partition.records import ATTEMPTS_MAX
from chronosdb.sched import Grant
from chronosdb.wire import BatchBuilder
from chronosdb.wire.messages import Deliver

#: A frame is closed when it has grown past this; one event may be larger.
FRAME_BYTES: Final = 1024 * 1024

#: A slice, and the place of its first event among all that are granted.
_Piece = tuple[int, Slice]


def positions_of(grants: Sequence[Grant]) -> Int64s:
    """Every position granted, in order."""
    return np.concatenate([np.arange(g.start, g.stop, dtype=np.int64) for g in grants])


def deliveries(
    reader: EventReader,
    grants: Sequence[Grant],
    *,
    subscription: int,
    partition: int,
    sent_ms: int,
    sieve: Sieve,
) -> Iterator[tuple[Deliver, Int64s]]:
    """The frames that carry what `sieve` leaves of `grants`, each with when its events were due."""
    positions = positions_of(grants)
    due_ms, offsets = joined([reader.fired(g.start, g.stop) for g in grants])
    attempts = np.repeat(
        np.array([min(g.attempt, ATTEMPTS_MAX) for g in grants], dtype=np.uint16),
        [g.stop - g.start for g in grants],
    )
    for pieces in _frames(sieve.pieces(reader.slices(offsets))):
        builder = BatchBuilder()
        for _, piece in pieces:
            builder.add(piece.stored.batch, piece.start, piece.stop)
        rows = _rows(pieces, builder.count)
        yield (
            Deliver(
                subscription=subscription,
                partition=partition,
                sent_ms=sent_ms,
                positions=memoryview(positions[rows].tobytes()),
                offsets=memoryview(offsets[rows].tobytes()),
                published=memoryview(_published(pieces)),
                attempts=memoryview(attempts[rows].tobytes()),
                batch=memoryview(builder.build(due_ms[rows].tobytes())),
            ),
            due_ms[rows],
        )


def _rows(pieces: Sequence[_Piece], count: int) -> slice | Int64s:
    """The places of these events: one run of them, unless something between them was left out."""
    first, (last, piece) = pieces[0][0], pieces[-1]
    stop = last + piece.stop - piece.start
    if stop - first == count:
        return slice(first, stop)
    return np.concatenate([np.arange(at, at + p.stop - p.start) for at, p in pieces])


def _frames(pieces: Iterator[_Piece]) -> Iterator[list[_Piece]]:
    """Pieces in groups of about FRAME_BYTES."""
    frame: list[_Piece] = []
    nbytes = 0
    for at, whole in pieces:
        for piece, size in _bounded(whole):
            frame.append((at + piece.start - whole.start, piece))
            nbytes += size
            if nbytes >= FRAME_BYTES:
                yield frame
                frame, nbytes = [], 0
    if frame:
        yield frame


def _bounded(piece: Slice) -> Iterable[tuple[Slice, int]]:
    """A slice cut so that no part is much over FRAME_BYTES, each part with its bytes."""
    stored, first, last = piece
    ends = stored.batch.body_ends
    size = ends[last] - ends[first]
    return ((piece, size),) if size <= FRAME_BYTES else _cut(piece, ends)


def _cut(piece: Slice, ends: Sequence[int]) -> Iterator[tuple[Slice, int]]:
    start = piece.start
    while start < piece.stop:
        stop = start + 1
        while stop < piece.stop and ends[stop + 1] - ends[start] <= FRAME_BYTES:
            stop += 1
        yield Slice(piece.stored, start, stop), ends[stop] - ends[start]
        start = stop


def _published(pieces: Sequence[_Piece]) -> bytes:
    times = np.array([piece.stored.published_ms for _, piece in pieces], dtype=np.int64)
    return np.repeat(times, [piece.stop - piece.start for _, piece in pieces]).tobytes()
