"""Columns: the batch, what is made of batches, and the columns beside them in replies and acks."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from random import Random
from typing import Any

import msgspec

from chronosdb.client.chunk import Chunk
from chronosdb.client.dead_letters import _letters as letters_of
from chronosdb.client.meta import decode_meta, encode_meta
from chronosdb.client.pending import _events as pending_events
from chronosdb.client.replay.event import ReplayChunk
from chronosdb.node.runs import decode_runs
from chronosdb.wire import BatchBuilder, EventBatch, Row, encode_batch
from chronosdb.wire import messages as m
from chronosdb.wire.errors import InvalidArgument, ProtocolError
from chronosdb.wire.messages.replay import ReplayBy
from tests.fuzz.samples import BATCH, FROM_SERVER, ROWS
from tests.fuzz.target import Feature, Target, complaint
from tests.fuzz.targets.wire import mend_message

_FIXED = struct.Struct("<I")


def _rows(batch: EventBatch) -> list[Row]:
    return [
        Row(
            batch.message_id(i),
            batch.due[i],
            batch.key(i) or b"",
            batch.meta(i),
            batch.payload(i),
            batch.flags[i],
            batch.expires(i),
        )
        for i in range(batch.count)
    ]


def _batch(data: bytes) -> Feature:
    """Refused, or every field can be read and together they are the same bytes again."""
    try:
        batch = EventBatch(data)
    except ProtocolError as error:
        return complaint(error)
    rows = _rows(batch)
    assert encode_batch(rows) == data
    assert [row.message_id for row in rows] == batch.ids()
    chosen = range(0, batch.count, 2)
    assert _rows(batch.select(chosen)) == rows[::2]
    assert _rows(batch.select(chosen[::-1])) == rows[::2][::-1]
    assert batch.with_due(batch.due.tobytes()).blob == data
    for i in range(min(batch.count, 8)):
        assert batch.same_content(i, batch, i)
        assert all(
            batch.same_content(i, batch, j) == batch.same_content(j, batch, i) for j in range(i)
        )
    try:
        batch.check_limits()
    except InvalidArgument as error:
        return complaint(error)
    return min(batch.count, 5)


def _builder(data: bytes) -> Feature:
    """Slices of batches joined are what encoding the same rows gives. First byte: how they are cut."""
    cuts, *blobs = data[:1], *data[1:].split(b"|cut|")
    builder, expected = BatchBuilder(), []
    for blob in blobs:
        try:
            batch = EventBatch(blob)
        except ProtocolError:
            continue
        start = (cuts[0] if cuts else 0) % (batch.count + 1)
        builder.add(batch, start, batch.count)
        expected += _rows(batch)[start:]
    if not expected:
        return None
    built = builder.build()
    assert built == encode_batch(expected)
    assert (builder.count, builder.nbytes) == (len(expected), len(built))
    due = struct.pack(f"<{len(expected)}q", *range(len(expected)))
    assert [row.due_ms for row in _rows(EventBatch(builder.build(due)))] == [*range(len(expected))]
    return min(len(expected), 5), len(blobs) > 1


def _mend_batch(data: bytes, random: Random) -> bytes:
    """A count that fits, and a last payload that takes what is left."""
    rows = [
        Row(
            data[at % (len(data) or 1) :][: random.choice((1, 4, 128, 130))],
            random.choice((0, -1, 2**62, 2**62 + 1, -(2**63))),
            data[: random.choice((0, 1, 3))],
            data[at:][: random.choice((0, 2))],
            data[:at],
            random.randrange(2),
            random.choice((None, None, 0, -(2**63), 2**62 + 1)),
        )
        for at in random.choices(range(20), k=random.randint(1, 6))
    ]
    return encode_batch([row for row in rows if len(row.message_id) < 256] or ROWS)


def _mend_builder(data: bytes, random: Random) -> bytes:
    parts = [_mend_batch(part, random) for part in data[1:].split(b"|cut|")]
    return data[:1] + b"|cut|".join(parts)


def _reply(data: bytes) -> Feature:
    """A node's columns: the client refuses what does not agree, by ProtocolError and nothing else."""
    try:
        message = m.decode_from_server(data)
        return type(message).__name__, _read(message)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ProtocolError) as error:
        return complaint(error)


def _read(message: Any) -> int | None:
    match message:
        case m.Deliver():
            chunk = Chunk(message, None)  # type: ignore[arg-type]  # nobody acks here
            return min(
                5, len([chunk.positions[i] + chunk.attempts[i] for i in range(chunk.batch.count)])
            )
        case m.Replayed():
            by: ReplayBy = "fired" if message.fired else "scheduled"
            replayed = ReplayChunk(message, by, 0)
            places = [replayed.place_after(i, 9) for i in range(replayed.batch.count)]
            return min(5, len(places))
        case m.PendingPage():
            return min(5, len(pending_events(0, message)))
        case m.DeadLettersPage():
            return min(5, len(letters_of("t.dlq", 0, message)))
    return None


def _runs(data: bytes) -> Feature:
    """An ack's runs."""
    try:
        runs = decode_runs(memoryview(data))
    except (ProtocolError, InvalidArgument) as error:
        return complaint(error)
    assert all(0 <= start < stop for start, stop in runs)
    assert struct.pack(f"<{2 * len(runs)}q", *(n for run in runs for n in run)) == data
    return min(len(runs), 3)


def _meta(data: bytes) -> Feature:
    """An event's headers."""
    try:
        found = decode_meta(data)
    except ProtocolError as error:
        return complaint(error)
    try:
        said = encode_meta(found)
    except InvalidArgument as error:
        return complaint(error)
    assert encode_meta(decode_meta(said)) == said
    return frozenset(type(value).__name__ for value in found.values())


def _reply_seeds() -> Iterator[bytes]:
    kinds = (m.Deliver, m.Replayed, m.PendingPage, m.DeadLettersPage)
    return (m.encode(message) for message in FROM_SERVER if isinstance(message, kinds))


TARGETS = (
    Target("batch", _batch, lambda: [BATCH, encode_batch(ROWS[:1])], _mend_batch),
    Target(
        "builder", _builder, lambda: [b"\1" + BATCH + b"|cut|" + BATCH], _mend_builder, (b"|cut|",)
    ),
    Target("columns_of_nodes", _reply, _reply_seeds, mend_message),
    Target("runs", _runs, lambda: [struct.pack("<4q", 0, 3, 5, 6)]),
    Target(
        "meta",
        _meta,
        lambda: [
            b"\x81\xa1k\xa1v",
            encode_meta({"a": 1, "b": 1.5, "c": None, "d": True, "e": b"x"}),
        ],
        mend_message,
    ),
)
