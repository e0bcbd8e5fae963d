"""What each message of a client does.

A request that only has to be queued (publish, ack) costs no task: its outcome is a callback that sends
the reply. The few that wait for the metadata are coroutines.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from chronosdb.node import faults
from chronosdb.node.broker import Broker
from chronosdb.node.clock import Clock
from chronosdb.node.cluster.member import Administration
from chronosdb.node.consumers import Consumers
from chronosdb.node.groups import AnyGroups
from chronosdb.node.members.subscription import Subscription
from chronosdb.node.observe.stats import Stats
from chronosdb.node.partition.changes import Change
from chronosdb.node.partition.proposals import Outcome, Placement
from chronosdb.node.recurring.schedules import Schedules
from chronosdb.node.redrive import Redrive
from chronosdb.node.replay.streams import Replays, Spawn
from chronosdb.node.runs import decode_runs
from chronosdb.node.service.admin_requests import AdminRequests
from chronosdb.node.service.cluster_requests import ClusterRequests
from chronosdb.node.service.pending_requests import PendingRequests
from chronosdb.node.service.schedule_requests import ScheduleRequests
from chronosdb.node.service.topic_requests import TopicRequests
from chronosdb.wal import WalError
from chronosdb.wire import EventBatch
from chronosdb.wire import messages as m
from chronosdb.wire.errors import ChronosError, Conflict, InvalidArgument, NotFound, ProtocolError
from chronosdb.wire.limits import MAX_TIME_MS, PROTOCOL_VERSION

logger = logging.getLogger(__name__)

_WITHOUT_REPLY: Final = (m.Hello, m.Credit, m.ReplayCredit, m.ReplayEnd)


@dataclass(frozen=True, slots=True)
class Services:
    """What requests are served from; one for all connections of a node."""

    broker: Broker
    consumers: Consumers
    groups: AnyGroups
    schedules: Schedules
    stats: Stats
    clock: Clock
    welcome: Callable[[], m.Welcome]
    administration: Administration


class Requests:
    """The requests of one connection."""

    def __init__(
        self,
        services: Services,
        send: Callable[[m.Message], None],
        has_room: Callable[[], bool],
        spawn: Spawn,
    ) -> None:
        self._services = services
        self._broker = services.broker
        self._send = send
        self._has_room = has_room
        #: What the client calls itself.
        self._client = ""
        #: Invariant: every member here has joined or is about to; `leave` takes all of them out.
        self._subscriptions: dict[int, Subscription] = {}
        self._topics = TopicRequests(services.broker, send, self._answer)
        self._replays = Replays(services.broker, send, has_room, spawn)
        #: Bytes of publishes that are queued and not answered.
        self.inflight_bytes = 0
        #: Requests that were not answered yet.
        self.unanswered = 0
        self._quick: dict[type, Callable[[Any], None]] = {
            m.Hello: self._hello,
            m.Ping: self._ping,
            m.Publish: self._publish,
            m.Get: self._get,
            m.Change: self._change,
            m.Ack: self._ack,
            m.Nack: self._nack,
            m.Extend: self._extend,
            m.Credit: self._credit,
            m.Recall: self._recall,
            m.Unsubscribe: self._unsubscribe,
            **self._topics.quick_handlers(),
            m.Replay: self._replay,
            m.ReplayCredit: self._replays.credit,
            m.ReplayEnd: self._replays.end,
        }
        self._slow: dict[type, Callable[[Any], Awaitable[None]]] = {
            **self._topics.handlers(),
            m.Subscribe: self._subscribe,
            m.Stats: self._stats,
            **ClusterRequests(services.administration, self._answer).handlers(),
            **PendingRequests(services.broker, self._answer).handlers(),
            **ScheduleRequests(services.schedules, self._answer).handlers(),
            **AdminRequests(
                services.groups, Redrive(services.broker, services.consumers), self._answer
            ).handlers(),
        }

    def is_slow(self, message: m.Message) -> bool:
        """Whether `message` is for `act_slowly`."""
        return type(message) in self._slow

    def act(self, message: m.Message) -> None:
        """Do what `message` asks; errors become replies.

        Raises:
            ProtocolError: a Hello of another protocol version.
        """
        handler = self._quick.get(type(message))
        if handler is None:
            return
        if not isinstance(message, _WITHOUT_REPLY):
            self.unanswered += 1
        try:
            handler(message)
        except (ChronosError, WalError) as error:
            if isinstance(message, m.Hello):
                raise
            self._fail(message, error)

    async def act_slowly(self, message: m.Message) -> None:
        """Do what `message` asks, waiting for others; errors become replies."""
        self.unanswered += 1
        try:
            await self._slow[type(message)](message)
        except (ChronosError, WalError) as error:
            self._fail(message, error)

    def wake(self) -> None:
        """There is room for deliveries again."""
        for subscription in self._subscriptions.values():
            subscription.wake()
        self._replays.wake()

    def leaders_changed(self, topics: frozenset[str]) -> None:
        """Other nodes lead partitions of these topics now."""
        self._topics.leaders_changed(topics)

    def leave(self) -> None:
        """The client is gone: its leases go to others."""
        for subscription in self._subscriptions.values():
            self._services.consumers.leave(subscription)
        self._subscriptions.clear()

    def _hello(self, message: m.Hello) -> None:
        if message.version != PROTOCOL_VERSION:
            raise ProtocolError(
                f"protocol version {message.version}; this node speaks {PROTOCOL_VERSION}"
            )
        self._client = message.client
        self._send(self._services.welcome())

    def _ping(self, message: m.Ping) -> None:
        self._answer(m.Pong(message.request, self._services.clock.now_ms()))

    def _publish(self, message: m.Publish) -> None:
        batch = EventBatch(message.batch)
        batch.check_limits()
        nbytes = len(batch.blob)

        def stored(outcome: Placement | ChronosError) -> None:
            self.inflight_bytes -= nbytes
            if isinstance(outcome, ChronosError):
                self._fail(message, outcome)
            else:
                self._answer(_published(message.request, outcome))

        partition = self._broker.partition(message.topic, message.partition)
        partition.publish(batch, stored, message.acks)
        self._topics.follow(message.topic)
        self.inflight_bytes += nbytes

    def _get(self, message: m.Get) -> None:
        found = self._broker.partition(message.topic, message.partition).find(message.message_id)
        if found is None:
            self._answer(m.GetReply(message.request, ""))
            return
        one = found.stored.batch.select([found.index])
        one = one.with_due(found.due_ms.to_bytes(8, "little", signed=True))
        published_ms = found.stored.published_ms
        self._answer(m.GetReply(message.request, found.state, found.offset, published_ms, one.blob))

    def _change(self, message: m.Change) -> None:
        if message.due_ms is not None and message.due_ms > MAX_TIME_MS:
            raise InvalidArgument(f"schedule_ts {message.due_ms} is after {MAX_TIME_MS} ms")

        def told(outcome: Change | ChronosError) -> None:
            if isinstance(outcome, ChronosError):
                self._fail(message, outcome)
            else:
                self._answer(m.Changed(message.request, outcome))

        partition = self._broker.partition(message.topic, message.partition)
        partition.change(message.message_id, message.due_ms, told)

    def _ack(self, message: m.Ack) -> None:
        subscription = self._subscription(message.subscription)
        partition = self._broker.partition(subscription.topic, message.partition)
        partition.dispatcher.ack(subscription.group, decode_runs(message.runs), self._done(message))

    def _nack(self, message: m.Nack) -> None:
        subscription = self._subscription(message.subscription)
        partition = self._broker.partition(subscription.topic, message.partition)
        partition.dispatcher.nack(
            subscription.group,
            subscription,
            message.position,
            message.attempt,
            delay_ms=message.delay_ms,
            reason=message.reason,
            outcome=self._done(message),
        )

    def _extend(self, message: m.Extend) -> None:
        subscription = self._subscription(message.subscription)
        partition = self._broker.partition(subscription.topic, message.partition)
        partition.dispatcher.extend(
            subscription.group, subscription, message.position, message.attempt, message.extend_ms
        )
        self._answer(m.Done(message.request))

    def _credit(self, message: m.Credit) -> None:
        subscription = self._subscriptions.get(message.subscription)
        if subscription is not None:  # credit may cross an Unsubscribe on its way
            subscription.grant(message.credits)

    def _recall(self, message: m.Recall) -> None:
        subscription = self._subscriptions.get(message.subscription)
        taken = 0 if subscription is None else subscription.recall(message.credits)
        self._answer(m.Recalled(message.request, taken))

    def _unsubscribe(self, message: m.Unsubscribe) -> None:
        subscription = self._subscriptions.pop(message.subscription, None)
        if subscription is not None:
            self._services.consumers.leave(subscription)
        self._answer(m.Done(message.request))

    def _replay(self, message: m.Replay) -> None:
        self._answer(self._replays.open(message))

    async def _subscribe(self, message: m.Subscribe) -> None:
        if message.subscription in self._subscriptions:
            raise Conflict(f"this connection has a subscription {message.subscription} already")
        consumers = self._services.consumers
        subscription = Subscription(
            consumers.next_member_id(), message, self._client, self._send, self._has_room
        )
        self._subscriptions[message.subscription] = subscription
        self._topics.follow(message.topic)
        try:
            await consumers.join(subscription, self._done(message))
        except (ChronosError, WalError):
            self._subscriptions.pop(message.subscription, None)
            raise

    async def _stats(self, message: m.Stats) -> None:
        self._answer(m.StatsReply(message.request, await self._services.stats.read()))

    def _subscription(self, number: int) -> Subscription:
        subscription = self._subscriptions.get(number)
        if subscription is None or not subscription.joined:
            raise NotFound(f"this connection has no subscription {number}")
        return subscription

    def _answer(self, reply: m.Message) -> None:
        """Send the one reply that each request has."""
        self.unanswered -= 1
        self._send(reply)

    def _done(self, message: Any) -> Outcome:
        def told(error: ChronosError | None) -> None:
            if error is None:
                self._answer(m.Done(message.request))
            else:
                self._fail(message, error)

        return told

    def _fail(self, message: Any, error: ChronosError | WalError) -> None:
        if isinstance(error, WalError):
            logger.warning("a request failed in the log: %s", error)
            error = faults.of_log(error)
        self._answer(
            m.Failed(message.request, error.code, error.message, error.retryable, error.details)
        )


def _published(request: int, placement: Placement) -> m.Published:
    if placement.offsets is None:
        return m.Published(request, placement.first_offset)
    assert placement.duplicates is not None
    offsets = array("q", placement.offsets).tobytes()
    return m.Published(request, placement.first_offset, offsets, bytes(placement.duplicates))
