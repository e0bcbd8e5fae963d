"""The public client: what an application may ask of ChronosDB, with every argument checked first."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import count

import anyio
from anyio.abc import TaskGroup

from chronosdb.client.arguments import (
    check_credits,
    check_mode,
    check_name,
    check_partitions,
    check_settings,
    check_start,
    due_time,
)
from chronosdb.client.attachment import Terms
from chronosdb.client.ids import IdMaker
from chronosdb.client.inbox import Inbox
from chronosdb.client.link import Link
from chronosdb.client.lookup import find_event
from chronosdb.client.membership import Membership
from chronosdb.client.publisher import publish_events
from chronosdb.client.results import PublishResult, StoredEvent
from chronosdb.client.seams import Seams
from chronosdb.client.subscription import Subscription
from chronosdb.client.topics import Topics
from chronosdb.wire import Event
from chronosdb.wire import messages as m
from chronosdb.wire.errors import NotFound
from chronosdb.wire.event import Meta, check_key, check_message_id
from chronosdb.wire.messages import TopicInfo


class Client:
    """A connected client; made by `connect`. Any number of tasks may use it at once.

    Every method raises a `ChronosError`: after the deadline `Timeout` or `ConnectionLost`, and what
    its own docstring says.
    """

    def __init__(self, link: Link, tasks: TaskGroup, seams: Seams) -> None:
        self._link = link
        self._tasks = tasks
        self._seams = seams
        self._topics = Topics(link)
        self._ids = IdMaker(seams)
        self._subscriptions = count(1)

    async def ping(self) -> float:
        """The time a request takes to the node and back, in milliseconds."""
        started_s = anyio.current_time()
        await self._link.call(m.Ping, m.Pong)
        return (anyio.current_time() - started_s) * 1000

    # ---- topics ------------------------------------------------------------------------------

    async def create_topic(self, name: str, partitions: int = 1, **settings: int) -> TopicInfo:
        """Create a topic; fine if it exists with these partitions and settings.

        Raises:
            Conflict: it exists with others.
            InvalidArgument: a name or value that is not allowed.
        """
        check_name("topic", name)
        check_partitions(partitions)
        checked = check_settings(settings)
        reply = await self._link.call(
            lambda request: m.CreateTopic(request, name, partitions, checked), m.TopicReply
        )
        self._topics.learn(reply.topic)
        return reply.topic

    async def topics(self) -> list[TopicInfo]:
        """All topics, by name."""
        return (await self._link.call(m.ListTopics, m.TopicsReply)).topics

    async def topic(self, name: str) -> TopicInfo:
        """One topic.

        Raises:
            NotFound: no such topic.
        """
        return await self._topics.describe(check_name("topic", name))

    # ---- events ------------------------------------------------------------------------------

    async def publish(
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
        """Store one event, due `at` a time (aware datetime or epoch ms), `after` so many seconds, or now.

        When this returns the event is on disk. An event with a `message_id` that the topic already
        has is not stored again.

        Raises:
            TypeError: both `at` and `after`, or a naive datetime.
            InvalidArgument: a value beyond its limit.
            NotFound: no such topic.
            Conflict: `message_id` is taken by an event with other content.
        """
        schedule_ts, relative = due_time(at, after, self._seams.now_ms)
        event = Event(
            payload=payload,
            schedule_ts=schedule_ts,
            message_id=message_id,
            key=key,
            meta=meta or {},
            relative=relative,
        )
        [result] = await self.publish_many(topic, (event,))
        return result

    async def publish_many(self, topic: str, events: Iterable[Event]) -> list[PublishResult]:
        """Store many events; one result each, in order.

        They travel in frames of up to 1 MiB per partition. A frame is stored whole or not at all;
        if one fails, others may be stored: publish again with the same message ids.

        Raises:
            as `publish`.
        """
        check_name("topic", topic)
        partitions = await self._topics.partitions(topic)
        try:
            return await publish_events(self._link, topic, partitions, list(events), self._ids)
        except NotFound:
            self._topics.forget(topic)
            raise

    async def get(
        self, topic: str, message_id: str, *, key: bytes | None = None
    ) -> StoredEvent | None:
        """The event published under `message_id`, None if there is none (or no longer).

        With the `key` it was published with, if any, one partition is asked; without, the one that
        events without a key go to, and then the others.

        Raises:
            NotFound: no such topic.
            InvalidArgument: not an id or key.
        """
        check_name("topic", topic)
        raw_id = check_message_id(message_id)
        checked_key = None if key is None else check_key(key)
        partitions = await self._topics.partitions(topic)
        return await find_event(self._link, topic, partitions, raw_id, checked_key)

    # ---- consuming ---------------------------------------------------------------------------

    @asynccontextmanager
    async def consume(
        self,
        topic: str,
        *,
        group: str,
        credits: int = 256,  # noqa: A002 - the contract's name
        mode: str = "ordered",
        start: str | int | dt.datetime = "earliest",
    ) -> AsyncIterator[Subscription]:
        """Join `group` as a member; the block gets an async iterator of deliveries.

        At most `credits` events are on their way, buffered, or in the application's hands. `mode`
        "ordered": a partition has one member at a time; "shared": any member gets the next event.
        `start` places a group that is new: "earliest", "latest", or a time. Leaving the block gives
        back at once what was not handed out.

        Raises:
            InvalidArgument: a value that is not allowed.
            NotFound: no such topic.
        """
        terms = Terms(
            check_name("topic", topic),
            check_name("group", group),
            check_mode(mode),
            check_start(start),
        )
        inbox = Inbox(check_credits(credits))
        membership = Membership(self._link, next(self._subscriptions), terms, inbox)
        self._tasks.start_soon(membership.keep)
        try:
            await membership.joined()
            yield Subscription(membership, inbox, self._link.retry)
        finally:
            await membership.leave()
