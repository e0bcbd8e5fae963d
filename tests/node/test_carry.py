"""Carried events: as they are packed, as they are found again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronosdb.node.partition import records
from chronosdb.node.partition.carried import CarriedIndex
from chronosdb.node.partition.carry import Carry
from chronosdb.node.partition.due import Due
from chronosdb.node.partition.prefix import Prefix
from chronosdb.sched import PendingSet
from chronosdb.wal import Draft, Log, LogOptions, MemoryKV, OutOfRange
from chronosdb.wire import EventBatch, Row, encode_batch
from tests.support.memory_disk import MemoryDisk

LOG_ID = bytes(16)


def log_of(*drafts: Draft) -> Log:
    """A log of these records."""
    disk = MemoryDisk()
    disk.mkdir("/log")
    log = Log.open(disk, "/log", LogOptions(), log_id=LOG_ID)
    log.append(drafts)
    log.sync()
    return log


def batch(start: int, sizes: list[int]) -> Draft:
    """Events with payloads of these sizes, due at 1000 + their offset."""
    rows = [
        Row(b"id %d" % (start + i), 1000 + start + i, b"", b"", b"%d" % (i % 10) * size)
        for i, size in enumerate(sizes)
    ]
    return records.publish(EventBatch(encode_batch(rows)), start, 1)


def offsets(*numbers: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """As a column."""
    return np.array(numbers, np.int64)


@settings(max_examples=30)
@given(
    st.lists(st.lists(st.integers(0, 300), min_size=1, max_size=30), min_size=1, max_size=8),
    st.sets(st.integers(0, 239)),
    st.sets(st.integers(0, 239)),
    st.integers(50, 3000),
)
def test_what_is_neither_fired_nor_cancelled_is_carried_whole(
    batches: list[list[int]], fired: set[int], cancelled: set[int], load_bytes: int
) -> None:
    """In records of about the wanted size, each event once, each found by its offset."""
    drafts, count = [], 0
    for sizes in batches:
        drafts.append(batch(count, sizes))
        count += len(sizes)
    over = offsets(*sorted(fired))
    drafts.append(records.fire(Due(over, over), count, 1))
    gone = PendingSet()
    gone.add_many(offsets(*cancelled))
    log = log_of(*drafts)
    loads = [load for load in Prefix(log, log.end_lsn, gone, load_bytes=load_bytes).loads() if load]
    wanted = sorted(set(range(count)) - fired - cancelled)
    assert [o for load in loads for o in load.offsets.tolist()] == wanted
    index = CarriedIndex(MemoryKV(), log)
    carries = {}
    for load in loads:
        assert load.nbytes <= load_bytes + 8 or len(load.offsets) == 1
        mask = np.ones(len(load.offsets), np.bool_)
        [record] = log.append([load.draft(load.due_ms, mask, count, 1)])
        carries[record.lsn] = Carry(record)
        index.add(carries[record.lsn])
    sizes = [size for one in batches for size in one]
    for offset in range(count):
        lsn = index.find(offset)
        assert (lsn is not None) == (offset in wanted)
        if lsn is not None:
            run = carries[lsn].run_with(offset)
            i = run.first + offset - run.offset
            assert run.batch.message_id(i) == b"id %d" % offset
            assert (run.due_ms[i], len(run.batch.payload(i))) == (1000 + offset, sizes[offset])


def test_a_move_is_carried_once_and_for_all() -> None:
    """Also when the event is carried again, of the record that carried it."""
    moved = Due(offsets(7777), offsets(1))
    log = log_of(batch(0, [1, 1, 1]), records.move(moved, 5, 1))
    [first] = [load for load in Prefix(log, log.end_lsn, PendingSet()).loads() if load]
    assert first.due_ms.tolist() == [1000, 7777, 1002]
    again = log_of(first.draft(first.due_ms, np.ones(3, np.bool_), 6, 1))
    [second] = [load for load in Prefix(again, again.end_lsn, PendingSet()).loads() if load]
    assert second.due_ms.tolist() == [1000, 7777, 1002]
    [record] = again.scan()
    assert list(Carry(record).batch.due) == [1000, 1001, 1002]


def test_the_newest_record_is_found_before_and_after_a_checkpoint() -> None:
    """And rows of older ones are removed without harming it."""
    log = log_of(batch(0, [1] * 10))
    index = CarriedIndex(MemoryKV(), log)
    lsns = []
    for _ in range(2):
        [load] = [one for one in Prefix(log, log.end_lsn, PendingSet()).loads() if one]
        [record] = log.append([load.draft(load.due_ms, np.ones(10, np.bool_), 20, 1)])
        index.add(Carry(record))
        lsns.append(record.lsn)
    assert index.find(3) == lsns[1]
    store = index._store
    store.write(index.begin_checkpoint())
    assert index.find(3) == lsns[1]
    index.end_checkpoint()
    assert index.find(3) == lsns[1]
    prefix = Prefix(log, lsns[1], PendingSet())
    list(prefix.loads())
    index.forget(prefix.carries)
    assert (index.find(3), index.find(10)) == (lsns[1], None)


def test_an_offset_that_was_not_carried_is_out_of_range() -> None:
    """Though its neighbours were."""
    log = log_of(batch(0, [1] * 5))
    gone = PendingSet()
    gone.add_many(offsets(2))
    [load] = [one for one in Prefix(log, log.end_lsn, gone).loads() if one]
    [record] = log.append([load.draft(load.due_ms, np.ones(4, np.bool_), 9, 1)])
    for offset in (2, 5):
        with pytest.raises(OutOfRange, match=f"offset {offset}"):
            Carry(record).run_with(offset)
