"""An in-memory broker with the part of `chronosdb.client.Client` that the commands use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import anyio

from chronosdb.client import Client, PublishResult, StoredEvent, TopicInfo
from chronosdb.client.new_event import new_event
from chronosdb.wire.errors import ChronosError, Conflict, NotFound
from chronosdb.wire.event import Event
from chronosdb.wire.limits import MAX_CREDITS

NOW_MS = 1_900_000_000_000


@dataclass(slots=True)
class FakeDelivery:
    """One stored event as a consumer gets it."""

    stored: StoredEvent
    position: int
    attempt: int = 1
    lateness_ms: int = 2

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stored, name)


class FakeBatch(list[FakeDelivery]):
    """Deliveries that are acked together."""

    def __init__(self, broker: FakeBroker, deliveries: Sequence[FakeDelivery]) -> None:
        super().__init__(deliveries)
        self._broker = broker

    async def ack(self) -> None:
        self._broker.acked += [delivery.message_id for delivery in self]


@dataclass
class FakeBroker:
    """One partition to a topic; every event is due at once. `failure` answers every request."""

    topics_by_name: dict[str, TopicInfo] = field(default_factory=dict)
    stored: dict[str, StoredEvent] = field(default_factory=dict)
    published: list[Event] = field(default_factory=list)
    acked: list[str] = field(default_factory=list)
    terms: dict[str, Any] = field(default_factory=dict)
    connected_to: str = ""
    timeout_s: float = 0.0
    failure: BaseException | None = None

    @asynccontextmanager
    async def connect(
        self,
        addresses: str,
        *,
        timeout: float,  # noqa: ASYNC109 - the name is the contract's
    ) -> AsyncIterator[Client]:
        self.connected_to, self.timeout_s = addresses, timeout
        if self.failure is not None:
            raise self.failure
        yield cast("Client", self)

    async def create_topic(self, name: str, partitions: int = 1, **settings: int) -> TopicInfo:
        settings = settings or {"max_attempts": 5}
        info = TopicInfo(name, partitions, settings, [""] * partitions, NOW_MS)
        if self.topics_by_name.setdefault(name, info) != info:
            raise Conflict(f'topic "{name}" has other partitions')
        return info

    async def topics(self) -> list[TopicInfo]:
        return sorted(self.topics_by_name.values(), key=lambda info: info.name)

    async def topic(self, name: str) -> TopicInfo:
        if name not in self.topics_by_name:
            raise NotFound(f'there is no topic "{name}"')
        return self.topics_by_name[name]

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        message_id: str | None = None,
        acks: str | None = None,
        **facts: Any,
    ) -> PublishResult:
        name = message_id or f"made-{len(self.stored)}"
        event = new_event(payload, message_id=name, now_ms=lambda: NOW_MS, **facts)
        return (await self.publish_many(topic, [event], acks=acks))[0]

    async def publish_many(
        self, topic: str, events: Sequence[Event], *, acks: str | None = None
    ) -> list[PublishResult]:
        """All or nothing, as for the events of one partition."""
        self.terms["acks"] = acks
        await self.topic(topic)
        for event in events:
            known = self.stored.get(event.message_id or "")
            if known is not None and known.payload != event.payload:
                raise Conflict(f'message id "{event.message_id}" is taken by other content')
        return [self._store(event) for event in events]

    def _store(self, event: Event) -> PublishResult:
        assert event.message_id is not None
        known = self.stored.get(event.message_id)
        if known is not None:
            return PublishResult(event.message_id, 0, known.offset, duplicate=True)
        stored = StoredEvent(
            state="fired",
            message_id=event.message_id,
            payload=event.payload,
            meta=dict(event.meta),
            key=event.key,
            schedule_ts=NOW_MS if event.schedule_ts is None else event.schedule_ts,
            expires_ts=event.expires_ts,
            published_ts=NOW_MS,
            partition=0,
            offset=len(self.stored),
        )
        self.stored[event.message_id] = stored
        self.published.append(event)
        return PublishResult(event.message_id, 0, stored.offset, duplicate=False)

    async def get(
        self, topic: str, message_id: str, *, key: bytes | None = None
    ) -> StoredEvent | None:
        await self.topic(topic)
        found = self.stored.get(message_id)
        return found if found is not None and key in (None, found.key) else None

    @asynccontextmanager
    async def consume(
        self,
        topic: str,
        *,
        group: str,
        credits: int,  # noqa: A002 - the name is the contract's
        mode: str,
        start: str | int,
    ) -> AsyncIterator[FakeSubscription]:
        await self.topic(topic)
        self.terms = {"group": group, "credits": credits, "mode": mode, "start": start}
        yield FakeSubscription(self)


class FakeSubscription:
    """Delivers what is stored, in batches of at most two, then waits for ever."""

    def __init__(self, broker: FakeBroker) -> None:
        self._broker = broker
        self._size = 0
        waiting = enumerate(broker.stored.values())
        self._waiting = [FakeDelivery(event, position) for position, event in waiting]

    def batches(self, max_events: int = 500) -> FakeSubscription:
        assert 1 <= max_events <= MAX_CREDITS
        self._size = min(2, max_events)
        return self

    def __aiter__(self) -> FakeSubscription:
        return self

    async def __anext__(self) -> FakeBatch:
        if not self._waiting:
            await anyio.sleep_forever()
        now, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
        return FakeBatch(self._broker, now)


def refusing(error: ChronosError) -> FakeBroker:
    """A broker to which no connection can be made."""
    return FakeBroker(failure=error)
