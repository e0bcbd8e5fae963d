"""What a client's messages about pending events do: those that take steps or wait for the log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import numpy as np

from chronosdb.node.broker import Broker
from chronosdb.node.partition import pending
from chronosdb.node.partition.partition import Partition
from chronosdb.node.partition.pending import Page, Range
from chronosdb.node.reply import Reply
from chronosdb.wire import BatchBuilder
from chronosdb.wire import messages as m
from chronosdb.wire.errors import ChronosError

#: A page is closed when its events have grown past this.
_PAGE_BYTES: Final = 4 * 1024 * 1024


class PendingRequests:
    """The requests of one connection about ranges of pending events."""

    def __init__(self, broker: Broker, send: Callable[[m.Message], None]) -> None:
        self._broker = broker
        self._send = send

    def handlers(self) -> dict[type, Callable[[Any], Awaitable[None]]]:
        """What to do with each message."""
        return {
            m.ListPending: self._list,
            m.CountPending: self._count,
            m.CancelWhere: self._cancel_where,
        }

    async def _list(self, message: m.ListPending) -> None:
        partition = self._broker.partition(message.topic, message.partition)
        page = await pending.page(partition, _range(message), message.after, message.limit)
        self._send(_page_message(message.request, partition, page))

    async def _count(self, message: m.CountPending) -> None:
        partition = self._broker.partition(message.topic, message.partition)
        total = await pending.count(partition, _range(message))
        self._send(m.Counted(message.request, total))

    async def _cancel_where(self, message: m.CancelWhere) -> None:
        partition = self._broker.partition(message.topic, message.partition)
        page = await pending.page(partition, _range(message), message.after, message.limit)
        count = page.rows.size
        if count and not message.dry_run:
            reply = Reply[int | ChronosError]()
            partition.cancel_many(page.rows.offsets.tolist(), reply.set)
            outcome = await reply.get()
            if isinstance(outcome, ChronosError):
                raise outcome
            count = outcome
        self._send(m.CancelledWhere(message.request, count, page.next))


def _range(message: m.ListPending | m.CountPending | m.CancelWhere) -> Range:
    return Range(message.start_ms, message.end_ms, message.key)


def _page_message(request: int, partition: Partition, page: Page) -> m.PendingPage:
    """As many of the rows as a frame should hold; the rest is on the next page."""
    builder = BatchBuilder()
    published: list[int] = []
    for piece in partition.reader.slices(page.rows.offsets) if page.rows.size else ():
        for index in range(piece.start, piece.stop):
            builder.add(piece.stored.batch, index, index + 1)
            published.append(piece.stored.published_ms)
            if builder.nbytes >= _PAGE_BYTES:
                break
        if builder.nbytes >= _PAGE_BYTES:
            break
    count = builder.count
    due_ms, offsets = page.rows.due_ms[:count], page.rows.offsets[:count]
    cut = count < page.rows.size
    return m.PendingPage(
        request,
        memoryview(offsets.tobytes()),
        memoryview(np.array(published, np.int64).tobytes()),
        memoryview(builder.build(due_ms.tobytes()) if count else b""),
        (int(due_ms[-1]), int(offsets[-1])) if cut else page.next,
    )
