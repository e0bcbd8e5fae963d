"""node/FORMAT.md says what the code writes: its hex is made again here, its tables are looked up."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pytest

from chronosdb.node.partition import records
from chronosdb.node.partition.carry import Load, Run
from chronosdb.node.partition.due import Due
from chronosdb.node.partition.records import GroupStands, Kind, RetryRow, SettleReason
from chronosdb.node.partition.state import PartitionState
from chronosdb.sched import Cursor
from chronosdb.wal import Draft, KeyValue, Log, LogOptions, MemoryKV, Record
from chronosdb.wire import EventBatch, Row, encode_batch
from chronosdb.wire.batch import RELATIVE
from tests.support.memory_disk import MemoryDisk

DOCUMENT: Final = (Path(__file__).parents[2] / "node" / "FORMAT.md").read_text()
LOG_ID: Final = (7).to_bytes(12, "big") + (0).to_bytes(4, "big")
T_MS: Final = 1_700_000_000_000


def batch() -> EventBatch:
    """One event that has everything, due in a second, and a bare one, due when it was stored."""
    meta = msgspec.msgpack.encode({"k": "v"})
    full = Row(b"pay-42", T_MS + 1000, b"u7", meta, b"hi")
    return EventBatch(encode_batch([full, Row(b"a", T_MS, b"", b"", b"!", RELATIVE)]))


def third() -> EventBatch:
    """An event that will be moved, and then cancelled."""
    return EventBatch(encode_batch([Row(b"b", T_MS + 5000, b"", b"", b"?")]))


def life() -> list[Draft]:
    """The records of the document's example, in order."""
    second = T_MS + 1000
    moved = due({2: T_MS + 9000})
    return [
        records.epoch_begins("n1", T_MS, 1),
        records.publish(batch(), T_MS, 1),
        records.group("billing", 0, T_MS, 1),
        records.fire(due({1: T_MS, 0: second}), second, 1),
        records.retry("billing", [RetryRow(0, 2, T_MS + 2000)], second, 1),
        records.settle("billing", SettleReason.ACKED, [(1, 2)], second, 1),
        records.publish(third(), second, 1),
        records.move(moved, second, 1),
        records.cancel(moved.offsets, second, 1),
        carried(),
        records.groups([billing()], second, 1),
    ]


def carried() -> Draft:
    """Both events of the first batch, which have fired."""
    load = Load([Run(0, T_MS, batch(), np.frombuffer(batch().due, np.int64), 0, 2)])
    return load.draft(load.due_ms, np.zeros(2, np.bool_), T_MS + 1000, 1)


def billing() -> GroupStands:
    """The group after all of it."""
    retries = records.retries("billing", [RetryRow(0, 2, T_MS + 2000)])
    cursor = Cursor(0)
    cursor.settle(1, 2)
    return GroupStands(retries, cursor.to_bytes(), T_MS)


def due(times: dict[int, int]) -> Due:
    """Offsets and when they are due."""
    return Due(np.array(list(times.values())), np.array(list(times)))


def log_of_life(*more: Draft) -> Log:
    """The example as a log, and perhaps more after it."""
    disk = MemoryDisk()
    disk.mkdir("/log")
    log = Log.open(disk, "/log", LogOptions(), log_id=LOG_ID)
    log.append([*life(), *more])
    log.sync()
    return log


def examples() -> list[bytes]:
    """The bytes of each hex block."""
    blocks = re.findall(r"^```hex\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    return [bytes.fromhex(re.sub("#.*", "", block)) for block in blocks]


def row(record: Record) -> str:
    """What the example's table says of a record's header."""
    facts = (record.ts_ms - T_MS, record.offset, record.offsets, record.position, record.positions)
    return f"| {Kind(record.kind).name} | {' | '.join(map(str, facts))} |"


def stored_views() -> KeyValue:
    """The views of the example and of an event still pending, as a checkpoint leaves them."""
    pending = EventBatch(encode_batch([Row(b"later", T_MS + 9000, b"", b"", b"?")]))
    log = log_of_life(records.publish(pending, T_MS + 1000, 1))
    store = MemoryKV()
    state = PartitionState(log, LOG_ID, store, T_MS)
    state.recover()
    state.begin_checkpoint().write()
    return store


def test_each_body_is_as_shown() -> None:
    """The hex blocks are the bodies of the example's records, byte for byte."""
    written = [b"".join(draft.body) for draft in life()]
    assert [body.hex(" ") for body in examples()] == [body.hex(" ") for body in written]


def test_each_header_is_as_shown() -> None:
    """The table holds time, offsets and positions of the example's records, in order."""
    rows = [row(record) for record in log_of_life().scan()]
    assert [line for line in DOCUMENT.splitlines() if line in rows] == rows


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_is_documented(kind: Kind) -> None:
    """The table of kinds has each name with its number."""
    assert re.search(rf"^\| `{kind.name}` \| {kind.value} \|", DOCUMENT, re.MULTILINE)


def test_no_kind_is_left_out_of_the_example() -> None:
    """The example shows every kind."""
    assert {draft.kind for draft in life()} == set(Kind)


def test_the_views_hold_the_rows_that_are_listed() -> None:
    """A checkpoint writes rows of each documented prefix, and of no other."""
    section = DOCUMENT.split("\n## Views\n")[1]
    prefixes = [
        key.encode() for key in re.findall(r"^\| `([a-z:]+)[^`]*` \|", section, re.MULTILINE)
    ]
    keys = [key for key, _ in stored_views().scan()]
    owners = [[p for p in prefixes if key.startswith(p)] for key in keys]
    assert sorted({prefix for found in owners for prefix in found}) == sorted(prefixes)
    assert [key for key, found in zip(keys, owners, strict=True) if len(found) != 1] == []
