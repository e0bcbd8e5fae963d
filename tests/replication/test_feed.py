"""What one follower of one partition is sent, when there is no log any more that it could come from."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from chronosdb.node.partition import records
from chronosdb.node.partition.epochs import EpochHistory
from chronosdb.node.replication.feed import Feed, Term
from chronosdb.node.replication.messages import BeginAnswer, Status
from chronosdb.testing.memory_disk import MemoryDisk
from chronosdb.testing.threads import InlineThreads
from chronosdb.wal import Log, LogOptions
from tests.replication.cluster import FIRST


async def test_what_a_log_had_that_was_closed_is_not_sent() -> None:
    """A term may end while its feed waits to be sent: nothing fails, and the next begins anew."""
    log = Log.open(MemoryDisk(), "/log", LogOptions(), log_id=bytes(16))
    log.append([records.epoch_begins("a", 0, 1)])
    term = SimpleNamespace(
        identity=FIRST, epoch=1, log=log, epochs=EpochHistory([(1, 0)]), high_watermark=0
    )
    feed = Feed(cast("Term", term), "b", piece_bytes=1024)
    feed.begun(BeginAnswer(Status.OK, 1, session=7))
    assert feed.backlog > 0
    log.close()
    assert await feed.append_item(1024, InlineThreads()) is None
    assert feed.must_begin
