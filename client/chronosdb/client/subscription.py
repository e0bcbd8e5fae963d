"""What an application holds while it consumes: an iterator of deliveries, and the way back for acks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Self

from chronosdb.client.arguments import check_count
from chronosdb.client.attachment import Attachment
from chronosdb.client.chunk import Slice
from chronosdb.client.delivery import Delivery, DeliveryBatch
from chronosdb.client.inbox import Inbox
from chronosdb.client.membership import Membership
from chronosdb.client.reply import Reply
from chronosdb.client.runs import Run
from chronosdb.wire import messages as m
from chronosdb.wire.errors import LeaseLost, NotLeader
from chronosdb.wire.limits import MAX_CREDITS


class Subscription:
    """The deliveries to one member. Several tasks may iterate over it; each event goes to one."""

    def __init__(self, membership: Membership, inbox: Inbox) -> None:
        self._membership = membership
        self._inbox = inbox

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delivery:
        """The next delivery.

        One that is buffered is handed out without a pause: a loop that never waits, not even for an
        ack, comes to a stop here when the credits are spent.
        """
        if not await self._inbox.arrival():
            raise StopAsyncIteration
        [(chunk, index, _)] = self.take(1)
        return Delivery(self, chunk, index)

    def batches(self, max_events: int = 500) -> AsyncIterator[DeliveryBatch]:
        """Deliveries in batches of at most `max_events`: whatever is there, without waiting for more.

        Raises:
            InvalidArgument: `max_events` is not a positive int.
        """
        return _Batches(self, self._inbox, check_count("max_events", max_events, 1, MAX_CREDITS))

    def take(self, limit: int) -> list[Slice]:
        """Hand out at most `limit` of the deliveries that are there."""
        taken = self._inbox.take(limit)
        # The last of the buffer: credits that were kept back for company go now, because an
        # application that settles nothing of what it has in hand would wait for ever.
        self._membership.return_credits()
        return taken

    async def ack(self, slices: Sequence[Slice]) -> None:
        """Settle deliveries; see `Delivery.ack`."""
        runs: defaultdict[int, list[Run]] = defaultdict(list)
        for part in slices:
            runs[part.chunk.partition] += part.runs()
        self._settle(slices)
        await self._membership.retry(lambda: self._ack_once(runs))

    async def nack(
        self, slices: Sequence[Slice], delay_ms: int | None, reason: str
    ) -> list[LeaseLost]:
        """Give deliveries back; see `Delivery.nack`. One error for each that was lost."""
        self._settle(slices)
        return await self._membership.retry(lambda: self._nack_once(slices, delay_ms, reason))

    def nack_soon(self, slices: Sequence[Slice], reason: str) -> None:
        """Give deliveries back without waiting for the answer."""
        self._settle(slices)
        for part in slices:
            with suppress(LeaseLost):
                self._ask_nacks(part, None, reason)

    async def extend(self, event: Slice, extend_ms: int) -> None:
        """Move a delivery's deadline; see `Delivery.extend`."""
        await self._membership.retry(lambda: self._extend_once(event, extend_ms))

    def _settle(self, slices: Sequence[Slice]) -> None:
        self._inbox.settle(slices)
        self._membership.return_credits()

    async def _ack_once(self, runs: dict[int, list[Run]]) -> None:
        # What can be sent now does not wait for a partition that has no leader. Usually that is all of
        # it, without a pause, so that more acks share a frame.
        asked: list[tuple[int, Attachment, Reply]] = []
        later: list[int] = []
        for number, its in runs.items():
            attachment = self._membership.attached(number)
            if attachment is None:
                later.append(number)
            else:
                asked += [(number, attachment, reply) for reply in attachment.ack(number, its)]
        for number in later:
            attachment = await self._membership.attachment(number)
            asked += [(number, attachment, reply) for reply in attachment.ack(number, runs[number])]
        for number, attachment, reply in asked:
            await self._membership.settled(number, attachment, reply)

    async def _nack_once(
        self, slices: Sequence[Slice], delay_ms: int | None, reason: str
    ) -> list[LeaseLost]:
        lost: list[LeaseLost] = []
        replies: list[Reply] = []
        for part in slices:
            try:
                replies += self._ask_nacks(part, delay_ms, reason)
            except LeaseLost as error:
                lost.append(error)
        for reply in replies:
            try:
                await _kept(reply)
            except LeaseLost as error:
                lost.append(error)
        return lost

    def _ask_nacks(self, part: Slice, delay_ms: int | None, reason: str) -> list[Reply]:
        attachment, chunk = self._membership.lessee(part), part.chunk
        return [
            attachment.nack(
                chunk.partition, chunk.positions[i], chunk.attempts[i], delay_ms, reason
            )
            for i in range(part.start, part.stop)
        ]

    async def _extend_once(self, event: Slice, extend_ms: int) -> None:
        chunk, index, _ = event
        attachment = self._membership.lessee(event)
        position, attempt = chunk.positions[index], chunk.attempts[index]
        await _kept(attachment.extend(chunk.partition, position, attempt, extend_ms))


class _Batches:
    # Not an async generator: one that a caller leaves half-way would have to be closed by hand.
    def __init__(self, subscription: Subscription, inbox: Inbox, max_events: int) -> None:
        self._subscription = subscription
        self._inbox = inbox
        self._max_events = max_events

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> DeliveryBatch:
        if not await self._inbox.arrival():
            raise StopAsyncIteration
        return DeliveryBatch(self._subscription, self._subscription.take(self._max_events))


async def _kept(reply: Reply) -> None:
    """Wait until the node has done what only the holder of a lease may ask; raises LeaseLost."""
    try:
        await reply.wait(m.Done)
    except NotLeader as error:
        raise LeaseLost(f"the lease ended with its leader's term: {error.message}") from None
