"""A replay over connections that break: at every point, and nothing is missing or twice."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import final

import anyio
import anyio.abc
import pytest
import trio
from trio.testing import MockClock

from chronosdb.client import Client, ConnectionLost, Replay, Seams, connect
from chronosdb.client.replay import source
from tests.support.in_process import START_MS, Broker, broker

EVERY_ORDER = ("offset", "published", "scheduled", "fired")
EVENTS = 24


@final
class BreakingStream(anyio.abc.ByteStream):
    """A stream that ends after so many bytes have been received."""

    def __init__(self, inner: anyio.abc.ByteStream, left: int) -> None:
        self._inner = inner
        self._left = left

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if self._left <= 0:
            await self._inner.aclose()
            raise anyio.EndOfStream
        # Small pieces, as a slow network has them.
        data = await self._inner.receive(min(max_bytes, self._left, 200))
        self._left -= len(data)
        return data

    async def send(self, item: bytes) -> None:
        await self._inner.send(item)

    async def send_eof(self) -> None:
        await self._inner.send_eof()

    async def aclose(self) -> None:
        await self._inner.aclose()


@final
class Breaking:
    """Dials a node; connections in turn break after so many bytes, and the last ones never."""

    def __init__(self, node: Broker, *after_bytes: int) -> None:
        self._node = node
        self._after_bytes = list(after_bytes)
        self.dialled = 0

    async def dial(self, host: str, port: int) -> anyio.abc.ByteStream:
        self.dialled += 1
        stream = await self._node.network.dial(host, port)
        left = self._after_bytes.pop(0) if self._after_bytes else 1 << 40
        return BreakingStream(stream, left)

    def client(self) -> AbstractAsyncContextManager[Client]:
        seams = Seams(now_ms=lambda: self._node.now_ms, unit=lambda: 0.0)
        return connect("node", stream_factory=self.dial, seams=seams)


async def fill(db: Client) -> None:
    """Events in two partitions, due in another order than published, all of them fired."""
    await db.create_topic("t", partitions=2)
    for n in range(EVENTS):
        await db.publish("t", b"payload", message_id=f"e{n}", at=START_MS + 10_000 - 7 * n)
    await trio.sleep(20)


async def seen(replay: Replay) -> list[tuple[int, int]]:
    return [(event.partition, event.offset) async for event in replay]


@pytest.fixture(autouse=True)
def _little_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small frames, so that credits and ends of frames lie between the breaks."""
    monkeypatch.setattr(source, "_AHEAD_BYTES", 1)
    monkeypatch.setattr(source, "_AHEAD_BYTES_MIN", 120)


@pytest.mark.parametrize("by", EVERY_ORDER)
async def test_a_break_at_any_point_is_not_noticed(clock: MockClock, by: str) -> None:
    """One connection ends after n bytes, the next after n more, for every n that matters."""
    async with broker(clock) as node:
        whole = Breaking(node)
        async with whole.client() as db:
            await fill(db)
            expected = await seen(db.replay("t", by=by))
        assert len(set(expected)) == EVENTS
        for after in range(1, 1000, 23):
            breaking = Breaking(node, 90 + after, 400 + after)
            async with breaking.client() as db:
                assert await seen(db.replay("t", by=by)) == expected, after
            assert breaking.dialled >= 2


async def test_the_node_restarts_between_any_two_events(clock: MockClock) -> None:
    """What is buffered is handed out, and the rest is asked for again."""
    async with broker(clock) as node, Breaking(node).client() as db:
        await fill(db)
        expected = await seen(db.replay("t", by="scheduled"))
        for at in range(EVENTS):
            found: list[tuple[int, int]] = []
            async for event in db.replay("t", by="scheduled"):
                if len(found) == at:
                    await node.restart()
                found.append((event.partition, event.offset))
            assert found == expected, at


async def test_a_node_that_stays_away_is_an_error_and_the_token_goes_on_later(
    clock: MockClock,
) -> None:
    """The deadline of requests holds here too; nothing that was handed out comes again."""
    async with broker(clock) as node, Breaking(node).client() as db:
        await fill(db)
        expected = await seen(db.replay("t", by="fired"))
        replay = db.replay("t", by="fired")
        events = [await anext(replay), await anext(replay)]
        await node.stop()
        while len(events) < EVENTS:
            try:
                events.append(await anext(replay))
            except ConnectionLost:
                break
        assert len(events) < EVENTS
        assert await seen(replay) == []
        await node.start()
        rest = await seen(db.replay("t", by="fired", token=events[-1].token))
        assert [(event.partition, event.offset) for event in events] + rest == expected


async def test_cancelling_the_wait_for_an_event_loses_none(clock: MockClock) -> None:
    """A time-out around each step, however short, and the replay goes on."""
    async with broker(clock) as node, Breaking(node, 700).client() as db:
        await fill(db)
        expected = await seen(db.replay("t", by="scheduled"))
        replay = db.replay("t", by="scheduled", speed=3)
        found: list[tuple[int, int]] = []
        timeouts = 0
        while True:
            with trio.move_on_after(0.0001) as patience:
                event = await anext(replay, None)
                if event is None:
                    break
                found.append((event.partition, event.offset))
            timeouts += patience.cancelled_caught
        assert found == expected
        assert timeouts
