"""`connect` and the client, without `await`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial

from anyio.from_thread import start_blocking_portal

from chronosdb.client.client import Client
from chronosdb.client.connect import connect as connect_async
from chronosdb.client.pending import ChangeResult
from chronosdb.client.results import PublishResult, StoredEvent
from chronosdb.client.sync.bridge import Bridge
from chronosdb.client.sync.consuming import SyncSubscription
from chronosdb.wire import Event
from chronosdb.wire.event import Meta
from chronosdb.wire.messages import TopicInfo


@contextmanager
def connect(
    addresses: str,
    *,
    token: str | None = None,
    timeout: float = 10.0,
    client_name: str | None = None,
) -> Iterator[SyncClient]:
    """A client of the node at `addresses`; see `chronosdb.client.connect` for arguments and errors."""
    with start_blocking_portal("asyncio") as portal:
        bridge = Bridge(portal)
        client = connect_async(addresses, token=token, timeout=timeout, client_name=client_name)
        with bridge.enter(client) as db:
            yield SyncClient(bridge, db)


class SyncClient:
    """As `Client`, method for method. Thread-safe."""

    def __init__(self, bridge: Bridge, client: Client) -> None:
        self._bridge = bridge
        self._client = client

    def ping(self) -> float:
        """See `Client.ping`."""
        return self._bridge.call(self._client.ping)

    def create_topic(self, name: str, partitions: int = 1, **settings: int) -> TopicInfo:
        """See `Client.create_topic`."""
        return self._bridge.call(partial(self._client.create_topic, name, partitions, **settings))

    def topics(self) -> list[TopicInfo]:
        """See `Client.topics`."""
        return self._bridge.call(self._client.topics)

    def topic(self, name: str) -> TopicInfo:
        """See `Client.topic`."""
        return self._bridge.call(partial(self._client.topic, name))

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        message_id: str | None = None,
        key: bytes | None = None,
        meta: Meta | None = None,
        at: dt.datetime | int | None = None,
        after: float | None = None,
    ) -> PublishResult:
        """See `Client.publish`."""
        return self._bridge.call(
            partial(
                self._client.publish,
                topic,
                payload,
                message_id=message_id,
                key=key,
                meta=meta,
                at=at,
                after=after,
            )
        )

    def publish_many(self, topic: str, events: Iterable[Event]) -> list[PublishResult]:
        """See `Client.publish_many`."""
        # The iterable may be slow or use the client itself: it is walked here, not on the loop.
        return self._bridge.call(partial(self._client.publish_many, topic, list(events)))

    def get(self, topic: str, message_id: str, *, key: bytes | None = None) -> StoredEvent | None:
        """See `Client.get`."""
        return self._bridge.call(partial(self._client.get, topic, message_id, key=key))

    def pending(
        self,
        topic: str,
        *,
        start: dt.datetime | int | None = None,
        end: dt.datetime | int | None = None,
        key: bytes | None = None,
    ) -> Iterator[StoredEvent]:
        """See `Client.pending`."""
        return self._bridge.iterate(
            partial(self._client.pending, topic, start=start, end=end, key=key)
        )

    def count_pending(
        self,
        topic: str,
        *,
        start: dt.datetime | int | None = None,
        end: dt.datetime | int | None = None,
        key: bytes | None = None,
    ) -> int:
        """See `Client.count_pending`."""
        return self._bridge.call(
            partial(self._client.count_pending, topic, start=start, end=end, key=key)
        )

    def cancel(self, topic: str, message_id: str, *, key: bytes | None = None) -> ChangeResult:
        """See `Client.cancel`."""
        return self._bridge.call(partial(self._client.cancel, topic, message_id, key=key))

    def reschedule(
        self,
        topic: str,
        message_id: str,
        *,
        at: dt.datetime | int | None = None,
        after: float | None = None,
        key: bytes | None = None,
    ) -> ChangeResult:
        """See `Client.reschedule`."""
        return self._bridge.call(
            partial(self._client.reschedule, topic, message_id, at=at, after=after, key=key)
        )

    def cancel_where(
        self,
        topic: str,
        *,
        start: dt.datetime | int | None = None,
        end: dt.datetime | int | None = None,
        key: bytes | None = None,
        dry_run: bool = False,
    ) -> int:
        """See `Client.cancel_where`."""
        return self._bridge.call(
            partial(
                self._client.cancel_where, topic, start=start, end=end, key=key, dry_run=dry_run
            )
        )

    @contextmanager
    def consume(
        self,
        topic: str,
        *,
        group: str,
        credits: int = 256,  # noqa: A002 - the contract's name
        mode: str = "ordered",
        start: str | int | dt.datetime = "earliest",
    ) -> Iterator[SyncSubscription]:
        """See `Client.consume`."""
        subscription = self._client.consume(
            topic, group=group, credits=credits, mode=mode, start=start
        )
        with self._bridge.enter(subscription) as events:
            yield SyncSubscription(self._bridge, events)
