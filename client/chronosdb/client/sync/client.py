"""`connect` and the client, without `await`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from anyio.from_thread import start_blocking_portal

from chronosdb.client.buffered import BufferedPublisher, Sent
from chronosdb.client.client import Client
from chronosdb.client.connect import connect as connect_async
from chronosdb.client.dlq import DeadLetters
from chronosdb.client.operating import Operating
from chronosdb.client.schedules import Schedules
from chronosdb.client.sync.bridge import Bridge
from chronosdb.client.sync.consuming import SyncSubscription
from chronosdb.client.sync.twin import Twin, blocking, streaming
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


class SyncDeadLetters(Twin[DeadLetters]):
    """As `DeadLetters`."""

    list = streaming(DeadLetters.list)
    inspect = blocking(DeadLetters.inspect)
    redrive = blocking(DeadLetters.redrive)
    purge = blocking(DeadLetters.purge)


class SyncSchedules(Twin[Schedules]):
    """As `Schedules`."""

    put = blocking(Schedules.put)
    get = blocking(Schedules.get)
    list = streaming(Schedules.list)
    pause = blocking(Schedules.pause)
    resume = blocking(Schedules.resume)
    delete = blocking(Schedules.delete)
    preview = blocking(Schedules.preview)


class SyncOperating(Twin[Operating]):
    """As `Operating`."""

    status = blocking(Operating.status)
    topic = blocking(Operating.topic)
    add = blocking(Operating.add)
    drain = blocking(Operating.drain)
    remove = blocking(Operating.remove)
    transfer = blocking(Operating.transfer)
    rebalance = blocking(Operating.rebalance)
    set_replication = blocking(Operating.set_replication)


class SyncSent(Twin[Sent]):
    """As `Sent`; `result()` waits."""

    result = blocking(Sent.result)


class SyncPublisher(Twin[BufferedPublisher]):
    """As `BufferedPublisher`."""

    _send = blocking(BufferedPublisher.send)
    flush = blocking(BufferedPublisher.flush)

    def send(
        self,
        payload: bytes,
        *,
        message_id: str | None = None,
        key: bytes | None = None,
        meta: Meta | None = None,
        at: dt.datetime | int | None = None,
        after: float | None = None,
        expires_at: dt.datetime | int | None = None,
        expires_after: float | None = None,
    ) -> SyncSent:
        """See `BufferedPublisher.send`."""
        sent = self._send(
            payload,
            message_id=message_id,
            key=key,
            meta=meta,
            at=at,
            after=after,
            expires_at=expires_at,
            expires_after=expires_after,
        )
        return SyncSent(self._bridge, sent)


class SyncClient(Twin[Client]):
    """As `Client`, method for method. Any number of threads may use it at once."""

    ping = blocking(Client.ping)
    stats = blocking(Client.stats)
    delete_topic = blocking(Client.delete_topic)
    topics = blocking(Client.topics)
    topic = blocking(Client.topic)
    publish = blocking(Client.publish)
    publish_many = blocking(Client.publish_many)
    get = blocking(Client.get)
    pending = streaming(Client.pending)
    count_pending = blocking(Client.count_pending)
    cancel = blocking(Client.cancel)
    cancel_where = blocking(Client.cancel_where)
    reschedule = blocking(Client.reschedule)
    replay = streaming(Client.replay)
    groups = blocking(Client.groups)
    group = blocking(Client.group)
    reset_group = blocking(Client.reset_group)
    delete_group = blocking(Client.delete_group)

    @property
    def dlq(self) -> SyncDeadLetters:
        """See `Client.dlq`."""
        return SyncDeadLetters(self._bridge, self._twin.dlq)

    @property
    def cluster(self) -> SyncOperating:
        """See `Client.cluster`."""
        return SyncOperating(self._bridge, self._twin.cluster)

    @property
    def schedules(self) -> SyncSchedules:
        """See `Client.schedules`."""
        return SyncSchedules(self._bridge, self._twin.schedules)

    def create_topic(
        self,
        name: str,
        partitions: int = 1,
        *,
        replication: int | None = None,
        min_insync: int | None = None,
        acks: str | None = None,
        retention: float | None = None,
        **settings: int,
    ) -> TopicInfo:
        """See `Client.create_topic`."""
        # By hand: with settings of any name, `self` could be meant to be one of them.
        create = partial(
            self._twin.create_topic,
            name,
            partitions,
            replication=replication,
            min_insync=min_insync,
            acks=acks,
            retention=retention,
            **settings,
        )
        return self._bridge.call(create)

    @contextmanager
    def publisher(
        self,
        topic: str,
        *,
        linger: float = 0.005,
        max_batch: int = 1000,
        max_buffered: int = 10_000,
        acks: str | None = None,
    ) -> Iterator[SyncPublisher]:
        """See `Client.publisher`."""
        publisher = self._twin.publisher(
            topic, linger=linger, max_batch=max_batch, max_buffered=max_buffered, acks=acks
        )
        with self._bridge.enter(publisher) as sends:
            yield SyncPublisher(self._bridge, sends)

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
        subscription = self._twin.consume(
            topic, group=group, credits=credits, mode=mode, start=start
        )
        with self._bridge.enter(subscription) as events:
            yield SyncSubscription(self._bridge, events)
