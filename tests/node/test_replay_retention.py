"""Replays of a log whose oldest part has been deleted, before they begin or while they run."""

from __future__ import annotations

from typing import final

import pytest
from trio.testing import MockClock

from chronosdb.client import Client
from chronosdb.client.replay import source
from chronosdb.node.replay import schedule
from chronosdb.wal.log_reader import LogReader
from chronosdb.wal.record import Point
from chronosdb.wire.errors import NotFound
from tests.support.in_process import START_MS, broker

EVENTS = 40
KEPT_FROM = 20


@final
class Scissors:
    """Lets every log begin at the record of an offset, as if the segments before were deleted."""

    def __init__(self) -> None:
        self._whole = LogReader.start.__get__
        self._offset = 0

    def cut(self, offset: int) -> None:
        """From now on; 0: the logs are whole again, as the rest of the node needs them here."""
        self._offset = offset

    def start(self, reader: LogReader) -> Point:
        """In the place of `LogReader.start`."""
        whole: Point = self._whole(reader)
        offset, self._offset = self._offset, 0  # to look it up, the log must be whole
        try:
            if not offset or reader.tail.offset <= offset:
                return whole
            record = reader.at_offset(offset)
            return Point(record.lsn, record.offset, record.position, record.ts_ms)
        finally:
            self._offset = offset


@pytest.fixture
def scissors(monkeypatch: pytest.MonkeyPatch) -> Scissors:
    """Also lets little be sent ahead, so that a cut comes in the middle."""
    monkeypatch.setattr(source, "_AHEAD_BYTES", 1)
    monkeypatch.setattr(source, "_AHEAD_BYTES_MIN", 60)
    monkeypatch.setattr(schedule, "_WINDOW", 4)
    blades = Scissors()
    monkeypatch.setattr(LogReader, "start", property(blades.start))
    return blades


async def fill(db: Client) -> None:
    await db.create_topic("t")
    for n in range(EVENTS):
        await db.publish("t", b"", message_id=f"e{n}", at=START_MS - 1000 + n)


@pytest.mark.parametrize("by", ["offset", "published", "scheduled", "fired"])
async def test_what_is_deleted_while_it_is_replayed_is_an_error(
    clock: MockClock, scissors: Scissors, by: str
) -> None:
    """Never silence: the error names the oldest that is left."""
    async with broker(clock) as node, node.library(timeout_s=60) as db:
        await fill(db)
        replay = db.replay("t", by=by)
        first = await anext(replay)
        scissors.cut(KEPT_FROM)
        with pytest.raises(NotFound, match=f"stored from offset {KEPT_FROM} and position") as gone:
            [event async for event in replay]
        assert gone.value.details["offset"] == KEPT_FROM
        assert [event async for event in replay] == []
        if by != "scheduled":
            with pytest.raises(NotFound, match="has been deleted"):
                await anext(db.replay("t", by=by, token=first.token))
        scissors.cut(0)


async def test_a_replay_without_a_start_begins_at_the_oldest(
    clock: MockClock, scissors: Scissors
) -> None:
    """An offset that was deleted is an error; a time before the oldest is not."""
    async with broker(clock) as node, node.library(timeout_s=60) as db:
        await fill(db)
        scissors.cut(KEPT_FROM)
        kept = list(range(KEPT_FROM, EVENTS))
        for by in ("offset", "published", "scheduled", "fired"):
            assert [e.offset async for e in db.replay("t", by=by)] == kept
            start = KEPT_FROM if by == "offset" else 0
            assert [e.offset async for e in db.replay("t", by=by, start=start)] == kept
        with pytest.raises(NotFound, match="begin there, or without a start"):
            await anext(db.replay("t", start=KEPT_FROM - 1))
        scissors.cut(0)
