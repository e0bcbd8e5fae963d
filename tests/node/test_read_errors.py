"""A disk that fails to read while a request is served: that request gets an error, and nothing else does."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from trio.testing import MockClock

from chronosdb.node import faults
from chronosdb.testing.memory_disk import MemoryFile
from chronosdb.wal import DamagedRecord, UnreadableRecord
from chronosdb.wire.errors import ChronosError
from tests.support.in_process import START_MS, topic_broker
from tests.support.raw_client import event

HOUR_MS = 3_600_000


@contextmanager
def no_reads() -> Iterator[None]:
    """Every read of an open file fails, as of a disk that has gone bad."""

    def failing(_file: MemoryFile, _n: int, _pos: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryFile, "pread", failing)
        yield


async def test_a_failed_read_is_an_answer_and_the_connection_stays(clock: MockClock) -> None:
    async with topic_broker(clock) as (node, client):
        await client.publish(event("a", START_MS + HOUR_MS))
        # What was just written would be read from memory.
        await node.crash()
        await node.start()
        await client.reconnect()
        with no_reads(), pytest.raises(ChronosError, match="reading the log failed") as told:
            await client.get("a")
        assert (told.value.code, told.value.retryable) == ("internal", False)
        assert (await client.get("a")).state == "pending"
        await client.publish(event("b", START_MS + HOUR_MS))


def test_a_client_can_tell_a_failed_read_from_damage() -> None:
    unreadable = faults.of_log(UnreadableRecord(84, "the disk cannot be read: I/O error"))
    damaged = faults.of_log(DamagedRecord(84, "its checksum does not match its bytes"))
    assert str(unreadable).startswith("reading the log failed: no valid record at lsn 84")
    assert str(damaged).startswith("the log is damaged: no valid record at lsn 84")
