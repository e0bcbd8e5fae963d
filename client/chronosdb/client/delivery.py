"""What an application receives: one delivery, or a batch of them. Fields are decoded when asked for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from types import TracebackType
from typing import Protocol, Self, overload

from chronosdb.client.arguments import span_ms
from chronosdb.client.chunk import Chunk, Slice
from chronosdb.client.event_view import EventView
from chronosdb.wire.errors import ChronosError, LeaseLost
from chronosdb.wire.limits import MAX_DELAY_MS, MAX_EXTEND_MS, MAX_REASON_CHARS


class Settler(Protocol):
    """What a delivery needs of its subscription."""

    async def ack(self, slices: Sequence[Slice]) -> None:
        """Settle; returns when that is durable."""

    async def nack(
        self, slices: Sequence[Slice], delay_ms: int | None, reason: str
    ) -> list[LeaseLost]:
        """Give back; one error for each that was no longer ours to give."""

    def nack_soon(self, slices: Sequence[Slice], reason: str) -> None:
        """Give back without waiting for the answer."""

    async def extend(self, event: Slice, extend_ms: int) -> None:
        """Move the ack deadline; raises LeaseLost."""


class Delivery(EventView[Chunk]):
    """One event, leased to this member until it is acked, given back, or its ack timeout passes.

    As a context manager it acks when the block succeeds and nacks when it fails, with the error's type
    and text as the reason; the error passes on. A cancelled block gives the event back too.
    """

    __slots__ = ("_settler",)

    def __init__(self, settler: Settler, chunk: Chunk, index: int) -> None:
        # Not by way of the base class: this is done for each event.
        self._chunk = chunk
        self._index = index
        self._settler = settler

    @property
    def position(self) -> int:
        """Its place in the partition's delivery order."""
        return self._chunk.positions[self._index]

    @property
    def attempt(self) -> int:
        """1 for the first delivery to this group, then one more each time.

        One that was in flight when the node went down comes with its number again.
        """
        return self._chunk.attempts[self._index]

    @property
    def lateness_ms(self) -> int:
        """From `schedule_ts` until the leader sent this delivery, on the leader's clock; never below 0.

        On a further attempt it includes the attempts before.
        """
        return self._chunk.sent_ms - self.schedule_ts

    async def ack(self) -> None:
        """Settle it: it is not delivered to this group again. Returns when that is durable.

        Counts also after the lease was lost, and over a reconnect. Acking twice is harmless.
        """
        await self._settler.ack((self._slice,))

    async def nack(self, delay: float | None = None, reason: str = "") -> None:
        """Give it back, to be delivered again after `delay` seconds (None: the group's back-off).

        `reason` is kept for the dead-letter topic, cut to 1,024 characters.

        Raises:
            LeaseLost: it is no longer yours to give back.
        """
        delay_ms = None if delay is None else span_ms("delay", delay, MAX_DELAY_MS)
        lost = await self._settler.nack((self._slice,), delay_ms, _fitting(reason))
        if lost:
            raise lost[0]

    async def extend(self, seconds: float) -> None:
        """Ask for `seconds` more from now before the ack timeout.

        Raises:
            LeaseLost: it is no longer yours.
        """
        await self._settler.extend(self._slice, span_ms("seconds", seconds, MAX_EXTEND_MS))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._chunk.settled[self._index]:
            return  # the block has decided for itself
        if error is None:
            await self.ack()
        elif isinstance(error, Exception):
            try:
                await self.nack(reason=f"{type(error).__name__}: {error}")
            except ChronosError:
                # The handler's error is the news. Without the nack the ack timeout gives it back.
                return
        else:
            # Cancelled: no time to wait for an answer.
            self._settler.nack_soon((self._slice,), type(error).__name__)

    def __repr__(self) -> str:
        return (
            f"<Delivery {self.message_id!r} partition={self.partition} position={self.position}"
            f" attempt={self.attempt}>"
        )

    @property
    def _slice(self) -> Slice:
        return Slice(self._chunk, self._index, self._index + 1)


class DeliveryBatch(Sequence[Delivery]):
    """Deliveries that arrived together. Counting and acking them touches no single event."""

    __slots__ = ("_ends", "_settler", "_slices")

    def __init__(self, settler: Settler, slices: Sequence[Slice]) -> None:
        assert slices, "a batch holds at least one delivery"
        self._settler = settler
        self._slices = slices
        #: How many deliveries there are up to and with each slice.
        self._ends = list(accumulate(stop - start for _, start, stop in slices))

    async def ack(self) -> None:
        """Settle all of them, with one request per partition; see `Delivery.ack`."""
        await self._settler.ack(self._slices)

    async def nack(self, delay: float | None = None, reason: str = "") -> None:
        """Give all of them back; those that are no longer ours are left alone."""
        delay_ms = None if delay is None else span_ms("delay", delay, MAX_DELAY_MS)
        await self._settler.nack(self._slices, delay_ms, _fitting(reason))

    def __len__(self) -> int:
        return self._ends[-1]

    @overload
    def __getitem__(self, index: int) -> Delivery: ...
    @overload
    def __getitem__(self, index: slice) -> list[Delivery]: ...
    def __getitem__(self, index: int | slice) -> Delivery | list[Delivery]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        at = range(len(self))[index]  # negative indices, IndexError
        which = bisect_right(self._ends, at)
        chunk, _, stop = self._slices[which]
        return Delivery(self._settler, chunk, stop - (self._ends[which] - at))

    def __iter__(self) -> Iterator[Delivery]:
        for chunk, start, stop in self._slices:
            for index in range(start, stop):
                yield Delivery(self._settler, chunk, index)

    def __repr__(self) -> str:
        return f"<DeliveryBatch of {len(self)}>"


def _fitting(reason: str) -> str:
    if not isinstance(reason, str):
        raise TypeError(f"reason must be a str, not {type(reason).__name__}")
    return reason[:MAX_REASON_CHARS].encode(errors="replace").decode()
