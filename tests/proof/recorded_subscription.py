"""Deliveries on record, and what is done with them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, overload

from chronosdb.client import Delivery, DeliveryBatch, Subscription
from tests.proof.history import content_of

if TYPE_CHECKING:
    from tests.proof.recorded import Recorded


class RecordedSubscription:
    """What `Recorded.consume` gives: an iterator of deliveries, or of batches."""

    def __init__(
        self, db: Recorded, inner: Subscription, topic: str, group: str, member: str
    ) -> None:
        self._db = db
        self._inner = inner
        self._place = {"topic": topic, "group": group}
        self._member = member

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RecordedDelivery:
        """The next delivery."""
        inner = await anext(self._inner)
        self.saw((inner,))
        return RecordedDelivery(self, inner)

    def batches(self, max_events: int = 500) -> AsyncIterator[RecordedBatch]:
        """As the client's."""
        return _Batches(self, self._inner.batches(max_events))

    async def settle(self, f: str, inner: Delivery | DeliveryBatch, **more: Any) -> None:
        """Acks, nacks or extends, on record."""
        deliveries = [inner] if isinstance(inner, Delivery) else list(inner)
        args = {**self._place, **_leases(deliveries), **more}
        await self._db.ask(
            f, args, _work(f, inner, more), lambda _: {}, proc=self._member, events=len(deliveries)
        )

    def saw(self, deliveries: Sequence[Delivery]) -> None:
        """Files what has come."""
        columns: dict[str, Any] = {
            "partition": [d.partition for d in deliveries],
            "position": [d.position for d in deliveries],
            "offset": [d.offset for d in deliveries],
            "attempt": [d.attempt for d in deliveries],
            "id": [d.message_id for d in deliveries],
            "due": [d.schedule_ts for d in deliveries],
            "content": [content_of(d.key, d.meta, d.payload) for d in deliveries],
            "sent_ms": [d.schedule_ts + d.lateness_ms for d in deliveries],
        }
        self._db.recorder.saw("deliver", {**self._place, **columns}, self._member)


class RecordedDelivery:
    """One delivery. `event` is the client's own."""

    __slots__ = ("_subscription", "event")

    def __init__(self, subscription: RecordedSubscription, event: Delivery) -> None:
        self._subscription = subscription
        self.event = event

    async def ack(self) -> None:
        """As the client's."""
        await self._subscription.settle("ack", self.event)

    async def nack(self, delay: float | None = None, reason: str = "") -> None:
        """As the client's."""
        await self._subscription.settle("nack", self.event, delay=delay, reason=reason)

    async def extend(self, seconds: float) -> None:
        """As the client's."""
        await self._subscription.settle("extend", self.event, seconds=seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            await self.ack()
        elif isinstance(error, Exception):
            await self.nack(reason=str(error))


class RecordedBatch(Sequence[RecordedDelivery]):
    """Deliveries that came together."""

    def __init__(
        self, subscription: RecordedSubscription, inner: DeliveryBatch, events: Sequence[Delivery]
    ) -> None:
        self._subscription = subscription
        self._inner = inner
        self._events = events

    async def ack(self) -> None:
        """As the client's."""
        await self._subscription.settle("ack", self._inner)

    async def nack(self, delay: float | None = None, reason: str = "") -> None:
        """As the client's."""
        await self._subscription.settle("nack", self._inner, delay=delay, reason=reason)

    def __len__(self) -> int:
        return len(self._events)

    @overload
    def __getitem__(self, index: int) -> RecordedDelivery: ...
    @overload
    def __getitem__(self, index: slice) -> list[RecordedDelivery]: ...
    def __getitem__(self, index: int | slice) -> RecordedDelivery | list[RecordedDelivery]:
        if isinstance(index, slice):
            return [RecordedDelivery(self._subscription, event) for event in self._events[index]]
        return RecordedDelivery(self._subscription, self._events[index])

    def __iter__(self) -> Iterator[RecordedDelivery]:
        for event in self._events:
            yield RecordedDelivery(self._subscription, event)


class _Batches:
    def __init__(
        self, subscription: RecordedSubscription, inner: AsyncIterator[DeliveryBatch]
    ) -> None:
        self._subscription = subscription
        self._inner = inner

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RecordedBatch:
        batch = await anext(self._inner)
        deliveries = list(batch)
        self._subscription.saw(deliveries)
        return RecordedBatch(self._subscription, batch, deliveries)


async def _work(f: str, inner: Delivery | DeliveryBatch, more: dict[str, Any]) -> None:
    if f == "ack":
        await inner.ack()
    elif f == "nack":
        await inner.nack(**more)
    else:
        assert isinstance(inner, Delivery), "a batch is not extended"
        await inner.extend(**more)


def _leases(deliveries: Sequence[Delivery]) -> dict[str, Any]:
    return {
        "partition": [d.partition for d in deliveries],
        "position": [d.position for d in deliveries],
        "attempt": [d.attempt for d in deliveries],
    }
