"""A client of a few lines on `wire.Session`: reads only when a test waits for something."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeAlias, final

import msgspec
import trio

from chronosdb.wire import EventBatch, Role, Row, Session, encode_batch
from chronosdb.wire import messages as m
from chronosdb.wire.batch import NOW, RELATIVE
from chronosdb.wire.errors import error_from_wire
from chronosdb.wire.limits import PROTOCOL_VERSION

Dial: TypeAlias = Callable[[], Awaitable[trio.abc.HalfCloseableStream]]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event as it arrived."""

    subscription: int
    partition: int
    position: int
    offset: int
    attempt: int
    message_id: str
    key: bytes | None
    raw_meta: bytes
    payload: bytes
    schedule_ts: int
    published_ms: int
    sent_ms: int
    #: The node's wall clock when the client had it.
    arrived_ms: int

    @property
    def meta(self) -> dict[str, Any]:
        return msgspec.msgpack.decode(self.raw_meta, type=dict[str, Any]) if self.raw_meta else {}


def event(
    message_id: str,
    at: int | None = None,
    payload: bytes = b"payload",
    *,
    key: bytes = b"",
    meta: dict[str, Any] | None = None,
    relative: bool = False,
) -> Row:
    """An event to publish; without `at` it is due now, as the client library says that."""
    return Row(
        message_id.encode(),
        NOW if at is None else at,
        key,
        msgspec.msgpack.encode(meta) if meta else b"",
        payload,
        RELATIVE if relative or at is None else 0,
    )


@final
class RawClient:
    """One connection."""

    def __init__(self, dial: Dial, now_ms: Callable[[], int]) -> None:
        self._dial = dial
        self._now_ms = now_ms
        self._numbers = count(1)
        self._begin()

    def _begin(self) -> None:
        self.session = Session(Role.CLIENT)
        self._stream: trio.abc.HalfCloseableStream | None = None
        self._replies: dict[int, m.Message] = {}
        self._deliveries: deque[Delivery] = deque()
        #: What came for replays, in order.
        self.streamed: list[m.Replayed | m.ReplayEnd] = []
        #: Topics that other nodes lead now, as the node said without being asked.
        self.led_anew: list[str] = []
        #: Why the node hung up, when it said so.
        self.closing: str | None = None

    @property
    def stream(self) -> trio.abc.HalfCloseableStream:
        """For tests that have something else to say than a session would."""
        assert self._stream is not None
        return self._stream

    async def connect(self) -> None:
        """Dials, and shakes hands."""
        await self.dial()
        await self.post(m.Hello(PROTOCOL_VERSION, "test"))
        await self._pump()

    async def dial(self) -> None:
        """Only dials."""
        self._stream = await self._dial()

    async def reconnect(self) -> None:
        """Hangs up and comes back, with no memory of before."""
        await self.close()
        self._begin()
        await self.connect()

    async def post(self, message: m.Message) -> None:
        """Sends without waiting for anything."""
        await self.stream.send_all(self.session.send(message))

    def number(self) -> int:
        """A request id that was not used yet."""
        return next(self._numbers)

    async def reply(self, request: int) -> m.Message:
        """The reply to a request. Raises the error that it is."""
        while request not in self._replies:
            await self._pump()
        found = self._replies.pop(request)
        if isinstance(found, m.Failed):
            raise error_from_wire(
                found.code, found.message, retryable=found.retryable, details=found.details
            )
        return found

    async def call(self, kind: type[m.Message], *fields: Any) -> Any:
        """Sends a request and waits for its reply."""
        request = self.number()
        await self.post(kind(request, *fields))
        return await self.reply(request)

    # Requests, as tests like to write them.

    async def create_topic(self, name: str = "t", partitions: int = 1, **settings: int) -> bool:
        """Whether it is new."""
        return bool((await self.call(m.CreateTopic, name, partitions, settings)).created)

    async def publish(self, *rows: Row, topic: str = "t", partition: int = 0) -> m.Published:
        request = await self.publish_later(*rows, topic=topic, partition=partition)
        reply = await self.reply(request)
        assert isinstance(reply, m.Published)
        return reply

    async def publish_later(self, *rows: Row, topic: str = "t", partition: int = 0) -> int:
        """As `publish`, without waiting; the request, whose `reply` is to be had later."""
        request = self.number()
        batch = memoryview(encode_batch(rows))
        await self.post(m.Publish(request, topic, partition, batch))
        return request

    async def get(self, message_id: str, *, topic: str = "t", partition: int = 0) -> m.GetReply:
        reply = await self.call(m.Get, topic, partition, message_id.encode())
        assert isinstance(reply, m.GetReply)
        return reply

    async def subscribe(
        self,
        group: str = "g",
        *,
        topic: str = "t",
        mode: str = "shared",
        start: str | int = "earliest",
        credit: int = 1000,
        member: str = "",
    ) -> int:
        """The number of the subscription."""
        number = self.number()
        await self.call(m.Subscribe, number, topic, group, mode, start, credit, member)
        return number

    async def unsubscribe(self, subscription: int) -> None:
        await self.call(m.Unsubscribe, subscription)

    async def ack(self, *deliveries: Delivery) -> None:
        """One request for all of them, which are of one partition."""
        await self.reply(await self.post_ack(*deliveries))

    async def post_ack(self, *deliveries: Delivery) -> int:
        """As `ack`, without waiting."""
        first, request = deliveries[0], self.number()
        runs = array("q", [n for d in deliveries for n in (d.position, d.position + 1)])
        message = m.Ack(request, first.subscription, first.partition, memoryview(runs.tobytes()))
        await self.post(message)
        return request

    async def nack(self, d: Delivery, *, delay_ms: int | None = None, reason: str = "") -> None:
        await self.call(
            m.Nack, d.subscription, d.partition, d.position, d.attempt, delay_ms, reason
        )

    async def extend(self, d: Delivery, ms: int) -> None:
        await self.call(m.Extend, d.subscription, d.partition, d.position, d.attempt, ms)

    # What comes without being asked for.

    async def events(self, n: int = 1, *, within_ms: float = 600_000) -> list[Delivery]:
        """The next `n` deliveries."""
        with trio.fail_after(within_ms / 1000):
            while len(self._deliveries) < n:
                await self._pump()
        return [self._deliveries.popleft() for _ in range(n)]

    async def next_event(self, *, within_ms: float = 600_000) -> Delivery:
        """The next delivery."""
        return (await self.events(within_ms=within_ms))[0]

    async def drain(self, ms: float = 0) -> list[Delivery]:
        """Whatever is delivered within this time; at 0, what is on its way already."""
        with trio.move_on_after(max(ms, 0.001) / 1000):
            while True:
                await self._pump()
        return self.arrived()

    def arrived(self) -> list[Delivery]:
        """What has arrived and was not asked for yet."""
        found = list(self._deliveries)
        self._deliveries.clear()
        return found

    async def closed(self) -> str:
        """Waits until the node hangs up; what it said."""
        try:
            while True:
                await self._pump()
        except trio.EndOfChannel:
            return self.closing or ""

    async def close(self) -> None:
        await self.stream.aclose()

    async def _pump(self) -> None:
        """Takes in what arrives next. Raises EndOfChannel when the node has hung up."""
        data = await self.stream.receive_some(65536)
        if not data:
            raise trio.EndOfChannel("the node closed the connection")
        self.session.receive_data(data)
        while (message := self.session.next_message()) is not None:
            if isinstance(message, m.Deliver):
                self._deliveries += _deliveries(message, self._now_ms())
            elif isinstance(message, m.Replayed | m.ReplayEnd):
                self.streamed.append(message)
            elif isinstance(message, m.LeadersChanged):
                self.led_anew.append(message.topic)
            elif isinstance(message, m.Closing):
                self.closing = message.reason
            elif (request := getattr(message, "request", None)) is not None:
                assert request not in self._replies, "a second reply"
                self._replies[request] = message


def _deliveries(frame: m.Deliver, arrived_ms: int) -> list[Delivery]:
    batch = EventBatch(frame.batch)
    positions, offsets = frame.positions.cast("q"), frame.offsets.cast("q")
    published, attempts = frame.published.cast("q"), frame.attempts.cast("H")
    assert len(positions) == len(offsets) == len(published) == len(attempts) == batch.count
    return [
        Delivery(
            frame.subscription,
            frame.partition,
            positions[i],
            offsets[i],
            attempts[i],
            batch.message_id(i).decode(errors="backslashreplace"),
            batch.key(i),
            batch.meta(i),
            batch.payload(i),
            batch.due[i],
            published[i],
            frame.sent_ms,
            arrived_ms,
        )
        for i in range(batch.count)
    ]
