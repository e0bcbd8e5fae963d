"""What became of each event of a batch, where one that is refused must not spoil the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from chronosdb.client.errors import to_error, to_failed
from chronosdb.client.results import PublishResult
from chronosdb.wire import Event
from chronosdb.wire.errors import ChronosError

#: Stores events, all of which have ids; see `Client.publish_many`.
PublishMany: TypeAlias = Callable[[Sequence[Event]], Awaitable[list[PublishResult]]]
Outcome: TypeAlias = PublishResult | ChronosError


async def publish_each(publish: PublishMany, events: Sequence[Event]) -> list[Outcome]:
    """Publish `events` together; the outcome of each, in order. Every error is an exception of its own.

    An event that is refused takes its whole frame with it: it is found by halves, and the others are
    published without it. What was stored the first time is found by its id.
    """
    try:
        return [*await publish(events)]
    except ChronosError as error:
        if error.retryable or len(events) == 1:
            return [to_error(to_failed(error)) for _ in events]
    middle = len(events) // 2
    return [
        *await publish_each(publish, events[:middle]),
        *await publish_each(publish, events[middle:]),
    ]
