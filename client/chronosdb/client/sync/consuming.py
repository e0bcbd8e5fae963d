"""Subscriptions, deliveries and batches without `await`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from types import TracebackType
from typing import Self

from chronosdb.client.delivery import Delivery, DeliveryBatch
from chronosdb.client.subscription import Subscription
from chronosdb.client.sync.bridge import Bridge
from chronosdb.wire.event import MetaValue


class SyncDelivery:
    """As `Delivery`. `with event:` acks when the block succeeds, and nacks when it raises."""

    __slots__ = ("_bridge", "_delivery")

    def __init__(self, bridge: Bridge, delivery: Delivery) -> None:
        self._bridge = bridge
        self._delivery = delivery

    @property
    def message_id(self) -> str:
        """The id it was published under."""
        return self._delivery.message_id

    @property
    def payload(self) -> bytes:
        """What was published."""
        return self._delivery.payload

    @property
    def meta(self) -> dict[str, MetaValue]:
        """The headers; raises ProtocolError when the publisher's bytes are none."""
        return self._delivery.meta

    @property
    def key(self) -> bytes | None:
        """The key, None without one."""
        return self._delivery.key

    @property
    def schedule_ts(self) -> int:
        """When it was due, epoch ms."""
        return self._delivery.schedule_ts

    @property
    def published_ts(self) -> int:
        """When the leader stored it, epoch ms."""
        return self._delivery.published_ts

    @property
    def partition(self) -> int:
        """Its partition."""
        return self._delivery.partition

    @property
    def offset(self) -> int:
        """Its place in publish order."""
        return self._delivery.offset

    @property
    def position(self) -> int:
        """Its place in delivery order."""
        return self._delivery.position

    @property
    def attempt(self) -> int:
        """Which delivery of it this is, from 1."""
        return self._delivery.attempt

    @property
    def lateness_ms(self) -> int:
        """How long after its due time the leader sent it."""
        return self._delivery.lateness_ms

    def ack(self) -> None:
        """See `Delivery.ack`."""
        self._bridge.call(self._delivery.ack)

    def nack(self, delay: float | None = None, reason: str = "") -> None:
        """See `Delivery.nack`."""
        self._bridge.call(partial(self._delivery.nack, delay, reason))

    def extend(self, seconds: float) -> None:
        """See `Delivery.extend`."""
        self._bridge.call(partial(self._delivery.extend, seconds))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bridge.call(partial(self._delivery.__aexit__, kind, error, traceback))

    def __repr__(self) -> str:
        return f"Sync{self._delivery!r}"


class SyncBatch:
    """As `DeliveryBatch`: deliveries that are settled together."""

    def __init__(self, bridge: Bridge, batch: DeliveryBatch) -> None:
        self._bridge = bridge
        self._batch = batch

    def __len__(self) -> int:
        return len(self._batch)

    def __iter__(self) -> Iterator[SyncDelivery]:
        return (SyncDelivery(self._bridge, delivery) for delivery in self._batch)

    def __getitem__(self, index: int) -> SyncDelivery:
        return SyncDelivery(self._bridge, self._batch[index])

    def ack(self) -> None:
        """See `DeliveryBatch.ack`."""
        self._bridge.call(self._batch.ack)

    def nack(self, delay: float | None = None, reason: str = "") -> None:
        """See `DeliveryBatch.nack`."""
        self._bridge.call(partial(self._batch.nack, delay, reason))


class SyncSubscription:
    """As `Subscription`. Several threads may iterate one: each delivery goes to one of them."""

    def __init__(self, bridge: Bridge, subscription: Subscription) -> None:
        self._bridge = bridge
        self._subscription = subscription

    def __iter__(self) -> Iterator[SyncDelivery]:
        # A delivery at a time, so that a thread that leaves its loop takes none away with it; the
        # events themselves arrive ahead, in the background.
        while (delivery := self._bridge.call(self._next)) is not None:
            yield SyncDelivery(self._bridge, delivery)

    def batches(self, max_events: int = 500) -> Iterator[SyncBatch]:
        """See `Subscription.batches`."""
        batches = self._subscription.batches(max_events)

        async def following() -> DeliveryBatch | None:
            return await anext(batches, None)

        while (batch := self._bridge.call(following)) is not None:
            yield SyncBatch(self._bridge, batch)

    async def _next(self) -> Delivery | None:
        return await anext(self._subscription, None)
