"""The public client: what an application may ask of ChronosDB, with every argument checked first."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from itertools import count

import anyio
from anyio.abc import TaskGroup

from chronosdb.client.arguments import (
    check_acks,
    check_count,
    check_credits,
    check_mode,
    check_name,
    check_partitions,
    check_safety,
    check_settings,
    check_start,
    due_time,
)
from chronosdb.client.attachment import Terms
from chronosdb.client.buffered import BufferedPublisher, check_linger
from chronosdb.client.cluster import Cluster
from chronosdb.client.gathering import Destination, Gathering
from chronosdb.client.groups import Administration
from chronosdb.client.ids import IdMaker
from chronosdb.client.inbox import Inbox
from chronosdb.client.lookup import find_event
from chronosdb.client.membership import Membership
from chronosdb.client.new_event import new_event
from chronosdb.client.pending import (
    ChangeResult,
    Wanted,
    cancel_where,
    change_event,
    count_pending,
    list_pending,
)
from chronosdb.client.publisher import partition_of, publish_events
from chronosdb.client.replay.replay import Replay
from chronosdb.client.replay.terms import check_follow, check_speed, replay_terms
from chronosdb.client.results import PublishResult, StoredEvent
from chronosdb.client.seams import Seams
from chronosdb.client.subscription import Subscription
from chronosdb.client.topics import Topics
from chronosdb.wire import Event
from chronosdb.wire import messages as m
from chronosdb.wire.batch import NOW
from chronosdb.wire.errors import NotFound
from chronosdb.wire.event import Meta, check_key, check_message_id, epoch_ms
from chronosdb.wire.limits import MAX_BATCH_EVENTS, MAX_TIME_MS, MIN_TIME_MS
from chronosdb.wire.messages import TopicInfo


class Client(Administration):
    """A connected client; made by `connect`. Any number of tasks may use it at once.

    Every method raises a `ChronosError`: after the deadline `Timeout` or `ConnectionLost`, and what
    its own docstring says.
    """

    def __init__(self, cluster: Cluster, tasks: TaskGroup, seams: Seams) -> None:
        self._cluster = cluster
        self._tasks = tasks
        self._seams = seams
        self._topics = Topics(cluster)
        self._ids = IdMaker(seams)
        self._gathering = Gathering(
            cluster, tasks, lambda to: partial(self.publish_many, to.topic, acks=to.acks)
        )
        self._subscriptions = count(1)
        self._streams = count(1)

    async def ping(self) -> float:
        """The time a request takes to the node and back, in milliseconds."""
        started_s = anyio.current_time()
        await self._cluster.call(m.Ping, m.Pong)
        return (anyio.current_time() - started_s) * 1000

    # ---- topics ------------------------------------------------------------------------------

    async def create_topic(
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
        """Create a topic; fine if it exists with these partitions and settings.

        Each partition has `replication` copies, at least `min_insync` of them in sync, and an event
        is stored when it is on the disks that `acks` names; see `publish`. What is older than
        `retention` seconds, and done with, is deleted; the other settings are in docs/clients.md.

        Raises:
            Conflict: it exists with others.
            InvalidArgument: a name or value that is not allowed.
        """
        check_name("topic", name)
        check_partitions(partitions)
        safety = check_safety(replication, min_insync, acks)
        checked = {**check_settings(settings, retention), **safety}
        reply = await self._cluster.call(
            lambda request: m.CreateTopic(request, name, partitions, checked), m.TopicReply
        )
        self._topics.learn(reply)
        return reply.topic

    async def topics(self) -> list[TopicInfo]:
        """All topics, by name."""
        return (await self._cluster.call(m.ListTopics, m.TopicsReply)).topics

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
        expires_at: dt.datetime | int | None = None,
        expires_after: float | None = None,
        acks: str | None = None,
    ) -> PublishResult:
        """Store one event, due `at` a time (aware datetime or epoch ms), `after` so many seconds, or now.

        When this returns the event is on disk: the leader's (`acks` "leader"), those of a "quorum" of
        the copies in sync, or of "all" of them; without the word, as the topic says. An event with a `message_id` that the topic already
        has is not stored again. From `expires_at` on, or `expires_after` so many seconds from when it
        is due, it is not delivered any more: no first attempt is made, and no further one.

        Raises:
            TypeError: both `at` and `after`, both words for the expiry, or a naive datetime.
            InvalidArgument: a value beyond its limit, or it expires before it is due.
            NotFound: no such topic.
            Conflict: `message_id` is taken by an event with other content.
        """
        event = new_event(
            payload,
            # Fixed here: it decides about the partition, and lasts over every attempt.
            message_id=self._ids.take(1)[0] if message_id is None else message_id,
            key=key,
            meta=meta,
            at=at,
            after=after,
            expires_at=expires_at,
            expires_after=expires_after,
            now_ms=self._seams.now_ms,
        )
        check_name("topic", topic)
        check_acks(acks)
        partitions = await self._topics.partitions(topic)
        to = Destination(topic, partition_of(event, partitions), acks)
        return await self._gathering.publish(to, event)

    async def publish_many(
        self, topic: str, events: Iterable[Event], *, acks: str | None = None
    ) -> list[PublishResult]:
        """Store many events; one result each, in order.

        They travel in frames of up to 1 MiB per partition. A frame is stored whole or not at all;
        if one fails, others may be stored: publish again with the same message ids.

        Raises:
            as `publish`.
        """
        check_name("topic", topic)
        disks = check_acks(acks)
        partitions = await self._topics.partitions(topic)
        try:
            return await publish_events(
                self._cluster, topic, partitions, list(events), self._ids, acks=disks
            )
        except NotFound:
            self._topics.forget(topic)
            raise

    @asynccontextmanager
    async def publisher(
        self,
        topic: str,
        *,
        linger: float = 0.005,
        max_batch: int = 1000,
        max_buffered: int = 10_000,
        acks: str | None = None,
    ) -> AsyncIterator[BufferedPublisher]:
        """A publisher for single events that makes batches of them.

        An event waits up to `linger` seconds for company, up to `max_batch` events travel together,
        and `send` waits while `max_buffered` have no result yet. An event that is refused (Conflict)
        spoils none of the others. Leaving the block waits for all results; an error that nobody
        awaited is only in its handle.

        Raises:
            InvalidArgument: a value that is not allowed.
        """
        check_name("topic", topic)
        check_acks(acks)
        publisher = BufferedPublisher(
            partial(self.publish_many, topic, acks=acks),
            self._tasks,
            self._seams,
            linger=check_linger(linger),
            max_batch=check_count("max_batch", max_batch, 1, MAX_BATCH_EVENTS),
            max_buffered=check_count("max_buffered", max_buffered, 1, 1_000_000),
        )
        yield publisher
        await publisher.flush()

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
        return await find_event(self._cluster, topic, partitions, raw_id, checked_key)

    # ---- pending events ----------------------------------------------------------------------

    async def pending(
        self,
        topic: str,
        *,
        start: dt.datetime | int | None = None,
        end: dt.datetime | int | None = None,
        key: bytes | None = None,
    ) -> AsyncIterator[StoredEvent]:
        """The events that are stored and have not fired, due in [start, end), ordered by due time.

        Read in pages while publishing and firing go on: no event is given twice, and one that stays
        pending throughout is given. With `key`, every candidate's key is compared: no index helps.

        Raises:
            TypeError: a naive datetime.
            NotFound: no such topic.
        """
        wanted = self._wanted(topic, start, end, key)
        partitions = await self._topics.partitions(topic)
        async for event in list_pending(self._cluster, wanted, partitions):
            yield event

    async def count_pending(
        self,
        topic: str,
        *,
        start: dt.datetime | int | None = None,
        end: dt.datetime | int | None = None,
        key: bytes | None = None,
    ) -> int:
        """How many events `pending` would give.

        Raises:
            as `pending`.
        """
        wanted = self._wanted(topic, start, end, key)
        return await count_pending(self._cluster, wanted, await self._topics.partitions(topic))

    async def cancel(
        self, topic: str, message_id: str, *, key: bytes | None = None
    ) -> ChangeResult:
        """Cancel an event, so that it never fires; `.outcome` says whether that came in time.

        "cancelled" (also when it was before), "already_fired" or "not_found". When this returns, the
        answer holds for ever. Give the `key` that the event was published with, if any.

        Raises:
            NotFound: no such topic.
        """
        return await self._change(topic, message_id, key, None)

    async def reschedule(
        self,
        topic: str,
        message_id: str,
        *,
        at: dt.datetime | int | None = None,
        after: float | None = None,
        key: bytes | None = None,
    ) -> ChangeResult:
        """Let a pending event be due at another time; with neither `at` nor `after`: now.

        `.outcome` is "rescheduled", "already_fired", "cancelled" or "not_found". Its expiry stays.

        Raises:
            TypeError: both `at` and `after`, or a naive datetime.
            InvalidArgument: the event will have expired by then, or the topic's `max_delay_ms`.
            NotFound: no such topic.
        """
        due_ms, _ = due_time(at, after, self._seams.now_ms)
        return await self._change(topic, message_id, key, NOW if due_ms is None else due_ms)

    async def cancel_where(
        self,
        topic: str,
        *,
        start: dt.datetime | int | None = None,
        end: dt.datetime | int | None = None,
        key: bytes | None = None,
        dry_run: bool = False,
    ) -> int:
        """Cancel every event that `pending` would give; how many. `dry_run`: only count them.

        Raises:
            as `pending`.
        """
        wanted = self._wanted(topic, start, end, key)
        partitions = await self._topics.partitions(topic)
        return await cancel_where(self._cluster, wanted, partitions, dry_run=dry_run)

    def _wanted(
        self,
        topic: str,
        start: dt.datetime | int | None,
        end: dt.datetime | int | None,
        key: bytes | None,
    ) -> Wanted:
        return Wanted(
            check_name("topic", topic),
            MIN_TIME_MS if start is None else epoch_ms(start),
            MAX_TIME_MS + 1 if end is None else epoch_ms(end),
            None if key is None else check_key(key),
        )

    async def _change(
        self, topic: str, message_id: str, key: bytes | None, due_ms: int | None
    ) -> ChangeResult:
        check_name("topic", topic)
        raw_id = check_message_id(message_id)
        checked_key = None if key is None else check_key(key)
        partitions = await self._topics.partitions(topic)
        return await change_event(
            self._cluster, topic, partitions, raw_id, checked_key, due_ms=due_ms
        )

    # ---- replay ------------------------------------------------------------------------------

    def replay(
        self,
        topic: str,
        *,
        by: str = "offset",
        start: dt.datetime | int | None = None,
        end: dt.datetime | int | None = None,
        partition: int | None = None,
        key: bytes | None = None,
        follow: bool = False,
        speed: float | None = None,
        token: bytes | None = None,
    ) -> Replay:
        """Stored events again, in order, each once; no group learns of it. Iterate with `async for`.

        `by` is the order, and what `start` and `end` (half-open; None: no bound) are about: "offset",
        partition after partition as published; "published", "fired" and "scheduled", over all
        partitions in the order of that time. By "offset" and "published" cancelled events are among
        them; by "scheduled" they are not, and rescheduled ones are where they are due now.

        What is committed when the replay begins is its end, unless it is to `follow`: then it goes on
        with what comes, as it comes. `speed` hands events out at their original distances, so many
        times faster. Each event has a `token`: with it and the same arguments a later call goes on
        behind that event. Lost connections are renewed in the same way, unnoticed.

        Raises:
            InvalidArgument: a value that is not allowed; by="scheduled" cannot follow.
            TypeError: a naive datetime; a datetime by "offset".
        """
        terms = replay_terms(topic, by=by, start=start, end=end, key=key, partition=partition)
        return Replay(
            self._cluster,
            self._topics,
            lambda: next(self._streams),
            terms,
            follow=check_follow(terms.by, follow=follow),
            speed=check_speed(speed),
            places=terms.places(token),
        )

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
            self._seams.random_bytes(16).hex() if self._cluster.clustered else "",
        )
        inbox = Inbox(check_credits(credits))
        membership = Membership(self._cluster, lambda: next(self._subscriptions), terms, inbox)
        self._tasks.start_soon(membership.keep)
        try:
            await membership.joined()
            yield Subscription(membership, inbox)
        finally:
            await membership.leave()
